"""What works on this machine, and what to do where it does not."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vsumdata.pipeline.errors import UsageError
from vsumdata.stages.youtube import JAVASCRIPT_RUNTIMES

HOSTS = ("www.youtube.com", "www.wikihow.com", "huggingface.co")
NETWORK_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Check:
    """One line of `vsumdata doctor`; without what is `optional` some manifests still work."""

    name: str
    ok: bool
    found: str
    optional: bool = False


def examine() -> list[Check]:
    return [ffmpeg(), javascript(), gpu(), ray(), *models(), *network(), shared_memory()]


def ffmpeg() -> Check:
    from vsumdata.stages.ffmpeg import ffmpeg_program

    try:
        path = ffmpeg_program()
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (UsageError, OSError, subprocess.SubprocessError) as error:
        return Check("ffmpeg", False, f"{error}: pip install imageio-ffmpeg")
    return Check("ffmpeg", True, f"{answer.stdout.split(' Copyright')[0]} ({path})")


def javascript() -> Check:
    import yt_dlp

    with yt_dlp.YoutubeDL({"quiet": True, "js_runtimes": {name: {} for name in JAVASCRIPT_RUNTIMES}}) as ydl:
        infos = [runtime.info for runtime in ydl._js_runtimes.values() if runtime and runtime.info]
    found = next((f"{info.name} {info.version} ({info.path})" for info in infos if info.supported), None)
    if found is None:
        old = "".join(f"; {info.name} {info.version} is too old for yt-dlp" for info in infos)
        return Check("JavaScript runtime", False, f"YouTube needs one: install deno or node{old}", optional=True)
    has_scripts = importlib.util.find_spec("yt_dlp_ejs") is not None
    return Check("JavaScript runtime", has_scripts, found if has_scripts else "pip install yt-dlp-ejs", optional=True)


def gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("GPU", False, "none that torch can use: all runs on the CPU", optional=True)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("GPU", True, ", ".join(names), optional=True)


def ray() -> Check:
    import ray

    from vsumdata.pipeline.cluster import cluster
    from vsumdata.pipeline.errors import ClusterError

    try:
        with cluster(None):
            resources = ray.cluster_resources()
    except ClusterError as error:
        return Check("Ray", False, str(error))
    return Check("Ray", True, f"{ray.__version__}, {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")


def models() -> list[Check]:
    """The models that the built-in manifests name."""
    from vsumdata.manifests.manifest import built_in, load
    from vsumdata.pipeline.recipe import resolve_models

    checks = []
    for name in built_in():
        try:
            found = resolve_models(load(name), {}, ["features"])
        except UsageError as error:
            checks.append(Check(f"models of {name}", False, str(error), optional=True))
        else:
            text = ", ".join(model.name for model in (found.asr, found.clip, found.text))
            checks.append(Check(f"models of {name}", True, text, optional=True))
    return checks


def network() -> list[Check]:
    checks = []
    for host in HOSTS:
        try:
            socket.create_connection((host, 443), timeout=NETWORK_TIMEOUT_S).close()
        except OSError as error:
            checks.append(Check(host, False, f"not reached: {error}", optional=True))
        else:
            checks.append(Check(host, True, "reached", optional=True))
    return checks


def shared_memory() -> Check:
    """Ray keeps what travels between workers in /dev/shm; containers often give it 64 MB."""
    path = Path("/dev/shm")
    if not path.is_dir():
        return Check("shared memory", False, "no /dev/shm: Ray falls back to /tmp and is slower", optional=True)
    free_mb = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize / 1e6
    return Check("shared memory", free_mb > 200, f"{free_mb:.0f} MB free in /dev/shm", optional=True)
