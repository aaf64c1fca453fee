"""A run of V2Xum-LLM that was killed goes on to the weights and metrics of one that was not."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.train.training_kit import losses, same_weights, start, wait_for_lines

from vsumdata.train.loop import checkpoints, runs

# LoRA with dropout and micro-batches: what a checkpoint leaves out, and random numbers in the middle of a step.
SETS = (
    *("model.frames=10", "model.samples=2", "model.text_tokens=20", "model.tuning=lora", "model.lora_rank=2"),
    *("model.lora_alpha=4", "model.lora_dropout=0.1", "epochs=4", "batch_size=4", "micro_batch=3", "window=4"),
)
STEPS = 4 * 3  # the synthetic data's first fold trains on 12 videos


def command(out: Path, *sets: str) -> list[str]:
    words = ["train", "v2xum", "--preset", "tiny", "--data", "synthetic:videos=20,frames=30,users=2", "--out", str(out)]
    return [*words, *(word for name in (*SETS, *sets) for word in ("--set", name))]


def test_a_program_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    other = start(*command(whole))
    for after in (2, 7):  # in the middle of the first epoch, and of the second
        process = start(*command(out, "save_every_s=1e-9"))
        wait_for_lines(process, out / "log.jsonl", after)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    _, position = checkpoints.read(out / "last.safetensors", runs.read_info(out).digest)
    assert 0 < position.step < STEPS
    process = start(*command(out))
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert f"goes on after step {position.step}" in said
    _, complaint = other.communicate(timeout=300)
    assert other.returncode == 0, complaint
    assert len(losses(out)) == STEPS
    assert (out / "log.jsonl").read_text() == (whole / "log.jsonl").read_text()  # losses, rates and metrics
    for name in ("best.safetensors", "last.safetensors"):
        assert same_weights(out / name, whole / name)
