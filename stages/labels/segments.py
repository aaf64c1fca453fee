"""TL;DW's segments and steps (ECCV 2022): runs of similar segments of a video.

Letters: T frames, G segments, P steps, D components of a feature.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Maximum = Literal["pair", "row-mean"]
# Rows of the matrix of similarities that are in memory at once: ten hours have 9,000 segments of 4 s.
AT_ONCE = 1024


def segments(time_s: np.ndarray, segment_s: float) -> np.ndarray:
    """The segment of `segment_s` seconds that each frame is in, numbered from 0 without gaps: int [T]."""
    number = np.floor(time_s.astype(np.float64) / segment_s)
    # A gap between two frames may be longer than a segment: an empty segment would have no mean.
    return np.concatenate([[0], np.cumsum(np.diff(number) != 0)]).astype(np.int64)


def merged(direction: np.ndarray, merge: float, maximum: Maximum) -> np.ndarray:
    """The step of each segment, given features [G,D] of unit norm or S3D's: int [G], numbered from 0.

    A segment joins the step of the segment before it if their dot product exceeds `merge` times the video's largest: of
    any two segments (`pair`), or of one segment with all, itself included, on average (`row-mean`).
    """
    largest = float((direction @ direction.mean(axis=0)).max()) if maximum == "row-mean" else largest_pair(direction)
    cut = (direction[1:] * direction[:-1]).sum(axis=1) <= merge * largest
    return np.concatenate([[0], np.cumsum(cut)]).astype(np.int64)


def largest_pair(direction: np.ndarray) -> float:
    """The largest dot product of two different rows [G,D]; -inf for a single row."""
    largest = -np.inf
    for first in range(0, len(direction), AT_ONCE):
        similar = direction[first : first + AT_ONCE] @ direction[first:].T
        # A segment with itself.
        np.fill_diagonal(similar, -np.inf)
        largest = max(largest, float(similar.max()))
    return largest


def means(feature: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Mean of the rows [n,D] at each place, float64 [max place + 1, D]. Places ascend, and none is empty."""
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return np.add.reduceat(feature.astype(np.float64), starts) / np.bincount(place)[:, None]


def unit(feature: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float64; a row of zeros stays zero."""
    feature = feature.astype(np.float64)
    length = np.linalg.norm(feature, axis=1, keepdims=True)
    return feature / np.where(length == 0, 1, length)
