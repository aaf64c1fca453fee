"""A video's highlight: the frame of the highest smoothed score and its neighbours above a threshold (CSUM).

The paper tunes the threshold on held-out videos; the width of the smoothing is not stated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

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
