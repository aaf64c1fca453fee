"""Who works on a root: runs share it, `prune` and `compact` have it alone, and two runs divide the videos.

On a local root the kernel's file locks say who is alive: they end with the process. On an object store it is a
heartbeat, see `roots.locks`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.locks import HEARTBEAT, LOCK_TERM_S, RUN_TERM_S, Claims, locked, repeated
from vsumdata.manifests.store import Store

FOLDER = "leases"
ALONE = ".alone"  # the lock of whoever has a root on an object store alone


class Leases:
    """The leases of one run: which videos of which table it works on. One for each wave, not for each video."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.claims = Claims(store.objects, f"{store.base}/{FOLDER}") if store.objects is not None else None
        self.run = self.claims.run if self.claims is not None else uuid.uuid4().hex[:12]
        self.held: dict[str, IO[str]] = {}
        self.number = 0

    def take(self, table: str, video_ids: Collection[str]) -> tuple[str, set[str]]:
        """Take a lease on those videos that no other run has; returns its name and the videos. Raises StorageError."""
        self.number += 1
        name = f"{self.run}-{self.number}"
        if self.claims is not None:
            return name, self.claims.take(name, table, video_ids)
        # Between looking and taking nobody else may take.
        with self.store.lock(f"{FOLDER}.lock"):
            taken = set(video_ids) - self.others(table)
            if taken:
                self.put(name, {"table": table, "video_ids": sorted(taken)})
        return name, taken

    def put(self, name: str, lease: dict[str, object]) -> None:
        file = (self.folder() / f"{name}.json").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(lease))
        file.flush()
        self.held[name] = file

    def folder(self) -> Path:
        assert self.store.local is not None
        folder = self.store.local / FOLDER
        folder.mkdir(exist_ok=True)
        return folder

    def release(self, name: str) -> None:
        """Give a lease back."""
        if self.claims is not None:
            self.claims.release(name)
            return
        file = self.held.pop(name, None)
        if file is not None:
            # Removed first: whoever can lock it may read it no more.
            Path(file.name).unlink(missing_ok=True)
            file.close()

    def release_all(self) -> None:
        """Give everything back: the run has ended."""
        if self.claims is not None:
            self.claims.end()
        for name in list(self.held):
            self.release(name)

    def others(self, table: str) -> set[str]:
        """The videos of a table that living other runs work on."""
        if self.claims is not None:
            return self.claims.others(table)
        assert self.store.local is not None
        found: set[str] = set()
        for path in (self.store.local / FOLDER).glob("*.json"):
            if path.name.startswith(self.run):
                continue
            lease = self.read(path)
            if lease is not None and lease.get("table") == table:
                found.update(lease["video_ids"])
        return found

    def read(self, path: Path) -> dict | None:
        """The lease of that file; None if its run is dead or has given it back. A dead run's file is removed."""
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


@contextlib.contextmanager
def shared(store: Store, leases: Leases) -> Iterator[None]:
    """Hold the root for a run: others may run, nobody may prune. Raises StorageError."""
    if leases.claims is not None:
        assert store.objects is not None
        # Under the lock: whoever has the root alone looked for heartbeats when it took it.
        with locked(store.objects, f"{store.base}/{ALONE}", float("inf")):
            leases.claims.beat()
        # Three times a term forgives two failures.
        with repeated(leases.claims.beat, RUN_TERM_S / 3):
            try:
                yield
            finally:
                leases.release_all()
        return
    assert store.local is not None
    store.local.mkdir(parents=True, exist_ok=True)
    with (store.local / ".runs").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield
        finally:
            leases.release_all()


@contextlib.contextmanager
def alone(store: Store, what: str) -> Iterator[None]:
    """Have the root alone. Raises UsageError if a run works on it; `what` is said in its message."""
    error = UsageError(f"{store.root}: a run is working here; {what} when it has ended")
    if store.objects is not None:
        claims = Claims(store.objects, f"{store.base}/{FOLDER}")
        # Longer than the term: a dead holder's lock is stolen by then, and whoever still holds it lives.
        with locked(store.objects, f"{store.base}/{ALONE}", LOCK_TERM_S + 5.0) as taken:
            try:
                if not taken or claims.alive() - {claims.run}:
                    raise error
            finally:
                claims.end()
            yield
        return
    assert store.local is not None
    with (store.local / ".runs").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error from None
        yield


def is_working(store: Store) -> bool:
    """Whether a run works on the root. Nothing is written: whoever asks may only be allowed to read.

    On an object store a run counts whose last heartbeat is younger than its term, by this machine's clock.
    """
    if store.objects is not None:
        claims, now = Claims(store.objects, f"{store.base}/{FOLDER}"), datetime.now(UTC)
        beats = [beat for beat in store.objects.below(claims.folder) if f"/{HEARTBEAT}" in beat.path]
        young = [beat.path for beat in beats if (now - beat.modified).total_seconds() <= RUN_TERM_S]
        return not all(map(claims.is_gone, young))
    assert store.local is not None
    try:
        with (store.local / ".runs").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False
