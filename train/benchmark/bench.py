"""The benchmark table: methods on a data set's test videos, under one protocol, beside chance and people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from vsumdata.datasets.benchmarks.registry import data_set, need_path, pick
from vsumdata.datasets.partition import Partition, Run, ids_of
from vsumdata.datasets.pool import is_pool, own_first
from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.train.benchmark import crossmodal, predictions, published
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.asked.variants import RUN, Variant, parse, variants
from vsumdata.train.benchmark.crossmodal import CrossModalOptions
from vsumdata.train.benchmark.predictions import Scores
from vsumdata.train.benchmark.table import Table, failed_rows, rows
from vsumdata.train.benchmark.videos import BenchData, open_data
from vsumdata.train.data.clip import text_tower
from vsumdata.train.methods import METHODS
from vsumdata.train.scoring.baselines import BASELINES, Baseline, Trial
from vsumdata.train.scoring.measure import Found, measure

if TYPE_CHECKING:
    from vsumdata.train.benchmark.asked.choices import Entry

ALWAYS_FIRST = ("random", "uniform")


def bench(request: Request, console: Console | None = None) -> Table:
    """Evaluate the methods beside random and uniform, and beside human and mean-user if the annotations allow them.

    The console shows how far the training is.
    Raises UsageError for an unknown data set, method, setting, protocol or split, and for data that cannot be read. A
    method that the data does not suit has no row, and the table says why.
    """
    module = data_set(request.on)
    rules = protocol(request.protocol) if request.protocol else module.PROTOCOL
    path, _ = own_first(request.on, request.data)
    need_path(module, path)
    free = {**BASELINES, **(known_scores(module.ceilings(path)) if hasattr(module, "ceilings") else {})}
    asked, baseline = rows_asked(request, free)
    # Settings are checked before any data is read: a typing error must not cost the wait for it.
    options, entries = settings_for(request, asked)
    if entries and getattr(module, "TEST_ONLY", False) and not request.train_on:
        raise UsageError(
            f"{module.NAME} is for testing alone: give --train-on ROOT, whose videos the methods are trained on, or "
            f"trained runs as {RUN}RUN"
        )
    data = open_data(
        module,
        request.data,
        features=request.features,
        split=request.split,
        seeds=request.seeds,
        legacy=request.legacy,
    )
    if request.train_on or getattr(module, "TEST_ONLY", False):
        data = tested_whole(data, request)
    order = ordered([each.name for each in asked], free)
    runs = [each for each in asked if each.run]
    if request.save_scores:
        check_scores_folder(request.save_scores, asked, data)
    # Imported late: torch takes seconds to load, and a table of baselines does not need it.
    if runs:
        from vsumdata.train.benchmark import given_runs

        given = given_runs.opened(runs, data)
    if entries:
        from vsumdata.train.benchmark import trained

        what = trained.Bench(
            data=data,
            rules=rules,
            keep=request.runs,
            init=request.init,
            pool=request.pool,
            train_on=request.train_on,
            scores=request.save_scores,
            request=told(request, entries),
            console=console,
        )
        plan = trained.planned(entries, what)
    # First what needs no training, so that data which cannot be measured ends the command before hours of training.
    compared, said = cross_modal([each.name for each in asked], data, options)
    scores: dict[str, dict[str, Scores]] = {name: {} for name in compared}
    if request.save_scores:
        compared = {name: noting(method, scores[name]) for name, method in compared.items()}
    found = measure(data.videos, free | compared, rules, data.partition)
    remarks = [
        *request.remarks,
        *([f"protocol {rules.name}: {rules.note}"] if rules.note else []),
        *data.remarks,
    ]
    found.need_some(request.on, len(free | compared), remarks)
    for name in crossmodal.NAMES:
        if request.save_scores and name in found.measured:
            predictions.save(request.save_scores, name, by_run(scores[name], data), data)
        if name in compared:
            remarks.append(f"{name}: {said}")
        elif any(name == each.name for each in asked):
            found.leave_out(name, f"no row: {said}")
    if runs:
        remarks += given_runs.add_rows(given, data, rules, found, request.save_scores)
    if entries:
        remarks += trained.add_rows(plan, what, found)
    return table_of(replace(request, baseline=baseline), rules, data, found, order, remarks)


def rows_asked(request: Request, free: Collection[str]) -> tuple[list[Variant], str]:
    """The rows of --methods and --baseline, and the name of the baseline.

    Raises UsageError for a word of another form, an unknown method, and a row that is asked for twice.
    """
    asked, baseline = variants(request.methods), parse(request.baseline)
    if baseline.name not in [each.name for each in asked]:
        asked.append(baseline)
    for each in asked:
        if not each.run:
            pick(each.method, [*free, *crossmodal.NAMES, *METHODS], "method")
        if each.method and not each.is_plain and each.method not in METHODS:
            remedy = f"; give them by --set {crossmodal.PREFIX}…" if each.method in crossmodal.NAMES else ""
            raise UsageError(f"{each.name}: {each.method} is not trained and takes no settings in brackets{remedy}")
    return asked, baseline.name


def check_scores_folder(folder: str, asked: Sequence[Variant], data: BenchData) -> None:
    """Raise UsageError if no row asked for makes scores to keep, or if the folder has those of another bench."""
    own = [each.name for each in asked if each.run or each.method in (*METHODS, *crossmodal.NAMES)]
    if not own:
        raise UsageError(f"--save-scores {folder}: no method of --methods makes scores to keep")
    predictions.check_folder(folder, own, [run for run, _ in data.partition.runs])


def tested_whole(data: BenchData, request: Request) -> BenchData:
    """`data` with one fold for each seed, which tests every test video and trains on none."""
    there = set(ids_of(data.videos))
    ids = tuple(video_id for video_id in data.partition.tested if video_id in there)
    label = f"all {len(ids)} test videos" + (f", trained on {hide_keys(request.train_on)}" if request.train_on else "")
    return replace(data, partition=Partition(label, ((Fold((), (), ids, label),),) * request.seeds))


def table_of(
    request: Request, rules: Protocol, data: BenchData, found: Found, order: Sequence[str], remarks: Sequence[str]
) -> Table:
    """The table of what was measured, in this order of methods."""
    found.settle()
    left_out = found.remarks(len(order))
    measured = {name: found.measured[name] for name in order if name in found.measured}
    methods = [parse(word).method for word in request.methods]
    # Of a run, its record alone says which method it is.
    methods += [made[0]["method"] for name, made in found.made.items() if name.startswith(RUN)]
    found_rows = rows(measured, request.baseline, rules.metrics, data.partition.names)
    found_rows += failed_rows(found.failed, rules.metrics)
    return Table(
        data=request.on,
        protocol=rules.name,
        split=data.partition.label,
        seeds=request.seeds,
        baseline=request.baseline,
        rows=sorted(found_rows, key=lambda row: order.index(row.method)),
        remarks=(*remarks, *left_out),
        made=found.made,
        published=published.beside(request.on, methods, request.papers),
    )


def noting(method: Baseline, scores: dict[str, Scores]) -> Baseline:
    """The method; what it answers is added to `scores`, by video id."""

    def noted(video: Video, rules: Protocol, seed: int) -> Iterator[Trial]:
        for trial in method(video, rules, seed):
            scores[video.video_id] = Scores(
                frame=trial.frame_score, sentence=trial.sentence_score, moments=trial.moments
            )
            yield trial

    return noted


def by_run(scores: Mapping[str, Scores], data: BenchData) -> dict[Run, dict[str, Scores]]:
    """The scores of each run's test videos. They are the same in all runs."""
    return {
        run: {video_id: scores[video_id] for video_id in fold.test if video_id in scores}
        for run, fold in data.partition.runs
    }


