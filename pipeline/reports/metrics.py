"""What a run on a cluster tells Prometheus: visits, open breakers, outcomes, what is pending.

It is a second `Display` beside the progress. Ray's agent on the driver's node exports the numbers, and those of the
workers (pipeline/workers/meters.py). `recipes/cluster/grafana.json` shows them.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import pyarrow as pa
from rich.console import Console

from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.engine.flow import Display
from vsumdata.pipeline.engine.run import Displayed
from vsumdata.pipeline.state.pace import Turns

VISITS, OUTCOMES = "vsumdata_visits", "vsumdata_outcomes"
PENDING, BREAKER_OPEN = "vsumdata_pending", "vsumdata_breaker_open"
# Ray prefixes a name with `ray_` and ends a counter's with `_total`.
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    VISITS: ("Requests to a host that count against its rate", ("host",)),
    OUTCOMES: ("Rows of a table by outcome", ("table", "outcome")),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    PENDING: ("Videos that a table is still to make", ("table",)),
    BREAKER_OPEN: ("1 while a host pauses the run, else 0", ("host",)),
}
# Processes report to Ray's agent every 10 s, and it drops a gauge that was not set for two reports.
TELL_EVERY_S = 5.0


class RunMetrics:
    """A context manager that tells Ray's metrics how far each table has come. `visits` grows while the run works."""

    def __init__(self, breakers: Callable[[], Collection[str]], visits: Mapping[str, int]) -> None:
        self.breakers, self.visits = breakers, visits
        self.pending: dict[str, int] = {}
        self.paused: set[str] = set()  # hosts whose breaker was open at any time of this run
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.told: Counter[tuple[str, ...]] = Counter()  # how far each counter has come
        self.ended_all = threading.Event()
        # A thread, because no outcome arrives while a host pauses the run, which is when somebody looks.
        self.teller = threading.Thread(target=self.tell_now_and_then, daemon=True)

    def __enter__(self) -> RunMetrics:
        self.teller.start()
        return self

    def left(self, table: str, number: int) -> None:
        self.pending[table] = number

    def begun(self, table: str, number: int) -> None:
        pass

    def add(self, table: str, outcomes: pa.Table) -> None:
        self.outcomes.update((table, outcome) for outcome in outcomes["outcome"].to_pylist())
        self.pending[table] = max(0, self.pending.get(table, 0) - len(outcomes))

    def ended(self, table: str) -> None:
        pass

    def tell_now_and_then(self) -> None:
        while not self.ended_all.wait(TELL_EVERY_S):
            self.tell()

    def tell(self) -> None:
        """Give Ray the numbers as they are now; nothing while Ray does not run."""
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return
        # A broken pace file must not end the run that it is only shown to.
        with contextlib.suppress(UsageError, OSError):
            is_open = set(self.breakers())
            self.paused |= is_open
            for host in self.paused:
                metric(BREAKER_OPEN).set(float(host in is_open), {"host": host})
        for table, number in self.pending.copy().items():
            metric(PENDING).set(number, {"table": table})
        for host, number in dict(self.visits).items():
            self.count(VISITS, number, host=host)
        for (table, outcome), number in self.outcomes.copy().items():
            self.count(OUTCOMES, number, table=table, outcome=outcome)

    def count(self, name: str, number: int, **tags: str) -> None:
        """Have a counter reach `number`."""
        key = (name, *tags.values())
        if (more := number - self.told[key]) > 0:
            metric(name).inc(more, tags)
            self.told[key] = number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended_all.set()
        self.teller.join()
        self.tell()


@functools.cache
def metric(name: str) -> Any:
    from ray.util.metrics import Counter, Gauge

    meaning, tags = (COUNTERS | GAUGES)[name]  # type: ignore[operator]
    return (Counter if name in COUNTERS else Gauge)(name, meaning, tags)


class Both:
    """Two displays as one."""

    def __init__(self, *displays: Display) -> None:
        self.displays = displays

    def left(self, table: str, number: int) -> None:
        for display in self.displays:
            display.left(table, number)

    def begun(self, table: str, number: int) -> None:
        for display in self.displays:
            display.begun(table, number)

    def add(self, table: str, outcomes: pa.Table) -> None:
        for display in self.displays:
            display.add(table, outcomes)

    def ended(self, table: str) -> None:
        for display in self.displays:
            display.ended(table)


def with_metrics(displayed: Displayed, root: str, visits: Mapping[str, int]) -> Displayed:
    """Return a display that also tells Ray's metrics about the run on this root."""

    @contextlib.contextmanager
    def both(
        console: Console, tables: Sequence[str], interval_s: float, notice: Callable[[], str]
    ) -> Iterator[Display]:
        metrics = RunMetrics(lambda: Turns(root).open_breakers(), visits)
        with displayed(console, tables, interval_s, notice) as progress, metrics:
            yield Both(progress, metrics)

    return both
