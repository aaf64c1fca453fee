"""Kernel temporal segmentation (KTS): cut a video into shots where its frame features change.

Potapov et al., "Category-specific video summarization" (ECCV 2014), as the field's code runs it (`cpd_auto`
of CSTA, DSNet and VASNet): linear kernel; m change points cost obj(m)/N + vmax·m/(2N)·(ln(N/m)+1), where
obj(m) is the smallest sum of the m+1 shots' scatters; the first m of least cost wins, and the earliest change
point among equals. One dynamic programme serves all m.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

# The scatters of N frames take 4·N² bytes; longer videos are cut into equal windows first, each one exact.
MAX_WINDOW = 10_000
BLOCK = 16  # numbers of changes that are solved in one pass over the scatters
CHUNK, LANES = 256, 16


def shots(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and stop (int32 [C], half-open, covering [0, N)) of the shots of `features` [N, D], N >= 1."""
    bounds = np.concatenate(([0], change_points(features), [len(features)])).astype(np.int32)
    return bounds[:-1], bounds[1:]


def change_points(features: np.ndarray, max_changes: int | None = None, vmax: float = 1.0) -> np.ndarray:
    """The first frames of all shots but the first, ascending, int64 [C-1].

    `max_changes` bounds their number; None means N-1, as CSTA and DSNet have it. The penalty alone then
    decides: N-1 changes cost vmax/2, so unit-norm features whose scatter per frame is below that (a mean
    cosine above 0.5, as pictures of one video have) never come apart into single frames; pure noise
    does, as in the field's code. Videos of more than `MAX_WINDOW` frames also change at the windows' borders,
    and the bound holds for each window.
    """
    num_frames = len(features)
    if features.ndim != 2 or num_frames == 0:
        raise ValueError(f"features must be [N, D] with N >= 1, got {features.shape}")
    num_windows = -(-num_frames // MAX_WINDOW)
    borders = np.linspace(0, num_frames, num_windows + 1).round().astype(np.int64)
    found: list[np.ndarray] = [borders[1:-1]]
    for start, stop in itertools.pairwise(borders):
        most = stop - start - 1 if max_changes is None else min(max_changes, stop - start - 1)
        found.append(start + _best_changes(np.asarray(features[start:stop], np.float64), int(most), vmax))
    return np.sort(np.concatenate(found))


def _penalty(num_changes: np.ndarray | int, num_frames: int, vmax: float) -> np.ndarray:
    return vmax * num_changes / (2 * num_frames) * (np.log(num_frames / num_changes) + 1)


def _best_changes(x_ND: np.ndarray, max_changes: int, vmax: float) -> np.ndarray:  # noqa: N803
    num_frames = len(x_ND)
    advance = _compiled()
    scatter = _scatters(x_ND)
    ends = np.arange(1, num_frames + 1)
    # row[l]: least scatter of the first l frames with m changes; m = 0 is one segment from the first frame.
    row = np.concatenate(([np.inf], scatter[ends * (ends - 1) // 2]))
    best_m, best_cost, done = 0, row[num_frames] / num_frames, 0
    cuts: list[np.ndarray] = []
    # The penalty grows with m and no scatter is below 0: once it reaches the best cost, no larger m can win.
    while done < max_changes and _penalty(done + 1, num_frames, vmax) < best_cost:
        size = min(BLOCK, max_changes - done)
        objective, row, last_cut = advance(scatter, row, done, size)
        cuts.append(last_cut)
        m = np.arange(done + 1, done + size + 1)
        cost = objective / num_frames + _penalty(m, num_frames, vmax)
        if cost.min() < best_cost:
            best_m, best_cost = int(m[cost.argmin()]), cost.min()
        done += size
    return _walk_back(cuts, best_m, num_frames)


def _walk_back(cuts: list[np.ndarray], num_changes: int, num_frames: int) -> np.ndarray:
    found, end = np.empty(num_changes, np.int64), num_frames
    for m in range(num_changes - 1, -1, -1):
        end = int(cuts[m // BLOCK][m % BLOCK, end])
        found[m] = end
    return found


def _scatters(x_ND: np.ndarray) -> np.ndarray:  # noqa: N803
    """Scatter of the frames [t, l) at place l(l-1)/2 + t, for all 0 <= t < l <= N."""
    num_frames = len(x_ND)
    # Scatter does not change with the mean; without it the cumulative sums lose no digits.
    x_ND = x_ND - x_ND.mean(0)  # noqa: N806
    sums = np.concatenate((np.zeros((1, x_ND.shape[1])), np.cumsum(x_ND, 0)))
    energy = np.concatenate(([0.0], np.cumsum((x_ND**2).sum(1))))
    norm = (sums**2).sum(1)
    out = np.empty(num_frames * (num_frames + 1) // 2)
    for first in range(1, num_frames + 1, 64):
        dots = sums[first : first + 64] @ sums.T
        for end, dot in zip(range(first, num_frames + 1), dots, strict=False):
            length = np.arange(end, 0, -1)
            between = norm[end] - 2 * dot[:end] + norm[:end]
            place = end * (end - 1) // 2
            out[place : place + end] = np.maximum(energy[end] - energy[:end] - between / length, 0)
    return out


def _advance(scatter: np.ndarray, row: np.ndarray, done: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From `done` changes to `done + size`.

    Returns obj(m) of the new m, the last row, and for each l <= N where the last shot of l frames begins.
    """
    num_frames = len(row) - 1
    table = np.full((size + 1, num_frames + 1), np.inf)
    table[0] = row
    last_cut = np.zeros((size, num_frames + 1), np.uint16)  # MAX_WINDOW fits
    lane = np.empty(LANES)
    for end in range(done + 2, num_frames + 1):
        here = end * (end - 1) // 2
        for b in range(1, min(size, end - done - 1) + 1):
            before = table[b - 1]
            best, best_chunk = np.inf, done + b
            # Least value by chunks, in lanes that vectorise; then its first place within the one chunk.
            for chunk in range(done + b, end, CHUNK):
                stop = min(chunk + CHUNK, end)
                head, tail = before[chunk:stop], scatter[here + chunk : here + stop]
                lane[:] = np.inf
                whole = len(head) - len(head) % LANES
                for i in range(0, whole, LANES):
                    for j in range(LANES):
                        total = head[i + j] + tail[i + j]
                        lane[j] = total if total < lane[j] else lane[j]  # min() would not vectorise
                for i in range(whole, len(head)):
                    lane[0] = min(lane[0], head[i] + tail[i])
                if lane.min() < best:
                    best, best_chunk = lane.min(), chunk
            t = best_chunk
            while before[t] + scatter[here + t] != best:
                t += 1
            table[b, end] = best
            last_cut[b - 1, end] = t
    return table[1:, num_frames].copy(), table[size].copy(), last_cut


@functools.cache
def _compiled() -> Callable[..., Any]:
    from numba import njit

    try:
        return njit(cache=True)(_advance)
    except RuntimeError:  # numba finds no folder that it may write its cache to
        return njit(_advance)
