"""Notice when a site's answers change for this client, before its moods are stored as facts about videos.

YouTube may stop sending heatmaps, and `no_heatmap` would drop good videos unseen; it may call every video unavailable,
and they would be stored as removed; or every video may meet the same trouble, and each would be tried in vain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vsumdata.manifests import clock, rows, tables
from vsumdata.manifests.errors import CollapseError
from vsumdata.manifests.manifest import Crawl
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.plan import HEATMAP, Stages, fingerprint, own_rows, payload_schema, table_schema
from vsumdata.stages.videos import HEATMAP_AGE, HEATMAP_VIEWS, REFUSALS, TROUBLE, kind_of
from vsumdata.stages.youtube.messages import UNAVAILABLE

# A collapse: of the last WINDOW videos the good share is below COLLAPSED of the share before them.
WINDOW = 50
COLLAPSED = 1 / 3
# The share of fewer earlier videos says nothing.
ENOUGH = 20
# Bad answers in a row are doubtful if by the earlier share so many come together less often than this.
DOUBTFUL = 1e-4
# So many videos in a row, with none in between that could be read or was told something else, are the site's mood or
# the client's fault. Trouble is nothing that neighbours share: 20 in a row are 4 minutes of a crawl at 12 s. Refusals
# are: a channel's videos go private or are removed together, so these take as many as a window of the other watches.
ALIKE_TROUBLE, ALIKE_REFUSALS = 20, WINDOW
# A video that met a pile-up in an earlier run, so long ago, and meets the same again, tells of itself: it adds nothing
# to a row. Else a channel whose videos really are gone would stop every run. YouTube's moods of a client last minutes
# to hours; those that last for days stop the next run at other videos, and its whole row is put back again.
TOLD_AGAIN_AFTER = timedelta(hours=6)
# More videos without an answer between two that were read look like an outage of a minute.
FEW_UNSURE = 3
HAS_HEATMAP, READABLE, ALIKE = "heatmap", "readable", "alike"
WORDS = {
    HAS_HEATMAP: (
        "have a heatmap",
        "YouTube has probably stopped sending heatmaps to this client",
        "if these videos really have no heatmap",
        "stop_without_heatmaps",
    ),
    READABLE: (
        "could be read",
        "the site has probably begun to refuse this client",
        "if these videos are really gone",
        "stop_when_refused",
    ),
}


@dataclass
class Watch:
    """Compare the share of good answers among the last visited videos with the share of all before them.

    `kind` is what is good: `heatmap` or `readable`. `good` of `total` videos were before the window. `cleared` are the
    videos of this run that have left the window without a collapse. `doubtful` are those that were bad in a row of bad
    ones that the share before them hardly explains, too short for a collapse: an outage of minutes.
    """

    kind: str
    good: int = 0
    total: int = 0
    window: deque[tuple[str, bool]] = field(default_factory=deque)
    cleared: set[str] = field(default_factory=set)
    streak: list[str] = field(default_factory=list)
    doubtful: set[str] = field(default_factory=set)

    def add(self, signals: Iterable[tuple[str, bool]]) -> None:
        """Add videos and whether their answers were good. Raises CollapseError."""
        for video_id, is_good in signals:
            if is_good:
                self.streak = []
            else:
                self.streak.append(video_id)
                if self.total >= ENOUGH and (1 - self.good / self.total) ** len(self.streak) < DOUBTFUL:
                    self.doubtful.update(self.streak)
            self.window.append((video_id, is_good))
            if len(self.window) > WINDOW:
                before, was_good = self.window.popleft()
                self.cleared.add(before)
                self.good += was_good
                self.total += 1
            if len(self.window) == WINDOW and self.total >= ENOUGH:
                self.compare()

    def compare(self) -> None:
        """Raise CollapseError if the share of the window is far below the share before it."""
        recent = sum(is_good for _, is_good in self.window)
        if recent / WINDOW < COLLAPSED * self.good / self.total:
            share, suspicion, otherwise, setting = WORDS[self.kind]
            raise CollapseError(
                self.kind,
                f"of the last {WINDOW} videos {recent} {share}, of the {self.total} before them {self.good}: "
                f"{suspicion}. The run stops before it loses videos, and will visit the doubtful ones again. Update "
                "yt-dlp, or give cookies or another address in `crawl.yt_dlp`, and run again; "
                f"{otherwise}, run with `--set crawl.{setting}=false`",
            )


@dataclass
class Alike:
    """Count videos in a row that meet the same thing, whatever it is; no share before them is needed.

    `told` are the videos that met a pile-up long ago and count no more. `row` are the latest videos that met `met`,
    `fresh` is how many of them count. `recent` are the last ones visited: several workers' answers come back mixed, so
    an ended row may be a part of the next one. `cleared` are those before.

    A video of which yt-dlp got no answer does not exist, or yt-dlp was blocked. `unsure` are such videos behind one
    that was read. Once another one is read, too, a few of them are `settled`; of many those that were `retried`.
    """

    told: frozenset[str] = frozenset()
    retried: frozenset[str] = frozenset()
    is_watching: bool = True
    met: str = ""
    row: dict[str, None] = field(default_factory=dict)
    fresh: int = 0
    recent: deque[str] = field(default_factory=deque)
    cleared: set[str] = field(default_factory=set)
    has_read: bool = False
    unsure: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)

    def add(self, video_id: str, said: Mapping[str, Any]) -> None:
        """Add one visited video. Raises CollapseError."""
        if said:
            self.recent.append(video_id)
        if len(self.recent) > WINDOW and (before := self.recent.popleft()) not in self.row:
            self.cleared.add(before)
        if said.get("readable"):
            self.end_row("")
            self.has_read = True
            self.settled |= self.unsure if len(self.unsure) <= FEW_UNSURE else self.unsure & self.retried
            self.unsure = set()
            return
        if "met" not in said:
            return
        if said["has_no_answer"] and self.has_read:
            self.unsure.add(video_id)
        if said["met"] != self.met:
            self.end_row(said["met"])
        if video_id not in self.row:
            self.row[video_id] = None
            self.fresh += video_id not in self.told
        if self.is_watching and self.fresh >= (ALIKE_TROUBLE if self.met == TROUBLE else ALIKE_REFUSALS):
            what = "met trouble" if self.met == TROUBLE else f"were {self.met}"
            raise CollapseError(
                ALIKE,
                f"{self.fresh} videos in a row {what}, the last one: {said['said']}. Hardly the videos' fault: the run "
                "stops, and will visit them again. Update yt-dlp, or give cookies or another address in "
                "`crawl.yt_dlp`, and run again; if a browser shows the same of these videos, run with "
                "`--set crawl.stop_when_alike=false`",
            )

    def end_row(self, met: str) -> None:
        """Begin a row of what was met now."""
        self.cleared.update(video_id for video_id in self.row if video_id not in self.recent)
        self.met, self.row, self.fresh = met, {}, 0


@dataclass
class Watches:
    """The watches of one run, which began at `since`."""

    watched: Mapping[str, Watch]
    since: datetime = field(default_factory=clock.utc_now)
    alike: Alike = field(default_factory=Alike)

    def add(self, signals: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Add what visited videos say of the site, see `Stage.signal`. Raises CollapseError."""
        signals = list(signals)
        for kind, watch in self.watched.items():
            watch.add((video_id, said[kind]) for video_id, said in signals if kind in said)
        for video_id, said in signals:
            self.alike.add(video_id, said)

    def put_back(self, store: Store, stages: Stages, kind: str) -> int:
        """Turn the run's doubtful videos into retries; return their number.

        These are all that have not left the window and, since its first bad answer, those that are too young or too
        little seen to be watched: whoever lowers `select.min_views` later must not find them without a heatmap.
        """
        found = earlier(store, stages)
        if not len(found):
            return 0
        is_late = pc.greater_equal(found["committed_at"], self.since)
        if kind == ALIKE:
            # Not by the row: it lacks those that were stored, but not heard of yet, when the run stopped.
            is_cleared = pc.is_in(found["video_id"], pa.array(sorted(self.alike.cleared), pa.string()))
            pairs = zip(found["outcome"].to_pylist(), found["reason"].to_pylist(), strict=True)
            is_alike = pa.array([kind_of(outcome, reason) == self.alike.met for outcome, reason in pairs])
            is_meant = pc.and_(pc.and_(is_alike, is_late), pc.and_(is_listed(found), pc.invert(is_cleared)))
            return put_back(store, stages, found.filter(pc.fill_null(is_meant, False)), kind)
        is_cleared = pc.is_in(found["video_id"], pa.array(list(self.watched[kind].cleared), pa.string()))
        is_bad = pc.invert(good(found, kind))
        is_watched = pc.and_(counted(found, kind), pc.invert(is_cleared))
        if kind == HAS_HEATMAP:
            in_window = [video_id for video_id, is_good in self.watched[kind].window if not is_good]
            first = pc.min(found.filter(pc.is_in(found["video_id"], pa.array(in_window, pa.string())))["committed_at"])
            is_watched = pc.or_kleene(
                is_watched, pc.and_(says_something(found), pc.greater_equal(found["committed_at"], first))
            )
        found = found.filter(pc.fill_null(pc.and_(pc.and_(is_watched, is_bad), is_late), False))
        return put_back(store, stages, found, kind)

    def put_back_streaks(self, store: Store, stages: Stages) -> int:
        """Turn the doubtful videos of a run that did not collapse into retries; return their number.

        Only videos that were visited for the first time: a channel may well have a row of videos without heatmaps, and
        is asked once more, not for ever.
        """
        number = 0
        for kind, watch in self.watched.items():
            found = earlier(store, stages) if watch.doubtful else pa.table({})
            if len(found):
                is_new = pc.and_(pc.greater_equal(found["committed_at"], self.since), pc.equal(found["version"], 1))
                is_doubtful = pc.is_in(found["video_id"], pa.array(sorted(watch.doubtful), pa.string()))
                is_meant = pc.and_(pc.and_(is_doubtful, is_new), pc.invert(good(found, kind)))
                number += put_back(store, stages, found.filter(pc.fill_null(is_meant, False)), kind)
        return number

    def settle(self, store: Store, stages: Stages) -> int:
        """Store videos without an answer as removed where others were read before and after; return their number."""
        found = earlier(store, stages) if self.alike.settled else pa.table({})
        if not len(found):
            return 0
        is_meant = pc.and_(
            pc.is_in(found["video_id"], pa.array(sorted(self.alike.settled))),
            pc.and_(pc.equal(found["reason"], UNAVAILABLE), pc.greater_equal(found["committed_at"], self.since)),
        )
        changes = {"outcome": tables.SKIPPED, "reason": "removed", "retry_after": None}
        detail = "no player response, while other videos were read before and after it"
        return rewrite(store, stages, found.filter(is_meant), changes | {"detail": detail})


