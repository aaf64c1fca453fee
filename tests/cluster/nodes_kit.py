"""Several Ray nodes on this machine: processes of their own, with folders of their own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STARTS_WITHIN_S = 60.0
STORE_BYTES = 80_000_000


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Node:
    """One Ray node: the process that keeps it, and the folder that its temporary files go to."""

    name: str
    process: subprocess.Popen[bytes]
    folder: Path

    def kill(self) -> None:
        """End it as a machine ends that loses its power."""
        self.process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Nodes:
    """A Ray cluster on this machine. `address` is what `--address` takes."""

    folder: Path
    port: int = field(default_factory=free_port)
    nodes: dict[str, Node] = field(default_factory=dict)

    # Ray 2.60 lets nobody in without a token.
    token: str = field(default_factory=lambda: uuid.uuid4().hex * 2)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a driver needs in its environment."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def start(
        self, name: str, *, gpus: int = 0, cpus: int = 1, hides: Sequence[Path] = (), variables: Mapping[str, str] = {}
    ) -> Node:
        """Start a node, the first one as the head; returns once it has joined.

        It sees nothing in the folders `hides` and an empty file in the place of a file.
        """
        own = self.folder / name
        own.mkdir()
        head = ["--head", f"--port={self.port}", f"--temp-dir={self.folder}/ray", "--include-dashboard=false"]
        arguments = head if not self.nodes else [f"--address={self.address}"]
        arguments += [f"--num-cpus={cpus}", f"--num-gpus={gpus}", f"--object-store-memory={STORE_BYTES}"]
        arguments += ["--block", "--disable-usage-stats", f"--node-name={name}"]
        code = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; sys.exit(main())"
        own_variables = {"VSUMDATA_TMPDIR": str(own), "RAY_ENABLE_AUTO_CONNECT": "0"} | self.variables
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *apart(hides),
                    sys.executable,
                    "-c",
                    code,
                    "start",
                    *arguments,
                ],
                env=os.environ | own_variables | dict(variables),
                stdout=log,
                stderr=log,
                # A group of its own: all its processes can be killed as one.
                start_new_session=True,
                cwd=own,
            )
        self.nodes[name] = Node(name, process, own)
        until = time.monotonic() + STARTS_WITHIN_S
        while b"Ray runtime started" not in (own / "log").read_bytes():
            assert process.poll() is None, (own / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.1)
        return self.nodes[name]

    def stop(self) -> None:
        for node in reversed(self.nodes.values()):
            node.kill()


def apart(hides: Sequence[Path]) -> list[str]:
    """The words before a command that give it a view of the files of its own."""
    if not hides:
        return []
    how = {path: f"mount -t tmpfs none {shlex.quote(str(path))}" for path in hides if path.is_dir()}
    how |= {path: f"mount --bind /dev/null {shlex.quote(str(path))}" for path in hides if path.is_file()}
    return ["unshare", "-m", "sh", "-c", " && ".join([*how.values(), 'exec "$@"']), "sh"]


def can_hide() -> bool:
    """Whether this user may give processes a view of the files of their own."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@contextlib.contextmanager
def ray_nodes() -> Iterator[Nodes]:
    """An empty cluster, whose nodes are killed at the end."""
    # Short, for the sockets of Ray lie in there.
    with tempfile.TemporaryDirectory(prefix="vn-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = Nodes(Path(folder))
        try:
            yield nodes
        finally:
            nodes.stop()
