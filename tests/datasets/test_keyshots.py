"""The knapsack is exact and breaks ties as the field's; scores become the summary that the protocol says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.datasets.keyshots import (
    Shots,
    above_rank,
    best_frames,
    budget_frames,
    full_rate,
    keyshots,
    shot_scores,
)
from vsumdata.datasets.knapsack import Variant, knapsack
from vsumdata.datasets.protocol import PROTOCOLS, protocol

ITEMS = st.lists(st.tuples(st.integers(-2, 9), st.integers(0, 12)), min_size=1, max_size=10)


def table_of(values: list[float], weights: list[int], capacity: int, lossy: bool = False) -> list[int]:
    """The textbook programme, cell by cell; `lossy` keeps every value at capacity 0 at 0, as PGL-SUM's table does."""
    table = np.zeros((len(values) + 1, capacity + 1))
    for i, c in itertools.product(range(1, len(values) + 1), range(int(lossy), capacity + 1)):
        table[i, c] = table[i - 1, c]
        if weights[i - 1] <= c:
            table[i, c] = max(table[i, c], table[i - 1, c - weights[i - 1]] + values[i - 1])
    chosen = []
    for i in range(len(values), 0, -1):
        if table[i, capacity] != table[i - 1, capacity]:
            chosen.append(i - 1)
            capacity -= weights[i - 1]
    return chosen[::-1]


@given(ITEMS, st.integers(0, 60), st.sampled_from([1, 8, 10, 1000]))
def test_the_table_and_its_ties(items: list[tuple[int, int]], capacity: int, scale: int) -> None:
    values, weights = [value / scale for value, _ in items], [weight for _, weight in items]
    found = knapsack(np.array(values), np.array(weights), capacity)
    assert found.tolist() == table_of(values, weights, capacity)
    lossy = knapsack(np.array(values), np.array(weights), capacity, "pgl-sum")
    assert lossy.tolist() == table_of(values, weights, capacity, lossy=True)


@given(ITEMS, st.integers(0, 60))
def test_no_choice_is_better(items: list[tuple[int, int]], capacity: int) -> None:
    values, weights = (np.array(column) for column in zip(*items, strict=True))
    found = knapsack(values, weights, capacity)
    assert weights[found].sum() <= capacity
    choices = itertools.product([0, 1], repeat=len(items))
    best = max(np.dot(choice, values) for choice in choices if np.dot(choice, weights) <= capacity)
    assert values[found].sum() == best


@pytest.mark.parametrize("kind", ["continuous", "narrow", "decimal", "equal", "length"])
@pytest.mark.parametrize("lengths", ["any", "equal"])
@pytest.mark.parametrize("share", [0.05, 0.15, 0.5])
def test_settled_items_change_nothing(kind: str, lengths: str, share: float) -> None:
    """A hundred shots, where much is settled before the table: the same choice as the whole table's."""
    rng = np.random.default_rng(7)
    weights = rng.integers(5, 30, 100) if lengths == "any" else np.append(np.full(99, 12), 7)
    values = {
        "continuous": rng.random(100),
        "narrow": 0.5 + 0.01 * rng.standard_normal(100),
        "decimal": rng.integers(1, 6, 100) / 10,
        "equal": np.full(100, 0.3),
        "length": weights / 30,
    }[kind]
    capacity = int(share * weights.sum())
    assert knapsack(values, weights, capacity).tolist() == table_of(values.tolist(), weights.tolist(), capacity)


def test_items_without_weight_do_not_narrow_the_table() -> None:
    values, weights = [0.3, 0.1, 0.3, 0.1], [2, 0, 1, 0]
    assert knapsack(np.array(values), np.array(weights), 2).tolist() == table_of(values, weights, 2) == [0, 1, 3]


@pytest.mark.parametrize(
    ("values", "weights", "capacity", "chosen"),
    [  # answers of ortools 9.6.2534, KNAPSACK_DYNAMIC_PROGRAMMING_SOLVER
        ([0, 3, 3], [1, 2, 2], 3, [0, 1]),
        ([0, 0, 0], [2, 2, 2], 3, [0]),
        ([5, 0, 2], [1, 1, 1], 3, [0, 1, 2]),
        ([3, 4, 5], [0, 4, 3], 3, [2]),
    ],
)
def test_what_ortools_answers(values: list[int], weights: list[int], capacity: int, chosen: list[int]) -> None:
    assert knapsack(np.array(values), np.array(weights), capacity, "ortools").tolist() == chosen


