"""Check what works on this machine, and name the remedy for what does not."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.terminal import TerminalTable
from vsumdata.stages.youtube.runtime import check_runtime

HOSTS = ("www.youtube.com", "www.wikihow.com", "huggingface.co")
NETWORK_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Check:
    """One line of `vsumdata doctor`. If an `optional` thing is missing, some manifests still work."""

    name: str
    ok: bool
    found: str
    optional: bool = False


def examine() -> list[Check]:
    """Run all checks; takes some seconds, because Ray is started."""
    return [ffmpeg(), javascript(), gpu(), ray(), *models(), *network(), shared_memory()]


def checks_table(checks: Sequence[Check], failed: str = "missing") -> TerminalTable:
    """The checks as a table for the terminal; `failed` is the word for what is not there."""
    signs = {True: Text("ok", style="green"), False: Text(failed, style="red")}
    optional = signs | {False: Text(failed, style="yellow")}
    rows = [(check.name, (optional if check.optional else signs)[check.ok], check.found) for check in checks]
    return TerminalTable(("what", "", "found"), rows)


def ffmpeg() -> Check:
    from vsumdata.stages.pictures.ffmpeg import ffmpeg_program

    try:
        path = ffmpeg_program()
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (UsageError, OSError, subprocess.SubprocessError) as error:
        return Check("ffmpeg", False, f"{error}: pip install imageio-ffmpeg")
    return Check("ffmpeg", True, f"{answer.stdout.split(' Copyright')[0]} ({path})")


def javascript() -> Check:
    """Check the runtime that yt-dlp runs YouTube's script with; only manifests of YouTube's videos need it."""
    try:
        return Check("JavaScript runtime", True, check_runtime(), optional=True)
    except UsageError as error:
        return Check("JavaScript runtime", False, str(error), optional=True)


def gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("GPU", False, "torch finds none: everything runs on the CPU", optional=True)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("GPU", True, ", ".join(names), optional=True)


def ray() -> Check:
    import ray

    from vsumdata.manifests.errors import ClusterError
    from vsumdata.pipeline.workers.cluster import cluster

    try:
        with cluster(None):
            resources = ray.cluster_resources()
    except ClusterError as error:
        return Check("Ray", False, str(error))
    return Check("Ray", True, f"{ray.__version__}, {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")


def models() -> list[Check]:
    """Check the models that the built-in manifests name."""
    from vsumdata.manifests.manifest import built_in, load
    from vsumdata.stages.encoders.models import resolve_models

    checks = []
    for name in built_in():
        try:
            found = resolve_models(load(name), {}, ["features"])
        except UsageError as error:
            checks.append(Check(f"models of {name}", False, str(error), optional=True))
        else:
            text = found.names()
            checks.append(Check(f"models of {name}", True, text, optional=True))
    return checks


def network(hosts: Iterable[str] = HOSTS) -> list[Check]:
    checks = []
    for host in hosts:
        try:
            socket.create_connection((host, 443), timeout=NETWORK_TIMEOUT_S).close()
        except OSError as error:
            what = f"not reached ({error}): check the network, or name a proxy in crawl.yt_dlp"
            checks.append(Check(host, False, what, optional=True))
        else:
            checks.append(Check(host, True, "reached", optional=True))
    return checks


def shared_memory() -> Check:
    """Check /dev/shm, where Ray keeps the data that travels between workers."""
    # Containers often give it 64 MB.
    path = Path("/dev/shm")
    if not path.is_dir():
        return Check("shared memory", False, "no /dev/shm: Ray falls back to /tmp and is slower", optional=True)
    free_mb = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize / 1e6
    return Check("shared memory", free_mb > 200, f"{free_mb:.0f} MB free in /dev/shm", optional=True)
