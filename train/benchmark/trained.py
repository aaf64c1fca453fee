"""Rows of trained methods: one run for each seed and fold, measured on that fold's test videos."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from vsumdata.datasets import partition
from vsumdata.datasets.partition import Pool, Run
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.splits import Fold
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.train.benchmark import making
from vsumdata.train.benchmark.asked.choices import Entry
from vsumdata.train.benchmark.held_out import check_same_kind, check_unseen, first_tested
from vsumdata.train.benchmark.kept import kept
from vsumdata.train.benchmark.predictions import Scores, save
from vsumdata.train.benchmark.progress import BenchProgress, Shown
from vsumdata.train.benchmark.videos import BenchData
from vsumdata.train.data import elsewhere, targets
from vsumdata.train.data.clip import text_tower
from vsumdata.train.data.origin import Origin, Other, features_of, recipes_of, summaries_of
from vsumdata.train.data.targets import Rule, Rules
from vsumdata.train.data.training import Data
from vsumdata.train.loop import runs, trials
from vsumdata.train.loop.job import Job, device, fit_fold, prepared
from vsumdata.train.loop.predict import Encode, Prediction, TextTask, fitting, predict, trial_of
from vsumdata.train.loop.runs import Trained
from vsumdata.train.loop.trials import Search, changed
from vsumdata.train.scoring.measure import BREAKS, NEEDS_TEXT, Found
from vsumdata.train.settings import Settings, class_of, least_batch

PRE_TRAINING = "pre-training"
NUM_VIDEOS = re.compile(r"\b\d+(?= (?:\w+ )?videos\b)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What the runs of a table share, and what a row has of its own: `init`, a run to start from, and `search`.

    `keep` is the folder that keeps the runs. `pool` selects the videos for learning without labels. `train_on` names
    another data set to train on, as `train --data` does. `scores` is the folder that keeps the scores, `request` tells
    this table's runs from those of other tables, and `console` shows how far they are.
    """

    data: BenchData
    rules: Protocol
    keep: str | None = None
    init: str | None = None
    pool: Pool = "fold"
    train_on: str | None = None
    search: Search | None = None
    scores: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    console: Console | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Ready:
    """A row that can be trained: for each stage its settings, and the ids of the videos that it can learn from."""

    stages: Sequence[tuple[Settings, set[str]]]
    bench: Bench
    folder: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The rows that can be trained, checked before any of them is; and why others are left out."""

    ready: Mapping[str, Ready]
    left_out: Mapping[str, str]
    remarks: Sequence[str]


def planned(entries: Mapping[str, Entry], bench: Bench) -> Plan:
    """Check every row, its settings, weights, features and the run that it begins with. Nothing is written.

    A method that cannot learn from this data is left out. Raises UsageError for a request that would fail in any case.
    """
    data = bench.data
    if not bench.train_on:
        check_others_used(entries, data)
    # Training videos of another data set are kept apart when they are opened.
    remarks = [] if bench.train_on else partition.what_crosses(data.partition, data.pool, data.unlisted)
    if any(fold.legacy for _, fold in data.partition.runs):
        remarks.append("legacy: trained methods chose their epoch on the test videos, so their numbers are too good")
    if bench.keep and Path(bench.keep).exists() and not Path(bench.keep).is_dir():
        raise UsageError(f"--runs {bench.keep} is a file; give a folder")
    if bench.train_on:
        remarks += taught_elsewhere(entries, bench)
    if bench.init:
        check_unseen(f"--init {bench.init}", bench.init, data)
    rules = {rule_of(its, data) for entry in entries.values() for its in entry.stages}
    usable = {} if bench.train_on else {rule: teachable(data, rule) for rule in rules}
    ready: dict[str, Ready] = {}
    left_out: dict[str, str] = {}
    for name, entry in entries.items():
        if own := entry.variant.init:
            check_unseen(f"{name}: init={own}", own, data)
        its_bench = replace(bench, init=own or bench.init, search=entry.search)
        # What the videos of another data set teach is found as they are opened.
        found = [(its, usable.get(rule_of(its, data), (set(), None))) for its in entry.stages]
        reasons = [hindrance(its, its_bench, *of) for its, of in found if not bench.train_on]
        if reason := next(filter(None, reasons), None):
            left_out[name] = f"no row: {reason}"
            continue
        ready[name] = Ready(
            stages=[(its, ids) for its, (ids, _) in found], bench=its_bench, folder=entry.variant.folder
        )
        try:
            check(ready[name])
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
    return Plan(ready=ready, left_out=left_out, remarks=remarks)


def check_others_used(entries: Mapping[str, Entry], data: BenchData) -> None:
    """Raise UsageError if no method would train on some data set of the pool."""
    if data.unlisted and all(its.needs_targets for entry in entries.values() for its in entry.stages):
        names = ", ".join(dict.fromkeys(video_id.partition("/")[0] for video_id in data.unlisted))
        raise UsageError(
            f"--data: nothing is trained on {names}, for {data.partition.label} does not name it and no method of "
            "--methods learns without labels; leave it out, or give --split augmented"
        )


def check(row: Ready) -> None:
    """Prepare the first run of a row as for training, so that what is wrong is found before hours of others."""
    bench = row.bench
    run, fold = next(bench.data.partition.runs)
    settings, usable = row.stages[0]
    folder = Path(bench.keep or "") / row.folder / (PRE_TRAINING if len(row.stages) > 1 else "")
    job = prepared(*what_to_fit(settings, bench, fold, usable, run, folder), init=bench.init)
    if bench.train_on:
        check_measurable(job, bench.data)
    if bench.search:
        check_search(job, bench, usable)
    elif bench.keep and (job.out / runs.INFO).exists():
        runs.open_run(job.out, job.info)
    # A later stage begins with weights that are not there yet; its model alone can be built.
    for its, _ in row.stages[1:]:
        class_of(its.method, "model")(its.model, job.info.frame_dim)


def check_measurable(job: Job, data: BenchData) -> None:
    """Raise UsageError if the test videos' features are not those that the run is trained on."""
    fitting(first_tested(data), job.info)
    check_same_kind(f"--train-on {job.info.origin.path}", job.info, data, job.info.text_dim is not None)


