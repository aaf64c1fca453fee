"""Keep a root in order: scratch folders, leftovers of killed runs, compaction, verification, pruning."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from vsumdata.manifests import tables
from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.roots import index
from vsumdata.manifests.roots.local import TEMPORARY
from vsumdata.manifests.roots.parts import GROUP_BYTES, keep_latest, other_layout
from vsumdata.manifests.store import Store

# Small parts are slow to scan: 5 tables of 100,000 rows took 5.5 s in 2,000 files each, compacted 0.3 to 0.6 s.
# Compaction starts the next shard when one has reached this size. Counted in memory, where a run's process holds it
# beside all else: on disk the same rows may have a tenth.
SHARD_BYTES = 64 << 20
SMALL_BYTES = SHARD_BYTES // 2  # larger parts stay as they are
# Thousands of small Arrow buffers take several times the memory of their content, so pieces are combined early.
COMBINED_AT = 100  # pieces
TMPDIR_VARIABLE = "VSUMDATA_TMPDIR"  # where temporary files go; default: the system's temporary folder
WORKERS_END_S = 20.0  # a killed worker is gone within a second; on an overloaded machine it takes longer


def user_folder(base: str | Path) -> Path:
    """The temporary folder of this user alone (mode 0700), `vsumdata-UID` in `base`.

    Raises UsageError if the folder is somebody else's.
    """
    folder = Path(base).expanduser().resolve() / f"vsumdata-{os.geteuid()}"
    make_private(folder)
    return folder


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter. Raises UsageError if it is somebody else's."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    # In /tmp anybody may have made this name before us, also as a link, and would then read our cookies.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise UsageError(f"{folder} is not this user's own folder: name another place in {TMPDIR_VARIABLE}")
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def scratch_parent(store: Store) -> Path:
    """Where the scratch folders of a root's runs lie: outside of the root, named by a hash of it. Raises UsageError."""
    base = Path(os.environ.get(TMPDIR_VARIABLE) or tempfile.gettempdir()).expanduser().resolve()
    # A root is copied, shared and published, and scratch holds cookies.
    if store.local and base.is_relative_to(store.local):
        raise UsageError(
            f"temporary files would lie in the dataset, in {base}: name another place in {TMPDIR_VARIABLE}"
        )
    return user_folder(base) / hashlib.blake2b(store.root.encode(), digest_size=6).hexdigest()


@contextlib.contextmanager
def scratch_folder(store: Store) -> Iterator[Path]:
    """A folder of this run alone for downloads and markers, on a local disk. Folders of dead runs are removed first.

    The driver and each worker hold a shared lock on the folder's file `alive`. Raises StorageError, UsageError.
    """
    with contextlib.ExitStack() as held:
        try:
            parent = scratch_parent(store)
            remove_leftovers(store, parent)
            # Another run's cleaner would delete a folder `run-*` between our mkdir and our lock. It spares `new-*`.
            made = parent / f"new-{uuid.uuid4().hex[:12]}"
            # With its parent, which another run may remove as empty at this moment.
            made.mkdir(parents=True)
            alive = held.enter_context((made / "alive").open("a"))
            # Systems delete what is old in /tmp, but systemd-tmpfiles spares a folder whose lock is held.
            folder = os.open(made, os.O_RDONLY)
            held.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_SH)
            # Shared: workers lock the file as well, and a killed driver leaves them alive for seconds.
            fcntl.flock(alive, fcntl.LOCK_SH)
            scratch = made.rename(parent / made.name.replace("new-", "run-"))
        except OSError as error:
            raise StorageError(
                f"no temporary folder: {error.strerror}: {error.filename}; name another place in {TMPDIR_VARIABLE}"
            ) from error
        try:
            yield scratch
        finally:
            remove_scratch(scratch, alive)
            # A second time: when this run started, workers of a killed run may still have held theirs.
            remove_leftovers(store, parent)
            # Not empty while another run works here.
            with contextlib.suppress(OSError):
                parent.rmdir()


def remove_scratch(scratch: Path, alive: IO[str] | None = None) -> None:
    """Delete a run's scratch folder once its workers on this machine have ended; `alive` is its locked file."""
    with contextlib.suppress(FileNotFoundError), alive or (scratch / "alive").open("a") as held:
        # Ray kills the workers without waiting for their end, and one may still commit what it has done.
        wait_for_exclusive(held)
        # Errors are ignored: an orphaned worker may still write here. The next run removes what is left.
        shutil.rmtree(scratch, ignore_errors=True)


