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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import ClusterError, Diverged, SetupError, StorageError, UsageError
from vsumdata.manifests.terminal import clock
from vsumdata.pipeline.workers.address import present_token
from vsumdata.pipeline.workers.asked import REACHED_S, asked
from vsumdata.stages.stage import COMPUTE, Stage

log = logging.getLogger("vsumdata.cluster")
# Workers of a network lane: one visits while another downloads. They mostly wait, so each takes a fraction of a CPU.
VISITORS = 2
VISITOR_CPUS = 0.125
NO_TOKEN = "the cluster wants its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as there"


@contextlib.contextmanager
def cluster(address: str | None, **options: Any) -> Iterator[None]:
    """Start Ray, or connect to the one at `address`, and shut it down on exit.

    If this process already uses Ray, use that session and leave it running. `options` go to `ray.init` of a local Ray.
    Raises ClusterError if Ray does not start, or does not answer within `REACHED_S`.
    """
    if address and not is_used():
        reach(address)
    with connected(address, **options):
        yield


def is_used() -> bool:
    """Whether this process uses Ray already."""
    # Importing Ray takes seconds; a process that has not imported it does not use it.
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def reach(address: str) -> None:
    """Raise ClusterError with the remedy unless a Ray that we may use answers at this address."""
    # `ray.init` alone waits for minutes where nobody answers.
    answer = asked(answer_ray, address, REACHED_S)
    if "error" in answer:
        log.error("Ray at %s: %s\n%s", address, answer["error"], answer["words"])
        said = answer["error"]
        # Ray goes on for long without its token.
        raise ClusterError(f"--address {address}: {NO_TOKEN if is_refused(answer['words']) else said}")


def answer_ray(address: str) -> dict[str, Any]:
    """What the Ray at an address has; a Ray of this machine for ""."""
    import ray

    # Its words are the driver's to keep, see `asked`.
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "warning"
    print("asking", flush=True)
    with connected(address or None, is_child=True):
        return {"version": ray.__version__, "nodes": there()}


@contextlib.contextmanager
def connected(address: str | None, *, is_child: bool = False, **options: Any) -> Iterator[None]:
    """Do what `cluster` does, and wait as long as Ray does. Raises ClusterError.

    `is_child` lets Ray print its words: this process was started to hear them.
    """
    # Else any call of Ray after its shutdown, say of a thread that ends late, starts a new Ray and goes on with it. Ray
    # reads this when it is imported.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    if address:
        present_token()
    import ray

    if ray.is_initialized():
        with in_our_words():
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
            with contextlib.chdir(empty), contextlib.nullcontext(Words()) if is_child else own_words() as words:
                if not address:
                    without_monitors()
                ray.init(
                    address=address or "local",
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    **({} if address else local),
                )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            log.error("Ray: %s\n%s", error, words)
            raise ClusterError(why_not(address, str(error))) from error
        finally:
            # ray#17308: ray.init replaces our SIGTERM handler. Python sets handlers in the main thread only.
            for which, handler in handlers.items() if is_main else ():
                signal.signal(which, handler)
        # A worker that dies becomes an outcome here. Ray still prints paragraphs about it: `log_to_driver` does not
        # cover them and no other switch does.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        try:
            with in_our_words():
                yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def in_our_words() -> Iterator[None]:
    """Raise an error of Ray's as one of ours: any call may meet a Ray that is gone, such as giving it a block."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise cause(error) from error


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


class Words:
    """What Ray's core printed."""

    text = ""

    def __str__(self) -> str:
        return self.text


