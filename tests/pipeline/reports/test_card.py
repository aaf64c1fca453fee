"""`inspect` on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.pipeline.reports.page.page_kit import BARE, HOSTILE, KEPT, PRIVATE, UNREAD, made_up

from vsumdata.pipeline.reports.card import BLOCKS, card, sparkline
from vsumdata.pipeline.reports.status import inspect


def drawn(root, video_id: str, width: int = 80) -> str:
    console = Console(width=width, file=(printed := io.StringIO()))
    console.print(card(root.store, inspect(root.store, video_id), width))
    return printed.getvalue()


def test_a_card_for_each_state(tmp_path: Path) -> None:
    root = made_up(tmp_path)
    kept = drawn(root, KEPT)
    assert "Fold a plane" in kept.splitlines()[0]
    assert "0:40 · 90,000 views · The Workshop · 2024-03-01 · CC BY" in kept
    assert "replayed  █" in kept
    assert "split train, task “Fold a plane”" in kept
    assert "skipped   private" not in kept
    assert "private" in drawn(root, PRIVATE)
    assert "unreadable" in drawn(root, BARE)
    assert "not read yet" in drawn(root, UNREAD)
    assert "<script>" in drawn(root, HOSTILE), "a title is text: no markup of rich, no HTML"


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_card_fits_its_terminal(tmp_path: Path, width: int) -> None:
    assert max(map(len, drawn(made_up(tmp_path), KEPT, width).splitlines())) <= width


@given(st.lists(st.floats(-1, 2) | st.just(float("nan")), max_size=500))
def test_a_sparkline_is_blocks(values: list[float]) -> None:
    found = sparkline(values, 60)
    assert len(found) == min(len(values), 60)
    assert set(found) <= set(BLOCKS)


def test_a_sparkline_shows_its_peak() -> None:
    assert sparkline([0, 0.5, 1, 0.2], 10) == "▁▅█▂"
