"""Request pacing and the circuit breaker, shared by all workers of all runs on a root.

The state (next free turn, rate and open breaker of each host) lives in `<root>/pace.json` under `flock`, so two
runs share one rate and a restart does not forget a ban. A root on an object store keeps it in the run's scratch
folder, for the workers of one machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 6 * 3600.0
FORGIVEN_AFTER_S = 3600.0  # a pause this long ago no longer makes the next one longer


@dataclass(frozen=True)
class Pace:
    """Callable with a host: waits for its turn. Times are seconds since the epoch."""

    path: Path
    seconds_between_requests: float

    def __call__(self, host: str) -> None:
        while (wait_s := self.reserve(host)) > 0:
            time.sleep(wait_s)

    def reserve(self, host: str) -> float:
        """Take the host's next turn and return 0, or say how many seconds to wait and ask again."""
        with self.state() as hosts:
            entry, now = hosts.setdefault(host, {}), time.time()
            wait_s = max(entry.get("open_until", 0.0), entry.get("next_at", 0.0)) - now
            if wait_s > 0:
                return min(wait_s, 5.0)  # look again: another worker may have been told to pause
            entry["next_at"] = now + self.seconds_between_requests
            return 0.0

    def trip(self, host: str, after_s: float | None, why: str) -> float:
        """Open the breaker for everybody: the host's own Retry-After, else a pause that doubles each time."""
        with self.state() as hosts:
            entry, now = hosts.setdefault(host, {}), time.time()
            if entry.get("open_until", 0.0) > now and after_s is None:
                return entry["open_until"] - now  # another worker's request met the same wall
            if now - entry.get("open_until", 0.0) > FORGIVEN_AFTER_S:
                entry["pause_s"] = FIRST_PAUSE_S / 2
            entry["pause_s"] = min(entry.get("pause_s", FIRST_PAUSE_S / 2) * 2, LONGEST_PAUSE_S)
            pause_s = max(after_s if after_s is not None else entry["pause_s"], self.seconds_between_requests)
            entry |= {"open_until": now + pause_s, "why": why[:300]}
            return pause_s

    def open_breakers(self) -> dict[str, tuple[float, str]]:
        """Host -> (seconds left, why), for the user's eyes."""
        if not self.path.exists():
            return {}
        with self.state() as hosts:
            now = time.time()
            return {
                host: (entry["open_until"] - now, entry.get("why", ""))
                for host, entry in hosts.items()
                if entry.get("open_until", 0.0) > now
            }

    @contextlib.contextmanager
    def state(self) -> Iterator[dict[str, Any]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            try:
                hosts = json.loads(text) if text else {}
            except ValueError:  # cut off by a full disk: begin anew rather than stop every crawl
                hosts = {}
            yield hosts
            new = json.dumps(hosts, indent=1)
            if new != text:
                file.seek(0)
                file.truncate()
                file.write(new)
                file.flush()
