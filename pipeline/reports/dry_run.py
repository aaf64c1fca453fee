"""What a run would do: counts, visits, time and gigabytes, from what the root knows already, and what is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Group
from rich.text import Text

from vsumdata.manifests import tables
from vsumdata.manifests.select import is_own_file, worth_fetching
from vsumdata.manifests.sources import Record
from vsumdata.manifests.terminal import TerminalTable, clock
from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.state.listing import is_fresh, kept_listing
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages.videos import UNLISTED
from vsumdata.stages.youtube.channels import channel_url
from vsumdata.stages.youtube.errors import host_of

# A first guess of seconds and bytes per video, until the root has rows of its own to measure by
# (orders of magnitude on 2 CPU cores, for a five-minute how-to video).
GUESS = {
    "videos": (2.0, 60_000),
    "articles": (2.0, 60_000),
    "transcripts": (30.0, 20_000),
    "frames": (40.0, 300_000),
    "features": (2.0, 400_000),
    # A request a frame that is not like the one before, four at a time, at an endpoint of one GPU.
    "frame_captions": (60.0, 20_000),
    "summaries": (5.0, 2_000),
    "audio": (15.0, 400_000),
    "thumbnails": (2.0, 25_000),
    "segment_features": (400.0, 160_000),
}
DOWNLOADING = frozenset({"transcripts", "frames", "frame_captions", "audio", "thumbnails", "segment_features"})
LISTED_PER_PAGE = 30  # videos that YouTube sends with one page of a channel
# An article's address stands in a description that nobody has read yet.
SOME_SITE = "article sites"


@dataclass(frozen=True)
class Forecast:
    """One stage of a run that has not begun. `at_most` counts videos whose upstream is still to come.

    `visits` counts requests by host. `seconds` is the time of its workers, without the pace of its visits.
    """

    table: str
    ready: int
    at_most: int
    visits: Counter[str]
    seconds: float
    gigabytes: float
    measured: bool


@dataclass(frozen=True)
class Outlook:
    """A run that has not begun: its stages, the visits that list channels, and the channels never listed before."""

    forecasts: list[Forecast]
    listing: Counter[str]
    unlisted: list[str]
    pace_s: float

    def visits(self) -> Counter[str]:
        """All requests by host."""
        return sum((row.visits for row in self.forecasts), Counter(self.listing))

    def network_s(self) -> float:
        """Time of the requests. Each host has its own pace, so the most visited one counts."""
        return self.pace_s * max(self.visits().values(), default=0)

    def compute_s(self) -> float:
        """Time of the workers."""
        return sum(row.seconds for row in self.forecasts)

    def total_s(self) -> float:
        """Requests go on while workers compute, so the longer of both counts."""
        return max(self.network_s(), self.compute_s())


def forecast(run: Run) -> Outlook:
    """What each wanted stage would do. A stage whose `workers` are `auto` counts as one worker."""
    found: list[Forecast] = []
    unread: list[Record] = []
    downloaded: set[str] = set()
    for table in run.wanted:
        plan = run.plan(table, run.again)
        ready = [task.record for task in plan.tasks][: run.limit]
        coming = unread[: None if run.limit is None else run.limit - len(ready)]
        if table == "videos":
            unread = [record for record in ready if may_be_kept(record, run.loaded.manifest.select.min_views)]
        at_most = len(ready) + (0 if table == "videos" else plan.waiting + len(coming))
        if run.limit is not None:
            at_most = min(at_most, run.limit)
        visits = visits_of(table, unread if table == "videos" else [*ready, *coming], downloaded)
        seconds, size_bytes, measured = per_video(run, table)
        # Rows of these two mostly wait for the turn of their visit, which the pace counts already.
        computing = max(0, at_most - visits.total()) if table in {"videos", "articles"} else at_most
        workers = run.stages[table].workers or 1
        found.append(
            Forecast(
                table,
                len(ready),
                at_most,
                visits,
                computing * seconds / workers,
                at_most * size_bytes / 1e9,
                measured,
            )
        )
    listing, unlisted = listing_visits(run) if "videos" in run.wanted else (Counter[str](), [])
    return Outlook(found, listing, unlisted, run.loaded.manifest.crawl.seconds_between_requests)


def may_be_kept(record: Record, min_views: int | None) -> bool:
    """Whether a listed video is read at all: its listing may show that nobody can watch it, or hardly anybody did."""
    if is_own_file(record.source):
        return True
    return record.listed_title not in UNLISTED and worth_fetching(record.listed_view_count, min_views)


def visits_of(table: str, records: Iterable[Record], downloaded: set[str]) -> Counter[str]:
    """The most requests that a table makes for these videos, by host; adds to `downloaded` what it downloads."""
    found: Counter[str] = Counter()
    for record in records:
        if table == "articles":
            # Given steps and local pages need no visit, and one's own video has no page to link to an article.
            if record.steps is None and record.article is None and (record.article_url or not record.video):
                found[host_of(record.article_url) if record.article_url else SOME_SITE] += 1
        elif table == "videos" and not record.video:
            found[host_of(record.url or "")] += 1
        # One download serves all of them.
        elif table in DOWNLOADING and not record.video and record.video_id not in downloaded:
            downloaded.add(record.video_id)
            found[host_of(record.url or "")] += 1
    return found


def listing_visits(run: Run) -> tuple[Counter[str], list[str]]:
    """(visits by host, channels that were never listed): what listing the channels costs."""
    found, unlisted = Counter[str](), []
    tabs = run.loaded.manifest.select.tabs
    for channel in (source.channel for source in run.loaded.manifest.sources if source.channel):
        _, kept = kept_listing(run.store, channel, tabs)
        if kept is None:
            unlisted.append(channel)
        if kept is None or not is_fresh(kept):
            pages = -(-len(kept["records"]) // LISTED_PER_PAGE) if kept else 0
            found[host_of(channel_url(channel, tabs[0]))] += max(pages, len(tabs))
    return found, unlisted


def per_video(run: Run, table: str) -> tuple[float, float, bool]:
    """(seconds, bytes, measured?) of one video: this root's own mean where it has rows, else the guess."""
    at = fingerprint(run.stages, table)
    latest = run.store.latest(table, at, ["seconds"])
    seconds = [
        s for s, o in zip(latest["seconds"].to_pylist(), latest["outcome"].to_pylist(), strict=True)
        if o == tables.DONE and s is not None
    ]  # fmt: skip
    if not seconds:
        return *GUESS[table], False
    size_bytes = sum(info.size for info in run.store.parts(table, at))
    return sum(seconds) / len(seconds), size_bytes / len(latest), True


