"""What a stage is: a value that says which columns it reads, and how one row becomes another.

A stage's function takes a row `{"video_id": str, "source": {...}, TABLE: {column: value} | None, ...}`: one
entry for each table that the stage reads (None where that table has no `done` row for the video) and
`source`, the fields of the manifest's own record. It returns the payload of its table (exactly the columns
of `vsumdata.manifests.tables`, and optionally `detail`, a note for a person), or raises one of the video
errors of `vsumdata.pipeline.errors`. It can be called without Ray: that is how it is tested.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
MKDIR_TRIES = 100
MAX_NAME = 200  # file systems take 255 bytes, and others add a suffix


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a worker needs beside the stage's options. Nothing of it enters a fingerprint."""

    root: str  # local folder or pyarrow.fs URL
    scratch: str  # this run's own temporary folder, on a local disk; removed when the run ends
    crawl: Mapping[str, Any] = field(default_factory=dict)  # the manifest's `crawl` section
    transport: Mapping[str, str] = field(default_factory=dict)  # host -> "127.0.0.1:port" (sample, tests)
    device: str = "cpu"  # "cuda" where the worker was given (a share of) a GPU
    threads: int = 1  # CPU threads this worker may use
    min_views: int | None = None  # a video listed with less than half of it is not fetched
    pace: Callable[[str], Any] | None = None  # pace(host): waits for this host's turn

    def media_dir(self, video_id: str) -> Path:
        """A folder for this video's downloads: kept under the root with `crawl.keep_media`, else scratch."""
        keep = self.crawl.get("keep_media") and "://" not in self.root
        folder = Path(self.root if keep else self.scratch) / "media" / safe_name(video_id)
        make_folder(folder)
        return folder


def make_folder(folder: Path) -> None:
    """`mkdir -p` of a folder that another worker may remove meanwhile, which makes that of pathlib fail."""
    for _ in range(MKDIR_TRIES):
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def safe_name(video_id: str) -> str:
    """A file name for any video_id; the prefix keeps `..` and `.hidden` harmless, a hash stands for a long end."""
    name = f"v-{quote(video_id, safe='')}"
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 17]}-{hashlib.blake2b(video_id.encode(), digest_size=8).hexdigest()}"


Function = Callable[[Row], Row]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One table's maker.

    `load(options, context)` runs once per worker (load the model there) and returns the row function.
    `fetch(options, context)`, where given, returns a function that adds keys to the row (a downloaded file,
    say); it runs ahead on CPU actors, so that a GPU never waits for the network. Paths that it puts under
    the row's `cleanup` key are removed once the row's outcome is committed. `payload` gives the columns of a
    table that `vsumdata.manifests.tables` does not know. Options whose name ends in `location` say where a
    thing is, not what it is, and do not count in the fingerprint.
    """

    name: str
    reads: Mapping[str, tuple[str, ...]]
    load: Callable[[Mapping[str, Any], Context], Function]
    fetch: Callable[[Mapping[str, Any], Context], Function] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    affects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # option -> the only columns it changes
    version: int = 1
    cpus: float = 1
    gpus: float = 0
    batch: int = 1  # rows per block and per part file; a worker commits at the latest after 30 s
    workers: int | None = None  # None: as many as the cluster's CPUs or GPUs carry
    payload: pa.Schema | None = None
    signal: Callable[[Row], bool | None] | None = None  # what a `done` row tells the run of its source's health

    def inputs(self) -> dict[str, tuple[str, ...]]:
        """The tables it reads, without the manifest's own record."""
        return {table: columns for table, columns in self.reads.items() if table != "source"}
