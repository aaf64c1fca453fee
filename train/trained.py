"""The rows of trained methods: each seed and fold has a run of its own, measured on that fold's test videos."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vsumdata.datasets.join import names
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError
from vsumdata.train import partition, runs, targets
from vsumdata.train.baselines import Trial
from vsumdata.train.bench_data import BenchData
from vsumdata.train.measure import Found
from vsumdata.train.methods import METHODS
from vsumdata.train.partition import Run
from vsumdata.train.predict import Prediction, predict
from vsumdata.train.runs import Info, Origin, Trained
from vsumdata.train.settings import Settings, class_of
from vsumdata.train.targets import Rule
from vsumdata.train.train import fit_fold
from vsumdata.train.training_data import features_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What the runs of a table have in common; `keep` is the folder that keeps them, `init` a run to begin with."""

    data: BenchData
    rules: Protocol
    keep: str | None = None
    init: str | None = None


def add_rows(settings: Mapping[str, Settings], bench: Bench, found: Found) -> list[str]:
    """Train and measure each method of `settings`; returns what the table has to say of them all.

    A method that cannot learn from this data has no row, and `found` says why.
    """
    data = bench.data
    remarks = partition.what_crosses(data.partition, data.pool)
    if any(fold.legacy for _, fold in data.partition.runs):
        remarks.append("legacy: trained methods chose their epoch on the test videos, so their numbers are too good")
    if bench.init:
        check_unseen(bench.init, data)
    usable = {rule: teachable(data, rule) for rule in {rule_of(its, data) for its in settings.values()}}
    ready: dict[str, set[str]] = {}
    for method, its in settings.items():
        ids, why = usable[rule_of(its, data)]
        if reason := hindrance(data, ids, why):
            found.leave_out(method, f"no row: {reason}")
            continue
        # Weights that cannot be had are an error now, not after the other methods' hours.
        class_of(method, "model")(its.model, partition.pick(data.pool, ids)[0].frame_feature.shape[1])
        ready[method] = ids
    with kept(bench.keep) as folder:
        for method, ids in ready.items():
            remarks += add_method(settings[method], bench, ids, found, folder / method)
    return remarks


def add_method(settings: Settings, bench: Bench, usable: set[str], found: Found, folder: Path) -> list[str]:
    """Measure the runs of one method on their own test videos; returns what to say of it."""
    notes: list[str] = []
    for run, fold in bench.data.partition.runs:
        trained = train_fold(settings, bench, fold, usable, run, folder)
        answers = predict(trained, partition.pick(bench.data.videos, fold.test))
        if not add_answers(settings.method, answers, bench.rules, found, run):
            return []
        notes += [*choices(trained), *trained.info.notes]
        if not trained.info.val:
            notes.append(f"{fold.label}: too few training videos to select by, the last epoch counts")
    return [f"{settings.method}: {'; '.join(dict.fromkeys(notes))}"]


def add_answers(method: str, answers: Iterable[Prediction], rules: Protocol, found: Found, run: Run) -> bool:
    """Measure the predictions of one run; False where the annotations allow no metric."""
    for answer in answers:
        trial = Trial(video=answer.video, frame_score=answer.frame_score, sentence_score=answer.sentence_score)
        measured = found.measured.get(method) or found.start(method, trial, rules)
        if measured is None:
            return False
        measured.add(answer.video_id, [run], [trial])
    return True


def train_fold(settings: Settings, bench: Bench, fold: Fold, usable: set[str], run: Run, folder: Path) -> Trained:
    """The run of one seed and fold; one that `folder` has already goes on, or is read if it is complete."""
    seed, number = run
    data, ours = bench.data, partition.restricted(fold, usable)
    origin = Origin(
        data_set=data.on,
        path=data.path,
        features_root=data.features,
        features=features_of(data.root) if data.root else None,
        split=fold.label,
        test=() if fold.legacy else fold.test,  # legacy selects on them: they are not held out
    )
    return fit_fold(
        settings.model_copy(update={"seed": seed}),
        partition.pick(data.pool, ours.train),
        partition.pick(data.pool, ours.val),
        bench.rules,
        folder / f"seed-{seed}" / f"fold-{number + 1}",
        init=bench.init,
        origin=origin,
        checked=True,
    )


def rule_of(settings: Settings, data: BenchData) -> Rule:
    return targets.default_rule(data.on) if settings.labels == "auto" else settings.labels


def teachable(data: BenchData, rule: Rule) -> tuple[set[str], str | None]:
    """Ids of the videos with frame features and something to be trained towards; what the first other one lacks."""
    usable: set[str] = set()
    why = None
    for video in data.pool:
        reason = targets.lacks_target(video, rule)
        if not video.frame_feature.shape[1]:
            reason = "no frame features; --features ROOT joins some"
        if reason is None:
            usable.add(video.video_id)
        elif why is None:
            why = f"{video.video_id} has {reason}"
    return usable, why


def hindrance(data: BenchData, usable: set[str], why: str | None) -> str | None:
    """Why there is a fold without a video to train on; None if there is not."""
    for _, fold in data.partition.runs:
        if not fold.train:
            return f"{fold.label} has no training videos"
        if usable.isdisjoint(fold.train):
            return (
                f"{fold.label}: none of {len(fold.train)} training videos can be learnt from{f'; {why}' if why else ''}"
            )
    return None


def choices(trained: Trained) -> list[str]:
    """What was chosen that moves the numbers."""
    info, options = trained.info, trained.settings.model
    said = [f"preset {info.settings.preset}", f"frame features of size {info.frame_dim}"]
    if METHODS[info.settings.method].reads_text:
        text = getattr(options, "text", "subtitles")
        said.append(f"text at inference: {text if info.text_dim else 'none, the data has no text features'}")
        if info.text_dim:
            said.append(f"text features of size {info.text_dim}")
    weights = getattr(options, "weights", None)
    if weights is not None and weights != "none":  # `none` is among the run's own notes
        said.append(f"weights: {weights}")
    said.append(f"init: {info.init or 'none'}")
    return said


def check_unseen(init: str, data: BenchData) -> None:
    """Raise UsageError where the run to begin with was trained or selected on a video that is tested."""
    tested = partition.pick(data.videos, data.partition.tested)
    seen = seen_by(runs.read_info(Path(init)), data.on, tested)
    if seen:
        raise UsageError(
            f"--init {init} was trained on {len(seen)} of the {len(tested)} test videos (first: {min(seen)}); "
            "pre-train without them"
        )


def seen_by(info: Info, data_set: str, videos: Sequence[Video]) -> set[str]:
    """Ids of those of `videos`, of `data_set`, that a run, or one that it began with, was trained or selected on.

    Ids like `video_1` mean something within one data set only; a root of ours names its videos as YouTube does.
    """
    found: set[str] = set()
    for each in info.seen:
        theirs = set(each.video_ids)
        if each.data_set == data_set:
            found |= theirs.intersection(partition.ids_of(videos))
        elif each.data_set == "shards":
            found |= {video.video_id for video in videos if not theirs.isdisjoint(names(video))}
    return found


@contextlib.contextmanager
def kept(folder: str | None) -> Iterator[Path]:
    """The folder of the runs; without one a temporary one."""
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="vsumdata-bench-") as temporary:
        yield Path(temporary)
