"""A video's highlight, as in CSUM: the peak of the smoothed scores and its neighbours above a threshold.

The paper tunes the threshold on held-out videos. It does not state the width of the smoothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vsumdata.datasets import partition
from vsumdata.datasets.benchmarks.registry import data_set
from vsumdata.datasets.shards import open_shards
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.videos import open_data
from vsumdata.train.data import targets
from vsumdata.train.data.targets import Rule
from vsumdata.train.loop.predict import predict
from vsumdata.train.loop.runs import Trained

# Width of the Gaussian in frames. Our choice: CSUM states none.
SIGMA = 2.0
STEPS = 101  # thresholds tried, from 0 to 1


def smoothed(frame_score: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """Scores [T] smoothed by a Gaussian of `sigma` frames, float64 [T]."""
    # "nearest" repeats the score at each end. Padding with zeros would press down a peak near the start or the end.
    return np.asarray(gaussian_filter1d(np.asarray(frame_score, np.float64), sigma, mode="nearest"))


def highlight(frame_score: np.ndarray, threshold: float, sigma: float = SIGMA) -> np.ndarray:
    """The frames of the highlight, bool [T]: always the peak, and its neighbours up to the first below `threshold`."""
    score = smoothed(frame_score, sigma)
    chosen = np.zeros(len(score), bool)
    if not len(score):
        return chosen
    peak = int(score.argmax())
    below = np.flatnonzero(score < threshold)
    first = below[below < peak].max(initial=-1) + 1
    stop = below[below > peak].min(initial=len(score))
    # Both ends leave the peak out, so it stays in even where it is below the threshold itself.
    chosen[first:stop] = True
    return chosen


def overlap(chosen: np.ndarray, label: np.ndarray) -> float:
    """Intersection over union of two sets of frames [T], in [0, 1]; 1 if both are empty."""
    chosen, label = np.asarray(chosen, bool), np.asarray(label) > 0
    union = int((chosen | label).sum())
    return float((chosen & label).sum() / union) if union else 1.0


def best_threshold(
    frame_scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], sigma: float = SIGMA
) -> tuple[float, float]:
    """The threshold in [0, 1] with the best mean overlap with the labels of validation videos, and that overlap.

    Of equally good thresholds it is the lowest. A threshold that leaves no video a frame out finds no highlight and
    does not count, nor do videos without a labelled frame. Raises ValueError without videos, or if the highlights of no
    threshold meet the labels.
    """
    pairs = [(score, label) for score, label in zip(frame_scores, labels, strict=True) if (np.asarray(label) > 0).any()]
    if not pairs:
        raise ValueError("a threshold needs at least one validation video with a labelled frame")
    thresholds, values = np.linspace(0, 1, STEPS), []
    for threshold in thresholds:
        found = [(highlight(score, threshold, sigma), label) for score, label in pairs]
        says_nothing = all(chosen.all() for chosen, _ in found)
        values.append(0.0 if says_nothing else float(np.mean([overlap(chosen, label) for chosen, label in found])))
    best = int(np.argmax(values))
    if not values[best]:
        raise ValueError(f"the scores of {len(pairs)} validation videos have no peak where their labels are")
    return float(thresholds[best]), values[best]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A threshold, the number of validation videos that selected it, and their mean overlap with it.

    If the user gave the threshold, `num_videos` is 0 and `overlap` is None.
    """

    threshold: float
    num_videos: int
    overlap: float | None


def given(asked: str) -> Tuned:
    """A threshold that the user gave. Raises UsageError unless it is a score."""
    return Tuned(threshold=checked(asked), num_videos=0, overlap=None)


def tuned(asked: str, trained: Trained) -> Tuned:
    """The threshold that was asked for: a number, or `auto`, the best one on the validation videos.

    These are the run's validation videos, or else its root's. A video's label is its summary: the given one, or the
    shots that a knapsack chooses (`vsumdata.train.data.targets`). Raises UsageError if there are no such videos.
    """
    if asked != "auto":
        return given(asked)
    info, origin = trained.info, trained.info.origin
    held_out = info.val
    # A run without labels validates nothing, so it keeps no validation videos. Its root may still have some.
    if not held_out and origin.data_set == "shards":
        held_out = tuple(open_shards(origin.path, split="val").video_ids)
    if not held_out or not origin.data_set:
        raise UsageError(
            f"--highlight auto: {trained.path} has no validation videos to choose a threshold by; give it (0 to 1)"
        )
    rule: Rule = "given" if targets.default_rule(origin.data_set) == "given" else "keyshots"
    pool = open_data(data_set(origin.data_set), origin.data, features=origin.features_root).pool
    videos = [video for video in partition.pick(pool, held_out) if targets.lacks_target(video, rule) is None]
    if not videos:
        raise UsageError(f"--highlight auto: none of the {len(held_out)} validation videos has a label; give a number")
    labels = [targets.with_targets(video, rule).gt_summary for video in videos]
    scores = [found.frame_score for found in predict(trained, videos)]
    try:
        threshold, value = best_threshold(scores, [label for label in labels if label is not None])
    except ValueError as error:
        raise UsageError(f"--highlight auto: {error}; give the threshold (0 to 1)") from error
    return Tuned(threshold=threshold, num_videos=len(videos), overlap=value)


def checked(asked: str) -> float:
    """Parse the threshold that a user gave. Raises UsageError unless it is from 0 to 1."""
    try:
        value = float(asked)
    except ValueError:
        value = -1.0
    # NaN fails this comparison as well.
    if not 0 <= value <= 1:
        raise UsageError(f"--highlight {asked}: it is auto, or a score from 0 to 1")
    return value
