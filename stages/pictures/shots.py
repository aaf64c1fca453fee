"""Kernel temporal segmentation (KTS): cut a video into shots where its frame features change.

Potapov et al., "Category-specific video summarization" (ECCV 2014), as the field's code runs it (`cpd_auto` of CSTA,
DSNet and VASNet). Kernel: linear. Cost of m change points: obj(m)/N + vmax·m/(2N)·(ln(N/m)+1), where obj(m) is the
smallest sum of the scatters of m+1 shots. The smallest m of least cost wins, and the earliest change point on a tie.

That code computes obj(m) for every m, which takes m·N²/2 steps. Few of them are needed. The penalty is strictly
concave in m, so between two corners of the lower convex hull of (m, obj(m)) the cost lies above the smaller cost of
the two corners. The best m is therefore a corner. A corner has the least cost if every change has one fixed price,
and one pass of N²/2 steps finds that cut over all m at once.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

# The scatters of N frames take 4·N² bytes, here 400 MB. Longer videos are cut into equal windows; each one is exact.
MAX_WINDOW = 10_000
# Rows of scatters per product of matrices: enough for BLAS, and little memory beside the table.
ENDS = 256


def shots(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start and stop of the shots of `features` [N, D]: int32 [C] each, half-open, covering [0, N).

    Raises ValueError as `change_points` does.
    """
    bounds = np.concatenate(([0], change_points(features), [len(features)])).astype(np.int32)
    return bounds[:-1], bounds[1:]


def change_points(features: np.ndarray, max_changes: int | None = None, vmax: float = 1.0) -> np.ndarray:
    """Return the first frames of all shots except the first, ascending, int64 [C-1].

    `max_changes` bounds their number; None means N-1, as in CSTA and DSNet. Then the penalty alone decides. N-1
    changes cost vmax/2. Unit-norm features with a scatter per frame below that (a mean cosine above 0.5, as in
    pictures of one video) are never cut into single frames. Pure noise is, as in the field's code.

    A video of more than `MAX_WINDOW` frames also changes at the windows' borders, and the bound holds for each window.
    Raises ValueError for features that are not [N >= 1, D] or not finite, and for vmax < 0.
    """
    _check(features, vmax)
    num_windows = -(-len(features) // MAX_WINDOW)
    borders = np.linspace(0, len(features), num_windows + 1).round().astype(np.int64)
    found: list[np.ndarray] = [borders[1:-1]]
    for start, stop in itertools.pairwise(borders):
        found.append(start + _of_window(features[start:stop], max_changes, vmax))
    return np.sort(np.concatenate(found))


def _of_window(features: np.ndarray, max_changes: int | None, vmax: float) -> np.ndarray:
    table = _Scatters(features)
    points = _best_cut(table, vmax).points
    # The bound can exclude the best corner, and the best m below the bound need not be a corner.
    if max_changes is not None and len(points) > max_changes:
        return _best_of_few(table, max_changes, vmax)
    return points


def _check(features: np.ndarray, vmax: float) -> None:
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"features must be [N, D] with N >= 1, got {features.shape}")
    finite = np.isfinite(features).all(1)
    if not finite.all():
        raise ValueError(f"the features of frame {finite.argmin()} are not finite")
    if vmax < 0:
        raise ValueError(f"vmax must not be negative, got {vmax}")


@dataclass(frozen=True)
class _Cut:
    """Change points with the least of `objective` + `price` · their number; `objective` is their scatter."""

    points: np.ndarray
    objective: float
    price: float

    @property
    def num_changes(self) -> int:
        return len(self.points)


