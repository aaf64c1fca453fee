"""KTS with the official options lmin, lmax and desc_rate, which our own segmentation does not have.

A plain restatement of `cpd_nonlin` and `cpd_auto` (thswodnjs3/CSTA b070f7d, kts/) to compare with.
"""

from __future__ import annotations

import numpy as np


def scatters(features: np.ndarray) -> np.ndarray:
    """Return the scatter of the frames [t, l) at [t, l], and inf where l <= t."""
    x = features.astype(np.float64)
    kernel = x @ x.T
    total = len(kernel)
    sums = np.zeros((total + 1, total + 1))
    sums[1:, 1:] = kernel.cumsum(0).cumsum(1)
    energy = np.concatenate(([0], np.cumsum(np.diag(kernel))))
    inside = np.diag(sums)[None] - sums - sums.T + np.diag(sums)[:, None]
    t, stop = np.indices(sums.shape)
    table = np.full(sums.shape, np.inf)
    np.divide(inside, stop - t, out=table, where=stop > t)
    return np.where(stop > t, energy[None] - energy[:, None] - table, np.inf)


def segment(
    scatter: np.ndarray, max_changes: int, lmin: int = 1, lmax: int = 100_000
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the objective of each number of changes, and for each of them the table of last changes."""
    t, stop = np.indices(scatter.shape)
    allowed = np.where((stop - t >= lmin) & (stop - t <= lmax), scatter, np.inf)
    ends = np.arange(len(scatter))
    # The first segment is at most lmax-1 long, the others lmax: all three official codes are off by one here.
    row = np.where((ends >= lmin) & (ends < lmax), scatter[0], np.inf)
    objective, last_changes = [row[-1]], [np.zeros(len(scatter), int)]
    for _ in range(max_changes):
        sums = row[:, None] + allowed
        last_changes.append(sums.argmin(0))
        row = sums.min(0)
        objective.append(row[-1])
    return np.array(objective), last_changes


def points_of(last_changes: list[np.ndarray], num_changes: int) -> list[int]:
    points, stop = [], len(last_changes[0]) - 1
    for m in range(num_changes, 0, -1):
        stop = int(last_changes[m][stop])
        points.append(stop)
    return points[::-1]


def best_number(objective: np.ndarray, num_frames: int, vmax: float, desc_rate: float = 1) -> int:
    """Return the number of changes of least cost, the smallest of equals."""
    m = np.arange(1, len(objective))
    cost = objective / num_frames
    described = num_frames * desc_rate
    cost[1:] += vmax * m / (2 * described) * (np.log(described / m) + 1)
    return int(cost.argmin())
