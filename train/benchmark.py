"""One table: methods on a data set's test videos, under one protocol, with chance and people beside them."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from vsumdata.datasets import splits
from vsumdata.datasets.join import join_features
from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.baselines import BASELINES, SEEDED, Baseline, Trial
from vsumdata.train.evaluate import Result, UnusableScoresError, evaluate
from vsumdata.train.significance import Summary, p_value, summarize
from vsumdata.train.table import Row, Table

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
    """What `vsumdata bench` was asked for; the default protocol and split are the data set's own."""

    on: str
    data: str = ""
    methods: tuple[str, ...] = ()
    protocol: str | None = None
    seeds: int = 3
    features: str | None = None  # a root of ours whose features replace the benchmark's
    split: str | None = None
    baseline: str = "random"


class Measured:
    """One method's values and what was odd, video by video."""

    def __init__(self, num_seeds: int = 1) -> None:
        self.num_seeds = num_seeds  # 1 where the method says the same for every seed
        self.values: dict[tuple[str, int], dict[str, float]] = {}  # by metric and seed, each video's
        self.odd: dict[str, set[str]] = {}  # by note, the videos
        self.videos: set[str] = set()

    def add(self, video_id: str, seed: int, trials: Iterable[Trial], rules: Protocol) -> None:
        """Evaluate the trials; their mean is the video's value. What cannot be scored has none and is noted."""
        found: dict[str, list[float]] = {}
        for trial in trials:
            self.videos.add(video_id)
            try:
                result = evaluate_one(trial, rules)
            except UnusableScoresError as error:
                self.note(error.reason, video_id)
                continue
            except ValueError as error:  # the first video's annotations allowed it
                raise UsageError(f"{video_id}: {error}") from error
            for note in result.notes:
                self.note(note, video_id)
            for metric, value in result.values.items():
                if np.isnan(value):
                    self.note(f"{metric} undefined", video_id)
                else:
                    found.setdefault(metric, []).append(value)
        for metric, values in found.items():
            self.values.setdefault((metric, seed), {})[video_id] = float(np.mean(values))

    def note(self, text: str, video_id: str) -> None:
        self.odd.setdefault(text, set()).add(video_id)

    def summary(self, metric: str, tests: Sequence[Sequence[Sequence[str]]]) -> Summary:
        """`tests` holds, for each seed, each fold's test videos."""
        runs = []
        for seed, folds in enumerate(tests):
            values = self.values.get((metric, seed % self.num_seeds), {})
            runs += [{video_id: values[video_id] for video_id in fold if video_id in values} for fold in folds]
        return summarize(runs)

    def notes(self) -> list[str]:
        total = len(self.videos)
        return [f"{text.replace('_', ' ')} in {len(ids)} of {total} videos" for text, ids in sorted(self.odd.items())]


def bench(request: Request) -> Table:
    """Evaluate the methods, and always random and uniform and, where annotations allow, human and mean-user.

    Raises UsageError for a data set, method, protocol or split that is not known, and for data that cannot be read.
    """
    module = data_set(request.on)
    rules = protocol(request.protocol) if request.protocol else module.PROTOCOL
    if not request.data and request.on not in NEEDS_NO_FILE:
        raise UsageError(f"{request.on} needs --data PATH; get it from {module.WHERE}")
    methods = {**BASELINES, **(known_scores(module.ceilings(request.data)) if hasattr(module, "ceilings") else {})}
    for word in (*request.methods, request.baseline):
        pick(word, methods, "method")
    wanted = {name: methods[name] for name in ordered(request.methods, methods)}
    videos: Sequence[Video] = module.load(request.data)
    split, tests = test_videos(request, videos)
    remarks = [f"protocol {rules.name}: {rules.note}"] if rules.note else []
    if request.features:  # after the split: a published one tests videos that the root may not have
        videos, joined = join_features(videos, request.features)
        remarks.append(f"features of {request.features}: {joined}")
    measured, left_out = measure(videos, wanted, rules, tests)
    if not measured:
        raise UsageError(f"{request.on}: nothing can be measured; {'; '.join([*left_out, *remarks])}")
    return Table(
        data=request.on,
        protocol=rules.name,
        split=split,
        seeds=request.seeds,
        baseline=request.baseline,
        rows=rows(measured, tests, request.baseline),
        remarks=(*remarks, *left_out),
    )


def data_set(name: str) -> ModuleType:
    return importlib.import_module(DATASETS[pick(name, DATASETS, "data set")])


