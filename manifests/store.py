"""The store: `<root>/<table>/<fingerprint>/part-*.parquet`, one row per video, the part file is the commit.

Readers take for each video the latest row (highest attempt, then `done`, then `committed_at`), so doing the
same work twice is harmless. Writers hold a `flock` on their temporary file and rename it into place; cleaning
removes only temporaries that it can lock. Readers list again when a file has gone (compaction).
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import time
import uuid
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from vsumdata.manifests import rows, tables
from vsumdata.manifests.files import TEMPORARY, put_local, relisting
from vsumdata.pipeline.errors import StorageError, UsageError

READERS = 8  # parts that are opened at once
OURS = frozenset({"dataset.json", "models.json", "pace.json", "listings", "logs", "media", "cache", "tmp", ".lock"})
LATEST = ("video_id", "outcome", "reason", "attempt", "committed_at", "retry_after")


@dataclass
class Kept:
    """What this process has read of a table, dropped when its parts change: one run plans ten times."""

    parts: list[tuple[str, int]]  # name, bytes
    latest: pa.Table | None = None
    derived: dict[Hashable, Any] = field(default_factory=dict)  # for callers: what they made of it


class Store:
    """One root. `local` is its folder, or None on an object store."""

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
        return f"{self.base}/{table}/{fingerprint}"

    # Writing

    def write(self, table: str, fingerprint: str, content: pa.Table) -> str:
        """Commit one part; returns its name. Raises StorageError when the root takes no more."""
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        path = f"{self.folder(table, fingerprint)}/{name}"
        buffer = io.BytesIO()
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
        """Write a whole file that appears at once or not at all."""
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
        """The committed parts, oldest first."""
        selector = pafs.FileSelector(self.folder(table, fingerprint), allow_not_found=True)
        found = [i for i in self.fs.get_file_info(selector) if i.base_name.startswith("part-")]
        return sorted((i for i in found if i.extension == "parquet"), key=lambda info: info.base_name)

    def known(self, table: str, fingerprint: str) -> Kept:
        """What is kept in memory of a table, empty where its parts have changed."""
        parts = [(info.base_name, info.size) for info in self.parts(table, fingerprint)]
        kept = self.kept.get((table, fingerprint))
        if kept is None or kept.parts != parts:
            kept = self.kept[table, fingerprint] = Kept(parts)
        return kept

    def latest(self, table: str, fingerprint: str, columns: Sequence[str] = ()) -> pa.Table:
        """Each video's latest row: `LATEST`, the columns asked for (`digest.url`: one key of a map), and `part`."""

        def read() -> pa.Table:
            kept = self.known(table, fingerprint)
            if kept.latest is None or not set(wanted) <= set(kept.latest.column_names):
                more = kept.latest.column_names[:-1] if kept.latest is not None else []
                paths = [f"{self.folder(table, fingerprint)}/{name}" for name, _ in kept.parts]
                kept.latest = self.scan(paths, list(dict.fromkeys([*wanted, *more])))
            return kept.latest.select([*wanted, "part"])

        wanted = dict.fromkeys([*LATEST, *columns])
        try:
            return relisting(read)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"a part of table `{table}` cannot be read ({str(error).splitlines()[0]}); "
                f"`vsumdata verify --root {self.root}` names it; delete it and its videos are made again"
            ) from error

    def scan(self, paths: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """The latest rows of some parts."""
        if not paths:
            head = dict(tables.HEAD)
            return pa.table({name: pa.array([], head.get(name, pa.string())) for name in (*columns, "part")})
        stored = sorted({column.partition(".")[0] for column in columns})
        with ThreadPoolExecutor(READERS) as pool:
            found = pa.concat_tables(
                pool.map(lambda path: read_part(self.fs, path, stored, len(paths) < READERS), paths)
            )
            picked = [*pool.map(lambda column: pick(found, column), columns), found["part"]]
        return keep_latest(pa.table(picked, [*columns, "part"]).unify_dictionaries().combine_chunks())

    def read(
        self, table: str, fingerprint: str, parts: Mapping[str, str], columns: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Some columns of some videos' latest rows, `parts` (video_id -> part) as `latest` gave them."""

        def read() -> dict[str, dict[str, Any]]:
            found: dict[str, dict[str, Any]] = {}
            where = parts if not state["moved"] else self.locate(table, fingerprint, parts)
            state["moved"] = True  # for the next try
            for part in sorted(set(where.values())):
                ids = [video_id for video_id, at in where.items() if at == part]
                path = f"{self.folder(table, fingerprint)}/{part}"
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

    def locate(self, table: str, fingerprint: str, video_ids: Iterable[str]) -> dict[str, str]:
        """The part that holds each video's latest row."""
        found, wanted = self.latest(table, fingerprint), set(video_ids)
        parts = zip(*(found[c].to_pylist() for c in ("video_id", "part")), strict=True)
        return {video_id: part for video_id, part in parts if video_id in wanted}

    # What the root says of itself

    def read_json(self, name: str) -> Any | None:
        """A JSON file at the top of the root, or None."""
        try:
            with self.fs.open_input_stream(f"{self.base}/{name}") as stream:
                return json.loads(stream.read())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise UsageError(f"{self.root}/{name} cannot be read: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"
        self.put(f"{self.base}/{name}", text.encode())

    def claim(self) -> None:
        """Make sure that the root is ours or new; raises UsageError on somebody else's folder."""
        if self.local is None:
            return
        try:
            foreign = [path.name for path in self.local.iterdir() if not is_ours(path.name)]
            if (self.local / "dataset.json").exists():
                self.dataset()
                return
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"--root {self.root}: {error.strerror}") from error
        if foreign:
            raise UsageError(
                f"--root {self.root}: is no vsumdata root and not empty (it has `{sorted(foreign)[0]}`): "
                "give a new or an empty folder"
            )

    def dataset(self) -> dict[str, Any]:
        """`dataset.json`, the last run's own account; raises UsageError where the root is none of ours."""
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
        """An exclusive lock on the root (local roots only); yields whether it was taken."""
        if self.local is None:
            yield True
            return
        self.local.mkdir(parents=True, exist_ok=True)
        with (self.local / name).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True


def read_part(fs: pafs.FileSystem, path: str, columns: list[str], use_threads: bool) -> pa.Table:
    """Some columns of one part, and its name as `part`."""
    is_remote = not isinstance(fs, pafs.LocalFileSystem)  # then merge its requests
    with pq.ParquetFile(path, filesystem=fs, pre_buffer=is_remote) as file:
        content = file.read(columns, use_threads=use_threads)
    at = pa.array(np.zeros(len(content), np.int32))
    return content.append_column("part", pa.DictionaryArray.from_arrays(at, [path.rpartition("/")[2]]))


def pick(content: pa.Table, column: str) -> pa.ChunkedArray:
    """A column, or for `digest.title` the values that one key has in a map column."""
    name, _, key = column.partition(".")
    return pc.map_lookup(content[name], pa.scalar(key), "first") if key else content[name]


def is_ours(name: str) -> bool:
    """Whether a run may have left a file of this name before it wrote its dataset.json."""
    return name in OURS or name.endswith(TEMPORARY)


def keep_latest(found: pa.Table) -> pa.Table:
    """One row per video: the highest attempt, then `done` before others, then the last committed."""
    if len(pc.unique(found["video_id"])) == len(found):
        return found
    is_done = pc.cast(pc.equal(found["outcome"], tables.DONE), pa.int8())
    order = pc.sort_indices(
        found.select(["video_id", "attempt", "committed_at"]).append_column("is_done", is_done),
        [("video_id", "ascending")] + [(key, "descending") for key in ("attempt", "is_done", "committed_at")],
    )
    ids = found["video_id"].take(order)
    is_first = np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy())
    return found.take(order.filter(pa.array(is_first)))


def rows_per_group(content: pa.Table, target_bytes: int = 16 << 20) -> int:
    """Row groups of some 16 MB: one video can be read from a large shard without reading the shard."""
    return max(1, int(len(content) * target_bytes / max(1, content.nbytes)))
