"""The `videos` table: describe, classify, decide."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsumdata.datasets.sample.site import HOST, SampleSite
from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import RetryVideo
from vsumdata.manifests.select import decide
from vsumdata.manifests.sources import Record
from vsumdata.stages.stage import Context
from vsumdata.stages.videos import TEXT_FIELDS, describe, load

INFO: dict[str, Any] = {
    "id": "abc",
    "title": "How to X",
    "description": "See https://www.wikihow.com/X?utm_source=yt",
    "duration": 100,
    "view_count": 50_001,
    "upload_date": "20240229",
    "heatmap": [{"start_time": 0, "end_time": 1.0, "value": 1.0}],
}
PAYLOAD = [name for name, _ in tables.VIDEOS]


def test_describe_gives_the_payload() -> None:
    found = describe(INFO)
    assert list(found) == PAYLOAD
    assert str(found["published"]) == "2024-02-29"
    assert found["heatmap"] == [{"start_s": 0.0, "end_s": 1.0, "value": 1.0}]
    assert found["article_url"] == "https://www.wikihow.com/X"
    assert found["fetched"] is True


def test_absent_and_not_fetched_heatmaps_differ() -> None:
    assert describe(INFO | {"heatmap": None})["heatmap"] is None
    with pytest.raises(RetryVideo, match="heatmap_not_fetched"):
        describe({name: value for name, value in INFO.items() if name != "heatmap"})


SURROGATES = st.text(st.characters(categories=("Cs", "Lu", "Cc")), max_size=5)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | SURROGATES | st.just(10**400)
TIMES = ("start_time", "end_time", "value", "title")
JSON = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
        | st.fixed_dictionaries({}, optional=dict.fromkeys(TIMES, inner))
    ),
    max_leaves=10,
)
SPANS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(TIMES, LEAF)), max_size=3)
FIELDS = (*INFO, *TEXT_FIELDS.values(), "subtitles", "automatic_captions", "uploader")


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON) | {"heatmap": SPANS | JSON, "chapters": SPANS}))
def test_describe_raises_only_what_it_says(info: dict[str, Any]) -> None:
    try:
        found = describe(info)
    except RetryVideo as error:
        assert error.reason == "heatmap_not_fetched"
        assert "heatmap" not in info
    else:
        assert list(found) == PAYLOAD
        rows.to_table(tables.payload("videos", {}), [found])  # and a table takes it


@settings(deadline=None)
@given(JSON)
def test_numbers_are_finite_or_none(value: Any) -> None:
    number = rows.number_or_none(value)
    assert number is None or (isinstance(number, float) and math.isfinite(number))


def test_other_sites_have_no_heatmaps_to_miss(tmp_path: Path) -> None:
    with SampleSite() as site:
        context = Context(root=str(tmp_path), scratch=str(tmp_path), transport={HOST: site.address})
        address = f"https://{HOST}/media/pancakes_01.mp4"
        record = Record(video_id="pancakes_01", source="channel:https://elsewhere.example", url=address)
        found = load({"languages": ["en"]}, context)({"source": record.as_dict()})
    assert (found["heatmap"], found["fetched"], found["title"]) == (None, True, "pancakes_01")


@pytest.mark.recorded
def test_recorded_info(recordings: Path) -> None:
    folder = recordings / "youtube" / "info_json"
    with_heatmap = json.loads((folder / "tubesync__metadata_2023-06-29.json").read_text())
    found = describe(with_heatmap)
    assert len(found["heatmap"]) == 100
    assert max(mark["value"] for mark in found["heatmap"]) == 1.0
    assert found["view_count"] == with_heatmap["view_count"]
    without = describe(json.loads((folder / "pinchflat__example.info.json").read_text()))
    assert without["heatmap"] is None


KEPT = {"source": "channel:@x", "view_count": 50_001, "duration_s": 100.0, "heatmap": [{"value": 1}]}


@pytest.mark.parametrize(
    ("changes", "select", "reason"),
    [
        ({}, {}, None),
        ({"view_count": 50_000}, {}, "low_views"),
        ({"view_count": None}, {}, "views_unknown"),
        ({"heatmap": None}, {}, "no_heatmap"),
        ({"heatmap": None}, {"require_heatmap": False}, None),
        ({"heatmap": None, "fetched": False}, {}, None),
        ({"live_status": "is_upcoming"}, {}, "live"),
        ({"media_type": "livestream", "live_status": "was_live"}, {}, "live"),
        ({"media_type": "short"}, {}, "short"),
        ({"media_type": "short"}, {"tabs": ["videos", "shorts"]}, None),
        ({"duration_s": 3600.5}, {}, "too_long"),
        ({"duration_s": 19.9}, {}, "too_short"),
        ({"duration_s": None}, {}, None),
        ({"source": "files:x", "view_count": None, "heatmap": None, "duration_s": 1.0}, {}, None),
        ({"source": "files:x", "view_count": 3}, {"min_views": 10}, "low_views"),
        ({"source": "files:x", "view_count": None}, {"min_views": 10}, None),
        ({"source": "files:x", "heatmap": None}, {"require_heatmap": True}, None),
    ],
)
def test_decide(changes: dict[str, Any], select: dict[str, Any], reason: str | None) -> None:
    assert decide(KEPT | changes, select) == reason


DECIDED = ("source", "live_status", "media_type", "duration_s", "view_count", "heatmap")


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(DECIDED, JSON | st.just("files:x"))))
def test_decide_takes_any_row(row: dict[str, Any]) -> None:
    decisions = {None, "low_views", "no_heatmap", "live", "short", "too_long", "too_short", "views_unknown"}
    assert decide(row, {}) in decisions


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "live"),
        ({"live_status": "not_live"}, "short"),
        ({"live_status": "not_live", "media_type": "video"}, "too_short"),
        ({"live_status": "not_live", "media_type": "video", "duration_s": 100.0}, "low_views"),
        ({"live_status": "not_live", "media_type": "video", "duration_s": 100.0, "view_count": 60_000}, "no_heatmap"),
    ],
)
def test_what_holds_whatever_the_rules_is_said_first(changes: dict[str, Any], reason: str) -> None:
    row = {"source": "channel:@x", "live_status": "is_live", "media_type": "short", "duration_s": 1.0, "view_count": 1}
    assert decide(row | changes, {}) == reason
