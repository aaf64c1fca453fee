"""A Ray cluster of one node for a test: its own ports, its own folder, and gone with all its processes at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import descendants

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
STARTS_WITHIN_S = 90.0


@dataclass(frozen=True)
class Head:
    """Where a head listens."""

    address: str
    dashboard: str
    metrics: str
    environment: dict[str, str]

    def samples(self) -> dict[str, float]:
        """What Prometheus would read: `name{labels}` -> value; nothing while the agent does not answer."""
        found = {}
        for line in self.fetched(self.metrics).splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def fetched(self, url: str) -> str:
        """What an address answers; "" while it does not."""
        token = {"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=token), timeout=5) as answer:
                return answer.read().decode()  # type: ignore[no-any-return]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def head(num_cpus: int = 2) -> Iterator[Head]:
    """Start a head that reports metrics every second; end it, and only it, on leaving."""
    gcs, dashboard, metrics, client, agent, agent_grpc, env_agent = free_ports(7)
    # Ray's sockets need a short path, and pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = os.environ | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_metrics_report_interval_ms": "500",
            "RAY_TMPDIR": folder,
            # Ray's own default since 2.60 where the user has a token; else it takes the one in the home folder.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": uuid.uuid4().hex + uuid.uuid4().hex,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        environment.pop("RAY_ADDRESS", None)
        ports = {
            "port": gcs,
            "dashboard-port": dashboard,
            "metrics-export-port": metrics,
            "ray-client-server-port": client,
            "dashboard-agent-listen-port": agent,
            "dashboard-agent-grpc-port": agent_grpc,
            "runtime-env-agent-port": env_agent,
            "min-worker-port": 0,
            "max-worker-port": 0,
            "num-cpus": num_cpus,
            "num-gpus": 0,
            "object-store-memory": 200_000_000,
        }
        command = [
            *RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
            f"--temp-dir={folder}", *(f"--{name}={value}" for name, value in ports.items()),
        ]  # fmt: skip
        with open(f"{folder}/head.log", "w") as log:
            # Jobs begin in the head's folder. A checkout would bring its own metadata.
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            found = Head(
                f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{metrics}/metrics", environment
            )
            until = time.monotonic() + STARTS_WITHIN_S
            while not (found.fetched(f"{found.dashboard}/api/version") and found.fetched(found.metrics)):
                said = Path(folder, "head.log").read_text()
                assert process.poll() is None, said
                assert time.monotonic() < until, said
                time.sleep(0.2)
            yield found
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started. Ray's own `ray stop` would end every Ray of the machine."""
    started = [pid for pid, _ in descendants(process.pid)]
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for pid in [process.pid, *started]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