@pytest.mark.parametrize("variant", ["exact", "pgl-sum", "ortools"])
def test_nothing_to_choose_from(variant: Variant) -> None:
    assert knapsack(np.empty(0), np.empty(0, int), 5, variant).tolist() == []
    assert knapsack(np.ones(2), np.array([6, 7]), 5, variant).tolist() == []
    assert knapsack(np.ones(2), np.array([1, 1]), -1, variant).tolist() == []


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        ([np.nan, 1.0], [1, 1], "value 0 is not finite"),
        ([1.0, np.inf], [1, 1], "value 1 is not finite"),
        ([1.0], [1, 1], "of one length"),
        ([1.0], [-1], "at least 0"),
        ([1.0], [1.5], "integers"),
    ],
)
def test_what_a_knapsack_refuses(values: list[float], weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knapsack(np.array(values), np.array(weights), 5)


SHOTS = Shots(change_points=np.array([[0, 29], [30, 59], [60, 99]]), picks=np.arange(0, 100, 15), n_frames=100)


def test_scores_hold_until_the_next_pick() -> None:
    scores = full_rate(np.arange(7) + 1.0, SHOTS, protocol("tvsum"))
    assert scores.tolist() == np.repeat(np.arange(7) + 1, [15] * 6 + [10]).tolist()
    late = replace(SHOTS, picks=np.array([20, 50]))
    assert full_rate(np.array([2.0, 3.0]), late, protocol("tvsum")).tolist() == [0] * 20 + [2] * 30 + [3] * 50


def test_a_missing_last_score() -> None:
    assert full_rate(np.ones(6), SHOTS, protocol("vasnet"))[-11:].tolist() == [1.0] + [0.0] * 10
    for name, count in (("dsnet", 6), ("tvsum", 6), ("vasnet", 5), ("vasnet", 8)):
        with pytest.raises(ValueError, match=f"{count} scores for 7 picks"):
            full_rate(np.ones(count), SHOTS, protocol(name))


def test_what_a_shot_is_worth() -> None:
    scores = np.array([0.0004, 0.0004, 0.5009, 0.5009, 1.0, 1.0, 0.0])
    assert shot_scores(scores, SHOTS, protocol("vasnet")).tolist() == [0, 500, 750]
    assert shot_scores(scores, SHOTS, protocol("tvsum")) == pytest.approx([0.0004, 0.5009, 0.75])
    half_open = replace(SHOTS, change_points=np.array([[0, 30], [30, 60], [60, 100]]))
    assert shot_scores(scores, half_open, protocol("mrhisum")) == pytest.approx([0.0004, 0.5009, 0.75])
    spilled = shot_scores(scores, half_open, protocol("mr-hisum"))
    assert spilled[0] == pytest.approx((30 * 0.0004 + 0.5009) / 31)


def test_budgets() -> None:
    odd = Shots(change_points=np.array([[0, 899]]), picks=np.arange(0, 1010, 15), n_frames=1010)
    budgets = {name: budget_frames(odd, PROTOCOLS[name]) for name in ("ca-sum", "vasnet", "dsnet", "a2summ", "tvsum")}
    assert budgets == {"ca-sum": 135, "vasnet": 151, "dsnet": 151, "a2summ": 152, "tvsum": 151}


def test_summaries_stay_within_the_budget_and_are_as_long_as_said() -> None:
    scores, wide = np.array([0, 0, 1, 1, 0, 0, 0.0]), replace(protocol("tvsum"), budget=0.3)
    assert np.flatnonzero(keyshots(scores, SHOTS, wide)).tolist() == list(range(30, 60))
    assert not keyshots(scores, SHOTS, protocol("tvsum")).any()  # the shortest shot is longer than 15 frames
    short = replace(SHOTS, change_points=SHOTS.change_points[:2])
    lengths = {name: len(keyshots(scores, short, PROTOCOLS[name])) for name in ("ca-sum", "vasnet", "dsnet")}
    assert lengths == {"ca-sum": 60, "vasnet": 60, "dsnet": 100}


@pytest.mark.parametrize(
    ("points", "picks", "message"),
    [
        ([[0, 100], [5, 101]], [0], "within 0 to 100"),
        ([[5, 3]], [0], "ordered pairs"),
        ([], [0], "C >= 1"),
        ([[0, 9]], [0, 100], "picks must ascend"),
        ([[0, 9]], [4, 4], "picks must ascend"),
    ],
)
def test_shots_that_cannot_be(points: list[list[int]], picks: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shots(change_points=np.array(points, int).reshape(-1, 2), picks=np.array(picks), n_frames=100)


def test_best_frames_take_the_earlier_of_equal_ones() -> None:
    assert best_frames(np.array([1.0, 2, 2, 0, 2]), 2).tolist() == [False, True, True, False, False]
    assert not best_frames(np.ones(3), 0).any()


def test_frames_above_a_rank() -> None:
    scores = np.arange(100.0)[::-1]
    assert above_rank(scores, 0.15).sum() == 16
    assert above_rank(np.ones(10), 0.15).all()
    assert above_rank(scores, 0.15, in_time=True).sum() == 85  # the score of frame 84 in time, not of rank 15
    assert above_rank(np.empty(0), 0.15).tolist() == []


@pytest.mark.parametrize(
    ("values", "weights", "capacity", "chosen"),
    [([0.3, 0.1], [0, 7], 3, [0]), ([0.3, 0.2], [0, 3], 5, [0, 1]), ([0.3, 0.4], [0, 3], 3, [1])],
)
def test_the_official_way_loses_worthless_weights_only_where_no_capacity_is_left(
    values: list[float], weights: list[int], capacity: int, chosen: list[int]
) -> None:
    assert knapsack(np.array(values), np.array(weights), capacity, "pgl-sum").tolist() == chosen