def watches(store: Store, stages: Stages, crawl: Crawl) -> Watches:
    """Make the watches that the manifest asks for; they count the videos of earlier runs."""
    is_wanted = {HAS_HEATMAP: crawl.stop_without_heatmaps, READABLE: crawl.stop_when_refused}
    made = {kind: Watch(kind) for kind in is_wanted if is_wanted[kind]}
    found = earlier(store, stages)
    for kind in made if len(found) else ():
        rows_of_it = found.filter(pc.fill_null(counted(found, kind), False))
        num_good = pc.sum(pc.fill_null(good(rows_of_it, kind), False)).as_py() or 0
        made[kind] = Watch(kind, good=num_good, total=len(rows_of_it))
    return Watches(made, alike=alike(found, is_watching=crawl.stop_when_alike))


def alike(found: pa.Table, *, is_watching: bool) -> Alike:
    """The watch for pile-ups, which knows the videos that met trouble, or were put back, in earlier runs."""
    if not len(found):
        return Alike(is_watching=is_watching)
    found = found.filter(pc.equal(found["outcome"], tables.RETRY))
    is_long_ago = pc.less_equal(found["committed_at"], clock.utc_now() - TOLD_AGAIN_AFTER)
    told = found.filter(pc.and_(is_long_ago, pc.greater_equal(found["version"], 2)))
    retried = frozenset(found["video_id"].to_pylist())
    return Alike(frozenset(told["video_id"].to_pylist()), retried, is_watching)


