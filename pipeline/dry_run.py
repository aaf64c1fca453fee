"""What a run would do: counts, hours and gigabytes, from what the root knows already."""

from __future__ import annotations

from dataclasses import dataclass

from vsumdata.manifests import tables
from vsumdata.pipeline.plan import fingerprint
from vsumdata.pipeline.run import Run

# A first guess of seconds and bytes per video, until the root has rows of its own to measure by
# (orders of magnitude on 2 CPU cores, for a five-minute how-to video).
GUESS = {
    "videos": (2.0, 60_000),
    "articles": (2.0, 60_000),
    "transcripts": (30.0, 20_000),
    "frames": (40.0, 300_000),
    "features": (2.0, 400_000),
}


@dataclass(frozen=True)
class Forecast:
    """One stage of a run that has not begun. `at_most` counts videos whose upstream is still to come."""

    table: str
    ready: int
    at_most: int
    hours: float
    gigabytes: float
    measured: bool


def forecast(run: Run) -> list[Forecast]:
    """What each wanted stage would do; times are those of one worker."""
    found, unread = [], 0
    for table in run.wanted:
        plan = run.plan(table, run.again)
        ready = len(plan.tasks) if run.limit is None else min(run.limit, len(plan.tasks))
        if table == "videos":
            unread = ready
        at_most = ready + (0 if table == "videos" else plan.waiting + unread)
        if run.limit is not None:
            at_most = min(at_most, run.limit)
        seconds, size_bytes, measured = per_video(run, table)
        if table in {"videos", "articles"}:
            seconds = max(seconds, run.loaded.manifest.crawl.seconds_between_requests)
        found.append(Forecast(table, ready, at_most, at_most * seconds / 3600, at_most * size_bytes / 1e9, measured))
    return found


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
