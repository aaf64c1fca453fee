"""Ray: start it, size the lanes' worker pools, tell what its errors mean.

Four rules keep Ray Data from hanging on two cores: no `repartition`, errors are values, every pool leaves CPU for the
other lanes, no progress guard.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import ClusterError, Diverged, StorageError, UsageError
from vsumdata.manifests.store import TEMPORARY, Store
from vsumdata.manifests.terminal import clock
from vsumdata.pipeline.workers.address import present_token
from vsumdata.stages.stage import COMPUTE, Stage

# Workers of a network lane: one visits while another downloads. They mostly wait, so each takes a fraction of a CPU.
VISITORS = 2
VISITOR_CPUS = 0.125
NODE_ANSWERS_S = 60.0


@contextlib.contextmanager
def cluster(address: str | None, **options: Any) -> Iterator[None]:
    """Start Ray, or connect to the one at `address`, and shut it down on exit.

    If this process already uses Ray, use that session and leave it running. `options` go to `ray.init` of a local Ray.
    Raises ClusterError if Ray does not start.
    """
    # Else any call of Ray after its shutdown, say of a thread that ends late, starts a new Ray and goes on with it. Ray
    # reads this when it is imported.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    if address:
        present_token()
    import ray

    if ray.is_initialized():
        yield
        return
    # ray#54928: 0 is the announced default. Without it Ray prints a FutureWarning at every start.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it Ray's core prints its own messages on the driver's terminal.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local = {"num_cpus": max(2, os.cpu_count() or 1), "include_dashboard": False, **short_folder(), **options}
    handlers = {which: signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGHUP)}
    is_main = threading.current_thread() is threading.main_thread()
    if is_main:
        # A closed terminal sends SIGHUP to the whole process group. Ray's processes, which inherit that they ignore it,
        # must outlive the driver's last commits.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Ray puts the driver's current folder first on every worker's import path. Started in this checkout, our
    # `datasets/` would hide Hugging Face's `datasets`. So start Ray in an empty folder.
    # MKL aborts a process whose working directory was deleted, so the folder must outlive Ray.
    with tempfile.TemporaryDirectory(prefix="vsumdata-", ignore_cleanup_errors=True) as empty:
        try:
            with contextlib.chdir(empty), no_stderr():
                if not address:
                    without_monitors()
                ray.init(
                    address=address or "local",
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    **({} if address else local),
                )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ClusterError(f"Ray did not start: {error}") from error
        finally:
            # ray#17308: ray.init replaces our SIGTERM handler. Python sets handlers in the main thread only.
            for which, handler in handlers.items() if is_main else ():
                signal.signal(which, handler)
        # A worker that dies becomes an outcome here. Ray still prints paragraphs about it: `log_to_driver` does not
        # cover them and no other switch does.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        try:
            yield
        finally:
            ray.shutdown()


def without_monitors() -> None:
    """Start a Ray of this process alone without its autoscaler, dashboard and log monitor.

    Nobody looks at them here, and they take 2.8 of the 4.5 s of CPU of a start, and 250 MB.
    """
    from ray._private.node import Node

    for name in ("start_monitor", "start_api_server", "start_log_monitor"):
        setattr(Node, name, lambda *_, **__: None)


def short_folder() -> dict[str, Any]:
    """Ray's option for a folder of this user alone whose path is short enough for it. Raises UsageError."""
    if "RAY_TMPDIR" in os.environ:
        return {}
    # Ray's usual folder, /tmp/ray, is one for all users of a machine, and Ray opens it to them all (mode 0777).
    # It keeps its sockets there. The system allows a socket's path 107 bytes, and Ray's own part,
    # `/ray/session_<time>_<pid>/sockets/plasma_store`, takes up to 68 of them.
    folder = upkeep.user_folder(tempfile.gettempdir())
    if len(os.fsencode(folder)) > 107 - 68:
        folder = upkeep.user_folder("/tmp")
    return {"_temp_dir": str(folder / "ray")}


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Send the process's stderr to nowhere; Ray's errors arrive as exceptions."""
    # Ray's core announces RAY_BACKEND_LOG_LEVEL on file descriptor 2, so replacing `sys.stderr` is not enough.
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@dataclass(frozen=True)
class Pool:
    """How many workers a stage gets, and the CPUs, GPUs and threads of each."""

    workers: int
    cpus: float
    gpus: float
    threads: int
    memory_bytes: float = 0.0


def check_gpus(stages: Sequence[Stage], may_grow: bool, limit_s: float, say: Callable[[str], None]) -> None:
    """Raise UsageError if a stage asks for more GPUs than the cluster has.

    A cluster that `may_grow` is asked for them first, and gets `limit_s` seconds.
    """
    import ray

    until = time.monotonic() + limit_s
    asked = False
    while True:
        try:
            for stage in stages:
                pool(stage, 1, ray.cluster_resources())
            return
        except UsageError:
            if not may_grow or time.monotonic() > until:
                raise
        if not asked:
            from ray.autoscaler.sdk import request_resources

            wanted = [{"GPU": stage.gpus} for stage in stages for _ in range(stage.workers or 1) if stage.gpus > 0]
            request_resources(bundles=wanted)
            say(f"waiting up to {clock(limit_s)} for the cluster to start machines with GPUs")
            asked = True
        time.sleep(min(5.0, limit_s))


def check_root(store: Store) -> None:
    """Prove that each node sees a local root. Raises ClusterError that names the node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if store.local is None or len(nodes) < 2:
        return
    mark = store.local / f".seen-{uuid.uuid4().hex[:8]}{TEMPORARY}"
    mark.touch()
    try:
        look = ray.remote(num_cpus=0)(is_seen)
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            try:
                sees = ray.get(look.options(scheduling_strategy=there).remote(str(mark)), timeout=NODE_ANSWERS_S)
            except ray.exceptions.RayError as error:
                raise ClusterError(f"node {node['NodeManagerHostname']} does not answer: {error}") from error
            if not sees:
                name = node["NodeManagerHostname"]
                raise ClusterError(
                    f"node {name} does not see the root {store.root}, or cannot write to it: its rows would be lost; "
                    "give a folder that all nodes share, or a URL"
                )
    finally:
        for path in store.local.glob(f"{mark.name}*"):
            path.unlink(missing_ok=True)


