"""Score a model on the validation videos, with the protocol's own code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import Diverged, UsageError
from vsumdata.train.loop.predict import Prediction, predict, trial_of
from vsumdata.train.loop.runs import Trained
from vsumdata.train.scoring.baselines import random
from vsumdata.train.scoring.evaluate import LESS_IS_BETTER, UnusableScoresError
from vsumdata.train.scoring.evaluate import lacks as lacks_reference
from vsumdata.train.scoring.measure import allowed_metrics, evaluate_one, without, without_reference

SHOWN = ("tau", "rho")
VS_MEAN = "tau and rho of validation are against the mean score: the protocol's own reference is not there"


class Validation:
    """Scores a model on `videos`. `metric` selects the epoch: `select_on`, or with "auto" tau, else the first allowed.

    `first` is the untrained model's own prediction for the first video, which shows what it can be asked for; by
    default random scores of all that the video has. `note` says against what tau and rho are, if that is not the
    protocol's own reference. Raises UsageError if the first video's annotations do not allow the metric, or any metric.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        protocol: Protocol,
        select_on: str = "auto",
        first: Prediction | None = None,
        more: Sequence[Video] = (),
    ) -> None:
        self.videos = videos
        # Rank correlations compare models of any kind and need no shots, so they are shown even where the protocol
        # itself has none, or lacks its reference: these numbers choose an epoch and are in no table.
        video, others = measurable(videos[0]), [measurable(each) for each in more]
        its_own = protocol.rank is not None and all(
            lacks_reference("tau", each, protocol) is None for each in (video, *others)
        )
        rules = replace(
            protocol,
            metrics=tuple(dict.fromkeys([*SHOWN, *protocol.metrics])),
            rank=protocol.rank if its_own else "scores-vs-mean",
        )
        # Before any training, the first video finds out what the annotations and the model allow.
        trial = next(random(video, rules, 0))
        if first is not None:
            trial = trial_of(first, rules, video=video)
        self.allowed, missing = allowed_metrics(trial, rules)
        for each in others:
            there, lacking = allowed_metrics(next(random(each, rules, 0)), rules)
            self.allowed, missing = tuple(name for name in self.allowed if name in there), lacking | missing
        reasons = [f"no {name}: {reason}" for name, reason in missing.items()]
        if select_on != "auto" and select_on not in self.allowed:
            raise UsageError(
                f"select_on: validation has no `{select_on}`; it has {', '.join(self.allowed) or '; '.join(reasons)}"
            )
        if not self.allowed:
            raise UsageError(f"nothing can be validated on {videos[0].video_id}: {'; '.join(reasons)}")
        # The epoch with the largest value is kept.
        if select_on in LESS_IS_BETTER:
            raise UsageError(f"select_on: less {select_on} is better, so it cannot choose an epoch; take another")
        self.metric = self.allowed[0] if select_on == "auto" else select_on
        self.note = "" if its_own or protocol.rank is None or "tau" not in self.allowed else VS_MEAN
        shown = dict.fromkeys([*(name for name in SHOWN if name in self.allowed), self.metric])
        self.rules = replace(rules, metrics=tuple(shown))

    def __call__(self, trained: Trained) -> dict[str, float]:
        """The mean of each metric over the videos that have a value; NaN if none has.

        Raises Diverged if the model's scores are not finite.
        """
        found: dict[str, list[float]] = {name: [] for name in self.rules.metrics}
        for answer in predict(trained, self.videos):
            trial = trial_of(answer, self.rules, video=measurable(answer.video))
            try:
                # Not every video need have the references that the first one has.
                values = evaluate_one(trial, without(self.rules, without_reference(trial, self.rules))).values
            # The loss of the last step was finite, but the step itself can overflow the weights.
            except UnusableScoresError as error:
                raise Diverged(f"{answer.video_id}: {error}; lower optimizer.lr") from error
            for name, value in values.items():
                if not np.isnan(value):
                    found[name].append(value)
        return {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}


def measurable(video: Video) -> Video:
    """`video` with annotations to score against: a benchmark's own, else those made from the replay score.

    Of a root's video with labels of another table they are made from these.
    """
    if video.user_summary is not None or video.user_score is not None:
        return video
    if video.replay_score is None:
        # No benchmark's video has shots in this form.
        return with_reference(video) if lacks(video) is None and video.change_points is None else video
    return with_reference(video) if lacks(video) is None else replace(video, gt_score=video.replay_score)
