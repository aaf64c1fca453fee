"""recipes/cluster/slurm.sh, with stand-ins for Slurm: told to stop, it ends in time, and goes on when it is requeued.

The real `ray symmetric-run` ends with `ray stop`, which ends every Ray of the machine, and refuses to start beside
another one. So the script runs in a process namespace of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pipeline.sample_kit import leftovers

from vsumdata.manifests.store import Store

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "recipes/cluster/slurm.sh"
ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
JOB_ID = "4711"
# srun without its options, as on a cluster of one node.
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/sh
echo "$@" >>"$ASKED"
"""
# Slurm sends TERM to the script; here a file asks for it, since process ids mean something else outside.
SLURM = """#!/bin/sh
"$@" &
while kill -0 $! 2>/dev/null; do
    if [ -e "$TERM_NOW" ]; then rm "$TERM_NOW"; kill -TERM $!; fi
    sleep 0.1
done
wait $!
"""


def can_be_alone() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


class Site:
    """A Slurm of one node."""

    def __init__(self, folder: Path, ray_folder: str) -> None:
        self.folder, self.root = folder, folder / "root"
        self.term_now, self.asked = folder / "term", folder / "asked"
        vsumdata = f'#!/bin/sh\nexec {sys.executable} -P -m vsumdata.pipeline.commands.main "$@"\n'
        ray = f'#!/bin/sh\nexec {sys.executable} -m ray.scripts.scripts "$@"\n'
        programs = {"srun": SRUN, "scontrol": SCONTROL, "slurm": SLURM, "vsumdata": vsumdata, "ray": ray}
        (folder / "bin").mkdir()
        for name, text in programs.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "build/links"),
            "ASKED": str(self.asked), "TERM_NOW": str(self.term_now), "SLURM_JOB_ID": JOB_ID,
            "SLURM_CPUS_PER_TASK": "2", "HEAD_IP": "127.0.0.1", "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_START_OPTIONS": f"--temp-dir={ray_folder} --include-dashboard=false --min-worker-port=0 "
            "--max-worker-port=0 --dashboard-agent-listen-port=0 --object-store-memory=100000000",
            "VSUMDATA_TMPDIR": str(folder),
        }  # fmt: skip
        self.environment.pop("RAY_ADDRESS", None)

    def submit(self, *settings: str) -> subprocess.Popen[str]:
        arguments = ["--manifest", "sample", "--stage", "crawl", "--root", str(self.root), *settings]
        return subprocess.Popen(
            [*ALONE, "slurm", str(SCRIPT), *arguments],
            env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def made(self) -> int:
        """How many videos have their row."""
        store = Store(self.root)
        folders = [path.name for path in self.root.glob("videos/*")]
        return sum(len(store.latest("videos", folder)) for folder in folders)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if not can_be_alone():
        pytest.skip("needs a process namespace (unshare)")
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as ray_folder:
        yield Site(tmp_path, ray_folder)


def test_it_is_bash_without_mistakes() -> None:
    for recipe in (ROOT / "recipes").glob("*.sh"):
        subprocess.run(["bash", "-n", recipe], check=True)
        answer = subprocess.run(
            [Path(sys.executable).with_name("shellcheck"), recipe], capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stdout


def test_it_asks_slurm_for_what_it_needs() -> None:
    lines = SCRIPT.read_text().splitlines()
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}
    assert {"--signal=B:TERM@60", "--requeue", "--open-mode=append", "--ntasks-per-node=1"} <= asked
    # Slurm reads no further than the first command.
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(number for number, line in enumerate(lines) if line.startswith("#SBATCH ")) < first


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_told_to_stop_it_ends_in_time_and_goes_on_when_requeued(site: Site) -> None:
    first = site.submit("--set", "crawl.seconds_between_requests=1")
    until = time.monotonic() + 120
    while not (site.root / "videos").exists() or not 0 < site.made() < 13:
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.2)
    site.term_now.touch()
    told = time.monotonic()
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 143, said
    assert time.monotonic() - told < 60
    assert "finished work is kept" in said
    assert site.asked.read_text().split() == ["requeue", JOB_ID]
    kept = site.made()
    assert 0 < kept < 13
    assert leftovers(site.root) == []

    second = site.submit()
    said = second.communicate(timeout=200)[0]
    assert second.returncode == 0, said
    assert "nothing pending" in said
    assert site.made() == 13
    assert len(site.asked.read_text().split()) == 2, "nobody told it to stop"