class _Scatters:
    """Scatter of the frames [t, l) at place l(l-1)/2 + t, for all 0 <= t < l <= N."""

    def __init__(self, features: np.ndarray) -> None:
        num_frames = self.num_frames = len(features)
        self.values = np.empty(num_frames * (num_frames + 1) // 2)
        sums = np.zeros((num_frames + 1, features.shape[1]))
        sums[1:] = features
        # A shift changes no scatter, but without it the cumulative sums of long videos lose digits.
        sums[1:] -= sums[1:].mean(0)
        energy = np.concatenate(([0.0], np.cumsum(np.einsum("nd,nd->n", sums[1:], sums[1:]))))
        np.cumsum(sums, 0, out=sums)
        norm = np.einsum("nd,nd->n", sums, sums)
        for first in range(1, num_frames + 1, ENDS):
            stop = min(first + ENDS, num_frames + 1)
            for end, dot in zip(range(first, stop), sums[first:stop] @ sums[:stop].T, strict=True):
                between = norm[end] - 2 * dot[:end] + norm[:end]
                row = energy[end] - energy[:end] - between / np.arange(end, 0, -1)
                # Rounding can make the scatter of equal frames slightly negative.
                np.maximum(row, 0, out=self.up_to(end))

    def up_to(self, end: int) -> np.ndarray:
        """The scatters of [t, end) for each t < end."""
        return self.values[end * (end - 1) // 2 :][:end]

    def objective(self, points: np.ndarray) -> float:
        bounds = itertools.pairwise([0, *points.tolist(), self.num_frames])
        return float(sum(self.up_to(stop)[start] for start, stop in bounds))


def _cost(objective: float | np.ndarray, num_changes: int | np.ndarray, num_frames: int, vmax: float) -> np.ndarray:
    penalty = vmax * num_changes / (2 * num_frames) * (np.log(num_frames / np.maximum(num_changes, 1)) + 1)
    return objective / num_frames + penalty


def _best_cut(table: _Scatters, vmax: float) -> _Cut:
    """The cut of least cost over all numbers of changes."""
    num_frames = table.num_frames
    uncut = _Cut(np.empty(0, np.int64), table.objective(np.empty(0, np.int64)), np.inf)
    single = _Cut(np.arange(1, num_frames), 0.0, 0.0)

    def rank(cut: _Cut) -> tuple[float, int]:
        return float(_cost(cut.objective, cut.num_changes, num_frames, vmax)), cut.num_changes

    best = min(uncut, single, key=rank)
    between = [(uncut, single)]
    while between:
        fewer, more = between.pop()
        m = np.arange(fewer.num_changes + 1, more.num_changes)
        # A lower bound of obj(m): below it, m changes would have been cheaper at the price of one of the two cuts.
        least = fewer.objective - fewer.price * (m - fewer.num_changes)
        least = np.maximum(least, more.objective + more.price * (more.num_changes - m))
        if not (_cost(least, m, num_frames, vmax) <= rank(best)[0]).any():
            continue
        # At this price both cuts cost the same. A cheaper cut lies between them, or they are neighbouring corners.
        price = (fewer.objective - more.objective) / (more.num_changes - fewer.num_changes)
        cut = _cheapest(table, price)
        if fewer.num_changes < cut.num_changes < more.num_changes:
            best = min(best, cut, key=rank)
            between += [(cut, more), (fewer, cut)]
    return best


def _cheapest(table: _Scatters, price: float) -> _Cut:
    """The cut with the smallest sum of its scatters and of `price` for each change."""
    # Zeros and one array for both: `_extend` then adds any number of shots in a single pass.
    least = np.zeros(table.num_frames + 1)
    last_cut = _extend(table, least, least, price)
    points = []
    end = table.num_frames
    while end := int(last_cut[end]):
        points.append(end)
    found = np.array(points[::-1], np.int64)
    return _Cut(found, table.objective(found), price)


def _best_of_few(table: _Scatters, max_changes: int, vmax: float) -> np.ndarray:
    """The change points of least cost with at most `max_changes`, by the plain dynamic programme: one pass per m."""
    num_frames = table.num_frames
    row = np.full(num_frames + 1, np.inf)
    # No frames need no shots; anything else cannot be covered by none.
    row[0] = 0
    last_cuts, costs = [], []
    for m in range(max_changes + 1):
        before, row = row, np.full(num_frames + 1, np.inf)
        last_cuts.append(_extend(table, before, row, 0))
        costs.append(_cost(row[-1], m, num_frames, vmax))
    points = [num_frames]
    for m in range(int(np.argmin(costs)), 0, -1):
        points.append(int(last_cuts[m][points[-1]]))
    return np.array(points[:0:-1], np.int64)


def _extend(table: _Scatters, before: np.ndarray, after: np.ndarray, price: float) -> np.ndarray:
    """Add one shot: after[l] = min over t < l of before[t] + scatter of [t, l) + price, for 1 <= l <= N.

    Returns the first such t for each l, uint16 [N+1]. If `after` is `before`, any number of shots is added.
    """
    # uint16 holds `MAX_WINDOW`, and `_best_of_few` keeps one such array per number of changes.
    last_cut = np.zeros(len(before), np.uint16)
    total = np.empty(len(before))
    for end in range(1, len(before)):
        np.add(before[:end], table.up_to(end), out=total[:end])
        last_cut[end] = first = total[:end].argmin()
        after[end] = total[first] + price
    return last_cut
