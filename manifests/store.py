"""The store: `<root>/<table>/<fingerprint>/part-*.parquet`, one row per video, the part file is the commit.

Readers take the latest row of each video: the highest version, then `done`, then the newest `committed_at`. So doing
the same work twice is harmless. Writers lock (`flock`) their temporary file and rename it into place, and cleaning
removes only temporaries that it can lock. Readers list the parts again when compaction has deleted one.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import StorageError, UsageError

TEMPORARY = ".tmp"
READERS = 8  # parts that are opened at once
# What a run writes before its dataset.json: a first run that was killed leaves these, and the root is still ours.
OURS = frozenset(
    {"dataset.json", "models.json", "pace.json", "listings", "logs", "media", "cache", "tmp"}
    | {"leases", "leases.lock", "models.lock", ".lock", ".runs"}
)
LATEST = ("video_id", "outcome", "reason", "version", "tries", "committed_at", "retry_after")

Result = TypeVar("Result")


@dataclass
class Kept:
    """What this process has read of a table. It is valid while the table's parts stay the same."""

    # A run plans about ten times. Without this memory each time would scan every part of every table.
    parts: list[tuple[str, int]]  # name, bytes
    latest: pa.Table | None = None
    before: Kept | None = None  # the same when there were fewer parts: only the new ones need a scan
    derived: dict[Hashable, Any] = field(default_factory=dict)  # what callers computed from `latest`


