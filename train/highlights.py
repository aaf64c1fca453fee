"""A video's highlight: the frame of the highest smoothed score and its neighbours above a threshold (CSUM).

The paper tunes the threshold on held-out videos; the width of the smoothing is not stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vsumdata.datasets.shards import open_shards
from vsumdata.pipeline.errors import UsageError
from vsumdata.train import partition, targets
from vsumdata.train.bench_data import open_data
from vsumdata.train.benchmark import data_set
from vsumdata.train.predict import predict
from vsumdata.train.runs import Trained
from vsumdata.train.targets import Rule

SIGMA = 2.0  # frames
STEPS = 101  # thresholds that are tried, from 0 to 1


def smoothed(frame_score: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """Scores [T] by a Gaussian window; at both ends the last score goes on."""
    return np.asarray(gaussian_filter1d(np.asarray(frame_score, np.float64), sigma, mode="nearest"))


def highlight(frame_score: np.ndarray, threshold: float, sigma: float = SIGMA) -> np.ndarray:
    """Bool [T]: the peak, always, and the frames on both sides of it as long as none is below `threshold`."""
    score = smoothed(frame_score, sigma)
    chosen = np.zeros(len(score), bool)
    if not len(score):
        return chosen
    peak = int(score.argmax())
    below = np.flatnonzero(score < threshold)
    first = below[below < peak].max(initial=-1) + 1
    stop = below[below > peak].min(initial=len(score))
    chosen[min(first, peak) : max(stop, peak + 1)] = True
    return chosen


def overlap(chosen: np.ndarray, label: np.ndarray) -> float:
    """Intersection over union of two sets of frames [T]; 1 where both are empty."""
    chosen, label = np.asarray(chosen, bool), np.asarray(label) > 0
    union = int((chosen | label).sum())
    return float((chosen & label).sum() / union) if union else 1.0


def best_threshold(
    frame_scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], sigma: float = SIGMA
) -> tuple[float, float]:
    """The threshold in [0,1] with the best mean overlap with the labels of validation videos, the least of equals,
    and that overlap. Raises ValueError without videos.
    """
    if not frame_scores:
        raise ValueError("a threshold needs at least one validation video")
    thresholds = np.linspace(0, 1, STEPS)
    values = [
        np.mean([overlap(highlight(s, threshold, sigma), y) for s, y in zip(frame_scores, labels, strict=True)])
        for threshold in thresholds
    ]
    best = int(np.argmax(values))
    return float(thresholds[best]), float(values[best])


@dataclass(frozen=True, kw_only=True)
class Tuned:
    threshold: float
    num_videos: int  # that it was chosen by; 0: given by the user
    overlap: float | None  # with their labels, the mean


def tuned(asked: str, trained: Trained) -> Tuned:
    """`auto`: the best threshold for the run's, else its root's, validation videos, read anew; else the given number.

    A label is the video's summary: given, or the shots that a knapsack chooses (`vsumdata.train.targets`).
    """
    if asked != "auto":
        return Tuned(threshold=checked(asked), num_videos=0, overlap=None)
    info, origin = trained.info, trained.info.origin
    held_out = info.val
    if not held_out and origin.data_set == "shards":  # a run without labels needs none, but its root has some
        held_out = tuple(open_shards(origin.path, split="val").video_ids)
    if not held_out or not origin.data_set:
        raise UsageError(
            f"--highlight auto: {trained.path} has no validation videos to choose a threshold by; give it (0 to 1)"
        )
    rule: Rule = "given" if targets.default_rule(origin.data_set) == "given" else "keyshots"
    pool = open_data(data_set(origin.data_set), origin.path, features=origin.features_root).pool
    videos = [video for video in partition.pick(pool, held_out) if targets.lacks_target(video, rule) is None]
    if not videos:
        raise UsageError(f"--highlight auto: none of the {len(held_out)} validation videos has a label; give a number")
    labels = [targets.with_targets(video, rule).gt_summary for video in videos]
    scores = [found.frame_score for found in predict(trained, videos)]
    threshold, value = best_threshold(scores, [label for label in labels if label is not None])
    return Tuned(threshold=threshold, num_videos=len(videos), overlap=value)


def checked(asked: str) -> float:
    """The threshold that a user gave."""
    try:
        value = float(asked)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"--highlight {asked}: it is auto, or a score from 0 to 1")
    return value
