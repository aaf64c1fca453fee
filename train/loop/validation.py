"""Score a model on the validation videos, with the protocol's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import Diverged, UsageError
from vsumdata.train.loop.predict import predict
from vsumdata.train.loop.runs import Trained
from vsumdata.train.scoring.baselines import Trial, random
from vsumdata.train.scoring.evaluate import UnusableScoresError
from vsumdata.train.scoring.measure import allowed_metrics, evaluate_one

SHOWN = ("tau", "rho")


class Validation:
    """Scores a model on `videos`. `metric` selects the epoch: `select_on`, or with "auto" tau, else the first allowed.

    Raises UsageError if the first video's annotations do not allow the metric, or any metric.
    """

    def __init__(self, videos: Sequence[Video], protocol: Protocol, select_on: str = "auto") -> None:
        self.videos = videos
        # Rank correlations compare models of any kind and need no shots, so they are shown even where the protocol
        # itself has none.
        rules = replace(
            protocol,
            metrics=tuple(dict.fromkeys([*SHOWN, *protocol.metrics])),
            rank=protocol.rank or "scores-vs-mean",
        )
        # A trial with random scores finds out, before any training, what the annotations allow.
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
        """The mean of each metric over the videos that have a value; NaN if none has.

        Raises Diverged if the model's scores are not finite.
        """
        found: dict[str, list[float]] = {name: [] for name in self.rules.metrics}
        for answer in predict(trained, self.videos):
            trial = Trial(
                video=measurable(answer.video), frame_score=answer.frame_score, sentence_score=answer.sentence_score
            )
            try:
                values = evaluate_one(trial, self.rules).values
            # The loss of the last step was finite, but the step itself can overflow the weights.
            except UnusableScoresError as error:
                raise Diverged(f"{answer.video_id}: {error}; lower optimizer.lr") from error
            for name, value in values.items():
                if not np.isnan(value):
                    found[name].append(value)
        return {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}


def measurable(video: Video) -> Video:
    """`video` with annotations to score against: a benchmark's own, else those made from the replay score."""
    if video.replay_score is None or video.user_summary is not None or video.user_score is not None:
        return video
    return with_reference(video) if lacks(video) is None else replace(video, gt_score=video.replay_score)
