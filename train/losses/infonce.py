"""ViSP's and CSUM's contrastive losses, and the regularisers that make ViSP's weights few and nearly 0 or 1.

All losses are means, computed in float32 or better. Letters: B videos, T frames, D hidden.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.boxes import full_precision
from vsumdata.train.losses.supervised import masked_mean, video_mean


def visp(summary: Tensor, video: Tensor, random: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """ViSP's InfoNCE: the mean over i of −log exp sim(s_i,o_i) / Σ_j [exp sim(s_i,o_j) + exp sim(s_i,r_j)].

    s, o, r are the embeddings [B,D] of summaries, videos and random summaries. The r term exists only with `random`
    (variant HN). sim is the inner product times `scale`; with 1/√D it does not grow with D. The paper prints a sum over
    i. Raises ValueError for fewer than 2 videos.
    """
    summary, others = full_precision(summary), full_precision(video)
    _need_negatives(len(summary))
    if random is not None:
        others = torch.cat([others, full_precision(random)])
    # Without autocast: a product of size 1000 has no digits after the point in bfloat16.
    with torch.autocast(summary.device.type, enabled=False):
        logit = scale * (summary @ others.T)
    return F.cross_entropy(logit, torch.arange(len(summary), device=logit.device))


def csum(similarity: Tensor, temperature: float, literal_denominator: bool = False) -> Tensor:
    """CSUM's contrast: the mean over all 2B items i of −log exp(sim(i,i′)/τ) / Σ_j exp(sim(i,j)/τ).

    `similarity` [2B,2B] holds the videos first, then their summaries; i′ is the summary of video i, or the reverse; τ
    is `temperature`. The sum runs over all items but i, as in SimCLR. `literal_denominator` leaves i′ out too, as the
    paper prints it; the loss then has no lower bound. Raises ValueError for fewer than 2 videos.
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
    """ViSP's size regulariser: the mean weight |ŷ| of a video's frames [B,T], averaged over the videos."""
    # Means, where the paper leaves it open: only then do its ranges of weights mean the same for videos of any length.
    return video_mean(full_precision(weight).abs(), mask)


def binary(weight: Tensor, mask: Tensor) -> Tensor:
    """ViSP's binary regulariser: ŷ(1−ŷ), averaged like `size`; 0 if every weight is 0 or 1."""
    weight = full_precision(weight).masked_fill(~mask, 0)
    return video_mean(weight * (1 - weight), mask)


def fixed_summary(logit: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """ViSP's variant FSA: binary cross-entropy to fixed summaries, 0 or 1 [B,T]; the mean over all frames."""
    logit = full_precision(logit).masked_fill(~mask, 0)
    label = label.to(logit.dtype).masked_fill(~mask, 0)
    return masked_mean(F.binary_cross_entropy_with_logits(logit, label, reduction="none"), mask)
