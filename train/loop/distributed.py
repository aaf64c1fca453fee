"""The same loop in several processes under Ray Train, on one machine or on a cluster.

The workers share each step's batch, so `batch_size` means the same as with one process. The gradient is the mean of
theirs. For losses that are means over frames, this is nearly but not exactly the gradient of the whole batch; language
models' losses are weighted by their tokens, so there it is exact. The contrast between videos sees only a worker's own
videos. All workers must see the run's folder: worker 0 writes it, and the others read the position to resume from.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vsumdata.train.loop.fit import Team
from vsumdata.train.loop.job import Job, run
from vsumdata.train.loop.journal import Display
from vsumdata.train.loop.runs import LOG

POLL_EVERY_S = 0.5


def run_on_workers(
    job: Job,
    open_job: Callable[[], Job],
    workers: int,
    ray_session: Callable[[], AbstractContextManager[None]],
    console: Console | None,
) -> None:
    """Train `job` in `workers` processes. Each process opens the same job itself, by calling `open_job`.

    `ray_session` keeps Ray running while it is entered, and turns a worker's error into one of ours.
    """
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    # `ray_session` reports a worker's error in one line. Ray Train would log its whole traceback beside it.
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    # Ray Train wants a folder for checkpoints of its own. Ours are in RUN, so this one can go at the end.
    with ray_session(), tempfile.TemporaryDirectory(prefix="vsumdata-train-") as storage:
        trainer = TorchTrainer(
            work,
            train_loop_config={"open_job": open_job},
            scaling_config=scaling(workers, ray.cluster_resources()),
            run_config=ray.train.RunConfig(storage_path=storage, name="train"),
        )
        with followed(job, console):
            trainer.fit()


def scaling(workers: int, resources: dict[str, float]) -> Any:
    """One GPU for each worker, if the cluster has that many; at most half of the CPUs for all workers together."""
    import ray.train

    # Ray waits for ever for a CPU that is not free. Half of them stay free for its own actors and for other work on
    # the cluster: 0.5 for each of two workers on two cores is what was tested.
    cpus = min(1.0, resources.get("CPU", 1.0) / (2 * workers))
    return ray.train.ScalingConfig(
        num_workers=workers, use_gpu=resources.get("GPU", 0) >= workers, resources_per_worker={"CPU": cpus}
    )


def work(config: dict[str, Any]) -> None:
    """One worker: open the job here and train. Only the request is sent: a pickled job would carry all videos."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    team = Team(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=ray.train.torch.get_device(),
        join=joined,
        add=added,
    )
    run(config["open_job"](), partial(Display, None), team)


def joined(learner: nn.Module) -> nn.Module:
    """Wrap the learner so that all workers average their gradients."""
    # A child step of HierSum leaves the weights of the parent step without a gradient, and vice versa. Without this
    # switch DDP raises "Expected to have finished reduction in the prior iteration" at the next step.
    return DistributedDataParallel(learner, find_unused_parameters=True)


def added(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all workers."""
    for tensor in tensors:
        torch.distributed.all_reduce(tensor)


@contextlib.contextmanager
def followed(job: Job, console: Console | None) -> Iterator[None]:
    """Show what worker 0 appends to the run's log while the block runs."""
    ended = threading.Event()
    with Display(console, job.info.settings.epochs, len(job.train)) as display:
        follower = threading.Thread(target=follow, args=(job.out / LOG, display, ended), daemon=True)
        follower.start()
        try:
            yield
        finally:
            # The follower looks once more after this, so the last epoch's line is shown.
            ended.set()
            follower.join()


def follow(path: Path, display: Display, ended: threading.Event) -> None:
    """Show each new line of the log until `ended` is set, and then once more."""
    at = path.stat().st_size if path.exists() else 0
    is_last = False
    while not is_last:
        is_last = ended.wait(POLL_EVERY_S)
        if not path.exists():
            continue
        with path.open("rb") as file:
            # A resumed run truncates its log to the checkpoint, so the file may be shorter than what was read.
            at = min(at, path.stat().st_size)
            file.seek(at)
            for line in file:
                # The writer may be in the middle of a line: read it again, whole, at the next poll.
                if line.endswith(b"\n"):
                    at += len(line)
                    display.show(json.loads(line))
