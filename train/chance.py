"""What a random ranking or a random summary scores, in closed form."""

from __future__ import annotations

import math

import numpy as np


def average_precision(num_clips: int, num_relevant: int) -> float:
    """Expected average precision of a random ranking of `num_clips` without ties; 0 where none is relevant.

    (1/n)·[H_n + (k-1)/(n-1)·(n-H_n)], H_n the n-th harmonic number.
    """
    if not num_relevant:
        return 0.0
    if num_clips == 1:
        return 1.0
    harmonic = float((1 / np.arange(1, num_clips + 1)).sum())
    more = (num_relevant - 1) / (num_clips - 1) * (num_clips - harmonic)
    return (harmonic + more) / num_clips


def trapezoidal_ap(num_clips: int, num_relevant: int) -> float:
    """Expected `metrics_highlights.trapezoidal_ap` of a random ranking; 0 where none is relevant.

    A relevant rank j adds half the precision before it and half the precision at it, and of the j-1 ranks before,
    (k-1)/(n-1) each are relevant on average; before rank 1 the precision is 1.
    """
    if not num_relevant:
        return 0.0
    before = np.arange(num_clips)  # j - 1
    expected_hits = before * ((num_relevant - 1) / max(num_clips - 1, 1))
    last_precision = np.divide(expected_hits, before, out=np.ones(num_clips), where=before > 0)
    return float(((last_precision + (expected_hits + 1) / (before + 1)) / 2).mean())


def f1(share: float, reference_share: float) -> float:
    """Expected F1 of a random summary of a fixed share of the frames with a reference of a fixed share."""
    total = share + reference_share
    return 2 * share * reference_share / total if total else 0.0


def tau_deviation(num_frames: int) -> float:
    """Standard deviation of Kendall's τ of independent rankings without ties."""
    return math.sqrt(2 * (2 * num_frames + 5) / (9 * num_frames * (num_frames - 1)))


def rho_deviation(num_frames: int) -> float:
    """Standard deviation of Spearman's ρ of independent rankings without ties."""
    return 1 / math.sqrt(num_frames - 1)
