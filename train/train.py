"""From what was asked for to a trained run: the data, the folder, the weights to begin with, and the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video, collate
from vsumdata.pipeline.errors import UsageError
from vsumdata.pipeline.status import versions
from vsumdata.train import checkpoints, runs
from vsumdata.train.batches import Batches, read
from vsumdata.train.checkpoints import Position
from vsumdata.train.fit import Fit, Learner, Team
from vsumdata.train.initial import start_from
from vsumdata.train.journal import Display, Journal
from vsumdata.train.methods import METHODS
from vsumdata.train.partition import ids_of
from vsumdata.train.preparation import (
    notes_of_objective,
    notes_of_seen,
    pool_notes,
    rate_note,
    rule_of,
    sizes,
    usable,
    with_targets,
    without_targets,
)
from vsumdata.train.runs import LAST, Info, Origin, Trained
from vsumdata.train.settings import Settings, class_of, least_batch, settings_of
from vsumdata.train.stopping import deterministic, stoppable
from vsumdata.train.training_data import Data, Wanted, open_data
from vsumdata.train.unlabelled import Unlabelled
from vsumdata.train.validation import Validation


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `vsumdata train` was asked for."""

    method: str
    data: Wanted
    out: str
    preset: str = "default"
    sets: tuple[str, ...] = ()
    init: str | None = None
    workers: int = 1
    address: str | None = None
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A run with all that it needs, on its way to the loop."""

    out: Path
    info: Info
    model: nn.Module
    train: Batches
    validation: Validation | None
    tensorboard: bool = False


def train(request: TrainRequest, console: Console) -> Trained:
    """Train, or go on with a run that was interrupted; one that is complete is only said to be so.

    Raises UsageError for wrong settings or data, and KeyboardInterrupt when it was stopped and has saved.
    """
    job = job_of(request)
    with runs.locked(job.out):
        if enter(job, console):
            if request.workers == 1:
                run(job, console)
            else:
                from vsumdata.train.distributed import run_on_workers

                run_on_workers(request, job, console)
    return runs.load(job.out)


def fit_fold(
    settings: Settings,
    train: Sequence[Video],
    val: Sequence[Video],
    protocol: Protocol,
    out: Path,
    *,
    init: str | None = None,
    origin: Origin | None = None,
    checked: bool = False,
) -> Trained:
    """Train on some videos and select on others, without a word; a run that `out` has already goes on, or is returned.

    `checked` says that every training video is known to have a target, so that none is read to see.
    Raises UsageError where there is nothing to train on, or `out` was made with other settings or videos.
    """
    data = Data(train=train, val=val, protocol=protocol, origin=origin or Origin(), checked=checked)
    job = prepared(settings, data, out, init)
    with runs.locked(out):
        if enter(job, None):
            run(job, None)
    return runs.load(out, device())


def job_of(request: TrainRequest) -> Job:
    settings = settings_of(request.method, request.preset, request.sets)
    data = open_data(replace(request.data, labelled=settings.needs_targets), settings.seed)
    job = prepared(settings, data, Path(request.out), request.init, request.workers)
    return replace(job, tensorboard=request.tensorboard)


def prepared(settings: Settings, data: Data, out: Path, init: str | None, workers: int = 1) -> Job:
    """Check the data and make the model; the same on every worker, and nothing is written."""
    rule = rule_of(settings, data) if settings.needs_targets else None
    train, notes = (data.train, []) if data.checked or rule is None else usable(data.train, rule)
    val = data.val if settings.validates else ()
    frame_dim, text_dim = sizes(train, METHODS[settings.method].reads_text)
    if METHODS[settings.method].reads_text and not text_dim:
        notes.append("the videos have no text: trained on frames alone")
    check_held_out(settings, data, train, val)
    info = Info(
        settings=settings,
        protocol=data.protocol.name,
        origin=data.origin,
        train=tuple(ids_of(train)),
        val=tuple(ids_of(val)),
        frame_dim=frame_dim,
        text_dim=text_dim,
        init=init,
        before=runs.read_info(Path(init)).seen if init else (),
        device=str(device()),
        versions=versions(),
    )
    batches = Batches(
        train,
        batch_size=settings.batch_size,
        seed=settings.seed,
        prepare=with_targets(info, rule) if rule else without_targets(info),
        window=settings.window,
        least=least_batch(settings.objective) * workers,
    )
    notes += rate_note(settings.method, batches) if rule else pool_notes(info, batches, workers)
    if issubclass(class_of(settings.method, "objective"), Unlabelled):
        notes += notes_of_objective(info)
    torch.manual_seed(settings.seed)
    model = runs.build(runs.without_downloads(info) if init else info)
    begun = [*start_from(model, info, init), *notes_of_seen(info)] if init else []
    if getattr(settings.model, "weights", None) == "none":
        notes.append("weights: none")
    return Job(
        out=out,
        info=info.model_copy(update={"notes": (*data.notes, *begun, *notes)}),
        model=model,
        train=batches,
        validation=Validation(val, data.protocol, settings.select_on) if len(val) else None,
    )


def check_held_out(settings: Settings, data: Data, train: Sequence[Video], val: Sequence[Video]) -> None:
    """UsageError where a video is to be trained on and held out, unless it is seen without labels and that is said."""
    if data.origin.pool == "transductive" and not settings.needs_targets:
        return
    if both := set(ids_of(train)) & {*ids_of(val), *data.origin.test}:
        raise UsageError(f"{min(both)} is to be trained on and held out as well; use another split")


def enter(job: Job, console: Console | None) -> bool:
    """Open the run's folder and say what is to come; whether anything is left to do."""
    at = Position()
    if runs.open_run(job.out, job.info):
        at = checkpoints.read(job.out / LAST, job.info.digest)[1]
    epochs = job.info.settings.epochs
    if console is not None:
        for note in job.info.notes:
            console.print(note, highlight=False, markup=False, soft_wrap=True)
        what = f"{len(job.info.train)} videos, {len(job.info.val)} to validate by {job.info.protocol}"
        if at.epoch == epochs:
            what = f"{job.out} is complete: {epochs} epochs"
        elif at.step:
            what = f"{job.out} goes on after step {at.step}, epoch {at.epoch + 1} of {epochs}"
        console.print(what, highlight=False, markup=False, soft_wrap=True)
    return at.epoch < epochs


def run(job: Job, console: Console | None, team: Team | None = None) -> None:
    """The loop, in this process."""
    team = team or Team(device=device())
    with deterministic(), stoppable() as stop:
        fit = Fit(job.out, job.info, learner_of(job), job.train, job.validation, team)
        with (
            Display(console, job.info.settings.epochs, len(job.train)) as display,
            Journal(
                job.out, fit.position.log_bytes, display, tensorboard=job.tensorboard, is_writer=team.rank == 0
            ) as journal,
        ):
            fit.run(journal, stop)


def learner_of(job: Job) -> Learner:
    """The model and its objective, with the networks that this may have beside it."""
    info = job.info
    objective = class_of(info.settings.method, "objective")(info.settings.objective)
    if isinstance(objective, Unlabelled):
        torch.manual_seed(info.settings.seed + 1)  # else a second network would have the model's own weights
        first = job.train.prepare(read(job.train.videos, [0])[0])
        objective.attach(job.model, lambda: runs.build(info), collate([first]))
    return Learner(job.model, objective)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
