"""Moment retrieval, as QVHighlights scores it: windows [start_s, end_s] against those that are relevant to a query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# QVHighlights' ten thresholds; rounded, because 0.5 + 3 · 0.05 is not 0.65 in float64 and an IoU may lie between.
IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
# Names of the ranges of a relevant window's length in seconds, above the first number and up to the second.
LENGTHS = {"short": (0, 10), "middle": (10, 30), "long": (30, 150)}
MOST_WINDOWS = 10  # predictions of a query that count


def temporal_iou(windows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of windows [P,2] with [R,2], float64 [P,R]; 0 for windows without length."""
    windows, others = (np.asarray(each, np.float64).reshape(-1, 2) for each in (windows, others))
    first = np.maximum(windows[:, None, 0], others[None, :, 0])
    last = np.minimum(windows[:, None, 1], others[None, :, 1])
    common = np.clip(last - first, 0, None)
    union = np.ptp(windows, axis=1)[:, None] + np.ptp(others, axis=1)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union != 0)


def moment_ap(predicted: np.ndarray, relevant: np.ndarray, thresholds: Sequence[float] = IOU_THRESHOLDS) -> np.ndarray:
    """QVHighlights' average precision of one query at each IoU threshold, float64 [len(thresholds)] in [0, 1].

    `predicted` [P,3] holds start, end and score; only its first ten rows count. By descending score each takes the free
    relevant window of [R,2] that it overlaps most, if their IoU reaches the threshold. Precision is interpolated.
    """
    predicted = np.asarray(predicted, np.float64).reshape(-1, 3)[:MOST_WINDOWS]
    relevant = np.asarray(relevant, np.float64).reshape(-1, 2)
    if not len(predicted) or not len(relevant):
        return np.zeros(len(thresholds))
    # Stable: of equal scores the window that the submission names first comes first.
    order = np.argsort(-predicted[:, 2], kind="stable")
    overlaps = temporal_iou(predicted[order, :2], relevant)
    return np.array([_ap_of(overlaps, threshold) for threshold in thresholds])


def moment_metrics(predicted: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    """One query's moment retrieval, under the names of the protocol `qvhighlights`; 0 without a prediction."""
    predicted = np.asarray(predicted, np.float64).reshape(-1, 3)
    by_threshold = dict(zip(IOU_THRESHOLDS, moment_ap(predicted, relevant).tolist(), strict=True))
    best = best_moment_iou(predicted, relevant) if len(predicted) else 0.0
    return {
        "mr_r1_50": float(best >= 0.5),
        "mr_r1_70": float(best >= 0.7),
        "mr_map": float(np.mean(list(by_threshold.values()))),
        "mr_map_50": by_threshold[0.5],
        "mr_map_75": by_threshold[0.75],
    }


def _ap_of(overlaps: np.ndarray, threshold: float) -> float:
    hits, free = np.zeros(len(overlaps), bool), np.ones(overlaps.shape[1], bool)
    for at, row in enumerate(overlaps):
        # Of equal ones the last, as the official code's reversed sort has it.
        best = len(row) - 1 - int(np.where(free, row, -1)[::-1].argmax())
        if free[best] and row[best] >= threshold:
            hits[at], free[best] = True, False
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    # Interpolated: at each recall the best precision at that recall or a higher one.
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[hits].sum() / overlaps.shape[1])


def best_moment_iou(predicted: np.ndarray, relevant: np.ndarray) -> float:
    """The IoU of the first predicted window [P,2 or 3] with the relevant one [R,2] that it overlaps most.

    R1 at a threshold is the share of queries for which this reaches it. Raises ValueError without windows.
    """
    if not len(predicted) or not len(relevant):
        raise ValueError("recall of moments needs a predicted and a relevant window")
    return float(temporal_iou(np.asarray(predicted)[:1, :2], relevant).max())


def of_length(windows: Sequence[Sequence[float]], length: str) -> list[Sequence[float]]:
    """The windows of one range of LENGTHS; a query without any is left out of the range's means."""
    low, high = LENGTHS[length]
    return [window for window in windows if low < window[1] - window[0] <= high]


# HiREST divides by the union and this, so an IoU of exactly the threshold does not reach it.
EPSILON = 1e-8


def _hirest_iou(windows: np.ndarray, others: np.ndarray) -> np.ndarray:
    windows, others = (np.asarray(each, np.float64).reshape(-1, 2) for each in (windows, others))
    first = np.maximum(windows[:, None, 0], others[None, :, 0])
    common = np.clip(np.minimum(windows[:, None, 1], others[None, :, 1]) - first, 0, None)
    outer = np.maximum(windows[:, None, 1], others[None, :, 1]) - np.minimum(windows[:, None, 0], others[None, :, 0])
    lengths = np.ptp(windows, axis=1)[:, None] + np.ptp(others, axis=1)[None]
    return np.asarray(common / (np.minimum(outer, lengths) + EPSILON))


def moment_recall(predicted: np.ndarray, relevant: np.ndarray, threshold: float) -> float:
    """HiREST's R@`threshold` of one video: 1 if the predicted moment [2] overlaps the relevant one [2] enough, else 0.

    As in j-min/HiREST@e8d6e2f evaluate.py, `evaluate_moment_retrieval`; the mean is over videos with a moment.
    """
    return float(_hirest_iou(predicted, relevant)[0, 0] >= threshold)


def bound_scores(predicted: np.ndarray, relevant: np.ndarray, threshold: float) -> tuple[float, float]:
    """HiREST's recall and precision of predicted steps [P,2] for the relevant ones [R,2], both of at least one row.

    A step counts if it overlaps one of the other side by more than `threshold`; several may overlap the same one. As in
    j-min/HiREST@e8d6e2f evaluate.py, `compute_step_bound_scores`. Raises ValueError without steps.
    """
    if not len(predicted) or not len(relevant):
        raise ValueError("recall and precision of steps need a predicted and a relevant step")
    covered = _hirest_iou(predicted, relevant) > threshold
    return float(covered.any(0).mean()), float(covered.any(1).mean())
