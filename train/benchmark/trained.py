"""Rows of trained methods: one run for each seed and fold, measured on that fold's test videos."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from vsumdata.datasets import partition
from vsumdata.datasets.join import names
from vsumdata.datasets.partition import Pool, Run
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import making
from vsumdata.train.benchmark.kept import kept
from vsumdata.train.benchmark.predictions import Scores, save
from vsumdata.train.benchmark.progress import BenchProgress
from vsumdata.train.benchmark.videos import BenchData
from vsumdata.train.data import targets
from vsumdata.train.data.origin import Origin, Other, features_of
from vsumdata.train.data.targets import Rule, Rules
from vsumdata.train.data.training import Data
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import fit_fold, prepared
from vsumdata.train.loop.journal import Show
from vsumdata.train.loop.predict import Prediction, predict
from vsumdata.train.loop.runs import Info, Trained
from vsumdata.train.scoring.baselines import Trial
from vsumdata.train.scoring.measure import BREAKS, Found
from vsumdata.train.settings import Settings, class_of, least_batch

# Trained one after the other, each from the weights of the one before. The last one is measured.
Stages = tuple[Settings, ...]
PRE_TRAINING = "pre-training"
NUM_VIDEOS = re.compile(r"\b\d+(?= (?:\w+ )?videos\b)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What the runs of a table share. `keep` is the folder that keeps them; `init` is a run to start from.

    `pool` selects the videos for learning without labels. `scores` is the folder that keeps the scores, `request` tells
    this table's runs from those of other tables, and `console` shows how far they are.
    """

    data: BenchData
    rules: Protocol
    keep: str | None = None
    init: str | None = None
    pool: Pool = "fold"
    scores: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    console: Console | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The methods that can be trained, checked before any of them is; and why others have no row."""

    # For each stage of a method its settings, and the ids of the videos that it can learn from.
    ready: Mapping[str, Sequence[tuple[Settings, set[str]]]]
    left_out: Mapping[str, str]
    remarks: Sequence[str]


def planned(methods: Mapping[str, Stages], bench: Bench) -> Plan:
    """Check every method, its settings, weights, features and `--init`. Nothing is written.

    A method that cannot learn from this data is left out. Raises UsageError for a request that would fail in any case.
    """
    data = bench.data
    check_others_used(methods, data)
    remarks = partition.what_crosses(data.partition, data.pool, data.unlisted)
    if any(fold.legacy for _, fold in data.partition.runs):
        remarks.append("legacy: trained methods chose their epoch on the test videos, so their numbers are too good")
    if bench.keep and Path(bench.keep).exists() and not Path(bench.keep).is_dir():
        raise UsageError(f"--runs {bench.keep} is a file; give a folder")
    if bench.init:
        check_unseen(bench.init, data)
    rules = {rule_of(its, data) for stages in methods.values() for its in stages}
    usable = {rule: teachable(data, rule) for rule in rules}
    ready: dict[str, list[tuple[Settings, set[str]]]] = {}
    left_out: dict[str, str] = {}
    for method, stages in methods.items():
        reasons = [hindrance(its, bench, *usable[rule_of(its, data)]) for its in stages]
        if reason := next(filter(None, reasons), None):
            left_out[method] = f"no row: {reason}"
            continue
        ready[method] = [(its, usable[rule_of(its, data)][0]) for its in stages]
        try:
            check(method, ready[method], bench)
        except UsageError as error:
            raise UsageError(f"{method}: {error}") from error
    return Plan(ready=ready, left_out=left_out, remarks=remarks)


def check_others_used(methods: Mapping[str, Stages], data: BenchData) -> None:
    """Raise UsageError if no method would train on some data set of the pool."""
    if data.unlisted and all(its.needs_targets for stages in methods.values() for its in stages):
        names = ", ".join(dict.fromkeys(video_id.partition("/")[0] for video_id in data.unlisted))
        raise UsageError(
            f"--data: nothing is trained on {names}, for {data.partition.label} does not name it and no method of "
            "--methods learns without labels; leave it out, or give --split augmented"
        )


def check(method: str, stages: Sequence[tuple[Settings, set[str]]], bench: Bench) -> None:
    """Prepare the first run of a method as for training, so that what is wrong is found before hours of others."""
    run, fold = next(bench.data.partition.runs)
    settings, usable = stages[0]
    folder = Path(bench.keep or "") / method / (PRE_TRAINING if len(stages) > 1 else "")
    job = prepared(*what_to_fit(settings, bench, fold, usable, run, folder), init=bench.init)
    if bench.keep and (job.out / runs.INFO).exists():
        runs.open_run(job.out, job.info)
    # A later stage begins with weights that are not there yet; its model alone can be built.
    for its, ids in stages[1:]:
        class_of(its.method, "model")(its.model, partition.pick(bench.data.pool, ids)[0].frame_feature.shape[1])


def add_rows(plan: Plan, bench: Bench, found: Found) -> list[str]:
    """Train and measure each method of the plan. Returns the table's remarks on them.

    A method that fails ends its own row: `found` records why, and the next one is trained.
    """
    remarks = list(plan.remarks)
    for method, reason in plan.left_out.items():
        found.leave_out(method, reason)
    if not plan.ready:
        return remarks
    num_folds = len(list(bench.data.partition.runs))
    num_runs = {method: num_folds * len(stages) for method, stages in plan.ready.items()}
    with (
        kept(bench.keep, bench.request, bench.console) as folder,
        BenchProgress(bench.console, sum(num_runs.values())) as progress,
    ):
        for number, (method, stages) in enumerate(plan.ready.items()):
            # A method before may have failed in any of its runs.
            progress.number = sum(list(num_runs.values())[:number])
            try:
                remarks += add_method(method, stages, bench, found, folder.path / method, progress)
            except BREAKS as error:
                found.fail(method, error)
        if not found.failed:
            folder.finish()
    return remarks


def add_method(
    method: str,
    stages: Sequence[tuple[Settings, set[str]]],
    bench: Bench,
    found: Found,
    folder: Path,
    progress: BenchProgress,
) -> list[str]:
    """Train one method in every fold and measure it on the fold's test videos. Returns the remarks on it."""
    said: dict[str, list[str]] = {its.method: [] for its, _ in stages}
    made: dict[str, list[Trained]] = {its.method: [] for its, _ in stages}
    scores: dict[Run, dict[str, Scores]] = {}
    for run, fold in bench.data.partition.runs:
        trained: Trained | None = None
        # Pre-training sees the fold's own training videos, so it is repeated in every fold as well.
        for settings, usable in stages:
            is_last = settings is stages[-1][0]
            before = trained
            begun = replace(bench, init=str(before.path)) if before else bench
            progress.begin(f"{method}{'' if is_last else f' ({PRE_TRAINING})'}, seed {run[0]}, fold {run[1] + 1}")
            place = folder if is_last else folder / PRE_TRAINING
            trained = train_fold(settings, begun, fold, usable, run, place, progress.training)
            notes = what_to_say(trained)
            said[settings.method] += [_without_path(note, before) for note in notes]
            # Without its weights: a table of fifty runs would hold fifty models.
            made[settings.method].append(replace(trained, model=nn.Identity()))
        assert trained is not None, "a method has a stage"
        # `videos`, not `pool`: only these have the reference that the protocol scores against.
        answers = predict(trained, partition.pick(bench.data.videos, fold.test))
        if bench.scores:
            answers = noted(answers, scores.setdefault(run, {}))
        add_answers(method, answers, bench.rules, found, run)
    if bench.scores:
        save(bench.scores, method, scores, bench.data)
    found.made[method] = [making.record(each) for each in made.values()]
    for record in found.made[method][1:]:
        # Each fold has its own, in a folder of the moment.
        record["init"] = f"its {PRE_TRAINING}"
    lines = ["; ".join([*once(said[name]), making.epochs_told(made[name])]) for name in said]
    return [f"{method}: {f'; then {stages[-1][0].method}: '.join(lines)}"]


