"""What a method's predictions are worth, video by video and run by run, and the table's rows of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.baselines import SEEDED, Baseline, Trial
from vsumdata.train.evaluate import Result, UnusableScoresError, evaluate
from vsumdata.train.partition import Partition, Run
from vsumdata.train.significance import Summary, p_value, summarize
from vsumdata.train.table import Row

NEEDS_SENTENCE_SCORES = frozenset({"rouge1", "rouge2", "rougeL"})


class Measured:
    """One method's values and what was odd; `rules` are the protocol with the metrics that are measured."""

    def __init__(self, rules: Protocol) -> None:
        self.rules = rules
        self.values: dict[tuple[str, Run], dict[str, float]] = {}  # by metric and run, each video's
        self.odd: dict[str, set[str]] = {}  # by note, the videos
        self.videos: set[str] = set()

    def add(self, video_id: str, runs: Iterable[Run], trials: Iterable[Trial]) -> None:
        """Evaluate the trials; their mean is the video's value in each of `runs`.

        What cannot be scored has none and is noted.
        """
        found: dict[str, list[float]] = {}
        for trial in trials:
            self.videos.add(video_id)
            try:
                result = evaluate_one(trial, self.rules)
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
        for run in runs:
            for metric, values in found.items():
                self.values.setdefault((metric, run), {})[video_id] = float(np.mean(values))

    def note(self, text: str, video_id: str) -> None:
        self.odd.setdefault(text, set()).add(video_id)

    def summary(self, metric: str) -> Summary:
        return summarize([values for (its, _), values in sorted(self.values.items()) if its == metric])

    def notes(self) -> list[str]:
        total = len(self.videos)
        return [f"{text.replace('_', ' ')} in {len(ids)} of {total} videos" for text, ids in sorted(self.odd.items())]


@dataclass
class Found:
    """What was measured, by method, and by reason the methods that it kept from being measured."""

    measured: dict[str, Measured]
    left_out: dict[str, list[str]]

    def start(self, name: str, trial: Trial | None, rules: Protocol) -> Measured | None:
        """Room for the values of a method whose first trial this is; None where the annotations allow no metric."""
        allowed, reasons = allowed_metrics(trial, rules)
        for reason in reasons:
            self.leave_out(name, reason)
        if allowed:
            self.measured[name] = Measured(replace(rules, metrics=allowed))
        return self.measured.get(name)

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out.setdefault(reason, []).append(name)

    def remarks(self, num_methods: int) -> list[str]:
        return [
            reason if len(names) == num_methods else f"{', '.join(names)}: {reason}"
            for reason, names in self.left_out.items()
        ]


def measure(videos: Iterable[Video], methods: Mapping[str, Baseline], rules: Protocol, partition: Partition) -> Found:
    """The methods that need no training; the first video tells which metrics the annotations allow."""
    found = Found({}, {})
    for number, video in enumerate(video for video in videos if video.video_id in partition.tested):
        if number == 0:
            for name, method in methods.items():
                found.start(name, next(method(video, rules, 0), None), rules)
        runs = partition.tested[video.video_id]
        for name, measured in found.measured.items():
            if name not in SEEDED:  # it says the same for every seed
                measured.add(video.video_id, runs, methods[name](video, rules, 0))
                continue
            for seed in dict.fromkeys(seed for seed, _ in runs):
                its = [run for run in runs if run[0] == seed]
                measured.add(video.video_id, its, methods[name](video, rules, seed))
    return found


def allowed_metrics(trial: Trial | None, rules: Protocol) -> tuple[tuple[str, ...], list[str]]:
    """Which of the protocol's metrics the annotations of the first video allow, and why not the others."""
    if trial is None:
        return (), ["no row: the annotations do not allow it"]
    allowed, reasons = [], []
    for metric in rules.metrics:
        try:
            evaluate_one(trial, replace(rules, metrics=(metric,)))
        except UnusableScoresError:
            if metric in NEEDS_SENTENCE_SCORES and trial.sentence_score is None and trial.video.sentence:
                reasons.append(f"no {metric}: it scores no sentences")
            else:
                allowed.append(metric)
        except ValueError as error:
            reasons.append(f"no {metric}: {error}")
        else:
            allowed.append(metric)
    return tuple(allowed), reasons


def evaluate_one(trial: Trial, rules: Protocol) -> Result:
    return evaluate(trial.frame_score, trial.video, rules, summary=trial.summary, sentence_score=trial.sentence_score)


def rows(measured: Mapping[str, Measured], baseline: str) -> list[Row]:
    found = {
        (name, metric): values.summary(metric) for name, values in measured.items() for metric in values.rules.metrics
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
            notes=tuple(measured[name].notes()),
        )
        for (name, metric), summary in found.items()
    ]


def against(summary: Summary, other: Summary | None) -> float:
    return float("nan") if other is None else p_value(summary.videos, other.videos)
