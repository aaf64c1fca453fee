"""TL;DW's published pseudo-summaries, and training on them with features of a root."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.training_kit import small, videos, write_root

from vsumdata.datasets.benchmarks import tldw_pseudo
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data import targets
from vsumdata.train.data.training import Wanted, open_data
from vsumdata.train.loop.job import fit_fold

MADE = {
    # Three steps, the last of one segment, which the authors' code never scored.
    "xZecGPPhbHE": {"machine_summary": [1, 1, 0, 0], "machine_summary_scores": [0.8, 0.8, 0.6, 0.0]},
    "p0zXvzHhX5w": {"machine_summary": [0.0, 1.0], "machine_summary_scores": [0.2, 0.9]},
    "one": {"machine_summary": [1], "machine_summary_scores": [1.0]},
}


def write(folder: Path, made: Any, name: str = "pseudoGT_summ_annts.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(made))
    return folder


def test_seconds_of_scored_segments(tmp_path: Path) -> None:
    folder = write(tmp_path, MADE)
    (folder / "pseudoGT_task_annts.json").write_text(json.dumps({"xZecGPPhbHE": "PutOnHairExtensions"}))
    first, second, one = tldw_pseudo.load(folder)
    assert (first.video_id, first.task) == ("xZecGPPhbHE", "Put On Hair Extensions")
    assert first.url == "https://www.youtube.com/watch?v=xZecGPPhbHE"
    assert first.frame_time_s.tolist() == list(range(12))
    assert first.gt_score.tolist() == [1] * 8 + [0] * 4
    assert first.gt_summary.tolist() == [1] * 8 + [0] * 4
    assert first.frame_feature.shape == (12, 0)
    assert second.task is None
    assert second.gt_score.tolist() == [0] * 4 + [1] * 4
    assert one.gt_summary.tolist() == [1] * 4
    assert [video.video_id for video in tldw_pseudo.load(write(tmp_path / "b", MADE, "pseudoGT_annts.json"))] == list(
        MADE
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a JSON object"),
        ("{}", "not a JSON object"),
        ('{"a": ', "not JSON, or is cut off"),
        ("<!DOCTYPE html><html>", "is a web page"),
        ("version https://git-lfs.github.com/spec/v1", "git-lfs pointer"),
        ('{"a": [0, 1]}', "a has no machine_summary"),
        ('{"a": {"machine_summary": [0, 2], "machine_summary_scores": [0, 1]}}', "not a list of 0 and 1"),
        ('{"a": {"machine_summary": [], "machine_summary_scores": []}}', "not a list of 0 and 1"),
        ('{"a": {"machine_summary": [0, 1], "machine_summary_scores": [1]}}', r"machine_summary_scores is \[1\]"),
        ('{"a": {"machine_summary": [0, 1], "machine_summary_scores": [1, NaN]}}', "not finite"),
        ('{"a": {"machine_summary": [0, 1], "machine_summary_scores": "x"}}', "does not hold numbers"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "pseudoGT_summ_annts.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        tldw_pseudo.load(tmp_path)
    assert "\n" not in str(caught.value)
    path.write_text(json.dumps(MADE))
    (tmp_path / "pseudoGT_task_annts.json").write_text('["a"]')
    with pytest.raises(UsageError, match="video id -> task"):
        tldw_pseudo.load(tmp_path)
    path.unlink()
    with pytest.raises(UsageError, match=r"holds no pseudoGT_summ_annts\.json"):
        tldw_pseudo.load(tmp_path)


def test_a_model_learns_from_them_by_the_features_of_a_root(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ours = [replace(video, video_id=f"abcdefghij{i}", url=None) for i, video in enumerate(videos(8))]
    root = write_root(tmp_path / "root", ours, ["train"])
    made: dict[str, Any] = {}
    for video in ours[:7]:
        num = len(video.frame_time_s) // 4
        scores = np.round(rng.random(num) + 0.1, 3).tolist()
        made[video.video_id] = {"machine_summary": [int(s > 0.5) for s in scores], "machine_summary_scores": scores}
    folder = write(tmp_path / "made", made | {"elsewhere__": MADE["one"]})
    data = open_data(Wanted(data=f"tldw-pseudo:{folder}", features=str(root)), 0)
    assert "7 of 8 videos have our features" in " ".join(data.notes)
    video = data.train[0]
    assert video.frame_feature.shape[1] == ours[0].frame_feature.shape[1]
    assert video.sentence_feature is not None
    assert targets.lacks_target(video, targets.default_rule("tldw-pseudo")) is None
    learnt = fit_fold(small("mlp"), data, tmp_path / "run")
    assert (learnt.info.origin.data_set, learnt.info.protocol) == ("tldw-pseudo", "wikihow-summaries")
