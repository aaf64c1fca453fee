"""`vsumdata status --watch`: the status again and again, reading only what changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow.fs as pafs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from vsumdata.manifests import clock
from vsumdata.manifests.store import Store
from vsumdata.pipeline.reports.status import page
from vsumdata.pipeline.state import dataset
from vsumdata.pipeline.state.plan import fingerprint

DEFAULT_S = 5.0
# A look at a large root takes seconds; the run whose progress is watched needs the disk more than the watcher.
SHARE_OF_TIME = 1 / 5


class Watched:
    """A root that is looked at again and again."""

    def __init__(self, store: Store) -> None:
        # One store for all looks: it keeps what it has read of each table, and then reads the new parts only.
        self.store = store
        self.settings_seen: Any = None
        self.seen: Any = None
        self.summary: dict[str, Any] = {}
        self.remarks: list[str] = []

    def look(self) -> bool:
        """Bring `summary` up to date; return whether anything had changed. Raises UsageError, StorageError."""
        settings = self.files("dataset.json", "models.json"), self.files_in("listings")
        if settings != self.settings_seen:
            # A run has begun or ended, or has listed a channel.
            self.loaded, self.stages, self.records, self.remarks = dataset.open_root(self.store)
            self.settings_seen = settings
        # `store.latest` finds by itself which parts are new. This asks before all else is worked out anew.
        found = (
            settings,
            self.files("pace.json"),
            [[(i.base_name, i.size) for i in self.parts_of(name)] for name in self.stages],
        )
        if found == self.seen and not self.is_any_due():
            return False
        self.summary = dataset.summary(self.store, self.loaded, self.stages, self.records)
        self.seen = found
        return True

    def parts_of(self, table: str) -> list[pafs.FileInfo]:
        return self.store.parts(table, fingerprint(self.stages, table))

    def files(self, *names: str) -> list[Any]:
        infos = self.store.fs.get_file_info([f"{self.store.base}/{name}" for name in names])
        return [(info.mtime_ns, info.size) for info in infos]

    def files_in(self, folder: str) -> list[Any]:
        selector = pafs.FileSelector(f"{self.store.base}/{folder}", allow_not_found=True)
        return sorted((info.base_name, info.mtime_ns) for info in self.store.fs.get_file_info(selector))

    def is_any_due(self) -> bool:
        """Whether a retry has fallen due since the last look: it changes the counts, and no file."""
        following = (table["retries"]["next"] for table in self.summary.get("tables", {}).values())
        return any(datetime.fromisoformat(each) <= clock.utc_now() for each in following if each)


def watch(store: Store, console: Console, every_s: float, wait: Callable[[float], None] = time.sleep) -> None:
    """Show the status until Ctrl-C: drawn anew on a terminal; elsewhere printed again when it has changed."""
    watched = Watched(store)
    if not console.is_terminal:
        for is_new in looks(watched, every_s, wait):
            if is_new:
                console.print(stamp(), highlight=False)
                for part in parts(watched.summary, watched.remarks):
                    console.print(part, highlight=False)
        return
    watched.look()
    with Live(console=console, auto_refresh=False) as live:
        for _ in looks(watched, every_s, wait):
            last = Text(f"{stamp()}, a look every {every_s:g} s; Ctrl-C ends it", style="dim")
            live.update(Group(*parts(watched.summary, watched.remarks), last), refresh=True)


def looks(watched: Watched, every_s: float, wait: Callable[[float], None]) -> Iterator[bool]:
    """Look now and then, for ever; yields whether something is new."""
    while True:
        begun = time.monotonic()
        yield watched.look()
        wait(max(every_s, (time.monotonic() - begun) * (1 / SHARE_OF_TIME - 1)))


def parts(summary: Mapping[str, Any], remarks: list[str]) -> list[RenderableType]:
    return [*(Text(remark, style="yellow") for remark in remarks), *page(summary)]


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
