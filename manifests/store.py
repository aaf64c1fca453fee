"""The store: `<root>/<table>/<fingerprint>/part-*.parquet`, one row per video, the part file is the commit.

A root is a local folder or a place in an object store (`roots/`). Readers take the latest row of each video: the
highest version, then `done`, then the newest `committed_at`. So doing the same work twice is harmless. Writers lock
(`flock`) their temporary file and rename it into place, and cleaning removes only temporaries that it can lock; on an
object store each file is one PUT. Readers list the parts again when compaction has deleted one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import json
import math
import os
import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.roots import index
from vsumdata.manifests.roots.address import parse
from vsumdata.manifests.roots.filesystem import ObjectFile, file_system
from vsumdata.manifests.roots.folder import Folder
from vsumdata.manifests.roots.index import Index
from vsumdata.manifests.roots.local import TEMPORARY, put_local
from vsumdata.manifests.roots.locks import locked
from vsumdata.manifests.roots.objects import StoreRefused, open_objects
from vsumdata.manifests.roots.parts import keep_latest, read_part, rows_per_group

# Parts that are opened at once. An object store answers each after a round trip, however many ask.
READERS, REMOTE_READERS = 8, 32
# A part of an object store that is smaller than this is fetched whole, in one request.
WHOLE_BYTES = 1 << 20
# Tables of so many parts are combined at once: thousands of small Arrow buffers take several times their content.
COMBINED_AT = 512
NO_ROOM, NOT_ALLOWED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}, {errno.EACCES, errno.EPERM, errno.EROFS}
# What a run writes before its dataset.json: a first run that was killed leaves these, and the root is still ours.
OURS = frozenset(
    {"dataset.json", "models.json", "pace.json", "listings", "logs", "media", "cache", "tmp"}
    | {"leases", "leases.lock", "models.lock", ".lock", ".runs", ".alone"}
)
LATEST = ("video_id", "outcome", "reason", "version", "tries", "committed_at", "retry_after")
# The key of a part's metadata that says how it was made.
MADE_BY = "vsumdata"

Result = TypeVar("Result")


@dataclass
class Kept:
    """What this process has read of a table. It is valid while the table's parts stay the same."""

    # A run plans about ten times. Without this memory each time would scan every part of every table.
    parts: list[tuple[str, int]]  # name, bytes
    latest: pa.Table | None = None
    before: Kept | None = None  # the same when there were fewer parts: only the new ones need a scan
    derived: dict[Hashable, Any] = field(default_factory=dict)  # what callers computed from `latest`
    num_indexed: int = 0  # parts that an index of the table stands for


