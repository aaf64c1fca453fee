"""A2Summ's two contrastive losses: between videos (inter) and within each video (intra).

Letters: B videos, N positions (frames or sentences), D hidden, K hard negatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.boxes import full_precision
from vsumdata.train.losses.supervised import masked_mean

# First value of each learnable scale, as a logarithm: CLIP's temperature of 0.07.
FIRST_SCALE = math.log(1 / 0.07)
# A2Summ takes no negatives within this many positions of a positive, on either side.
DILATION = 4

Empty = Literal["leave out", "a2summ", "msmo"]


class Intra(NamedTuple):
    loss: Tensor
    num_left_out: Tensor  # videos without positives, or without the negatives that they need


@dataclass(frozen=True, kw_only=True)
class Modality:
    """The inputs of the intra loss for one modality of a batch: frames or sentences."""

    embedding: Tensor  # [B,N,D]
    logit: Tensor  # [B,N]
    label: Tensor  # [B,N]
    mask: Tensor  # bool [B,N], true where a label is known


def inter(video_token: Tensor, text_token: Tensor, scale: Tensor, has_both: Tensor) -> Tensor:
    """Match videos with texts across the batch: symmetric cross-entropy of `video_token` and `text_token` [B,D].

    Logits are cosines times `scale`; the loss is the mean of both directions (A2Summ's inter loss). Only videos of
    `has_both`, bool [B], take part. With fewer than two the loss is 0.
    """
    video, text = (F.normalize(full_precision(token[has_both]), dim=-1) for token in (video_token, text_token))
    if not len(video):
        # Cross-entropy of no rows is NaN. This zero keeps the graph, so `backward` still finds gradients.
        return (video.sum() + text.sum()) * scale
    # Not a matrix product: autocast would compute that in bfloat16.
    logit = scale * (video[:, None] * text).sum(-1)
    same = torch.arange(len(logit), device=logit.device)
    return (F.cross_entropy(logit, same) + F.cross_entropy(logit.T, same)) / 2


def intra(
    video: Modality, text: Modality, scales: tuple[Tensor, Tensor], ratio: int, empty: Empty = "leave out"
) -> Intra:
    """Match key frames with key sentences of the same video against hard negatives (A2Summ's intra loss).

    Two cross-entropies, averaged: the mean key frame must find the mean key sentence among hard negative frames, and
    the reverse among hard negative sentences. Logits are cosines times `scales` (of frames, of sentences). `ratio`: see
    `hard_negatives`. A video without positives in either modality is left out of the mean. Without negatives, `empty`
    decides: "leave out"; "a2summ" counts that direction as 0 (official BLiSS and TVSum models); "msmo" takes the valid
    position of the lowest score (official MSMO model).
    """
    keys, negatives, usable = [], [], []
    for side in (video, text):
        embedding = full_precision(side.embedding).masked_fill(~side.mask[..., None], 0)
        positive = (side.label > 0.5) & side.mask
        index, found = hard_negatives(side.logit, side.label, side.mask, ratio, lowest_if_none=empty == "msmo")
        # The official code takes the mean of no positives, which is NaN; `usable` leaves such videos out instead.
        keys.append((embedding * positive[..., None]).sum(1) / positive.sum(1, keepdim=True).clamp(min=1))
        negatives.append((embedding.gather(1, index[..., None].expand(-1, -1, embedding.shape[-1])), found))
        usable.append(positive.any(1) & (found.any(1) | (empty == "a2summ")))
    both = usable[0] & usable[1]
    of_frames = _match(keys[0], keys[1], *negatives[0], scales[0])
    of_sentences = _match(keys[1], keys[0], *negatives[1], scales[1])
    return Intra(masked_mean((of_frames + of_sentences) / 2, both), (~both).sum())


def _match(anchor: Tensor, key: Tensor, negative: Tensor, found: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy [B] of finding `key` [B,D] among the negatives [B,K,D], seen from `anchor` [B,D]."""
    others = torch.cat([key[:, None], negative], 1)
    logit = scale * (F.normalize(anchor, dim=-1)[:, None] * F.normalize(others, dim=-1)).sum(-1)
    logit = torch.cat([logit[:, :1], logit[:, 1:].masked_fill(~found, -math.inf)], 1)
    # Without any negative this is 0, which is what `a2summ` counts.
    return -F.log_softmax(logit, 1)[:, 0]


def hard_negatives(
    logit: Tensor, label: Tensor, mask: Tensor, ratio: int, lowest_if_none: bool = False
) -> tuple[Tensor, Tensor]:
    """The best-scored positions far from every positive: index [B,K] by falling score, and bool [B,K] which exist.

    A video has at most max(1, its length // ratio) of them. With `lowest_if_none`, a video without any gets the valid
    position of the lowest score (A2Summ's MSMO model).
    """
    num_positions = logit.shape[1]
    most = min(max(1, num_positions // ratio), num_positions)
    candidate = mask & ~dilate((label > 0.5) & mask)
    # Detached: the ranking only selects, it is not a function to learn from.
    score = full_precision(logit.detach()).masked_fill(~candidate, -math.inf)
    # Stable, so that equal scores give the same negatives on every machine.
    index = score.argsort(dim=1, descending=True, stable=True)[:, :most]
    wanted = (mask.sum(1, keepdim=True) // ratio).clamp(min=1)
    found = candidate.gather(1, index) & (torch.arange(most, device=logit.device) < wanted)
    if lowest_if_none and num_positions:
        none = ~candidate.any(1) & mask.any(1)
        lowest = full_precision(logit.detach()).masked_fill(~mask, math.inf).argmin(1)
        index[:, 0] = torch.where(none, lowest, index[:, 0])
        found[:, 0] |= none
    return index, found


def dilate(positive: Tensor) -> Tensor:
    """Bool [B,N]: true up to `DILATION` positions from a true one."""
    # Max pooling refuses an empty axis, which a batch without sentences has.
    if not positive.shape[1]:
        return positive
    return F.max_pool1d(positive[:, None].float(), 2 * DILATION + 1, stride=1, padding=DILATION)[:, 0] > 0
