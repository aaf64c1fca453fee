"""One table: methods on a data set's test videos, under one protocol, with chance and people beside them."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.pipeline.errors import UsageError
from vsumdata.train import crossmodal, published
from vsumdata.train.baselines import BASELINES, Baseline, Trial
from vsumdata.train.bench_data import BenchData, open_data
from vsumdata.train.crossmodal import CrossModalOptions
from vsumdata.train.measure import Found, measure, rows
from vsumdata.train.methods import METHODS
from vsumdata.train.partition import Pool
from vsumdata.train.table import Table

if TYPE_CHECKING:
    from vsumdata.train.trained import Stages

DATASETS = {
    "tvsum": "vsumdata.datasets.tvsum",
    "summe": "vsumdata.datasets.summe",
    "mrhisum": "vsumdata.datasets.mrhisum",
    "bliss": "vsumdata.datasets.bliss",
    "wikihow-summaries": "vsumdata.datasets.wikihow_summaries",
    "shards": "vsumdata.datasets.shards",
    "synthetic": "vsumdata.datasets.synthetic",
}
NEEDS_NO_FILE = frozenset({"synthetic"})
ALWAYS_FIRST = ("random", "uniform")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `vsumdata bench` was asked for; the default protocol, split and preset are the data set's own."""

    on: str
    data: str = ""
    methods: tuple[str, ...] = ()
    protocol: str | None = None
    seeds: int = 3
    features: str | None = None  # a root of ours whose features replace the benchmark's
    split: str | None = None
    baseline: str = "random"
    preset: str | None = None
    sets: tuple[str, ...] = ()  # a.b=c, for the methods that know a.b
    runs: str | None = None  # a folder that keeps what is trained
    init: str | None = None  # a run whose weights the trained methods start from
    legacy: bool = False  # select on the test videos
    pool: Pool = "fold"


def bench(request: Request) -> Table:
    """Evaluate the methods, and always random and uniform and, where annotations allow, human and mean-user.

    Raises UsageError for a data set, method, setting, protocol or split that is not known, and for data that cannot
    be read. A method that the data cannot serve has no row, and the table says why.
    """
    module = data_set(request.on)
    rules = protocol(request.protocol) if request.protocol else module.PROTOCOL
    need_path(module, request.data)
    free = {**BASELINES, **(known_scores(module.ceilings(request.data)) if hasattr(module, "ceilings") else {})}
    for word in (*request.methods, request.baseline):
        pick(word, [*free, *crossmodal.NAMES, *METHODS], "method")
    asked = tuple(dict.fromkeys((*request.methods, request.baseline)))
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
    compared, said = cross_modal(asked, data, options)
    found = measure(data.videos, free | compared, rules, data.partition)
    remarks = [*([f"protocol {rules.name}: {rules.note}"] if rules.note else []), *data.remarks]
    for name in crossmodal.NAMES:
        if name in compared:
            remarks.append(f"{name}: {said}")
        elif name in asked:
            found.leave_out(name, f"no row: {said}")
    if stages:
        from vsumdata.train import trained

        what = trained.Bench(data=data, rules=rules, keep=request.runs, init=request.init, pool=request.pool)
        remarks += trained.add_rows(stages, what, found)
    return table_of(request, rules, data, found, order, remarks)


def table_of(
    request: Request, rules: Protocol, data: BenchData, found: Found, order: Sequence[str], remarks: Sequence[str]
) -> Table:
    left_out = found.remarks(len(order))
    if not found.measured:
        raise UsageError(f"{request.on}: nothing can be measured; {'; '.join([*left_out, *remarks])}")
    return Table(
        data=request.on,
        protocol=rules.name,
        split=data.partition.label,
        seeds=request.seeds,
        baseline=request.baseline,
        rows=rows({name: found.measured[name] for name in order if name in found.measured}, request.baseline),
        remarks=(*remarks, *left_out),
        published=published.beside(request.on, request.methods),
    )


def data_set(name: str) -> ModuleType:
    return importlib.import_module(DATASETS[pick(name, DATASETS, "data set")])


def need_path(module: ModuleType, path: str) -> None:
    if not path and module.NAME not in NEEDS_NO_FILE:
        raise UsageError(f"{module.NAME} needs --data PATH; get it from {getattr(module, 'WHERE', '`vsumdata run`')}")


def pick(word: str, known: Iterable[str], what: str) -> str:
    """`word`, or a UsageError that says what is known."""
    names = list(known)
    if word not in names:
        near = difflib.get_close_matches(word, names, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise UsageError(f"no {what} `{word}`; {hint}known are: {', '.join(names)}")
    return word


def ordered(asked: Sequence[str], always: Iterable[str]) -> list[str]:
    """Chance first, then what was asked for, then people and ceilings."""
    return list(dict.fromkeys([*ALWAYS_FIRST, *asked, *always]))


def known_scores(ceilings: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Baseline]:
    """Methods that answer what a data set knows of itself."""

    def answer(scores: Mapping[str, np.ndarray]) -> Baseline:
        return lambda video, rules, seed: iter([Trial(video=video, frame_score=scores[video.video_id])])

    return {name: answer(scores) for name, scores in ceilings.items()}


def settings_for(request: Request, asked: Sequence[str]) -> tuple[CrossModalOptions, dict[str, Stages]]:
    """What --preset and --set mean to the methods asked for; UsageError for what none of them knows."""
    ours = [override for override in request.sets if override.startswith(crossmodal.PREFIX)]
    others = [override for override in request.sets if override not in ours]
    trained_methods = [name for name in asked if name in METHODS]
    if ours and not set(asked) & set(crossmodal.NAMES):
        raise UsageError(f"--set {ours[0]}: neither of {' and '.join(crossmodal.NAMES)} is among --methods")
    if not trained_methods:
        for flag, value in (
            ("--set", next(iter(others), None)),
            ("--preset", request.preset),
            ("--init", request.init),
            ("--pool", request.pool if request.pool != "fold" else None),
        ):
            if value:
                raise UsageError(f"{flag} {value}: no method of --methods is trained; such are: {', '.join(METHODS)}")
        return crossmodal.options_of(ours), {}
    from vsumdata.train.choices import stages_of_methods

    stages = stages_of_methods(trained_methods, request.on, request.preset, others)
    if request.pool != "fold" and all(its.needs_targets for of_one in stages.values() for its in of_one):
        raise UsageError(f"--pool {request.pool}: no method of --methods learns without labels")
    return crossmodal.options_of(ours), stages


def cross_modal(asked: Sequence[str], data: BenchData, options: CrossModalOptions) -> tuple[dict[str, Baseline], str]:
    """The cross-modal methods asked for and what to say of them, or why they cannot be had."""
    if not set(asked) & set(crossmodal.NAMES):
        return {}, ""
    try:
        encode = crossmodal.encoder(data.root) if data.root else None
    except UsageError as error:
        return {}, str(error)
    tested = (video for video in data.videos if video.video_id in data.partition.tested)
    if reason := crossmodal.lacks(tested, encode):
        return {}, reason
    said = f"sentences read by the text tower of {data.root}'s CLIP"
    if encode is None:
        said = "frames' and sentences' features are of one size and taken as of one space"
    changed = options.model_dump(exclude_defaults=True)
    settings = "".join(f", {name} {value}" for name, value in changed.items())
    return crossmodal.baselines(asked, data.videos, encode, options), said + settings