def check_search(job: Job, bench: Bench, usable: set[str]) -> None:
    """Raise UsageError if a run of the row has no validation videos, or if a kept search is another one."""
    validated = [bool(usable.intersection(fold.val)) for _, fold in bench.data.partition.runs]
    if job.validation is None or not (bench.train_on or all(validated)):
        raise UsageError("search: there are no validation videos to choose a trial by; give more videos")
    if bench.keep and any((job.out / name).exists() for name in (trials.FOUND, runs.INFO)):
        trials.opened(job.out, record_of(job, bench))


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
    num_runs = {method: num_folds * runs_of(row) for method, row in plan.ready.items()}
    with (
        kept(bench.keep, bench.request, bench.console) as folder,
        BenchProgress(bench.console, sum(num_runs.values())) as progress,
    ):
        for number, (method, row) in enumerate(plan.ready.items()):
            # A method before may have failed in any of its runs.
            progress.number = sum(list(num_runs.values())[:number])
            try:
                remarks += add_method(method, row.stages, row.bench, found, folder.path / row.folder, progress)
            except BREAKS as error:
                found.fail(method, error)
        if not found.failed:
            folder.finish()
    return remarks


def runs_of(row: Ready) -> int:
    """How many runs a row trains for each seed and fold: its stages, the first of them perhaps as trials."""
    return len(row.stages) - 1 + (row.bench.search.num_trials if row.bench.search else 1)


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
            begun = replace(bench, init=str(before.path), search=None) if before else bench
            label = f"{method}{'' if is_last else f' ({PRE_TRAINING})'}, seed {run[0]}, fold {run[1] + 1}"
            place = folder if is_last else folder / PRE_TRAINING
            trained = train_fold(settings, begun, fold, usable, run, place, Shown(progress, label))
            notes = what_to_say(trained, begun.search.ranges if begun.search else ())
            said[settings.method] += [_without_path(note, before) for note in notes]
            # Without its weights: a table of fifty runs would hold fifty models.
            made[settings.method].append(replace(trained, model=nn.Identity()))
        assert trained is not None, "a method has a stage"
        # `videos`, not `pool`: only these have the reference that the protocol scores against.
        videos = partition.pick(bench.data.videos, fold.test)
        answers = predict(trained, videos, words=words_for(bench.rules))
        if bench.scores:
            answers = noted(answers, scores.setdefault(run, {}))
        add_answers(method, answers, bench.rules, found, run, encode_for(bench.rules, bench.data))
    if bench.scores:
        save(bench.scores, method, scores, bench.data)
    found.made[method] = [making.record(each) for each in made.values()]
    for record in found.made[method][1:]:
        # Each fold has its own, in a folder of the moment.
        record["init"] = f"its {PRE_TRAINING}"
    lines = ["; ".join([*once(said[name]), making.epochs_told(made[name])]) for name in said]
    return [f"{method}: {f'; then {stages[-1][0].method}: '.join(lines)}"]


