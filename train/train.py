"""`vsumdata train`: from a request to a trained run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from vsumdata.train.data.training import Wanted, open_data
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import Job, enter, prepared, run
from vsumdata.train.loop.journal import Display
from vsumdata.train.loop.runs import Trained
from vsumdata.train.loop.tracking import tracked
from vsumdata.train.settings import settings_of

RaySession = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """The options of `vsumdata train`. Paths may be relative to the current folder."""

    method: str
    data: Wanted
    out: str
    preset: str = "default"
    sets: tuple[str, ...] = ()
    init: str | None = None
    workers: int = 1
    track: str | None = None


def train(request: TrainRequest, console: Console, ray_session: RaySession | None = None) -> Trained:
    """Train a run, or resume it. Of a complete run, only say that it is complete.

    With more than one worker, `ray_session` starts Ray: see `run_on_workers`.
    Raises UsageError for wrong settings or data, and KeyboardInterrupt after a request to stop, once the run is saved.
    """
    # Data and settings are checked before the folder is created: a wrong request leaves nothing behind.
    job = job_of(request)
    with runs.locked(job.out):
        if enter(job, console):
            if request.workers == 1:
                run(job, partial(Display, console))
            else:
                # Imported late: Ray takes seconds to load, and one process does without it.
                from vsumdata.train.loop.distributed import run_on_workers

                assert ray_session is not None, "several workers need Ray"
                there = replace(request, out=str(job.out.resolve()))
                open_job = partial(job_on_worker, there, os.getcwd())
                run_on_workers(job, open_job, request.workers, ray_session, console)
    return runs.load(job.out)


def job_on_worker(request: TrainRequest, folder: str) -> Job:
    """The job, opened in a worker process of Ray. Relative paths keep their meaning: they start from `folder`."""
    # ray#29787: Ray Train gives each worker another current folder, where a relative --data, --init, --features or
    # --split file does not exist. Making the paths absolute would not do: they are part of a run's identity, and a
    # run must resume with and without workers. A root is read while training, so the process stays in this folder.
    # On another machine of a cluster the folder may be missing; absolute paths and URLs still work there.
    with contextlib.suppress(OSError):
        os.chdir(folder)
    return job_of(request)


def job_of(request: TrainRequest) -> Job:
    """The job for a request. Raises UsageError for wrong settings or data. Nothing is written."""
    settings = settings_of(request.method, request.preset, request.sets)
    followed = tracked(request.track, settings.model_dump(mode="json"))
    wanted = replace(request.data, labelled=settings.needs_targets, labels=settings.labels)
    data = open_data(wanted, settings.seed, captions=getattr(settings.objective, "reads_captions", False))
    job = prepared(settings, data, Path(request.out), request.init, request.workers)
    return replace(job, tracked=followed)
