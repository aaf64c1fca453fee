"""From what was asked for to a trained run: the data, the folder, the weights to begin with, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError
from vsumdata.pipeline.status import versions
from vsumdata.train import checkpoints, partition, runs, targets
from vsumdata.train.batches import Batches, read
from vsumdata.train.checkpoints import Position
from vsumdata.train.fit import Fit, Learner, Team
from vsumdata.train.initial import start_from
from vsumdata.train.journal import Display, Journal
from vsumdata.train.methods import METHODS, REGRESSION
from vsumdata.train.partition import ids_of
from vsumdata.train.predict import TEXT_FEATURES, fitting
from vsumdata.train.runs import LAST, Info, Origin, Trained
from vsumdata.train.settings import Settings, class_of, settings_of
from vsumdata.train.stopping import deterministic, stoppable
from vsumdata.train.targets import Rule
from vsumdata.train.training_data import Data, Wanted, open_data
from vsumdata.train.validation import Validation

LOOKED_AT = 256  # videos by which the rate of positives is judged


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
    job = prepared(settings, open_data(request.data, settings.seed), Path(request.out), request.init)
    return replace(job, tensorboard=request.tensorboard)


def prepared(settings: Settings, data: Data, out: Path, init: str | None) -> Job:
    """Check the data and make the model; the same on every worker, and nothing is written."""
    rule = rule_of(settings, data)
    train, notes = (data.train, []) if data.checked else usable(data.train, rule)
    frame_dim, text_dim = sizes(train, METHODS[settings.method].reads_text)
    if METHODS[settings.method].reads_text and not text_dim:
        notes.append("the videos have no text: trained on frames alone")
    if both := set(ids_of(train)) & {*ids_of(data.val), *data.origin.test}:
        raise UsageError(f"{min(both)} is to be trained on and held out as well; use another split")
    info = Info(
        settings=settings,
        protocol=data.protocol.name,
        origin=data.origin,
        train=tuple(ids_of(train)),
        val=tuple(ids_of(data.val)),
        frame_dim=frame_dim,
        text_dim=text_dim,
        init=init,
        before=runs.read_info(Path(init)).seen if init else (),
        device=str(device()),
        versions=versions(),
    )
    torch.manual_seed(settings.seed)
    model = runs.build(info)
    if init:
        notes += [*start_from(model, info, init), *note_of_seen(info)]
    if getattr(settings.model, "weights", None) == "none":
        notes.append("weights: none")
    batches = Batches(
        train,
        batch_size=settings.batch_size,
        seed=settings.seed,
        prepare=with_targets(info, rule),
        window=settings.window,
    )
    return Job(
        out=out,
        info=info.model_copy(update={"notes": (*data.notes, *notes, *rate_note(settings.method, batches))}),
        model=model,
        train=batches,
        validation=Validation(data.val, data.protocol, settings.select_on) if len(data.val) else None,
    )


def note_of_seen(info: Info) -> list[str]:
    """What to say where the weights to begin with have seen videos that are held out here."""
    seen = {video_id for each in info.before if each.data_set == info.origin.data_set for video_id in each.video_ids}
    known = seen.intersection(info.origin.test)
    if not known:
        return []
    of = f"{len(known)} of {len(info.origin.test)} test videos"
    return [f"{of} trained {info.init} or one before it: eval leaves them out"]


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
        learner = Learner(job.model, class_of(job.info.settings.method, "objective")(job.info.settings.objective))
        fit = Fit(job.out, job.info, learner, job.train, job.validation, team)
        with (
            Display(console, job.info.settings.epochs, len(job.train)) as display,
            Journal(
                job.out, fit.position.log_bytes, display, tensorboard=job.tensorboard, is_writer=team.rank == 0
            ) as journal,
        ):
            fit.run(journal, stop)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rule_of(settings: Settings, data: Data) -> Rule:
    if settings.labels != "auto":
        return settings.labels
    if data.origin.data_set:
        return targets.default_rule(data.origin.data_set)
    return "given" if any(video.gt_score is not None for video in data.train[:1]) else "replay"


def usable(videos: Sequence[Video], rule: Rule) -> tuple[Sequence[Video], list[str]]:
    """Those that have something to be trained towards, and what to say of the others."""
    reasons = {video.video_id: targets.lacks_target(video, rule) for video in videos}
    found = partition.pick(videos, [video_id for video_id, why in reasons.items() if why is None])
    said = [f"{video_id}: {why}" for video_id, why in reasons.items() if why]
    if not found:
        first = f"; {said[0]}" if said else ""
        raise UsageError(f"none of the {len(videos)} training videos has a target of the kind labels={rule}{first}")
    return found, [f"{len(said)} videos without a target are left out; {said[0]}"] if said else []


def sizes(videos: Sequence[Video], reads_text: bool) -> tuple[int, int | None]:
    """Components of a frame's feature, and of a text's where any video has a text."""
    frame_dim = int(videos[0].frame_feature.shape[1])
    if not frame_dim:
        raise UsageError(f"{videos[0].video_id} has no features; give --features ROOT")
    for video in videos if reads_text else ():
        for name in TEXT_FEATURES:
            value = getattr(video, name)
            if value is not None and value.size:
                return frame_dim, int(value.shape[-1])
    return frame_dim, None


def with_targets(info: Info, rule: Rule) -> Callable[[Video], Video]:
    """Check a video and give it its targets; one of a root that has none is trained with its text alone."""

    def prepare(video: Video) -> Video:
        video = fitting(video, info)
        if targets.lacks_target(video, rule):
            return replace(video, gt_score=None, gt_summary=None, sentence_label=None)
        return targets.with_targets(video, rule)

    return prepare


def rate_note(method: str, train: Batches) -> list[str]:
    """What to say where nothing, or nearly all, is labelled as summary; UsageError where nothing has a target."""
    videos = [train.prepare(video) for video in read(train.videos, range(min(len(train.videos), LOOKED_AT)))]
    if not any(video.gt_score is not None for video in videos):
        raise UsageError(f"none of the training videos has a target ({videos[0].video_id} and others): see labels")
    rate = targets.positive_rate(videos)
    if METHODS[method].objective == REGRESSION:
        return []
    if rate == 0:
        return ["no frame of the training videos is labelled as summary: classification learns nothing from them"]
    warning = targets.rate_warning(rate)
    return [warning] if warning else []
