"""Show how far each table of a run has come: rich bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import pyarrow as pa
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text

from vsumdata.manifests.tables import OUTCOMES
from vsumdata.manifests.terminal import clock

# Plain lines often go to a log file, where a line a second would be noise.
PLAIN_LINE_EVERY_S = 15.0
# Tables whose rows wait for a host's turn.
PACED = ("videos", "articles")


class Bars(Progress):
    """Bars with a line below them that names the hosts that pause the run."""

    def __init__(self, console: Console, notice: Callable[[], str]) -> None:
        # The numbers count for more than the bar.
        bar = [BarColumn(bar_width=24)] if console.width >= 100 else []
        name = TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=11))
        number = MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=9))
        counts = TextColumn("{task.fields[counts]}", table_column=Column(no_wrap=True, ratio=1))
        # Before the base class, which draws at once.
        self.notice, self.said, self.asked_at = notice, "", 0.0
        super().__init__(name, *bar, number, counts, console=console)

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        # Each look reads the pace file of the root, and the bars are drawn ten times a second.
        if time.monotonic() - self.asked_at > 1.0:
            self.said, self.asked_at = self.notice(), time.monotonic()
        if self.said:
            yield Text(self.said, style="yellow")


class RunProgress:
    """A context manager that counts the outcomes of all tables of a run and shows them at once.

    `interval_s` is the least time between two visits, which bounds the rate of what is left.
    """

    def __init__(self, console: Console, tables: Sequence[str], interval_s: float, notice: Callable[[], str]) -> None:
        self.console, self.tables, self.interval_s, self.notice = console, tables, interval_s, notice
        self.counts: dict[str, Counter[str]] = {table: Counter() for table in tables}
        self.to_do = dict.fromkeys(tables, 0)
        self.worked_s = dict.fromkeys(tables, 0.0)
        self.since: dict[str, float] = {}  # when a table's work began
        self.waves: Counter[str] = Counter()
        self.bars: Bars | None = None
        self.ended_all = threading.Event()
        # A thread, because no outcome arrives during a pause, which is when a line is needed.
        self.lines = threading.Thread(target=self.print_lines, daemon=True)

    def __enter__(self) -> RunProgress:
        if self.console.is_terminal:
            self.bars = Bars(self.console, self.notice)
            self.rows = {table: self.bars.add_task(table, total=None, counts="") for table in self.tables}
            self.bars.start()
        else:
            self.lines.start()
        return self

    def left(self, table: str, number: int) -> None:
        self.to_do[table] = number
        self.draw(table)

    def begun(self, table: str, number: int) -> None:
        if table not in self.counts:
            return
        self.waves[table] += 1
        self.since.setdefault(table, time.monotonic())
        if self.bars is None:
            self.console.print(f"{table}: {number} to do", highlight=False)
        self.draw(table)

    def add(self, table: str, outcomes: pa.Table) -> None:
        self.counts[table].update(outcomes["outcome"].to_pylist())
        self.to_do[table] = max(0, self.to_do[table] - len(outcomes))
        self.draw(table)

    def ended(self, table: str) -> None:
        self.waves[table] -= 1
        if not self.waves[table]:
            self.worked_s[table] += time.monotonic() - self.since.pop(table)
        if self.bars is None:
            self.console.print(f"{table}: {self.text(table)}", highlight=False)
        self.draw(table)

    def draw(self, table: str) -> None:
        if self.bars is not None:
            done = self.counts[table].total()
            total = done + self.to_do[table]
            self.bars.update(self.rows[table], completed=done, total=total, counts=self.text(table))

    def text(self, table: str) -> str:
        """Counts, rate and the time left of one table."""
        counts = self.counts[table]
        parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
        if not parts:
            return "starting workers" if table in self.since else "waiting" if self.to_do[table] else ""
        seconds = self.worked_s[table] + time.monotonic() - self.since.get(table, time.monotonic())
        each_s = seconds / counts.total()
        # The pace allows no more, however fast the last videos were.
        left_s = self.to_do[table] * max(each_s, self.interval_s if table in PACED else 0.0)
        eta = f", {clock(left_s)} left" if left_s else ""
        return f"{', '.join(parts)} · {1 / max(each_s, 1e-3):.2f}/s{eta}"

    def print_lines(self) -> None:
        """Print a line now and then if there is news, and at once when a host pauses the run."""
        seen, was_held, due = 0, False, time.monotonic() + PLAIN_LINE_EVERY_S
        while not self.ended_all.wait(1.0):
            notice, is_due = self.notice(), time.monotonic() >= due
            total = sum(counts.total() for counts in self.counts.values())
            if (notice and not was_held) or (is_due and (notice or total > seen)):
                texts = [f"{table}: {self.text(table)}" for table in self.tables if table in self.since]
                line = " | ".join([*texts, notice] if notice else texts)
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)
                seen, due = total, time.monotonic() + PLAIN_LINE_EVERY_S
            was_held = bool(notice)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.said, self.bars.asked_at = "", time.monotonic() + 60
            self.bars.stop()
        else:
            self.ended_all.set()
            self.lines.join()