@contextlib.contextmanager
def own_words() -> Iterator[Words]:
    """Keep what is printed to the process's stderr; Ray's errors arrive as exceptions, and say less."""
    # Ray's core announces RAY_BACKEND_LOG_LEVEL on file descriptor 2, so replacing `sys.stderr` is not enough.
    sys.stderr.flush()
    kept, words = os.dup(2), Words()
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield words
            finally:
                sys.stderr.flush()
                file.seek(0)
                words.text = file.read().decode(errors="backslashreplace")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def why_not(address: str | None, said: str) -> str:
    """Say in one line why Ray did not start or connect, and what to do."""
    first = said.strip().splitlines()[0] if said.strip() else "without a word"
    if not address:
        return f"Ray did not start: {first}"
    # Ray 2.60 lets nobody in without the cluster's token, and says "Failed to connect".
    if "AuthToken" in said or "AuthenticationError" in said:
        return (
            "the cluster wants its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as there"
        )
    if "ersion mismatch" in said:
        return f"{' '.join(said.split())}; install the same versions here and there"
    return f"{first}; does a Ray of the same version run there, and may this machine reach it?"


def is_refused(said: str) -> bool:
    """Whether a cluster wants another token. Ray 2.60 lets nobody in without, and says "Failed to connect"."""
    return "AuthToken" in said or "AuthenticationError" in said


# What one node has, as Ray counts it: CPU, GPU, memory …
Resources = Mapping[str, float]


@dataclass(frozen=True)
class Pool:
    """How many workers a stage gets, and the CPUs, GPUs and threads of each."""

    workers: int
    cpus: float
    gpus: float
    threads: int
    memory_bytes: float = 0.0


@dataclass
class Gpus:
    """Whether the cluster has the GPUs that stages ask for; one that `may_grow` is asked for them, and gets `limit_s`.

    `since` is when the waiting began.
    """

    may_grow: bool
    limit_s: float
    say: Callable[[str], None]
    since: float | None = None

    def are_there(self, stages: Sequence[Stage], nodes: Sequence[Resources]) -> bool:
        """False while it is worth waiting for them. Raises UsageError where they do not come."""
        try:
            for stage in stages:
                pool(stage, 1, nodes)
        except UsageError:
            if not self.may_grow or (self.since is not None and time.monotonic() - self.since > self.limit_s):
                raise
        else:
            self.since = None
            return True
        if self.since is None:
            from ray.autoscaler.sdk import request_resources

            wanted = [{"GPU": stage.gpus} for stage in stages for _ in range(stage.workers or 1) if stage.gpus > 0]
            request_resources(bundles=wanted)
            self.say(f"waiting up to {clock(self.limit_s)} for the cluster to start machines with GPUs")
            self.since = time.monotonic()
        return False


