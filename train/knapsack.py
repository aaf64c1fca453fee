"""Exact 0/1 knapsack with the field's rule for ties: a later item is taken only if that is strictly better.

The dynamic programme over the capacity is numpy's, one vector operation per item. Before it, items are settled that
no best choice can differ in: those with too many better ones of their own weight, and, by Lagrange's bound at a price
per unit of weight, those whose reduced value exceeds what separates a greedy choice from the bound (Martello and Toth,
"Knapsack Problems", 1990, §2.2.3). The same bound says how far a best choice can stray from the priced one, and each
item fills only that part of the table; all of it only where values say the same as lengths. Sums run in the order of
the items, so that rounding ties decimal values as in official tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Variant = Literal["exact", "pgl-sum", "ortools"]
MARGIN = 1e-9  # relative; far above what summing 10^5 values rounds, so a settled item cannot be part of a tie


def knapsack(values: np.ndarray, weights: np.ndarray, capacity: int, variant: Variant = "exact") -> np.ndarray:
    """Indices, ascending, of the items of greatest total value whose weights fit into `capacity`.

    The variants differ where an official solver errs, which needs an item of no weight or no value:
    - `exact` is right throughout (and equals the solver of rethinking-evs);
    - `pgl-sum` (PGL-SUM, CA-SUM, CSTA, MR.HiSum) loses items of weight 0 once the capacity is used up;
    - `ortools` (VASNet, MSVA, DSNet, A2Summ) does too, takes all items where all fit, even worthless ones, and takes
      item 0 where it fits and nothing before the first chosen item is worth anything.
    Raises ValueError for values that are not finite, negative weights and arrays of different lengths.
    """
    values, weights = np.asarray(values, np.float64), np.asarray(weights)
    _check(values, weights)
    if capacity < 0 or not len(values):
        return np.empty(0, np.int64)
    if variant == "ortools" and weights.sum() <= capacity:
        return np.arange(len(values))
    if weights.sum() <= capacity and (weights.all() or variant == "exact"):
        return np.flatnonzero(values > 0)
    lossy = variant == "pgl-sum" and not weights.all()
    unit = 1 if lossy else max(1, int(np.gcd.reduce(weights)))  # what is lost turns on the capacity that is left
    units, room = weights // unit, capacity // unit
    problem = _unsettled(units, room) if lossy else _settled(values, units, room)
    chosen = _solve(values, units, room, problem, lossy)
    return _as_ortools(chosen, weights, capacity) if variant == "ortools" else chosen


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """What is left to decide: `taken` items are in every best choice, `opened` ones may be.

    At the price the opened items that are worth it are `priced_in`; a best choice may weigh up to `more` than these or
    up to `less`, whichever items one looks at.
    """

    taken: np.ndarray
    opened: np.ndarray
    priced_in: np.ndarray
    more: int
    less: int


def _check(values: np.ndarray, weights: np.ndarray) -> None:
    if values.ndim != 1 or values.shape != weights.shape:
        raise ValueError(f"values {values.shape} and weights {weights.shape} must be vectors of one length")
    if not np.isfinite(values).all():
        raise ValueError(f"value {np.isfinite(values).argmin()} is not finite")
    if len(weights) and (weights.dtype.kind not in "iu" or weights.min() < 0):
        raise ValueError(f"weights must be integers of at least 0, got {weights.dtype} from {weights.min()}")


def _unsettled(weights: np.ndarray, capacity: int) -> _Problem:
    none, total = np.zeros(len(weights), bool), int(weights.sum())
    return _Problem(taken=none, opened=weights <= capacity, priced_in=none, more=total, less=total)


def _settled(values: np.ndarray, weights: np.ndarray, capacity: int) -> _Problem:
    fits = (weights <= capacity) & (values > 0) & ~_outdone(values, weights, capacity)
    density = np.where(fits, np.inf, -np.inf)
    np.divide(values, weights, out=density, where=fits & (weights > 0))
    order = np.argsort(-density, kind="stable")[: fits.sum()]
    left = capacity - np.cumsum(weights[order])
    if not len(order) or left[-1] >= 0:
        none = np.zeros(len(values), bool)
        return _Problem(taken=fits, opened=none, priced_in=none, more=0, less=0)
    price = density[order[np.argmax(left < 0)]]
    reduced = np.where(fits, values - price * weights, -np.inf)
    bound = price * capacity + reduced[reduced > 0].sum()
    gap = bound - _greedy(values[order].tolist(), weights[order].tolist(), capacity) + MARGIN * bound
    opened, gains = np.abs(reduced) <= gap, reduced > 0
    return _Problem(
        taken=reduced > gap,
        opened=opened,
        priced_in=opened & gains,
        more=_heaviest(weights[opened & ~gains], -reduced[opened & ~gains], gap),
        less=_heaviest(weights[opened & gains], reduced[opened & gains], gap),
    )


def _heaviest(weights: np.ndarray, costs: np.ndarray, budget: float) -> int:
    """At least the greatest weight of items whose costs stay within `budget`."""
    weights, costs = weights[weights > 0], costs[weights > 0]
    order = np.argsort(costs / weights)
    within = np.searchsorted(np.cumsum(costs[order]), budget, side="right") + 1  # the last one in part
    return int(weights[order][:within].sum())


def _outdone(values: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """Which items have so many better ones of their own weight that these alone fill the capacity.

    Of equally good ones the earlier count as better, but only where sums are exact whatever their order.
    """
    exact = (values == np.trunc(values)).all() or (values == values[0]).all()
    order = np.lexsort((-values, weights))  # stable: earlier first
    at = np.arange(len(order))
    new_weight = np.diff(weights[order], prepend=-1) > 0
    new_value = new_weight | (np.diff(-values[order], prepend=0) > MARGIN * np.abs(values).max())
    first_better = np.maximum.accumulate(np.where(new_weight, at, 0))
    behind_better = at if exact else np.maximum.accumulate(np.where(new_value, at, 0))
    outdone = np.empty(len(order), bool)
    outdone[order] = (behind_better - first_better) * weights[order] > capacity - weights[order]
    return outdone


def _greedy(values: list[float], weights: list[int], capacity: int) -> float:
    """The value of taking each item, densest first, that still fits."""
    total = 0.0
    for value, weight in zip(values, weights, strict=True):
        if weight <= capacity:
            total += value
            capacity -= weight
    return total


def _solve(values: np.ndarray, weights: np.ndarray, capacity: int, problem: _Problem, lossy: bool) -> np.ndarray:
    """Fill the table over the capacity that the taken items leave, and read the choice back.

    `best[c]` is the value of the best choice so far within c. It is right where the path of a best choice can pass;
    elsewhere it is too low, which no comparison on such a path turns on.
    """
    room = end = capacity - int(weights[problem.taken].sum())
    best = np.full(room + 1, -np.inf)
    sums, better = np.empty(room + 1), np.empty(room + 1, bool)
    rows: dict[int, tuple[int, np.ndarray]] = {}
    following = int(weights[problem.priced_in].sum())  # the priced weight of the items after this one
    opened_after = int(weights[problem.opened].sum())
    best[max(0, room - following - problem.more) : max(0, room - following + problem.less + 1)] = 0
    for item in np.flatnonzero(problem.taken | problem.opened).tolist():
        weight = int(weights[item])
        if problem.opened[item]:
            opened_after -= weight
            following -= weight * bool(problem.priced_in[item])
        lowest = max(0, room - min(opened_after, following + problem.more))
        stop = min(room, room - following + problem.less) + 1
        if problem.taken[item]:
            best[lowest:stop] += values[item]
            continue
        first = max(weight, lowest)
        if first >= stop:
            continue
        with_item, is_better = sums[first:stop], better[first:stop]
        np.add(best[first - weight : stop - weight], values[item], out=with_item)
        np.greater(with_item, best[first:stop], out=is_better)
        np.copyto(best[first:stop], with_item, where=is_better)
        if lossy and first == 0:
            best[0], is_better[0] = 0, False
        rows[item] = (first, np.packbits(is_better))
    chosen = np.flatnonzero(problem.taken).tolist()
    for item, (first, bits) in reversed(rows.items()):
        at = end - first
        if 0 <= at < 8 * len(bits) and bits[at >> 3] >> (7 - (at & 7)) & 1:
            chosen.append(item)
            end -= int(weights[item])
    return np.array(sorted(chosen), np.int64)


def _as_ortools(chosen: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """What KNAPSACK_DYNAMIC_PROGRAMMING_SOLVER reads back: it stops when the capacity is used up."""
    kept: list[int] = []
    for item in chosen[::-1].tolist():
        if capacity == 0:
            break
        kept.append(item)
        capacity -= int(weights[item])
    # Its table says "item 0" where no item improved anything.
    if 0 not in kept and capacity > 0 and weights[0] <= capacity:
        kept.append(0)
    return np.array(kept[::-1], np.int64)
