"""The benchmark table: methods on a data set's test videos, under one protocol, beside chance and people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from vsumdata.datasets.benchmarks.registry import data_set, need_path, pick
from vsumdata.datasets.partition import Pool, Run
from vsumdata.datasets.pool import is_pool, own_first
from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.train.benchmark import crossmodal, predictions, published
from vsumdata.train.benchmark.crossmodal import CrossModalOptions
from vsumdata.train.benchmark.predictions import Scores
from vsumdata.train.benchmark.table import Table, failed_rows, rows
from vsumdata.train.benchmark.videos import BenchData, open_data
from vsumdata.train.methods import METHODS
from vsumdata.train.scoring.baselines import BASELINES, Baseline, Trial
from vsumdata.train.scoring.measure import Found, measure

if TYPE_CHECKING:
    from vsumdata.train.benchmark.trained import Stages

ALWAYS_FIRST = ("random", "uniform")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `vsumdata bench`. Protocol, split and preset default to the data set's own.

    `features` is a root of ours whose features replace the benchmark's. `sets` are overrides a.b=c for the methods that
    have a setting a.b. `runs` is a folder that keeps the trained runs, `init` a run whose weights the trained methods
    start from. `legacy` selects epochs on the test videos. `save_scores` is a folder for the scores of each video.
    """

    on: str
    data: str = ""
    methods: tuple[str, ...] = ()
    protocol: str | None = None
    seeds: int = 3
    features: str | None = None
    split: str | None = None
    baseline: str = "random"
    preset: str | None = None
    sets: tuple[str, ...] = ()
    runs: str | None = None
    init: str | None = None
    legacy: bool = False
    pool: Pool = "fold"
    save_scores: str | None = None


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
    for word in (*request.methods, request.baseline):
        pick(word, [*free, *crossmodal.NAMES, *METHODS], "method")
    asked = tuple(dict.fromkeys((*request.methods, request.baseline)))
    # Settings are checked before any data is read: a typing error must not cost the wait for it.
    options, stages = settings_for(request, asked)
    data = open_data(
        module,
        request.data,
        features=request.features,
        split=request.split,
        seeds=request.seeds,
        legacy=request.legacy,
    )
    order = ordered(asked, free)
    if request.save_scores:
        own = [*stages, *(name for name in crossmodal.NAMES if name in asked)]
        if not own:
            raise UsageError(f"--save-scores {request.save_scores}: no method of --methods makes scores to keep")
        predictions.check_folder(request.save_scores, own, [run for run, _ in data.partition.runs])
    # Imported late: torch takes seconds to load, and a table of baselines does not need it.
    if stages:
        from vsumdata.train.benchmark import trained

        what = trained.Bench(
            data=data,
            rules=rules,
            keep=request.runs,
            init=request.init,
            pool=request.pool,
            scores=request.save_scores,
            request=told(request, stages),
            console=console,
        )
        plan = trained.planned(stages, what)
    # First what needs no training, so that data which cannot be measured ends the command before hours of training.
    compared, said = cross_modal(asked, data, options)
    scores: dict[str, dict[str, Scores]] = {name: {} for name in compared}
    if request.save_scores:
        compared = {name: noting(method, scores[name]) for name, method in compared.items()}
    found = measure(data.videos, free | compared, rules, data.partition)
    remarks = [*([f"protocol {rules.name}: {rules.note}"] if rules.note else []), *data.remarks]
    found.need_some(request.on, len(free | compared), remarks)
    for name in crossmodal.NAMES:
        if request.save_scores and name in found.measured:
            predictions.save(request.save_scores, name, by_run(scores[name], data), data)
        if name in compared:
            remarks.append(f"{name}: {said}")
        elif name in asked:
            found.leave_out(name, f"no row: {said}")
    if stages:
        remarks += trained.add_rows(plan, what, found)
    return table_of(request, rules, data, found, order, remarks)


