"""Mean, deviation, confidence and significance of a method's values over seeds, folds and videos.

A run is one seed and one fold; its value is the mean over the fold's test videos, and a method's value the mean over
its runs. A video thus weighs 1/(videos of its fold) for each run that it is in; values that are NaN are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 9999
CONFIDENCE = 0.95
SEED = 0  # the same values always give the same interval and the same p
BATCH = 250  # resamples at a time: 2,000 videos stay within some MB


@dataclass(frozen=True, kw_only=True)
class Summary:
    mean: float
    std: float  # over the runs, n − 1 in the denominator; NaN for a single run
    ci95: tuple[float, float]  # NaN where there is only one video
    videos: Mapping[str, float]  # each video's mean over its runs

    @property
    def n(self) -> int:
        """How many videos have a value."""
        return len(self.videos)


def summarize(runs: Sequence[Mapping[str, float]]) -> Summary:
    """Of values by video id, one mapping for each run, what the table shows. All is NaN where nothing has a value.

    The interval is the percentile bootstrap over videos (9,999 resamples, seeded): how far the mean moves with the
    choice of videos. It knows nothing of retraining; that is what `std` shows.
    """
    valid = [{key: value for key, value in run.items() if not np.isnan(value)} for run in runs]
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
    """The 95 % percentile bootstrap interval of sum(total) / sum(weight), one pair a video."""
    if len(total) < 2:
        return float("nan"), float("nan")
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
    """How likely two methods of equal worth differ as much as these over the videos that both have; NaN below two.

    The paired permutation test, two-sided: the sign of each video's difference is drawn anew, 9,999 times or, with
    few videos, in all ways. Not corrected for the number of methods compared.
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