class Store:
    """One root: a local path or a `pyarrow.fs` URL. `local` is its folder, or None on an object store.

    Raises UsageError for a URL that pyarrow does not know.
    """

    def __init__(self, root: str | Path) -> None:
        text = os.path.expanduser(str(root))
        if "://" in text and not text.startswith("file://"):
            try:
                self.fs, self.base = pafs.FileSystem.from_uri(text)
            except (pa.ArrowException, OSError) as error:
                raise UsageError(f"--root {text}: {error}") from error
            self.root, self.local = text, None
        else:
            self.local = Path(text.removeprefix("file://")).resolve()
            self.fs, self.base, self.root = pafs.LocalFileSystem(), str(self.local), str(self.local)
        self.kept: dict[tuple[str, str], Kept] = {}

    def folder(self, table: str, fingerprint: str) -> str:
        """The folder of a table's parts, as `fs` names it."""
        return f"{self.base}/{table}/{fingerprint}"

    # Writing

    def write(self, table: str, fingerprint: str, content: pa.Table) -> str:
        """Commit one part and return its name. Raises StorageError when the root cannot be written."""
        # The zeros make names sort by time; the random end keeps two writers apart that commit at the same moment.
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        path = f"{self.folder(table, fingerprint)}/{name}"
        # In memory first: `put` needs the whole file, since on an object store the one PUT is the commit.
        buffer = io.BytesIO()
        # Parquet has no checksums unless asked, and `verify` could not find a flipped bit without them.
        pq.write_table(
            content,
            buffer,
            compression="zstd",
            row_group_size=rows_per_group(content),
            write_page_checksum=True,
        )
        self.put(path, buffer.getbuffer())
        return name

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Write a file that appears whole or not at all. Raises StorageError when the root cannot be written."""
        try:
            if self.local is None:
                with self.fs.open_output_stream(path) as stream:
                    stream.write(data)
            else:
                put_local(Path(path), data)
        except OSError as error:
            raise StorageError(
                f"cannot write to {path}: {error.strerror or error}; what is committed is kept, "
                "make room (or fix the permissions) and run the same command again"
            ) from error

    # Reading

    def parts(self, table: str, fingerprint: str) -> list[pafs.FileInfo]:
        """The committed parts, oldest first; none where the table does not exist."""
        selector = pafs.FileSelector(self.folder(table, fingerprint), allow_not_found=True)
        found = [i for i in self.fs.get_file_info(selector) if i.base_name.startswith("part-")]
        return sorted((i for i in found if i.extension == "parquet"), key=lambda info: info.base_name)

    def known(self, table: str, fingerprint: str) -> Kept:
        """This process's memory of a table; empty at first, and again when another process has changed the parts."""
        # A part never changes after its commit, so the names and sizes tell whether anything is new.
        parts = [(info.base_name, info.size) for info in self.parts(table, fingerprint)]
        kept = self.kept.get((table, fingerprint))
        if kept is None or kept.parts != parts:
            # An empty table has no types of columns.
            serves = kept is not None and kept.latest is not None and len(kept.latest) and set(kept.parts) <= set(parts)
            before = kept if serves else None
            kept = self.kept[table, fingerprint] = Kept(parts, before=before)
        return kept

    def latest(self, table: str, fingerprint: str, columns: Sequence[str] = ()) -> pa.Table:
        """The latest row of each video: the columns `LATEST`, `columns` and `part` (the file's name).

        A column `digest.url` is the field `url` of `digest`, and only that field is read. Raises StorageError for a
        broken part, and for one that an older version of vsumdata wrote.
        """

        def read() -> pa.Table:
            kept = self.known(table, fingerprint)
            if kept.latest is None or not set(wanted) <= set(kept.latest.column_names):
                # Read the old columns again too, else two callers with different columns would evict each other.
                more = kept.latest.column_names[:-1] if kept.latest is not None else []
                before, kept.before = kept.before, None
                if before is not None and before.latest is not None and set(wanted) <= set(before.latest.column_names):
                    known, columns = before, before.latest.column_names[:-1]
                else:
                    known, columns = Kept([]), list(dict.fromkeys([*wanted, *more]))
                new = sorted(set(kept.parts) - set(known.parts))
                found = self.scan([f"{self.folder(table, fingerprint)}/{name}" for name, _ in new], columns)
                if known.latest is not None:
                    found = keep_latest(pa.concat_tables([known.latest, found]).unify_dictionaries().combine_chunks())
                kept.latest = found
            return kept.latest.select([*wanted, "part"])

        wanted = dict.fromkeys([*LATEST, *columns])
        try:
            return relisting(read)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"a part of table `{table}` cannot be read ({str(error).splitlines()[0]}); "
                f"`vsumdata verify --root {self.root}` names it; delete it, and the next run makes its videos again"
            ) from error

    def scan(self, paths: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """The latest rows of some parts."""
        if not paths:
            head = dict(tables.HEAD)
            return pa.table({name: pa.array([], head.get(name, pa.string())) for name in (*columns, "part")})
        # Many small parts cost mostly waiting, so several are opened at once. A few large ones keep the cores busy
        # only with pyarrow's own threads: planning over 100,000 compacted videos went from 5.8 s to 4.9 s.
        with ThreadPoolExecutor(READERS) as pool:
            found = pa.concat_tables(
                pool.map(lambda path: read_part(self.fs, path, columns, len(paths) < READERS), paths)
            )
        # Each part brings a dictionary of its own name; rows of all parts need one dictionary in common.
        return keep_latest(found.unify_dictionaries().combine_chunks())

    def read(
        self, table: str, fingerprint: str, parts: Mapping[str, str], columns: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Some columns of the latest row of some videos, by video_id. `parts`: video_id -> part, as from `latest`."""

        def read() -> dict[str, dict[str, Any]]:
            found: dict[str, dict[str, Any]] = {}
            # `relisting` calls this again when a part has gone: compaction merged it, and the rows are elsewhere now.
            where = parts if not state["moved"] else self.locate(table, fingerprint, parts)
            state["moved"] = True
            for part in sorted(set(where.values())):
                ids = [video_id for video_id, at in where.items() if at == part]
                path = f"{self.folder(table, fingerprint)}/{part}"
                # `partitioning=None`: else pyarrow takes a folder `a=b` in the root's own path for a column
                # (arrow#11844).
                content = pq.read_table(
                    path,
                    filesystem=self.fs,
                    columns=list(dict.fromkeys(["video_id", *LATEST, *columns])),
                    filters=[("video_id", "in", ids)],
                    partitioning=None,
                )
                found |= {row["video_id"]: row for row in rows.to_rows(keep_latest(content))}
            return found

        state = {"moved": False}
        return relisting(read)

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

    # What the root says of itself

    def read_json(self, name: str) -> Any | None:
        """The value of a JSON file at the top of the root; None if there is no such file. Raises UsageError."""
        try:
            with self.fs.open_input_stream(f"{self.base}/{name}") as stream:
                return json.loads(stream.read())
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
        # An object store has no folders, so there is nothing to look at.
        if self.local is None:
            return
        try:
            foreign = [path.name for path in self.local.iterdir() if not is_ours(path.name)]
            # A root of ours may hold more than we wrote: users keep reports and exports beside the tables.
            if (self.local / "dataset.json").exists():
                self.dataset()
                return
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"--root {self.root}: {error.strerror}") from error
        if foreign:
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
        """Hold the exclusive lock `name` on a local root; yields whether it was taken.

        On an object store there is no lock, and it always yields True.
        """
        if self.local is None:
            yield True
            return
        self.local.mkdir(parents=True, exist_ok=True)
        # The file stays after use. Deleted, it would let two processes lock two files of the same name.
        with (self.local / name).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True


def read_part(fs: pafs.FileSystem, path: str, columns: Sequence[str], use_threads: bool) -> pa.Table:
    """Some columns of one part, under the names asked for, and its name as `part`. Raises StorageError."""
    # Every request to an object store costs a round trip; pre-buffering merges those of neighbouring columns.
    is_remote = not isinstance(fs, pafs.LocalFileSystem)
    with pq.ParquetFile(path, filesystem=fs, pre_buffer=is_remote) as file:
        content = file.read(list(columns), use_threads=use_threads)
    # pyarrow reads on without a column that is not there.
    if missing := {column.partition(".")[0] for column in columns} - set(content.column_names):
        raise StorageError(other_layout(path.rpartition("/")[0], missing))
    # A dictionary column stores the name once, not once for each of its thousands of rows.
    at = pa.array(np.zeros(len(content), np.int32))
    part = pa.DictionaryArray.from_arrays(at, [path.rpartition("/")[2]])
    return pa.table([*(pick(content, column) for column in columns), part], [*columns, "part"])


def pick(content: pa.Table, column: str) -> pa.ChunkedArray:
    """A column; `digest.title` is the field `title` of the struct `digest`."""
    name, _, key = column.partition(".")
    return pc.struct_field(content[name], key) if key else content[name]


def other_layout(folder: str, missing: Iterable[str]) -> str:
    """What to tell of a folder whose parts lack the columns `missing`."""
    return (
        f"{folder}: written by another version of vsumdata (it has no {', '.join(sorted(missing))}); "
        "`vsumdata run` makes the table anew beside it, and `vsumdata prune` then removes it"
    )


def is_ours(name: str) -> bool:
    """Whether a run writes a file of this name."""
    return name in OURS or name.endswith(TEMPORARY)


def keep_latest(found: pa.Table) -> pa.Table:
    """One row per video: the highest version, then `done` before other outcomes, then the newest commit."""
    # Usually no video was made twice, and the sort, the costly part, can be left out.
    if len(pc.unique(found["video_id"])) == len(found):
        return found
    is_done = pc.cast(pc.equal(found["outcome"], tables.DONE), pa.int8())
    order = pc.sort_indices(
        found.select(["video_id", "version", "committed_at"]).append_column("is_done", is_done),
        [("video_id", "ascending")] + [(key, "descending") for key in ("version", "is_done", "committed_at")],
    )
    ids = found["video_id"].take(order)
    is_first = np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy())
    return found.take(order.filter(pa.array(is_first)))


def rows_per_group(content: pa.Table, target_bytes: int = 16 << 20) -> int:
    """How many rows make a row group of some 16 MB."""
    # A reader of one video reads one row group. With a shard as one group it would read all 128 MB.
    return max(1, int(len(content) * target_bytes / max(1, content.nbytes)))


def put_local(path: Path, data: bytes | memoryview) -> None:
    """Write a local file that appears at once, complete and synced to disk. An error leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # Two runs may write the same path at the same time, so each writes under its own name.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
        with temporary.open("xb") as file:
            # The lock tells cleaners (`upkeep.remove_leftovers`) that the writer lives. A killed process loses it.
            fcntl.flock(file, fcntl.LOCK_EX)
            # A cleaner can delete the file between open and flock. It has no name then, and a rename would fail.
            if os.fstat(file.fileno()).st_nlink == 0:
                continue
            try:
                file.write(data)
                file.flush()
                # Some file systems store a rename before the data: a power cut would leave an empty file.
                os.fsync(file.fileno())
                # Rename while the lock is held, else a cleaner could delete the finished temporary.
                temporary.rename(path)
            # BaseException: Ctrl-C must not leave half a file behind either.
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        # A rename survives a power cut only once its folder is on disk too.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return


def relisting(read: Callable[[], Result], attempts: int = 5) -> Result:
    """Call `read`, which lists and reads files, up to `attempts` times.

    Raises FileNotFoundError where the last attempt misses a file too.
    """
    for _ in range(attempts - 1):
        # Compaction by another process deletes the parts that it merged, also between our listing and our reading.
        with contextlib.suppress(FileNotFoundError):
            return read()
    # The last attempt is not guarded: a file that stays away is a real error.
    return read()
