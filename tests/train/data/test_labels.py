"""`labels=pseudo` and `labels=steps`: targets of other tables of a root, in the place of the replay score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.training_kit import small, videos, write_labels, write_root

from vsumdata.datasets import shards
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import trained
from vsumdata.train.benchmark.bench import Request, bench
from vsumdata.train.data import targets
from vsumdata.train.data.training import Data, Wanted, open_data
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.loop.validation import measurable

PARTS = ("train", "train", "train", "val", "test")
NUM = 15


def labels(video: Video, at: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines in a narrow range, and a summary that no threshold on them gives."""
    num = len(video.frame_time_s)
    rng = np.random.default_rng(at)
    return (0.6 + 0.1 * rng.random(num)).astype(np.float32), rng.integers(2, size=num).astype(np.int8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The second video has no labels; the first has no replay score."""
    found = videos(NUM)
    found[0] = replace(found[0], replay_score=None)
    path = write_root(tmp_path / "root", found, PARTS)
    made = {video.video_id: labels(video, at) for at, video in enumerate(found) if at != 1}
    pseudo = {key: {"pseudo_score": score, "pseudo_summary": chosen} for key, (score, chosen) in made.items()}
    write_labels(path, "pseudo_summaries", pseudo)
    steps = {key: {"gt_confidence": score, "gt_summary": 1 - chosen} for key, (score, chosen) in made.items()}
    write_labels(path, "step_frames", steps)
    return path


def opened(root: Path, kind: str) -> Data:
    return open_data(Wanted(data=str(root), labels=kind), 0)


def test_targets_are_those_of_the_table_and_videos_without_are_counted(root: Path) -> None:
    ids = [video.video_id for video in videos(NUM)]
    for kind, table in (("pseudo", "pseudo_summaries"), ("steps", "step_frames")):
        data = opened(root, kind)
        assert f"1 of {NUM} videos have no row of {table} and are left out" in data.notes
        assert data.origin.labels == f"{table} f00d"
        there = {video.video_id: video for video in data.train}
        assert ids[0] in there
        assert ids[1] not in there
        score, chosen = labels(there[ids[0]], 0)
        made = targets.with_targets(there[ids[0]], kind)  # type: ignore[arg-type]
        assert made.gt_score is not None
        assert made.gt_summary is not None
        wanted = (score - score.min()) / np.ptp(score) if kind == "pseudo" else score
        np.testing.assert_allclose(made.gt_score, wanted, atol=1e-6)
        np.testing.assert_array_equal(made.gt_summary, chosen if kind == "pseudo" else 1 - chosen)
        np.testing.assert_array_equal(made.sentence_label, targets.sentence_label(made, made.gt_summary))
    assert {video.video_id for video in open_data(Wanted(data=str(root)), 0).train} == {*there, ids[1]} - {ids[0]}


def test_the_epoch_is_chosen_by_the_labels_and_the_test_videos_keep_the_replay_score(root: Path) -> None:
    data = opened(root, "pseudo")
    val = data.val[0]
    score = labels(val, 3)[0]
    assert val.replay_score is None
    np.testing.assert_array_equal(measurable(val).gt_score, score)
    assert measurable(val).user_summary is not None
    assert len(data.origin.test) == NUM / len(PARTS)
    tested = shards.load(root)
    assert {video.video_id for video in tested} == set(data.origin.test)
    np.testing.assert_array_equal(tested[0].gt_score, videos(NUM)[4].replay_score)


def test_the_run_keeps_the_kind_and_another_kind_learns_another_thing(root: Path, tmp_path: Path) -> None:
    made = {}
    for kind in ("replay", "pseudo", "steps"):
        fit_fold(small("mlp", f"labels={kind}"), opened(root, kind), tmp_path / kind)
        info = json.loads((tmp_path / kind / "run.json").read_text())
        assert info["settings"]["labels"] == kind
        made[kind] = (tmp_path / kind / "best.safetensors").read_bytes()
    assert len(set(made.values())) == 3


def test_a_table_puts_runs_of_several_labels_beside_each_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[str]] = {}
    real = trained.fit_fold

    def noted(settings: Any, data: Data, *more: Any, **named: Any) -> Any:
        seen[settings.labels] = [video.video_id for video in data.train]
        assert (data.origin.labels is None) == (settings.labels == "replay")
        return real(settings, data, *more, **named)

    monkeypatch.setattr(trained, "fit_fold", noted)
    sets = "model.hidden=[8],epochs=1,batch_size=4"
    rows = tuple(f"mlp[{sets},labels={kind}]" for kind in ("replay", "pseudo", "steps"))
    table = bench(Request(on="shards", data=str(root), seeds=1, methods=rows, baseline="random"))
    ids = [video.video_id for video in videos(NUM)]
    assert ids[0] in seen["pseudo"]
    assert ids[0] not in seen["replay"]
    assert ids[1] in seen["replay"]
    assert seen["steps"] == seen["pseudo"]
    measured = {row.method for row in table.rows if "labels=" in row.method and np.isfinite(row.mean)}
    assert len(measured) == 3


def test_a_root_without_the_table_names_the_remedy(tmp_path: Path) -> None:
    bare = write_root(tmp_path / "bare", videos(10), PARTS)
    for kind in ("pseudo", "steps"):
        with pytest.raises(UsageError, match=f"labels={kind} learns from; make it with `vsumdata run --stage labels`"):
            opened(bare, kind)
    with pytest.raises(UsageError, match="labels=pseudo is for a root alone"):
        open_data(Wanted(data="synthetic:videos=12,users=2", labels="pseudo"), 0)
    short = {videos(10)[0].video_id: {"pseudo_score": np.ones(3, np.float32), "pseudo_summary": np.ones(3, np.int8)}}
    write_labels(bare, "pseudo_summaries", short)
    with pytest.raises(UsageError, match="has labels of 3 frames"):
        list(opened(bare, "pseudo").train)