def put_back(store: Store, stages: Stages, found: pa.Table, kind: str) -> int:
    """Turn these rows of `videos` into retries; return their number."""
    reason = "heatmap_not_fetched" if kind == HAS_HEATMAP else "unknown"
    changes = {"outcome": tables.RETRY, "reason": reason, "retry_after": clock.utc_now()}
    return rewrite(store, stages, found, changes | {"detail": "visited when the site's answers changed"})


def rewrite(store: Store, stages: Stages, found: pa.Table, changes: dict[str, Any]) -> int:
    """Write rows of `videos` anew, without what they held, with these values; return their number."""
    at = fingerprint(stages, "videos")
    parts = dict(zip(found["video_id"].to_pylist(), found["part"].to_pylist(), strict=True))
    stored = store.read("videos", at, parts, ["upstream"]) if parts else {}
    again: list[dict[str, Any]] = [
        dict.fromkeys(payload_schema(stages["videos"]).names)
        # No try of the video's: the client is to blame, and however often that happens, no video may fail of it.
        | {"video_id": video_id, "seconds": 0.0, "version": row["version"] + 1, "tries": 0}
        | {"committed_at": clock.utc_now(), "upstream": row["upstream"], "digest": {}}
        | changes
        for video_id, row in stored.items()
    ]
    if again:
        store.write("videos", at, rows.to_table(table_schema(stages["videos"]), again))
    return len(again)