def what_to_say(trained: Trained) -> list[str]:
    """Notes to print with a run's numbers."""
    notes = [*making.choices(trained), *trained.info.notes]
    if trained.settings.needs_targets and not trained.info.val:
        notes.append(f"{trained.info.origin.split}: too few training videos to select by, the last epoch counts")
    return notes


def once(notes: Iterable[str]) -> list[str]:
    """Each note once. Notes that differ only in a number of videos become one note with the range (`8 to 12`)."""
    # Folds differ by a video or two, and a table of five folds would repeat every note five times.
    numbers: dict[tuple[str, ...], list[list[int]]] = {}
    for note in notes:
        numbers.setdefault(tuple(NUM_VIDEOS.split(note)), []).append([int(n) for n in NUM_VIDEOS.findall(note)])
    found = []
    for words, alike in numbers.items():
        ranges = [(min(each), max(each)) for each in zip(*alike, strict=True)]
        between = [str(low) if low == high else f"{low} to {high}" for low, high in ranges]
        found.append("".join(a + b for a, b in itertools.zip_longest(words, between, fillvalue="")))
    return found


def _without_path(note: str, before: Trained | None) -> str:
    """`note` without the path of the pre-training run, which differs in every fold."""
    return note.replace(str(before.path), f"its {PRE_TRAINING}") if before else note


def add_answers(method: str, answers: Iterable[Prediction], rules: Protocol, found: Found, run: Run) -> None:
    """Measure the predictions of one run."""
    for answer in answers:
        trial = Trial(video=answer.video, frame_score=answer.frame_score, sentence_score=answer.sentence_score)
        measured = found.measured.get(method) or found.start(method, trial, rules)
        measured.add(answer.video_id, [run], [trial])


def noted(answers: Iterable[Prediction], scores: dict[str, Scores]) -> Iterator[Prediction]:
    """The answers; their scores are added to `scores`, by video id."""
    for answer in answers:
        scores[answer.video_id] = Scores(frame=answer.frame_score, sentence=answer.sentence_score)
        yield answer


