"""Measure a method's predictions, video by video and run by run, for the rows of a table."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vsumdata.datasets.partition import Partition, Run
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError, VsumdataError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.train.scoring.baselines import SEEDED, Baseline, Trial
from vsumdata.train.scoring.corpora import CORPORA
from vsumdata.train.scoring.evaluate import OF_MOMENTS, Result, UnusableScoresError, evaluate, lacks
from vsumdata.train.scoring.significance import Summary, summarize, summarize_sums

NEEDS_SENTENCE_SCORES = frozenset({"rouge1", "rouge2", "rougeL"})
NEEDS_TEXT = frozenset({*CORPORA, "cross_f_clip"})
# What a method, torch and the disk raise. It ends the method's row: a table of the others is worth more than none.
BREAKS = (VsumdataError, OSError, RuntimeError, ValueError, LookupError, ArithmeticError)


class Measured:
    """One method's values and notes. `rules` is the protocol, reduced to the metrics that the method can be asked for.

    `refused` has the reason against each of its other metrics. `values` holds each video's value by metric and run;
    `lacking` holds by metric the videos without its reference, with the reason; `odd` the ids of the videos by note.
    `counts` holds what the metrics of `CORPORA` counted in each trial: their value is that of all videos together.
    """

    def __init__(self, rules: Protocol, refused: Mapping[str, str] | None = None) -> None:
        self.rules, self.refused = rules, dict(refused or {})
        self.values: dict[tuple[str, Run], dict[str, float]] = {}
        self.counts: dict[tuple[str, Run], dict[str, list[Any]]] = {}
        self.lacking: dict[str, dict[str, str]] = {}
        self.odd: dict[str, set[str]] = {}
        self.videos: set[str] = set()

    def add(self, video_id: str, runs: Iterable[Run], trials: Iterable[Trial]) -> None:
        """Evaluate the trials. Their mean is the video's value in each of `runs`.

        A trial that cannot be scored gives no value, nor does a metric whose reference the video lacks; both are noted.
        Raises UsageError if the video's annotations contradict each other.
        """
        found: dict[str, list[float]] = {}
        counted: dict[str, list[Any]] = {}
        for trial in trials:
            self.videos.add(video_id)
            rules = self.allowed(video_id, trial)
            try:
                result = evaluate_one(trial, rules)
            except UnusableScoresError as error:
                self.note(error.reason, video_id)
                continue
            # What it lacks is known by now, so the annotations are wrong: the user must know.
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

    def allowed(self, video_id: str, trial: Trial) -> Protocol:
        """The protocol with the metrics whose reference this video has. Notes the others."""
        reasons = without_reference(trial, self.rules)
        for metric, reason in reasons.items():
            self.lacking.setdefault(metric, {})[video_id] = reason
        return without(self.rules, reasons)

    @property
    def missing(self) -> dict[str, str]:
        """The metrics that have no value because no video allows them, or the method does not, with the reason."""
        measured = {metric for metric, _ in (*self.values, *self.counts)}
        lacking = {metric: next(iter(its.values())) for metric, its in self.lacking.items() if metric not in measured}
        return self.refused | lacking

    def why_missing(self) -> list[str]:
        """A line for each reason, with the metrics that it leaves without a value."""
        return [f"no {told(metrics)}: {reason}" for reason, metrics in by_reason(self.missing).items()]

    def note(self, text: str, video_id: str) -> None:
        self.odd.setdefault(text, set()).add(video_id)

    def leave_out(self, text: str, video_ids: Iterable[str]) -> None:
        """Note videos that cannot be measured, so that they count among the method's."""
        for video_id in video_ids:
            self.videos.add(video_id)
            self.note(text, video_id)

    def summary(self, metric: str) -> Summary:
        """Mean, deviation and interval of one metric over all runs."""
        if metric in CORPORA:
            corpus = CORPORA[metric]
            runs = [corpus.finish(its) for (name, _), its in sorted(self.counts.items()) if name == metric]
            return summarize_sums(runs, corpus.value)
        return summarize([values for (its, _), values in sorted(self.values.items()) if its == metric])

    def of_folds(self, metric: str) -> dict[int, float]:
        """The metric's value in each fold: the mean over its videos, then over seeds."""
        found: dict[int, list[float]] = {}
        for (name, (_, fold)), values in sorted(self.values.items()):
            if name == metric:
                found.setdefault(fold, []).append(float(np.mean(list(values.values()))))
        return {fold: float(np.mean(values)) for fold, values in found.items()}

    def notes(self) -> list[str]:
        """Each note with the number of videos that it holds for."""
        total = len(self.videos)
        odd = [f"{text.replace('_', ' ')} in {len(ids)} of {total} videos" for text, ids in sorted(self.odd.items())]
        # Of a metric without any value the table says so itself.
        partly = {
            metric: f"in {len(its)} of {total} videos, {next(iter(its.values()))}"
            for metric, its in self.lacking.items()
            if metric not in self.missing
        }
        return [*odd, *(f"no {told(metrics)} {reason}" for reason, metrics in by_reason(partly).items())]


