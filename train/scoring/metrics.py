"""F1 of summaries, their match by concepts, and rank correlations, from arrays.

Letters: U users, n frames.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import linear_sum_assignment

Lengths = Literal["pad", "cut", "strict"]
# Cells of τ's table of pairs. Beyond about this size scipy's sorting is faster.
MAX_TABLE = 2_000_000


def f1_per_user(
    summary: np.ndarray,
    user_summary: np.ndarray,
    *,
    lengths: Lengths = "strict",
    empty_summary: float = 0.0,
    empty_reference: float = 0.0,
    frame_epsilon: float = 0.0,
) -> np.ndarray:
    """F1 of one binary summary [n] against each user's [U,n], float64 [U] in [0, 1].

    F1 is undefined if one of the two is empty: the result is then `empty_summary` or `empty_reference` (the latter if
    both are empty). F1 is 0 if they share no frame. `frame_epsilon` is added to each frame before it is counted, as in
    MR.HiSum's code. Raises ValueError as `equally_long` does.
    """
    chosen, users = equally_long(np.asarray(summary) > 0, np.asarray(user_summary) > 0, lengths)
    common, sizes, size = (users & chosen).sum(1), users.sum(1), chosen.sum()
    extra = frame_epsilon * users.shape[1]
    f1 = np.zeros(len(users))
    some = common > 0
    precision, recall = common[some] / (size + extra), common[some] / (sizes[some] + extra)
    f1[some] = 2 * precision * recall / (precision + recall)
    if size == 0:
        f1[:] = empty_summary
    f1[sizes == 0] = empty_reference
    return f1


def over_users(values: np.ndarray, users: Literal["mean", "max"]) -> float:
    """The mean or the maximum over the users [U]. Raises ValueError if there are none."""
    if not len(values):
        raise ValueError("a video without users cannot be scored")
    # Python's max, as in official code: a nan wins only if it comes first. numpy's max would always answer nan.
    return float(values.mean()) if users == "mean" else float(max(values.tolist()))


def equally_long(summary: np.ndarray, users: np.ndarray, lengths: Lengths) -> tuple[np.ndarray, np.ndarray]:
    """`summary` [n] and `users` [U,m], brought to one length.

    `pad` pads the shorter one with zeros (PGL-SUM, CA-SUM). `cut` cuts or pads the summary to m (VASNet, MSVA, DSNet,
    A2Summ). `strict` raises ValueError if they differ (MR.HiSum).
    """
    if summary.ndim != 1 or users.ndim != 2:
        raise ValueError(f"a summary [n] and the users' [U,n] are needed, got {summary.shape} and {users.shape}")
    ours, theirs = len(summary), users.shape[1]
    if ours != theirs and lengths == "strict":
        raise ValueError(f"the summary has {ours} frames, the users' have {theirs}")
    if ours > theirs and lengths == "pad":
        users = np.pad(users, ((0, 0), (0, ours - theirs)))
    return np.pad(summary[: users.shape[1]], (0, max(0, theirs - ours))), users


class Matched(NamedTuple):
    """Precision, recall and F1 of a matching, in [0, 1]."""

    precision: float
    recall: float
    f1: float


def concept_match(summary: np.ndarray, reference: np.ndarray) -> Matched:
    """QFVS' measure of two summaries, given as the concepts of their shots: [P,K] and [R,K], each 0 or 1.

    Shots are paired one to one so that the sum of the IoU of their concepts is largest. Precision divides that sum by
    P, recall by R. An empty side gives 0.
    """
    ours, theirs = np.asarray(summary) > 0, np.asarray(reference) > 0
    if not len(ours) or not len(theirs):
        return Matched(0.0, 0.0, 0.0)
    common = ours.astype(np.float64) @ theirs.T.astype(np.float64)
    union = ours.sum(1)[:, None] + theirs.sum(1)[None] - common
    # Shots without any concept have nothing in common.
    iou = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    # As good a matching as networkx finds for the official code: both are optimal.
    total = float(iou[linear_sum_assignment(iou, maximize=True)].sum())
    precision, recall = total / len(ours), total / len(theirs)
    return Matched(precision, recall, 2 * precision * recall / (precision + recall) if total else 0.0)


def kendall_tau(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Kendall's τ-b of `scores` [n] with each of `references` [U,n], float64 [U]; nan if either is constant.

    The result equals scipy's to the last bit. Raises ValueError for nan and for different lengths.
    """
    # Users rate on few levels, so the pairs can be counted in a small table of levels, once per row: much faster than
    # scipy's sort for each user. scipy answers if both sides have many distinct values.
    scores, references = _comparable(scores, references)
    ours, num_ours = _levels(scores)
    taus = np.empty(len(references))
    for at, row in enumerate(references):
        theirs, num_theirs = _levels(row)
        if num_ours * num_theirs <= MAX_TABLE:
            table = np.bincount(ours * num_theirs + theirs, minlength=num_ours * num_theirs)
            taus[at] = _tau_of_table(table.reshape(num_ours, num_theirs))
        else:
            taus[at] = stats.kendalltau(scores, row).statistic
    return taus


def _levels(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Each value's level in ascending order, and the number of levels."""
    if not len(values):
        return np.empty(0, np.int64), 1
    # Small integers are their own levels, which saves the sort. Unused levels only add empty rows to the table.
    if values.dtype.kind in "biu":
        low, high = int(values.min()), int(values.max())
        if high - low < 64:
            return values.astype(np.int64) - low, high - low + 1
    distinct, places = np.unique(values, return_inverse=True)
    return places, len(distinct)


def _tau_of_table(table: np.ndarray) -> float:
    """τ-b of the pairs counted in `table` [levels of the one, levels of the other]."""
    # Integers up to the last line, and scipy's order of divisions there, or the last bit would differ from scipy.
    below = np.cumsum(table, 0) - table
    left = np.cumsum(below, 1) - below
    right = below.sum(1, keepdims=True) - below - left
    concordant_minus_discordant = int((table * (left - right)).sum())
    num = int(table.sum())
    total, ours, theirs = (_pairs(np.array([num])), _pairs(table.sum(1)), _pairs(table.sum(0)))
    if ours == total or theirs == total:
        return np.nan
    tau = concordant_minus_discordant / np.sqrt(total - ours) / np.sqrt(total - theirs)
    return float(np.clip(tau, -1, 1))


def _pairs(counts: np.ndarray) -> int:
    return int((counts * (counts - 1) // 2).sum())


def spearman_rho(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Spearman's ρ of `scores` [n] with each of `references` [U,n], float64 [U]; nan if either is constant.

    This is Pearson's correlation of average ranks. Raises ValueError as `kendall_tau` does.
    """
    scores, references = _comparable(scores, references)
    if scores.size < 2 or not len(references):
        return np.full(len(references), np.nan)
    ours = stats.rankdata(scores) - (len(scores) + 1) / 2
    theirs = stats.rankdata(references, axis=1) - (len(scores) + 1) / 2
    norm = np.sqrt((ours @ ours) * np.einsum("un,un->u", theirs, theirs))
    return np.divide(theirs @ ours, norm, out=np.full(len(references), np.nan), where=norm > 0)


def _comparable(scores: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, references = np.asarray(scores), np.atleast_2d(references)
    if scores.ndim != 1 or references.shape[1] != len(scores):
        raise ValueError(f"scores {list(scores.shape)} and references {list(references.shape)} differ in length")
    if np.isnan(scores).any() or np.isnan(references).any():
        raise ValueError("scores and references must not hold nan")
    return scores, references
