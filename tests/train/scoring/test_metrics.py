"""F1 and rank correlations against plain restatements and scipy; what has no value is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from vsumdata.train.scoring import agreement, metrics
from vsumdata.train.scoring.metrics import equally_long, f1_per_user, kendall_tau, over_users, spearman_rho

BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)
SCORES = st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), min_size=2, max_size=40)


@given(BITS)
def test_f1_is_the_harmonic_mean(pairs: list[tuple[bool, bool]]) -> None:
    ours, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    common, sizes = int((ours & theirs).sum()), int(ours.sum() + theirs.sum())
    expected = 2 * common / sizes if sizes else 0.0
    assert f1_per_user(ours, theirs[None])[0] == pytest.approx(expected, abs=1e-15)
    assert f1_per_user(theirs, ours[None])[0] == pytest.approx(expected, abs=1e-15)


def test_f1_of_nothing() -> None:
    some, none = np.array([1, 1, 0]), np.zeros(3)
    users = np.array([[1, 0, 0], [0, 0, 0]])
    assert f1_per_user(some, users).tolist() == [pytest.approx(2 / 3), 0]
    assert f1_per_user(none, users, empty_summary=0.25, empty_reference=1.0).tolist() == [0.25, 1.0]
    assert f1_per_user(1 - some, users, empty_reference=0.5).tolist() == [0.0, 0.5]


def test_f1_of_summaries_that_differ_in_length() -> None:
    summary, users = np.array([1, 1, 1, 1]), np.array([[1, 1, 0]])
    assert f1_per_user(summary, users, lengths="pad")[0] == pytest.approx(2 / 3)
    assert f1_per_user(summary, users, lengths="cut")[0] == pytest.approx(4 / 5)
    assert f1_per_user(summary[:1], users, lengths="cut")[0] == pytest.approx(2 / 3)
    assert f1_per_user(summary[:1], users, lengths="pad")[0] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="the summary has 4 frames, the users' have 3"):
        f1_per_user(summary, users)
    with pytest.raises(ValueError, match=r"\[U,n\]"):
        equally_long(summary, summary, "pad")


def test_users_are_averaged_or_the_best_counts() -> None:
    values = np.array([0.2, 0.6])
    assert over_users(values, "mean") == pytest.approx(0.4)
    assert over_users(values, "max") == 0.6
    assert math.isnan(over_users(np.array([math.nan, 0.6]), "max"))
    with pytest.raises(ValueError, match="without users"):
        over_users(np.empty(0), "mean")


@given(SCORES)
def test_tau_is_scipys_to_the_last_bit(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    expected = stats.kendalltau(ours, theirs).statistic
    for a, b in ((ours, theirs), (ours / 7, theirs), (ours / 7, theirs * 1e3)):
        found = kendall_tau(a, b[None])[0]
        assert found == expected or (math.isnan(found) and math.isnan(expected))


@pytest.mark.parametrize("limit", [0, metrics.MAX_TABLE])
def test_tau_by_table_and_by_sorting(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_TABLE", limit)
    rng = np.random.default_rng(0)
    scores, users = rng.standard_normal(300), rng.integers(1, 6, (4, 300))
    expected = [stats.kendalltau(scores, row).statistic for row in users]
    assert kendall_tau(scores, users).tolist() == expected


@given(SCORES)
def test_rho_is_scipys(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    found = spearman_rho(ours, theirs[None])[0]
    if np.ptp(ours) and np.ptp(theirs):
        assert found == pytest.approx(stats.spearmanr(ours, theirs).statistic, abs=1e-12)
    else:
        assert math.isnan(found)


@pytest.mark.parametrize("correlation", [kendall_tau, spearman_rho])
def test_what_has_no_order(correlation) -> None:
    users = np.array([[1.0, 2, 3], [2, 2, 2]])
    assert np.isnan(correlation(np.ones(3), users)).all()
    assert np.isnan(correlation(np.arange(3), users)).tolist() == [False, True]
    assert np.isnan(correlation(np.ones(1), np.ones((2, 1)))).all()
    assert np.isnan(correlation(np.empty(0), np.empty((2, 0)))).all()
    with pytest.raises(ValueError, match="differ in length"):
        correlation(np.ones(2), users)
    with pytest.raises(ValueError, match="nan"):
        correlation(np.array([1, np.nan, 2]), users)


def test_agreement_is_pair_by_pair() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(1, 6, (5, 60))
    tau, rho = agreement.pairwise(scores)
    for i in range(5):
        assert tau[i] == pytest.approx([stats.kendalltau(scores[i], row).statistic for row in scores])
        assert rho[i] == pytest.approx([stats.spearmanr(scores[i], row).statistic for row in scores])
    above = np.triu_indices(5, 1)
    assert agreement.between_users(scores) == pytest.approx((tau[above].mean(), rho[above].mean()))
    others = [stats.kendalltau(scores[i], np.delete(scores, i, 0).mean(0)).statistic for i in range(5)]
    assert agreement.against_the_others(scores)[0] == pytest.approx(np.mean(others))
    ceiling = [stats.spearmanr(scores.mean(0), row).statistic for row in scores]
    assert agreement.mean_against_users(scores)[1] == pytest.approx(np.mean(ceiling))


def test_a_user_who_scores_all_alike_agrees_with_nobody() -> None:
    scores = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [2, 2, 2, 2]])
    assert agreement.between_users(scores) == pytest.approx((1 / 3, 1 / 3))


def test_agreement_of_summaries() -> None:
    summaries = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    least, mean, best = agreement.summary_f1(summaries)
    assert (least, mean, best) == pytest.approx((0, (2 / 3 + 2 / 3) / 6, 4 / 9))