def there() -> list[Resources]:
    """What each of Ray's nodes has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_gpus(stages: Sequence[Stage], may_grow: bool, limit_s: float, say: Callable[[str], None]) -> None:
    """Wait for the GPUs that stages ask for, see `Gpus`. Raises UsageError where they do not come."""
    gpus = Gpus(may_grow, limit_s, say)
    while not gpus.are_there(stages, there()):
        time.sleep(min(5.0, limit_s))


def pool(stage: Stage, num_tasks: int, nodes: Sequence[Resources], kept_free: float = 0.0) -> Pool:
    """Size a stage's pool by the resources of each of the cluster's `nodes`.

    `kept_free` CPUs stay for stages of other lanes; a pool never has more workers than `num_tasks`. Raises UsageError
    if the stage asks for more GPUs than the cluster has.
    """
    if stage.lane != COMPUTE:
        visitors = stage.workers or VISITORS
        # `kept_free` is for both network lanes.
        cpus = min(VISITOR_CPUS, kept_free / 2 / visitors) if kept_free else VISITOR_CPUS
        return Pool(max(1, min(visitors, num_tasks)), cpus, 0.0, threads=1)
    gpus, _, wanted = needed(stage, nodes)
    # A worker must fit into one node.
    if gpus and sum(int(node.get("GPU", 0.0) // gpus) for node in nodes) < (wanted or 1):
        raise UsageError(
            f"resources.{stage.name}: {wanted or 1} worker(s) with {gpus:g} GPU(s) each, but this cluster has "
            f"{sum(node.get('GPU', 0.0) for node in nodes):g}; use `--set resources.{stage.name}.gpus=auto`"
            f"{' (and `asr.device=auto`)' if stage.name == 'transcripts' else ''} or another --address"
        )
    able = [node for node in nodes if node.get("GPU", 0.0) >= gpus]
    # ray#44687: a dataset hangs when the actors of others hold every CPU. Those may all be on one node.
    free = [max(node.get("CPU", 1.0) - kept_free, 0.1) for node in able]
    cpus = min(stage.cpus, max(free))
    need = stage.memory_gb * 1e9
    # A worker that asks for more than there is would wait for ever.
    need = need if any(need <= node.get("memory", 0.0) for node in able) else 0.0
    rooms = 0
    for node, cpus_free in zip(able, free, strict=True):
        # Rounded up: what is kept for the network lanes is a part of a core, and they hardly compute. But a node with
        # less than half of a worker's CPUs gets none, or all workers would have to ask for so little.
        room = math.ceil(cpus_free / cpus) if cpus_free >= cpus / 2 else 0
        room = min(room, int(node.get("GPU", 0.0) // gpus)) if gpus else room
        rooms += min(room, int(node.get("memory", 0.0) // need)) if need else room
    workers = wanted or max(1, rooms)
    # With more workers than CPUs each gets a fraction: actors that do not fit would wait for ever.
    while sum(int(cpus_free / cpus + 1e-9) for cpus_free in free) < workers:
        cpus = max(cpus_free / (int(cpus_free / cpus + 1e-9) + 1) for cpus_free in free)
    workers = min(workers, num_tasks)
    threads = max(1, int(min(sum(free) // workers, max(free))))
    return Pool(workers, cpus, gpus, threads=threads, memory_bytes=need)


def needed(stage: Stage, nodes: Sequence[Resources]) -> tuple[float, float, int | None]:
    """Return the GPUs and CPUs of one worker, and how many workers are asked for: tables that need alike share them."""
    gpus = float(stage.gpus)
    # Negative means `gpus: auto`.
    if gpus < 0:
        gpus = 1.0 if any(node.get("GPU", 0.0) >= 1 for node in nodes) else 0.0
    return gpus, stage.cpus, stage.workers


def visitors_cpus(stages: Iterable[Stage], nodes: Sequence[Resources]) -> float:
    """Return the CPUs that the network lanes of these stages take, while the computing lane works."""
    workers = {stage.lane: stage.workers or VISITORS for stage in stages if stage.lane != COMPUTE}
    # However many there are, the computing lane keeps three quarters of the largest node.
    return min(VISITOR_CPUS * sum(workers.values()), max(node.get("CPU", 1.0) for node in nodes) / 4)


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


class NoRoom(ClusterError):
    """The nodes that could hold a lane's workers are gone; others may come."""


def cause(error: BaseException) -> StorageError | ClusterError | UsageError:
    """Unwrap Ray's error: return the error that a worker raised as one of ours."""
    if isinstance(error, StorageError | UsageError | ClusterError):
        return error
    # Ray wraps a worker's exception, and only its text arrives here. So look for the last line of its traceback.
    text = str(error)
    for kind in (StorageError, Diverged, SetupError, UsageError, ClusterError):
        said = re.findall(rf"^vsumdata\.manifests\.errors\.{kind.__name__}: (.+)$", text, re.MULTILINE)
        if said:
            return kind(said[-1])
    if "is not schedulable" in text:
        return NoRoom("no node of the cluster has room for a worker any more; finished work is kept: run again")
    raised = re.findall(r"^(?!ray\.)[\w.]+(?:Error|Exception|Exit): .+$", text, re.MULTILINE)
    return ClusterError(f"a worker could not do its work: {(raised or text.strip().splitlines() or ['?'])[-1]}")