def train_fold(
    settings: Settings, bench: Bench, fold: Fold, usable: set[str], run: Run, folder: Path, show: Show | None = None
) -> Trained:
    """Train one seed and fold. A run that `folder` has already is resumed, or only read if it is complete."""
    its, data, out = what_to_fit(settings, bench, fold, usable, run, folder)
    return fit_fold(its, data, out, init=bench.init, show=show)


def what_to_fit(
    settings: Settings, bench: Bench, fold: Fold, usable: set[str], run: Run, folder: Path
) -> tuple[Settings, Data, Path]:
    """The settings, the videos and the folder of one seed and fold."""
    seed, number = run
    data, test, place = bench.data, fold.test, f"fold-{number + 1}"
    ours, pool = partition.restricted(fold, usable), "fold" if settings.needs_targets else bench.pool
    if not settings.needs_targets:
        ours = replace(ours, train=(*ours.train, *(each for each in data.unlisted if each in usable)))
    if pool == "transductive":
        ours = replace(ours, train=tuple(each for each in partition.ids_of(data.pool) if each in usable))
        # All videos train and none selects, so the folds share one run instead of repeating it.
        if not settings.validates:
            ours, test, place = Fold(ours.train, (), (), "all videos"), (), "all"
    origin = Origin(
        data_set=data.on,
        path=data.path,
        features_root=data.features,
        features=features_of(data.root) if data.root else None,
        split=ours.label,
        # --legacy selects on the test videos, so they are not held out.
        test=() if fold.legacy else test,
        pool=pool,
        others=tuple(Other(data_set=each.data_set, path=each.path) for each in data.others),
    )
    chosen = Data(
        train=partition.pick(data.pool, ours.train),
        val=partition.pick(data.pool, ours.val),
        protocol=bench.rules,
        origin=origin,
        # `teachable` has looked at every video already. A fold must not read them all again.
        checked=True,
    )
    return settings.model_copy(update={"seed": seed}), chosen, folder / f"seed-{seed}" / place


def rule_of(settings: Settings, data: BenchData) -> Rule | Rules | None:
    """The rule that makes the method's targets; None if it learns without labels."""
    if not settings.needs_targets:
        return None
    return targets.rules_for(settings.labels, data.on, [each.data_set for each in data.others])


def teachable(data: BenchData, rule: Rule | Rules | None) -> tuple[set[str], str | None]:
    """Ids of the videos with frame features and a target, and what the first of the other videos lacks."""
    usable: set[str] = set()
    why = None
    for video in data.pool:
        reason = targets.lacks_target(video, rule) if rule else None
        if not video.frame_feature.shape[1]:
            reason = "no frame features; --features ROOT joins some"
        if reason is None:
            usable.add(video.video_id)
        elif why is None:
            why = f"{video.video_id} has {reason}"
    return usable, why


def hindrance(settings: Settings, bench: Bench, usable: set[str], why: str | None) -> str | None:
    """Why some fold has too few training videos; None if all have enough."""
    # All folds or none: a method that lacks a fold would be averaged over other videos than its rivals.
    least = least_batch(settings.objective)
    for _, fold in bench.data.partition.runs:
        if not fold.train:
            return f"{fold.label} has no training videos"
        if usable.isdisjoint(fold.train):
            return (
                f"{fold.label}: none of {len(fold.train)} training videos can train a method{f'; {why}' if why else ''}"
            )
        pool = usable if bench.pool == "transductive" else usable.intersection((*fold.train, *bench.data.unlisted))
        if len(pool) < least:
            return (
                f"{fold.label}: {len(pool)} training videos are too few: {settings.method} contrasts at least {least}"
            )
    return None


def check_unseen(init: str, data: BenchData) -> None:
    """Raise UsageError if `init`, or a run that it started from, was trained or selected on labels of test videos.

    Test videos of this data set may have been seen without labels: the runs that start from `init` say so.
    """
    info = runs.read_info(Path(init))
    tested = partition.pick(data.videos, data.partition.tested)
    seen = seen_by(info, data.on, tested, unlabelled=info.origin.data_set != data.on)
    # Unlike `eval`, which leaves such videos out: a table must measure all its rows on the same videos.
    if seen:
        raise UsageError(
            f"--init {init} was trained or selected on {len(seen)} of the {len(tested)} test videos (first: "
            f"{min(seen)}); pre-train without them"
        )


def seen_by(info: Info, data_set: str, videos: Sequence[Video], unlabelled: bool = True) -> set[str]:
    """Ids of those `videos` of `data_set` that a run, or a run that it started from, was trained or selected on.

    With `unlabelled`, videos that were only seen without labels count as well.
    """
    # Ids such as video_1 occur in several data sets, so they are compared within one. A root of ours has YouTube's ids,
    # and benchmarks that know them (`names`) can be checked against it.
    found: set[str] = set()
    for each in info.seen:
        theirs = set(each.video_ids) if each.labelled or unlabelled else set()
        if each.data_set == data_set:
            found |= theirs.intersection(partition.ids_of(videos))
        elif each.data_set == "shards":
            found |= {video.video_id for video in videos if not theirs.isdisjoint(names(video))}
    return found
