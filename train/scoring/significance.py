"""Mean, deviation, confidence interval and significance of a method's values over seeds, folds and videos.

A run is one seed and one fold. Its value is the mean over the fold's test videos; a method's value is the mean over its
runs. A video therefore weighs 1/(videos of its fold) in each run that tests it. NaN values are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from vsumdata.train.scoring.corpora import Value, mean_value

RESAMPLES = 9999
CONFIDENCE = 0.95
# A fixed seed: the same values must always print the same interval and the same p.
SEED = 0
# Resamples of (value, weight) computed at once. All 9,999 of 2,000 videos would need hundreds of MB; 250 need a few.
BATCH = 250


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A method's value on one metric.

    `std` is the deviation over the runs, with n - 1 in the denominator, and NaN for a single run. `ci95` is NaN if
    there is only one video. `videos` holds each video's value from `statistics`, its mean statistics over its runs:
    for a mean that is the mean of its values. `value` makes the value of many videos from the sum of their statistics.
    """

    mean: float
    std: float
    ci95: tuple[float, float]
    videos: Mapping[str, float]
    statistics: Mapping[str, np.ndarray] = field(default_factory=dict)
    value: Value = mean_value

    @property
    def n(self) -> int:
        """How many videos have a value."""
        return len(self.videos)


def summarize(runs: Sequence[Mapping[str, float]]) -> Summary:
    """What the table shows of the runs, each given as values by video id. Everything is NaN if nothing has a value.

    The interval is a seeded percentile bootstrap over videos: it shows how the mean depends on the choice of videos.
    It says nothing about retraining; `std` shows that.
    """
    return summarize_sums(
        [{key: np.array([value, 1.0]) for key, value in run.items() if not np.isnan(value)} for run in runs], mean_value
    )


def summarize_sums(runs: Sequence[Mapping[str, np.ndarray]], value: Value) -> Summary:
    """The same of metrics that are no means: each run has statistics [K] by video id, and `value` of their sum.

    The bootstrap draws videos and computes the value of each draw's sum.
    """
    # A run without any value (all NaN) counts for nothing: its mean would be NaN.
    valid = [run for run in runs if run]
    weight: dict[str, float] = {}
    total: dict[str, np.ndarray] = {}
    for run in valid:
        for key, statistics in run.items():
            share = 1 / (len(valid) * len(run))
            weight[key] = weight.get(key, 0.0) + share
            total[key] = total.get(key, 0.0) + share * statistics
    means = [float(value(_columns(list(run.values())).sum(1))) for run in valid]
    keys = sorted(weight)
    return Summary(
        mean=float(np.mean(means)) if means else float("nan"),
        std=float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
        ci95=interval(_columns([total[key] for key in keys]), value),
        videos={key: float(value(total[key] / weight[key])) for key in keys},
        statistics={key: total[key] / weight[key] for key in keys},
        value=value,
    )


def _columns(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Statistics [videos,K] as [K,videos], each row in one piece, for numpy's exact sums."""
    return np.ascontiguousarray(np.array(rows, np.float64).T)


def interval(statistics: np.ndarray, value: Value) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of `value` of the sum of statistics [K,videos]."""
    # scipy refuses to bootstrap a single value.
    if statistics.ndim < 2 or statistics.shape[1] < 2:
        return float("nan"), float("nan")
    # All statistics of a video are drawn together. For a mean that is its value and its weight: random splits test some
    # videos more often than others.
    found = stats.bootstrap(
        tuple(statistics),
        lambda *drawn, axis: value(np.stack([one.sum(axis=axis) for one in drawn], axis=-1)),
        paired=True,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=_batch(len(statistics)),
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def _batch(num_statistics: int) -> int:
    return max(1, 2 * BATCH // num_statistics)


def compare(one: Summary, other: Summary) -> tuple[float, float]:
    """The difference of two methods over the videos that both have, and its p as `p_value` has it.

    What is exchanged at random are the two methods' statistics of a video, so that p fits values that are no means.
    """
    keys = sorted(one.statistics.keys() & other.statistics.keys())
    if not keys:
        return float("nan"), float("nan")
    num = len(keys)
    rows = np.array([summary.statistics[key] for summary in (one, other) for key in keys])

    # Drawn are the places of rows, [..., videos]; `axis` is their last one.
    def difference(ours: np.ndarray, theirs: np.ndarray, axis: int = -1) -> np.ndarray:
        return one.value(rows[ours].sum(axis=-2)) - one.value(rows[theirs].sum(axis=-2))

    places = (np.arange(num), np.arange(num, 2 * num))
    return float(difference(*places)), _permuted(places, difference, rows.shape[1]) if num > 1 else float("nan")


def p_value(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """p of a two-sided paired permutation test over the videos that both methods have; NaN for fewer than two videos.

    The test flips the sign of each video's difference at random, 9,999 times, or in all ways if there are few videos.
    p is not corrected for the number of methods compared.
    """
    keys = sorted(one.keys() & other.keys())
    if len(keys) < 2:
        return float("nan")
    pair = [np.array([values[key] for key in keys]) for values in (one, other)]
    return _permuted(pair, lambda x, y, axis: (x - y).mean(axis=axis))


def _permuted(pair: Sequence[np.ndarray], difference: Callable[..., np.ndarray], num_statistics: int = 2) -> float:
    found = stats.permutation_test(
        pair,
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_batch(num_statistics),
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)
