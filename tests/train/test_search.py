"""Random search: the trials, which of them wins, and how a search goes on."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.train.pretraining_kit import SETS
from tests.train.training_kit import same_weights

from vsumdata.manifests.errors import Diverged
from vsumdata.pipeline.commands import main as cli
from vsumdata.pipeline.workers.cluster import cause
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.trials import Record, Trial, drawn
from vsumdata.train.objectives.visp import ViSP

DATA = "videos=20,frames=16,users=2"
WORDS = [
    "visp", "--backbone", "mlp", "--data", f"synthetic:{DATA}",
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
    assert (found["asked"]["settings"]["method"], found["metric"]) == ("visp+mlp", "tau")
    values = [trial["value"] for trial in found["trials"]]
    assert len(values) == 3
    assert len(set(values)) > 1
    assert found["best"] == 1 + int(np.argmax(values))
    winner = out / f"trial-{found['best']:02}"
    assert same_weights(out / "best.safetensors", winner / "best.safetensors")
    trained = runs.load(out)
    assert trained.info.digest == runs.read_info(winner).digest
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


def trial(number: int, value: float | None, diverged: str | None = None) -> Trial:
    return Trial(number=number, sets=(f"objective.w_size={number}",), value=value, epoch=1, diverged=diverged)


def test_a_trial_without_a_value_never_wins_unless_the_others_diverged() -> None:
    record = Record(asked={}, metric="tau")
    for number, value in enumerate((None, -0.5, 0.1, 0.1), 1):
        record = record.added(trial(number, value))
    assert record.best == 3
    alone = Record(asked={}, metric="tau").added(trial(1, None, "step 0: …"))
    assert alone.best is None
    assert alone.added(trial(2, None)).best == 2


def test_a_trial_that_is_looked_at_again_takes_its_own_place() -> None:
    record = Record(asked={}, metric="tau", best=2, trials=tuple(trial(n, n / 10) for n in (1, 2)))
    again = record.added(trial(1, 0.3))
    assert ([each.number for each in again.trials], again.best) == ([1, 2], 1)


# The paper's inner product, whose loss and gradient grow with the embeddings; and fixed batches.
GROWING = ["--set", "objective.likeness=inner", "--set", "order=by-length"]
# The last step's loss rises with the rate's fourth power: at 8e9 only trial 2, with ten times the loss of the others,
# has left float32 behind.
STEEP = ["--set", "model.hidden=[8]", "--set", "optimizer.name=sgd", "--set", "epochs=3", *GROWING]


def test_a_search_goes_on_after_a_trial_that_diverged_and_does_not_train_it_again(call, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    words = [*STEEP, "--set", "optimizer.lr=8e9", "--out", str(out)]
    assert call(*words, "--search", "2") == 0, capsys.readouterr().err
    assert "trial 2 diverged: step 2: the loss is" in capsys.readouterr().out
    first, second = record(out)["trials"]
    assert first["value"] is not None
    assert first["diverged"] is None
    assert second["value"] is None
    assert second["diverged"].startswith("step 2: the loss is")
    shutil.rmtree(out / "trial-02")
    assert call(*words, "--search", "3") == 0, capsys.readouterr().err
    assert not (out / "trial-02").exists()
    assert record(out)["trials"][:2] == [first, second]
    assert record(out)["trials"][2]["diverged"] is None
    assert "the best of 3 trials" in capsys.readouterr().out


def test_weights_that_are_no_numbers_when_they_are_validated_have_diverged_too(call, tmp_path, capsys) -> None:
    steep = [*STEEP, "--set", "optimizer.lr=1e38", "--set", "optimizer.weight_decay=1e10"]
    assert call(*steep, "--out", str(tmp_path / "run"), "--search", "2") == 2
    assert "each of 2 trials diverged; the first: synthetic-0-" in capsys.readouterr().err
    assert len(record(tmp_path / "run")["trials"]) == 2


def test_a_trial_that_diverged_on_a_worker_is_known_as_such() -> None:
    raised = RuntimeError("ray.train.WorkerGroupError\nvsumdata.manifests.errors.Diverged: step 1: the loss is nan\n")
    assert type(cause(raised)) is Diverged
    assert str(cause(raised)) == "step 1: the loss is nan"


def test_a_search_whose_trials_all_diverge_says_so_at_the_end(call, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    words = [*STEEP, "--set", "optimizer.lr=1e20", "--out", str(out)]
    assert call(*words, "--search", "2") == 2
    assert "each of 2 trials diverged; the first: step 1: the loss is" in capsys.readouterr().err
    assert [each["value"] for each in record(out)["trials"]] == [None, None]
    assert record(out)["best"] is None
    assert not (out / "run.json").exists()


def test_a_smaller_search_keeps_the_trials_of_a_larger_one(call, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    words = [*GROWING, "--out", str(out)]
    assert call(*words, "--search", "3") == 0
    before, info = record(out), runs.read_info(out)
    assert before["best"] != 1
    assert call(*words, "--search", "1") == 0, capsys.readouterr().err
    assert record(out) == before
    assert runs.read_info(out) == info


def test_a_search_without_validation_videos_is_refused_before_the_first_trial(call, tmp_path, capsys) -> None:
    few = ["--data", "synthetic:videos=4,frames=16,users=2", "--pool", "transductive"]
    least = ["--set", "objective.least_batch=2", "--out", str(tmp_path / "run")]
    assert call(*few, *least, "--search", "2") == 2
    assert "there are no validation videos to choose a trial by" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_metric_is_tau_also_where_auto_is_asked_for(call, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert call("--set", "select_on=auto", "--out", str(out), "--search", "1") == 0, capsys.readouterr().err
    assert record(out)["metric"] == "tau"


def test_what_is_made_of_the_winner_says_that_it_is_the_best_of_so_many(
    call, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert call("--out", str(out), "--search", "2") == 0
    note = "the best of 2 trials by tau on the validation videos"
    winner = runs.read_info(out / f"trial-{record(out)['best']:02}")
    assert runs.read_info(out).notes == (*winner.notes, note)
    assert f"trial {record(out)['best']} is {note}" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["vsumdata", "eval", str(out), "--on", "synthetic", "--data", DATA])
    assert cli.guarded(cli.app) == 0, capsys.readouterr().err
    assert note in capsys.readouterr().out


def test_a_run_that_begins_with_the_winner_says_so(call, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert call("--out", str(first), "--search", "2") == 0
    words = ["--data", f"synthetic:{DATA}", "--init", str(first), "--set", "model.hidden=[16]", "--set", "epochs=1"]
    monkeypatch.setattr(sys, "argv", ["vsumdata", "train", "mlp", *words, "--out", str(second)])
    assert cli.guarded(cli.app) == 0, capsys.readouterr().err
    assert f"{first} is the best of 2 trials by tau on the validation videos" in runs.read_info(second).notes


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["--set", "seed=1"], "settings.seed is 0 there, 1 now"),
        (["--set", "epochs=2"], "settings.epochs is 1 there, 2 now"),
        (["--set", "objective.w_size=3"], "settings.objective.w_size is 1.0 there, 3.0 now"),
        (["--set", "objective.w_size=1"], "ranges.objective.w_size is [0.01, 1000.0] there, null now"),
        (["--backbone", "vasnet"], 'settings.method is "visp+mlp" there, "visp+vasnet" now'),
        (["--pool", "transductive"], 'data.pool is "fold" there, "transductive" now'),
    ],
)
def test_another_search_has_to_have_another_folder(call, tmp_path, capsys, monkeypatch, words, difference) -> None:
    out = tmp_path / "run"

    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save", stop)  # within the first trial
        assert call("--out", str(out), "--search", "1") == 130
    if "--backbone" in words:
        monkeypatch.setitem(globals(), "WORDS", WORDS[:5])  # without the settings of an MLP
    assert call(*words, "--out", str(out), "--search", "1") == 2
    assert f"is a search with other settings ({difference}); give another --out" in capsys.readouterr().err


def test_a_record_that_cannot_be_read_is_an_error(call, tmp_path, capsys) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "search.json").write_text('{"trials": [')
    assert call("--out", str(tmp_path / "run"), "--search", "1") == 2
    assert "search.json: this version cannot read this search" in capsys.readouterr().err


def test_weights_that_have_no_effect_are_not_searched(call, tmp_path, capsys) -> None:
    out = tmp_path / "run"
    assert call("--set", "objective.variant=fixed", "--out", str(out), "--search", "1") == 2
    assert "with objective.variant=fixed visp+mlp learns from labels" in capsys.readouterr().err
    assert not out.exists()


def test_a_search_that_is_stopped_while_it_keeps_the_winner_leaves_no_run(call, tmp_path, capsys, monkeypatch) -> None:
    out = tmp_path / "run"
    put = checkpoints.put

    def stop(path: Path, data: bytes) -> None:
        if path == out / "best.safetensors":
            raise KeyboardInterrupt
        put(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "put", stop)
        assert call("--out", str(out), "--search", "1") == 130
    assert not (out / "run.json").exists()
    assert call("--out", str(out), "--search", "1") == 0, capsys.readouterr().err
    assert same_weights(out / "best.safetensors", out / "trial-01" / "best.safetensors")