def is_seen(mark: str) -> bool:
    """Whether this node sees the file, and can write beside it."""
    try:
        (Path(mark).with_name(Path(mark).name + f".{uuid.uuid4().hex}")).touch()
    except OSError:
        return False
    return Path(mark).exists()


def pool(stage: Stage, num_tasks: int, resources: dict[str, float], kept_free: float = 0.0) -> Pool:
    """Size a stage's pool by the cluster's `resources`.

    `kept_free` CPUs stay for stages of other lanes; a pool never has more workers than `num_tasks`. Raises UsageError
    if the stage asks for more GPUs than the cluster has.
    """
    if stage.lane != COMPUTE:
        visitors = stage.workers or VISITORS
        # `kept_free` is for both network lanes.
        cpus = min(VISITOR_CPUS, kept_free / 2 / visitors) if kept_free else VISITOR_CPUS
        return Pool(max(1, min(visitors, num_tasks)), cpus, 0.0, threads=1)
    # ray#44687: a dataset hangs when the actors of others hold every CPU.
    cpus_free = resources.get("CPU", 1.0) - kept_free
    gpus_there = resources.get("GPU", 0.0)
    gpus, _, wanted = needed(stage, resources)
    if gpus * (wanted or 1) > gpus_there:
        raise UsageError(
            f"resources.{stage.name}: {wanted or 1} worker(s) with {gpus:g} GPU(s) each, but this cluster has "
            f"{gpus_there:g}; use `--set resources.{stage.name}.gpus=auto`"
            f"{' (and `asr.device=auto`)' if stage.name == 'transcripts' else ''} or another --address"
        )
    cpus = min(stage.cpus, max(cpus_free, 0.1))
    # Rounded up: what is kept for the network lanes is a part of a core, and they hardly compute.
    by_cpu = max(1, math.ceil(cpus_free / cpus))
    workers = wanted or (min(by_cpu, int(gpus_there // gpus)) if gpus else by_cpu)
    # With more workers than CPUs each gets a fraction: actors that do not fit would wait for ever.
    if workers * cpus > cpus_free:
        cpus = cpus_free / workers
    need, there = stage.memory_gb * 1e9, resources.get("memory", 0.0)
    # A worker that asks for more than there is would wait for ever.
    need = need if need <= there else 0.0
    workers = max(1, min(workers, num_tasks, int(there // need) if need else workers))
    return Pool(workers, cpus, gpus, threads=max(1, int(cpus_free // workers)), memory_bytes=need)


def needed(stage: Stage, resources: dict[str, float]) -> tuple[float, float, int | None]:
    """Return the GPUs and CPUs of one worker, and how many workers are asked for: tables that need alike share them."""
    gpus = float(stage.gpus)
    # Negative means `gpus: auto`.
    if gpus < 0:
        gpus = 1.0 if resources.get("GPU", 0.0) >= 1 else 0.0
    return gpus, stage.cpus, stage.workers


def visitors_cpus(stages: Iterable[Stage], resources: dict[str, float]) -> float:
    """Return the CPUs that the network lanes of these stages take, while the computing lane works."""
    workers = {stage.lane: stage.workers or VISITORS for stage in stages if stage.lane != COMPUTE}
    # However many there are, the computing lane keeps three quarters.
    return min(VISITOR_CPUS * sum(workers.values()), resources.get("CPU", 1.0) / 4)


@contextlib.contextmanager
def training_session(address: str | None) -> Iterator[None]:
    """Ray for `vsumdata train --workers`; an error that a worker raised leaves the block as one of ours."""
    with cluster(address):
        import ray
        import ray.train

        try:
            yield
        except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
            raise cause(error) from error


def cause(error: BaseException) -> StorageError | ClusterError | UsageError:
    """Unwrap Ray's error: return the error that a worker raised as one of ours."""
    if isinstance(error, StorageError | UsageError | ClusterError):
        return error
    # Ray wraps a worker's exception, and only its text arrives here. So look for the last line of its traceback.
    text = str(error)
    for kind in (StorageError, Diverged, UsageError, ClusterError):
        said = re.findall(rf"^vsumdata\.manifests\.errors\.{kind.__name__}: (.+)$", text, re.MULTILINE)
        if said:
            return kind(said[-1])
    raised = re.findall(r"^(?!ray\.)[\w.]+(?:Error|Exception|Exit): .+$", text, re.MULTILINE)
    return ClusterError(f"a worker could not do its work: {(raised or text.strip().splitlines() or ['?'])[-1]}")
