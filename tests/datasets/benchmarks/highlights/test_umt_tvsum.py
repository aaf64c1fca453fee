"""TVSum in UMT's form: labels of clips, titles as queries, UMT's features; and what chance is there."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.highlights.highlight_files import USERS, tvsum_line, write_features, write_lines

from vsumdata.datasets import published_splits, splits
from vsumdata.datasets.benchmarks import tvsum
from vsumdata.datasets.benchmarks.highlights import umt_tvsum
from vsumdata.datasets.splits import folds
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.scoring import chance
from vsumdata.train.scoring.evaluate import evaluate
from vsumdata.train.scoring.metrics_highlights import above_median, clips_in_time

load = umt_tvsum.load
# Of UMT's split: a training and a test video of BK, a test video of VU.
BK, BK_TEST, VU_TEST = "WxtbjNsCQ8A", "Se3oxnaPsz0", "sTEELN-vY30"


def write(folder: Path) -> Path:
    write_lines(folder / "tvsum_train_release.jsonl", tvsum_line(BK, "BK"))
    write_lines(folder / "tvsum_val_release.jsonl", tvsum_line(BK_TEST, "BK"), tvsum_line(VU_TEST, "VU"))
    return folder


def test_a_published_record(tmp_path: Path) -> None:
    videos = load(write(tmp_path))
    assert [(video.video_id, video.split) for video in videos] == [
        (BK, "train"),
        (BK_TEST, "test"),
        (VU_TEST, "test"),
    ]
    video = videos[0]
    np.testing.assert_array_equal(video.user_score, USERS.T)
    np.testing.assert_allclose(np.asarray(video.gt_score), (USERS.sum(1) - 20) / 80, rtol=1e-6)
    assert video.frame_time_s.tolist() == [1, 3, 5, 7, 9, 11, 13]
    assert (video.query, video.title, video.picks) == ("A train crash", "A train crash", None)
    assert len(load(tmp_path / "tvsum_val_release.jsonl")) == 2
    (alone,) = load(write_lines(tmp_path / "mine.jsonl", tvsum_line(VU_TEST, "VU")))
    assert alone.split == "test", "by UMT's list, where the file's name does not tell"
    assert umt_tvsum.PROTOCOL.name == "umt-tvsum"


def test_umts_own_file_and_features(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "tvsum_anno.json").write_text(
        json.dumps({BK: {"anno": USERS.tolist()}, BK_TEST: {"anno": [[3] * 20] * 2}})
    )
    write_features(tmp_path, {BK: 5, BK_TEST: 2}, query=True)
    videos = load(tmp_path)
    assert [(video.video_id, video.split, video.query) for video in videos.described] == [  # type: ignore[attr-defined]
        (BK, "train", None),
        (BK_TEST, "test", None),
    ]
    video = videos[0]
    assert video.frame_feature.shape == (5, 6)
    assert video.audio_feature is not None
    assert video.query_feature is not None
    assert (video.audio_feature.shape, video.query_feature.shape) == ((5, 2), (5, 4))
    np.testing.assert_array_equal(video.user_score, USERS[:5].T)
    tokens = tmp_path / "query_features" / f"{BK}.npz"
    np.savez(tokens, word=np.ones((2, 2)))
    for content in (None, b"PK\x03\x04 cut off", b"\x93NUMPY", b"hello"):
        if content is not None:
            tokens.write_bytes(content)
        with pytest.raises(UsageError, match=f"{BK}.npz is no .npz file with `token`"):
            videos[0]
    np.save(tmp_path / "array.npy", np.ones((2, 2)))
    (tmp_path / "array.npy").rename(tokens)
    with pytest.raises(UsageError, match=f"{BK}.npz is no .npz file with `token`"):
        videos[0]
    tokens.unlink()
    with pytest.raises(UsageError, match=f"{BK}.npz is not there"):
        videos[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": USERS[:, :19].tolist()}, r"label is \[7, 19\]; expected \[any, 20\]"),
        ({"label": []}, r"label is \[0\]; expected"),
        ({"label": (USERS - 1).tolist()}, "label does not hold scores of 1 to 5"),
        ({"label": (USERS * float("nan")).tolist()}, "label holds values that are not finite"),
        ({"duration": 8}, "duration is 8, but label has 7 clips"),
        ({"domain": "VU"}, "domain is 'VU'; in UMT's split it is BK"),
        ({"vid": None}, "id is None; expected a YouTube id"),
    ],
)
def test_a_wrong_record(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_lines(tmp_path / "tvsum_train_release.jsonl", tvsum_line(BK, "BK") | changes)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_other_ways_to_be_wrong(tmp_path: Path) -> None:
    for path, message in [
        (tmp_path / "gone", "is not there; get it from line/lighthouse"),
        (tmp_path, "holds neither tvsum_anno.json nor tvsum_train_release.jsonl"),
    ]:
        with pytest.raises(UsageError, match=message):
            load(path)
    twice = write_lines(tmp_path / "x.jsonl", tvsum_line(BK, "BK"), tvsum_line(BK, "BK"))
    with pytest.raises(UsageError, match=f"{BK} is there twice"):
        load(twice)
    (tmp_path / "tvsum_anno.json").write_text(json.dumps({BK: {"label": []}}))
    with pytest.raises(UsageError, match=f"{BK} has no anno: this is not UMT's TVSum"):
        load(tmp_path)


def test_ten_folds() -> None:
    """The split of UMT by its ids and by TVSum's numbers: one test video and four others of its domain."""
    by_number = folds("tvsum/umt", [f"video_{i}" for i in range(1, 51)])
    assert [fold.name for fold in by_number] == ["BK", "BT", "DS", "FM", "GA", "MS", "PK", "PR", "VT", "VU"]
    assert [(len(fold.train), len(fold.val), len(fold.test)) for fold in by_number] == [(3, 1, 1)] * 10
    tested = [v for fold in by_number for v in (*fold.train, *fold.val, *fold.test)]
    assert sorted(tested) == sorted(f"video_{i}" for i in range(1, 51)), "a domain's videos are in one fold alone"
    assert by_number[0].label == "tvsum/umt, fold 1 of 10 (BK)"
    every = [
        v for fold in published_splits.by_domain("umt-tvsum", "umt").values() for v in (*fold["train"], *fold["test"])
    ]
    assert [fold.name for fold in folds("umt-tvsum", every)] == [fold.name for fold in by_number]
    assert splits.sources("tvsum")[0] == "csta", "the default stays"


