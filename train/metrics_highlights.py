"""Average precision of ranked clips, as the highlight benchmarks take it."""

from __future__ import annotations

import numpy as np

SALIENCY_LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}  # QVHighlights' annotators rate from 0 to 4


def clip_means(frame_score: np.ndarray, clip_frames: int = 5) -> np.ndarray:
    """Means of consecutive clips of `clip_frames` frames, in the scores' own precision; the last may be shorter."""
    frame_score = np.asarray(frame_score)
    whole = len(frame_score) // clip_frames * clip_frames
    means = frame_score[:whole].reshape(-1, clip_frames).mean(1)
    return np.append(means, frame_score[whole:].mean()) if whole < len(frame_score) else means


def best_clips(clip_score: np.ndarray, share: float) -> np.ndarray:
    """The int(share·n) best clips, bool [n]; of equal ones the earlier, where torch.argsort may take any."""
    chosen = np.zeros(len(clip_score), bool)
    chosen[_ranking(clip_score)[: int(len(clip_score) * share)]] = True
    return chosen


def _ranking(score: np.ndarray) -> np.ndarray:
    return np.argsort(-np.asarray(score), kind="stable")


def _check(relevant: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    relevant, score = np.asarray(relevant) > 0, np.asarray(score)
    if relevant.shape != score.shape or relevant.ndim != 1:
        raise ValueError(f"labels {list(relevant.shape)} and scores {list(score.shape)} must be of one length")
    if not np.isfinite(score).all():
        raise ValueError(f"the score of clip {np.isfinite(score).argmin()} is not finite")
    return relevant, score


def average_precision(relevant: np.ndarray, score: np.ndarray) -> float:
    """scikit-learn's average precision of scores [n] for labels [n]; 0 where nothing is relevant."""
    from sklearn.metrics import average_precision_score

    relevant, score = _check(relevant, score)
    return float(average_precision_score(relevant, score)) if relevant.any() else 0.0


def softmax32(clip_score: np.ndarray) -> np.ndarray:
    """MR.HiSum's float32 softmax, which is not finite for scores of about 90 and more."""
    with np.errstate(over="ignore", invalid="ignore"):
        exponential = np.exp(np.asarray(clip_score, np.float32))
        return exponential / (exponential.sum() + np.float32(1e-7))


def trapezoidal_ap(relevant_by_rank: np.ndarray) -> float:
    """Area under precision over recall by trapezoids, precision 1 at recall 0 (UMT); 0 where nothing is relevant.

    `relevant_by_rank` [k] says of each rank whether it is relevant. Recall counts the relevant ones among these.
    """
    hits = np.asarray(relevant_by_rank) > 0
    if not hits.any():
        return 0.0
    precision = np.concatenate(([1.0], np.cumsum(hits) / np.arange(1, len(hits) + 1)))
    return float(((precision[:-1] + precision[1:]) / 2)[hits].mean())


def ranked_trapezoidal_ap(relevant: np.ndarray, score: np.ndarray) -> float:
    """`trapezoidal_ap` of clips ranked by score (YouTube Highlights: relevant is match > 0); equal scores in order."""
    relevant, score = _check(relevant, score)
    return trapezoidal_ap(relevant[_ranking(score)])


def top_clips_ap(score: np.ndarray, user_score: np.ndarray, top: int = 5) -> np.ndarray:
    """UMT's TVSum: for each user of `user_score` [U,n] the trapezoidal AP of the `top` clips, float64 [U].

    Relevant is what a user scores above the own (lower) median; a user with no such clip among the `top` gives 0.
    """
    user_score = np.atleast_2d(user_score)
    _check(user_score[0], score)
    median = np.sort(user_score, axis=1)[:, (user_score.shape[1] - 1) // 2]
    ranked = (user_score > median[:, None])[:, _ranking(score)[:top]]
    return np.array([trapezoidal_ap(row) for row in ranked])


def interpolated_ap(relevant: np.ndarray, score: np.ndarray) -> float:
    """QVHighlights' average precision: mean of the interpolated precisions at each change of recall.

    Where all clips are relevant 1, where none is 0.
    """
    from sklearn.metrics import precision_recall_curve

    relevant, score = _check(relevant, score)
    if relevant.all() or not relevant.any():
        return float(relevant.any())
    precision, recall, _ = precision_recall_curve(relevant, score)
    return float(np.maximum.accumulate(precision)[np.flatnonzero(np.diff(recall.astype(np.float32)))].mean())


def saliency(score: np.ndarray, clip_saliency: np.ndarray, level: int) -> tuple[float, float]:
    """QVHighlights of one query: mean AP over the annotators of `clip_saliency` [n,U], and whether the best clip hits.

    A clip is relevant to an annotator who rated it at least `level`. Scores beyond the n clips are left out, missing
    ones count as 0.
    """
    relevant = np.asarray(clip_saliency) >= level
    fitted = np.zeros(len(relevant))
    fitted[: len(score)] = score[: len(relevant)]
    best = int(np.argmax(score))
    hit = best < len(relevant) and relevant[best].any()
    return float(np.mean([interpolated_ap(column, fitted) for column in relevant.T])), float(hit)
