"""Keeping a root in order: scratch folders, leftovers of killed runs, compaction, verification, pruning."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from vsumdata.manifests import tables
from vsumdata.manifests.files import TEMPORARY
from vsumdata.manifests.store import Store, keep_latest
from vsumdata.pipeline.errors import StorageError

SHARD_BYTES = 128 << 20  # what a compacted shard holds, at least, before the next one is begun
COMBINED_AT = 100  # pieces
SMALL_BYTES = 64 << 20  # parts above this are left as they are


@contextlib.contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """This run's own folder for downloads and markers, on a local disk; those of dead runs are removed first.

    Whoever works in it holds a shared lock on its file `alive`: workers outlive a killed driver by seconds.
    """
    try:
        parent = store.local / "tmp" if store.local else Path(tempfile.gettempdir()) / "vsumdata"
        parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(store, parent)
        made = parent / f"new-{uuid.uuid4().hex[:12]}"  # unseen by cleaners until its lock is held
        made.mkdir()
        alive = (made / "alive").open("a")
    except OSError as error:
        raise StorageError(f"cannot write to {store.root}: {error.strerror}: {error.filename}") from error
    with alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        scratch = made.rename(parent / made.name.replace("new-", "run-"))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            remove_leftovers(store, parent)  # workers of a killed run may have outlived our start
            with contextlib.suppress(OSError):
                parent.rmdir()


def remove_leftovers(store: Store, parent: Path) -> None:
    """Scratch folders and temporary files that no living process holds."""
    for folder in parent.glob("run-*"):
        with contextlib.suppress(OSError), (folder / "alive").open("a") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    for path in temporaries(store):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def temporaries(store: Store) -> list[Path]:
    """Part files and JSON files that were being written."""
    return sorted(store.local.rglob(f".*{TEMPORARY}")) if store.local else []


def compact_if_many(store: Store, table: str, fingerprint: str, many: int) -> None:
    """Compact one table where it has more than `many` parts and nobody else is at it."""
    if len(store.parts(table, fingerprint)) > many:
        with store.lock(wait=False) as taken:
            if taken:
                compact_table(store, table, fingerprint)


def compact(store: Store, fingerprints: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Merge small parts of each table into shards; returns table -> (parts before, parts after)."""
    with store.lock():
        return {table: compact_table(store, table, at) for table, at in fingerprints.items()}


def compact_table(store: Store, table: str, fingerprint: str) -> tuple[int, int]:
    """Merge the small parts of one table, latest rows only, sorted by video_id. Call it under the root's lock.

    A shard is committed before the parts that it replaces are removed: a kill in between leaves each row
    twice, which readers do not see.
    """
    found = store.parts(table, fingerprint)
    small = [info for info in found if info.size < SMALL_BYTES]
    if len(small) < 2:
        return len(found), len(found)
    latest = store.latest(table, fingerprint)
    by_part: dict[str, list[str]] = {}
    for video_id, part in zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True):
        by_part.setdefault(part, []).append(video_id)
    pieces: list[pa.Table] = []
    merged: list[pafs.FileInfo] = []
    size_bytes = 0
    for info in small:
        with pq.ParquetFile(info.path, filesystem=store.fs) as file:
            content = file.read()
        wanted = pa.array(by_part.get(info.base_name, []), pa.string())
        pieces.append(content.filter(pc.is_in(content["video_id"], value_set=wanted)))
        if len(pieces) == COMBINED_AT:  # thousands of small buffers take several times their content
            pieces = [pa.concat_tables(pieces).combine_chunks()]
        merged.append(info)
        size_bytes += info.size
        if size_bytes >= SHARD_BYTES:
            write_shard(store, table, fingerprint, pieces, merged)
            pieces, merged, size_bytes = [], [], 0
    if len(merged) > 1:
        write_shard(store, table, fingerprint, pieces, merged)
    return len(found), len(store.parts(table, fingerprint))


def write_shard(
    store: Store, table: str, fingerprint: str, pieces: list[pa.Table], merged: list[pafs.FileInfo]
) -> None:
    content = keep_latest(pa.concat_tables(pieces))
    if len(content):
        store.write(table, fingerprint, content.take(pc.sort_indices(content["video_id"])))
    for info in merged:
        store.fs.delete_file(info.path)


@dataclass
class Verified:
    """What `verify` found in one root."""

    files: int = 0
    rows: int = 0
    bytes: int = 0
    superseded: int = 0
    problems: list[str] = field(default_factory=list)


def verify(store: Store) -> Verified:
    """Read every page of every part against its checksum, and check columns, outcomes and leftovers."""
    result = Verified()
    problems = result.problems
    for table, fingerprint in all_tables(store):
        ids: list[str] = []
        for info in store.parts(table, fingerprint):
            result.files, result.bytes = result.files + 1, result.bytes + info.size
            try:
                file = pq.ParquetFile(info.path, filesystem=store.fs, page_checksum_verification=True)
                for group in range(file.num_row_groups):
                    content = file.read_row_group(group)
                    problems += [f"{info.path}: {problem}" for problem in mistakes(content)]
                    ids += content["video_id"].to_pylist() if "video_id" in content.column_names else []
            except (pa.ArrowException, OSError) as error:
                what = str(error).splitlines()[0]
                problems.append(f"{info.path}: {what} (delete it: its videos are made again by the next run)")
        result.rows += len(ids)
        result.superseded += len(ids) - len(set(ids))
    left = [path for path in temporaries(store) if is_left(path)]
    problems += [f"{path}: left by a killed run (the next run removes it)" for path in left]
    return result


def mistakes(content: pa.Table) -> list[str]:
    missing = [name for name, _ in (*tables.HEAD, tables.DIGEST) if name not in content.column_names]
    if missing:
        return [f"lacks the columns {', '.join(missing)}"]
    unknown = set(content["outcome"].to_pylist()) - set(tables.OUTCOMES)
    unknown |= set(content["reason"].to_pylist()) - tables.REASONS - {""}
    return [f"unknown outcome or reason: {', '.join(map(str, unknown))}"] if unknown else []


def is_left(path: Path) -> bool:
    """Whether nobody is writing this temporary file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def all_tables(store: Store) -> list[tuple[str, str]]:
    """(table, fingerprint) of everything that lies in the root."""
    found = []
    for table in store.fs.get_file_info(pafs.FileSelector(store.base, allow_not_found=True)):
        if table.type == pafs.FileType.Directory and table.base_name not in {
            "logs",
            "media",
            "cache",
            "tmp",
            "listings",
        }:
            inside = store.fs.get_file_info(pafs.FileSelector(table.path))
            found += [(table.base_name, i.base_name) for i in inside if i.type == pafs.FileType.Directory]
    return sorted(found)


def prune(store: Store, fingerprints: Mapping[str, str], *, dry_run: bool) -> list[tuple[str, str, int]]:
    """Remove the fingerprints that the last run did not use; returns (table, fingerprint, bytes) of each."""
    gone = []
    with store.lock():
        for table, fingerprint in all_tables(store):
            if table in fingerprints and fingerprints[table] != fingerprint:
                size_bytes = sum(info.size for info in store.parts(table, fingerprint))
                gone.append((table, fingerprint, size_bytes))
                if not dry_run:
                    store.fs.delete_dir(store.folder(table, fingerprint))
    return gone
