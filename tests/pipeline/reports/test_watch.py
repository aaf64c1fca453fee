"""`status --watch`: what it shows, when it looks anew, and what it reads then."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console
from tests.pipeline.reports.test_status import IDS, Listed
from tests.pipeline.sample_kit import PROGRAM, here
from tests.pipeline.state.test_plan import GOOD

from vsumdata.manifests.store import Store
from vsumdata.pipeline.reports.watch import Watched, watch


@pytest.fixture
def root(tmp_path: Path) -> Listed:
    return Listed(tmp_path)


def commit(root: Listed, video_id: str, outcome: str = "done", due_s: float = 0.0) -> None:
    task = root.plan("videos", root.of(video_id)).tasks[0]
    root.commit(task, "videos", outcome, due_s=due_s, **(GOOD if outcome == "done" else {}))


def watching(root: Listed, *steps: Callable[[], object], terminal: bool) -> str:
    """What `watch` shows where the steps happen one by one between its looks, and Ctrl-C after the last."""
    said, to_do = io.StringIO(), iter(steps)
    console = Console(file=said, force_terminal=terminal, width=100, height=40)

    def wait(_: float) -> None:
        step = next(to_do, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    with pytest.raises(KeyboardInterrupt):
        watch(root.store, console, 5, wait)
    return said.getvalue()


def test_elsewhere_than_on_a_terminal_it_prints_a_snapshot_when_something_has_changed(root: Listed) -> None:
    said = watching(root, lambda: commit(root, IDS[0]), lambda: None, lambda: commit(root, IDS[1]), terminal=False)
    lines = said.splitlines()
    assert sum(line.endswith(" UTC") for line in lines) == 3, "the third look found nothing new"
    assert [line.split()[1] for line in lines if line.startswith("videos ")] == ["0", "1", "2"]
    assert "\x1b" not in said


def test_on_a_terminal_it_draws_over_what_it_drew(root: Listed) -> None:
    said = watching(root, lambda: commit(root, IDS[0]), terminal=True)
    assert "a look every 5 s; Ctrl-C ends it" in said
    assert "\x1b[1A" in said, "the cursor goes up"
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1, "the cursor is hidden, and shown at the end"


def test_it_reads_new_parts_only(root: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    scan = Store.scan

    def noting(store: Store, folder: str, parts: Sequence[tuple[str, int]], columns: Sequence[str]) -> pa.Table:
        read.extend(name for name, _ in parts)
        return scan(store, folder, parts, columns)

    for video_id in IDS[:3]:
        commit(root, video_id)
    watched = Watched(Store(root.store.root))
    monkeypatch.setattr(Store, "scan", noting)
    assert watched.look()
    read.clear()
    assert not watched.look()
    assert read == []
    before = len(list(Path(root.store.root).glob("videos/*/part-*")))
    monkeypatch.undo()
    commit(root, IDS[3])
    monkeypatch.setattr(Store, "scan", noting)
    assert watched.look()
    assert before == 3
    assert len(set(read)) == 1
    assert watched.summary["tables"]["videos"]["outcomes"]["done"] == 4


def test_a_retry_that_falls_due_is_news(root: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(root, IDS[0], "retry", due_s=3600)
    watched = Watched(root.store)
    assert watched.look()
    assert watched.summary["tables"]["videos"]["retries"]["later"] == 1
    assert not watched.look()
    due = datetime.fromisoformat(watched.summary["tables"]["videos"]["retries"]["next"])
    monkeypatch.setattr("vsumdata.pipeline.reports.watch.clock.utc_now", lambda: due + timedelta(seconds=1))
    assert watched.look()


def test_a_run_that_begins_is_news(root: Listed) -> None:
    watched = Watched(root.store)
    assert watched.look()
    root.store.write_json("dataset.json", root.store.dataset())
    assert watched.look()


def test_ctrl_c_ends_it_with_130(root: Listed) -> None:
    command = [*PROGRAM, "status", "--root", root.store.root, "--watch", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(" UTC\n")
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.parametrize("words", [["5"], ["--watch", "--json"], ["--watch", "0"]])
def test_other_uses_are_errors(root: Listed, words: list[str]) -> None:
    assert here("status", "--root", root.store.root, *words).returncode == 2
