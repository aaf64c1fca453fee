"""One function per equation of the losses. All are means, in float32 at least, and blind to padding.

Whatever a mask excludes gives neither value nor gradient, even if it is not finite. Where nothing is left, a loss is 0
and still differentiable. `logit` is before the sigmoid, `label` 0 or 1, `mask` true where a target is known.
Letters: B videos, N positions (frames or sentences), D hidden.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.boxes import EPS, full_precision

FocalForm = Literal["paper", "a2summ", "dsnet"]
LEAST_PROBABILITY = 1e-7  # A2Summ's clamp within the logarithm


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean where `mask` is true; 0 where it never is."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def video_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over videos of each one's mean over its `mask`, [B,N]; videos without any are left out."""
    count = mask.sum(1)
    means = values.masked_fill(~mask, 0).sum(1) / count.clamp(min=1)
    return masked_mean(means, count > 0)


def focal_terms(
    logit: Tensor, label: Tensor, alpha: float = 0.5, gamma: float = 2.0, least: float | None = None
) -> Tensor:
    """−α_t·(1−p_t)^γ·log p_t at each position; p_t is the label's probability, α_t is α for 1 and 1−α for 0.

    `least` is the smallest p_t that the logarithm sees; there is no gradient through it below.
    """
    positive = label > 0.5
    toward = torch.where(positive, logit, -logit)
    surprise = -F.logsigmoid(toward)
    if least is not None:
        surprise = surprise.clamp(max=-math.log(least))
    share = torch.where(positive, alpha, 1 - alpha).to(logit.dtype)
    return share * torch.sigmoid(-toward) ** gamma * surprise


def focal(
    logit: Tensor, label: Tensor, mask: Tensor, form: FocalForm = "paper", alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """The focal loss over all positions [B,N] of the batch.

    paper: the mean of `focal_terms`. a2summ: its code averages the columns of both classes, which cancels α: half the
    mean of −(1−p_t)^γ·log p_t, with p_t at least 1e-7 in the logarithm. dsnet: the sum over both columns by a video's
    number of positives, averaged over the videos that have positives.
    """
    logit = full_precision(logit).masked_fill(~mask, 0)
    if form == "paper":
        return masked_mean(focal_terms(logit, label, alpha, gamma), mask)
    if form == "a2summ":
        return masked_mean(focal_terms(logit, label, 0.5, gamma, LEAST_PROBABILITY), mask)
    num_positives = ((label > 0.5) & mask).sum(1)
    both_columns = 2 * focal_terms(logit, label, 0.5, gamma).masked_fill(~mask, 0).sum(1)
    return masked_mean(both_columns / num_positives.clamp(min=1), num_positives > 0)


def mse(logit: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """HierSum's replay loss: the mean over all known frames [B,N] of (s − σ(logit))²."""
    return masked_mean(squared_error(logit, target, mask), mask)


def squared_error(logit: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(s − σ(logit))² at each position [B,N], 0 outside `mask`."""
    score = full_precision(logit).masked_fill(~mask, 0).sigmoid()
    return (target.to(score.dtype) - score).masked_fill(~mask, 0) ** 2


def overlap(reach: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of two segments around the same position [B,N], from their reaches [B,N,2].

    A segment of one position reaches 0 both ways and overlaps nothing: 0, without gradient.
    """
    shared = torch.minimum(reach, target).sum(-1)
    union = reach.sum(-1) + target.sum(-1) - shared
    return shared / torch.where(union > 0, union, EPS)


def soft_iou(reach: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """−log IoU of the proposed and the true segments, [B,N,2] each: the mean over videos of the mean over positives."""
    reach = _at(reach, positive)
    return video_mean(-torch.log(overlap(reach, target.to(reach.dtype)) + EPS), positive)


def smooth_l1(reach: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """DSNet's other loss of the segments' ends: Huber's with δ = 1 position, averaged like `soft_iou`."""
    reach = _at(reach, positive)
    return video_mean(F.smooth_l1_loss(reach, target.to(reach.dtype), reduction="none").mean(-1), positive)


def _at(reach: Tensor, positive: Tensor) -> Tensor:
    """The reaches of positives; 1 elsewhere, where no loss may look."""
    return full_precision(reach).masked_fill(~positive[..., None], 1)


def centerness(predicted: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy of the centerness in (0,1), both [B,N], averaged like `soft_iou`."""
    predicted = full_precision(predicted).masked_fill(~positive, 0.5)
    with torch.autocast(predicted.device.type, enabled=False):  # PyTorch refuses it under autocast, wrongly for float32
        losses = F.binary_cross_entropy(predicted, target.to(predicted.dtype), reduction="none")
    return video_mean(losses, positive)
