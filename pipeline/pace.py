"""Request pacing and the circuit breaker, shared by all workers of all runs on a root.

Each host is asked at one rate per egress address: never faster than the manifest says, half as fast after each
wall, and by small steps faster again (additive increase, multiplicative decrease). The state lives in
`<root>/pace.json`, so two runs share one rate and a restart does not forget a ban.
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import ClusterError

FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 6 * 3600.0
LONGEST_RETRY_AFTER_S = 24 * 3600.0
FORGIVEN_AFTER_S = 3600.0  # a pause this long ago no longer makes the next one longer
LOOK_AGAIN_S = 5.0  # another worker may have met a wall meanwhile
SLOWEST = 1 / 16  # of the manifest's rate
SPEED_UP = 1 / 32  # of the manifest's rate, for each turn granted
NAMESPACE = "vsumdata"
ACTOR_ATTEMPTS = 20
REMEDY = (
    "wait, or stop and give `crawl.yt_dlp` cookies (cookiefile) or another address (proxy, source_address); "
    "no video is blamed"
)
Hosts = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Turns:
    """The state of a root, by host and egress. Times are seconds since the epoch.

    `next_at`: the next free turn; `share`: of the manifest's rate, in (0, 1]; `open_until`, `why`: the breaker;
    `pause_s`: what it was opened for.
    """

    root: str

    def reserve(self, key: str, interval_s: float) -> float:
        """Take the next turn and return 0, or say how many seconds to wait before asking again."""
        with self.state() as hosts:
            entry, now = hosts.setdefault(key, {}), time.time()
            wait_s = max(entry.get("open_until", 0.0), entry.get("next_at", 0.0)) - now
            if wait_s > LONGEST_RETRY_AFTER_S:  # the clock was set back
                entry |= {"open_until": now, "next_at": now}
            elif wait_s > 0:
                return wait_s
            entry["share"] = min(1.0, entry.get("share", 1.0) + SPEED_UP)
            entry["next_at"] = now + interval_s / entry["share"]
            return 0.0

    def trip(self, key: str, interval_s: float, after_s: float | None, why: str) -> float:
        """Open the breaker for everybody and slow down; returns the seconds that it stays open.

        The host's own Retry-After counts, else a pause that doubles each time. Requests that were under way when
        it opened, and meet the same wall, only prolong it.
        """
        with self.state() as hosts:
            entry, now = hosts.setdefault(key, {}), time.time()
            open_until = entry.get("open_until", 0.0)
            if after_s is not None:
                after_s = min(max(after_s, interval_s), LONGEST_RETRY_AFTER_S)
            if open_until <= now:
                is_recent = now - open_until < FORGIVEN_AFTER_S
                entry["pause_s"] = (
                    min(2 * entry.get("pause_s", FIRST_PAUSE_S), LONGEST_PAUSE_S) if is_recent else FIRST_PAUSE_S
                )
                entry["share"] = max(SLOWEST, entry.get("share", 1.0) / 2)
                after_s = entry["pause_s"] if after_s is None else after_s
            entry["open_until"] = max(open_until, now + (after_s or 0.0))
            entry["why"] = why[:300]
            return entry["open_until"] - now

    def open_breakers(self) -> dict[str, tuple[float, str]]:
        """Host (and egress) -> (seconds left, why)."""
        now, hosts = time.time(), self.read()
        left = {key: (entry.get("open_until", 0.0) - now, entry.get("why", "")) for key, entry in hosts.items()}
        return {key: (left_s, why) for key, (left_s, why) in left.items() if left_s > 0}

    def read(self) -> Hosts:
        store = Store(self.root)
        if store.local is None:
            return store.read_json("pace.json") or {}
        try:
            return decoded((store.local / "pace.json").read_bytes())
        except FileNotFoundError:
            return {}

    @contextlib.contextmanager
    def state(self) -> Iterator[Hosts]:
        """The state, written back on leaving where it has changed; under a lock on a local root."""
        store = Store(self.root)
        if store.local is None:  # one actor asks for all workers of a cluster; between clusters the last one wins
            hosts = self.read()
            before = json.dumps(hosts)
            yield hosts
            if json.dumps(hosts) != before:
                store.write_json("pace.json", hosts)
            return
        store.local.mkdir(parents=True, exist_ok=True)
        file = os.open(store.local / "pace.json", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            hosts = decoded(os.pread(file, os.fstat(file).st_size, 0))
            before = json.dumps(hosts, indent=1)
            yield hosts
            text = json.dumps(hosts, indent=1)
            if text != before:  # first written, then cut: a kill in between leaves a readable file
                os.ftruncate(file, os.pwrite(file, text.encode(), 0))
        finally:
            os.close(file)


def decoded(content: bytes) -> Hosts:
    """The first JSON value of a file; one that a full disk cut off is begun anew rather than stop every crawl."""
    try:
        hosts = json.JSONDecoder().raw_decode(content.decode())[0]
    except ValueError:
        return {}
    return {key: entry for key, entry in hosts.items() if is_sound(entry)} if isinstance(hosts, dict) else {}


def is_sound(entry: Any) -> bool:
    numbers = ("next_at", "open_until", "pause_s", "share")
    return isinstance(entry, dict) and all(isinstance(entry.get(name, 0.0), int | float) for name in numbers)


@dataclass(frozen=True)
class Pace:
    """Callable with a host: waits for its turn. In a process with Ray it asks the run's actor, else the file."""

    root: str
    seconds_between_requests: float
    egress: str = ""  # the proxy or source address of the requests; "" is the node's own

    def __call__(self, host: str) -> None:
        while (wait_s := self.ask("reserve", self.key(host), self.seconds_between_requests)) > 0:
            time.sleep(min(wait_s, LOOK_AGAIN_S))

    def trip(self, host: str, after_s: float | None, why: str) -> float:
        return self.ask("trip", self.key(host), self.seconds_between_requests, after_s, why)

    def notice(self) -> str:
        """The open breakers with the remedy, in words for the user; empty where none is open."""
        breakers = Turns(self.root).open_breakers()
        paused = [f"{key} asked to slow down: paused {left_s:.0f} s ({why})" for key, (left_s, why) in breakers.items()]
        return f"{'; '.join(paused)}; {REMEDY}" if paused else ""

    def key(self, host: str) -> str:
        """The host without `www.` and the like, and by which way it is asked."""
        for prefix in ("www.", "m.", "music."):
            host = host.removeprefix(prefix)
        egress = self.egress or own_address()
        return f"{host} via {egress}" if egress else host

    def ask(self, method: str, *args: Any) -> Any:
        ray = sys.modules.get("ray")
        if ray is None or not ray.is_initialized():
            return getattr(Turns(self.root), method)(*args)
        for _ in range(ACTOR_ATTEMPTS):
            try:
                return ray.get(getattr(actor(self.root), method).remote(*args))
            except ray.exceptions.RayActorError:
                actor.cache_clear()  # the run that had started it has ended: start another
                time.sleep(0.5)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # the root takes no data
        raise ClusterError("the actor that paces the requests cannot be started")


def egress_of(options: Mapping[str, Any]) -> str:
    """By which way yt-dlp's `options` send requests: the proxy's host and port or the address bound to; no secret."""
    proxy = str(options.get("proxy") or "")
    if proxy:
        try:
            parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        except ValueError:
            return "proxy"
    return str(options.get("source_address") or "")


@functools.cache
def actor(root: str) -> Any:
    """The named actor that all workers of a cluster ask, started by whoever is first."""
    import ray

    named = {"name": f"pace of {root}", "namespace": NAMESPACE, "get_if_exists": True}
    return ray.remote(Turns).options(num_cpus=0, **named).remote(root)


@functools.cache
def own_address() -> str:
    """This node's public address; "" behind a shared one, as nodes with a private address mostly are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only picks the route
        except OSError:
            return ""
        address = probe.getsockname()[0]
    return address if ipaddress.ip_address(address).is_global else ""