def told(request: Request, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """What the trained runs of a request depend on, as JSON values."""
    options = asdict(replace(request, runs=None, save_scores=None, baseline="", remarks=(), papers=()))
    settings = {name: [its.model_dump(mode="json") for its in entry.stages] for name, entry in entries.items()}
    begun = sorted({run for entry in entries.values() if (run := entry.variant.init or request.init)})
    return options | {"settings": settings, "begun": begun}


def ordered(asked: Sequence[str], always: Iterable[str]) -> list[str]:
    """The order of rows: chance, then the methods asked for, then people and ceilings."""
    return list(dict.fromkeys([*ALWAYS_FIRST, *asked, *always]))


def known_scores(ceilings: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Baseline]:
    """Baselines with the scores that a data set knows of itself: the oracle and the Bayes ceiling of planted data."""

    # A function of its own, because a lambda in the comprehension would see the last `scores` for every name.
    def answer(scores: Mapping[str, np.ndarray]) -> Baseline:
        return lambda video, rules, seed: iter([Trial(video=video, frame_score=scores[video.video_id])])

    return {name: answer(scores) for name, scores in ceilings.items()}


def settings_for(request: Request, asked: Sequence[Variant]) -> tuple[CrossModalOptions, dict[str, Entry]]:
    """The settings of the rows asked for, by --preset, --set and brackets. Raises UsageError for those of no effect."""
    ours = [override for override in request.sets if override.startswith(crossmodal.PREFIX)]
    others = [override for override in request.sets if override not in ours]
    to_train = [each for each in asked if each.method in METHODS]
    if ours and not {each.method for each in asked} & set(crossmodal.NAMES):
        raise UsageError(f"--set {ours[0]}: neither of {' and '.join(crossmodal.NAMES)} is among --methods")
    # An option without effect is an error: the user would take the numbers for those of the option.
    if not to_train:
        for flag, value in (
            ("--set", next(iter(others), None)),
            ("--preset", request.preset),
            ("--init", request.init),
            ("--pool", request.pool if request.pool != "fold" else None),
            ("--data", request.data if is_pool(request.data) else None),
            ("--train-on", request.train_on),
        ):
            if value:
                known = ", ".join(METHODS)
                raise UsageError(f"{flag} {value}: no method of --methods is trained; trained methods are: {known}")
        return crossmodal.options_of(ours), {}
    from vsumdata.train.benchmark.asked.choices import entries_of

    entries = entries_of(to_train, request.on, request.preset, others, request.init)
    # Methods with labels never see test videos, so the option would have no effect.
    if request.pool != "fold" and all(its.needs_targets for entry in entries.values() for its in entry.stages):
        raise UsageError(f"--pool {request.pool}: no method of --methods learns without labels")
    if request.train_on and (request.legacy or request.pool != "fold"):
        flag = "--legacy" if request.legacy else f"--pool {request.pool}"
        raise UsageError(f"{flag}: it uses videos that are tested, and --train-on trains on others; leave out one")
    if request.legacy and (searched := next((each.name for each in to_train if each.search), None)):
        raise UsageError(f"{searched}: a search never chooses on test videos; leave out --legacy")
    return crossmodal.options_of(ours), entries


def cross_modal(asked: Sequence[str], data: BenchData, options: CrossModalOptions) -> tuple[dict[str, Baseline], str]:
    """The cross-modal methods asked for with a remark on them, or no methods and the reason."""
    if not set(asked) & set(crossmodal.NAMES):
        return {}, ""
    # Without CLIP's text tower (random weights, no network) the other methods still have their rows.
    try:
        encode = text_tower(data.root) if data.root else None
    except UsageError as error:
        return {}, str(error)
    tested = (video for video in data.videos if video.video_id in data.partition.tested)
    if reason := crossmodal.lacks(tested, encode):
        return {}, reason
    said = f"sentences read by the text tower of {hide_keys(data.root or '')}'s CLIP"
    # Equal sizes are all that can be checked: the file does not say which models made its features.
    if encode is None:
        said = "frames' and sentences' features are of one size and taken as of one space"
    changed = options.model_dump(exclude_defaults=True)
    settings = "".join(f", {name} {value}" for name, value in changed.items())
    return crossmodal.baselines(asked, data.videos, encode, options), said + settings