def enter_scratch(scratch: Path) -> IO[str]:
    """For a worker: hold the shared lock on the run's scratch folder until the file returned is closed.

    A worker on another machine than the driver makes the folder there. Raises UsageError.
    """
    if not scratch.is_dir():
        make_private(scratch.parents[1])
        scratch.mkdir(parents=True, exist_ok=True)
    alive = (scratch / "alive").open("a")
    with contextlib.suppress(OSError):
        fcntl.flock(alive, fcntl.LOCK_SH)
    return alive


def wait_for_exclusive(file: IO[str]) -> bool:
    """Take the exclusive lock on a file once all others have let it go; False after `WORKERS_END_S` seconds."""
    deadline = time.monotonic() + WORKERS_END_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def remove_leftovers(store: Store, parent: Path) -> None:
    """Delete the scratch folders and temporary files that no living process holds."""
    # Before scratch had a place of its own, it lay in the root, and a killed run may have left cookies there.
    in_root = store.local.glob("tmp/run-*/alive") if store.local else ()
    sweep(parent, *(alive.parent for alive in in_root))
    for path in temporaries(store):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def sweep(parent: Path, *more: Path) -> None:
    """Delete the scratch folders in `parent`, and `more`, that no living process of this machine holds."""
    for folder in (*parent.glob("run-*"), *more):
        # The kernel drops the locks of a dead process, so a lock that we get means that nobody lives in there. The
        # errors: somebody holds it (BlockingIOError), or another cleaner was faster (FileNotFoundError).
        with contextlib.suppress(OSError), (folder / "alive").open("a") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


def temporaries(store: Store) -> list[Path]:
    """The temporary files of `files.put_local` under a local root."""
    return sorted(store.local.rglob(f".*{TEMPORARY}")) if store.local else []


def compact_if_many(store: Store, table: str, fingerprint: str, many: int) -> None:
    """Compact one table if it has more than `many` parts and no other process compacts."""
    if sum(info.size < SMALL_BYTES for info in store.parts(table, fingerprint)) > many:
        # No waiting: another process that holds the lock does this work already, and a run must not stand still.
        with store.lock(wait=False) as taken:
            if taken:
                compact_table(store, table, fingerprint)