def pick(word: str, known: Iterable[str], what: str) -> str:
    """`word`, or a UsageError that says what is known."""
    names = list(known)
    if word not in names:
        near = difflib.get_close_matches(word, names, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise UsageError(f"no {what} `{word}`; {hint}known are: {', '.join(names)}")
    return word


def ordered(asked: Sequence[str], known: Iterable[str]) -> list[str]:
    """Chance first, then what was asked for, then people and ceilings."""
    return list(dict.fromkeys([*ALWAYS_FIRST, *asked, *known]))


def known_scores(ceilings: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Baseline]:
    """Methods that answer what a data set knows of itself."""

    def answer(scores: Mapping[str, np.ndarray]) -> Baseline:
        return lambda video, rules, seed: iter([Trial(video=video, frame_score=scores[video.video_id])])

    return {name: answer(scores) for name, scores in ceilings.items()}


def test_videos(request: Request, videos: Sequence[Video]) -> tuple[str, list[list[tuple[str, ...]]]]:
    """What the split is called, and for each seed each fold's test videos."""
    if not videos:
        raise UsageError(f"{request.on}: {request.data} holds no videos")
    is_split = videos[0].split and any(video.split == "test" for video in videos)
    if not request.split and not splits.sources(request.on) and is_split:
        fold = splits.given(videos)
        return fold.label, [[fold.test]] * request.seeds
    name = f"{request.on}/{request.split}" if request.split else request.on
    groups = {video.video_id: video.task for video in videos if video.task}
    ids = [video.video_id for video in videos]
    found = [splits.folds(name, ids, seed=seed, groups=groups) for seed in range(request.seeds)]
    label = found[0][0].label.partition(", fold")[0].partition(", seed")[0]
    return label, [[fold.test for fold in folds] for folds in found]


def measure(
    videos: Iterable[Video], methods: Mapping[str, Baseline], rules: Protocol, tests: Sequence[Sequence[Sequence[str]]]
) -> tuple[dict[str, tuple[Protocol, Measured]], list[str]]:
    """Each method's protocol, with the metrics that the annotations allow, and values; and what they do not allow."""
    wanted = {video_id for folds in tests for fold in folds for video_id in fold}
    found: dict[str, tuple[Protocol, Measured]] = {}
    left_out: dict[str, list[str]] = {}  # by reason, the methods
    for number, video in enumerate(video for video in videos if video.video_id in wanted):
        for name, method in methods.items():
            if number == 0:
                allowed, reasons = allowed_metrics(method, video, rules)
                for reason in reasons:
                    left_out.setdefault(reason, []).append(name)
                if allowed:
                    found[name] = (replace(rules, metrics=allowed), Measured(len(tests) if name in SEEDED else 1))
            if name in found:
                narrowed, measured = found[name]
                for seed in range(measured.num_seeds):
                    measured.add(video.video_id, seed, method(video, rules, seed), narrowed)
    lines = [
        reason if len(names) == len(methods) else f"{', '.join(names)}: {reason}" for reason, names in left_out.items()
    ]
    return found, lines


def allowed_metrics(method: Baseline, video: Video, rules: Protocol) -> tuple[tuple[str, ...], list[str]]:
    """Which of the protocol's metrics the annotations of `video`, the first one, allow; and why not the others."""
    trial = next(method(video, rules, 0), None)
    if trial is None:
        return (), ["no row: the annotations do not allow it"]
    allowed, reasons = [], []
    for metric in rules.metrics:
        try:
            evaluate_one(trial, replace(rules, metrics=(metric,)))
        except UnusableScoresError:
            allowed.append(metric)
        except ValueError as error:
            reasons.append(f"no {metric}: {error}")
        else:
            allowed.append(metric)
    return tuple(allowed), reasons


def evaluate_one(trial: Trial, rules: Protocol) -> Result:
    return evaluate(trial.frame_score, trial.video, rules, summary=trial.summary, sentence_score=trial.sentence_score)


def rows(
    measured: Mapping[str, tuple[Protocol, Measured]],
    tests: Sequence[Sequence[Sequence[str]]],
    baseline: str,
) -> list[Row]:
    found = {
        (name, metric): values.summary(metric, tests)
        for name, (narrowed, values) in measured.items()
        for metric in narrowed.metrics
    }
    return [
        Row(
            method=name,
            metric=metric,
            mean=summary.mean,
            std=summary.std,
            ci95=summary.ci95,
            n=summary.n,
            p=against(summary, found.get((baseline, metric)) if name != baseline else None),
            notes=tuple(measured[name][1].notes()),
        )
        for (name, metric), summary in found.items()
    ]


def against(summary: Summary, other: Summary | None) -> float:
    return float("nan") if other is None else p_value(summary.videos, other.videos)
