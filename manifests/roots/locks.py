"""Locks and leases on an object store, which has none of its own: small objects, changed by compare-and-swap only.

No machine's clock is compared with another's. Whoever waits for a lock steals it when he has seen it unchanged for a
term by his own clock; a living holder renews it four times in that. A run is dead when its heartbeat is a term older
than the one just written by whoever looks, both by the store's clock. A
process of the same machine is dead as soon as the kernel does not know it any more.

So a process that was stopped for longer than a term (a machine asleep, a network gone) may find its lock stolen and its
videos taken. What it then commits is a row that others made too, and readers take one of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from vsumdata.manifests.errors import StorageError
from vsumdata.manifests.roots.objects import AGAIN, Objects, Tagged

LOCK_TERM_S = 60.0
RUN_TERM_S = 180.0
LOOK_EVERY_S = 1.0
JOINED_WITHIN_S = 10.0  # for a renewal that hangs at the end: its lock ends with its term then
HEARTBEAT = "run-"
# Path of a lock -> its content when this process saw it change, and when: one that nobody renews is stolen, also by
# callers that never wait.
seen: dict[str, tuple[bytes, float]] = {}


class ObjectLock:
    """An exclusive lock: an object that names its holder. It stays after use, held by nobody."""

    def __init__(self, objects: Objects, path: str) -> None:
        self.objects, self.path = objects, path
        self.me, self.tag = uuid.uuid4().hex, None

    def take(self, patience_s: float) -> bool:
        """Take the lock, waiting for at most `patience_s`; False if somebody else holds it."""
        until = time.monotonic() + patience_s
        while True:
            try:
                found = self.objects.get_tagged(self.path)
            except FileNotFoundError:
                found = Tagged(b"", None)
            if is_free(found) or self.is_over(found.content):
                self.tag = self.objects.swap(self.path, content(self.me), found.tag)
                if self.tag is not None:
                    return True
            if time.monotonic() >= until:
                return False
            time.sleep(min(LOOK_EVERY_S, max(0.0, until - time.monotonic())))

    def is_over(self, now: bytes) -> bool:
        """Whether nobody has renewed the lock for a term."""
        before, since = seen.get(self.path, (b"", 0.0))
        if before != now:
            seen[self.path] = now, time.monotonic()
            return False
        return time.monotonic() - since > LOCK_TERM_S

    def renew(self) -> None:
        """Show that the holder lives."""
        if self.tag is not None:
            self.tag = self.objects.swap(self.path, content(self.me), self.tag)

    def release(self) -> None:
        """Let the lock go; one that was stolen meanwhile is left alone."""
        # Not deleted: there is no conditional DELETE, and it might hit whoever stole the lock.
        if self.tag is not None:
            with contextlib.suppress(StorageError):
                self.objects.swap(self.path, content(""), self.tag)


def content(holder: str) -> bytes:
    # The mark of a content is often its hash, so no two may be alike.
    return json.dumps({"holder": holder, "process": process_name(), "renewal": uuid.uuid4().hex}).encode()


def is_free(found: Tagged) -> bool:
    """Whether a lock's object is not there, names no holder, or one that is gone from this machine."""
    if found.tag is None:
        return True
    # An object that is no JSON counts as held, and is stolen after the term.
    with contextlib.suppress(ValueError, AttributeError):
        said = json.loads(found.content)
        return not said.get("holder") or is_gone(said)
    return False


def process_name(pid: int | None = None) -> str:
    """This machine since its start, its table of processes, and one process in it, this one by default.

    "" where the kernel does not tell (no Linux), or has no such process.
    """
    # Containers of one machine have process numbers of their own, and numbers are given again.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = Path(f"/proc/{pid or os.getpid()}/stat").read_text().rpartition(")")[2].split()
        # A zombie has ended: it only waits for its parent.
        return "" if stat[0] == "Z" else f"{boot} {os.readlink('/proc/self/ns/pid')} {pid or os.getpid()} {stat[19]}"
    except OSError:
        return ""


