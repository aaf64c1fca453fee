"""Ray: start it, size the worker pools, run one stage's blocks through them.

The rules that keep Ray Data from hanging on two cores are in DESIGN: no `repartition`, errors are values,
pools that leave a CPU for every operator, no progress guard.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from vsumdata.pipeline.errors import ClusterError, Diverged, StorageError, UsageError
from vsumdata.pipeline.plan import Task
from vsumdata.pipeline.stage import Stage
from vsumdata.pipeline.worker import FetchWorker, Job, StageWorker, pack

FETCH_CPUS = 0.25
FETCH_WORKERS = 2
FETCHED_AHEAD = 8  # blocks being fetched or waiting for a worker
LOGGERS = ("ray", "ray.data")


@contextlib.contextmanager
def cluster(address: str | None, **options: Any) -> Iterator[None]:
    """Ray, started or connected to on entry and shut down on exit; one that runs already is used and left."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else the driver prints what Ray's core remarks
    local: dict[str, Any] = {"num_cpus": max(2, os.cpu_count() or 1), "include_dashboard": False} | options
    on_terminate = signal.getsignal(signal.SIGTERM)
    # Ray puts the driver's current folder first on every worker's path: ours would shadow packages. The folder
    # must outlive Ray: MKL ends a process whose current folder is gone.
    with tempfile.TemporaryDirectory(prefix="vsumdata-", ignore_cleanup_errors=True) as empty:
        try:
            with contextlib.chdir(empty), no_stderr():
                ray.init(
                    address=address or "local",
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    **({} if address else local),
                )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise ClusterError(f"Ray did not start: {error}") from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray installs a handler of its own
        # A worker that dies is an outcome here; Ray's paragraphs about it go past log_to_driver, with no switch.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Ray's core announces RAY_BACKEND_LOG_LEVEL on the file descriptor itself; its errors come as exceptions."""
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
    """How many workers a stage gets, and what each of them holds."""

    workers: int
    cpus: float
    gpus: float
    threads: int


def check_gpus(stages: Iterable[Stage]) -> None:
    """Raises UsageError where a stage asks for more GPUs than the cluster has."""
    import ray

    for stage in stages:
        pool(stage, stage.fetch is not None, 1, ray.cluster_resources())


def pool(stage: Stage, has_fetch: bool, num_tasks: int, resources: dict[str, float]) -> Pool:
    """Size a stage's pool by what the cluster has; raises UsageError where it asks for more GPUs than there are."""
    cpus_free = resources.get("CPU", 1.0) - (FETCH_CPUS * FETCH_WORKERS if has_fetch else 0)
    gpus_there = resources.get("GPU", 0.0)
    gpus = float(stage.gpus)
    if gpus < 0:  # auto
        gpus = 1.0 if gpus_there >= 1 else 0.0
    wanted = stage.workers
    if gpus * (wanted or 1) > gpus_there:
        raise UsageError(
            f"resources.{stage.name}: {wanted or 1} worker(s) with {gpus:g} GPU(s) each, but this cluster has "
            f"{gpus_there:g}; use `--set resources.{stage.name}.gpus=auto` or another --address"
        )
    cpus = min(stage.cpus, max(cpus_free, 0.1))
    by_cpu = max(1, int(cpus_free // cpus))
    workers = wanted or (min(by_cpu, int(gpus_there // gpus)) if gpus else by_cpu)
    if workers * cpus > cpus_free:  # asked for more than there is: share, never hang
        cpus = cpus_free / workers
    workers = max(1, min(workers, num_tasks))
    return Pool(workers, cpus, gpus, threads=max(1, int(cpus_free // workers)))


def run_blocks(job: Job, tasks: Sequence[Task]) -> Generator[pa.Table]:
    """Do the tasks on Ray; yields the outcomes of each block as it is committed.

    Raises StorageError or ClusterError; asserts that as many outcomes came out as videos went in.
    """
    import ray

    stage, has_fetch = job.stage, job.stage.fetch is not None
    size = pool(stage, has_fetch, len(tasks), ray.cluster_resources())
    job = replace(job, gpus=size.gpus, context=replace(job.context, threads=size.threads))
    rows_per_block = max(1, min(stage.batch, -(-len(tasks) // size.workers)))
    blocks = [pack(list(tasks[at : at + rows_per_block])) for at in range(0, len(tasks), rows_per_block)]
    set_up_ray_data()
    data: ray.data.Dataset = ray.data.from_arrow(blocks)
    if has_fetch:
        data = data.map_batches(
            FetchWorker,
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(FETCH_WORKERS, len(blocks))),
            num_cpus=FETCH_CPUS,
            fn_constructor_args=(job,),
        )
    data = data.map_batches(
        StageWorker,
        batch_size=rows_per_block if size.gpus else None,  # the same blocks; with GPUs Ray wants a number
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(size.workers, len(blocks))),
        num_cpus=size.cpus,
        num_gpus=size.gpus or None,
        fn_constructor_args=(job,),
    )
    returned = 0
    try:
        for outcomes in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            returned += len(outcomes)
            yield outcomes
    except ray.exceptions.RayError as error:
        raise cause(error) from error
    if returned != len(tasks):
        raise ClusterError(f"{stage.name}: {len(tasks)} videos went in, {returned} outcomes came out")


def set_up_ray_data() -> None:
    import ray
    from ray.data._internal.execution import backpressure_policy as policies

    class FewAhead(policies.BackpressurePolicy):  # type: ignore[misc]
        """Ray bounds what waits between operators by its bytes, and those of a downloaded file are not in Ray."""

        def can_add_input(self, op: Any) -> bool:
            if FetchWorker.__name__ not in op.name:
                return True
            waiting = op.num_active_tasks() + self._topology[op].total_enqueued_output_blocks()
            waiting += sum(self._topology[after].total_enqueued_input_blocks() for after in op.output_dependencies)
            return bool(waiting < FETCHED_AHEAD)

    context = ray.data.DataContext.get_current()
    usual = policies.ENABLED_BACKPRESSURE_POLICIES
    context.set_config(policies.ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [*usual, FewAhead])
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.verbose_progress = False
    # A crawl that waits for a closed host makes no progress for hours, and that is right.
    context.execution_no_progress_timeout_s = -1
    context.max_errored_blocks = 0
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def cause(error: BaseException) -> StorageError | ClusterError | UsageError:
    """The error behind Ray's wrapping, as one of ours: of what a worker raised only the text gets here."""
    text = str(error)
    for kind in (StorageError, Diverged, UsageError, ClusterError):
        said = re.findall(rf"^vsumdata\.pipeline\.errors\.{kind.__name__}: (.+)$", text, re.MULTILINE)
        if said:
            return kind(said[-1])
    raised = re.findall(r"^(?!ray\.)[\w.]+(?:Error|Exception|Exit): .+$", text, re.MULTILINE)
    return ClusterError(f"a worker could not do its work: {(raised or text.strip().splitlines() or ['?'])[-1]}")
