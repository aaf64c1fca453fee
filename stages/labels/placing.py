"""Find where a video shows an article's pictures, in the order of its steps.

How well a picture fits a frame is their cosine c, counted from the picture's median m over all frames:
(c - m) / (1 - m). 0 is no better than half of the video, 1 the same picture. A limit to the cosine itself would mean
something else for each encoder: of the sample's pancakes half of all pairs of frames reach 0.88 by a CLIP with random
weights, 0.46 by colour histograms.

TL;DW (ECCV 2022) made WikiHow Summaries by comparing ResNet-50 features of the article's pictures with those of all
frames. Its labels are of frames at the video's own rate; the published code (medhini/Instructional-Video-Summarization)
lacks this part, so order, limit and margin are ours.

Letters: P pictures, T frames, n frames of a clip (1 for an image).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Features are stored as float16, so smaller differences of cosines are chance.
SMALLEST = 1e-3


def cosines(picture: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The mean cosine of a picture's frames with those of the video from each frame on: float32 [T].

    `picture` is [n, D], `frame` [T, D], both of unit norm and at one rate. -inf where the video ends before the clip.
    A clip longer than the video is cut.
    """
    picture = picture[: len(frame)].astype(np.float32)
    each = picture @ frame.astype(np.float32).T
    last = len(frame) - len(picture)
    found = np.full(len(frame), -np.inf, np.float32)
    found[: last + 1] = sum(row[k : k + last + 1] for k, row in enumerate(each)) / len(picture)
    return found


def fit(cosine: np.ndarray) -> np.ndarray:
    """How well a picture fits from each frame on, at most 1: [T]."""
    median = np.median(cosine[np.isfinite(cosine)])
    return (cosine - median) / max(1 - median, SMALLEST)


def place(fits: Sequence[np.ndarray], least: float) -> list[int | None]:
    """The frame at which each picture begins, None for one that is not shown.

    The sum of `fit - least` over the pictures shown is the largest that is possible where none begins before an
    earlier one. Dynamic programming over pictures and frames, O(P T).
    """
    if not fits:
        return []
    best = np.zeros(len(fits[0]))  # of the pictures so far, the last of which begins at t or before
    taken = []  # P times [T]: where the picture begins in the best one, -1 where it is left out
    frames = np.arange(len(best))
    for found in fits:
        gain = best + found - least
        shown = np.maximum.accumulate(gain)
        # Where the largest so far was first reached.
        at = np.maximum.accumulate(np.where(gain > np.append(-np.inf, shown[:-1]), frames, 0))
        taken.append(np.where(shown > best, at, -1))
        best = np.maximum(best, shown)
    places: list[int | None] = []
    t = len(best) - 1
    for at in reversed(taken):
        places.append(int(at[t]) if at[t] >= 0 else None)
        t = t if places[-1] is None else places[-1]
    return places[::-1]


def stretch(
    begin: int, length: int, found: np.ndarray, margin: float, shots: tuple[np.ndarray, np.ndarray]
) -> tuple[int, int]:
    """The frames that show a picture which begins at frame `begin`: from, up to.

    A clip says itself how long it is. An image is one moment of its shot (`shots`: starts and stops): the frames beside
    it count as far as they fit less well by no more than `margin`.
    """
    start, stop = begin, begin + length
    if length > 1:
        return start, stop
    inside = (shots[0] <= begin) & (begin < shots[1])
    first, last = (int(shots[0][inside][0]), int(shots[1][inside][0])) if inside.any() else (start, stop)
    while start > first and found[start - 1] >= found[begin] - margin:
        start -= 1
    while stop < last and found[stop] >= found[begin] - margin:
        stop += 1
    return start, stop