def is_gone(said: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this was one of this machine and has ended."""
    known, own = str(said.get("process") or "").split(), process_name().split()
    if len(known) != len(own) or known[:2] != own[:2] or not own:
        return False
    return process_name(int(known[2])).split() != known


@contextlib.contextmanager
def locked(objects: Objects, path: str, patience_s: float) -> Iterator[bool]:
    """Hold the lock at `path`; yields whether it could be taken within `patience_s`. Raises StorageError."""
    lock = ObjectLock(objects, path)
    if not lock.take(patience_s):
        yield False
        return
    try:
        with repeated(lock.renew, LOCK_TERM_S / 4):
            yield True
    finally:
        lock.release()


@contextlib.contextmanager
def repeated(do: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `do` now and then, in a thread; a StorageError of it is left to the next time."""

    def repeat() -> None:
        while not ended.wait(every_s):
            with contextlib.suppress(StorageError):
                do()

    ended = threading.Event()
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(JOINED_WITHIN_S)


class Claims:
    """Which videos this run has, on an object store: one object for each table, and a heartbeat for each run."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self.objects, self.folder = objects, folder
        self.run = uuid.uuid4().hex[:12]
        self.tag: Any = None
        self.beaten_at = 0.0
        self.tables: dict[str, str] = {}  # name of a lease -> its table

    @property
    def heartbeat(self) -> str:
        return f"{self.folder}/{HEARTBEAT}{self.run}.json"

    def beat(self) -> None:
        """Show that the run lives. Raises StorageError if it was taken for dead meanwhile."""
        self.check()
        tag = self.objects.swap(self.heartbeat, content(self.run), self.tag)
        if tag is None:
            raise self.lost()
        # After the answer: the store has set its time before, so others count as younger than they are, never older.
        self.tag, self.beaten_at = tag, time.monotonic()

    def check(self) -> None:
        """Raise StorageError if the run's last heartbeat is a term old: others may have its videos by now."""
        if self.tag is not None and time.monotonic() - self.beaten_at > RUN_TERM_S:
            raise self.lost()

    def lost(self) -> StorageError:
        shown = self.objects.address.shown
        return StorageError(f"{shown}: this run was not heard of for {RUN_TERM_S:g} s and has lost its videos; {AGAIN}")

    def alive(self) -> set[str]:
        """The runs whose heartbeat is not a term old, this one among them. Heartbeats of dead runs are removed."""
        if self.tag is None:
            self.beat()
        self.check()
        beats = {f.path: f.modified for f in self.objects.below(self.folder) if f"/{HEARTBEAT}" in f.path}
        if self.heartbeat not in beats:
            raise self.lost()
        now = beats[self.heartbeat] + timedelta(seconds=time.monotonic() - self.beaten_at)
        dead = {path for path, at in beats.items() if (now - at).total_seconds() > RUN_TERM_S}
        dead |= {path for path in set(beats) - dead - {self.heartbeat} if self.is_gone(path)}
        self.objects.delete(dead)
        return {path.rpartition(HEARTBEAT)[2].removesuffix(".json") for path in set(beats) - dead}

    def is_gone(self, heartbeat: str) -> bool:
        """Whether a run gave its heartbeat back meanwhile, or its process has ended on this machine."""
        try:
            return is_gone(json.loads(self.objects.get(heartbeat)))
        except FileNotFoundError:
            return True
        except (ValueError, AttributeError):
            return False

    def path(self, table: str) -> str:
        return f"{self.folder}/{hashlib.blake2b(table.encode(), digest_size=6).hexdigest()}.json"

    def take(self, name: str, table: str, video_ids: Collection[str]) -> set[str]:
        """Take those videos of a table that no other run has, under the name of a lease."""
        if self.tag is None:
            self.beat()

        def change(now: bytes | None) -> tuple[bytes, set[str]]:
            runs = leases_in(now)
            # Asked after the table was read: a run shows its heartbeat before it takes anything.
            alive = self.alive() if set(runs) - {self.run} else {self.run}
            runs = {run: leases for run, leases in runs.items() if run in alive}
            taken = set(video_ids).difference(*(ids for run in set(runs) - {self.run} for ids in runs[run].values()))
            if taken:
                runs.setdefault(self.run, {})[name] = sorted(taken)
            return encoded(table, runs), taken

        taken = self.objects.update(self.path(table), change)
        if taken:
            self.tables[name] = table
        return taken

    def others(self, table: str) -> set[str]:
        """The videos of a table that living other runs have."""
        try:
            runs = leases_in(self.objects.get(self.path(table)))
        except FileNotFoundError:
            return set()
        others = set(runs) - {self.run}
        alive = self.alive() if others else set()
        return {video_id for run in others & alive for ids in runs[run].values() for video_id in ids}

    def release(self, name: str) -> None:
        """Give the videos of a lease back."""
        table = self.tables.pop(name, None)
        if table is None:
            return

        def change(now: bytes | None) -> tuple[bytes, None]:
            runs = leases_in(now)
            runs.get(self.run, {}).pop(name, None)
            return encoded(table, {run: leases for run, leases in runs.items() if leases}), None

        self.objects.update(self.path(table), change)

    def end(self) -> None:
        """Give everything back. A store that does not answer is left: the claims end with the heartbeat's term."""
        with contextlib.suppress(StorageError):
            for name in list(self.tables):
                self.release(name)
            self.objects.delete([self.heartbeat])
        self.tag = None


def leases_in(now: bytes | None) -> dict[str, dict[str, list[str]]]:
    """Run -> lease -> videos, from a table's object; none where it is damaged."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        runs = json.loads(now or b"{}").get("runs", {})
        return {str(run): {str(name): list(ids) for name, ids in leases.items()} for run, leases in runs.items()}
    return {}


def encoded(table: str, runs: Mapping[str, Any]) -> bytes:
    return json.dumps({"table": table, "runs": runs, "written": uuid.uuid4().hex}).encode()
