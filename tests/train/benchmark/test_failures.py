"""A method that fails ends its own row; what would fail in any case is found before any training."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_bliss
from tests.terminal import WIDE, shown
from tests.train.benchmark.bench_kit import noted_fits, value

from vsumdata.datasets import synthetic
from vsumdata.manifests.errors import Diverged, UsageError
from vsumdata.pipeline.commands import main as cli
from vsumdata.train.benchmark import crossmodal, table, trained
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.loop import runs

DATA = "videos=6,users=2,frames=24"
QUICK = ("epochs=1", "model.hidden=[8]")
SMALL = Request(on="synthetic", data=DATA, methods=("mlp", "vslstm"), seeds=1, sets=("epochs=1",))


def breaks(monkeypatch: pytest.MonkeyPatch, method: str, at: int, error: Exception) -> None:
    """Let the `at`-th run of `method` fail, counted from 0."""
    real, calls = trained.fit_fold, {"n": 0}

    def fit(settings: Any, *arguments: Any, **more: Any) -> runs.Trained:
        if settings.method == method:
            calls["n"] += 1
            if calls["n"] == at + 1:
                raise error
        return real(settings, *arguments, **more)

    monkeypatch.setattr(trained, "fit_fold", fit)


@pytest.mark.parametrize("error", [Diverged("the loss is nan"), RuntimeError("out of memory"), OSError(28, "full")])
def test_the_others_keep_their_rows(monkeypatch, error) -> None:
    breaks(monkeypatch, "mlp", 1, error)
    found = bench(SMALL)
    assert found.methods == ["random", "uniform", "mlp", "vslstm", "human", "mean-user", "oracle", "bayes"]
    assert value(found, "vslstm", "tau").n == 6
    assert [table.cell(value(found, "mlp", metric)) for metric in found.metrics] == ["failed"] * 3
    assert found.failed == {"mlp": str(error)}
    assert f"mlp: failed: {error}" in shown(table.terminal(found), WIDE)
    cells = [row for row in json.loads(table.as_json(found))["rows"] if row["method"] == "mlp"]
    assert all(cell["mean"] is None and f"failed: {error}" in cell["notes"] for cell in cells)


def test_the_command_prints_the_table_and_ends_with_1(monkeypatch, capsys) -> None:
    breaks(monkeypatch, "mlp", 0, Diverged("the loss is nan"))
    words = ["vsumdata", "bench", "--on", "synthetic", "--data", DATA, "--methods", "mlp", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--set", "epochs=1"])
    assert cli.guarded(cli.app) == 1
    assert "mlp: failed: the loss is nan" in capsys.readouterr().out


def clips(folder: Path, num: int = 4) -> Path:
    """BLiSS with `num` clips in each of train and test, each of its own livestream."""
    write_bliss(folder)
    rng = np.random.default_rng(1)
    for split, clip in (("train", "clip_a"), ("test", "clip_b")):
        path = folder / "annotation" / f"{split}.json"
        (entry,) = json.loads(path.read_text()).values()
        path.write_text(json.dumps({f"{clip}{i}": entry | {"video_id": f"{split} {i}"} for i in range(num)}))
        for name, shape in (("video_clip", (6, 5)), ("text_roberta", (3, 7)), ("video_summ_clip", (2, 5))):
            values = np.array({f"{clip}{i}": rng.random(shape, np.float32) for i in range(num)}, dtype=object)
            np.save(folder / "feature" / f"{name}_{split}.npy", values, allow_pickle=True)
    return folder


def test_a_model_of_frames_alone_trains_on_bliss(tmp_path) -> None:
    """It is asked for what it gives: its validation has the cosine and no ROUGE."""
    data = str(clips(tmp_path / "BLiSS"))
    found = bench(Request(on="bliss", data=data, seeds=1, methods=("mlp",), sets=QUICK, runs=str(tmp_path / "runs")))
    assert found.failed == {}
    assert value(found, "mlp", "cosine").n == 4
    assert value(found, "mlp", "rouge1").missing == "it scores no sentences"
    (run,) = (tmp_path / "runs").glob("mlp/*/*")
    assert runs.read_info(run).val
    assert runs.load(run).position.metric == "cosine"


def test_a_run_of_another_method_is_refused_before_any_training(tmp_path, monkeypatch) -> None:
    kept = replace(SMALL, methods=("mlp",), runs=str(tmp_path / "runs"))
    bench(kept)
    init = str(tmp_path / "runs/mlp/seed-0/fold-1")
    given = noted_fits(monkeypatch)
    other = replace(SMALL, data=f"{DATA},seed=3", init=init)
    with pytest.raises(UsageError, match="vslstm: --init .* is a run of mlp, not of vslstm"):
        bench(other)
    with pytest.raises(UsageError, match="is no training run"):
        bench(replace(other, init=str(tmp_path)))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--runs .* is a file"):
        bench(replace(SMALL, runs=str(tmp_path / "file")))
    others = other_runs(tmp_path)
    given.clear()
    with pytest.raises(UsageError, match="vslstm: .* other settings"):
        bench(replace(SMALL, sets=("epochs=1", "optimizer.lr=0.5"), runs=others))
    assert given == []


def other_runs(tmp_path: Path) -> str:
    """A folder that keeps runs of vslstm with the settings of its preset."""
    bench(replace(SMALL, methods=("vslstm",), runs=str(tmp_path / "others")))
    return str(tmp_path / "others")


def test_each_row_says_how_it_was_made() -> None:
    found = bench(replace(SMALL, methods=("mlp",), sets=("epochs=2", "model.hidden=[8]", "optimizer.lr=0.01")))
    (line,) = [line for line in found.remarks if line.startswith("mlp: ")]
    for part in (
        "preset synthetic with model.hidden=[8], optimizer.lr=0.01, epochs=2",
        "frame features of size 32 (synthetic's own)",
        "chosen epochs of 2, by seed and fold: ",
        "training videos",
    ):
        assert part in line
    assert found.caption.endswith("seeds 1, 6 videos")
    (made,) = json.loads(table.as_json(found))["made"]["mlp"]
    assert made["overrides"] == {"epochs": 2, "model.hidden": [8], "optimizer.lr": 0.01}
    assert (made["preset"], made["transductive"], made["text_shown"]) == ("synthetic", False, "none")
    assert made["frame_features"] == {"size": 32, "kind": "synthetic's own"}
    assert {run["num_train"] + run["num_val"] + run["num_test"] for run in made["runs"]} == {6}
    assert all(1 <= run["epoch"] <= 2 for run in made["runs"])
    assert made["runs"][0]["split"] == "synthetic/5 parts, seed 0, fold 1 of 3"
    plain = bench(replace(SMALL, methods=("mlp",), preset="tvsum", sets=("epochs=1",)))
    assert any("preset tvsum with epochs=1;" in line for line in plain.remarks)


def test_transductive_rows_and_both_stages_are_told() -> None:
    sets = ("epochs=1", "batch_size=8", "model.hidden=[8]", "pretrain.epochs=2")
    request = replace(SMALL, data="videos=9,users=2,frames=24", methods=("visp+mlp",), sets=sets)
    found = bench(replace(request, pool="transductive"))
    before, after = found.made["visp+mlp"]
    assert (before["transductive"], after["transductive"], before["labels"]) == (True, False, False)
    assert (before["overrides"]["epochs"], after["overrides"]["epochs"]) == (2, 1)


def test_a_row_that_needs_no_training_may_fail_too(monkeypatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("the text tower is out of memory")
        yield

    monkeypatch.setattr(crossmodal, "frame_cm", broken)
    monkeypatch.setattr(crossmodal, "differ", lambda *sizes: None)
    found = bench(replace(SMALL, methods=("frame-cm", "mlp")))
    assert found.failed == {"frame-cm": "the text tower is out of memory"}
    assert [value(found, method, "tau").n for method in ("random", "frame-cm", "mlp", "human")] == [6, 0, 6, 6]


def test_a_video_without_the_reference_gives_no_value_and_is_counted(monkeypatch) -> None:
    """Neither ends it the table, nor is a mean over fewer videos taken for one over all."""
    whole: list[Any] = synthetic.load(DATA)
    for lacking in (whole[0], whole[3]):  # the first decides nothing for the others
        videos = [replace(video, user_score=None) if video is lacking else video for video in whole]
        monkeypatch.setattr(synthetic, "load", lambda path, videos=videos: videos)
        found = bench(replace(SMALL, methods=("mlp",)))
        assert found.failed == {}
        for method in ("random", "mlp", "mean-user", "human"):
            assert [value(found, method, metric).n for metric in found.metrics] == [6, 5, 5], method
        why = f"no tau, rho in 1 of 6 videos, {lacking.video_id}: protocol synthetic needs user_score"
        assert any(note.startswith(why) for note in value(found, "mlp", "tau").notes)
        assert why in shown(table.terminal(found), WIDE)
        assert "5 to 6 videos" in found.caption


def test_a_baseline_that_some_videos_do_not_allow_says_of_how_many(monkeypatch) -> None:
    whole: list[Any] = synthetic.load(DATA)
    one = replace(whole[0], user_score=whole[0].user_score[:1], user_summary=whole[0].user_summary[:1])
    monkeypatch.setattr(synthetic, "load", lambda path: [one, *whole[1:]])
    human = value(bench(replace(SMALL, methods=(), sets=())), "human", "tau")
    assert human.n == 5
    assert "the annotations do not allow it in 1 of 6 videos" in human.notes