@pytest.mark.recorded
def test_the_published_annotation(recordings: Path) -> None:
    """All 50 videos; the split is the files' own, and TVSum's numbers name the same videos."""
    folder = recordings / "benchmarks" / "TVSum"
    videos = {video.video_id: video for video in load(folder / "umt")}
    assert Counter(video.split for video in videos.values()) == {"train": 40, "test": 10}
    numbered = {str(video.url)[-11:]: video for video in tvsum.load(folder / "ydata-tvsum50.mat")}
    for (name, theirs), (_, ours) in zip(
        published_splits.by_domain("umt-tvsum", "umt").items(),
        published_splits.by_domain("tvsum", "umt").items(),
        strict=True,
    ):
        for part in ("train", "test"):
            assert {videos[v].split for v in theirs[part]} == {part}, name
            assert [numbered[v].video_id for v in theirs[part]] == ours[part]
    for name, video in videos.items():
        frames = np.zeros(len(numbered[name].frame_time_s))
        _, users = clips_in_time(frames, np.asarray(numbered[name].user_score), numbered[name], 2.0)
        np.testing.assert_array_equal(users, video.user_score)


@pytest.mark.recorded
def test_official_answers_and_chance(recordings: Path) -> None:
    """Chance of UMT's own rule on UMT's own labels: .425 on its ten test videos, .413 on all 50, in closed form.

    One random ranking of each of the ten deviates from that by .05, of the 50 by .02: seed 0 of half-second picks gave
    .427 on the 50, and a level of .450 is as near.
    """
    videos = {video.video_id: video for video in load(recordings / "benchmarks" / "TVSum" / "umt")}
    for name, row in json.loads((recordings / "golden_real" / "15_umt_real.json").read_text())["tvsum"].items():
        if row["label"] is not None:
            np.testing.assert_array_equal(videos[name].user_score, np.array(row["label"]).T)
        found = evaluate(np.array(row["score"]), videos[name], umt_tvsum.PROTOCOL).values["ap_top5"]
        assert found == pytest.approx(row["mAP_top5_rounded5"], abs=6e-6)
    levels = {name: _chance(video) for name, video in videos.items()}
    tested = [level for name, level in levels.items() if videos[name].split == "test"]
    assert np.mean(tested) == pytest.approx(0.4254, abs=5e-5)
    assert np.mean(list(levels.values())) == pytest.approx(0.4132, abs=5e-5)


def _chance(video: Video) -> float:
    relevant = above_median(np.asarray(video.user_score))
    return float(np.mean([chance.top_ranked_ap(len(row), int(row.sum()), 5) for row in relevant]))
