"""Measure a method's predictions, video by video and run by run, for the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vsumdata.datasets.partition import Partition, Run
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.scoring.baselines import SEEDED, Baseline, Trial
from vsumdata.train.scoring.corpora import CORPORA
from vsumdata.train.scoring.evaluate import Result, UnusableScoresError, evaluate
from vsumdata.train.scoring.significance import Summary, summarize, summarize_sums

NEEDS_SENTENCE_SCORES = frozenset({"rouge1", "rouge2", "rougeL"})
NEEDS_TEXT = frozenset({*CORPORA, "cross_f_clip"})


class Measured:
    """One method's values and notes. `rules` is the protocol, reduced to the metrics that are measured.

    `missing` has the reason for each of its other metrics. `values` holds each video's value by metric and run; `odd`
    holds the ids of the videos by note. `counts` holds what the metrics of `CORPORA` counted in each trial, for their
    values are those of all videos together.
    """

    def __init__(self, rules: Protocol, missing: Mapping[str, str] | None = None) -> None:
        self.rules, self.missing = rules, dict(missing or {})
        self.values: dict[tuple[str, Run], dict[str, float]] = {}
        self.counts: dict[tuple[str, Run], dict[str, list[Any]]] = {}
        self.odd: dict[str, set[str]] = {}
        self.videos: set[str] = set()

    def add(self, video_id: str, runs: Iterable[Run], trials: Iterable[Trial]) -> None:
        """Evaluate the trials. Their mean is the video's value in each of `runs`.

        A trial that cannot be scored gives no value; it is noted. Raises UsageError if the video lacks annotations.
        """
        found: dict[str, list[float]] = {}
        counted: dict[str, list[Any]] = {}
        for trial in trials:
            self.videos.add(video_id)
            try:
                result = evaluate_one(trial, self.rules)
            except UnusableScoresError as error:
                self.note(error.reason, video_id)
                continue
            # The first video's annotations allowed this metric, so the data set is not uniform: the user must know.
            except ValueError as error:
                raise UsageError(f"{video_id}: {error}") from error
            for note in result.notes:
                self.note(note, video_id)
            for metric, counts in result.counts.items():
                counted.setdefault(metric, []).append(counts)
            for metric, value in result.values.items():
                if np.isnan(value):
                    self.note(f"{metric} undefined", video_id)
                else:
                    found.setdefault(metric, []).append(value)
        for run in runs:
            for metric, its in counted.items():
                self.counts.setdefault((metric, run), {})[video_id] = its
            for metric, values in found.items():
                self.values.setdefault((metric, run), {})[video_id] = float(np.mean(values))

    def note(self, text: str, video_id: str) -> None:
        self.odd.setdefault(text, set()).add(video_id)

    def summary(self, metric: str) -> Summary:
        """Mean, deviation and interval of one metric over all runs."""
        if metric in CORPORA:
            corpus = CORPORA[metric]
            runs = [corpus.finish(its) for (name, _), its in sorted(self.counts.items()) if name == metric]
            return summarize_sums(runs, corpus.value)
        return summarize([values for (its, _), values in sorted(self.values.items()) if its == metric])

    def notes(self) -> list[str]:
        """Each note with the number of videos that it holds for."""
        total = len(self.videos)
        return [f"{text.replace('_', ' ')} in {len(ids)} of {total} videos" for text, ids in sorted(self.odd.items())]


@dataclass
class Found:
    """What was measured, by method; and the methods that were left out, by reason.

    `made` tells how a trained method was made, a record for each stage. `failed` has the error of a method that broke.
    """

    measured: dict[str, Measured]
    left_out: dict[str, list[str]]
    made: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, trial: Trial | None, rules: Protocol) -> Measured | None:
        """Begin to measure a method, by its first trial. Returns None if the annotations allow no metric."""
        if trial is None:
            self.leave_out(name, "no row: the annotations do not allow it")
            return None
        allowed, missing = allowed_metrics(trial, rules)
        for metric, reason in missing.items():
            self.leave_out(name, f"no {metric}: {reason}")
        if allowed:
            self.measured[name] = Measured(replace(rules, metrics=allowed), missing)
        return self.measured.get(name)

    def leave_out(self, name: str, reason: str) -> None:
        """Record why a method, or one of its metrics, is missing."""
        self.left_out.setdefault(reason, []).append(name)

    def fail(self, name: str, error: str) -> None:
        """Record that a method broke. Values of the folds before are dropped: they are not the method's value."""
        self.measured.pop(name, None)
        self.failed[name] = error

    def remarks(self, num_methods: int) -> list[str]:
        """Each reason with the methods that it concerns, or alone if it concerns all `num_methods`."""
        return [
            reason if len(names) == num_methods else f"{', '.join(names)}: {reason}"
            for reason, names in self.left_out.items()
        ]


def measure(videos: Iterable[Video], methods: Mapping[str, Baseline], rules: Protocol, partition: Partition) -> Found:
    """Measure methods that need no training. The first video tells which metrics the annotations allow."""
    found = Found({}, {})
    for number, video in enumerate(video for video in videos if video.video_id in partition.tested):
        if number == 0:
            for name, method in methods.items():
                found.start(name, next(method(video, rules, 0), None), rules)
        runs = partition.tested[video.video_id]
        for name, measured in found.measured.items():
            if name not in SEEDED:
                measured.add(video.video_id, runs, methods[name](video, rules, 0))
                continue
            for seed in dict.fromkeys(seed for seed, _ in runs):
                its = [run for run in runs if run[0] == seed]
                measured.add(video.video_id, its, methods[name](video, rules, seed))
    return found


def allowed_metrics(trial: Trial, rules: Protocol) -> tuple[tuple[str, ...], dict[str, str]]:
    """The protocol's metrics that this prediction and its video's annotations allow; reasons against the others."""
    allowed, missing = [], {}
    for metric in rules.metrics:
        try:
            evaluate_one(trial, replace(rules, metrics=(metric,)))
        # The annotations are fine and only this prediction is not: the metric stays, unless the method never scores
        # sentences.
        except UnusableScoresError:
            if metric in NEEDS_SENTENCE_SCORES and trial.sentence_score is None and trial.video.sentence:
                missing[metric] = "it scores no sentences"
            elif metric in NEEDS_TEXT and trial.words is None:
                missing[metric] = "it writes no text"
            else:
                allowed.append(metric)
        except ValueError as error:
            missing[metric] = str(error)
        else:
            allowed.append(metric)
    return tuple(allowed), missing


def evaluate_one(trial: Trial, rules: Protocol) -> Result:
    return evaluate(
        trial.frame_score,
        trial.video,
        rules,
        summary=trial.summary,
        sentence_score=trial.sentence_score,
        words=trial.words,
    )
