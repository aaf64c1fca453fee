"""Exact 0/1 knapsack with the field's rule for ties: a later item is taken only if that is strictly better.

The dynamic programme over the capacity runs in numpy, one vector operation for each item. Three steps make it small.

1. An item is left out if so many better items of its own weight exist that they alone fill the capacity.
2. Put a price on each unit of weight. An item is settled, taken or left out, if its value and the price of its weight
   differ by more than the gap between Lagrange's bound and a greedy choice (Martello and Toth, "Knapsack Problems",
   1990, §2.2.3).
3. The same gap bounds how far the weight of a best choice can be from that of the choice at the price. Each item fills
   only this band of the table. The band is the whole table where values are proportional to weights.

Sums run in the order of the items, so rounding breaks ties of decimal values as in the official tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Variant = Literal["exact", "pgl-sum", "ortools"]
# Relative, and far above the rounding error of a sum of 10^5 values. So a settled item is never part of a tie.
MARGIN = 1e-9


def knapsack(values: np.ndarray, weights: np.ndarray, capacity: int, variant: Variant = "exact") -> np.ndarray:
    """The items of greatest total value whose weights fit into `capacity`: their indices, ascending.

    `values` float [C], `weights` int [C]. The variants repeat the errors of official solvers. They differ only where
    an item has weight 0 or value 0:
    - `exact` makes no error, and equals the solver of rethinking-evs;
    - `pgl-sum` (PGL-SUM, CA-SUM, CSTA, MR.HiSum) loses items of weight 0 once the capacity is used up;
    - `ortools` (VASNet, MSVA, DSNet, A2Summ) loses them too. It takes all items where all fit, even worthless ones,
      and takes item 0 where it fits and no item before the first chosen one has a value.
    Raises ValueError for values that are not finite, for weights that are negative or no integers, and for arrays of
    different lengths.
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
    # A common divisor makes the table smaller. Not for `lossy`: which items are lost depends on the exact rest of the
    # capacity.
    unit = 1 if lossy else max(1, int(np.gcd.reduce(weights)))
    units, room = weights // unit, capacity // unit
    problem = _unsettled(units, room) if lossy else _settled(values, units, room)
    chosen = _solve(values, units, room, problem, lossy)
    return _as_ortools(chosen, weights, capacity) if variant == "ortools" else chosen


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """What the table must decide: `taken` items are in every best choice, `opened` items may be, others are in none.

    `priced_in` are the opened items that are worth their price. Over any range of items, a best choice weighs at most
    `more` above them and at most `less` below them.
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
    """Every item is open: what an official solver loses does not follow from the bounds."""
    none, total = np.zeros(len(weights), bool), int(weights.sum())
    return _Problem(taken=none, opened=weights <= capacity, priced_in=none, more=total, less=total)


def _settled(values: np.ndarray, weights: np.ndarray, capacity: int) -> _Problem:
    """Settle as many items as the bounds allow (steps 1 to 3 above)."""
    fits = (weights <= capacity) & (values > 0) & ~_outdone(values, weights, capacity)
    # An item of weight 0 is infinitely dense; `where` keeps numpy from dividing by 0.
    density = np.where(fits, np.inf, -np.inf)
    np.divide(values, weights, out=density, where=fits & (weights > 0))
    order = np.argsort(-density, kind="stable")[: fits.sum()]
    left = capacity - np.cumsum(weights[order])
    if not len(order) or left[-1] >= 0:
        none = np.zeros(len(values), bool)
        return _Problem(taken=fits, opened=none, priced_in=none, more=0, less=0)
    # The density of the first item that no longer fits: at this price Lagrange's bound is the linear relaxation's.
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
    """An upper bound on the weight of items whose costs together stay within `budget`."""
    weights, costs = weights[weights > 0], costs[weights > 0]
    order = np.argsort(costs / weights)
    # One more than fits: a fraction of the next item may still be within the budget.
    within = np.searchsorted(np.cumsum(costs[order]), budget, side="right") + 1
    return int(weights[order][:within].sum())


def _outdone(values: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """The items that have so many better items of their own weight that these alone fill the capacity: bool [C]."""
    # Of equal values the earlier item is the better one. That holds only if sums are exact in any order: with decimal
    # values, rounding may prefer the later item, so equal ones then do not count.
    exact = (values == np.trunc(values)).all() or (values == values[0]).all()
    # Stable, so of equal items the earlier comes first.
    order = np.lexsort((-values, weights))
    at = np.arange(len(order))
    new_weight = np.diff(weights[order], prepend=-1) > 0
    new_value = new_weight | (np.diff(-values[order], prepend=0) > MARGIN * np.abs(values).max())
    first_better = np.maximum.accumulate(np.where(new_weight, at, 0))
    behind_better = at if exact else np.maximum.accumulate(np.where(new_value, at, 0))
    outdone = np.empty(len(order), bool)
    outdone[order] = (behind_better - first_better) * weights[order] > capacity - weights[order]
    return outdone


def _greedy(values: list[float], weights: list[int], capacity: int) -> float:
    """The total value if each item, densest first, is taken if it still fits: a lower bound on the best."""
    total = 0.0
    for value, weight in zip(values, weights, strict=True):
        if weight <= capacity:
            total += value
            capacity -= weight
    return total


def _solve(values: np.ndarray, weights: np.ndarray, capacity: int, problem: _Problem, lossy: bool) -> np.ndarray:
    """Fill the table over the capacity that the taken items leave, then read the choice back from its decisions.

    `best[c]` is the value of the best choice so far within capacity c. It is right wherever the path of a best choice
    can pass. Elsewhere it is too low, and no decision on such a path depends on it.
    """
    room = end = capacity - int(weights[problem.taken].sum())
    best = np.full(room + 1, -np.inf)
    # Buffers that all items share: the loop allocates no array of the table's width.
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
        # Taken items are added at their place in the order, not at the end: the order of sums decides rounding, and
        # rounding decides ties.
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
        # The official table has a fixed row for capacity 0, which an item of weight 0 cannot improve.
        if lossy and first == 0:
            best[0], is_better[0] = 0, False
        # One bit a decision: as bytes, 10,000 items over a capacity of 100,000 would take 1 GB.
        rows[item] = (first, np.packbits(is_better))
    chosen = np.flatnonzero(problem.taken).tolist()
    for item, (first, bits) in reversed(rows.items()):
        at = end - first
        if 0 <= at < 8 * len(bits) and bits[at >> 3] >> (7 - (at & 7)) & 1:
            chosen.append(item)
            end -= int(weights[item])
    return np.array(sorted(chosen), np.int64)


def _as_ortools(chosen: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """The choice as KNAPSACK_DYNAMIC_PROGRAMMING_SOLVER of ortools reads it back (checked with ortools 9.6.2534)."""
    kept: list[int] = []
    for item in chosen[::-1].tolist():
        # It stops here, and so loses earlier items of weight 0.
        if capacity == 0:
            break
        kept.append(item)
        capacity -= int(weights[item])
    # In its table, "no item improved this" and "item 0 did" are both written as 0.
    if 0 not in kept and capacity > 0 and weights[0] <= capacity:
        kept.append(0)
    return np.array(kept[::-1], np.int64)
