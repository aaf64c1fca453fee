"""One training run, ready for the loop: its data checked, its model made, its folder opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from vsumdata.datasets.partition import ids_of
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.versions import versions
from vsumdata.train.data.batches import Batches, read
from vsumdata.train.data.training import Data
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.checkpoints import Position
from vsumdata.train.loop.fit import Fit, Learner, Team
from vsumdata.train.loop.initial import start_from
from vsumdata.train.loop.journal import Display, Journal, Show
from vsumdata.train.loop.predict import predict
from vsumdata.train.loop.preparation import (
    LOOKED_AT,
    notes_of_objective,
    notes_of_seen,
    order_of,
    parent_notes,
    pool_notes,
    rate_note,
    rule_of,
    sizes,
    tower_of,
    usable,
    warmup_notes,
    with_targets,
    without_targets,
)
from vsumdata.train.loop.runs import LAST, Info, Trained
from vsumdata.train.loop.stopping import deterministic, stoppable
from vsumdata.train.loop.tracking import Tracked
from vsumdata.train.loop.validation import Validation
from vsumdata.train.methods import METHODS
from vsumdata.train.objectives.unlabelled import Unlabelled
from vsumdata.train.settings import Settings, class_of, least_batch

# Adam keeps two numbers a weight beside weight and gradient, four bytes each.
BYTES_TRAINED = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A run with all that the loop needs. Nothing is written until `enter`."""

    out: Path
    info: Info
    model: nn.Module
    train: Batches
    validation: Validation | None
    tracked: Tracked | None = None


def fit_fold(
    settings: Settings, data: Data, out: Path, *, init: str | None = None, show: Show | None = None
) -> Trained:
    """Train a run and select its epoch. Resumes the run in `out`, or returns a complete one.

    Silent, unless `show` makes a display. Raises UsageError if there is nothing to train on, or if `out` was made with
    other settings or videos.
    """
    job = prepared(settings, data, out, init)
    with runs.locked(out):
        if enter(job, None):
            run(job, show or partial(Display, None))
    # Its model goes before the best weights come: a GPU may not hold a language model twice.
    del job
    return runs.load(out, device())


def prepared(settings: Settings, data: Data, out: Path, init: str | None, workers: int = 1) -> Job:
    """Check the data and build the model. Every worker does the same. Nothing is written."""
    rule = rule_of(settings, data) if settings.needs_targets else None
    train, notes = (data.train, []) if data.checked or rule is None else usable(data.train, rule)
    val = data.val if settings.validates else ()
    method = METHODS[settings.method]
    dims = sizes(train, method)
    for what, is_read, size in (
        ("text", method.reads_text, "text_dim"),
        ("sound", method.reads_audio, "audio_dim"),
        ("queries", method.reads_query, "query_dim"),
    ):
        if is_read and not dims[size]:
            notes.append(f"the videos have no {what}: trained without")
    check_held_out(settings, data, train, val)
    info = Info(
        settings=settings,
        protocol=data.protocol.name,
        origin=data.origin,
        train=tuple(ids_of(train)),
        val=tuple(ids_of(val)),
        **dims,
        order=order_of(settings, len(train)),
        models=runs.models_of(settings, runs.known_models(out, init)),
        init=init,
        init_weights=runs.fingerprint(Path(init)) if init else None,
        texts=data.texts if getattr(settings.objective, "reads_summaries", False) else None,
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
        # Where videos are contrasted, each worker contrasts its own.
        least=least * workers if (least := least_batch(settings.objective)) > 1 else 1,
        by_length=info.order == "by-length",
    )
    notes += parent_notes(info, batches)
    notes += rate_note(settings.method, batches) if rule else pool_notes(info, batches, workers)
    notes += warmup_notes(settings)
    if issubclass(class_of(settings.method, "objective"), Unlabelled):
        notes += notes_of_objective(info)
    torch.manual_seed(settings.seed)
    # With --init the other run's weights replace these, so a download of ImageNet weights would be for nothing.
    model = runs.build(runs.without_downloads(info) if init else info)
    begun = [*start_from(model, info, init), *notes_of_seen(info)] if init else []
    notes += observed(model, info, batches)
    if getattr(settings.model, "weights", None) == "none":
        notes.append("weights: none")
    validation = validation_of(model, info, val, data.protocol) if len(val) else None
    if validation and validation.note:
        notes.append(validation.note)
    return Job(
        out=out,
        info=info.model_copy(update={"notes": (*data.notes, *begun, *notes)}),
        model=model,
        train=batches,
        validation=validation,
    )