def what_to_say(trained: Trained, drawn: Collection[str] = ()) -> list[str]:
    """Notes to print with a run's numbers; a search has `drawn` some of its settings."""
    notes = [*making.choices(trained, drawn), *trained.info.notes]
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


def add_answers(
    method: str,
    answers: Iterable[Prediction],
    rules: Protocol,
    found: Found,
    run: Run,
    encode: Encode | None = None,
) -> None:
    """Measure the predictions of one run. `encode` embeds texts for Cross-F_CLIP."""
    for answer in answers:
        trial = trial_of(answer, rules, encode)
        measured = found.measured.get(method) or found.start(method, trial, rules)
        measured.add(answer.video_id, [run], [trial])


def words_for(rules: Protocol) -> TextTask | None:
    """What a language model is to write for a protocol: a text that refers to frames, where a metric reads one."""
    return "b" if NEEDS_TEXT & set(rules.metrics) else None


def encode_for(rules: Protocol, data: BenchData) -> Encode | None:
    """The text tower of the CLIP that made a root's frames, where the protocol asks for it and it can be had."""
    if "cross_f_clip" not in rules.metrics or data.root is None:
        return None
    try:
        return text_tower(data.root)
    # Random weights have no text tower; the metric is then left out with its reason.
    except UsageError:
        return None


def noted(answers: Iterable[Prediction], scores: dict[str, Scores]) -> Iterator[Prediction]:
    """The answers; their scores are added to `scores`, by video id."""
    for answer in answers:
        scores[answer.video_id] = Scores(
            frame=answer.frame_score, sentence=answer.sentence_score, moments=answer.moments
        )
        yield answer


def train_fold(
    settings: Settings, bench: Bench, fold: Fold, usable: set[str], run: Run, folder: Path, shown: Shown
) -> Trained:
    """Train one seed and fold. A run that `folder` has already is resumed, or only read if it is complete."""
    its, data, out = what_to_fit(settings, bench, fold, usable, run, folder)

    def fit(chosen: Settings, place: Path, what: str = "") -> Trained:
        shown.begin(what)
        return fit_fold(chosen, data, place, init=bench.init, show=shown.progress.training)

    if bench.search is None:
        return fit(its, out)
    begun = record_of(prepared(its, data, out, bench.init), bench)
    with runs.locked(out):
        # On the fold's own validation videos: its test videos choose nothing.
        trials.search_in(
            out, begun, bench.search, its.seed, lambda sets, place: fit(changed(its, sets), place, place.name).position
        )
    return runs.load(out, device())


