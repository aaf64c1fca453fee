"""Notice when YouTube stops sending heatmaps to this client: then `no_heatmap` decisions would be silent losses."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.compute as pc

from vsumdata.manifests import rows, tables
from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import HeatmapCollapseError
from vsumdata.pipeline.plan import HEATMAP, Stages, fingerprint, payload_schema, table_schema

WINDOW = 50
COLLAPSED = 1 / 3  # of the earlier share
COMMITTED_BEFORE = timedelta(seconds=60)  # an outcome arrives shortly after its commit
ENOUGH = 20  # earlier videos, below which their share says nothing


class HeatmapWatch:
    """Compares the last videos fetched with all before them, in this run and in earlier ones."""

    def __init__(self, with_heatmap: int, fetched: int) -> None:
        self.with_heatmap, self.fetched = with_heatmap, fetched  # before the window
        self.window: deque[tuple[bool, datetime]] = deque()  # and when its outcome arrived

    def add(self, signals: Iterable[bool | None]) -> None:
        """`signals`: whether each fetched video has a heatmap; None says nothing. Raises HeatmapCollapseError."""
        for signal in signals:
            if signal is None:
                continue
            self.window.append((signal, datetime.now(UTC)))
            if len(self.window) > WINDOW:
                self.with_heatmap += self.window.popleft()[0]
                self.fetched += 1
            if len(self.window) == WINDOW and self.fetched >= ENOUGH:
                self.compare()

    def compare(self) -> None:
        recent = sum(signal for signal, _ in self.window)
        if recent / WINDOW < COLLAPSED * self.with_heatmap / self.fetched:
            raise HeatmapCollapseError(
                f"of the last {WINDOW} videos {recent} have a heatmap, of the {self.fetched} before them "
                f"{self.with_heatmap} had: YouTube has probably stopped sending it to this client. The run stops "
                "rather than lose videos; those just fetched without one are put back. Update yt-dlp, or give "
                "cookies or another address in `crawl.yt_dlp`, and run again; if these videos really have none, "
                "`--set crawl.stop_without_heatmaps=false`"
            )

    def since(self) -> datetime:
        """When the first of the window was committed, at the earliest."""
        return self.window[0][1] - COMMITTED_BEFORE


def earlier_heatmaps(store: Store, stages: Stages) -> HeatmapWatch:
    """A watch that knows the videos fetched by earlier runs."""
    found = store.latest("videos", fingerprint(stages, "videos"), ("fetched", "source", HEATMAP))
    if not len(found):
        return HeatmapWatch(0, 0)
    is_fetched = pc.and_(pc.equal(found["outcome"], tables.DONE), found["fetched"])
    is_listed = pc.invert(pc.starts_with(found["source"], "files:"))
    found = found.filter(pc.fill_null(pc.and_(is_fetched, is_listed), False))
    return HeatmapWatch(len(found) - found[HEATMAP].null_count, len(found))


def put_back(store: Store, stages: Stages, since: datetime) -> int:
    """Turn what was fetched without a heatmap since then into retries; returns how many."""
    at = fingerprint(stages, "videos")
    found = store.latest("videos", at, ("fetched", "source", HEATMAP))
    is_fetched = pc.and_(pc.equal(found["outcome"], tables.DONE), found["fetched"])
    is_late = pc.greater_equal(found["committed_at"], since)
    is_doubtful = pc.and_(pc.and_(is_fetched, is_late), pc.is_null(found[HEATMAP]))
    found = found.filter(pc.fill_null(is_doubtful, False))
    parts = dict(zip(found["video_id"].to_pylist(), found["part"].to_pylist(), strict=True))
    stored = store.read("videos", at, parts, ["attempt", "upstream"])
    again: list[dict[str, Any]] = [
        dict.fromkeys(payload_schema(stages["videos"]).names)
        | {"video_id": video_id, "outcome": tables.RETRY, "reason": "heatmap_not_fetched"}
        | {"detail": "fetched when heatmaps stopped coming", "attempt": row["attempt"] + 1, "seconds": 0.0}
        | {"committed_at": datetime.now(UTC), "retry_after": datetime.now(UTC), "upstream": row["upstream"]}
        | {"digest": {}}
        for video_id, row in stored.items()
    ]
    if again:
        store.write("videos", at, rows.to_table(table_schema(stages["videos"]), again))
    return len(again)