def observed(model: nn.Module, info: Info, train: Batches) -> list[str]:
    """Show model and objective, if they ask for it, some training videos before the first step. Returns their notes."""
    objective = class_of(info.settings.method, "objective")
    # The weights of another run have seen that run's videos, which says nothing of features of another size.
    begun = info.init is not None and runs.read_info(Path(info.init)).frame_dim == info.frame_dim
    observe, remark = None if begun else getattr(model, "observe", None), getattr(objective, "remarks", None)
    notes = list(getattr(model, "notes", ()))
    if why := tower_of(info)[1]:
        notes.append(f"spoken sentences are not compared with the pictures: {why}")
    if observe or remark:
        videos = [train.prepare(video) for video in read(train.videos, range(min(len(train.videos), LOOKED_AT)))]
        notes += remark(info.settings.objective, videos, model) if remark else []
        if observe:
            observe(videos)
    return notes


def validation_of(model: nn.Module, info: Info, val: Sequence[Video], protocol: Protocol) -> Validation:
    """The validation on `val`, of the metrics that the model's own outputs and the annotations allow."""
    # A model of frames alone scores no sentences, and then ROUGE must not choose its epoch.
    untrained = Trained(model=model.eval(), info=info, path=Path(), position=Position())
    first = next(predict(untrained, val[:1]))
    model.train()
    # Transfer validates on several data sets, and some of their files bring no users.
    sets = info.origin.by_data_set(info.val)
    place = {video_id: at for at, video_id in enumerate(ids_of(val))}
    more = [val[place[f"{each.data_set}/{ids[0]}"]] for each in info.origin.others if (ids := sets.get(each.data_set))]
    return Validation(val, protocol, info.settings.select_on, first, more)


def check_held_out(settings: Settings, data: Data, train: Sequence[Video], val: Sequence[Video]) -> None:
    """Raise UsageError if a video is both trained on and held out."""
    # The transductive pool means just that: it sees test videos, without labels, and its notes say so.
    if data.origin.pool == "transductive" and not settings.needs_targets:
        return
    if both := set(ids_of(train)) & {*ids_of(val), *data.origin.test}:
        raise UsageError(f"{min(both)} is to be trained on and held out as well; use another split")


def enter(job: Job, console: Console | None) -> bool:
    """Open the run's folder and print what will happen. Returns False if the run is complete."""
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


def run(job: Job, show: Show, team: Team | None = None) -> None:
    """Run the loop in this process, on the display that `show` makes."""
    team = team or Team(device=device())
    check_room(job.model, team.device)
    with deterministic(), stoppable() as stop:
        # `Fit` comes first: it reads the position at which the journal cuts the log.
        fit = Fit(job.out, job.info, learner_of(job), job.train, job.validation, team)
        with (
            show(job.info.settings.epochs, len(job.train)) as display,
            Journal(job.out, fit.position.log_bytes, display, tracked=job.tracked, is_writer=team.rank == 0) as journal,
        ):
            fit.run(journal, stop)


def check_room(model: nn.Module, device: torch.device) -> None:
    """Raise UsageError if the trained weights and their optimizer do not fit into the GPU's memory."""
    if device.type != "cuda":
        return
    num = sum(each.numel() for each in model.parameters() if each.requires_grad)
    there = torch.cuda.get_device_properties(device).total_memory
    if num * BYTES_TRAINED > there:
        raise UsageError(
            f"{num / 1e9:.1f} billion trained weights need {num * BYTES_TRAINED / 1e9:.0f} GB with their optimizer; "
            f"the GPU has {there / 1e9:.0f}: take a smaller model, or of a language model model.tuning=lora"
        )


def learner_of(job: Job) -> Learner:
    """The model with its objective, and with the networks that the objective adds."""
    info = job.info
    objective = class_of(info.settings.method, "objective")(info.settings.objective)
    if isinstance(objective, Unlabelled):
        # With the seed of the model itself, ViSP's second network would start as a copy of the first.
        torch.manual_seed(info.settings.seed + 1)
        # Some objectives learn the size of their layers from a first video.
        first = job.train.prepare(read(job.train.videos, [0])[0])
        objective.attach(job.model, lambda: runs.build(info), collate([first]))
    return Learner(job.model, objective)


def device() -> torch.device:
    """CUDA if torch sees a GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
