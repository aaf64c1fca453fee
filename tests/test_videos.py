"""The `videos` table: describe, classify, decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.manifests import tables
from vsumdata.pipeline.errors import RetryVideo
from vsumdata.stages.select import decide
from vsumdata.stages.videos import classify, describe

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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*INFO, "chapters", "subtitles", "channel"), JSON)))
def test_describe_raises_only_what_it_says(info: dict[str, Any]) -> None:
    try:
        assert list(describe(info)) == PAYLOAD
    except RetryVideo as error:
        assert error.reason == "heatmap_not_fetched"
        assert "heatmap" not in info


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


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("ERROR: [youtube] x: This video is private. Sign in if…", "private"),
        ("Join this channel to get access to members-only content", "members_only"),
        ("Video is only available to Music Premium members", "members_only"),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "age_restricted"),
        ("Sign in to confirm you’re not a bot. Use --cookies", "throttled"),
        ("Sign in to confirm you're not a bot", "throttled"),
        ("This content isn't available, try again later. The current session has been rate-limited", "throttled"),
        ("HTTP Error 429: Too Many Requests", "throttled"),
        ("All player responses are invalid. Your IP is likely being blocked by Youtube", "throttled"),
        ("YouTube is requiring a captcha challenge before playback", "throttled"),
        ("The uploader has not made this video available in your country", "region"),
        ("This live event will begin in 3 hours.", "upcoming"),
        ("Premieres in 2 days", "upcoming"),
        ("The channel is not currently live", "live"),
        ("Video unavailable. This video has been removed by the uploader", "removed"),
        ("Failed to extract any player response", "removed"),
        ("This channel does not have a shorts tab", "removed"),
        ("Failed to resolve url (does the playlist exist?)", "removed"),
        ("This video is DRM protected", "no_formats"),
        ("Requested format is not available", "no_formats"),
        ("Incomplete data received", "transient"),
        ("The read operation timed out", "transient"),
        ("HTTP Error 503: Service Unavailable", "transient"),
        ("something entirely new", "unknown"),
    ],
)
def test_classify(message: str, kind: str) -> None:
    assert classify(message) == kind


KEPT = {"source": "channel:@x", "view_count": 50_001, "duration_s": 100.0, "heatmap": [{"value": 1}]}


@pytest.mark.parametrize(
    ("changes", "select", "reason"),
    [
        ({}, {}, None),
        ({"view_count": 50_000}, {}, "low_views"),
        ({"view_count": None}, {}, "views_unknown"),
        ({"heatmap": None}, {}, "no_heatmap"),
        ({"heatmap": None}, {"require_heatmap": False}, None),
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
