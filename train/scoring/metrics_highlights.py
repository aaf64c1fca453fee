"""Average precision of ranked clips, as the highlight benchmarks compute it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from vsumdata.datasets.video import Video

LAST_FRAME_S = 1 / 30  # of a video's length, how long its last frame is shown
SALIENCY_LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}  # QVHighlights' annotators rate from 0 to 4


def clip_means(
    frame_score: np.ndarray, clip_frames: int = 5, last: Literal["shorter", "zero-padded"] = "shorter"
) -> np.ndarray:
    """Means of consecutive clips of `clip_frames` frames, in the scores' precision.

    The last clip may be shorter. With `zero-padded` its sum is divided by `clip_frames` all the same, in float64.
    """
    frame_score = np.asarray(frame_score)
    if last == "zero-padded":
        # TripleSumm's code computes with Python's floats.
        padded = np.pad(frame_score.astype(np.float64), (0, -len(frame_score) % clip_frames))
        return np.asarray(padded.reshape(-1, clip_frames).mean(1))
    whole = len(frame_score) // clip_frames * clip_frames
    means = frame_score[:whole].reshape(-1, clip_frames).mean(1)
    return np.append(means, frame_score[whole:].mean()) if whole < len(frame_score) else means


def clips_in_time(
    frame_score: np.ndarray, user_score: np.ndarray, video: Video, clip_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """The clips of `clip_s` seconds that UMT cuts: their mean scores [n], and the users' at their middles [U,n].

    A clip ends before the last original frame is shown: with that, all 50 videos of TVSum have UMT's number of clips. A
    rest shorter than a clip is none; a video shorter than one is one clip.
    """
    time_s = np.asarray(video.frame_time_s, np.float64)
    lasts = (video.duration_s or time_s[-1] + (time_s[-1] - time_s[-2] if len(time_s) > 1 else 0.0)) - LAST_FRAME_S
    count = max(1, int(lasts / clip_s))
    middle = (np.arange(count) + 0.5) * clip_s
    nearest = np.abs(time_s[None] - middle[:, None]).argmin(1)
    place = np.floor(time_s / clip_s).astype(np.int64)
    inside = place < count
    num = np.bincount(place[inside], minlength=count)
    total = np.bincount(place[inside], weights=frame_score[inside], minlength=count)
    # Sparse frames leave some clips without any: the frame nearest to the middle stands for them.
    return np.where(num > 0, total / np.maximum(num, 1), frame_score[nearest]), user_score[:, nearest]


def best_clips(
    clip_score: np.ndarray,
    share: float,
    rounding: Literal["floor", "ceil"] = "floor",
    ties: Literal["earlier", "later"] = "earlier",
) -> np.ndarray:
    """The best clips, bool [n]: int(share·n) of them, or with `ceil` as many as that is rounded up.

    Of equal clips the earlier wins, or the later; MR.HiSum's torch.argsort takes any. TripleSumm takes the last ones of
    an ascending numpy.argsort: the later ones if the sort is stable. numpy's default is not, and differs by processor.
    """
    chosen = np.zeros(len(clip_score), bool)
    count = len(clip_score) * share
    ranking = _ranking(clip_score) if ties == "earlier" else np.argsort(clip_score, kind="stable")[::-1]
    chosen[ranking[: math.ceil(count) if rounding == "ceil" else int(count)]] = True
    return chosen


def _ranking(score: np.ndarray) -> np.ndarray:
    # A stable sort, so that equal scores keep their order on every machine.
    return np.argsort(-np.asarray(score), kind="stable")


def _check(relevant: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    relevant, score = np.asarray(relevant) > 0, np.asarray(score)
    if relevant.shape != score.shape or relevant.ndim != 1:
        raise ValueError(f"labels {list(relevant.shape)} and scores {list(score.shape)} must be of one length")
    if not np.isfinite(score).all():
        raise ValueError(f"the score of clip {np.isfinite(score).argmin()} is not finite")
    return relevant, score


def average_precision(relevant: np.ndarray, score: np.ndarray) -> float:
    """scikit-learn's average precision of scores [n] for labels [n], in [0, 1]; 0 if nothing is relevant."""
    from sklearn.metrics import average_precision_score

    relevant, score = _check(relevant, score)
    # scikit-learn warns if nothing is relevant, and warnings are errors in the tests.
    return float(average_precision_score(relevant, score)) if relevant.any() else 0.0


def softmax32(clip_score: np.ndarray) -> np.ndarray:
    """MR.HiSum's softmax over clips, float32 [n]; not finite for scores of about 90 and more."""
    # As in the official code: float32, without subtracting the maximum first. `average_precision` refuses an overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        exponential = np.exp(np.asarray(clip_score, np.float32))
        return exponential / (exponential.sum() + np.float32(1e-7))


