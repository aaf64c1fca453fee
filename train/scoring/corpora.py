"""Metrics whose value over many videos is no mean: statistics of each video, their sum, and the value of the sum.

A mean is the special case of the statistics (value, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsumdata.train.scoring import meteor, metrics_caption

Tokens = Sequence[str]
Value = Callable[[np.ndarray], np.ndarray]


def mean_value(sums: np.ndarray) -> np.ndarray:
    """The mean, from sums of (value, 1): [..., 2]."""
    return sums[..., 0] / sums[..., 1]


def _stacked(videos: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    return {video_id: np.mean(trials, axis=0) for video_id, trials in videos.items()}


def _ciders(videos: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    # All trials of a video have its references, which count once.
    rarity = metrics_caption.Rarity([trials[0][1] for trials in videos.values()])
    return {
        video_id: np.array([np.mean([rarity.cider(*trial) for trial in trials]), 1.0])
        for video_id, trials in videos.items()
    }


@dataclass(frozen=True)
class Corpus:
    """One metric: `count` looks at one tokenized text and its references, `value` at sums of statistics [..., K].

    `finish` makes the statistics [K] of each video of a run from what `count` gave for each of the video's trials.
    CIDEr needs it, because its words weigh by all videos' references.
    """

    count: Callable[[Tokens, Sequence[Tokens]], Any]
    value: Value
    finish: Callable[[Mapping[str, Sequence[Any]]], dict[str, np.ndarray]] = _stacked


def _grams(hypothesis: Tokens, references: Sequence[Tokens]) -> tuple[Any, list[Any]]:
    return metrics_caption.n_grams(hypothesis), [metrics_caption.n_grams(reference) for reference in references]


CORPORA: dict[str, Corpus] = {
    "bleu4": Corpus(metrics_caption.bleu_counts, metrics_caption.bleu),
    "meteor": Corpus(lambda text, references: meteor.running().counts(text, references), meteor.meteor),
    "rouge_l": Corpus(lambda text, references: np.array([metrics_caption.rouge_l(text, references), 1.0]), mean_value),
    "cider": Corpus(_grams, mean_value, _ciders),
}
