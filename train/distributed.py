"""The same loop in several processes under Ray Train, on one machine or on a cluster.

Each step's batch is dealt out to the workers, so that batch_size means what it means with one; the gradient is the mean
of theirs (for losses that are means over frames that is nearly, not exactly, the one of the whole batch; the contrast
between videos sees the worker's own). The folder of the run has to be one that all of them see: worker 0 writes it,
the others read the position to go on from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vsumdata.pipeline.cluster import cause, cluster
from vsumdata.train.fit import Team
from vsumdata.train.journal import Display
from vsumdata.train.runs import LOG
from vsumdata.train.train import Job, TrainRequest, job_of, run

LOOK_EVERY_S = 0.5


def run_on_workers(request: TrainRequest, job: Job, console: Console | None) -> None:
    """Train in `request.workers` processes; raises what one of them raised, or ClusterError."""
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    paths = dataclasses.replace(request, out=str(job.out.resolve()))
    with cluster(request.address), tempfile.TemporaryDirectory(prefix="vsumdata-train-") as storage:
        trainer = TorchTrainer(
            work,
            train_loop_config={"request": paths},
            scaling_config=scaling(request.workers, ray.cluster_resources()),
            run_config=ray.train.RunConfig(storage_path=storage, name="train"),
        )
        with followed(job, console):
            try:
                trainer.fit()
            except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
                raise cause(error) from error


def scaling(workers: int, resources: dict[str, float]) -> Any:
    """A GPU for each worker where there are as many; CPUs are shared, so that two workers fit on two."""
    import ray.train

    cpus = min(1.0, resources.get("CPU", 1.0) / (2 * workers))
    return ray.train.ScalingConfig(
        num_workers=workers, use_gpu=resources.get("GPU", 0) >= workers, resources_per_worker={"CPU": cpus}
    )


def work(config: dict[str, Any]) -> None:
    """One worker: it opens the data by itself, for only the request travels."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    team = Team(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=ray.train.torch.get_device(),
        join=joined,
    )
    run(job_of(config["request"]), None, team)


def joined(learner: nn.Module) -> nn.Module:
    # A child step leaves the weights that only a parent step uses without a gradient, and the other way round.
    return DistributedDataParallel(learner, find_unused_parameters=True)


@contextlib.contextmanager
def followed(job: Job, console: Console | None) -> Iterator[None]:
    """Show what worker 0 writes into the run's log from now on."""
    ended = threading.Event()
    with Display(console, job.info.settings.epochs, len(job.train)) as display:
        follower = threading.Thread(target=follow, args=(job.out / LOG, display, ended), daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()


def follow(path: Path, display: Display, ended: threading.Event) -> None:
    at = path.stat().st_size if path.exists() else 0
    is_last = False
    while not is_last:
        is_last = ended.wait(LOOK_EVERY_S)
        if not path.exists():
            continue
        with path.open("rb") as file:
            at = min(at, path.stat().st_size)  # a run that goes on cuts off what it does again
            file.seek(at)
            for line in file:
                if line.endswith(b"\n"):
                    at += len(line)
                    display.show(json.loads(line))
