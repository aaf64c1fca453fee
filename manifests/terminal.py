"""What a person reads on a terminal: durations, and tables, whose last columns become notes where they do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2  # cells of the terminal between two columns
INDENT = "  "
SHORT = 24  # rows of a note stand side by side where all are this short
# A number stays on one line with its deviation, an interval with its ends: `0.42 ± 0.06 [0.38, 0.46] *`.
BREAK = re.compile(r"(?<!±) (?![±*])(?![^\[]*\])")


def clock(seconds: float) -> str:
    """A duration to the second, as a player shows it: `0:07`, `12:30`, and `1:05:09` from one hour on."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:,}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@dataclass(frozen=True)
class TerminalTable:
    """Rows whose first cell is their name. rich would wrap cells, and so break a number over two lines."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str | Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = self.num_fitting(options.max_width)
        if kept > 1:
            drawn = Table(box=None, pad_edge=False)
            for heading in self.headings[:kept]:
                drawn.add_column(Text(heading), no_wrap=True)
            for row in self.rows:
                drawn.add_row(*map(as_text, row[:kept]))
            yield drawn
        for column in range(max(kept, 1), len(self.headings)):
            yield from map(Text, self.note(column, options.max_width))

    def num_fitting(self, width: int) -> int:
        """How many of the first columns fit."""
        used = -GAP
        for column, heading in enumerate(self.headings):
            used += GAP + max(map(cell_len, [heading, *(as_text(row[column]).plain for row in self.rows)]))
            if used > width:
                return column
        return len(self.headings)

    def note(self, column: int, width: int) -> Iterator[str]:
        """`MB: videos 0.1; articles 2.4`, or a line for each row where one is long; nothing for an empty column."""
        heading = f"{self.headings[column] or 'and'}:"
        found = [(as_text(row[0]).plain, text) for row in self.rows if (text := as_text(row[column]).plain)]
        if not found:
            return
        short = [f"{name} {text}" for name, text in found]
        if all(cell_len(each) <= SHORT for each in short):
            yield from filled([heading, *(f"{each};" for each in short[:-1]), *short[-1:]], width, INDENT)
        else:
            yield heading
            for name, text in found:
                yield from filled(BREAK.split(f"{name}: {text}"), width, 2 * INDENT, first=INDENT)


def as_text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)  # plain, not markup: a reason may hold brackets


def filled(parts: Sequence[str], width: int, indent: str, first: str = "") -> Iterator[str]:
    """Lines with as many parts as fit on each; the first one begins with `first`, the others with `indent`."""
    line = first + parts[0]
    for part in parts[1:]:
        if cell_len(line) + 1 + cell_len(part) > width:
            yield line
            line = indent + part
        else:
            line += f" {part}"
    yield line
