"""Differentiable choices of the k best clips: CSUM's successive halving, and the two it is compared with.

Each gives k mixtures of clips in the order of time. In the limit (α → ∞, ε → 0, σ → 0) they are the k clips of the
highest scores. k differs by video; a video of no more than k clips keeps all of them as they are. The padding comes
after the clips.

Letters: B videos, T clips, D features, K the largest k of the batch, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.boxes import full_precision

BISECTIONS = 60  # of an interval as long as the scores' range by ε: to the last digits of float64
ROUNDING = 1e-9  # .07 · 100 in floats is a little more than 7, of which the ceiling is 8


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The chosen clips, in the order of time; zeros where `mask` is false."""

    feature: Tensor  # [B,K,D]
    score: Tensor  # [B,K]
    index: Tensor  # int64 [B,K], of the clip that weighs most
    mask: Tensor  # bool [B,K]


def num_chosen(mask: Tensor, share: float, least: int) -> Tensor:
    """k = max(`least`, ⌈`share`·t⌉) for each video's number of clips t, int64 [B]."""
    wanted = (mask.sum(1).double() * share - ROUNDING).ceil().long()
    return wanted.clamp(min=least)


def successive_halving(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor, alpha: float = 400.0) -> Chosen:
    """Rounds in which the best clip meets the worst, the second best the second worst, …, until `k` [B] are left.

    Of a pair (s,s′) remains the mixture by softmax(α·s, α·s′), of its scores as of its features. A clip is part of one
    mixture only, so the rounds are played with the scores [B,T], and the features [B,T,D] are added up once.
    """
    feature, score, k = _clean(feature, score, mask, k)
    weight, slot = _play(score, mask, k, alpha)
    flat = slot + torch.arange(len(slot), device=slot.device)[:, None] * (width := _widest(k))
    mixed = feature.new_zeros(len(slot) * width, feature.shape[2])
    mixed = mixed.index_add(0, flat.flatten(), (feature * weight[..., None]).flatten(0, 1))
    mixed_score = score.new_zeros(len(slot), width).scatter_add(1, slot, weight * score)
    index = _heaviest(weight.detach(), slot, mask, width)
    order = index.argsort(1)
    mixed = mixed.unflatten(0, (len(slot), width)).gather(1, order[..., None].expand(-1, -1, feature.shape[2]))
    return _chosen(mixed, mixed_score.gather(1, order), index.gather(1, order), k)


