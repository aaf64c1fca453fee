"""The guard around each row: what kills or outlasts its worker twice is given up."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vsumdata.pipeline.errors import ClusterError, VideoError
from vsumdata.pipeline.stage import safe_name

MAX_LOAD_DEATHS = 3


class Guard:
    """Marks the row in progress, so that one that kills or outlasts its worker twice is given up.

    The marker lies in the run's scratch folder only while the row is in progress: a marker per batch would
    condemn innocent rows. A row over its time limit ends the process (`faulthandler`; never a signal, for Ray
    calls us off the main thread); the trace it leaves tells `timeout` from `worker_died`.
    """

    def __init__(self, scratch: Path, name: str, limit_s: float) -> None:
        self.folder = scratch / "rows" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.limit_s = limit_s
        self.trace: Any = None

    @contextlib.contextmanager
    def row(self, video_id: str) -> Iterator[None]:
        """Raises VideoError instead of a third try."""
        marker = self.folder / safe_name(video_id)
        trace_path = marker.with_name(marker.name + ".trace")
        deaths = 0
        if marker.exists():
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
        """Around the loading of a model. Raises ClusterError once three workers died: Ray would go on for ever."""
        dead = [path for path in self.folder.glob("load-*") if not is_alive(int(path.name.partition("-")[2]))]
        if len(dead) >= MAX_LOAD_DEATHS:
            raise ClusterError(
                f"{self.folder.name}: {len(dead)} workers died while they loaded their model (not enough memory?)"
            )
        marker = self.folder / f"load-{os.getpid()}"
        marker.touch()
        yield
        marker.unlink(missing_ok=True)

    def arm(self) -> None:
        if self.trace is not None:
            faulthandler.dump_traceback_later(self.limit_s, exit=True, file=self.trace)


def died(trace_path: Path, limit_s: float) -> VideoError:
    trace = trace_path.read_text() if trace_path.exists() else ""
    trace_path.unlink(missing_ok=True)
    if "Timeout" in trace:
        return VideoError("timeout", f"took more than limits.row_timeout_s = {limit_s:g} s, twice\n{trace}")
    return VideoError("worker_died", "the worker process died on it, twice")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