class Store:
    """One root: a local path, or the URL of a place in an object store.

    `root` is its name for whatever is shown or stored; `location` is what opens it, and may hold keys. `local` is its
    folder and `objects` None, or the other way round. Raises UsageError for a wrong URL.
    """

    def __init__(self, root: str | Path) -> None:
        text = str(root)
        address = parse(text)
        self.objects = open_objects(address) if address is not None else None
        self.local: Path | None = None
        if address is not None and self.objects is not None:
            self.fs, self.base = file_system(self.objects), f"{address.bucket}/{address.prefix}".rstrip("/")
            self.root, self.location, self.secrets = address.shown, text, address.secrets
        else:
            self.local = Path(os.path.expanduser(text.removeprefix("file://"))).resolve()
            self.fs, self.base = pafs.LocalFileSystem(), str(self.local)
            self.root, self.location, self.secrets = str(self.local), str(self.local), ()
        self.kept: dict[tuple[str, str], Kept] = {}
        self.keeps_index = False  # a run sets it: whoever only reads writes nothing
        self.listings: dict[tuple[str, str], list[pafs.FileInfo]] | None = None

    def folder(self, table: str, fingerprint: str) -> str:
        """The folder of a table's parts, as `fs` names it."""
        return f"{self.base}/{table}/{fingerprint}"

    # Writing

    def write(self, table: str, fingerprint: str, content: pa.Table, order: pa.Array | None = None) -> str:
        """Commit one part, its rows in the order of the indices `order`, and return its name.

        Raises StorageError when the root cannot be written.
        """
        # The zeros make names sort by time; the random end keeps two writers apart that commit at the same moment.
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        path = f"{self.folder(table, fingerprint)}/{name}"
        # In memory first: `put` needs the whole file, since on an object store the one PUT is the commit.
        buffer = io.BytesIO()
        per_group = rows_per_group(content)
        # Parquet has no checksums unless asked, and `verify` could not find a flipped bit without them.
        with pq.ParquetWriter(buffer, content.schema, compression="zstd", write_page_checksum=True) as writer:
            for first in range(0, len(content), per_group):
                # One group after the other: a sorted copy of a shard would double what a run's process holds.
                rows = (
                    content.slice(first, per_group) if order is None else content.take(order[first : first + per_group])
                )
                writer.write_table(rows, row_group_size=per_group)
        self.put(path, buffer.getbuffer())
        return name

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Write a file that appears whole or not at all. Raises StorageError when the root cannot be written."""
        if self.listings is not None:
            self.listings.clear()
        if self.objects is not None:
            self.objects.put(path, data)
            return
        try:
            put_local(Path(path), data)
        except OSError as error:
            remedy = "make room" if error.errno in NO_ROOM else "see to the disk"
            remedy = "fix the permissions" if error.errno in NOT_ALLOWED else remedy
            raise StorageError(
                f"cannot write to {path}: {error.strerror or error}; what is committed is kept, "
                f"{remedy} and run the same command again"
            ) from error

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that are gone already count as deleted."""
        if self.listings is not None:
            self.listings.clear()
        if self.objects is not None:
            self.objects.delete(paths)
            return
        for path in paths:
            Path(path).unlink(missing_ok=True)

    def inside(self, name: str) -> Folder:
        """The folder `name` of the root, for small files that are no tables."""
        return Folder(f"{self.base}/{name}", self.objects)

    # Reading

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """List each table only once inside of this block: what others commit meanwhile is seen after it."""
        if self.listings is not None:
            yield
            return
        self.listings = {}
        try:
            yield
        finally:
            self.listings = None

    def files(self, table: str, fingerprint: str) -> list[pafs.FileInfo]:
        """The files of a table, by name: parts and indexes; none where the table does not exist."""
        known = self.listings if self.listings is not None else {}
        if (table, fingerprint) not in known:
            selector = pafs.FileSelector(self.folder(table, fingerprint), allow_not_found=True)
            found = [i for i in self.fs.get_file_info(selector) if i.extension == "parquet"]
            known[table, fingerprint] = sorted(found, key=lambda info: info.base_name)
        return known[table, fingerprint]

    def parts(self, table: str, fingerprint: str) -> list[pafs.FileInfo]:
        """The committed parts, oldest first; none where the table does not exist."""
        return [info for info in self.files(table, fingerprint) if info.base_name.startswith("part-")]

    def indexes(self, table: str, fingerprint: str) -> list[pafs.FileInfo]:
        """The files of the table's indexes, oldest first."""
        return [info for info in self.files(table, fingerprint) if index.is_index(info.base_name)]

    def known(self, table: str, fingerprint: str) -> Kept:
        """This process's memory of a table; empty at first, and again when another process has changed the parts."""
        # A part never changes after its commit, so the names and sizes tell whether anything is new.
        parts = [(info.base_name, info.size) for info in self.parts(table, fingerprint)]
        kept = self.kept.get((table, fingerprint))
        if kept is None or kept.parts != parts:
            # An empty table has no types of columns.
            serves = kept is not None and kept.latest is not None and len(kept.latest) and set(kept.parts) <= set(parts)
            before = kept if serves else None
            num_indexed = before.num_indexed if before is not None else 0
            kept = self.kept[table, fingerprint] = Kept(parts, before=before, num_indexed=num_indexed)
        return kept

    def latest(self, table: str, fingerprint: str, columns: Sequence[str] = ()) -> pa.Table:
        """The latest row of each video: the columns `LATEST`, `columns` and `part` (the file's name).

        A column `digest.url` is the field `url` of `digest`, and only that field is read. Raises StorageError for a
        broken part, and for one that an older version of vsumdata wrote.
        """

        def read() -> pa.Table:
            kept = self.known(table, fingerprint)
            if kept.latest is None or not set(wanted) <= set(kept.latest.column_names):
                self.bring(table, fingerprint, kept, wanted)
            assert kept.latest is not None
            return kept.latest.select([*wanted, "part"])

        wanted = list(dict.fromkeys([*LATEST, *columns]))
        try:
            return self.relisting(read)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"a part of table `{table}` cannot be read ({str(error).splitlines()[0]}); "
                f"`vsumdata verify --root {self.root}` names it; delete it, and the next run makes its videos again"
            ) from error

    def bring(self, table: str, fingerprint: str, kept: Kept, wanted: Sequence[str]) -> None:
        """Fill `kept.latest`: what this process or an index knows already, and a scan of the other parts."""
        # Read the old columns again too, else two callers with different columns would evict each other.
        more = kept.latest.column_names[:-1] if kept.latest is not None else []
        known, kept.before = kept.before or Kept([]), None
        if known.latest is None or not set(wanted) <= set(known.latest.column_names):
            wanted = list(dict.fromkeys([*wanted, *more]))
            known = self.indexed(table, fingerprint, kept.parts, wanted) or Kept([])
        columns = known.latest.column_names[:-1] if known.latest is not None else wanted
        folder, new = self.folder(table, fingerprint), sorted(set(kept.parts) - set(known.parts))
        found = known.latest if known.latest is not None and not new else self.scan(folder, new, columns)
        if known.latest is not None and new:
            found = keep_latest(pa.concat_tables([known.latest, found]).unify_dictionaries().combine_chunks())
        kept.latest, kept.num_indexed = found, known.num_indexed
        if self.keeps_index and len(kept.parts) - kept.num_indexed > index.AFTER_A_SCAN:
            self.write_index(table, fingerprint)

    def scan(self, folder: str, parts: Sequence[tuple[str, int]], columns: Sequence[str]) -> pa.Table:
        """The latest rows of some parts of a folder, which are given with their sizes."""
        if not parts:
            head = dict(tables.HEAD)
            return pa.table({name: pa.array([], head.get(name, pa.string())) for name in (*columns, "part")})

        # Many small parts cost mostly waiting, so several are opened at once. A few large ones keep the cores busy
        # only with pyarrow's own threads: planning over 100,000 compacted videos went from 5.8 s to 4.9 s.
        def read(part: tuple[str, int]) -> pa.Table:
            path = f"{folder}/{part[0]}"
            return read_part(self.source(path, part[1]), path, columns, len(parts) < READERS)

        found: list[pa.Table] = []
        with ThreadPoolExecutor(READERS if self.objects is None else REMOTE_READERS) as pool:
            for first in range(0, len(parts), COMBINED_AT):
                some = pa.concat_tables(pool.map(read, parts[first : first + COMBINED_AT]))
                # Each part brings a dictionary of its own name; rows of all parts need one dictionary in common.
                found.append(some.unify_dictionaries().combine_chunks())
        return keep_latest(pa.concat_tables(found).unify_dictionaries().combine_chunks())

    def source(self, path: str, size: int | None = None) -> Any:
        """What pyarrow's readers take for a part: its path, or what was fetched of an object."""
        if self.objects is None:
            return path
        if size is None or size <= WHOLE_BYTES:
            content, size = self.objects.get_start(path, WHOLE_BYTES)
            if size <= WHOLE_BYTES:
                return pa.BufferReader(content)
        return pa.PythonFile(ObjectFile(self.objects, path, size), mode="r")

    def sources(self, parts: Sequence[pafs.FileInfo]) -> Iterator[tuple[pafs.FileInfo, Callable[[], Any]]]:
        """Each part with a function that opens it. Parts of an object store are fetched some at a time, ahead."""
        if self.objects is None:
            yield from ((info, functools.partial(self.source, info.path)) for info in parts)
            return
        with ThreadPoolExecutor(REMOTE_READERS) as pool:
            for first in range(0, len(parts), REMOTE_READERS):
                some = parts[first : first + REMOTE_READERS]
                yield from [(info, pool.submit(self.source, info.path, info.size).result) for info in some]

    def read(
        self, table: str, fingerprint: str, parts: Mapping[str, str], columns: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Some columns of the latest row of some videos, by video_id. `parts`: video_id -> part, as from `latest`.

        Raises StorageError if the row of a video is nowhere to be found.
        """

        def read_one(part: str, ids: Sequence[str]) -> list[dict[str, Any]]:
            # `partitioning=None`: else pyarrow takes a folder `a=b` in the root's own path for a column (arrow#11844).
            source = self.source(f"{self.folder(table, fingerprint)}/{part}")
            content = pq.read_table(
                source,
                filesystem=self.fs if isinstance(source, str) else None,
                columns=list(dict.fromkeys(["video_id", *LATEST, *columns])),
                filters=[("video_id", "in", ids)],
                partitioning=None,
            )
            return rows.to_rows(keep_latest(content))

        def read() -> dict[str, dict[str, Any]]:
            # `relisting` calls this again when a part has gone: compaction merged it, and the rows are elsewhere now.
            where = parts if not state["moved"] else self.locate(table, fingerprint, parts)
            state["moved"] = True
            ids_of: dict[str, list[str]] = {}
            for video_id, part in where.items():
                ids_of.setdefault(part, []).append(video_id)
            # One at a time from a disk: parts hold features, and several would be in memory at once for nothing.
            with ThreadPoolExecutor(1 if self.objects is None else READERS) as pool:
                pieces = pool.map(read_one, ids_of, ids_of.values())
                found = {row["video_id"]: row for piece in pieces for row in piece}
            if lost := sorted(set(parts) - set(found)):
                raise FileNotFoundError(errno.ENOENT, "no such row", lost[0])
            return found

        state = {"moved": False}
        if not parts:
            return {}
        try:
            return self.relisting(read)
        except FileNotFoundError as error:
            # Never left out: whoever reads would take the video for one without this row.
            raise StorageError(
                f"{self.root}: table `{table}` has lost what it had of {error.filename}; "
                "run the same command again: it plans by what is there"
            ) from error

    def made_by(self, table: str, fingerprint: str) -> dict[str, Any]:
        """How a table was made, as its first part says (`stage`, `version`, `options` …); {} if that is not known."""
        parts = self.parts(table, fingerprint)
        if not parts:
            return {}
        source = self.source(parts[0].path, parts[0].size)
        schema = pq.read_schema(source, filesystem=self.fs if isinstance(source, str) else None)
        found: dict[str, Any] = json.loads((schema.metadata or {}).get(MADE_BY.encode(), b"{}"))
        return found

    def older(self, table: str, fingerprint: str) -> list[str]:
        """The table's other fingerprints, the last written first."""
        folders = self.fs.get_file_info(pafs.FileSelector(f"{self.base}/{table}", allow_not_found=True))
        others = [f.base_name for f in folders if f.type == pafs.FileType.Directory and f.base_name != fingerprint]
        # Parts are named by their time.
        newest = {at: max((info.base_name for info in self.parts(table, at)), default="") for at in others}
        return sorted((at for at in others if newest[at]), key=lambda at: newest[at], reverse=True)

    def locate(self, table: str, fingerprint: str, video_ids: Iterable[str]) -> dict[str, str]:
        """video_id -> the part that holds its latest row."""
        found, wanted = self.latest(table, fingerprint), set(video_ids)
        parts = zip(*(found[c].to_pylist() for c in ("video_id", "part")), strict=True)
        return {video_id: part for video_id, part in parts if video_id in wanted}

    # Indexes, see `roots.index`

    def indexed(self, table: str, fingerprint: str, parts: index.Parts, wanted: Iterable[str]) -> Kept | None:
        """What the newest index that serves knows; None if none does."""
        for info in reversed(self.indexes(table, fingerprint)):
            found = index.decode(info.base_name, self.content(info.path))
            if found is not None and index.serves(found, parts, wanted):
                return Kept(list(found.parts), found.latest, num_indexed=len(found.parts))
        return None

    def write_index(self, table: str, fingerprint: str) -> None:
        """Write an index of what this process knows of a table. A root that cannot be written stays without."""
        kept = self.kept.get((table, fingerprint))
        if kept is None or kept.latest is None:
            return
        old = [info.path for info in self.indexes(table, fingerprint)]
        name, content = index.encode(Index(kept.parts, kept.latest))
        with contextlib.suppress(StorageError, OSError):
            self.put(f"{self.folder(table, fingerprint)}/{name}", content)
            kept.num_indexed = len(kept.parts)
            self.delete(old)

    def write_indexes(self) -> None:
        """At a run's end: write an index of each table with more than some parts that its index does not name."""
        for (table, fingerprint), kept in list(self.kept.items()):
            if len(kept.parts) - kept.num_indexed > index.AT_THE_END:
                self.write_index(table, fingerprint)

    # What the root says of itself

    def content(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError, another OSError or StorageError."""
        return self.objects.get(path) if self.objects is not None else Path(path).read_bytes()

    def read_json(self, name: str) -> Any | None:
        """The value of a JSON file of the root; None if there is no such file. Raises UsageError, StorageError."""
        try:
            return json.loads(self.content(f"{self.base}/{name}"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise UsageError(f"{self.root}/{name} cannot be read: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file at the top of the root. Raises StorageError."""
        text = json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"
        self.put(f"{self.base}/{name}", text.encode())

    def claim(self) -> None:
        """Make sure that the root is new, empty or ours. Raises UsageError for any other folder.

        So a mistyped `--root` never mixes our files with somebody's own.
        """
        try:
            if self.objects is not None:
                folders, found = self.objects.children(self.base)
                names = [path.rpartition("/")[2] for path in (*folders, *(each.path for each in found))]
            else:
                assert self.local is not None
                names = [path.name for path in self.local.iterdir()]
        except FileNotFoundError:
            return
        except StoreRefused as error:
            raise UsageError(f"--root {error}") from error
        except OSError as error:
            raise UsageError(f"--root {self.root}: {error.strerror}") from error
        # A root of ours may hold more than we wrote: users keep reports and exports beside the tables.
        if "dataset.json" in names:
            self.dataset()
            return
        if foreign := [name for name in names if not is_ours(name)]:
            raise UsageError(
                f"--root {self.root}: is not a vsumdata root, and not empty (it has `{sorted(foreign)[0]}`): "
                "give a new or an empty folder"
            )

    def dataset(self) -> dict[str, Any]:
        """The content of `dataset.json`, which the last run wrote. Raises UsageError where it is missing or broken."""
        value = self.read_json("dataset.json")
        if not isinstance(value, dict) or "manifest" not in value:
            raise UsageError(
                f"{self.root}: no vsumdata root (no dataset.json); `vsumdata run --root {self.root}` makes one"
            )
        return value

    def tables(self) -> dict[str, str]:
        """Table -> fingerprint of the last run."""
        return {name: entry["fingerprint"] for name, entry in self.dataset()["tables"].items()}

    @contextlib.contextmanager
    def lock(self, name: str = ".lock", *, wait: bool = True) -> Iterator[bool]:
        """Hold the exclusive lock `name` on the root; yields whether it was taken. Raises StorageError.

        On an object store a lock has a term, see `roots.locks`.
        """
        if self.objects is not None:
            with locked(self.objects, f"{self.base}/{name}", math.inf if wait else 0.0) as taken:
                yield taken
            return
        assert self.local is not None
        self.local.mkdir(parents=True, exist_ok=True)
        # The file stays after use. Deleted, it would let two processes lock two files of the same name.
        with (self.local / name).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    def relisting(self, read: Callable[[], Result], attempts: int = 5) -> Result:
        """Call `read`, which lists and reads files, up to `attempts` times.

        Raises FileNotFoundError where the last attempt misses a file too.
        """
        for _ in range(attempts - 1):
            # Compaction by another process deletes the parts that it merged, also between our listing and our reading.
            with contextlib.suppress(FileNotFoundError):
                return read()
            if self.listings is not None:
                self.listings.clear()
        # The last attempt is not guarded: a file that stays away is a real error.
        return read()


def is_ours(name: str) -> bool:
    """Whether a run writes a file of this name."""
    return name in OURS or name.endswith(TEMPORARY)
