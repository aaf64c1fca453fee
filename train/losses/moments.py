"""Moment-DETR's equations: generalised IoU of intervals, matching of proposals to moments, ranked pairs of clips.

jayleicn/moment_detr@b7e553a moment_detr/span_utils.py, matcher.py, model.py (`SetCriterion`), start_end_dataset.py.
Intervals are start and end in any unit.

Letters: B videos, T clips, N proposals, R moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.boxes import full_precision
from vsumdata.train.models.queried.spans import to_spans


def generalized_iou(ours: Tensor, theirs: Tensor) -> Tensor:
    """Generalised IoU of intervals [N,2] with [R,2], [N,R] in (-1, 1].

    IoU less the share of their hull that neither covers. 0 where both are the same point.
    """
    start, end = (torch.maximum(ours[:, None, 0], theirs[:, 0]), torch.minimum(ours[:, None, 1], theirs[:, 1]))
    common = (end - start).clamp(min=0)
    union = (ours[:, 1] - ours[:, 0])[:, None] + (theirs[:, 1] - theirs[:, 0]) - common
    hull = torch.maximum(ours[:, None, 1], theirs[:, 1]) - torch.minimum(ours[:, None, 0], theirs[:, 0])
    # Two points have no union, and two equal ones no hull: the official code divides by 0 there.
    least = torch.finfo(ours.dtype).tiny
    return common / union.clamp(min=least) - (hull - union) / hull.clamp(min=least)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What an error of position, of overlap and of class weighs, in the matching and in the loss."""

    l1: float
    giou: float
    label: float


@torch.no_grad()
def match(ends: Tensor, logit: Tensor, moment: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    """The proposals and the moments that belong together, by number, in pairs: min(N,R) each.

    `ends` [N,2] and `moment` [R,2] are shares of the video's length, `logit` [N] of being relevant. The Hungarian
    method finds the pairs of the least cost l1·|Δ(centre, width)|₁ − giou·GIoU − label·σ(logit).
    """
    cost = (
        weights.l1 * torch.cdist(to_spans(ends), to_spans(moment), p=1)
        - weights.giou * generalized_iou(ends, moment)
        - weights.label * logit.sigmoid()[:, None]
    )
    # scipy refuses NaN. The loss of diverged weights is NaN as well, and the loop says so.
    rows, columns = linear_sum_assignment(cost.double().nan_to_num().cpu().numpy())
    return torch.as_tensor(rows, device=ends.device), torch.as_tensor(columns, device=ends.device)


def span_losses(ends: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
    """Of pairs [n,2]: the errors |Δ| of centre and width, [n,2], and 1 − GIoU, [n]."""
    overlap = generalized_iou(ends, moment).diagonal()
    return (to_spans(ends) - to_spans(moment)).abs(), 1 - overlap


def label_loss(logit: Tensor, is_matched: Tensor, w_background: float) -> Tensor:
    """Cross-entropy of each proposal [B,N] with whether it was matched; those that were not weigh `w_background`."""
    logit = full_precision(logit)
    error = F.binary_cross_entropy_with_logits(logit, is_matched.to(logit.dtype), reduction="none")
    return torch.where(is_matched, error, w_background * error)


def ranked_pairs(
    logit: Tensor, score: Tensor, relevant: Tensor, mask: Tensor, noise: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """Hinge losses [B] of two pairs of clips of each video, summed; and bool [B], which videos have relevant clips.

    The hard pair is the best and the worst of the `relevant` clips by `score`; the easy one is any relevant clip and
    any other, drawn by `noise`. Where all are relevant, the easy pair is the hard one. All are [B,T].
    """
    logit = full_precision(logit)
    inside, outside = relevant & mask, ~relevant & mask
    best, worst = _best(score, inside), _best(-score, inside)
    has_both = outside.any(1)
    pairs = [
        (best, worst),
        (torch.where(has_both, _best(noise, inside), best), torch.where(has_both, _best(noise, outside), worst)),
    ]
    hinges = [
        (margin + logit.gather(1, low[:, None]) - logit.gather(1, high[:, None])).clamp(min=0)[:, 0]
        for high, low in pairs
    ]
    return torch.stack(hinges).sum(0), inside.any(1)


def _best(value: Tensor, among: Tensor) -> Tensor:
    """The place of the highest value `among` the clips of each video, [B]."""
    return value.masked_fill(~among, -torch.inf).argmax(1)
