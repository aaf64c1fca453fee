"""Between the T frames of a video, at 1 a second, and the N indexes that the language model is shown; their importance.

Index i shows the frame at i/(N-1) of the video; frames repeat where T < N. The importance of an index comes from what
the model emitted: `samples` and `emitted` read its answers alone. `grid` is the paper's (Appendix A): an index gains
whenever one of its digits was likely, so 07 and 12 give weight to 02 and 17. Letters: M indexes emitted, W digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shown_frames(num_frames: int, num_indexes: int) -> np.ndarray:
    """The frame that each index shows, int64 [N]: i·(T-1)/(N-1), halves rounded down."""
    return _rounded(np.arange(_checked(num_frames, num_indexes)), num_frames - 1, num_indexes - 1)


def nearest_index(num_frames: int, num_indexes: int) -> np.ndarray:
    """The index nearest to each frame, int64 [T]."""
    _checked(num_frames, num_indexes)
    if num_frames == 1:
        return np.zeros(1, np.int64)
    return _rounded(np.arange(num_frames), num_indexes - 1, num_frames - 1)


def _rounded(number: np.ndarray, times: int, over: int) -> np.ndarray:
    # In integers: in floating point a half may come out on either side.
    return -((over - 2 * number * times) // (2 * over))


def _checked(num_frames: int, num_indexes: int) -> int:
    if num_frames < 1 or num_indexes < 2:
        raise ValueError(f"{num_frames} frames and {num_indexes} indexes: at least 1 and 2 are needed")
    return num_indexes


def scores_of_frames(index_score: np.ndarray, num_frames: int) -> np.ndarray:
    """Scores of the frames [T] from those of the indexes [N].

    A frame has the mean of the indexes that show it; where none does (T > N), the score of the nearest index.
    """
    index_score = np.asarray(index_score, np.float64)
    if num_frames > len(index_score):
        # Of a frame that is shown, the nearest index is the one that shows it.
        return index_score[nearest_index(num_frames, len(index_score))]
    shown = shown_frames(num_frames, len(index_score))
    total = np.bincount(shown, weights=index_score, minlength=num_frames)
    return total / np.bincount(shown, minlength=num_frames)


def summary_of_frames(indexes: Sequence[int], num_indexes: int, num_frames: int) -> np.ndarray:
    """The chosen frames, bool [T]: those of which any index is chosen, or the nearest one where T ≥ N."""
    chosen = np.zeros(num_indexes, bool)
    chosen[list(indexes)] = True
    return scores_of_frames(chosen, num_frames) > 0


def labels_of_indexes(label: np.ndarray, num_indexes: int) -> np.ndarray:
    """What `label` [T] says of the frame that each index shows: [N]."""
    return np.asarray(label)[shown_frames(len(label), num_indexes)]


def index_of_time(time_s: float, duration_s: float, num_indexes: int = 100) -> int:
    """The index of a moment, as the released code has it: N·time/duration, rounded to even at halves, N-1 at most."""
    if not duration_s > 0:
        raise ValueError(f"a video of {duration_s} s has no moments")
    return max(0, min(round(num_indexes * time_s / duration_s), num_indexes - 1))


def official_frames(
    num_frames: int, num_indexes: int, fps: float, split: tuple[float, float] | None = None
) -> np.ndarray:
    """Which of the original frames the released code shows, int64 [N], of all or from `split`'s start_s to end_s."""
    first, last = 0, num_frames - 1
    if split is not None:
        first, last = max(0, int(split[0] * fps)), min(int(split[1] * fps), last)
    return np.linspace(first, last, num_indexes).astype(np.int64)


def emitted(indexes: Sequence[int], num_indexes: int) -> np.ndarray:
    """1 for the emitted indexes, 0 for the others: float64 [N]."""
    score = np.zeros(num_indexes)
    score[list(indexes)] = 1
    return score


def samples(answers: Sequence[Sequence[int]], num_indexes: int) -> np.ndarray:
    """The share of the sampled answers that hold each index: float64 [N]. Raises ValueError for no answers."""
    if not len(answers):
        raise ValueError("importance by samples needs at least one answer")
    return np.mean([emitted(indexes, num_indexes) for indexes in answers], axis=0)


def grid(digit_logit: np.ndarray, num_indexes: int) -> np.ndarray:
    """The paper's scores, float64 [N], from the logits of the ten digits at each emitted digit [M,W,10].

    The mean over the emitted indexes of the product of their digits' chances. Zeros if nothing was emitted.
    """
    digit_logit = np.asarray(digit_logit, np.float64)
    if not len(digit_logit):
        return np.zeros(num_indexes)
    if digit_logit.ndim != 3 or digit_logit.shape[2] != 10 or 10 ** digit_logit.shape[1] < num_indexes:
        raise ValueError(f"digit_logit is {list(digit_logit.shape)}; expected [M,W,10] for {num_indexes} indexes")
    chance = np.exp(digit_logit - digit_logit.max(-1, keepdims=True))
    chance /= chance.sum(-1, keepdims=True)
    product = chance[:, 0]
    for place in range(1, chance.shape[1]):
        product = (product[:, :, None] * chance[:, place, None]).reshape(len(chance), -1)
    return product.mean(0)[:num_indexes]
