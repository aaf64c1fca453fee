"""Segments that each position proposes: labels to train them, and what frames score by them (DSNet-AF, A2Summ).

A position reaches so many positions back and ahead to the first and the last of its segment. Boxes are half-open.
Letters: B videos, N positions (frames or sentences), T frames, K kept boxes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vsumdata.train.models.summarizer import Scores

EPS = 1e-8  # DSNet's and A2Summ's, wherever they divide


def reach_label(label: Tensor) -> Tensor:
    """How far each positive is from the first and the last of its run, float32 [B,N,2]; 0 for negatives.

    `label` [B,N] is 0 or 1, and 0 in the padding.
    """
    chosen = label > 0.5
    return torch.stack([_run_before(chosen), _run_before(chosen.flip(1)).flip(1)], -1)


def _run_before(chosen: Tensor) -> Tensor:
    """Of how many chosen positions without a gap each chosen one is preceded: float32 [B,N]."""
    at = torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)
    if not chosen.shape[1]:
        return at.float()
    last_gap = at.masked_fill(chosen, -1).cummax(1).values
    return (at - last_gap - 1).clamp(min=0).float()


def centerness_label(reach: Tensor, label: Tensor) -> Tensor:
    """1 in the middle of a segment, 0 at its ends, float32 [B,N]; from `reach_label` [B,N,2]."""
    shorter, longer = reach.min(-1).values, reach.max(-1).values
    return shorter / (longer + EPS) * (label > 0.5)


def boxes_of(reach: Tensor) -> Tensor:
    """Where the proposed segments start and stop, float64 [B,N,2] in positions, neither rounded nor cut."""
    at = torch.arange(reach.shape[1], device=reach.device)
    back, ahead = reach.double().unbind(-1)
    return torch.stack([at - back, at + ahead + 1], -1)


def box_scores(scores: Scores, frame_mask: Tensor, compat: Literal["none", "a2summ"] = "none") -> Tensor:
    """What each frame's box is worth, [B,T]: σ(logit)·centerness, over its maximum in the video.

    A2Summ's maximum is that of the whole batch with its padding, so that scores depend on batch mates.
    """
    assert scores.frame_boxes is not None
    score = full_precision(scores.frame_logit).sigmoid() * full_precision(scores.frame_boxes.centerness)
    if compat == "a2summ":
        return score / (score.max() + EPS)
    score = score.masked_fill(~frame_mask, 0)
    return score / (score.amax(1, keepdim=True) + EPS)


def cut(boxes: np.ndarray, length: int) -> np.ndarray:
    """Boxes [N,2] within 0 to `length`, at whole positions, int64."""
    return np.clip(boxes, 0, length).round().astype(np.int64)


def suppress(score: np.ndarray, boxes: np.ndarray, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Non-maximum suppression: scores [K] and boxes [K,2] of which no two overlap by `overlap` or more, best first.

    The overlap is the intersection over the hull of both, as in DSNet. Empty boxes go; of equal scores the later
    position wins.
    """
    whole = boxes[:, 0] < boxes[:, 1]
    score, boxes = score[whole], boxes[whole]
    left = np.argsort(score, kind="stable")[::-1]
    kept: list[int] = []
    while len(left):
        best = left[0]
        kept.append(best)
        (start, stop), (starts, stops) = boxes[best], boxes[left].T
        shared = np.maximum(np.minimum(stop, stops) - np.maximum(start, starts), 0)
        hull = np.maximum(stop, stops) - np.minimum(start, starts)
        left = left[(shared / hull < overlap) & (left != best)]
    return score[kept], boxes[kept]


def paint(score: np.ndarray, boxes: np.ndarray, length: int) -> np.ndarray:
    """Each frame's score [length]: the best of the boxes that cover it, 0 where there is none."""
    painted = np.zeros(length, score.dtype)
    for value, (start, stop) in zip(score, boxes.tolist(), strict=True):
        painted[start:stop] = np.maximum(painted[start:stop], value)
    return painted


def frame_scores(
    scores: Scores, frame_mask: Tensor, nms_overlap: float | None, compat: Literal["none", "a2summ"] = "none"
) -> Tensor:
    """The importance of every frame, [B,T] in [0,1], 0 in the padding; without gradient.

    σ(logit), or where the model proposes boxes the best box over each frame, of those that suppression leaves
    (`nms_overlap` None leaves all).
    """
    if scores.frame_boxes is None:
        return full_precision(scores.frame_logit).sigmoid().masked_fill(~frame_mask, 0).detach()
    worth = box_scores(scores, frame_mask, compat).detach()
    boxes = boxes_of(scores.frame_boxes.reach.detach()).cpu().numpy()
    painted = torch.zeros_like(worth)
    for i, length in enumerate(frame_mask.sum(1).tolist()):
        score, box = worth[i, :length].cpu().numpy(), cut(boxes[i, :length], length)
        if nms_overlap is not None:
            score, box = suppress(score, box, nms_overlap)
        painted[i, :length] = torch.from_numpy(paint(score, box, length))
    return painted


def full_precision(x: Tensor) -> Tensor:
    """At least float32: autocast hands on bfloat16, in which neither a loss nor a ranking is exact enough."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
