"""Finished rows on their way into a table: none waits longer than `COMMIT_AFTER_S` for the one after it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from vsumdata.pipeline.errors import StorageError
from vsumdata.pipeline.stage import Row

COMMIT_AFTER_S = 30.0
LOOK_EVERY_S = 1.0


class Commits:
    """Rows given to `add` are written together, at the latest after `COMMIT_AFTER_S`, by a thread of its own.

    The next row may take an hour, or wait for hours for a host that asked for a pause. A context manager: on
    leaving, the rest is written. `write` raises StorageError, here at the next `add` or on leaving.
    """

    def __init__(self, write: Callable[[list[Row]], None]) -> None:
        self.write = write
        self.waiting: list[Row] = []
        self.since = 0.0
        self.error: StorageError | None = None
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()
        if self.error is None:
            self.flush()
        self.check()

    def add(self, row: Row) -> None:
        self.check()
        with self.lock:
            if not self.waiting:
                self.since = time.monotonic()
            self.waiting.append(row)

    def watch(self) -> None:
        while not self.ended.wait(LOOK_EVERY_S):
            if self.waiting and time.monotonic() - self.since > COMMIT_AFTER_S:
                try:
                    self.flush()
                except StorageError as error:
                    self.error = error
                    return

    def flush(self) -> None:
        with self.lock:
            if self.waiting:
                self.write(self.waiting)
                self.waiting = []

    def check(self) -> None:
        if self.error is not None:
            raise self.error
