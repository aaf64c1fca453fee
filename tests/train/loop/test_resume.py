"""A run that was killed, at whatever moment, goes on to the very weights and losses of one that was not."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from tests.train.training_kit import (
    fitted,
    losses,
    same_weights,
    small,
    start,
    stopped_at_save,
    videos,
    wait_for_lines,
)

from vsumdata.train.loop import checkpoints, runs

SETS = ["model.hidden=16", "model.layers=1", "model.heads=2", "epochs=8", "batch_size=2", "window=8"]
STEPS = 8 * 12  # the synthetic data's first fold trains on 24 videos


def command(out: Path, *sets: str) -> list[str]:
    words = ["train", "hiersum", "--data", "synthetic:videos=40,frames=30,users=2", "--out", str(out)]
    return [*words, *(word for name in (*SETS, *sets) for word in ("--set", name))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("resume") / "run"
    process = start(*command(out))
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert "24 videos, 8 to validate by synthetic" in said
    return out


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    out, rng, kills = tmp_path / "run", random.Random(6), 0
    for after in (rng.randint(5, 25), rng.randint(30, 55), rng.randint(60, 90)):
        process = start(*command(out, "save_every_s=0.02"))  # many saves: some kill falls into one
        wait_for_lines(process, out / "log.jsonl", after)
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills == 3
    process = start(*command(out))
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert "goes on after step" in said
    assert len(losses(out)) == STEPS
    assert (out / "log.jsonl").read_text() == (undisturbed / "log.jsonl").read_text()
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(out / name, undisturbed / name)


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(*command(out))
    wait_for_lines(process, out / "log.jsonl", 20)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "interrupted" in complaint
    assert "Traceback" not in complaint
    _, position = checkpoints.read(out / "last.safetensors", runs.read_info(out).digest)
    assert position.step == len(losses(out))  # not one step is lost
    process = start(*command(out))
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert f"goes on after step {position.step}" in said
    assert losses(out) == losses(undisturbed)
    assert same_weights(out / "last.safetensors", undisturbed / "last.safetensors")
    files = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    process = start(*command(out))
    said, complaint = process.communicate(timeout=100)
    assert process.returncode == 0, complaint
    assert "is complete: 8 epochs" in said
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == files


@pytest.mark.slow
def test_a_batch_systems_signal_saves_too_and_gives_its_own_exit_code(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(*command(out))
    wait_for_lines(process, out / "log.jsonl", 5)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=100)
    assert process.returncode == 143
    assert complaint.startswith("interrupted by SIGTERM")
    _, position = checkpoints.read(out / "last.safetensors", runs.read_info(out).digest)
    assert position.step == len(losses(out))


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_any_step_is_one_to_go_on_from(
    tmp_path: Path, at: int, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process: the run ends right after its `at`-th save, in the middle of an epoch or at its end."""
    sets = ["model.dropout=0.3", f"optimizer.name={optimizer}", "optimizer.momentum=0.9", "save_every_s=1e-9"]
    settings, found = small("mlp", *sets), videos(8)
    fitted(tmp_path / "whole", settings, found[:5], found[5:])
    with stopped_at_save(at, monkeypatch):
        fitted(tmp_path / "run", settings, found[:5], found[5:])
    with (tmp_path / "run" / "log.jsonl").open("a") as log:  # what a kill may leave behind the last save
        log.write('{"step": 99, "epoch": 9, "loss": 1.0}\n{"step": 100, "lo')
    fitted(tmp_path / "run", settings, found[:5], found[5:])
    assert (tmp_path / "run" / "log.jsonl").read_text() == (tmp_path / "whole" / "log.jsonl").read_text()
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(tmp_path / "run" / name, tmp_path / "whole" / name)
