"""The mean, its interval and its p, against values that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vsumdata.train.scoring.significance import p_value, summarize


def by_id(values) -> dict[str, float]:
    return {str(i): float(value) for i, value in enumerate(values)}


def test_the_mean_is_over_folds_and_the_deviation_too():
    found = summarize([{"a": 1.0, "b": 3.0}, {"c": 5.0}, {"a": 2.0, "d": 2.0}])
    assert found.mean == pytest.approx((2 + 5 + 2) / 3)
    assert found.std == pytest.approx(math.sqrt(3))
    assert found.videos == pytest.approx({"a": 1.5, "b": 3, "c": 5, "d": 2})
    assert found.n == 4


def test_what_has_no_value_is_left_out():
    found = summarize([{"a": 1.0, "b": math.nan}, {"a": math.nan}, {"c": 3.0}])
    assert (found.mean, found.n, found.std) == (2, 2, pytest.approx(math.sqrt(2)))
    nothing = summarize([{"a": math.nan}, {}])
    assert (math.isnan(nothing.mean), math.isnan(nothing.std), math.isnan(nothing.ci95[0]), nothing.n) == (
        *[True] * 3,
        0,
    )


def test_one_video_has_no_interval_and_equal_videos_have_a_point():
    assert math.isnan(summarize([{"a": 1.0}, {"a": 2.0}]).ci95[0])
    assert summarize([{"a": 0.5, "b": 0.5, "c": 0.5}]).ci95 == (0.5, 0.5)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Of 95 % intervals of 40 draws the percentile bootstrap's cover a little less often than 95 %."""
    rng = np.random.default_rng(7)
    covers = 0
    for _ in range(300):
        low, high = summarize([by_id(rng.gamma(4.0, 1.0, size=40))]).ci95
        covers += low <= 4.0 <= high
    assert 0.90 <= covers / 300 <= 0.98


def test_the_interval_is_that_of_the_mean_and_is_the_same_each_time():
    values = by_id(np.random.default_rng(0).normal(size=400))
    low, high = summarize([values]).ci95
    half = 1.96 * np.std(list(values.values())) / 20
    mean = np.mean(list(values.values()))
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.01)
    assert summarize([values]).ci95 == (low, high)
    shuffled = dict(reversed(values.items()))
    assert summarize([shuffled]).ci95 == (low, high), "the order of the videos does not matter"


def test_the_interval_knows_that_a_video_weighs_more_in_a_small_fold():
    folds = [{"a": 1.0}, by_id(np.zeros(99))]
    found = summarize(folds)
    assert found.mean == 0.5
    assert found.ci95[0] == 0, "without the one video all are 0"
    assert found.ci95[1] > 0.5


def test_few_videos_are_permuted_in_all_ways():
    zeros = by_id([0, 0, 0, 0, 0])
    assert p_value(by_id([1, 2, 3, 4, 5]), zeros) == pytest.approx(2 / 32)
    assert p_value(by_id([1, -1]), by_id([0, 0])) == 1
    assert p_value(zeros, zeros) == 1
    assert math.isnan(p_value({"a": 1.0}, {"a": 0.0}))


def test_p_is_two_sided_over_the_videos_that_both_have():
    one, other = by_id([3, 1, 4, 1, 5]), by_id([2, 7, 1, 8, 2])
    assert p_value(one, other) == p_value(other, one)
    assert p_value(one | {"only": 9.0}, other) == p_value(one, other)


def test_chance_is_significant_as_often_as_it_should_be():
    rng = np.random.default_rng(3)
    low = [p_value(by_id(rng.normal(size=9)), by_id(rng.normal(size=9))) < 0.05 for _ in range(400)]
    assert 0.02 < np.mean(low) < 0.08


def test_the_pairing_is_used():
    rng = np.random.default_rng(5)
    base = rng.normal(size=30)
    assert p_value(by_id(base + 0.1 + 0.01 * rng.normal(size=30)), by_id(base)) < 0.001
    assert p_value(by_id(rng.permutation(base) + 0.1), by_id(base)) > 0.05
