"""Write a local file so that it appears at once, complete."""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path

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
