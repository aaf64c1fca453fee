"""Request pacing and the circuit breaker, shared by all workers of all runs on a root.

Each host has one rate per egress address. The rate never exceeds the manifest's; it halves when the host refuses, and
grows back in small steps (additive increase, multiplicative decrease). The state lives in `<root>/pace.json`, so two
runs share one rate and a restart does not forget a ban. A local file is changed under a lock, an object by
compare-and-swap. Times are each machine's own: clocks that differ by more than the interval between visits let the one
that is behind wait longer, and a visit of it now and then come too early for the other one.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import ipaddress
import json
import os
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from vsumdata.manifests import clock
from vsumdata.manifests.errors import ClusterError, StorageError, UsageError, VsumdataError
from vsumdata.manifests.store import Store
from vsumdata.manifests.terminal import clock as shown

# Pauses double from the first to the longest: bans last hours to days.
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 6 * 3600.0
# A host may send an absurd Retry-After, so it counts up to this.
LONGEST_RETRY_AFTER_S = 24 * 3600.0
# A pause that ended this long ago no longer makes the next one longer.
FORGIVEN_AFTER_S = 3600.0
# A waiting worker asks again this often, because another worker may have opened the breaker meanwhile.
LOOK_AGAIN_S = 2.0
# Both are shares of the manifest's rate: the lowest rate, and the gain with each turn granted.
SLOWEST = 1 / 16
SPEED_UP = 1 / 32
# A host that has not answered so many visits in a row is down, for at most this long.
OUTAGE_AFTER = 5
LONGEST_OUTAGE_S = 48 * 3600.0
NAMESPACE = "vsumdata"
# Ray takes some half a minute to see that a node has gone without a word.
ACTOR_WITHIN_S, ACTOR_AGAIN_S = 120.0, 0.5
REMEDY = (
    "wait, or stop and give `crawl.yt_dlp` cookies (cookiefile) or another address (proxy, source_address); "
    "no video is blamed"
)
Hosts = dict[str, dict[str, Any]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Turns:
    """The state of a root, by host and egress. Times are seconds since the epoch.

    `next_at` is the next free turn, `share` in (0, 1] the share of the manifest's rate, `visits` the number of turns
    granted. `open_until` and `why` describe the breaker, `pause_s` the length of its last pause. `failures` counts the
    visits in a row that the host did not answer, since `failing_since`.
    """

    # Not shown: it may hold keys, and Ray prints an actor's repr in every traceback.
    root: str = field(repr=False)

    def reserve(self, key: str, interval_s: float) -> float:
        """Take the next turn and return 0, or say how many seconds to wait before asking again."""

        def reserved(hosts: Hosts) -> float:
            entry, now = hosts.setdefault(key, {}), clock.now()
            wait_s = max(entry.get("open_until", 0.0), entry.get("next_at", 0.0)) - now
            # No entry lies that far ahead unless the system clock was set back.
            if wait_s > LONGEST_RETRY_AFTER_S:
                entry |= {"open_until": now, "next_at": now}
            elif wait_s > 0:
                return wait_s
            entry["share"] = min(1.0, entry.get("share", 1.0) + SPEED_UP)
            entry["next_at"] = now + interval_s / entry["share"]
            entry["visits"] = entry.get("visits", 0) + 1
            return 0.0

        return self.changed(reserved)

    def trip(self, key: str, interval_s: float, after_s: float | None, why: str) -> float:
        """Open the breaker for all workers and halve the rate; return how many seconds it stays open.

        The pause is the host's own Retry-After `after_s`, else it doubles each time.
        """

        def tripped(hosts: Hosts) -> float:
            entry, now = hosts.setdefault(key, {}), clock.now()
            open_until = entry.get("open_until", 0.0)
            stays_s = None if after_s is None else min(max(after_s, interval_s), LONGEST_RETRY_AFTER_S)
            # While the breaker is open, a trip comes from a request that was already under way. It may prolong the
            # pause, but it must not double the pause or halve the rate once more.
            if open_until <= now:
                is_recent = now - open_until < FORGIVEN_AFTER_S
                entry["pause_s"] = (
                    min(2 * entry.get("pause_s", FIRST_PAUSE_S), LONGEST_PAUSE_S) if is_recent else FIRST_PAUSE_S
                )
                entry["share"] = max(SLOWEST, entry.get("share", 1.0) / 2)
                stays_s = entry["pause_s"] if stays_s is None else stays_s
            entry["open_until"] = max(open_until, now + (stays_s or 0.0))
            entry["why"] = why[:300]
            return float(entry["open_until"] - now)

        return self.changed(tripped)

    def answered(self, key: str, interval_s: float, failed: bool, why: str) -> bool:
        """Note whether the host answered a visit; open the breaker when it has failed for many in a row.

        True says that the host fails for everybody, so that no video is at fault.
        """

        def noted(hosts: Hosts) -> tuple[int, float]:
            entry, now = hosts.setdefault(key, {}), clock.now()
            if not failed:
                entry.pop("failures", None)
                entry.pop("failing_since", None)
                return 0, 0.0
            entry["failures"] = entry.get("failures", 0) + 1
            return entry["failures"], now - entry.setdefault("failing_since", now)

        failures, failing_s = self.changed(noted)
        # A host that is gone for good must not hold a run for ever.
        if failures < OUTAGE_AFTER or failing_s > LONGEST_OUTAGE_S:
            return False
        self.trip(key, interval_s, None, f"{failures} visits in a row failed: {why}")
        return True

    def open_breakers(self) -> dict[str, tuple[float, str]]:
        """Return the open breakers: host (and egress) -> (seconds left, why)."""
        now, hosts = clock.now(), self.read()
        left = {key: (entry.get("open_until", 0.0) - now, entry.get("why", "")) for key, entry in hosts.items()}
        return {key: (left_s, why) for key, (left_s, why) in left.items() if left_s > 0}

    def read(self) -> Hosts:
        """Read the state without a lock. Raises StorageError."""
        store = Store(self.root)
        try:
            return decoded(store.content(f"{store.base}/pace.json"))
        except FileNotFoundError:
            return {}

    def changed(self, change: Callable[[Hosts], Result]) -> Result:
        """Change the state by `change`, as if nobody else did at that time. Raises StorageError."""
        store = Store(self.root)
        if store.objects is not None:
            return store.objects.update(f"{store.base}/pace.json", functools.partial(swapped, change))
        assert store.local is not None
        try:
            return self.changed_under_lock(store.local, change)
        except OSError as error:
            raise StorageError(f"cannot write to {store.root}/pace.json: {error.strerror}") from error

    def changed_under_lock(self, folder: Path, change: Callable[[Hosts], Result]) -> Result:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / "pace.json", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            hosts = decoded(os.pread(file, os.fstat(file).st_size, 0))
            before = json.dumps(hosts, indent=1)
            result = change(hosts)
            text = json.dumps(hosts, indent=1)
            # Write first, then truncate: after a kill in between, the file still begins with one whole JSON value,
            # and `decoded` reads no further.
            if text != before:
                os.ftruncate(file, os.pwrite(file, text.encode(), 0))
            return result
        finally:
            os.close(file)


def swapped(change: Callable[[Hosts], Result], now: bytes | None) -> tuple[bytes | None, Result]:
    """For compare-and-swap: the state after `change` (None if that is no other one), and what `change` returns."""
    hosts = decoded(now or b"{}")
    before = json.dumps(hosts)
    result = change(hosts)
    # The mark of a content may be its hash: two writers must never write the same. `decoded` leaves the entry out.
    text = json.dumps(hosts | {"written": uuid.uuid4().hex}, indent=1)
    return None if json.dumps(hosts) == before else text.encode(), result


def decoded(content: bytes) -> Hosts:
    """Read the first JSON value of a file, and ignore entries that make no sense."""
    # A full disk may have cut the file off. Starting anew loses a pause; an error here would stop every crawl.
    try:
        hosts = json.JSONDecoder().raw_decode(content.decode())[0]
    except ValueError:
        return {}
    return {key: entry for key, entry in hosts.items() if is_sound(entry)} if isinstance(hosts, dict) else {}


def is_sound(entry: Any) -> bool:
    """Whether an entry has numbers where numbers belong."""
    numbers = ("next_at", "open_until", "pause_s", "share", "visits", "failures", "failing_since")
    return isinstance(entry, dict) and all(isinstance(entry.get(name, 0.0), int | float) for name in numbers)


@dataclass(frozen=True)
class Pace:
    """Called with a host, it waits for the host's turn.

    The state is a file of the root. On an object store everybody swaps it; a folder on a mount may not lock across
    nodes, so on several nodes one actor has the file.
    """

    # Not shown: it may hold keys.
    root: str = field(repr=False)
    seconds_between_requests: float
    # The proxy or source address of the requests; "" is the node's own address.
    egress: str = ""
    # The turns that this process took, by host.
    visits: Counter[str] = field(default_factory=Counter, compare=False)

    def __call__(self, host: str, check: Callable[[], None] = lambda: None) -> None:
        """Wait for the host's turn; `check` is called now and then and may raise."""
        while (wait_s := self.ask("reserve", self.key(host), self.seconds_between_requests)) > 0:
            check()
            clock.sleep(min(wait_s, LOOK_AGAIN_S))
        self.visits[site(host)] += 1

    def trip(self, host: str, after_s: float | None, why: str) -> float:
        """Open the host's breaker for all workers; return how many seconds it stays open."""
        return self.ask("trip", self.key(host), self.seconds_between_requests, after_s, why)

    def answered(self, host: str, failed: bool, why: str) -> bool:
        """Note whether the host answered; True if it fails for everybody, see `Turns.answered`."""
        return self.ask("answered", self.key(host), self.seconds_between_requests, failed, why)

    def notice(self) -> str:
        """Say which hosts are paused, why, and the remedy; "" if none is or that cannot be read now."""
        # Called by the thread of the display, which an error would end. A root that is lost ends the run elsewhere.
        try:
            breakers = Turns(self.root).open_breakers()
        except (StorageError, UsageError, OSError):
            return ""
        paused = [
            f"{key} asked to slow down: paused {shown(left_s)} ({why})" for key, (left_s, why) in breakers.items()
        ]
        return f"{'; '.join(paused)}; {REMEDY}" if paused else ""

    def key(self, host: str) -> str:
        """Name the host, without `www.` and the like, and the egress address."""
        # A site limits each client address by itself.
        egress = self.egress or own_address()
        return f"{site(host)} via {egress}" if egress else site(host)

    def ask(self, method: str, *args: Any) -> Any:
        """Call a method of Turns: in the root's actor if processes cannot all lock one file. Raises ClusterError."""
        # Importing Ray takes seconds; a process that has not imported it has no actor to ask.
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized() or Store(self.root).objects is not None or is_one_node():
            return getattr(Turns(self.root), method)(*args)
        failing_since: float | None = None
        while True:
            asked = None
            try:
                asked = actor(self.root)
                return ray.get(getattr(asked, method).remote(*args))
            except ray.exceptions.RayTaskError as error:
                # The actor could not write the state: raise its own error, not Ray's wrapper.
                if isinstance(error.cause, VsumdataError):
                    raise error.cause from error
                raise ClusterError(f"the actor that paces the requests failed: {error.cause}") from error
            except (ray.exceptions.RayError, ValueError) as error:
                # The actor dies with its node or with the run that started it; another one is started. Ray says of it
                # that it has died or cannot be reached, that its node or an answer is lost, or, as a ValueError, that
                # it has no actor of this name: it was there when another worker began to start it, and died.
                # Since the first error: the call before it may have hung until Ray saw that a node had gone.
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > ACTOR_WITHIN_S:
                    raise ClusterError(f"the actor that paces the requests cannot be started: {error}") from error
                if isinstance(error, ray.exceptions.ActorDiedError) and asked is not None:
                    # Ray 2.60 may keep the name of an actor that has died with its node, and gives everybody the dead
                    # one for ever. Killed once more, it loses the name; a living one has another id.
                    with contextlib.suppress(ray.exceptions.RayError, ValueError):
                        ray.kill(asked)
                actor.cache_clear()
                time.sleep(ACTOR_AGAIN_S)


