"""The supervised losses, one function per equation. All are means, computed in float32 or better.

A position that the mask excludes adds neither value nor gradient, even if it is not finite. If no position is left, the
loss is 0 and still differentiable. `logit` is the value before the sigmoid, `label` is 0 or 1, `mask` is true where a
target is known.
Letters: B videos, N positions (frames or sentences), D hidden.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.boxes import EPS, full_precision

FocalForm = Literal["paper", "a2summ", "dsnet"]
Over = Literal["known", "umt"]
# A2Summ's code clamps the probability here before it takes the logarithm.
LEAST_PROBABILITY = 1e-7


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the positions where `mask` is true; 0 if there is none."""
    # masked_fill, not a product with the mask: NaN times 0 is NaN, in the gradient too.
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def video_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average `values` [B,N] over each video's `mask`, then over videos; a video without any position is left out."""
    count = mask.sum(1)
    means = values.masked_fill(~mask, 0).sum(1) / count.clamp(min=1)
    return masked_mean(means, count > 0)


def focal_terms(
    logit: Tensor, label: Tensor, alpha: float = 0.5, gamma: float = 2.0, least: float | None = None
) -> Tensor:
    """The focal loss per position, −α_t·(1−p_t)^γ·log p_t.

    p_t is the probability of the label; α_t is α for label 1 and 1−α for 0. `least` clamps p_t inside the logarithm,
    which has no gradient below it.
    """
    positive = label > 0.5
    # logsigmoid of the signed logit: the logarithm of a rounded σ would be −∞ for confident mistakes.
    signed = torch.where(positive, logit, -logit)
    log_loss = -F.logsigmoid(signed)
    if least is not None:
        log_loss = log_loss.clamp(max=-math.log(least))
    weight = torch.where(positive, alpha, 1 - alpha).to(logit.dtype)
    return weight * torch.sigmoid(-signed) ** gamma * log_loss


def focal(
    logit: Tensor, label: Tensor, mask: Tensor, form: FocalForm = "paper", alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """The focal loss over all positions [B,N] of a batch.

    "paper": the mean of `focal_terms`. "a2summ", as in its code: half the mean of −(1−p_t)^γ·log p_t, with p_t at least
    1e-7 in the logarithm; `alpha` has no effect. "dsnet": each video's sum over both classes, divided by its number of
    positives; the mean over the videos that have positives.
    """
    logit = full_precision(logit).masked_fill(~mask, 0)
    if form == "paper":
        return masked_mean(focal_terms(logit, label, alpha, gamma), mask)
    if form == "a2summ":
        # The official code averages over the one-hot columns of both classes: α and 1−α add up to 1, and ½ remains.
        return masked_mean(focal_terms(logit, label, 0.5, gamma, LEAST_PROBABILITY), mask)
    # DSNet divides by zero for a video without positives; here it is left out.
    num_positives = ((label > 0.5) & mask).sum(1)
    both_columns = 2 * focal_terms(logit, label, 0.5, gamma).masked_fill(~mask, 0).sum(1)
    return masked_mean(both_columns / num_positives.clamp(min=1), num_positives > 0)


def mse(logit: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """HierSum's replay loss: the mean of (s − σ(logit))² over all known frames [B,N]; `target` is s in [0,1]."""
    return masked_mean(squared_error(logit, target, mask), mask)


def squared_error(logit: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """(s − σ(logit))² at each position [B,N]; 0 outside `mask`."""
    score = full_precision(logit).masked_fill(~mask, 0).sigmoid()
    return (target.to(score.dtype) - score).masked_fill(~mask, 0) ** 2


def cross_entropy(logit: Tensor, target: Tensor, mask: Tensor, over: Over = "known") -> Tensor:
    """UMT's loss: −s·log σ(logit) − (1−s)·log(1−σ(logit)) for s in [0,1], summed over all known frames of [B,N].

    "known" divides by the number of these frames. "umt", as in its code, divides by B·N: padding and frames without a
    label count as if their loss were 0, so a batch of unequal videos learns less.
    """
    logit = full_precision(logit).masked_fill(~mask, 0)
    losses = F.binary_cross_entropy_with_logits(logit, target.to(logit.dtype), reduction="none")
    mean = masked_mean(losses, mask)
    return mean * mask.sum() / mask.numel() if over == "umt" else mean


def overlap(reach: Tensor, target: Tensor) -> Tensor:
    """Intersection over union [B,N] of two segments around the same position, from their reaches [B,N,2]."""
    # The official lengths are sums of reaches, so a segment of one position has length 0 and overlaps nothing: its IoU
    # is 0 without a gradient, and `soft_iou` a constant 18.42.
    shared = torch.minimum(reach, target).sum(-1)
    union = reach.sum(-1) + target.sum(-1) - shared
    return shared / torch.where(union > 0, union, EPS)


def soft_iou(reach: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """−log IoU of proposed and true segments, both [B,N,2], averaged over each video's positives, then over videos."""
    reach = _at(reach, positive)
    return video_mean(-torch.log(overlap(reach, target.to(reach.dtype)) + EPS), positive)


def smooth_l1(reach: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """DSNet's other loss for the ends of segments: Huber with δ = 1 position, averaged like `soft_iou`."""
    reach = _at(reach, positive)
    return video_mean(F.smooth_l1_loss(reach, target.to(reach.dtype), reduction="none").mean(-1), positive)


def _at(reach: Tensor, positive: Tensor) -> Tensor:
    """Keep the reaches of positives and set the others to 1."""
    # To mask the loss is not enough: the gradient at a reach that is not finite would be 0 · ∞ = NaN.
    return full_precision(reach).masked_fill(~positive[..., None], 1)


def centerness(predicted: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """Binary cross-entropy of the centerness, both [B,N] in [0,1], averaged like `soft_iou`."""
    predicted = full_precision(predicted).masked_fill(~positive, 0.5)
    # pytorch/pytorch#61098: under CUDA's autocast, PyTorch refuses this function even for float32 input.
    with torch.autocast(predicted.device.type, enabled=False):
        losses = F.binary_cross_entropy(predicted, target.to(predicted.dtype), reduction="none")
    return video_mean(losses, positive)
