"""The folder of a bench's trained runs: --runs DIR, or one in the user's cache that an interrupted bench leaves.

The cache's folder has the fingerprint of the request for its name, so the same command goes on where it stopped. It is
removed when the table is made without a failed row. A bench also removes what none has used for `UNUSED_DAYS` days.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from vsumdata.datasets.pool import BETWEEN
from vsumdata.manifests.errors import UsageError
from vsumdata.train.loop import runs

UNUSED_DAYS = 30


@dataclass(frozen=True)
class Kept:
    """The folder that holds the runs while the table is made."""

    path: Path
    is_cached: bool = False

    def finish(self) -> None:
        """The table is made: nobody will go on with the runs."""
        if self.is_cached:
            shutil.rmtree(self.path, ignore_errors=True)


@contextlib.contextmanager
def kept(folder: str | None, request: Mapping[str, Any], console: Console | None) -> Iterator[Kept]:
    """The folder for the runs of `request`: `folder`, or one in the cache, locked.

    Raises UsageError if another process makes the same table, or if the cache cannot be written.
    """
    if folder is not None:
        yield Kept(Path(folder))
        return
    its = cache() / fingerprint(request)
    remove_unused(cache(), its)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(runs.locked(its))
            # Its time tells when the folder was last used.
            os.utime(its / ".lock")
        except (UsageError, OSError) as error:
            raise UsageError(f"the runs cannot be kept ({error}); give them a place with --runs DIR") from error
        if console is not None:
            has_runs = any(each.is_dir() for each in its.iterdir())
            what = "goes on with the runs" if has_runs else "keeps its runs until the table is made"
            line = f"{what} in {its}; stopped, the same command goes on (--runs DIR keeps them for good)"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        yield Kept(its, is_cached=True)


def cache() -> Path:
    ours = os.environ.get("VSUMDATA_CACHE")
    return Path(ours or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vsumdata") / "bench"


def fingerprint(request: Mapping[str, Any]) -> str:
    """16 hex digits of the options, of the folder that relative paths start from, and of the state of the data."""
    # Of a data set as NAME:PATH, and of each one in a pool. A name with a colon may be a path as well.
    words = [part for word in BETWEEN.split(str(request.get("data") or "")) for part in (word, word.partition(":")[2])]
    paths = [Path(word) for word in words if word]
    # Other data, or a run trained anew, under the same name must not go on with the runs of what was there before.
    state: list[Any] = [[each.stat().st_size, each.stat().st_mtime_ns] for each in paths if each.exists()]
    # By content: a run that was copied has its weights at another time, and other weights may have that time.
    begun = [Path(run) / name for run in request.get("begun", ()) for name in (runs.INFO, runs.BEST)]
    state += [runs.hash_of(each) for each in begun if each.exists()]
    told = json.dumps([dict(request), os.getcwd(), state], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def remove_unused(above: Path, but: Path) -> None:
    """Remove the folders of interrupted benches that nobody came back to."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for lock in above.glob("*/.lock"):
        if lock.parent == but or lock.stat().st_mtime > oldest:
            continue
        # A bench that trains for so long holds its lock.
        with contextlib.suppress(UsageError), runs.locked(lock.parent):
            shutil.rmtree(lock.parent, ignore_errors=True)