def site(host: str) -> str:
    """Name the host without `www.` and the like: a site limits all its subdomains together."""
    for prefix in ("www.", "m.", "music."):
        host = host.removeprefix(prefix)
    return host


def egress_of(options: Mapping[str, Any]) -> str:
    """Name the egress of yt-dlp's `options`: the proxy's host and port, or the source address.

    The proxy's user and password are left out, because the name is stored and shown.
    """
    proxy = str(options.get("proxy") or "")
    if proxy:
        try:
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        except ValueError:
            return "proxy"
    return str(options.get("source_address") or "")


def is_one_node() -> bool:
    """Whether this Ray has one node. Then all processes lock the same file, and an actor would take 1.3 s to start."""
    import ray

    # A node that joins later asks the actor, which locks the file as the others do.
    return len(ray.nodes()) == 1


@functools.cache
def actor(root: str) -> Any:
    """Return the named actor that all workers of a cluster ask; the first caller starts it."""
    import ray

    # By the root's name without keys: Ray shows and logs it.
    named = {"name": f"pace of {Store(root).root}", "namespace": NAMESPACE, "get_if_exists": True}
    # No CPU: the worker pools may hold all of them, and then the actor would never start.
    return ray.remote(Turns).options(num_cpus=0, **named).remote(root)


@functools.cache
def own_address() -> str:
    """Return this node's public address, or "" if its address is private."""
    # Nodes with private addresses mostly share one public address, so they count as one egress.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing: it only picks the route, and with it the source address.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        address = probe.getsockname()[0]
    return address if ipaddress.ip_address(address).is_global else ""