def trapezoidal_ap(relevant_by_rank: np.ndarray) -> float:
    """Trapezoidal area under the precision-recall curve, as in UMT; 0 if nothing is relevant.

    `relevant_by_rank` [k] tells which of the first k ranks are relevant; recall is normalised by their number. The
    curve starts with precision 1 at recall 0.
    """
    hits = np.asarray(relevant_by_rank) > 0
    if not hits.any():
        return 0.0
    precision = np.concatenate(([1.0], np.cumsum(hits) / np.arange(1, len(hits) + 1)))
    return float(((precision[:-1] + precision[1:]) / 2)[hits].mean())


def ranked_trapezoidal_ap(relevant: np.ndarray, score: np.ndarray) -> float:
    """`trapezoidal_ap` of clips ranked by score; equal scores keep their order. YouTube Highlights: match > 0."""
    relevant, score = _check(relevant, score)
    return trapezoidal_ap(relevant[_ranking(score)])


def top_clips_ap(score: np.ndarray, user_score: np.ndarray, top: int = 5) -> np.ndarray:
    """UMT's metric for TVSum: the trapezoidal AP of the `top` clips for each user of `user_score` [U,n], float64 [U].

    A clip is relevant if the user scored it above his or her own median. If none of the `top` is, the AP is 0.
    """
    return np.array([top_ranked_ap(row, score, top) for row in above_median(user_score)])


def above_median(user_score: np.ndarray) -> np.ndarray:
    """Which of the scores [U,n] are above the user's own median, the lower one of an even number: bool [U,n]."""
    user_score = np.atleast_2d(user_score)
    # torch.median takes the lower of the two middle values, numpy's their mean.
    return np.asarray(user_score > np.sort(user_score, axis=1)[:, [(user_score.shape[1] - 1) // 2]])


def top_ranked_ap(relevant: np.ndarray, score: np.ndarray, top: int) -> float:
    """`trapezoidal_ap` of the `top` best clips alone; of all if there are fewer. Equal scores keep their order."""
    relevant, score = _check(relevant, score)
    return trapezoidal_ap(relevant[_ranking(score)[:top]])


def interpolated_ap(relevant: np.ndarray, score: np.ndarray) -> float:
    """QVHighlights' average precision: the mean of the interpolated precisions at each change of recall.

    It is 1 if all clips are relevant, and 0 if none is.
    """
    relevant, score = _check(relevant, score)
    if relevant.all() or not relevant.any():
        return float(relevant.any())
    precision, recall = precision_recall(relevant, score)
    # The official code compares recalls in float32: fewer values count as changes than in float64.
    return float(np.maximum.accumulate(precision)[np.flatnonzero(np.diff(recall.astype(np.float32)))].mean())


def precision_recall(relevant: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at each distinct score, the lowest first, and last 1 and 0; as scikit-learn has them."""
    # scikit-learn's own function checks its input for a millisecond: QVHighlights asks for nine curves a query.
    order = np.argsort(score, kind="stable")[::-1]
    ranked = score[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    hits = np.cumsum(relevant[order], dtype=np.float64)[last]
    return np.append((hits / (last + 1))[::-1], 1), np.append((hits / hits[-1])[::-1], 0)


def saliency_by_level(score: np.ndarray, clip_saliency: np.ndarray) -> dict[str, float]:
    """`saliency` at each of SALIENCY_LEVELS, under the names of the protocol `qvhighlights`."""
    found: dict[str, float] = {}
    for name, level in SALIENCY_LEVELS.items():
        ap, hit = saliency(score, clip_saliency, level)
        found |= {f"hl_map_{name.lower()}": ap, f"hl_hit1_{name.lower()}": hit}
    return found


def saliency(score: np.ndarray, clip_saliency: np.ndarray, level: int) -> tuple[float, float]:
    """QVHighlights' metrics for one query: mean AP over the annotators, and HIT@1 (1 if the best clip is relevant).

    `clip_saliency` [n,U] holds the annotators' ratings. A clip is relevant to those who rated it at least `level`.
    Scores beyond the n clips are ignored; missing scores count as 0.
    """
    relevant = np.asarray(clip_saliency) >= level
    fitted = np.zeros(len(relevant))
    fitted[: len(score)] = score[: len(relevant)]
    best = int(np.argmax(score))
    hit = best < len(relevant) and relevant[best].any()
    return float(np.mean([interpolated_ap(column, fitted) for column in relevant.T])), float(hit)
