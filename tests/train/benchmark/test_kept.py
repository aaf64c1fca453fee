"""A bench that is stopped goes on where it was, without --runs too, and shows how far it is."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.train.benchmark.bench_kit import noted_fits
from tests.train.training_kit import losses

from vsumdata.manifests.errors import Diverged, UsageError
from vsumdata.train.benchmark import kept, table, trained
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.loop import journal, runs

DATA = "videos=6,users=2,frames=24"
SMALL = Request(on="synthetic", data=DATA, methods=("mlp",), seeds=1, sets=("epochs=2", "model.hidden=[8]"))
PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.commands.main import main; main()"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSUMDATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bench"


def stops(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
    """Let the `at`-th run raise, counted from 1."""
    real, calls = trained.fit_fold, {"n": 0}

    def fit(*arguments: Any, **more: Any) -> runs.Trained:
        calls["n"] += 1
        if calls["n"] == at:
            raise error
        return real(*arguments, **more)

    monkeypatch.setattr(trained, "fit_fold", fit)


def said(request: Request) -> tuple[table.Table, str]:
    file = io.StringIO()
    return bench(request, Console(file=file, width=4000)), file.getvalue()


def test_the_same_request_goes_on_and_its_folder_goes_when_the_table_is_made(cache, monkeypatch) -> None:
    whole, told = said(SMALL)
    assert told.startswith(f"keeps its runs until the table is made in {cache}")
    assert list(cache.iterdir()) == []
    with monkeypatch.context() as patch:
        stops(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            bench(SMALL)
    (folder,) = cache.iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("mlp/seed-0/*/*.safetensors")}
    assert {path.parent.name for path in before} == {"fold-1", "fold-2"}
    # Another request has another folder, and leaves this one alone.
    other, _ = said(replace(SMALL, sets=("epochs=1", "model.hidden=[8]")))
    assert table.as_json(other) != table.as_json(whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    given = noted_fits(monkeypatch)
    found, told = said(SMALL)
    assert told.startswith(f"goes on with the runs in {folder}; stopped, the same command goes on")
    assert len(given) == 3
    assert table.as_json(found) == table.as_json(whole)
    assert list(cache.iterdir()) == []


def test_other_data_or_a_run_trained_anew_is_another_request(tmp_path: Path) -> None:
    own, other, weights = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "run" / runs.BEST
    weights.parent.mkdir()
    for each in (own, other, weights):
        each.write_text("before")
    requests: list[dict[str, Any]] = [
        {"data": str(own)},
        {"data": f"tvsum:{own}"},
        {"data": f"summe:{other}+tvsum:{own}"},
        {"data": str(own), "begun": [str(weights.parent)]},
    ]
    before = [kept.fingerprint(each) for each in requests]
    assert [kept.fingerprint(each) for each in requests] == before
    weights.write_text("trained anew")
    assert [kept.fingerprint(each) != was for each, was in zip(requests, before, strict=True)] == [False] * 3 + [True]
    weights.write_text("before")
    assert kept.fingerprint(requests[3]) == before[3], "the content counts, not when it was written"
    own.write_text("other data")
    assert all(kept.fingerprint(each) != was for each, was in zip(requests, before, strict=True))


def test_a_failed_row_leaves_the_folder_to_go_on_with(cache, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stops(patch, 2, Diverged("the loss is nan"))
        assert bench(SMALL).failed
    assert len(list(cache.glob("*/mlp/seed-0/fold-1/best.safetensors"))) == 1
    assert bench(SMALL).failed == {}
    assert list(cache.iterdir()) == []


def test_what_nobody_came_back_to_is_removed_and_what_is_in_use_is_not(cache) -> None:
    old, new, used = (cache / name for name in ("old", "new", "used"))
    for folder in (old, new, used):
        (folder / "mlp").mkdir(parents=True)
        (folder / ".lock").touch()
    past = time.time() - (kept.UNUSED_DAYS + 1) * 24 * 3600
    for folder in (old, used):
        os.utime(folder / ".lock", (past, past))
    with runs.locked(used):
        bench(replace(SMALL, sets=("epochs=1",)))
    assert sorted(path.name for path in cache.iterdir()) == ["new", "used"]


def test_two_benches_of_one_request_and_a_cache_that_cannot_be_written_are_told(cache, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stops(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            bench(SMALL)
    (folder,) = cache.iterdir()
    with runs.locked(folder), pytest.raises(UsageError, match="another process.*--runs DIR"):
        bench(SMALL)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VSUMDATA_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="the runs cannot be kept .*; give them a place with --runs DIR"):
        bench(SMALL)


def test_lines_say_method_seed_fold_epoch_and_what_is_left(cache, monkeypatch) -> None:
    monkeypatch.setattr(journal, "LINE_EVERY_S", 0.0)
    sets = ("epochs=2", "pretrain.epochs=1", "batch_size=8", "model.hidden=[8]")
    request = replace(SMALL, data="videos=9,users=2,frames=24", methods=("mlp", "visp+mlp"), sets=sets)
    _, told = said(replace(request, pool="transductive"))
    lines = told.splitlines()[1:]
    assert lines[0].startswith("run 1 of ")
    total = int(lines[0].split()[3].rstrip(":"))
    assert total % 3 == 0
    assert any(f"run 1 of {total}: mlp, seed 0, fold 1, epoch 2 of 2, loss" in line for line in lines)
    assert any(f"run {total}" in line and "visp+mlp, seed 0" in line for line in lines)
    assert any("visp+mlp (pre-training), seed 0, fold 1, epoch 1 of 1" in line for line in lines)
    assert all(line.endswith(" left") for line in lines)
    assert lines[-1].endswith("about 0:00 left")


def test_a_terminal_has_a_live_line_that_goes_away(cache) -> None:
    file = io.StringIO()
    bench(SMALL, Console(file=file, width=200, force_terminal=True))
    assert "run 3 of 3: mlp, seed 0, fold 3, epoch 2 of 2" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K"), "the bar is wiped: the table follows"


def start(cache: Path, *words: str) -> subprocess.Popen[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "VSUMDATA_CACHE": str(cache)}
    command = ["bench", "--on", "synthetic", "--data", DATA, "--methods", "mlp", "--seeds", "1", *words]
    return subprocess.Popen([*PROGRAM, *command], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.005)


@pytest.mark.slow
def test_a_killed_bench_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    """SIGKILL in the second fold, then Ctrl-C in it, then to the end: with the numbers of a bench that ran through."""
    sets = ["--set", "epochs=100", "--set", "model.hidden=[8]", "--set", "save_every_s=0.02"]
    cache, out = tmp_path / "cache", ["--json", str(tmp_path / "a.json")]
    process = start(cache, *sets, *out)
    wait_for(process, cache, "bench/*/mlp/seed-0/fold-2/last.safetensors")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (first,) = cache.glob("bench/*/mlp/seed-0/fold-1")
    second = first.with_name("fold-2")
    done = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    before = (second / "log.jsonl").read_text()

    process = start(cache, *sets, *out)
    while process.poll() is None and len((second / "log.jsonl").read_text()) <= len(before) + 500:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=100)
    assert process.returncode == 130
    assert complaint.splitlines()[-1].startswith("interrupted: finished work is kept; run the same command again")
    assert "Traceback" not in complaint
    assert {path: path.stat().st_mtime_ns for path in done} == done
    steps = [step for step, _ in losses(second)]
    assert steps == list(range(len(steps))), "each step once: what was done before the kill was not repeated"

    process = start(cache, *sets, *out)
    said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert "goes on with the runs in" in complaint
    assert "mlp" in said
    assert list((cache / "bench").iterdir()) == []
    through = bench(replace(SMALL, sets=tuple(sets[1::2])))
    assert (tmp_path / "a.json").read_text() == table.as_json(through)
