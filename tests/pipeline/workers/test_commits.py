"""Finished rows do not wait for the row after them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vsumdata.manifests.errors import StorageError
from vsumdata.pipeline.workers import commits
from vsumdata.pipeline.workers.commits import Commits


def until(condition: Any) -> None:
    limit = time.monotonic() + 10
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    assert condition()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "COMMIT_AFTER_S", 0.1)
    monkeypatch.setattr(commits, "LOOK_EVERY_S", 0.05)


def test_a_row_is_written_while_the_next_one_takes_long() -> None:
    written: list[list[dict[str, Any]]] = []
    with Commits(written.append) as waiting:
        waiting.add({"video_id": "a"})
        until(lambda: written)
        waiting.add({"video_id": "b"})
    assert written == [[{"video_id": "a"}], [{"video_id": "b"}]]


def test_rows_that_come_quickly_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "COMMIT_AFTER_S", 60)
    written: list[list[dict[str, Any]]] = []
    with Commits(written.append) as waiting:
        for name in "abc":
            waiting.add({"video_id": name})
    assert [len(rows) for rows in written] == [3]


def test_what_is_done_is_written_when_a_row_ends_the_block() -> None:
    written: list[list[dict[str, Any]]] = []

    def end_early() -> None:
        with Commits(written.append) as waiting:
            waiting.add({"video_id": "a"})
            raise StorageError("a row ran out of room")

    with pytest.raises(StorageError, match="row"):
        end_early()
    assert written == [[{"video_id": "a"}]]


def test_a_full_disk_reaches_the_worker() -> None:
    tried = []

    def write(rows: list[dict[str, Any]]) -> None:
        tried.append(rows)
        raise StorageError("no room")

    def do_a_block() -> None:
        with Commits(write) as waiting:
            waiting.add({"video_id": "a"})
            until(lambda: waiting.error)
            waiting.add({"video_id": "b"})

    with pytest.raises(StorageError, match="no room"):
        do_a_block()
    assert len(tried) == 1
