"""CoSum: shots, the judges' numbers of shots, topics, and what is wrong with a file."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from vsumdata.datasets.benchmarks import cosum
from vsumdata.datasets.splits import folds
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.scoring import chance

load = cosum.load
JUDGES = {"dualplus": [1, 2], "kk": [2, 4], "vv": [2, 3]}
RECORD = {"shots": [10, 40, 100, 110, 200], "judges": JUDGES}
README = """#Video URLs

**01: Base jump**

[![base1](http://img.youtube.com/vi/a/0.jpg)](http://www.youtube.com/watch?v=iD4qsWnjsNU)
[![base2](http://img.youtube.com/vi/b/0.jpg)](http://tune.pk/video/4434726)

**10: Surf**

[![surf1](http://img.youtube.com/vi/c/0.jpg)](http://www.youtube.com/watch?v=5KtMiLDd7Wo)
"""


def write(folder: Path) -> Path:
    """Three videos of two topics, as the repository has them."""
    (folder / "README.md").write_text(README)
    for topic, word, count in (("01_base_jump", "base", 2), ("10_surfing", "surf", 1)):
        (folder / "shots" / topic).mkdir(parents=True)
        (folder / "annotation" / topic).mkdir(parents=True)
        for number in range(1, count + 1):
            shots = "\r\n".join(map(str, RECORD["shots"]))
            (folder / "shots" / topic / f"{word}{number}_shots.txt").write_text(shots + "\n")
            for judge, chosen in JUDGES.items():
                labels = np.array([[at, 1] for at in chosen], np.uint8)
                savemat(folder / "annotation" / topic / f"{number}__{judge}.mat", {"labels": labels})
    return folder


def write_json(folder: Path, **changes: Any) -> Path:
    path = folder / "cosum.json"
    path.write_text(json.dumps({"01_base_jump/1": RECORD | changes}))
    return path


def test_the_repository(tmp_path: Path) -> None:
    videos = load(write(tmp_path))
    assert [video.video_id for video in videos] == ["01_base_jump/1", "01_base_jump/2", "10_surfing/1"]
    assert [video.query for video in videos] == ["base jump", "base jump", "surfing"]
    assert [video.url for video in videos] == [
        "http://www.youtube.com/watch?v=iD4qsWnjsNU",
        "http://tune.pk/video/4434726",
        "http://www.youtube.com/watch?v=5KtMiLDd7Wo",
    ]
    for video in videos:
        assert np.asarray(video.user_score).tolist() == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0]]
        assert np.asarray(video.gt_summary).tolist() == [0, 1, 0, 0], "two of three judges"
        np.testing.assert_allclose(np.asarray(video.gt_score), [1 / 3, 1, 1 / 3, 1 / 3], rtol=1e-6)
        assert np.asarray(video.picks).tolist() == [25, 70, 105, 155], "the middle of each shot"
        np.testing.assert_allclose(video.frame_time_s, np.array([25, 70, 105, 155]) / 30, rtol=1e-6)
        assert (video.duration_s, video.task) == (None, None)
    (tmp_path / "README.md").unlink()
    assert [video.url for video in load(tmp_path)] == [None] * 3


def test_the_json_file(tmp_path: Path) -> None:
    for path in (write_json(tmp_path), tmp_path):
        (video,) = load(path)
        assert (video.video_id, video.query, video.url) == ("01_base_jump/1", "base jump", None)
        assert np.asarray(video.gt_summary).tolist() == [0, 1, 0, 0]


def test_numbers_of_shots_that_are_not_listed_are_left_out(tmp_path: Path) -> None:
    """As in MINI-Net's code. Judges saw a finer cut of half of the published videos."""
    (video,) = load(write_json(tmp_path, judges=JUDGES | {"kk": [2, 5, 70]}))
    assert np.asarray(video.user_score).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]]


def test_a_shot_that_begins_before_the_one_before_it_ends(tmp_path: Path) -> None:
    """Published lists have such pairs; the numbers of the shots stay what they are."""
    (video,) = load(write_json(tmp_path, shots=[10, 40, 30, 110, 200]))
    assert np.asarray(video.picks).tolist() == [25, 40, 75, 155]
    assert (np.diff(video.frame_time_s) > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": [10]}, "shots does not hold the first frame of each shot"),
        ({"shots": [10, 10]}, "shots does not hold the first frame of each shot"),
        ({"shots": [0.5, 2.5]}, "shots does not hold the first frame of each shot"),
        ({"shots": [-4, 10]}, "shots does not hold the first frame of each shot"),
        ({"shots": "none"}, "shots does not hold numbers"),
        ({"judges": {"kk": [1]}}, "judges is not an object of 3 judges"),
        ({"judges": JUDGES | {"kk": [0, 1]}}, "0 is no shot's number"),
        ({"judges": JUDGES | {"kk": [1.5]}}, "1.5 is no shot's number"),
        ({"judges": JUDGES | {"kk": [float("nan")]}}, "holds values that are not finite"),
        ({"judges": JUDGES | {"kk": [[1, 1]]}}, r"is \[1, 2\]; expected \[any\]"),
    ],
)
def test_a_wrong_record(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_json(tmp_path, **changes)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: 01_base_jump/1")


def test_other_ways_to_be_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        load(tmp_path / "gone.json")
    with pytest.raises(UsageError, match="holds neither the folders annotation and shots nor cosum.json"):
        load(tmp_path)
    (tmp_path / "cosum.json").write_text('{"01_base_jump/1": {"shots": []}}')
    with pytest.raises(UsageError, match="has no judges: this is not CoSum's annotation"):
        load(tmp_path)
    (tmp_path / "repository").mkdir()
    folder = write(tmp_path / "repository")
    judged = folder / "annotation" / "10_surfing" / "1__kk.mat"
    whole = judged.read_bytes()
    for content, message in [
        (whole[:150], "is not a MATLAB 5 file, or is cut off"),
        (b"hello", "is not a MATLAB 5 file, or is cut off"),
        (b"<html>", "is a web page"),
    ]:
        judged.write_bytes(content)
        with pytest.raises(UsageError, match=message) as caught:
            load(folder)
        assert str(judged) in str(caught.value)
    for values in ({"other": np.ones((2, 2))}, {"labels": np.ones(3)}):
        savemat(judged, values)
        with pytest.raises(UsageError, match=r"1__kk.mat has no matrix labels \[chosen, 2\]"):
            load(folder)
    judged.unlink()
    with pytest.raises(UsageError, match="10_surfing/1 has 2 judges; expected 3"):
        load(folder)
    (folder / "shots" / "10_surfing" / "surf1_shots.txt").unlink()
    with pytest.raises(UsageError, match=r"has no shots of 10_surfing/1"):
        load(folder)
    (folder / "shots" / "01_base_jump" / "base1_shots.txt").write_text("1\nlast\n")
    for path in (folder / "annotation" / "10_surfing").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="01_base_jump/1: shots does not hold numbers"):
        load(folder)


def test_a_fold_for_each_topic(tmp_path: Path) -> None:
    found = folds("cosum", [video.video_id for video in load(write(tmp_path))])
    assert [(fold.name, fold.test) for fold in found] == [
        ("base_jump", ("01_base_jump/1", "01_base_jump/2")),
        ("surfing", ("10_surfing/1",)),
    ]
    assert {*found[1].train, *found[1].val} == {"01_base_jump/1", "01_base_jump/2"}, "all others train"


@pytest.mark.recorded
def test_the_published_annotation(recordings: Path, tmp_path: Path) -> None:
    """Both forms are the same. Of 51 videos 22 have judges' numbers beyond the listed shots. Chance of the protocol."""
    folder = recordings / "benchmarks" / "CoSum"
    with tarfile.open(folder / "raw.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    videos, packed = load(tmp_path), load(folder)
    assert len(videos) == 51
    assert sum(video.url is not None for video in videos) == 51
    for video, other in zip(videos, packed, strict=True):
        assert video.video_id == other.video_id
        for name in ("user_score", "gt_summary", "picks"):
            np.testing.assert_array_equal(getattr(video, name), getattr(other, name))
    records = json.loads((folder / "cosum.json").read_text()).values()
    beyond = [max(map(max, its["judges"].values())) >= len(its["shots"]) for its in records]
    assert sum(beyond) == 22
    every = folds("cosum", [video.video_id for video in videos])
    assert sum(len(fold.test) for fold in every) == 51
    by_id = {video.video_id: video for video in videos}
    levels = {top: np.mean([np.mean([_chance(by_id[v], top) for v in fold.test]) for fold in every]) for top in (5, 15)}
    assert levels == {5: pytest.approx(0.4854, abs=5e-5), 15: pytest.approx(0.4662, abs=5e-5)}


def _chance(video: Video, top: int) -> float:
    relevant = np.asarray(video.gt_summary)
    return chance.top_ranked_ap(len(relevant), int(relevant.sum()), top)
