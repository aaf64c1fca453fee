"""What a run reports while it trains: RUN/log.jsonl, a tracker on request, and a progress bar or lines of text.

A record describes a step, {step, epoch, loss, its parts, lr}, or the end of an epoch with its validation,
{step, epoch, tau, …}. In the record of a step both numbers count from 0; at the end of an epoch they say how many
steps and epochs are done.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vsumdata.manifests.errors import StorageError
from vsumdata.train.loop.runs import LOG
from vsumdata.train.loop.tracking import Tracked


class Shows(Protocol):
    """What a run's records are shown on."""

    def show(self, record: Mapping[str, Any]) -> None: ...


# Makes a display of a run: of its number of epochs, and of steps in an epoch.
Show = Callable[[int, int], AbstractContextManager[Shows]]
LINE_EVERY_S = 5.0
NOT_SCALARS = ("step", "epoch")
# Weight of the past in the displayed loss: single batches jump too much to show a trend.
SMOOTH = 0.95
SHOWN = ("loss", "tau", "rho", "f1", "map50", "rougeL", "cosine")


class Journal:
    """Writes a run's records. Whatever the log holds beyond `num_bytes` is cut off: those steps are repeated."""

    def __init__(
        self, out: Path, num_bytes: int, display: Shows, *, tracked: Tracked | None = None, is_writer: bool = True
    ) -> None:
        self.path, self.display, self.is_writer = out / LOG, display, is_writer
        if not is_writer:
            return
        self.file = self.path.open("ab")
        # Only if longer: truncating a shorter file, as of a run whose log was deleted, would fill it with zero bytes.
        if self.file.tell() > num_bytes:
            self.file.truncate(num_bytes)
        self.tracker = None if tracked is None else tracked.open(out, self.next_step())

    def next_step(self) -> int:
        """The step after the last record."""
        lines = self.path.read_text().splitlines()
        return json.loads(lines[-1])["step"] + 1 if lines else 0

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record. Raises StorageError if the disk refuses it."""
        if not self.is_writer:
            return
        # JSON has no NaN: strict readers refuse the token that Python would write.
        valid = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        try:
            self.file.write(json.dumps(valid).encode() + b"\n")
            # A reader (`distributed.follow`, a person's `tail`) sees a line at once, and a kill loses none.
            self.file.flush()
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}; make room and run the same command again"
            ) from error
        if self.tracker is not None:
            numbers = {k: math.nan if v is None else v for k, v in valid.items() if k not in NOT_SCALARS}
            self.tracker.log(numbers, record["step"])
        self.display.show(valid)

    @property
    def num_bytes(self) -> int:
        """Size of the log in bytes."""
        return self.file.tell()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.is_writer:
            return
        # `close` flushes again. On a full disk it fails a second time, and would hide the error of `write`.
        with contextlib.suppress(OSError):
            self.file.close()
        if self.tracker is not None:
            self.tracker.close()


class Display:
    """What a person sees: a progress bar on a terminal, else a line every few seconds. Nothing without a console."""

    def __init__(self, console: Console | None, epochs: int, steps_per_epoch: int) -> None:
        self.console, self.epochs, self.total = console, epochs, epochs * steps_per_epoch
        self.values: dict[str, Any] = {}
        self.begun, self.first_step = time.monotonic(), -1
        self.next_line = self.begun + LINE_EVERY_S
        self.bar: Progress | None = None

    def __enter__(self) -> Display:
        if self.console is not None and self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[values]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
            )
            self.bar.start()
            self.row = self.bar.add_task("training", total=self.total, values="")
        return self

    def show(self, record: Mapping[str, Any]) -> None:
        """Display one record."""
        if self.console is None:
            return
        is_step = "loss" in record
        done = record["step"] + 1 if is_step else record["step"]
        # The clock for the remaining time starts at the first record: Ray's start (3 to 5 s) says nothing about steps.
        if self.first_step < 0:
            self.first_step, self.begun = done, time.monotonic()
        before = self.values.get("loss")
        self.values |= {name: value for name, value in record.items() if name in SHOWN}
        if is_step and before is not None:
            self.values["loss"] = SMOOTH * before + (1 - SMOOTH) * record["loss"]
        if self.bar is not None:
            epoch = f"epoch {min(record['epoch'] + is_step, self.epochs)} of {self.epochs}"
            self.bar.update(self.row, completed=done, description=epoch, values=self.text())
        # In a log file a line per epoch would be too many: the first, the last and one every few seconds.
        elif not is_step and (time.monotonic() > self.next_line or record["epoch"] in (1, self.epochs)):
            self.line(record["epoch"], done)

    def line(self, epoch: int, done: int) -> None:
        """Print one line for an epoch; `done` is the number of finished steps."""
        assert self.console is not None
        seconds = time.monotonic() - self.begun
        left = seconds / max(done - self.first_step, 1) * (self.total - done)
        text = f"epoch {epoch} of {self.epochs}: {self.text()}" + (f", {left:.0f} s left" if left >= 1 else "")
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.next_line = time.monotonic() + LINE_EVERY_S

    def text(self) -> str:
        return ", ".join(f"{k} {'nan' if v is None else format(v, '.3f')}" for k, v in self.values.items())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
