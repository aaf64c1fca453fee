"""Guard each row: give up a row that killed its worker, or ran over its time limit, twice."""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import ClusterError, VideoError
from vsumdata.stages.stage import safe_name

MAX_LOAD_DEATHS = 3


class Guard:
    """Mark the row in progress, so that the next worker knows which row its predecessor died on.

    Ray retries a row that kills its worker for ever. A marker file in the run's scratch folder counts the deaths; it
    exists only while its row is in progress. After `limit_s` seconds `faulthandler` ends the process, and the trace
    that it writes tells `timeout` from `worker_died`.
    """

    def __init__(self, scratch: Path, name: str, limit_s: float) -> None:
        self.folder = scratch / "rows" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.limit_s = limit_s
        self.trace: Any = None

    @contextlib.contextmanager
    def row(self, video_id: str) -> Iterator[None]:
        """Guard one row. Raises VideoError (`timeout`, `worker_died`) instead of a third try."""
        # One marker per row: a marker per batch condemned innocent rows of the same batch.
        marker = self.folder / safe_name(video_id)
        trace_path = marker.with_name(marker.name + ".trace")
        deaths = 0
        if marker.exists():
            # The file is empty when the worker was killed between creating and writing it.
            deaths = json.loads(marker.read_text() or "0") + 1
            if deaths >= 2:
                marker.unlink()
                raise died(trace_path, self.limit_s)
        marker.write_text(str(deaths))
        with trace_path.open("a") as self.trace:
            self.arm()
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()
                self.trace = None
                marker.unlink(missing_ok=True)
                trace_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Guard the loading of a model. Raises ClusterError once three workers have died while loading."""
        # ray#33906: Ray restarts an actor without limit, so a model that never fits would hang the run.
        # A worker that loads right now holds the lock of its marker. Its process id would not tell: in containers that
        # share this folder every worker may have the same one.
        dead = [path for path in self.folder.glob("load-*") if upkeep.is_left(path)]
        if len(dead) >= MAX_LOAD_DEATHS:
            raise ClusterError(
                f"{self.folder.name}: {len(dead)} workers died while they loaded their model (not enough memory?)"
            )
        name = uuid.uuid4().hex
        with (self.folder / f"new-{name}").open("x") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Named only now, or another worker would find it without its lock, and its writer dead.
            marker = Path(file.name).rename(self.folder / f"load-{name}")
            yield
            marker.unlink(missing_ok=True)

    def arm(self) -> None:
        """Start the row's time limit, or start it anew."""
        # Not a signal: Ray Data calls the function off the main thread, where Python handles none. And a row that hangs
        # in C code would never return to Python to see one.
        if self.trace is not None:
            faulthandler.dump_traceback_later(self.limit_s, exit=True, file=self.trace)


def died(trace_path: Path, limit_s: float) -> VideoError:
    trace = trace_path.read_text() if trace_path.exists() else ""
    trace_path.unlink(missing_ok=True)
    # `faulthandler` begins its dump with "Timeout (h:mm:ss)!".
    if "Timeout" in trace:
        return VideoError("timeout", f"showed no progress for limits.row_timeout_s = {limit_s:g} s, twice\n{trace}")
    return VideoError("worker_died", "the worker process died on it, twice")