def table_of(
    request: Request, rules: Protocol, data: BenchData, found: Found, order: Sequence[str], remarks: Sequence[str]
) -> Table:
    """The table of what was measured, in this order of methods."""
    found.settle()
    left_out = found.remarks(len(order))
    measured = {name: found.measured[name] for name in order if name in found.measured}
    found_rows = [*rows(measured, request.baseline, rules.metrics), *failed_rows(found.failed, rules.metrics)]
    return Table(
        data=request.on,
        protocol=rules.name,
        split=data.partition.label,
        seeds=request.seeds,
        baseline=request.baseline,
        rows=sorted(found_rows, key=lambda row: order.index(row.method)),
        remarks=(*remarks, *left_out),
        made=found.made,
        published=published.beside(request.on, request.methods),
    )


def noting(method: Baseline, scores: dict[str, Scores]) -> Baseline:
    """The method; what it answers is added to `scores`, by video id."""

    def noted(video: Video, rules: Protocol, seed: int) -> Iterator[Trial]:
        for trial in method(video, rules, seed):
            scores[video.video_id] = Scores(frame=trial.frame_score, sentence=trial.sentence_score)
            yield trial

    return noted


def by_run(scores: Mapping[str, Scores], data: BenchData) -> dict[Run, dict[str, Scores]]:
    """The scores of each run's test videos. They are the same in all runs."""
    return {
        run: {video_id: scores[video_id] for video_id in fold.test if video_id in scores}
        for run, fold in data.partition.runs
    }


def told(request: Request, stages: Mapping[str, Stages]) -> dict[str, Any]:
    """What the trained runs of a request depend on, as JSON values."""
    options = asdict(replace(request, runs=None, save_scores=None, baseline=""))
    return options | {"settings": {name: [its.model_dump(mode="json") for its in of] for name, of in stages.items()}}


def ordered(asked: Sequence[str], always: Iterable[str]) -> list[str]:
    """The order of rows: chance, then the methods asked for, then people and ceilings."""
    return list(dict.fromkeys([*ALWAYS_FIRST, *asked, *always]))


def known_scores(ceilings: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Baseline]:
    """Baselines with the scores that a data set knows of itself: the oracle and the Bayes ceiling of planted data."""

    # A function of its own, because a lambda in the comprehension would see the last `scores` for every name.
    def answer(scores: Mapping[str, np.ndarray]) -> Baseline:
        return lambda video, rules, seed: iter([Trial(video=video, frame_score=scores[video.video_id])])

    return {name: answer(scores) for name, scores in ceilings.items()}


def settings_for(request: Request, asked: Sequence[str]) -> tuple[CrossModalOptions, dict[str, Stages]]:
    """The settings of the methods asked for, by --preset and --set. Raises UsageError if no method has the setting."""
    ours = [override for override in request.sets if override.startswith(crossmodal.PREFIX)]
    others = [override for override in request.sets if override not in ours]
    trained_methods = [name for name in asked if name in METHODS]
    if ours and not set(asked) & set(crossmodal.NAMES):
        raise UsageError(f"--set {ours[0]}: neither of {' and '.join(crossmodal.NAMES)} is among --methods")
    # An option without effect is an error: the user would take the numbers for those of the option.
    if not trained_methods:
        for flag, value in (
            ("--set", next(iter(others), None)),
            ("--preset", request.preset),
            ("--init", request.init),
            ("--pool", request.pool if request.pool != "fold" else None),
            ("--data", request.data if is_pool(request.data) else None),
        ):
            if value:
                known = ", ".join(METHODS)
                raise UsageError(f"{flag} {value}: no method of --methods is trained; trained methods are: {known}")
        return crossmodal.options_of(ours), {}
    from vsumdata.train.benchmark.choices import stages_of_methods

    stages = stages_of_methods(trained_methods, request.on, request.preset, others)
    # Methods with labels never see test videos, so the option would have no effect.
    if request.pool != "fold" and all(its.needs_targets for of_one in stages.values() for its in of_one):
        raise UsageError(f"--pool {request.pool}: no method of --methods learns without labels")
    return crossmodal.options_of(ours), stages


def cross_modal(asked: Sequence[str], data: BenchData, options: CrossModalOptions) -> tuple[dict[str, Baseline], str]:
    """The cross-modal methods asked for with a remark on them, or no methods and the reason."""
    if not set(asked) & set(crossmodal.NAMES):
        return {}, ""
    # Without CLIP's text tower (random weights, no network) the other methods still have their rows.
    try:
        encode = crossmodal.encoder(data.root) if data.root else None
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