def forecast_table(run: Run) -> Group:
    """The forecasts and their sum, for a person."""
    found = forecast(run)
    rows = []
    for row in found.forecasts:
        basis = "this root's mean" if row.measured else "a guess"
        time_s = max(row.seconds, found.pace_s * max(row.visits.values(), default=0))
        numbers = [f"{row.ready:,}", f"{row.at_most:,}", f"{row.visits.total():,}"]
        rows.append([row.table, *numbers, clock(time_s), f"{row.gigabytes:.3f}", basis])
    table = TerminalTable(["table", "to do", "at most", "visits", "time", "GB", "by"], rows)
    return Group(table, *map(Text, sums(found)))


def sums(found: Outlook) -> list[str]:
    """The network, the compute and the whole, and what is not known, in lines."""
    hosts = ", ".join(f"{host} {number:,}" for host, number in found.visits().most_common())
    lines = [
        f"network: {clock(found.network_s())} for the visits ({hosts}), one every {found.pace_s:g} s to each host"
        if hosts
        else "network: no visits",
        f"compute: {clock(found.compute_s())} with one worker for each table, or as many as `resources` names",
        f"in all: at most {clock(found.total_s())} for the listed videos, since both go on at the same time",
    ]
    if found.unlisted:
        names = ", ".join(found.unlisted)
        lines.append(f"not known: how many videos {names} lists; a run lists them first, and the numbers grow by them")
    return lines
