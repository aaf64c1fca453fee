"""Expected scores of a random ranking or a random summary, in closed form."""

from __future__ import annotations

import math

import numpy as np


def average_precision(num_clips: int, num_relevant: int) -> float:
    """Expected average precision of a random ranking of `num_clips` without ties; 0 if no clip is relevant.

    For n clips, of which k are relevant: (1/n)·[H_n + (k-1)/(n-1)·(n-H_n)], where H_n is the n-th harmonic number.
    """
    if not num_relevant:
        return 0.0
    # The formula divides by n-1.
    if num_clips == 1:
        return 1.0
    harmonic = float((1 / np.arange(1, num_clips + 1)).sum())
    more = (num_relevant - 1) / (num_clips - 1) * (num_clips - harmonic)
    return (harmonic + more) / num_clips


def trapezoidal_ap(num_clips: int, num_relevant: int) -> float:
    """Expected `metrics_highlights.trapezoidal_ap` of a random ranking; 0 if no clip is relevant.

    A relevant clip at rank j adds half the precision at rank j-1 and half the precision at rank j. Each of the j-1
    ranks before it is relevant with probability (k-1)/(n-1). Before rank 1 the precision is 1.
    """
    if not num_relevant:
        return 0.0
    before = np.arange(num_clips)  # j - 1
    # With a single clip nothing comes before it, so any divisor will do but 0.
    expected_hits = before * ((num_relevant - 1) / max(num_clips - 1, 1))
    last_precision = np.divide(expected_hits, before, out=np.ones(num_clips), where=before > 0)
    return float(((last_precision + (expected_hits + 1) / (before + 1)) / 2).mean())


def top_ranked_ap(num_clips: int, num_relevant: int, top: int) -> float:
    """Expected `metrics_highlights.top_ranked_ap` of a random ranking: its `top` best hold any k of the relevant clips.

    How many they hold has a hypergeometric distribution; given that number they are in random order.
    """
    drawn = min(top, num_clips)
    every = math.comb(num_clips, drawn)
    return sum(
        math.comb(num_relevant, hits) * math.comb(num_clips - num_relevant, drawn - hits) / every
        * trapezoidal_ap(drawn, hits)
        for hits in range(1, drawn + 1)
    )  # fmt: skip


def f1(share: float, reference_share: float) -> float:
    """Expected F1 of a random summary that takes `share` of the frames, against a reference of `reference_share`."""
    total = share + reference_share
    return 2 * share * reference_share / total if total else 0.0


def tau_deviation(num_frames: int) -> float:
    """Standard deviation of Kendall's τ between two independent rankings without ties; at least two frames."""
    return math.sqrt(2 * (2 * num_frames + 5) / (9 * num_frames * (num_frames - 1)))


def rho_deviation(num_frames: int) -> float:
    """Standard deviation of Spearman's ρ between two independent rankings without ties; at least two frames."""
    return 1 / math.sqrt(num_frames - 1)
