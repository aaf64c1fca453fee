"""What a root knows of each video of its list: there, left out, gone, or not looked at yet."""

from __future__ import annotations

from collections.abc import Sequence

from vsumdata.datasets.publish.availability import Availability
from vsumdata.manifests import tables
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.dataset import open_root
from vsumdata.pipeline.state.plan import Stages, Verdicts, decisions, own_rows

PENDING = "pending"
# What a download may find of a video that could still be read before.
GONE = frozenset("private members_only age_restricted removed region".split())


def availability(store: Store) -> tuple[list[Availability], list[str]]:
    """(one entry for each video of the last run's list, in its order, remarks on the list); nothing is fetched."""
    loaded, stages, records, remarks = open_root(store)
    with store.snapshot():
        verdicts = decisions(store, stages, loaded.manifest.select)
        found = seen_in(store, stages, "videos", verdicts)
        for video_id, later in seen_in(store, stages, "frames").items():
            earlier = found.get(video_id)
            # A visit that is newer than the download counts: the video may be back.
            if earlier is not None and later.reason in GONE and later.date >= earlier.date:
                found[video_id] = later
    nothing = [Availability(record.video_id, PENDING, "", "") for record in records]
    return [found.get(one.video_id, one) for one in nothing], remarks


def seen_in(store: Store, stages: Stages, table: str, verdicts: Verdicts | None = None) -> dict[str, Availability]:
    """The latest rows of a table; a video that `select` leaves out counts as skipped, as `status` counts it."""
    rows = own_rows(store, stages, table).select(["video_id", "outcome", "reason", "committed_at"])
    found = {}
    for video_id, outcome, reason, seen_at in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        if ruling := (verdicts or {}).get(video_id):
            outcome, reason = tables.SKIPPED, "low_views" if ruling == "not_fetched" else ruling
        date = seen_at.isoformat(timespec="seconds") if seen_at else ""
        found[video_id] = Availability(video_id, outcome, reason or "", date)
    return found


def in_words(found: Sequence[Availability]) -> str:
    """How many videos there are of each outcome, for a person."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.as_text()] = counts.get(one.as_text(), 0) + 1
    shown = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {what}" for what, number in shown)