def record_of(job: Job, bench: Bench) -> trials.Record:
    """The beginning of search.json: what must be the same for a search to go on."""
    assert bench.search is not None
    assert job.validation is not None, "`check` has seen that every run has validation videos"
    asked = job.info.identity() | {"ranges": {name: list(its) for name, its in bench.search.ranges.items()}}
    return trials.Record(asked=asked, metric=job.validation.metric)


def what_to_fit(
    settings: Settings, bench: Bench, fold: Fold, usable: set[str], run: Run, folder: Path
) -> tuple[Settings, Data, Path]:
    """The settings, the videos and the folder of one seed and fold."""
    seed, number = run
    data, test, place = bench.data, fold.test, f"fold-{number + 1}"
    if bench.train_on:
        chosen = opened_elsewhere(settings, bench, seed)
        return settings.model_copy(update={"seed": seed}), chosen, folder / f"seed-{seed}" / place
    ours, pool = partition.restricted(fold, usable), "fold" if settings.needs_targets else bench.pool
    if not settings.needs_targets:
        ours = replace(ours, train=(*ours.train, *(each for each in data.unlisted if each in usable)))
    if pool == "transductive":
        ours = replace(ours, train=tuple(each for each in partition.ids_of(data.pool) if each in usable))
        # All videos train and none selects, so the folds share one run instead of repeating it.
        if not settings.validates:
            ours, test, place = Fold(ours.train, (), (), "all videos"), (), "all"
    labelled = targets.labelled(data.pool, rule_of(settings, data))
    origin = Origin(
        data_set=data.on,
        path=data.path,
        features_root=data.features,
        features=features_of(data.root) if data.root else None,
        recipes=recipes_of(data.on, data.features),
        split=ours.label,
        # --legacy selects on the test videos, so they are not held out.
        test=() if fold.legacy else test,
        pool=pool,
        labels=getattr(labelled, "labels_from", None),
        others=tuple(Other(data_set=each.data_set, path=each.path) for each in data.others),
    )
    chosen = Data(
        train=partition.pick(labelled, ours.train),
        val=partition.pick(labelled, ours.val),
        protocol=bench.rules,
        origin=origin,
        texts=summaries_of(data.path) if data.on == "shards" else None,
        # `teachable` has looked at every video already. A fold must not read them all again.
        checked=True,
    )
    return settings.model_copy(update={"seed": seed}), chosen, folder / f"seed-{seed}" / place


def opened_elsewhere(settings: Settings, bench: Bench, seed: int) -> Data:
    """The videos of `--train-on` for one seed, without those that this table tests."""
    assert bench.train_on is not None
    tested = partition.pick(bench.data.videos, bench.data.partition.tested)
    wanted = elsewhere.wanted(
        bench.train_on, bench.data.features, labelled=settings.needs_targets, labels=settings.labels
    )
    return elsewhere.open_apart(wanted, seed, bench.data.on, tested)


def taught_elsewhere(entries: Mapping[str, Entry], bench: Bench) -> list[str]:
    """Remarks on the videos of `--train-on`. Raises UsageError if they cannot be opened."""
    first = next(iter(entries.values())).stages[-1]
    data = opened_elsewhere(first, bench, 0)
    where = hide_keys(bench.train_on or "")
    return [f"trained on {len(data.train)} videos of {where}, {len(data.val)} to validate", *data.notes]


def rule_of(settings: Settings, data: BenchData) -> Rule | Rules | None:
    """The rule that makes the method's targets; None if it learns without labels."""
    if not settings.needs_targets:
        return None
    return targets.rules_for(settings.labels, data.on, [each.data_set for each in data.others])


def teachable(data: BenchData, rule: Rule | Rules | None) -> tuple[set[str], str | None]:
    """Ids of the videos with frame features and a target, and what the first of the other videos lacks."""
    usable: set[str] = set()
    why = None
    for video in targets.labelled(data.pool, rule):
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
