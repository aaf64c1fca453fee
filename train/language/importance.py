"""Importance scores of the indexes, from what a language model emitted. Letters: N indexes, M emitted, W digits.

`samples` and `emitted` read the answers alone. `grid` is the paper's (Appendix A): an index gains whenever one of its
digits was likely, so 07 and 12 give weight to 02 and 17.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
