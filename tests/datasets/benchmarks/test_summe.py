"""SumMe's annotations alone, and what may be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat
from tests.datasets.benchmarks.benchmark_files import write_eccv16, write_summe_annotations
from tests.train.benchmark.bench_kit import value

from vsumdata.datasets.benchmarks import summe
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import score
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.scoring.evaluate import evaluate, lacks


@pytest.mark.parametrize("below", [".", "GT"])
def test_the_folder_or_one_that_holds_it(tmp_path: Path, below: str) -> None:
    folder = write_summe_annotations(tmp_path / below)
    videos = summe.load(tmp_path)
    assert [video.video_id for video in videos] == [f"video_{number}" for number in range(1, 26)]
    assert (videos[0].title, videos[22].title) == ("Air_Force_One", "car_over_camera"), "capitals come first"
    chosen = loadmat(folder / "Cooking.mat")["user_score"].T > 0
    video = videos[7]
    assert (video.title, video.n_frames, video.duration_s) == ("Cooking", 68, 68 / 25)
    np.testing.assert_array_equal(np.asarray(video.user_summary), chosen)
    np.testing.assert_array_equal(np.asarray(video.picks), np.arange(0, 68, 15))
    np.testing.assert_allclose(video.frame_time_s, np.arange(0, 68, 15) / 25, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(video.user_score), chosen[:, ::15])
    np.testing.assert_allclose(np.asarray(video.gt_score), chosen[:, ::15].mean(0))
    assert video.frame_feature.shape == (5, 0)
    assert video.change_points is None


def test_without_shots_scores_are_ranked_and_people_have_f1(tmp_path: Path) -> None:
    data = str(write_summe_annotations(tmp_path / "GT"))
    found = bench(Request(on="summe", data=data, seeds=1))
    assert {row.method for row in found.rows} == {"human"}
    assert value(found, "human", "f1").mean > 0
    reasons = " ".join(found.remarks)
    assert "keyshots need change_points" in reasons
    assert "protocol scores-vs-mean ranks the scores themselves" in reasons
    found = bench(Request(on="summe", data=data, seeds=1, protocol="scores-vs-mean"))
    assert {row.method for row in found.rows} == {"random", "uniform", "human", "mean-user"}
    assert value(found, "mean-user", "rho").mean == pytest.approx(1)


def test_predictions_are_found_by_id_and_by_name(tmp_path: Path) -> None:
    data = write_summe_annotations(tmp_path / "GT")
    videos = {str(video.title): video for video in summe.load(data)}
    ideal = {name: np.asarray(video.user_summary).mean(0).tolist() for name, video in videos.items()}
    names: Mapping[str, Any] = {"title": ideal, "id": {str(videos[name].video_id): its for name, its in ideal.items()}}
    for key, content in names.items():
        (tmp_path / f"{key}.json").write_text(json.dumps(content))
        request = score.Request(
            predictions=(str(tmp_path / f"{key}.json"),), on="summe", data=str(data), protocols=("scores-vs-mean",)
        )
        row = value(score.score(request), key, "tau")
        assert (row.n, row.mean) == (25, pytest.approx(1)), "a score for each frame is read at the picks"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Jumps": None}, "annotates 24 of SumMe's 25 videos, not Jumps"),
        ({"Scuba": {"FPS": None}}, "Scuba.mat has no FPS"),
        ({"Scuba": {"user_score": None}}, "Scuba.mat has no user_score"),
        ({"Scuba": {"FPS": 0.0}}, r"Scuba.mat: FPS is \[\[0.0\]\]"),
        ({"Scuba": {"FPS": np.nan}}, "Scuba.mat: FPS is"),
        ({"Scuba": {"FPS": [25.0, 30.0]}}, "Scuba.mat: FPS is"),
        ({"Scuba": {"FPS": "fast"}}, "Scuba.mat: FPS is"),
        ({"Scuba": {"user_score": np.zeros((2, 3, 4))}}, r"Scuba.mat: user_score is \[2, 3, 4\]"),
        ({"Scuba": {"user_score": np.zeros((0, 0))}}, r"Scuba.mat: user_score is \[0, 0\]"),
        ({"Scuba": {"user_score": np.full((9, 2), np.nan)}}, r"Scuba.mat: user_score is \[9, 2\]"),
        ({"Scuba": {"user_score": "none"}}, "Scuba.mat: user_score is"),
    ],
)
def test_what_is_wrong_with_an_annotation(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        summe.load(write_summe_annotations(tmp_path / "GT", changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (b"PK\x03\x04" + bytes(30), "is a ZIP archive"),
        (b"MATLAB 7.3 MAT-file" + bytes(600), "is not a MATLAB 5 file"),
        (b"no such thing" * 90, "is not a MATLAB 5 file"),
    ],
)
def test_a_download_that_is_not_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    folder = write_summe_annotations(tmp_path / "GT")
    (folder / "Cooking.mat").write_bytes(content)
    with pytest.raises(UsageError, match=f"Cooking.mat {message}"):
        summe.load(folder)


def test_paths_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not there"):
        summe.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds 0 HDF5 files"):
        summe.load(tmp_path)
    folder = write_summe_annotations(tmp_path / "GT")
    with pytest.raises(UsageError, match="is the annotation of one video; name its folder"):
        summe.load(folder / "Cooking.mat")
    for name in ("a_summe.h5", "b_summe.h5"):
        write_eccv16(tmp_path / name, 25, named=True)
    with pytest.raises(UsageError, match="holds 2 HDF5 files"):
        summe.load(tmp_path)
    assert len(summe.load(folder)) == 25, "the folder itself is the annotations alone"


def test_the_hint_is_given_only_where_scores_can_be_ranked(tmp_path: Path) -> None:
    video = summe.load(write_summe_annotations(tmp_path))[0]
    assert "scores-vs-mean" in str(lacks("tau", video, PROTOCOLS["summe"]))
    assert "scores-vs-mean" not in str(lacks("f1", video, PROTOCOLS["summe"]))


@pytest.mark.recorded
def test_the_real_annotations(recordings: Path) -> None:
    folder = recordings / "benchmarks" / "SumMe"
    alone, joined = summe.load(folder / "GT"), summe.load(folder)
    ids = json.loads((folder / "mapped_video_names.json").read_text())
    assert {video.title: video.video_id for video in alone} == ids
    for ours, theirs in zip(alone, joined, strict=True):
        assert (ours.video_id, ours.title, ours.duration_s) == (theirs.video_id, theirs.title, theirs.duration_s)
        np.testing.assert_array_equal(np.asarray(ours.user_summary), np.asarray(theirs.user_summary))
        np.testing.assert_allclose(np.asarray(ours.gt_score), np.asarray(theirs.gt_score), atol=1e-6)
        assert theirs.change_points is not None
        stored = loadmat(folder / "GT" / f"{ours.title}.mat")["gt_score"].ravel()
        np.testing.assert_allclose(np.asarray(ours.gt_score), stored[::15], atol=1e-6)


@pytest.mark.recorded
def test_people_and_chance_on_the_real_annotations(recordings: Path) -> None:
    folder = recordings / "benchmarks" / "SumMe"
    found = bench(Request(on="summe", data=str(folder / "GT"), seeds=1))
    people = [value(found, "human", metric).mean for metric in ("tau", "rho")]
    assert people == pytest.approx([0.2958, 0.3292], abs=5e-5), "each user against the mean of the others"
    rules = PROTOCOLS["scores-vs-mean"]
    video = summe.load(folder / "GT")[0]
    assert evaluate(np.asarray(video.gt_score), video, rules).values["tau"] == pytest.approx(1)
    found = bench(Request(on="summe", data=str(folder), seeds=3))
    assert value(found, "random", "f1").mean == pytest.approx(0.403, abs=0.02), "with shots there is F1 of all rows"
    assert value(found, "random", "tau").mean == pytest.approx(0.09, abs=0.02)
