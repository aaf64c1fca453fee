"""Average precisions of clips against hand-worked values, scikit-learn and all rankings there are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.train.scoring import chance
from vsumdata.train.scoring.metrics_highlights import (
    average_precision,
    best_clips,
    clip_means,
    interpolated_ap,
    precision_recall,
    ranked_trapezoidal_ap,
    saliency,
    softmax32,
    top_clips_ap,
    top_ranked_ap,
    trapezoidal_ap,
)


def test_clips_are_means_of_five_frames() -> None:
    assert clip_means(np.arange(12.0)).tolist() == [2, 7, 10.5]
    assert clip_means(np.arange(10.0)).tolist() == [2, 7]
    assert clip_means(np.empty(0)).tolist() == []


def test_the_best_clips() -> None:
    assert best_clips(np.array([1.0, 3, 3, 2, 3]), 0.5).tolist() == [False, True, True, False, False]
    assert not best_clips(np.ones(6), 0.15).any()


@pytest.mark.parametrize(
    ("relevant", "trapezoidal", "standard"),
    [([1, 0, 1, 0], 0.7917, 0.8333), ([0, 1], 0.25, 0.5), ([1, 1, 0], 1, 1), ([0, 0], 0, 0)],
)
def test_known_precisions(relevant: list[int], trapezoidal: float, standard: float) -> None:
    falling = -np.arange(len(relevant), dtype=float)
    assert trapezoidal_ap(np.array(relevant)) == pytest.approx(trapezoidal, abs=5e-5)
    assert ranked_trapezoidal_ap(np.array(relevant), falling) == pytest.approx(trapezoidal, abs=5e-5)
    assert average_precision(np.array(relevant), falling) == pytest.approx(standard, abs=5e-5)


@given(st.lists(st.booleans(), min_size=1, max_size=25))
def test_the_trapezoids(relevant: list[bool]) -> None:
    area, hits, recall, precision, total = 0.0, 0, 0.0, 1.0, sum(relevant)
    for rank, hit in enumerate(relevant, 1):
        if total:
            hits += hit
            area += (hits / total - recall) * (precision + hits / rank) / 2
            recall, precision = hits / total, hits / rank
    assert trapezoidal_ap(np.array(relevant)) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(("clips", "relevant"), [(7, 3), (6, 1), (5, 5), (1, 1), (4, 0)])
def test_chance_is_the_mean_of_all_rankings(clips: int, relevant: int) -> None:
    falling = -np.arange(clips, dtype=float)
    rankings = [np.isin(np.arange(clips), at) for at in itertools.combinations(range(clips), relevant)]
    standard = np.mean([average_precision(ranking, falling) for ranking in rankings])
    trapezoidal = np.mean([trapezoidal_ap(ranking) for ranking in rankings])
    assert chance.average_precision(clips, relevant) == pytest.approx(standard, abs=1e-12)
    assert chance.trapezoidal_ap(clips, relevant) == pytest.approx(trapezoidal, abs=1e-12)


@pytest.mark.parametrize(("clips", "relevant"), [(1, 1), (4, 0), (4, 2), (5, 5), (6, 2), (7, 4), (3, 1)])
@pytest.mark.parametrize("top", [1, 3, 5])
def test_chance_of_the_best_clips_is_the_mean_of_all_rankings(clips: int, relevant: int, top: int) -> None:
    labels = np.arange(clips) < relevant
    every = [top_ranked_ap(labels, np.array(score), top) for score in itertools.permutations(range(clips))]
    assert chance.top_ranked_ap(clips, relevant, top) == pytest.approx(np.mean(every), abs=1e-12)


def test_the_best_clips_of_few() -> None:
    """A video of three shots has no fifth; recall is that of the best clips alone."""
    assert top_ranked_ap(np.array([0, 1, 1]), np.array([3.0, 2, 1]), 5) == trapezoidal_ap(np.array([0, 1, 1]))
    assert top_ranked_ap(np.array([1, 0, 1]), np.array([3.0, 2, 1]), 1) == 1
    assert top_ranked_ap(np.array([0, 1]), np.array([2.0, 1]), 1) == 0


def test_chance_of_mr_hisum_and_of_wikihow() -> None:
    assert chance.average_precision(41, 20) == pytest.approx(0.530, abs=5e-4)
    assert chance.average_precision(41, 6) == pytest.approx(0.217, abs=5e-4)
    assert chance.f1(0.55, 0.3) == pytest.approx(1.1 * 0.3 / 0.85)
    assert chance.f1(0.55, 0.55) == pytest.approx(0.55)
    assert chance.f1(0, 0) == 0


def test_chance_of_f1_is_the_mean_of_all_summaries() -> None:
    reference = np.arange(8) < 3
    sets = [np.isin(np.arange(8), at) for at in itertools.combinations(range(8), 4)]
    assert np.mean([2 * (s & reference).sum() / 7 for s in sets]) == pytest.approx(chance.f1(4 / 8, 3 / 8))


def test_deviations_of_random_rankings() -> None:
    from vsumdata.train.scoring.metrics import kendall_tau, spearman_rho

    ranks = np.arange(6)
    everyone = np.array(list(itertools.permutations(ranks)))
    assert np.std(kendall_tau(ranks, everyone)) == pytest.approx(chance.tau_deviation(6))
    assert np.std(spearman_rho(ranks, everyone)) == pytest.approx(chance.rho_deviation(6))


def test_umt_on_tvsum_looks_at_the_top_only() -> None:
    users = np.array([[5, 1, 1, 1, 1, 5], [3, 3, 3, 3, 3, 3], [1, 2, 3, 4, 5, 5]])
    falling = -np.arange(6.0)
    # The first: hit at rank 1 of 2, the other is beyond the top; lower medians are 1, 3 and 3.
    assert top_clips_ap(falling, users, top=3).tolist() == [1.0, 0.0, 0.0]
    assert top_clips_ap(falling, users, top=4)[2] == pytest.approx((0 + 1 / 4) / 2)


def test_interpolated_precision() -> None:
    assert interpolated_ap(np.zeros(3), np.arange(3)) == 0
    assert interpolated_ap(np.ones(3), np.arange(3)) == 1
    # By falling score: hit, miss, hit. Precision 1 at recall 1/2, 2/3 at recall 1.
    assert interpolated_ap(np.array([1, 0, 1]), np.array([3.0, 2, 1])) == pytest.approx((1 + 2 / 3) / 2)


def test_saliency_of_one_query() -> None:
    rated = np.array([[4, 0], [0, 0], [2, 4]])
    assert saliency(np.array([3.0, 1, 2]), rated, 4) == (pytest.approx((1 + 0.5) / 2), 1.0)
    assert saliency(np.array([1.0, 3, 2]), rated, 4)[1] == 0
    assert saliency(np.array([0.0, 0, 0, 9]), rated, 4)[1] == 0  # the best clip is beyond the video
    assert saliency(np.array([1.0]), rated, 4)[0] == pytest.approx((1 + 1 / 3) / 2)  # missing scores are 0


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1).filter(lambda rows: any(hit for hit, _ in rows))
)
def test_precision_and_recall_are_scikit_learns(rows) -> None:
    from sklearn.metrics import precision_recall_curve

    relevant, score = np.array([hit for hit, _ in rows]), np.array([value / 3 for _, value in rows])
    for ours, theirs in zip(precision_recall(relevant, score), precision_recall_curve(relevant, score), strict=False):
        np.testing.assert_array_equal(ours, theirs)


def test_the_softmax_overflows_as_the_official_one() -> None:
    assert softmax32(np.array([0.0, 0.0])) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert np.isnan(softmax32(np.array([95.0, 1.0]))).any()


@pytest.mark.parametrize("measure", [average_precision, ranked_trapezoidal_ap, interpolated_ap])
def test_scores_that_cannot_be_ranked(measure) -> None:
    with pytest.raises(ValueError, match="score of clip 1 is not finite"):
        measure(np.array([1, 0]), np.array([0.5, math.nan]))
    with pytest.raises(ValueError, match="of one length"):
        measure(np.array([1, 0]), np.array([0.5]))
