"""Moments: the IoU of windows, who gets which relevant window, and the interpolated precision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.train.scoring.metrics import concept_match
from vsumdata.train.scoring.metrics_moments import (
    best_moment_iou,
    bound_scores,
    moment_ap,
    moment_recall,
    of_length,
    temporal_iou,
)


def test_iou() -> None:
    found = temporal_iou(np.array([[0, 10], [5, 5]]), np.array([[5, 15], [20, 30], [0, 10]]))
    np.testing.assert_allclose(found, np.array([[1 / 3, 0, 1], [0, 0, 0]]))


def test_each_relevant_window_is_found_once() -> None:
    twice = np.array([[0, 10, 0.9], [0, 10, 0.8], [20, 30, 0.1]])
    # Hits at ranks 1 and 3: precision 1, then 2/3.
    assert moment_ap(twice, np.array([[0, 10], [20, 30]]), [0.5])[0] == pytest.approx((1 + 2 / 3) / 2)
    assert moment_ap(twice, np.array([[0, 10]]), [0.5])[0] == 1


def test_precision_is_interpolated() -> None:
    ranked = np.array([[50, 60, 0.9], [0, 10, 0.8], [20, 30, 0.7]])
    # Precision 1/2 at the first hit, 2/3 at the second: the better one holds for both.
    assert moment_ap(ranked, np.array([[0, 10], [20, 30]]), [0.5])[0] == pytest.approx(2 / 3)


def test_only_ten_windows_count_and_the_scores_rank_them() -> None:
    right = np.array([[0, 10, 1.0]])
    others = np.array([[100 + i, 101 + i, 0.5] for i in range(10)])
    assert moment_ap(np.vstack([others, right]), right[:, :2], [0.5])[0] == 0
    assert moment_ap(np.vstack([others[:9], right]), right[:, :2], [0.5])[0] == 1
    half = moment_ap(right, np.array([[0, 14]]))
    np.testing.assert_array_equal(half, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0])


def test_nothing_predicted_or_nothing_relevant_is_0() -> None:
    some, none = np.array([[0, 10, 1.0]]), np.zeros((0, 3))
    assert not moment_ap(none, some[:, :2]).any()
    assert not moment_ap(some, none[:, :2]).any()
    assert best_moment_iou(some, np.array([[50, 60], [0, 20]])) == 0.5
    with pytest.raises(ValueError, match="a predicted and a relevant window"):
        best_moment_iou(some, none[:, :2])


def test_lengths_exclude_their_first_number() -> None:
    windows = [[0, 10], [0, 11], [0, 30], [0, 31]]
    assert [len(of_length(windows, name)) for name in ("short", "middle", "long")] == [1, 2, 1]


CONCEPTS = st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=1, max_size=4)


@given(CONCEPTS, CONCEPTS)
def test_the_match_of_concepts_is_the_best_of_all(ours: list[list[int]], theirs: list[list[int]]) -> None:
    def iou(one: list[int], other: list[int]) -> float:
        union = sum(map(max, one, other))
        return sum(map(min, one, other)) / union if union else 0.0

    few, many = sorted((ours, theirs), key=len)
    best = max(sum(map(iou, few, chosen)) for chosen in itertools.permutations(many, len(few)))
    found = concept_match(np.array(ours), np.array(theirs))
    assert (found.precision, found.recall) == pytest.approx((best / len(ours), best / len(theirs)))
    total = found.precision + found.recall
    assert found.f1 == pytest.approx(2 * found.precision * found.recall / total if total else 0)


def test_the_match_with_itself_is_1_and_with_nothing_0() -> None:
    shots = np.eye(3)
    assert concept_match(shots, shots) == (1, 1, 1)
    assert concept_match(shots, shots[:0]) == concept_match(shots[:0], shots) == (0, 0, 0)


def test_hirest_counts_a_moment_above_the_threshold_not_at_it() -> None:
    """Its IoU is divided by the union and 1e-8, and annotators' seconds are whole: exactly one half is no hit."""
    assert moment_recall(np.array([0, 10]), np.array([0, 20]), 0.5) == 0
    assert moment_recall(np.array([0, 10.01]), np.array([0, 20]), 0.5) == 1
    assert moment_recall(np.array([0, 15]), np.array([0, 20]), 0.7) == 1
    assert moment_recall(np.array([30, 40]), np.array([0, 20]), 0.5) == 0


def test_hirest_steps() -> None:
    relevant = np.array([[0, 10], [10, 20], [20, 30]])
    assert bound_scores(relevant, relevant, 0.7) == (1, 1)
    # Two predictions cover one step, a third covers none.
    found = bound_scores(np.array([[0, 9], [1, 10], [40, 50]]), relevant, 0.5)
    assert found == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    with pytest.raises(ValueError, match="need a predicted and a relevant step"):
        bound_scores(np.zeros((0, 2)), relevant, 0.5)
