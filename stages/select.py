"""Which videos to keep: pure decisions over the metadata, taken anew at each run and never stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsumdata.manifests.manifest import Select

LIVE = frozenset({"is_live", "is_upcoming", "post_live"})


def decide(row: Mapping[str, Any], select: Select | Mapping[str, Any]) -> str | None:
    """Why a video of the `videos` table is not wanted, or None to keep it.

    The limit on views is strict (`view_count > min_views`). For one's own files only the rules that the
    manifest writes apply, and a rule about a field that the record does not give passes. A field of the
    wrong type counts as not given.
    """
    rules = select if isinstance(select, Select) else Select.model_validate(dict(select))
    own = is_own_file(row.get("source"))

    def applies(rule: str) -> bool:
        return not own or rule in rules.model_fields_set

    views, duration_s = (
        value if isinstance(value, int | float) and not isinstance(value, bool) else None
        for value in (row.get("view_count"), row.get("duration_s"))
    )
    if str(row.get("live_status")) in LIVE:
        return "live"
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
        if views is None and not own:
            return "views_unknown"
        if views is not None and views <= rules.min_views:
            return "low_views"
    if (
        rules.require_heatmap
        and applies("require_heatmap")
        and not own
        and row.get("fetched", True)
        and not row.get("heatmap")
    ):
        return "no_heatmap"
    return None


def has_heatmap(row: Mapping[str, Any]) -> bool | None:
    """Whether a fetched video came with a heatmap; None where nothing was fetched."""
    return bool(row["heatmap"]) if row["fetched"] and not is_own_file(row["source"]) else None


def is_own_file(source: Any) -> bool:
    return isinstance(source, str) and source.startswith("files:")


def worth_fetching(listed_view_count: int | None, min_views: int | None) -> bool:
    """Whether a listed video may pass: its listed count, often missing, is not below half the limit."""
    return min_views is None or listed_view_count is None or listed_view_count >= min_views / 2
