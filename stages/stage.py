"""What a stage is: a value that names the columns it reads and the function that turns one row into another.

The function takes a row `{"video_id": str, "source": {...}, TABLE: {column: value} | None, ...}`. The row has one
entry for each table that the stage reads (None if that table has no `done` row for the video), and `source`, the
fields of the manifest's record. The function returns the payload of its table: exactly the columns of
`vsumdata.manifests.tables`, and optionally `detail`, a note for a person. Or it raises one of the video errors of
`vsumdata.manifests.errors`. It needs no Ray, and tests call it directly.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from vsumdata.manifests.errors import VideoError
from vsumdata.manifests.manifest import Captions, Select

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
VISITS, PAGES, COMPUTE = "visits", "pages", "compute"
# The lane of tables that are made of all videos at once, by the run itself when nothing else is left to do.
WHOLE = "whole"
# What such a table reads beside its rows: which videos there are, and what is known of all of them.
ALL = "all"
# What a stage may need of a video's media.
PICTURE, SOUND = "picture", "sound"
MKDIR_TRIES = 100
# File systems allow 255 bytes, and callers add a suffix.
MAX_NAME = 200


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server of a language model, as the manifest's `ChatModel` names it."""

    url: str
    key: str = field(default="", repr=False)  # secret: it travels in memory alone
    timeout_s: float = 120.0
    seconds_between_requests: float = 0.0
    requests_at_once: int = 4

    @property
    def host(self) -> str:
        """The name under which it is paced: with its port, as several servers may run on a machine."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a worker needs besides the stage's options. Nothing of it enters a fingerprint."""

    root: str = field(repr=False)  # local folder or URL, which may hold keys: `Store.location`
    scratch: str  # this run's own temporary folder, on a local disk; removed when the run ends
    crawl: Mapping[str, Any] = field(default_factory=dict)  # the manifest's `crawl` section
    # The content of the files that `crawl.yt_dlp` names, by option. Secret: it travels in memory alone.
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)  # by the table that asks it
    transport: Mapping[str, str] = field(default_factory=dict)  # host -> "127.0.0.1:port" (sample, tests)
    device: str = "cpu"  # "cuda" where the worker was given (a share of) a GPU
    threads: int = 1  # CPU threads this worker may use
    select: Select | None = None  # which videos are kept: others are not downloaded; None keeps every video
    captions: Captions | None = None  # which captions make sound needless; None: the default
    media: frozenset[str] = frozenset()  # what later stages of this run need: `picture`, `sound`
    hears_all: bool = False  # whether one of them needs the sound of videos whose captions are taken, too
    # pace(host) waits for this host's turn; pace(host, interval_s) for that of a host with a rate of its own.
    pace: Callable[..., Any] | None = None
    row_timeout_s: float = 1800.0  # a row that shows no progress for so long is given up
    progress: Callable[[], None] | None = None  # says that the row has come on: its time limit starts anew

    @property
    def idle_s(self) -> float:
        """How long a child process may keep a row waiting: it ends before the row does, with a better word."""
        return 0.9 * self.row_timeout_s

    def came_on(self) -> None:
        """Tell that the row in work has come on."""
        if self.progress is not None:
            self.progress()

    @property
    def keeps_media(self) -> bool:
        """Whether downloads stay where they are made, under the root."""
        return bool(self.crawl.get("keep_media", False)) and "://" not in self.root

    @property
    def keeps_copies(self) -> bool:
        """Whether a copy of each download goes to the root, an object store: yt-dlp and ffmpeg need local files."""
        return bool(self.crawl.get("keep_media", False)) and "://" in self.root

    def media_path(self, video_id: str) -> Path:
        """The folder of this video's downloads: under the root with `crawl.keep_media`, else in scratch."""
        return Path(self.root if self.keeps_media else self.scratch) / "media" / safe_name(video_id)

    def media_dir(self, video_id: str) -> Path:
        """Make the folder of this video's downloads."""
        folder = self.media_path(video_id)
        make_folder(folder)
        return folder


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, even while another worker removes them."""
    # cpython#142916: `mkdir(exist_ok=True)` raises FileExistsError if the folder goes between its two system calls, and
    # FileNotFoundError if a parent goes. Seen with six threads that made and removed one folder.
    for _ in range(MKDIR_TRIES):
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    # Not a race after so many tries: a file has the folder's name. Its error must be seen.
    folder.mkdir(parents=True, exist_ok=True)


def safe_name(video_id: str) -> str:
    """Return a file name for any video_id."""
    # The prefix makes `..` and `.hidden` harmless. A hash replaces the end of a long id.
    name = f"v-{quote(video_id, safe='')}"
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 17]}-{hashlib.blake2b(video_id.encode(), digest_size=8).hexdigest()}"


Function = Callable[[Row], Row]
# Of a stage of the lane WHOLE. It may go through the rows several times, always in one order; it yields for each
# video its payload or why it has none.
WholeFunction = Callable[[Iterable[Row]], Iterable[tuple[str, Row | VideoError]]]


@dataclass(frozen=True)
class Later:
    """A function of `vsumdata.stages`, by the name of its module: imported when it is first called.

    Only a worker needs the libraries of its stage. All of them together take longer to import than a `status` takes.
    """

    module: str
    name: str = "load"

    def __call__(self, *arguments: Any) -> Any:
        return getattr(importlib.import_module(f"vsumdata.stages.{self.module}"), self.name)(*arguments)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How one table is made.

    `load(options, context)` runs once per worker, loads the model and returns the row function. That of a stage of the
    lane WHOLE, which reads ALL, takes the rows of all videos at once.
    `fetch(options, context)` is optional and returns a function that adds keys to the row, a local file for example.
    A stage that `needs` a video's `picture` or `sound` gets its rows once a visit has brought it, so that a GPU does
    not wait for the network. The last such stage of a run has them removed once the row's outcome is committed.
    `payload` gives the columns of a table that `vsumdata.manifests.tables` does not know.
    """

    name: str
    reads: Mapping[str, tuple[str, ...]]
    load: Callable[[Mapping[str, Any], Context], Callable[[Any], Any]]  # Function or WholeFunction
    fetch: Callable[[Mapping[str, Any], Context], Function] | None = None
    lane: str = COMPUTE  # stages of different lanes work at the same time, those of one lane in turn
    needs: str = ""  # `picture` or `sound`
    # Columns that hold raw answers. Newer code gets them in the row's `kept`, and need not ask a site again.
    keeps: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    cpus: float = 1
    memory_gb: float = 0  # what a worker's model takes, for Ray to place it; 0: little
    gpus: float = 0
    batch: int = 1  # rows per block and per part file; a worker commits at the latest after 30 s
    workers: int | None = None  # None: as many as the cluster's CPUs or GPUs allow
    payload: pa.Schema | None = None
    is_visit: bool = False  # only brings files for other stages, and makes no table
    signal: Callable[[Row], Mapping[str, Any]] | None = None  # what an outcome says about the health of its source

    def inputs(self) -> dict[str, tuple[str, ...]]:
        """The tables that the stage reads, without `source` and ALL."""
        return {table: columns for table, columns in self.reads.items() if table not in ("source", ALL)}

    def settings(self) -> dict[str, Any]:
        """The options that say what is made.

        Those whose name ends in `location` say where a thing lies on this machine, not what it is.
        """
        return {name: value for name, value in self.options.items() if not name.endswith("location")}
