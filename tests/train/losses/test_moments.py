"""Moment-DETR's equations by hand: generalised IoU, the cheapest matching, ranked pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.train.losses.moments import Weights, generalized_iou, label_loss, match, ranked_pairs, span_losses
from vsumdata.train.models.queried.spans import to_spans

WEIGHTS = Weights(l1=10, giou=1, label=4)


def test_generalised_iou_is_that_of_the_official_docstring() -> None:
    ours = torch.tensor([[0, 0.2], [0.5, 1.0]])
    theirs = torch.tensor([[0, 0.3], [0.0, 1.0]])
    expected = torch.tensor([[0.6667, 0.2000], [-0.2000, 0.5000]])
    torch.testing.assert_close(generalized_iou(ours, theirs), expected, rtol=0, atol=1e-4)


INTERVALS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted), min_size=1, max_size=4)


@given(ours=INTERVALS, theirs=INTERVALS)
def test_generalised_iou_of_any_intervals(ours: list[list[int]], theirs: list[list[int]]) -> None:
    found = generalized_iou(torch.tensor(ours).double(), torch.tensor(theirs).double())
    assert found.isfinite().all()
    for (row, (a, b)), (column, (c, d)) in itertools.product(enumerate(ours), enumerate(theirs)):
        common, hull = max(0, min(b, d) - max(a, c)), max(b, d) - min(a, c)
        union = (b - a) + (d - c) - common
        expected = (common / union if union else 0) - ((hull - union) / hull if hull else 0)
        assert found[row, column] == pytest.approx(expected)


def test_matching_finds_the_least_cost_of_all() -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        count, wanted = int(rng.integers(1, 6)), int(rng.integers(1, 4))
        ends, moment = (torch.tensor(np.sort(rng.random((n, 2)), 1)) for n in (count, wanted))
        logit = torch.tensor(rng.normal(size=count))
        cost = (
            10 * (to_spans(ends)[:, None] - to_spans(moment)).abs().sum(-1)
            - generalized_iou(ends, moment)
            - 4 * logit.sigmoid()[:, None]
        )
        rows, columns = match(ends, logit, moment, WEIGHTS)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(count, wanted), number
        size = min(count, wanted)
        every = (
            sum(cost[row, column] for row, column in zip(some, others, strict=True))
            for some in itertools.permutations(range(count), size)
            for others in itertools.combinations(range(wanted), size)
        )
        assert float(cost[rows, columns].sum()) == pytest.approx(float(min(every)))
    assert [len(each) for each in match(ends * torch.nan, logit, moment, WEIGHTS)] == [size, size]


def test_errors_of_a_pair() -> None:
    error, overlap = span_losses(torch.tensor([[0.0, 0.4]]), torch.tensor([[0.2, 0.4]]))
    torch.testing.assert_close(error, torch.tensor([[0.1, 0.2]]))  # centre .2 and .3, width .4 and .2
    torch.testing.assert_close(overlap, torch.tensor([0.5]))


def test_background_weighs_less() -> None:
    logit = torch.tensor([[0.0, 2.0, -1.0]])
    found = label_loss(logit, torch.tensor([[True, False, False]]), 0.1)
    expected = [np.log(2), 0.1 * np.log1p(np.exp(2.0)), 0.1 * np.log1p(np.exp(-1.0))]
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-6)


def test_the_best_ranks_before_the_worst_and_any_relevant_clip_before_any_other() -> None:
    logit = torch.tensor([[0.0, 1.0, 3.0, 5.0], [0.5, 0.0, 9.0, 9.0]])
    score = torch.tensor([[0.9, 0.1, 0.5, 0.0], [0.2, 0.8, 0.0, 0.0]])
    relevant = torch.tensor([[True, True, True, False], [True, True, False, False]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    noise = torch.tensor([[0.1, 0.2, 0.9, 0.3], [0.9, 0.1, 0.0, 0.0]])
    found, ranks = ranked_pairs(logit, score, relevant, mask, noise, 0.2)
    # First video: clip 0 against 1, then the drawn clip 2 against 3. Second: all are relevant, so 1 against 0 twice.
    torch.testing.assert_close(found, torch.tensor([(0.2 + 1 - 0) + (0.2 + 5 - 3), 2 * (0.2 + 0.5 - 0)]))
    assert ranks.tolist() == [True, True]
    assert ranked_pairs(logit, score, relevant & False, mask, noise, 0.2)[1].tolist() == [False, False]
