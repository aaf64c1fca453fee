"""When heatmaps stop coming: what counts, and from when on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vsumdata.pipeline.collapse import ENOUGH, WINDOW, HeatmapWatch
from vsumdata.pipeline.errors import HeatmapCollapseError


def fetched_until_it_stops(watch: HeatmapWatch, signals: Sequence[bool | None]) -> int | None:
    for number, signal in enumerate(signals, 1):
        try:
            watch.add([signal])
        except HeatmapCollapseError:
            return number
    return None


def test_fifty_videos_with_less_than_a_third_of_the_earlier_share_stop_the_run() -> None:
    # Of 100 earlier videos 60 have one: 10 of 50 are a third of that share, 9 are less.
    assert fetched_until_it_stops(HeatmapWatch(60, 100), [True] * 10 + [False] * 40) is None
    assert fetched_until_it_stops(HeatmapWatch(60, 100), [True] * 9 + [False] * 41) == WINDOW


def test_earlier_runs_count_and_the_window_begins_with_this_one() -> None:
    assert fetched_until_it_stops(HeatmapWatch(500, 1000), [False] * 60) == WINDOW
    assert fetched_until_it_stops(HeatmapWatch(500, 1000), [False] * (WINDOW - 1)) is None


def test_a_channel_without_heatmaps_and_a_short_past_say_nothing() -> None:
    assert fetched_until_it_stops(HeatmapWatch(0, 0), [False] * 500) is None
    assert fetched_until_it_stops(HeatmapWatch(0, 0), [True] * (ENOUGH - 1) + [False] * WINDOW) is None
    assert fetched_until_it_stops(HeatmapWatch(0, 0), [True] * ENOUGH + [False] * WINDOW) is not None


def test_videos_that_were_not_fetched_do_not_count() -> None:
    assert fetched_until_it_stops(HeatmapWatch(30, 30), [None] * 500) is None
    assert fetched_until_it_stops(HeatmapWatch(30, 30), [False, None] * WINDOW) == 2 * WINDOW - 1


def test_the_explanation_gives_the_numbers_and_the_way_out() -> None:
    with pytest.raises(HeatmapCollapseError) as caught:
        HeatmapWatch(300, 400).add([True] * 5 + [False] * 45)
    said = str(caught.value)
    assert "of the last 50 videos 5 have a heatmap, of the 400 before them 300 had" in said
    assert "crawl.stop_without_heatmaps=false" in said