def earlier(store: Store, stages: Stages) -> pa.Table:
    return own_rows(store, stages, "videos")


def counted(found: pa.Table, kind: str) -> pa.ChunkedArray:
    """True for the rows that say something of the site, as `videos.health` does for one outcome."""
    if kind == READABLE:
        is_refused = pc.is_in(found["reason"], pa.array(sorted(REFUSALS)))
        return pc.or_(says_something(found), pc.and_(is_listed(found), is_refused))
    is_popular = pc.greater(found["view_count"], HEATMAP_VIEWS)
    newest = pa.scalar((clock.utc_now() - timedelta(days=HEATMAP_AGE)).date(), pa.date32())
    is_old = pc.fill_null(pc.less_equal(found["published"], newest), True)
    return pc.and_(says_something(found), pc.and_(is_popular, is_old))


def says_something(found: pa.Table) -> pa.ChunkedArray:
    """True for videos of the site that were read."""
    is_fetched = pc.and_(pc.equal(found["outcome"], tables.DONE), found["fetched"])
    return pc.and_(is_listed(found), pc.fill_null(is_fetched, False))


def is_listed(found: pa.Table) -> pa.ChunkedArray:
    """False for files: their heatmaps come from the user's own list and say nothing of YouTube."""
    return pc.invert(pc.starts_with(pc.fill_null(found["source"], ""), "files:"))


def good(found: pa.Table, kind: str) -> pa.ChunkedArray:
    return pc.is_valid(found[HEATMAP]) if kind == HAS_HEATMAP else pc.equal(found["outcome"], tables.DONE)
