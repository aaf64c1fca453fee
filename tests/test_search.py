"""Random search: the trials, which of them wins, and how a search goes on."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.pretraining_kit import SETS
from tests.training_kit import same_weights

from vsumdata.pipeline import cli
from vsumdata.train import checkpoints, runs
from vsumdata.train.search import Trial, drawn
from vsumdata.train.visp import ViSP

WORDS = [
    "visp", "--backbone", "mlp", "--data", "synthetic:videos=20,frames=16,users=2",
    *(word for each in (*SETS["mlp"], "epochs=1", "batch_size=8") for word in ("--set", each)),
]  # fmt: skip


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["vsumdata", "train", *WORDS, *words])
        return cli.guarded(cli.app)

    return command


def record(out: Path) -> dict:
    return json.loads((out / "search.json").read_text())


def test_the_best_trial_is_the_run_and_a_search_goes_on(call, tmp_path, capsys, monkeypatch) -> None:
    out = tmp_path / "run"
    write, written = checkpoints.save, 0

    def stop(*arguments: object) -> None:
        nonlocal written
        write(*arguments)  # type: ignore[arg-type]
        written += 1
        if written == 3:  # within the second trial
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save", stop)
        assert call("--out", str(out), "--search", "2") == 130
    assert not (out / "run.json").exists()
    before = (out / "trial-01" / "last.safetensors").stat().st_mtime_ns
    assert call("--out", str(out), "--search", "2") == 0, capsys.readouterr().err
    assert (out / "trial-01" / "last.safetensors").stat().st_mtime_ns == before
    assert call("--out", str(out), "--search", "3") == 0, capsys.readouterr().err
    found = record(out)
    assert (found["method"], found["metric"]) == ("visp+mlp", "tau")
    values = [trial["value"] for trial in found["trials"]]
    assert len(values) == 3
    assert len(set(values)) > 1
    assert found["best"] == 1 + int(np.argmax(values))
    winner = out / f"trial-{found['best']:02}"
    assert same_weights(out / "best.safetensors", winner / "best.safetensors")
    trained = runs.load(out)
    assert trained.info == runs.read_info(winner)
    assert trained.position.best == max(values)
    assert f"tau {max(values):.3f}" in capsys.readouterr().out
    for at, trial in enumerate(found["trials"], 1):
        options = runs.read_info(out / f"trial-{at:02}").settings.objective.model_dump()
        for override in trial["sets"]:
            name, _, value = override.removeprefix("objective.").partition("=")
            assert options[name] == float(value)


def test_what_is_set_by_hand_is_not_drawn(call, tmp_path) -> None:
    assert call("--out", str(tmp_path / "run"), "--search", "1", "--set", "objective.w_size=3") == 0
    (trial,) = record(tmp_path / "run")["trials"]
    assert [each.partition("=")[0] for each in trial["sets"]] == ["objective.temperature", "objective.w_binary"]
    assert runs.read_info(tmp_path / "run").settings.objective.model_dump()["w_size"] == 3


def test_a_run_is_not_searched_over(call, tmp_path, capsys) -> None:
    assert call("--out", str(tmp_path / "run")) == 0
    assert call("--out", str(tmp_path / "run"), "--search", "1") == 2
    assert "is a run of its own, no search" in capsys.readouterr().err


def test_draws_are_even_over_the_powers_of_ten() -> None:
    ranges = {f"objective.{name}": its for name, its in ViSP.RANGES.items()}
    draws = [drawn(ranges, 0, number) for number in range(500)]
    assert draws == [drawn(ranges, 0, number) for number in range(500)]
    assert draws[0] != drawn(ranges, 1, 0)
    for at, (least, most) in enumerate(ViSP.RANGES.values()):
        values = [float(each[at].partition("=")[2]) for each in draws]
        assert least <= min(values) < max(values) <= most * 1.0001
        assert sum(value < math.sqrt(least * most) for value in values) == pytest.approx(250, abs=50)


def test_a_trial_without_a_value_never_wins() -> None:
    trials = [Trial(number=n, sets=(), value=v, epoch=1) for n, v in enumerate((math.nan, -0.5, 0.1, 0.1), 1)]
    assert max(trials, key=lambda trial: trial.rank).number == 3
