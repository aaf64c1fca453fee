"""Who works on a root: runs share it, `prune` and `compact` have it alone, and two runs divide the videos.

On a local root the kernel's file locks say who is alive: they end with the process. An object store has no locks. There
a small JSON object says until when its writer is alive; the writer renews it, and after its term it counts no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO

import pyarrow.fs as pafs

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store

FOLDER = "leases"
# On an object store: a dead run's leases end after TERM_S; renewing three times as often forgives two failures.
TERM_S = 180.0


class Leases:
    """The leases of one run: which videos of which table it works on. One file for each wave, not for each video."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.run = uuid.uuid4().hex[:12]
        self.held: dict[str, IO[str] | None] = {}
        self.number = 0

    def take(self, table: str, video_ids: Collection[str]) -> tuple[str, set[str]]:
        """Take a lease on those videos that no other run has; returns its name and the videos."""
        self.number += 1
        name = f"{self.run}-{self.number}"
        # Between looking and taking nobody else may take. On an object store two runs may take the same video in the
        # same second; then both make its row, which readers take once.
        with self.store.lock(f"{FOLDER}.lock"):
            taken = set(video_ids) - self.others(table)
            if taken:
                self.put(name, {"table": table, "video_ids": sorted(taken)})
        return name, taken

    def put(self, name: str, lease: dict[str, object]) -> None:
        if self.store.local is None:
            self.held[name] = None
            self.store.write_json(f"{FOLDER}/{name}.json", lease | {"until": time.time() + TERM_S})
            return
        folder = self.store.local / FOLDER
        folder.mkdir(exist_ok=True)
        file = (folder / f"{name}.json").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(lease))
        file.flush()
        self.held[name] = file

    def release(self, name: str) -> None:
        """Give a lease back."""
        file = self.held.pop(name, None)
        if file is not None:
            # Removed first: whoever can lock it may read it no more.
            Path(file.name).unlink(missing_ok=True)
            file.close()
        elif self.store.local is None:
            with contextlib.suppress(OSError):
                self.store.fs.delete_file(f"{self.store.base}/{FOLDER}/{name}.json")

    def release_all(self) -> None:
        for name in list(self.held):
            self.release(name)

    def others(self, table: str) -> set[str]:
        """The videos of a table that living other runs work on."""
        found: set[str] = set()
        for name in self.names():
            if name.startswith(self.run):
                continue
            lease = self.read(name)
            if lease is not None and lease.get("table") == table:
                found.update(lease["video_ids"])
        return found

    def names(self) -> list[str]:
        selector = pafs.FileSelector(f"{self.store.base}/{FOLDER}", allow_not_found=True)
        return [i.base_name for i in self.store.fs.get_file_info(selector) if i.extension == "json"]

    def read(self, name: str) -> dict | None:
        """The lease of that file; None if its run is dead or has given it back. A dead run's file is removed."""
        if self.store.local is None:
            lease = self.store.read_json(f"{FOLDER}/{name}")
            return lease if lease is not None and lease["until"] > time.time() else None
        path = self.store.local / FOLDER / name
        try:
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    # Alive. Still empty: it is being written under the lock that `take` holds, so not by us.
                    text = file.read()
                    return json.loads(text) if text else None
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        return None

    def renew(self) -> None:
        """Prolong the leases on an object store; the kernel keeps those on a local root."""
        for name in self.held if self.store.local is None else ():
            lease = self.store.read_json(f"{FOLDER}/{name}.json")
            if lease is not None:
                self.store.write_json(f"{FOLDER}/{name}.json", lease | {"until": time.time() + TERM_S})


@contextlib.contextmanager
def shared(store: Store, leases: Leases) -> Iterator[None]:
    """Hold the root for a run: others may run, nobody may prune."""
    if store.local is not None:
        store.local.mkdir(parents=True, exist_ok=True)
        with (store.local / ".runs").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            try:
                yield
            finally:
                leases.release_all()
        return
    leases.put(f"{leases.run}-0", {"table": "", "video_ids": []})
    ended = threading.Event()
    thread = threading.Thread(target=repeat, args=(leases.renew, TERM_S / 3, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        leases.release_all()


@contextlib.contextmanager
def alone(store: Store, what: str) -> Iterator[None]:
    """Have the root alone. Raises UsageError if a run works on it; `what` is said in its message."""
    error = UsageError(f"{store.root}: a run is working here; {what} when it has ended")
    if store.local is None:
        leases = Leases(store)
        if any(leases.read(name) for name in leases.names()):
            raise error
        yield
        return
    with (store.local / ".runs").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error from None
        yield


def repeat(do: Callable[[], None], every_s: float, ended: threading.Event) -> None:
    while not ended.wait(every_s):
        with contextlib.suppress(OSError):
            do()
