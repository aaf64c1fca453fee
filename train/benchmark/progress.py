"""Show how far a bench is: a live line on a terminal, else a line of text now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from vsumdata.manifests.terminal import clock
from vsumdata.train.loop import journal
from vsumdata.train.loop.journal import SHOWN

WIDE = 120  # cells of a terminal with room for a bar
LEFT_CELLS = len("about 10:00:00 left")


class BenchProgress:
    """Counts the `total` runs of a bench. The time that is left is guessed from the runs that were trained so far."""

    def __init__(self, console: Console | None, total: int) -> None:
        self.console, self.total = console, total
        self.label, self.number = "", 0
        # In runs: what this process has trained. Runs from before cost no time, so they say nothing about the rest.
        self.trained, self.worked_s = 0.0, 0.0
        self.next_line = time.monotonic() + journal.LINE_EVERY_S
        self.bar: Progress | None = None

    def __enter__(self) -> BenchProgress:
        if self.console is not None and self.console.is_terminal and self.total:
            bar = [BarColumn(bar_width=24)] if self.console.width >= WIDE else []
            what = TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=1))
            # What is left counts for more than the end of the numbers.
            left = TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True, width=LEFT_CELLS))
            # Transient: the table that follows is all that should stay.
            self.bar = Progress(what, *bar, left, console=self.console, transient=True, expand=True)
            self.bar.start()
            self.row = self.bar.add_task("", total=self.total, left="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, label: str) -> None:
        """The next run, complete or not, is that of `label`."""
        self.label, self.number = label, self.number + 1

    @contextlib.contextmanager
    def training(self, epochs: int, steps_per_epoch: int) -> Iterator[RunShown]:
        """The display of the run that has begun."""
        shown = RunShown(self, epochs, epochs * steps_per_epoch)
        try:
            yield shown
        finally:
            self.trained += shown.share
            self.worked_s += shown.seconds

    def show(self, run: RunShown, text: str) -> None:
        if self.console is None:
            return
        where = f"run {self.number} of {self.total}: {self.label}, {text}"
        left = self.left(run)
        if self.bar is not None:
            self.bar.update(self.row, completed=self.number - 1 + run.done / run.total, description=where, left=left)
        elif time.monotonic() >= self.next_line:
            self.console.print(f"{where}; {left}" if left else where, highlight=False, markup=False, soft_wrap=True)
            self.next_line = time.monotonic() + journal.LINE_EVERY_S

    def left(self, run: RunShown) -> str:
        trained = self.trained + run.share
        if not trained:
            return ""
        rest = self.total - self.number + 1 - run.done / run.total
        return f"about {clock((self.worked_s + run.seconds) / trained * rest)} left"


class RunShown:
    """One run of a bench."""

    def __init__(self, whole: BenchProgress, epochs: int, total: int) -> None:
        self.whole, self.epochs, self.total = whole, epochs, total
        self.done, self.first, self.begun = 0, -1, time.monotonic()
        self.values: dict[str, Any] = {}

    @property
    def share(self) -> float:
        """The share of the run that was trained here: a resumed one has begun before."""
        return (self.done - self.first) / self.total if self.first >= 0 else 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def show(self, record: Mapping[str, Any]) -> None:
        """Display one record of the run's journal."""
        is_step = "loss" in record
        self.done = record["step"] + is_step
        if self.first < 0:
            self.first = self.done - is_step
        self.values |= {name: value for name, value in record.items() if name in SHOWN and value is not None}
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in self.values.items())
        self.whole.show(self, f"epoch {min(record['epoch'] + is_step, self.epochs)} of {self.epochs}, {numbers}")


@dataclass(frozen=True)
class Shown:
    """The display of one run of a row, or of its trials one after the other."""

    progress: BenchProgress
    label: str

    def begin(self, what: str = "") -> None:
        self.progress.begin(f"{self.label}, {what}" if what else self.label)
