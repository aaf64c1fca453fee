"""Files that appear whole or not at all, and reading while others rename."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

TEMPORARY = ".tmp"
Answer = TypeVar("Answer")


def put_local(path: Path, data: bytes | memoryview) -> None:
    """Temporary name under a lock, flush, rename, sync the folder; nothing is left behind on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
        with temporary.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink == 0:
                continue  # a cleaner was faster than our lock
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                temporary.rename(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return


def relisting(read: Callable[[], Answer], attempts: int = 5) -> Answer:
    """Call `read` again when a file has gone between listing and reading (compaction renames)."""
    for _ in range(attempts - 1):
        with contextlib.suppress(FileNotFoundError):
            return read()
    return read()