def compact(store: Store, fingerprints: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Merge the small parts of each table into shards. Returns table -> (parts before, parts after)."""
    with store.lock():
        return {table: compact_table(store, table, at) for table, at in fingerprints.items()}


def compact_table(store: Store, table: str, fingerprint: str) -> tuple[int, int]:
    """Merge the small parts of one table into shards: the latest rows only, sorted by video_id.

    The caller holds the root's lock. Returns (parts before, parts after).
    """
    found = store.parts(table, fingerprint)
    small = [info for info in found if info.size < SMALL_BYTES]
    if len(small) < 2:
        return len(found), len(found)
    latest = store.latest(table, fingerprint)
    by_part: dict[str, list[str]] = {}
    for video_id, part in zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True):
        by_part.setdefault(part, []).append(video_id)
    shard = Shard()
    for info, opened in store.sources(small):
        with pq.ParquetFile(opened()) as file:
            if file.num_row_groups * GROUP_BYTES > SMALL_BYTES:
                # Small on disk only.
                continue
            content = file.read()
        # Keep the rows that are the latest of their video; rows that a later part has replaced go.
        wanted = pa.array(by_part.get(info.base_name, []), pa.string())
        shard.add(info.path, content.filter(pc.is_in(content["video_id"], value_set=wanted)))
        if shard.size_bytes >= SHARD_BYTES:
            write_shard(store, table, fingerprint, shard)
            shard = Shard()
    # A single part at the end would only be written again as it is.
    if len(shard.paths) > 1:
        write_shard(store, table, fingerprint, shard)
    # They name parts that are gone, so they serve nobody any more.
    store.delete(info.path for info in store.indexes(table, fingerprint))
    return len(found), len(store.parts(table, fingerprint))


@dataclass
class Shard:
    """What becomes one part: the latest rows of the parts at `paths`, `size_bytes` of memory."""

    paths: list[str] = field(default_factory=list)
    combined: list[pa.Table] = field(default_factory=list)
    pieces: list[pa.Table] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, path: str, rows: pa.Table) -> None:
        self.paths.append(path)
        self.pieces.append(rows)
        self.size_bytes += rows.nbytes
        if len(self.pieces) == COMBINED_AT:
            self.combined.append(pa.concat_tables(self.pieces).combine_chunks())
            self.pieces = []


def write_shard(store: Store, table: str, fingerprint: str, shard: Shard) -> None:
    """Commit a shard as one part, then delete the parts whose latest rows it holds."""
    content = keep_latest(pa.concat_tables([*shard.combined, *shard.pieces]))
    if len(content):
        # Sorted, so that a reader of one id can skip row groups by their statistics.
        store.write(table, fingerprint, content, pc.sort_indices(content["video_id"]))
    # Only after the commit: a kill in between leaves rows twice, which readers do not see. The other order loses them.
    store.delete(shard.paths)


@dataclass
class Verified:
    """What `verify` found in one root. `superseded` counts rows that a later row of the same video replaces."""

    files: int = 0
    rows: int = 0
    bytes: int = 0
    superseded: int = 0
    problems: list[str] = field(default_factory=list)


def verify(store: Store) -> Verified:
    """Check every page of every part against its checksum; check columns, outcomes, reasons and leftovers.

    Raises nothing for a broken part: it is one of the `problems`, each one line with its remedy.
    """
    result = Verified()
    problems, older = result.problems, defaultdict[str, set[str]](set)
    for table, fingerprint in all_tables(store):
        ids: list[str] = []
        for info, opened in store.sources(store.parts(table, fingerprint)):
            result.files, result.bytes = result.files + 1, result.bytes + info.size
            try:
                file = pq.ParquetFile(opened(), page_checksum_verification=True)
                if missing := set(tables.HEAD_MEANINGS) - set(file.schema_arrow.names):
                    # Not each of its thousand parts: one line for the folder.
                    older[store.folder(table, fingerprint)] |= missing
                    continue
                # Row group by row group: a whole shard need not fit into memory.
                for group in range(file.num_row_groups):
                    content = file.read_row_group(group)
                    problems += [f"{info.path}: {problem}" for problem in mistakes(content)]
                    ids += content["video_id"].to_pylist()
            except (pa.ArrowException, OSError) as error:
                what = str(error).splitlines()[0]
                problems.append(f"{info.path}: {what} (delete it: the next run makes its videos again)")
        for info in store.indexes(table, fingerprint):
            is_whole = True
            with contextlib.suppress(FileNotFoundError):  # a run has written a newer one
                is_whole = index.decode(info.base_name, store.content(info.path)) is not None
            if not is_whole:
                problems.append(f"{info.path}: a damaged index (delete it: nothing is lost)")
        result.rows += len(ids)
        result.superseded += len(ids) - len(set(ids))
    problems += [other_layout(folder, missing) for folder, missing in older.items()]
    left = [path for path in temporaries(store) if is_left(path)]
    problems += [f"{path}: left by a killed run (the next run removes it)" for path in left]
    return result


def mistakes(content: pa.Table) -> list[str]:
    """What is wrong with the rows of a part, in words."""
    unknown = set(content["outcome"].to_pylist()) - set(tables.OUTCOMES)
    unknown |= set(content["reason"].to_pylist()) - tables.REASONS - {""}
    return [f"unknown outcome or reason: {', '.join(map(str, unknown))}"] if unknown else []


def is_left(path: Path) -> bool:
    """Whether no process is writing this temporary file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # A writer holds it, or has renamed it since it was listed.
    except OSError:
        return False
    return True


def all_tables(store: Store) -> list[tuple[str, str]]:
    """(table, fingerprint) of all tables in the root, those of older settings included."""
    found = []
    # A table's name is only known by its folder: the other folders of a root are excluded by name.
    for table in store.fs.get_file_info(pafs.FileSelector(store.base, allow_not_found=True)):
        if table.type == pafs.FileType.Directory and table.base_name not in {
            "logs",
            "media",
            "cache",
            "tmp",
            "listings",
            "leases",
        }:
            inside = store.fs.get_file_info(pafs.FileSelector(table.path, allow_not_found=True))
            found += [(table.base_name, i.base_name) for i in inside if i.type == pafs.FileType.Directory]
    return sorted(found)


def prune(store: Store, fingerprints: Mapping[str, str], *, dry_run: bool) -> list[tuple[str, str, int]]:
    """Delete the fingerprints that the last run did not use; `dry_run` only lists them.

    `fingerprints`: table -> the fingerprint to keep. Returns (table, fingerprint, bytes) of each other one.
    """
    gone = []
    with store.lock():
        for table, fingerprint in all_tables(store):
            # A table that the last run does not name at all is not ours to judge: it stays.
            if table in fingerprints and fingerprints[table] != fingerprint:
                size_bytes = sum(info.size for info in store.parts(table, fingerprint))
                gone.append((table, fingerprint, size_bytes))
                if not dry_run:
                    store.fs.delete_dir(store.folder(table, fingerprint))
    return gone