def _play(score: Tensor, mask: Tensor, k: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The weight of each clip in its mixture, 0 in the padding, and which of the k mixtures that is; both [B,T].

    A video enters as if it had k·2^rounds clips; who is paired with one that does not exist stays as it is.
    """
    count = mask.sum(1, keepdim=True)
    rounds = [_num_rounds(*pair) for pair in zip(count[:, 0].tolist(), k.tolist(), strict=True)]
    at = torch.arange(mask.shape[1], device=k.device)
    weight, slot, left = mask.to(score.dtype), at.expand_as(mask), mask
    for played in range(max(rounds, default=0)):
        to_play = torch.tensor(rounds, device=k.device)[:, None] - played
        half = k[:, None] << (to_play - 1).clamp(min=0)
        order = score.masked_fill(~left, -torch.inf).argsort(dim=1, descending=True, stable=True)
        rank, score = order.argsort(1).gather(1, slot), score.gather(1, order)
        meets = torch.where((to_play > 0) & (at < 2 * half), 2 * half - 1 - at, at)
        paired = (meets != at) & (meets < count)
        gap = score - score.gather(1, torch.where(paired, meets, at))
        share = torch.sigmoid(alpha * gap).masked_fill(~paired, 1)
        place = torch.minimum(at, meets).masked_fill(at >= count, 0)
        weight, slot = weight * share.gather(1, rank), place.gather(1, rank)
        count = torch.where(to_play > 0, half, count)
        at = at[: _widest(count)]
        score = score.new_zeros(len(k), len(at)).scatter_add(1, place, share * score)
        left = at < count
    return weight, slot.masked_fill(~mask, 0)


def _num_rounds(count: int, k: int) -> int:
    """⌈log2(count/k)⌉ in integers."""
    return (max(1, -(-count // max(1, k))) - 1).bit_length()


def _widest(count: Tensor) -> int:
    return int(count.max()) if len(count) else 0


def _heaviest(weight: Tensor, slot: Tensor, mask: Tensor, width: int) -> Tensor:
    """The clip that weighs most in each mixture, the earliest of equals: int64 [B,K]; T for a mixture of none."""
    most = weight.new_zeros(len(slot), width).scatter_reduce(1, slot, weight, "amax")
    num_clips = mask.shape[1]
    at = torch.arange(num_clips, device=slot.device).expand_as(slot)
    at = at.masked_fill(~mask | (weight < most.gather(1, slot)), num_clips)
    return torch.full_like(most, num_clips, dtype=torch.int64).scatter_reduce(1, slot, at, "amin")


def sinkhorn(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor, epsilon: float) -> Chosen:
    """The frames that `transported` selects in part, laid end to end in time and cut into k mixtures of mass 1.

    The paper does not say how k clips come of a soft mask; this keeps the order of time, and uses all of its mass.
    """
    feature, score, k = _clean(feature, score, mask, k)
    end = transported(score, mask, k, epsilon).cumsum(1)[:, None]
    start = F.pad(end[..., :-1], (1, 0))
    at = torch.arange(_widest(k), device=k.device)[:, None]
    weight = (torch.minimum(end, at + 1) - torch.maximum(start, at)).clamp(min=0)  # [B,K,T]
    return _mixed(weight.to(feature.dtype), feature, score, k)


def transported(score: Tensor, mask: Tensor, k: Tensor, epsilon: float) -> Tensor:
    """The soft mask of the k best: the share of each clip that entropic optimal transport moves to 1; float64 [B,T].

    Costs of moving score s to 0 and to 1 are s² and (1−s)², masses t−k and k of t. With two targets Sinkhorn's fixed
    point is σ((2s−1)/ε + c), c such that the sum is k: found by bisection, differentiated as an implicit function.
    """
    toward = ((2 * score.double() - 1) / epsilon).masked_fill(~mask, 0)
    all_chosen = mask.sum(1) <= k
    with torch.no_grad():
        offset = _offset(toward, mask, torch.where(all_chosen, 0, k))[:, None]
    share = torch.sigmoid(toward + offset).masked_fill(~mask, 0)
    slope = (share * (1 - share)).sum(1, keepdim=True).detach().clamp(min=torch.finfo(share.dtype).tiny)
    total = share.sum(1, keepdim=True)
    offset = offset - (total - total.detach()) / slope  # its value stays; its gradient holds the sum at k
    return torch.where(all_chosen[:, None], 1, torch.sigmoid(toward + offset)).masked_fill(~mask, 0)


def _offset(toward: Tensor, mask: Tensor, k: Tensor) -> Tensor:
    """c [B] with Σ σ(toward + c) = k; anything where k is 0."""
    even = torch.logit(k.double() / mask.sum(1).clamp(min=1), eps=torch.finfo(torch.float64).eps)
    low = even - toward.masked_fill(~mask, -torch.inf).amax(1)
    high = even - toward.masked_fill(~mask, torch.inf).amin(1)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_few = torch.sigmoid(toward + middle[:, None]).masked_fill(~mask, 0).sum(1) < k
        low, high = torch.where(too_few, middle, low), torch.where(too_few, high, middle)
    return (low + high) / 2


def perturbed(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor, noise: Tensor, sigma: float) -> Chosen:
    """The mean of the k best, in the order of time, over scores + σ·noise; `noise` [S,B,T] is standard normal.

    The gradient by the scores is the Monte-Carlo one of a Gaussian mean: E[choice · noise/σ].
    """
    feature, score, k = _clean(feature, score, mask, k)
    noise = noise.to(score.dtype)
    width, num_clips = _widest(k), mask.shape[1]
    seen = (score.detach() + sigma * noise).masked_fill(~mask, -torch.inf)
    best = seen.argsort(dim=2, descending=True, stable=True)[..., :width]
    unwanted = torch.arange(width, device=k.device) >= k[:, None]
    best = best.masked_fill(unwanted, num_clips).sort(2).values
    pull = ((noise * score).sum(2) / sigma).masked_fill(mask.sum(1) <= k, 0)  # all are chosen, whatever the noise
    factor = (1 + pull - pull.detach()) / len(noise)  # a mean, of which the derivative is noise/σ times the sample
    weight = score.new_zeros(len(k), width, num_clips + 1)
    weight = weight.scatter_add(2, best.permute(1, 2, 0), factor.T[:, None].expand(-1, width, -1))
    return _mixed(weight[..., :-1], feature, score, k)


def _clean(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both in full precision, 0 in the padding; `k` at most the number of clips."""
    if bool((k < 1).any()):
        raise ValueError(f"k is at least 1, not {k.tolist()}")
    feature = full_precision(feature).masked_fill(~mask[..., None], 0)
    return feature, full_precision(score).masked_fill(~mask, 0), torch.minimum(k, mask.sum(1))


def _mixed(weight: Tensor, feature: Tensor, score: Tensor, k: Tensor) -> Chosen:
    """The mixtures by `weight` [B,K,T]."""
    with torch.autocast(feature.device.type, enabled=False):
        mixed, mixed_score = weight @ feature, (weight @ score[..., None])[..., 0]
    index = weight.detach().argmax(2) if weight.shape[2] else weight.new_zeros(weight.shape[:2], dtype=torch.int64)
    return _chosen(mixed, mixed_score, index, k)


def _chosen(feature: Tensor, score: Tensor, index: Tensor, k: Tensor) -> Chosen:
    exists = torch.arange(score.shape[1], device=k.device) < k[:, None]
    return Chosen(
        feature=feature.masked_fill(~exists[..., None], 0),
        score=score.masked_fill(~exists, 0),
        index=index.masked_fill(~exists, 0),
        mask=exists,
    )
