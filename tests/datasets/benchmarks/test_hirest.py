"""HiREST: tasks with their videos, moments and steps."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsumdata.datasets.benchmarks import hirest
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.scoring.evaluate import evaluate

load = hirest.load
STEPS = [
    {"index": 0, "heading": "Flip the ribbon ", "absolute_bounds": [3, 5]},
    {"index": 1, "heading": "Hold  it", "absolute_bounds": [5, 8]},
]
WHOLE = {"relevant": True, "clip": False, "v_duration": 12.0, "bounds": [0, 0], "steps": []}
TASK, ID = "Make a Bow", "kMh-nG8axWI"


def record(**changes: Any) -> dict[str, Any]:
    return {"relevant": True, "clip": True, "v_duration": 10.4, "bounds": [3, 8], "steps": STEPS} | changes


def write(path: Path, found: Any) -> Path:
    text = json.dumps(found).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_a_task_and_its_videos(tmp_path: Path) -> None:
    path = write(tmp_path / "all_data_val.json", {TASK: {f"{ID}.mp4": record(), "CAB-4KfX8x0.mp4": WHOLE}})
    video, whole = load(path)
    assert (video.video_id, video.query, video.task, video.split) == (ID, TASK, TASK, "val")
    assert (video.duration_s, video.url) == (10.4, f"https://www.youtube.com/watch?v={ID}")
    assert video.moment is not None
    assert video.moment.tolist() == [[3, 8]]
    assert np.asarray(video.gt_summary).tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert np.asarray(video.gt_score).tolist() == np.asarray(video.gt_summary).tolist()
    assert video.frame_time_s.tolist() == list(range(11))
    assert [dict(step) for step in video.step] == [
        {"section": "", "headline": "Flip the ribbon", "text": ""},
        {"section": "", "headline": "Hold it", "text": ""},
    ]
    assert video.summary == (
        {"text": "Flip the ribbon", "time_s": [3.0, 4.0]},
        {"text": "Hold it", "time_s": [5.0, 6.0, 7.0]},
    )
    assert video.summary_text == "Flip the ribbon. Hold it"
    assert (whole.moment, whole.gt_summary, whole.summary, whole.step) == (None, None, None, ())
    assert len(whole.frame_time_s) == 12


def test_the_splits_are_in_the_files_names(tmp_path: Path) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    for at, name in enumerate(["all_data_test.json", "all_data_train.json.gz", "all_data_val.json"]):
        write(folder / name, {f"task {at}": {f"video_{at}.mp4": record()}})
    write(folder / "all_data_test_negative_samples.json", {TASK: {}})
    for path in (tmp_path, folder):
        found = [(video.video_id, video.split) for video in load(path)]
        assert found == [("video_1", "train"), ("video_2", "val"), ("video_0", "test")]


def test_one_video_of_two_tasks(tmp_path: Path) -> None:
    path = write(tmp_path / "all_data_train.json", {TASK: {f"{ID}.mp4": record()}, "Tie": {f"{ID}.mp4": WHOLE}})
    assert [(video.video_id, video.query) for video in load(path)] == [(ID, TASK), (f"{ID} (Tie)", "Tie")]
    assert {video.url for video in load(path)} == {f"https://www.youtube.com/watch?v={ID}"}


def test_the_evaluation_file(tmp_path: Path) -> None:
    captions = [{"start": 91, "end": 96, "sentence": "Take clip"}, {"start": 96, "end": 96, "sentence": "Get bow"}]
    found = {f"{ID}.mp4": {"captions": captions, "bounds": [[91, 96], [96, 96]]}}
    (video,) = load(write(tmp_path / "formatted_moment_evaluation_gt.json", found))
    assert (video.video_id, video.split, video.query, video.duration_s) == (ID, "test", None, None)
    assert video.moment is not None
    assert video.moment.tolist() == [[91, 96]]
    assert video.summary is not None
    assert [each["time_s"] for each in video.summary] == [[91.0, 92.0, 93.0, 94.0, 95.0], [96.0]]
    found[f"{ID}.mp4"]["bounds"] = [[91, 96], [96, 97]]
    with pytest.raises(UsageError, match=f"{ID}: bounds and captions differ"):
        load(write(tmp_path / "formatted_moment_evaluation_gt.json", found))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({TASK: [1]}, "'Make a Bow' is not a task with its videos"),
        ({TASK: {f"{ID}.mp4": {"clip": True}}}, f"{TASK}: {ID}.mp4 has no relevant, v_duration, bounds, steps"),
        ({TASK: {".mp4": record()}}, "a video's file is '.mp4'"),
        ({TASK: {f"{ID}.mp4": record(v_duration=0)}}, "v_duration is 0 s"),
        ({TASK: {f"{ID}.mp4": record(v_duration=None)}}, "v_duration holds values that are not finite"),
        ({TASK: {f"{ID}.mp4": record(clip="yes")}}, "clip is not true or false"),
        ({TASK: {f"{ID}.mp4": record(steps={})}}, "steps is no list"),
        ({TASK: {f"{ID}.mp4": record(bounds=[3])}}, r"bounds is \[1\]; expected \[2\]"),
        ({TASK: {f"{ID}.mp4": record(bounds=[8, 3])}}, "8 to 3 s is not within the video's 10.4 s"),
        ({TASK: {f"{ID}.mp4": record(bounds=[3, 300])}}, "3 to 300 s is not within the video's 10.4 s"),
        ({TASK: {f"{ID}.mp4": record(bounds=[-1, 3])}}, "-1 to 3 s is not within"),
        ({TASK: {f"{ID}.mp4": record(steps=[{"index": 0}])}}, "step 0 has no heading, absolute_bounds"),
        ({TASK: {f"{ID}.mp4": record(steps=[STEPS[0] | {"heading": " "}])}}, "a step has no headline"),
        ({TASK: {f"{ID}.mp4": record(steps=[STEPS[0] | {"absolute_bounds": "x"}])}}, "step 0 does not hold numbers"),
        ([TASK], "is not HiREST's annotation"),
        ({f"{ID}.mp4": {"captions": []}}, f"{ID}.mp4 has no bounds"),
        ({f"{ID}.mp4": {"captions": [], "bounds": []}}, "captions is no list of steps"),
    ],
)
def test_a_wrong_record(tmp_path: Path, found: Any, message: str) -> None:
    path = write(tmp_path / "all_data_train.json", found)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_ways_to_be_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there; get it from j-min/HiREST"):
        load(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"holds no all_data_train.json"):
        load(tmp_path)
    for split in ("train", "test"):
        write(tmp_path / f"all_data_{split}.json", {TASK: {f"{ID}.mp4": record()}})
    with pytest.raises(UsageError, match=f"{ID} is there twice, or in two splits"):
        load(tmp_path)


@pytest.mark.recorded
def test_the_published_annotation(recordings: Path) -> None:
    folder = recordings / "benchmarks" / "HiREST"
    videos = load(folder)
    assert Counter(video.split for video in videos) == {"train": 1507, "val": 477}
    assert len({video.video_id for video in videos}) == 1984
    assert Counter(video.split for video in videos if video.moment is not None) == {"train": 865, "val": 193}
    assert Counter(video.split for video in videos if video.step) == {"train": 550, "val": 78}
    assert sum(len(video.step) for video in videos) == 4145 + 606
    tasks = {split: {video.task for video in videos if video.split == split} for split in ("train", "val")}
    assert (len(tasks["train"]), len(tasks["val"]), tasks["train"] & tasks["val"]) == (546, 292, set())
    tested = load(folder / "formatted_moment_evaluation_gt.json.gz")
    assert len(tested) == 507
    assert not {video.video_id for video in tested} & {video.video_id for video in videos}


def test_the_moment_that_is_proposed_first_is_measured(tmp_path: Path) -> None:
    time_s = np.arange(10, dtype=np.float32)
    video = Video(
        video_id="a",
        frame_time_s=time_s,
        frame_feature=np.zeros((10, 0), np.float32),
        moment=np.array([[2.0, 6.0]]),
        gt_score=((time_s >= 2) & (time_s < 6)).astype(np.float32),
    )

    def measured(*moments: list[float]) -> list[float]:
        found = evaluate(time_s, video, hirest.PROTOCOL, moments=np.array(moments).reshape(-1, 3)).values
        return [found["recall_50"], found["recall_70"]]

    # Of [2, 6] with [3, 6] the overlap is .75, with [4, 7] .4; exactly .5 is a miss, as in HiREST's code.
    assert measured([3.0, 6.0, 0.1], [2.0, 6.0, 0.9]) == [1.0, 1.0]
    assert measured([4.0, 7.0, 0.9], [2.0, 6.0, 0.1]) == [0.0, 0.0]
    assert measured([4.0, 6.0, 0.9]) == [0.0, 0.0]
    assert measured([3.5, 6.0, 0.9]) == [1.0, 0.0]
    assert measured() == [0.0, 0.0]
