"""Which spoken sentences belong to which step of an article, by their embeddings. Letters: P steps, M sentences.

Of a video in which nobody speaks, frames take the place of sentences.
"""

from __future__ import annotations

import numpy as np

Run = tuple[int, int]  # sentences first to stop, half-open


def align(similarity: np.ndarray) -> list[Run | None]:
    """Give each step a run of neighbouring sentences, or None; runs follow the order of the steps and share nothing.

    Sentences between runs are left out. Of all such alignments it is one with the largest sum of similarity [P,M] less
    the mean similarity of the video, over all pairs. O(P·M).
    """
    num_steps, num_sentences = similarity.shape
    if not similarity.size:
        return [None] * num_steps
    gain = np.asarray(similarity, np.float64) - float(np.mean(similarity, dtype=np.float64))
    # Where all are alike, rounding alone would align something.
    gain[np.abs(gain) < 1e-6] = 0.0
    # best[m]: of the steps so far and the first m sentences. back[p][m]: the run of step p in it, (m, m) for none.
    best = np.zeros(num_sentences + 1)
    back = np.zeros((num_steps, num_sentences + 1, 2), np.int64)
    for step in range(num_steps):
        before, best = best, np.zeros(num_sentences + 1)
        # The open run ends with the sentence at hand: its value, with all before it, and where it began.
        opened, start = -np.inf, 0
        for m in range(1, num_sentences + 1):
            if before[m - 1] > opened:
                opened, start = float(before[m - 1]), m - 1
            opened += gain[step, m - 1]
            best[m] = before[m]
            back[step, m] = (m, m)
            if best[m - 1] > best[m]:
                best[m], back[step, m] = best[m - 1], back[step, m - 1]
            if opened > best[m]:
                best[m], back[step, m] = opened, (start, m)
    runs: list[Run | None] = [None] * num_steps
    at = num_sentences
    for step in reversed(range(num_steps)):
        first, stop = back[step, at].tolist()
        at = first
        if first < stop:
            runs[step] = (first, stop)
    return runs


def belonging(gain: np.ndarray) -> np.ndarray:
    """How surely each sentence belongs to each step: [P,M] in [0,1], with sums over the steps of at most 1.

    Over all alignments of the form of `align`, each weighted by exp(the sum of its `gain` [P,M]), it is the share of
    those that give the sentence to the step (forward and backward algorithm).
    """
    gain = np.asarray(gain, np.float64)
    if not gain.size:
        return np.zeros(gain.shape)
    before, total = _sums(gain)
    after, _ = _sums(gain[::-1, ::-1])
    return np.exp(np.minimum(before + after[::-1, ::-1] - gain - total, 0.0))


def _sums(gain: np.ndarray) -> tuple[np.ndarray, float]:
    """The logarithms of two weights: of all beginnings that end with sentence m in step p, [P,M]; of all alignments."""
    num_steps, num_sentences = gain.shape
    ending = np.empty((num_steps, num_sentences))
    # Beginnings whose last run is open and of step p; and those without an open run, whose next may be of step p.
    opened, free = np.full(num_steps, -np.inf), np.zeros(num_steps + 1)
    for m in range(num_sentences):
        opened = ending[:, m] = gain[:, m] + np.logaddexp(opened, free[:-1])
        free[1:] = np.logaddexp(free[1:], np.logaddexp.accumulate(opened))
    return ending, float(free[-1])
