"""Segments that each position proposes (DSNet-AF, A2Summ): their training labels, and frame scores from them.

A reach is the number of positions from a position back to the first and ahead to the last one of its segment. A box is
such a segment as start and stop, half-open.
Letters: B videos, N positions (frames or sentences), T frames, K kept boxes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vsumdata.train.models.summarizer import Scores

# The constant that DSNet's and A2Summ's code add wherever they divide or take a logarithm.
EPS = 1e-8


def reach_label(label: Tensor) -> Tensor:
    """The distance of each positive to the first and the last one of its run, float32 [B,N,2]; 0 for negatives.

    `label` [B,N] is 0 or 1, and 0 in the padding.
    """
    chosen = label > 0.5
    return torch.stack([_run_before(chosen), _run_before(chosen.flip(1)).flip(1)], -1)


def _run_before(chosen: Tensor) -> Tensor:
    """How many chosen positions come directly before each chosen one: float32 [B,N]."""
    at = torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)
    if not chosen.shape[1]:
        return at.float()
    last_gap = at.masked_fill(chosen, -1).cummax(1).values
    return (at - last_gap - 1).clamp(min=0).float()


def centerness_label(reach: Tensor, label: Tensor) -> Tensor:
    """The shorter over the longer reach, float32 [B,N]: 1 in the middle of a segment, 0 at its ends.

    `reach` comes from `reach_label`.
    """
    shorter, longer = reach.min(-1).values, reach.max(-1).values
    return shorter / (longer + EPS) * (label > 0.5)


def boxes_of(reach: Tensor) -> Tensor:
    """Start and stop of the proposed segments, float64 [B,N,2] in positions, neither rounded nor clipped."""
    # float64: boxes are rounded to frames later, and float32 is exact to 1/1000 only at position 10,000.
    at = torch.arange(reach.shape[1], device=reach.device)
    back, ahead = reach.double().unbind(-1)
    return torch.stack([at - back, at + ahead + 1], -1)


def box_scores(scores: Scores, frame_mask: Tensor, compat: Literal["none", "a2summ"] = "none") -> Tensor:
    """The score of each frame's box, [B,T]: σ(logit)·centerness, divided by the video's maximum."""
    assert scores.frame_boxes is not None
    score = full_precision(scores.frame_logit).sigmoid() * full_precision(scores.frame_boxes.centerness)
    if compat == "a2summ":
        # A2Summ's code divides by the maximum of the whole padded batch, so its scores depend on batch mates.
        return score / (score.max() + EPS)
    score = score.masked_fill(~frame_mask, 0)
    return score / (score.amax(1, keepdim=True) + EPS)


def cut(boxes: np.ndarray, length: int) -> np.ndarray:
    """Clip boxes [N,2] to 0 … `length` and round them to whole positions, int64."""
    return np.clip(boxes, 0, length).round().astype(np.int64)


def suppress(score: np.ndarray, boxes: np.ndarray, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Non-maximum suppression: the scores [K] and boxes [K,2] that remain, best first.

    No two of them overlap by `overlap` or more. The overlap is the intersection over the hull of both, as in DSNet's
    code. Empty boxes are dropped. Of equal scores the later position wins.
    """
    # An empty box has no hull to divide by.
    whole = boxes[:, 0] < boxes[:, 1]
    score, boxes = score[whole], boxes[whole]
    # Stable: otherwise the order of equal scores would depend on the sorting algorithm.
    left = np.argsort(score, kind="stable")[::-1]
    kept: list[int] = []
    while len(left):
        best = left[0]
        kept.append(best)
        (start, stop), (starts, stops) = boxes[best], boxes[left].T
        shared = np.maximum(np.minimum(stop, stops) - np.maximum(start, starts), 0)
        hull = np.maximum(stop, stops) - np.minimum(start, starts)
        # `best` is excluded by name: with an overlap above 1 it would stay for ever.
        left = left[(shared / hull < overlap) & (left != best)]
    return score[kept], boxes[kept]


def paint(score: np.ndarray, boxes: np.ndarray, length: int) -> np.ndarray:
    """Paint box scores onto frames [length]: each gets the best score of the boxes that cover it, or 0."""
    painted = np.zeros(length, score.dtype)
    for value, (start, stop) in zip(score, boxes.tolist(), strict=True):
        painted[start:stop] = np.maximum(painted[start:stop], value)
    return painted


def frame_scores(
    scores: Scores, frame_mask: Tensor, nms_overlap: float | None, compat: Literal["none", "a2summ"] = "none"
) -> Tensor:
    """The importance of each frame, [B,T] in [0,1], 0 in the padding; without gradient.

    σ(logit); for a model that proposes boxes, the best box over the frame after suppression. `nms_overlap` None keeps
    all boxes.
    """
    if scores.frame_boxes is None:
        return full_precision(scores.frame_logit).sigmoid().masked_fill(~frame_mask, 0).detach()
    box_score = box_scores(scores, frame_mask, compat).detach()
    boxes = boxes_of(scores.frame_boxes.reach.detach()).cpu().numpy()
    painted = torch.zeros_like(box_score)
    # Suppression is a sequential loop over boxes, so it runs on the CPU, one video at a time.
    for i, length in enumerate(frame_mask.sum(1).tolist()):
        score, box = box_score[i, :length].cpu().numpy(), cut(boxes[i, :length], length)
        if nms_overlap is not None:
            score, box = suppress(score, box, nms_overlap)
        painted[i, :length] = torch.from_numpy(paint(score, box, length))
    return painted


def full_precision(x: Tensor) -> Tensor:
    """Convert to float32 if `x` is less precise; float64 stays."""
    # Autocast returns bfloat16 with 8 bits of precision: too coarse for a loss, and close scores would tie.
    return x.to(torch.promote_types(x.dtype, torch.float32))
