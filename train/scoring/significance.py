"""Mean, deviation, confidence interval and significance of a method's values over seeds, folds and videos.

A run is one seed and one fold. Its value is the mean over the fold's test videos; a method's value is the mean over its
runs. A video therefore weighs 1/(videos of its fold) in each run that tests it. NaN values are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 9999
CONFIDENCE = 0.95
# A fixed seed: the same values must always print the same interval and the same p.
SEED = 0
# Resamples computed at once. All 9,999 of 2,000 videos would need hundreds of MB; 250 need a few.
BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A method's value on one metric.

    `std` is the deviation over the runs, with n - 1 in the denominator, and NaN for a single run. `ci95` is NaN if
    there is only one video. `videos` holds each video's mean over its runs.
    """

    mean: float
    std: float
    ci95: tuple[float, float]
    videos: Mapping[str, float]

    @property
    def n(self) -> int:
        """How many videos have a value."""
        return len(self.videos)


def summarize(runs: Sequence[Mapping[str, float]]) -> Summary:
    """What the table shows of the runs, each given as values by video id. Everything is NaN if nothing has a value.

    The interval is a seeded percentile bootstrap over videos: it shows how the mean depends on the choice of videos.
    It says nothing about retraining; `std` shows that.
    """
    valid = [{key: value for key, value in run.items() if not np.isnan(value)} for run in runs]
    # A run without any value (all NaN) counts for nothing: its mean would be NaN.
    valid = [run for run in valid if run]
    weight: dict[str, float] = {}
    total: dict[str, float] = {}
    for run in valid:
        for key, value in run.items():
            share = 1 / (len(valid) * len(run))
            weight[key] = weight.get(key, 0.0) + share
            total[key] = total.get(key, 0.0) + share * value
    means = [float(np.mean(list(run.values()))) for run in valid]
    keys = sorted(weight)
    return Summary(
        mean=float(np.mean(means)) if means else float("nan"),
        std=float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
        ci95=interval(np.array([total[key] for key in keys]), np.array([weight[key] for key in keys])),
        videos={key: total[key] / weight[key] for key in keys},
    )


def interval(total: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of sum(total) / sum(weight), one pair per video."""
    # scipy refuses to bootstrap a single value.
    if len(total) < 2:
        return float("nan"), float("nan")
    # Pairs, because random splits test some videos more often than others: weight and value must be drawn together.
    found = stats.bootstrap(
        (total, weight),
        lambda t, w, axis: t.sum(axis=axis) / w.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def p_value(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """p of a two-sided paired permutation test over the videos that both methods have; NaN for fewer than two videos.

    The test flips the sign of each video's difference at random, 9,999 times, or in all ways if there are few videos.
    p is not corrected for the number of methods compared.
    """
    keys = sorted(one.keys() & other.keys())
    if len(keys) < 2:
        return float("nan")
    pair = [np.array([values[key] for key in keys]) for values in (one, other)]
    found = stats.permutation_test(
        pair,
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)
