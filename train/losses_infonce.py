"""ViSP's and CSUM's contrastive losses, and what keeps ViSP's summaries short and decided.

All are means, in float32 at least. Letters: B videos, T frames, D hidden.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.boxes import full_precision
from vsumdata.train.losses import masked_mean, video_mean


def visp(summary: Tensor, video: Tensor, random: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """InfoNCE: the mean over i of −log exp sim(s_i,o_i) / Σ_j [exp sim(s_i,o_j) + exp sim(s_i,r_j)], all [B,D].

    sim is the inner product times `scale`; 1/√D keeps it from growing with D. Without the embeddings `random` of
    random summaries (variant HN) the second term is absent.
    """
    summary, others = full_precision(summary), full_precision(video)
    _need_negatives(len(summary))
    if random is not None:
        others = torch.cat([others, full_precision(random)])
    with torch.autocast(summary.device.type, enabled=False):  # products of size 1000 have no decimals in bfloat16
        logit = scale * (summary @ others.T)
    return F.cross_entropy(logit, torch.arange(len(summary), device=logit.device))


def csum(similarity: Tensor, temperature: float, literal_denominator: bool = False) -> Tensor:
    """The mean over all 2B items of −log exp(sim(i,i′)/τ) / Σ_j exp(sim(i,j)/τ), i′ being i's other half.

    `similarity` [2B,2B] has the videos first and then their summaries. The sum is over all items but i itself (as in
    SimCLR); `literal_denominator` leaves out i′ too, as the paper prints it: then nothing bounds the loss from below.
    """
    num_items = len(similarity)
    _need_negatives(num_items // 2)
    logit = full_precision(similarity) / temperature
    item = torch.arange(num_items, device=logit.device)
    half = (item + num_items // 2) % num_items
    positive = logit[item, half]
    logit = logit.masked_fill(item[:, None] == item, -math.inf)
    if literal_denominator:
        logit = logit.masked_fill(half[:, None] == item, -math.inf)
    return (logit.logsumexp(1) - positive).mean()


def _need_negatives(num_videos: int) -> None:
    if num_videos < 2:
        raise ValueError(f"a contrast needs at least 2 videos; the batch has {num_videos}")


def size(weight: Tensor, mask: Tensor) -> Tensor:
    """The mean weight |ŷ| of the frames [B,T] of a video, averaged over the videos."""
    return video_mean(full_precision(weight).abs(), mask)


def binary(weight: Tensor, mask: Tensor) -> Tensor:
    """ViSP's binary regulariser: ŷ(1−ŷ) averaged like `size`; 0 where every weight is 0 or 1."""
    weight = full_precision(weight).masked_fill(~mask, 0)
    return video_mean(weight * (1 - weight), mask)


def fixed_summary(logit: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of the scores to fixed pseudo-summaries, 0 or 1 [B,T] (variant FSA): the mean over all frames."""
    logit = full_precision(logit).masked_fill(~mask, 0)
    label = label.to(logit.dtype).masked_fill(~mask, 0)
    return masked_mean(F.binary_cross_entropy_with_logits(logit, label, reduction="none"), mask)
