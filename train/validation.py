"""How good a model is on the validation videos, by the protocol's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import Diverged, UsageError
from vsumdata.train.baselines import Trial, random
from vsumdata.train.evaluate import UnusableScoresError
from vsumdata.train.measure import allowed_metrics, evaluate_one
from vsumdata.train.predict import predict
from vsumdata.train.runs import Trained

SHOWN = ("tau", "rho")


class Validation:
    """`metric` is what the epoch is chosen by: `select_on`, or with "auto" tau or else the protocol's first."""

    def __init__(self, videos: Sequence[Video], protocol: Protocol, select_on: str = "auto") -> None:
        self.videos = videos
        rules = replace(
            protocol,
            metrics=tuple(dict.fromkeys([*SHOWN, *protocol.metrics])),
            rank=protocol.rank or "scores-vs-mean",
        )
        self.allowed, reasons = allowed_metrics(next(random(measurable(videos[0]), rules, 0)), rules)
        if select_on != "auto" and select_on not in self.allowed:
            raise UsageError(
                f"select_on: validation has no `{select_on}`; it has {', '.join(self.allowed) or '; '.join(reasons)}"
            )
        if not self.allowed:
            raise UsageError(f"nothing can be validated on {videos[0].video_id}: {'; '.join(reasons)}")
        self.metric = self.allowed[0] if select_on == "auto" else select_on
        shown = dict.fromkeys([*(name for name in SHOWN if name in self.allowed), self.metric])
        self.rules = replace(rules, metrics=tuple(shown))

    def __call__(self, trained: Trained) -> dict[str, float]:
        """Each metric's mean over the videos that have a value; NaN where none has."""
        found: dict[str, list[float]] = {name: [] for name in self.rules.metrics}
        for answer in predict(trained, self.videos):
            trial = Trial(
                video=measurable(answer.video), frame_score=answer.frame_score, sentence_score=answer.sentence_score
            )
            try:
                values = evaluate_one(trial, self.rules).values
            except UnusableScoresError as error:  # weights that have become NaN
                raise Diverged(f"{answer.video_id}: {error}; lower optimizer.lr") from error
            for name, value in values.items():
                if not np.isnan(value):
                    found[name].append(value)
        return {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}


def measurable(video: Video) -> Video:
    """A video of ours with the reference that its replay score makes; a benchmark's own annotations stay."""
    if video.replay_score is None or video.user_summary is not None or video.user_score is not None:
        return video
    return with_reference(video) if lacks(video) is None else replace(video, gt_score=video.replay_score)
