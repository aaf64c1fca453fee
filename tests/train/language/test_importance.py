"""Importance against plain restatements."""

from __future__ import annotations

import numpy as np
import pytest

from vsumdata.train.language.frame_indexes import emitted, grid, samples


def test_emitted_and_samples() -> None:
    assert emitted([0, 3], 4).tolist() == [1, 0, 0, 1]
    assert samples([[0, 3], [3], [], [1, 3]], 4).tolist() == [0.25, 0.25, 0, 0.75]
    with pytest.raises(ValueError, match="at least one answer"):
        samples([], 4)


def test_the_grid_gives_weight_to_crossed_digits() -> None:
    logit = np.full((1, 2, 10), -50.0)
    logit[0, 0, [0, 1]] = logit[0, 1, [7, 2]] = 0  # 07 or 12, or so it seems
    score = grid(logit, 100)
    assert score[[7, 12, 2, 17]] == pytest.approx([0.25] * 4)
    assert score.sum() == pytest.approx(1)


def test_the_grid_of_three_digits_ends_at_n() -> None:
    logit = np.random.default_rng(0).normal(size=(3, 3, 10))
    chance = np.exp(logit) / np.exp(logit).sum(-1, keepdims=True)
    plain = [np.mean([one[0, i // 100] * one[1, i // 10 % 10] * one[2, i % 10] for one in chance]) for i in range(250)]
    assert grid(logit, 250) == pytest.approx(plain)


def test_nothing_emitted_is_nothing_important() -> None:
    assert grid(np.zeros((0, 2, 10)), 100).tolist() == [0] * 100
    assert emitted([], 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(2, 10), (1, 2, 9), (1, 1, 10)])
def test_a_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        grid(np.zeros(shape), 100)
