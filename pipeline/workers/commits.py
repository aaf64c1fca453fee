"""Write finished rows together, but let none wait longer than `COMMIT_AFTER_S` for the next one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from vsumdata.manifests.errors import StorageError
from vsumdata.stages.stage import Row

COMMIT_AFTER_S = 30.0
LOOK_EVERY_S = 1.0


class Commits:
    """A context manager that collects rows and calls `write` with them, at the latest after `COMMIT_AFTER_S`.

    On leaving, it writes the rest. Where `is_urgent()` is true, nothing waits. A StorageError of `write` is raised by
    the next `add`, or on leaving.
    """

    def __init__(self, write: Callable[[list[Row]], None], is_urgent: Callable[[], bool] = lambda: False) -> None:
        self.write, self.is_urgent = write, is_urgent
        self.waiting: list[Row] = []
        self.since = 0.0
        self.error: StorageError | None = None
        self.lock = threading.Lock()
        self.ended = threading.Event()
        # A thread does it, because the next row may take an hour, or wait for hours until a host answers again.
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()
        # Rows that are done are kept also when a later row raised. After a failed write a second one would fail too.
        if self.error is None:
            self.flush()
        self.check()

    def add(self, row: Row) -> None:
        """Take a finished row. Raises the StorageError of an earlier write."""
        self.check()
        with self.lock:
            if not self.waiting:
                self.since = time.monotonic()
            self.waiting.append(row)

    def watch(self) -> None:
        """Write rows that have waited long enough, until the block ends."""
        while not self.ended.wait(LOOK_EVERY_S):
            if self.waiting and (time.monotonic() - self.since > COMMIT_AFTER_S or self.is_urgent()):
                try:
                    self.flush()
                except StorageError as error:
                    # Raised here it would only end this thread; `check` raises it in the worker's.
                    self.error = error
                    return

    def flush(self) -> None:
        """Write all waiting rows now."""
        with self.lock:
            if self.waiting:
                self.write(self.waiting)
                self.waiting = []

    def check(self) -> None:
        """Raise the error of a failed write, if there was one."""
        if self.error is not None:
            raise self.error
