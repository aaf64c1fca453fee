"""What a terminal shows of a table at any width: no number is lost, and none is broken over two lines."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text
from tests.terminal import shown

from vsumdata.manifests.terminal import TerminalTable, clock
from vsumdata.train.benchmark import published, table
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.table import Table

WIDTHS = (40, 80, 200)
NUMBER = re.compile(r"\[[^\]]*\]|-?\d+(?:\.\d+)?(?: ± \d+\.\d+)?")


@pytest.fixture(scope="module")
def measured() -> Table:
    """Three metrics, and papers whose methods have long names."""
    found = bench(Request(on="synthetic", data="videos=8,users=3,frames=40", seeds=2))
    return replace(found, published=published.beside("wikihow-summaries", ["frame-cm"]))


def numbers(cells: list[list[str]]) -> list[str]:
    return sorted(number for line in cells for cell in line for number in NUMBER.findall(cell))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_of_a_benchmark_is_there_unbroken(measured: Table, width: int) -> None:
    drawn = shown(table.terminal(measured), width)
    ours, theirs = drawn.split(f"{measured.data}: as published,")
    for text, cells in ((ours, measured.cells()), (theirs, published.cells(measured.published))):
        lines = [line.rstrip() for line in text.splitlines()]
        assert max(map(cell_len, lines)) <= width
        seen = sorted(number for line in lines for number in NUMBER.findall(line))
        assert not [number for number in numbers(cells) if seen.count(number) < numbers(cells).count(number)]


def test_the_last_columns_move_to_notes(measured: Table) -> None:
    human = next(line for line in measured.cells() if line[0] == "human")
    narrow, wide = (shown(table.terminal(measured), width) for width in (80, 200))
    assert "rho (synthetic):\n" in narrow
    assert f"\n  human: {human[-1]}\n" in narrow
    assert "rho (synthetic):" not in wide
    assert "  ".join(human[1:]) in wide


SMALL = TerminalTable(
    ["name", "", "MB", "why"], [["a", Text("ok"), "1.5", "2 [gone], 3 late"], ["bcd", "no", "12", ""]]
)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (31, ["name      MB   why", "a     ok  1.5  2 [gone], 3 late", "bcd   no  12"]),
        (30, ["name      MB", "a     ok  1.5", "bcd   no  12", "why: a 2 [gone], 3 late"]),
        (15, ["name      MB", "a     ok  1.5", "bcd   no  12", "why:", "  a 2 [gone], 3", "late"]),
        (12, ["name", "a     ok", "bcd   no", "MB: a 1.5;", "  bcd 12", "why:", "  a 2", "[gone], 3", "late"]),
    ],
)
def test_columns_move_when_one_cell_is_lacking(width: int, expected: list[str]) -> None:
    """The whole needs 31 cells; what has no value has no note."""
    assert [line.rstrip() for line in shown(SMALL, width).splitlines()] == expected


CELL = st.one_of(
    st.integers(0, 10**9).map(str),
    st.tuples(*[st.integers(-999, 999)] * 4).map(
        lambda n: f"{n[0] / 1000:.3f} ± {abs(n[1]) / 1000:.3f} [{n[2] / 1000:.3f}, {n[3] / 1000:.3f}] *"
    ),
    st.just(""),
)


@pytest.mark.parametrize("width", WIDTHS)
@given(rows=st.integers(1, 7).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1)))
def test_no_cell_is_lost_or_broken(width: int, rows: list[list[str]]) -> None:
    cells = [[f"method {at}", *row] for at, row in enumerate(rows)]
    headings = ["method", *(f"metric {at}" for at in range(len(rows[0])))]
    lines = [line.rstrip() for line in shown(TerminalTable(headings, cells), width).splitlines()]
    assert max(map(cell_len, lines)) <= width
    seen = [number for line in lines for number in NUMBER.findall(line)]
    for number in numbers([row[1:] for row in cells]):
        assert number in seen
    for heading, *column in zip(headings[1:], *(row[1:] for row in cells), strict=True):
        assert heading in "\n".join(lines) or not any(column)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (7.4, "0:07"),
        (59.6, "1:00"),
        (750, "12:30"),
        (3599.9, "1:00:00"),
        (3909, "1:05:09"),
        (5_000_000, "1,388:53:20"),
        (-3, "0:00"),
    ],
)
def test_a_duration_is_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
