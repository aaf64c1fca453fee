"""Workers that die while they load their model: who counts as dead, whatever their process ids are."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from vsumdata.manifests.errors import ClusterError
from vsumdata.pipeline.workers.guard import MAX_LOAD_DEATHS, Guard


def test_any_number_of_workers_may_load_at_once(tmp_path: Path) -> None:
    """In containers that share the folder each may have the process id 1."""
    with contextlib.ExitStack() as loading:
        for _ in range(2 * MAX_LOAD_DEATHS):
            loading.enter_context(Guard(tmp_path, "frames", 60.0).loading())
    assert not list((tmp_path / "rows" / "frames").iterdir())


def test_workers_that_died_while_they_loaded_are_counted(tmp_path: Path) -> None:
    guard = Guard(tmp_path, "frames", 60.0)
    for number in range(MAX_LOAD_DEATHS):
        with guard.loading():
            pass
        (guard.folder / f"load-{number}").touch()  # its lock went with its process
    with pytest.raises(ClusterError, match=f"{MAX_LOAD_DEATHS} workers died while they loaded"), guard.loading():
        pass
