"""Run the program on the sample in a process of its own, and compare what two roots hold."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from tests.bench.machine import descendants

from vsumdata.manifests import upkeep
from vsumdata.manifests.store import Store

PROGRAM = [sys.executable, "-c", "from vsumdata.pipeline.commands.main import main; main()"]
# A small architecture: what is tested is the pipeline, not the picture model.
SMALL_CLIP = ["--set", "features.clip.model=ViT-S-32-alt"]
# Does again what was given up because its process was killed twice.
REPAIR = ["--retry", "worker_died,transient"]
LONGEST_PAUSE_S = 4.0  # between two kills
PARTS = ("train=0.5", "val=0.2", "test=0.3")  # so that each has some of the eight videos
SPLIT = [word for part in PARTS for word in ("--set", f"features.split.{part}")]
CHANGES_BY_THE_CLOCK = {
    "committed_at", "seconds", "version", "retry_after", "retrieved_at", "digest", "detail", "part",
}  # fmt: skip


def start(
    *arguments: str, site: str | None = None, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    env = os.environ | ({"VSUMDATA_TRANSPORT": f"sample.invalid={site}"} if site else {})
    return subprocess.Popen([*PROGRAM, *arguments], env=env, stdout=stdout, stderr=stderr, text=True)


def vsumdata(*arguments: str, site: str | None = None) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, site=site)
    out, err = process.communicate(timeout=400)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def here(*arguments: str, site: str | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, on the Ray that a test's module has started: for what a start of its own adds nothing
    to.
    """
    from vsumdata.pipeline.commands import main as cli

    transport = {"VSUMDATA_TRANSPORT": f"sample.invalid={site}"} if site else {}
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, transport),
        mock.patch.object(sys, "argv", ["vsumdata", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = cli.guarded(cli.app)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def sample_run(root: Path | str) -> list[str]:
    return [
        "run",
        "--manifest",
        "sample",
        "--stage",
        "crawl,asr,features,summaries",
        "--root",
        str(root),
        *SMALL_CLIP,
        *SPLIT,
    ]


def victims(driver: int, kind: str) -> list[int]:
    """The processes of a run that may be killed: its `driver`, a `worker` or an `ffmpeg`."""
    if kind == "driver":
        return [driver]
    found = []
    for pid, _ in descendants(driver):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            # Ray names its workers after what they do.
            if words.startswith("ray::MapWorker") if kind == "worker" else kind in words[:200]:
                found.append(pid)
    return found


def disturbed(command: list[str], site: str, kills: int, chance: random.Random) -> Counter[str]:
    """Repeat a run until it ends by itself, killing at most `kills` processes; return how many of which kind."""
    killed: Counter[str] = Counter()
    while True:
        with start(*command, site=site, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and killed.total() < kills:
                time.sleep(chance.uniform(0.2, LONGEST_PAUSE_S))
                kind = chance.choice(["driver", "worker", "ffmpeg"])
                # An ffmpeg is there for moments only.
                while not (there := victims(process.pid, kind)) and process.poll() is None:
                    time.sleep(0.02)
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(there), signal.SIGKILL)
                        killed[kind] += 1
                if kind == "driver":
                    process.wait()
        if process.returncode in (0, 1):
            return killed


def wait_for_rows(store: Store, table: str, process: subprocess.Popen[str]) -> None:
    """Wait until a run has committed some rows of a table."""
    until = time.monotonic() + 300.0
    while not any(store.parts(table, at) for at in store.older(table, "")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.2)


def contents(root: Path | str) -> dict[str, dict[str, dict[str, Any]]]:
    """table -> video_id -> its latest row, without what depends on the clock."""
    store = Store(root)
    found = {}
    for table, fingerprint in store.tables().items():
        latest = store.latest(table, fingerprint)
        parts = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
        assert len(parts) == len(latest), "duplicates are visible"
        columns = list(store.dataset()["tables"][table]["schema"])
        rows = store.read(table, fingerprint, parts, columns)
        found[table] = {
            video_id: {name: value for name, value in row.items() if name not in CHANGES_BY_THE_CLOCK}
            for video_id, row in rows.items()
        }
    return found


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal ids, outcomes and texts; arrays within 1e-3."""
    if isinstance(one, np.ndarray):
        np.testing.assert_allclose(one.astype(np.float64), other.astype(np.float64), atol=1e-3, err_msg=where)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        if "outcome" in one:
            # First, so that a row's detail says why.
            assert one["outcome"] == other["outcome"], f"{where}: {one.get('reason')} {one.get('detail')}"
        for key in one:
            if key != "upstream":  # holds hashes of features, which may differ in the last bit
                assert_same(one[key], other[key], f"{where}/{key}")
    else:
        assert one == other, where


def leftovers(root: Path) -> list[Path]:
    """What should not be there when no run is under way: files in the root, and scratch folders of its runs."""
    strange = {"tmp", "media"}
    in_root = [p for p in root.rglob("*") if p.name in strange or ".tmp" in p.name or ".part" in p.name]
    return [*in_root, *upkeep.scratch_parent(Store(root)).glob("*")]
