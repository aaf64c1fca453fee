"""Match the key frames of a summary with those that users chose: CUS_A, CUS_E and F (VSUMM).

CUS ("comparison of user summaries") is by de Avila et al., Pattern Recognition Letters 32(1), 2011. It pairs the key
frames of a method and of a user one to one. CUS_A is the number of pairs divided by the user's key frames, CUS_E the
number of the method's key frames without a pair divided by the user's key frames. Both are means over the users.

What may be paired differs. CUS pairs pictures: histograms of 16 hues, less than 0.5 apart by Manhattan distance
(sandraavila/vsumm@1a5167e README.md). OST pairs pictures whose histograms of hue and saturation correlate, if they are
also near in time (BHI-Research/OST@5e7a339 evaluator/measurer.cpp, methodresolver.cpp). Annotations hold no pictures:
in the protocol `vsumm` the distance in time decides alone (`num_pairs`). For those who have the videos there are
`hue_histogram` and `num_alike`. With these, `cus_of` gave all 20 answers of CUS' own example (CUS/CUS.zip there).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

NUM_HUES = 16
MOST_UNLIKE = 0.5


class Cus(NamedTuple):
    """Means over the users: CUS_A in 0 to 1, CUS_E from 0 up (above 1 where a summary is long), F in 0 to 1."""

    cus_a: float
    cus_e: float
    keyframe_f1: float


def frames_of(summary: np.ndarray, picks: np.ndarray | None) -> np.ndarray:
    """The original frames that a binary summary chooses. It is of `picks` if it is as long, else of all frames."""
    chosen = np.flatnonzero(summary)
    return picks[chosen] if picks is not None and len(summary) == len(picks) else chosen


def num_pairs(summary: Sequence[int] | np.ndarray, user: Sequence[int] | np.ndarray, most_apart: int) -> int:
    """The largest number of one-to-one pairs of key frames at most `most_apart` frames apart.

    `summary` and `user` are frame numbers in any order; a number that is there twice is one key frame.
    """
    ours, theirs = np.unique(np.asarray(summary)).tolist(), np.unique(np.asarray(user)).tolist()
    # All windows are equally long, so giving each key frame the earliest free one within reach is the best matching.
    found = at = 0
    for frame in theirs:
        while at < len(ours) and ours[at] < frame - most_apart:
            at += 1
        if at < len(ours) and ours[at] <= frame + most_apart:
            found, at = found + 1, at + 1
    return found


def hue_histogram(picture: np.ndarray) -> np.ndarray:
    """The share of pixels in each of 16 equal ranges of hue, float64 [16]; `picture` is RGB [H,W,3], 0 to 255.

    A grey pixel has hue 0.
    """
    pixels = picture.reshape(-1, 3).astype(np.float64)
    red, green, blue = pixels.T
    most, spread = pixels.max(1), np.ptp(pixels, axis=1)
    # Sixths of the circle, from the channel that is largest.
    sixths = np.select(
        [most == red, most == green], [(green - blue) % (6 * np.maximum(spread, 1)), blue - red + 2 * spread],
        red - green + 4 * spread,
    )  # fmt: skip
    hue = np.divide(sixths, 6 * spread, out=np.zeros(len(pixels)), where=spread > 0)
    return np.histogram(hue, NUM_HUES, (0, 1))[0] / len(pixels)


def num_alike(summary: np.ndarray, user: np.ndarray, most_unlike: float = MOST_UNLIKE) -> int:
    """The largest number of one-to-one pairs of key frames whose histograms [n,16] differ by less than `most_unlike`.

    The difference is the Manhattan distance, 0 to 2. CUS takes the first pair that it finds, which can be fewer.
    """
    if not len(summary) or not len(user):
        return 0
    alike = np.abs(summary[:, None] - user[None]).sum(2) < most_unlike
    return int((maximum_bipartite_matching(csr_array(alike)) >= 0).sum())


def cus_of(pairs: Iterable[int], num_summary: int, num_users: Iterable[int]) -> Cus:
    """CUS_A, CUS_E and F from the pairs with each user, the key frames of the summary and those of each user.

    A user without key frames has no measure and is left out; all are nan if no user has any. F of an empty summary is
    0.
    """
    rows = [(found, size) for found, size in zip(pairs, num_users, strict=True) if size]
    if not rows:
        return Cus(np.nan, np.nan, np.nan)
    found, sizes = np.array(rows, np.float64).T
    # F of one user: 2PR / (P + R) with P = pairs / summary and R = pairs / user's, which is this.
    f1 = 2 * found / (num_summary + sizes)
    return Cus(float((found / sizes).mean()), float(((num_summary - found) / sizes).mean()), float(f1.mean()))


def cus(summary: Sequence[int] | np.ndarray, users: Sequence[Sequence[int] | np.ndarray], most_apart: int) -> Cus:
    """CUS_A, CUS_E and F of the key frames `summary` against those of each user, paired by time alone."""
    num = len(np.unique(np.asarray(summary)))
    pairs = [num_pairs(summary, user, most_apart) for user in users]
    return cus_of(pairs, num, [len(np.unique(np.asarray(user))) for user in users])
