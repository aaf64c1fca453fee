"""What a person sees of a running stage: one rich bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from vsumdata.manifests.tables import OUTCOMES

PLAIN_LINE_EVERY_S = 15.0


class NoticeColumn(ProgressColumn):
    """What holds everybody up (an open breaker), asked once a second."""

    max_refresh = 1.0

    def __init__(self, notice: Callable[[], str]) -> None:
        super().__init__()
        self.notice = notice

    def render(self, task: Task) -> Text:
        return Text(self.notice(), style="yellow")


class StageProgress:
    """Counts the outcomes of one stage and shows them; a context manager."""

    def __init__(self, console: Console, table: str, total: int, notice: Callable[[], str]) -> None:
        self.console, self.table, self.total, self.notice = console, table, total, notice
        self.counts: Counter[str] = Counter()
        self.begun = time.monotonic()
        self.bar: Progress | None = None
        self.ended = threading.Event()
        self.lines = threading.Thread(target=self.print_lines, daemon=True)

    def __enter__(self) -> StageProgress:
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description:<12}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[counts]}"),
                TimeRemainingColumn(compact=True),
                NoticeColumn(self.notice),
                console=self.console,
                get_time=time.monotonic,
            )
            self.bar.start()
            self.row = self.bar.add_task(self.table, total=self.total, counts="starting workers")
        else:
            self.console.print(f"{self.table}: {self.total} to do", highlight=False)
            self.lines.start()
        return self

    def add(self, outcomes: pa.Table) -> None:
        self.counts.update(outcomes["outcome"].to_pylist())
        if self.bar is not None:
            self.bar.update(self.row, completed=self.counts.total(), counts=self.text())

    def print_lines(self) -> None:
        """A line now and then where there is something new; at once where something holds everybody up."""
        seen, was_held, due = 0, False, time.monotonic() + PLAIN_LINE_EVERY_S
        while not self.ended.wait(1.0):
            notice, is_due = self.notice(), time.monotonic() >= due
            if (notice and not was_held) or (is_due and (notice or self.counts.total() > seen)):
                line = f"{self.table}: {self.text()} {notice}".rstrip()
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)
                seen, due = self.counts.total(), time.monotonic() + PLAIN_LINE_EVERY_S
            was_held = bool(notice)

    def text(self) -> str:
        seconds = max(time.monotonic() - self.begun, 1e-3)
        parts = [f"{self.counts[outcome]} {outcome}" for outcome in OUTCOMES if self.counts[outcome]]
        rate = self.counts.total() / seconds
        left = (self.total - self.counts.total()) / rate if rate else 0.0
        eta = "" if self.bar is not None or not left else f", {left:.0f} s left"
        return f"{', '.join(parts) or 'nothing yet'} · {rate:.2f}/s{eta}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
        else:
            self.ended.set()
            self.lines.join()
            self.console.print(f"{self.table}: {self.text()}", highlight=False)
