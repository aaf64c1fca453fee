"""A2Summ's two contrastive losses: between videos (inter) and within each (intra).

Letters: B videos, N positions (frames or sentences), D hidden, K hard negatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.boxes import full_precision
from vsumdata.train.losses import masked_mean

FIRST_SCALE = math.log(1 / 0.07)  # of the learnable logarithms of the scales
DILATION = 4  # positions on each side of a positive that are no negatives either

Empty = Literal["leave out", "a2summ", "msmo"]


class Intra(NamedTuple):
    loss: Tensor
    num_left_out: Tensor  # videos without positives, or without negatives where those are needed


@dataclass(frozen=True, kw_only=True)
class Modality:
    """What the intra loss needs of the frames, or of the sentences, of a batch."""

    embedding: Tensor  # [B,N,D]
    logit: Tensor  # [B,N]
    label: Tensor  # [B,N]
    mask: Tensor  # bool [B,N], where a label is known


def inter(video_token: Tensor, text_token: Tensor, scale: Tensor, has_both: Tensor) -> Tensor:
    """Cross-entropy of telling each video's text [B,D] from the other videos' and back, the mean of both ways.

    Logits are cosines times `scale`. Only videos of `has_both` [B] take part; a single one has nothing to tell: 0.
    """
    video, text = (F.normalize(full_precision(token[has_both]), dim=-1) for token in (video_token, text_token))
    if not len(video):
        return (video.sum() + text.sum()) * scale
    logit = scale * (video[:, None] * text).sum(-1)  # no matmul: autocast would make it bfloat16
    same = torch.arange(len(logit), device=logit.device)
    return (F.cross_entropy(logit, same) + F.cross_entropy(logit.T, same)) / 2


def intra(
    video: Modality, text: Modality, scales: tuple[Tensor, Tensor], ratio: int, empty: Empty = "leave out"
) -> Intra:
    """Cross-entropy of telling the key frames' text from hard negative frames, and the reverse; the mean of both.

    Keys are mean embeddings of the positives, logits cosines times the `scales` of frames and of sentences. A video
    without positives on either side is left out. One without negatives is so too; `a2summ` makes that direction
    0 instead, as the official BLiSS and TVSum models do, and `msmo` takes the lowest-scored position.
    """
    keys, negatives, usable = [], [], []
    for side in (video, text):
        embedding = full_precision(side.embedding).masked_fill(~side.mask[..., None], 0)
        positive = (side.label > 0.5) & side.mask
        index, found = hard_negatives(side.logit, side.label, side.mask, ratio, lowest_if_none=empty == "msmo")
        keys.append((embedding * positive[..., None]).sum(1) / positive.sum(1, keepdim=True).clamp(min=1))
        negatives.append((embedding.gather(1, index[..., None].expand(-1, -1, embedding.shape[-1])), found))
        usable.append(positive.any(1) & (found.any(1) | (empty == "a2summ")))
    both = usable[0] & usable[1]
    of_frames = _tell(keys[0], keys[1], *negatives[0], scales[0])
    of_sentences = _tell(keys[1], keys[0], *negatives[1], scales[1])
    return Intra(masked_mean((of_frames + of_sentences) / 2, both), (~both).sum())


def _tell(anchor: Tensor, key: Tensor, negative: Tensor, found: Tensor, scale: Tensor) -> Tensor:
    """−log of the share that `key` [B,D] has among itself and the negatives [B,K,D] for `anchor` [B,D]: [B]."""
    others = torch.cat([key[:, None], negative], 1)
    logit = scale * (F.normalize(anchor, dim=-1)[:, None] * F.normalize(others, dim=-1)).sum(-1)
    logit = torch.cat([logit[:, :1], logit[:, 1:].masked_fill(~found, -math.inf)], 1)
    return -F.log_softmax(logit, 1)[:, 0]


def hard_negatives(
    logit: Tensor, label: Tensor, mask: Tensor, ratio: int, lowest_if_none: bool = False
) -> tuple[Tensor, Tensor]:
    """The positions that score best although no positive is near: index [B,K] by falling score, and which exist.

    Each video has at most max(1, its length // ratio). `lowest_if_none` gives a video without any the valid position
    of the lowest score (A2Summ's MSMO model).
    """
    num_positions = logit.shape[1]
    most = min(max(1, num_positions // ratio), num_positions)
    candidate = mask & ~dilate((label > 0.5) & mask)
    score = full_precision(logit.detach()).masked_fill(~candidate, -math.inf)
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
    """Bool [B,N], true up to `DILATION` positions from a true one."""
    if not positive.shape[1]:
        return positive
    return F.max_pool1d(positive[:, None].float(), 2 * DILATION + 1, stride=1, padding=DILATION)[:, 0] > 0
