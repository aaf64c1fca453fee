"""Write a local file so that it appears at once, complete."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from vsumdata.manifests.errors import UsageError

TEMPORARY = ".tmp"


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


@contextlib.contextmanager
def new_folder(path: Path, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield a folder to fill; it takes the place of `path` at the end. An error leaves `path` as it was.

    What killed processes left of it is removed. Raises UsageError if `path` holds something that `is_ours` does not
    know, or if its place cannot be written.
    """
    path = path.expanduser().absolute()
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        there = sorted(path.iterdir()) if path.exists() else []
        if foreign := [entry for entry in there if not is_ours(entry)]:
            raise UsageError(f"-o {path}: is not empty (it has `{foreign[0].name}`): give a new or an empty folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.????????{TEMPORARY}"):
            remove_dead(left)
        unfinished.mkdir()
        # The lock tells others that the writer lives. A killed process loses it.
        lock = os.open(unfinished, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise UsageError(f"-o {path}: {error.strerror or error}; give a folder that you may write") from error
    before = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        yield unfinished
        # No rename replaces a folder that has content.
        if path.exists():
            path.rename(before)
        try:
            unfinished.rename(path)
        except OSError:
            before.rename(path)
            raise
    finally:
        shutil.rmtree(before, ignore_errors=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        os.close(lock)


def remove_dead(folder: Path) -> None:
    """Remove an unfinished folder whose writer has ended."""
    with contextlib.suppress(OSError):
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