@dataclass
class Found:
    """What was measured, by method; and the methods that were left out, by reason.

    `made` tells how a trained method was made, a record for each stage. `failed` has the error of a method that broke.
    """

    measured: dict[str, Measured]
    left_out: dict[str, list[str]]
    made: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, trial: Trial, rules: Protocol) -> Measured:
        """Begin to measure a method. Its first trial tells which metrics the method can be asked for."""
        _, against = allowed_metrics(trial, rules)
        # A later video may have the reference that the first one lacks.
        lacking = without_reference(trial, rules)
        refused = {metric: reason for metric, reason in against.items() if metric not in lacking}
        self.measured[name] = Measured(without(rules, refused), refused)
        return self.measured[name]

    def settle(self) -> None:
        """Take out the methods for which no video allowed a metric; call it when all is measured."""
        for name, measured in list(self.measured.items()):
            if set(measured.rules.metrics) <= set(measured.missing):
                del self.measured[name]
                for reason in measured.why_missing():
                    self.leave_out(name, reason)

    def leave_out(self, name: str, reason: str) -> None:
        """Record why a method, or one of its metrics, is missing."""
        self.left_out.setdefault(reason, []).append(name)

    def fail(self, name: str, error: Exception) -> None:
        """Record that a method broke. Values of the folds before are dropped: they are not the method's value."""
        self.measured.pop(name, None)
        self.failed[name] = hide_keys(str(error)) or type(error).__name__

    def need_some(self, what: str, num_methods: int, remarks: Iterable[str]) -> None:
        """Raise UsageError if nothing was measured."""
        if not self.measured:
            why = dict.fromkeys([*self.remarks(num_methods), *self.failed.values(), *remarks])
            raise UsageError(f"{what}: nothing can be measured; {'; '.join(why)}")

    def remarks(self, num_methods: int) -> list[str]:
        """Each reason with the methods that it concerns, or alone if it concerns all `num_methods`."""
        reasons = {reason: list(names) for reason, names in self.left_out.items()}
        for name, measured in self.measured.items():
            for reason in measured.why_missing():
                reasons.setdefault(reason, []).append(name)
        return [
            reason if len(names) == num_methods else f"{', '.join(names)}: {reason}"
            for reason, names in reasons.items()
        ]


def by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """The metrics by their reason."""
    found: dict[str, list[str]] = {}
    for metric, reason in reasons.items():
        found.setdefault(reason, []).append(metric)
    return found


def told(metrics: Iterable[str]) -> str:
    return ", ".join(metrics)


def measure(videos: Iterable[Video], methods: Mapping[str, Baseline], rules: Protocol, partition: Partition) -> Found:
    """Measure methods that need no training. One that breaks has a failed row, and the others are measured."""
    found = Found({}, {})
    silent: dict[str, list[str]] = {name: [] for name in methods}
    for video in (video for video in videos if video.video_id in partition.tested):
        for name, method in methods.items():
            if name in found.failed:
                continue
            try:
                if not measure_video(name, method, video, found, rules, partition.tested[video.video_id]):
                    silent[name].append(video.video_id)
            except BREAKS as error:
                found.fail(name, error)
    for name, video_ids in silent.items():
        if name in found.measured:
            found.measured[name].leave_out("the annotations do not allow it", video_ids)
        elif name not in found.failed and video_ids:
            found.leave_out(name, "no row: the annotations do not allow it")
    found.settle()
    return found


def measure_video(
    name: str, method: Baseline, video: Video, found: Found, rules: Protocol, runs: Sequence[Run]
) -> bool:
    """Measure one video in all its runs. Returns False if its annotations do not allow the method."""
    for seed in dict.fromkeys(seed for seed, _ in runs) if name in SEEDED else (None,):
        its = runs if seed is None else [run for run in runs if run[0] == seed]
        trials = method(video, rules, seed or 0)
        first = next(trials, None)
        if first is None:
            return False
        measured = found.measured.get(name) or found.start(name, first, rules)
        measured.add(video.video_id, its, itertools.chain([first], trials))
    return True


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
            elif metric in OF_MOMENTS and trial.moments is None:
                missing[metric] = "it proposes no moments"
            elif trial.moments is not None and not len(trial.frame_score):
                missing[metric] = "it scores no clips"
            elif metric == "cross_f_clip" and trial.words is not None and trial.words.feature is None:
                missing[metric] = "there is no text tower of the CLIP that made the frames' features"
            else:
                allowed.append(metric)
        except ValueError as error:
            missing[metric] = str(error)
        else:
            allowed.append(metric)
    return tuple(allowed), missing


def without_reference(trial: Trial, rules: Protocol) -> dict[str, str]:
    """The protocol's metrics whose reference the trial's video lacks, with the reason."""
    has_summary = trial.summary is not None
    reasons = {metric: lacks(metric, trial.video, rules, has_summary=has_summary) for metric in rules.metrics}
    return {metric: reason for metric, reason in reasons.items() if reason}


def without(rules: Protocol, metrics: Container[str]) -> Protocol:
    """The protocol with fewer metrics."""
    return replace(rules, metrics=tuple(metric for metric in rules.metrics if metric not in metrics))


def evaluate_one(trial: Trial, rules: Protocol) -> Result:
    return evaluate(
        trial.frame_score,
        trial.video,
        rules,
        summary=trial.summary,
        sentence_score=trial.sentence_score,
        words=trial.words,
        moments=trial.moments,
    )
