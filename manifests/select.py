"""Decide which videos to keep, from their metadata alone.

Each run decides anew and stores no decision, so a changed `select` fetches nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsumdata.manifests.manifest import Select

# post_live: the stream is over, but YouTube still processes its recording.
LIVE = frozenset({"is_live", "is_upcoming", "post_live"})


def decide(row: Mapping[str, Any], select: Select | Mapping[str, Any]) -> str | None:
    """The reason to leave out a video of the `videos` table, or None to keep it.

    The limit on views is strict: `view_count > min_views`. The user's own files follow only the rules that the
    manifest writes, and pass a rule about a field that their record does not give. A field of the wrong type
    counts as not given.
    """
    rules = select if isinstance(select, Select) else Select.model_validate(dict(select))
    own = is_own_file(row.get("source"))

    # The defaults of `select` describe popular YouTube videos and would refuse most own files.
    def applies(rule: str) -> bool:
        return not own or rule in rules.model_fields_set

    # In Python a bool is an int: without the second test `true` would be one view.
    views, duration_s = (
        value if isinstance(value, int | float) and not isinstance(value, bool) else None
        for value in (row.get("view_count"), row.get("duration_s"))
    )
    if str(row.get("live_status")) in LIVE:
        return "live"
    # The recording of a stream has the `live_status` of no live video (`was_live`); only `media_type` tells it.
    if row.get("media_type") == "livestream" and applies("tabs") and "streams" not in rules.tabs:
        return "live"
    if row.get("media_type") == "short" and applies("tabs") and "shorts" not in rules.tabs:
        return "short"
    if duration_s is not None:
        if rules.min_duration_s is not None and applies("min_duration_s") and duration_s < rules.min_duration_s:
            return "too_short"
        if rules.max_duration_s is not None and applies("max_duration_s") and duration_s > rules.max_duration_s:
            return "too_long"
    if rules.min_views is not None and applies("min_views"):
        # Unknown is not low: some listings give no count at all.
        if views is None and not own:
            return "views_unknown"
        if views is not None and views <= rules.min_views:
            return "low_views"
    # A row made from the listing alone (`fetched` is false) says nothing about a heatmap. Own files pass without
    # one: no crawl could bring it.
    if (
        rules.require_heatmap
        and applies("require_heatmap")
        and not own
        and row.get("fetched", True)
        and not row.get("heatmap")
    ):
        return "no_heatmap"
    return None


def is_own_file(source: Any) -> bool:
    """Whether a row's `source` is a list of the user's own files."""
    return isinstance(source, str) and source.startswith("files:")


def worth_fetching(listed_view_count: int | None, min_views: int | None) -> bool:
    """Whether a listed video can still pass the limit on views: its listed count is missing or at least half of it."""
    # Listings are unreliable: one gave no count for 60 of 60 videos. So they only rule out what is far too low, and
    # `decide` judges the count of the video's own page.
    return min_views is None or listed_view_count is None or listed_view_count >= min_views / 2
