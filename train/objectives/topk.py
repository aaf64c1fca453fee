"""Differentiable top-k of clips: CSUM's successive halving, and the two methods that the paper compares it with.

Each method returns k mixtures of clips in time order. In the limit (α → ∞, ε → 0, σ → 0) these are the k clips with the
highest scores. k differs between videos. A video of at most k clips keeps all of them unchanged. Padding must follow
the clips.

Letters: B videos, T clips, D features, K the largest k of the batch, S samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.boxes import full_precision

# Enough to narrow an interval of (range of the scores)/ε down to the last digits of float64.
BISECTIONS = 60
# In floats, .07 · 100 is a little more than 7, and its ceiling would be 8.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The chosen clips in time order; zeros where `mask` is false."""

    feature: Tensor  # [B,K,D]
    score: Tensor  # [B,K]
    index: Tensor  # int64 [B,K] of the clip with the largest weight in each mixture
    mask: Tensor  # bool [B,K]


def num_chosen(mask: Tensor, share: float, least: int) -> Tensor:
    """k = max(`least`, ⌈`share`·t⌉) for a video of t clips, int64 [B]. It may exceed t."""
    wanted = (mask.sum(1).double() * share - ROUNDING).ceil().long()
    return wanted.clamp(min=least)


def successive_halving(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor, alpha: float = 400.0) -> Chosen:
    """CSUM's top-k: in each round the best clip meets the worst, the second best the second worst, …, until k are left.

    A pair with scores (s,s′) becomes its mixture by softmax(α·s, α·s′), of features [B,T,D] and scores [B,T] alike. `k`
    is [B]. Deviations from the official code: softmax(α·s) as in the paper, not softmax(20^s); exactly k results.
    """
    # Each clip enters one mixture only. So the rounds run on the scores alone, and the features are summed once.
    feature, score, k = _clean(feature, score, mask, k)
    weight, slot = _play(score, mask, k, alpha)
    flat = slot + torch.arange(len(slot), device=slot.device)[:, None] * (width := _widest(k))
    mixed = feature.new_zeros(len(slot) * width, feature.shape[2])
    mixed = mixed.index_add(0, flat.flatten(), (feature * weight[..., None]).flatten(0, 1))
    mixed_score = score.new_zeros(len(slot), width).scatter_add(1, slot, weight * score)
    index = _heaviest(weight.detach(), slot, mask, width)
    # The rounds leave the mixtures sorted by score; dist_n needs time order.
    order = index.argsort(1)
    mixed = mixed.unflatten(0, (len(slot), width)).gather(1, order[..., None].expand(-1, -1, feature.shape[2]))
    return _chosen(mixed, mixed_score.gather(1, order), index.gather(1, order), k)


def _play(score: Tensor, mask: Tensor, k: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The weight of each clip in its mixture, 0 in the padding, and the number of that mixture; both [B,T]."""
    # A round halves the number exactly, so a video enters as if it had k·2^rounds clips. A clip whose partner does not
    # exist goes on unchanged.
    count = mask.sum(1, keepdim=True)
    rounds = [_num_rounds(*pair) for pair in zip(count[:, 0].tolist(), k.tolist(), strict=True)]
    at = torch.arange(mask.shape[1], device=k.device)
    weight, slot, left = mask.to(score.dtype), at.expand_as(mask), mask
    for played in range(max(rounds, default=0)):
        to_play = torch.tensor(rounds, device=k.device)[:, None] - played
        half = k[:, None] << (to_play - 1).clamp(min=0)
        # Stable: the earlier of two equal clips wins, with or without padding.
        order = score.masked_fill(~left, -torch.inf).argsort(dim=1, descending=True, stable=True)
        rank, score = order.argsort(1).gather(1, slot), score.gather(1, order)
        meets = torch.where((to_play > 0) & (at < 2 * half), 2 * half - 1 - at, at)
        paired = (meets != at) & (meets < count)
        gap = score - score.gather(1, torch.where(paired, meets, at))
        share = torch.sigmoid(alpha * gap).masked_fill(~paired, 1)
        place = torch.minimum(at, meets).masked_fill(at >= count, 0)
        weight, slot = weight * share.gather(1, rank), place.gather(1, rank)
        # A video whose rounds are over waits for the others.
        count = torch.where(to_play > 0, half, count)
        at = at[: _widest(count)]
        score = score.new_zeros(len(k), len(at)).scatter_add(1, place, share * score)
        left = at < count
    return weight, slot.masked_fill(~mask, 0)


def _num_rounds(count: int, k: int) -> int:
    """⌈log2(count/k)⌉, at least 0."""
    # In integers: a floating-point logarithm may round a power of two up to the next round.
    return (max(1, -(-count // max(1, k))) - 1).bit_length()


def _widest(count: Tensor) -> int:
    return int(count.max()) if len(count) else 0


def _heaviest(weight: Tensor, slot: Tensor, mask: Tensor, width: int) -> Tensor:
    """The clip with the largest weight in each mixture, the earliest of equals: int64 [B,K]; T for an empty mixture."""
    most = weight.new_zeros(len(slot), width).scatter_reduce(1, slot, weight, "amax")
    num_clips = mask.shape[1]
    at = torch.arange(num_clips, device=slot.device).expand_as(slot)
    at = at.masked_fill(~mask | (weight < most.gather(1, slot)), num_clips)
    return torch.full_like(most, num_clips, dtype=torch.int64).scatter_reduce(1, slot, at, "amin")


def sinkhorn(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor, epsilon: float) -> Chosen:
    """Top-k by entropic optimal transport: the soft mask of `transported`, cut in time into k mixtures of mass 1."""
    # The paper does not say how a soft mask becomes k clips. Cutting it in time keeps the order and all of the mass.
    feature, score, k = _clean(feature, score, mask, k)
    end = transported(score, mask, k, epsilon).cumsum(1)[:, None]
    start = F.pad(end[..., :-1], (1, 0))
    at = torch.arange(_widest(k), device=k.device)[:, None]
    weight = (torch.minimum(end, at + 1) - torch.maximum(start, at)).clamp(min=0)  # [B,K,T]
    return _mixed(weight.to(feature.dtype), feature, score, k)


def transported(score: Tensor, mask: Tensor, k: Tensor, epsilon: float) -> Tensor:
    """The soft mask of the k best: the share of each clip that entropic optimal transport moves to 1; float64 [B,T].

    Moving score s to 0 costs s², to 1 it costs (1−s)²; the targets take t−k and k of t clips; ε weighs the entropy.
    """
    # For two targets, Sinkhorn's fixed point is σ((2s−1)/ε + c) with c such that the sum is k. Bisection finds c to
    # full precision, where Sinkhorn's iterations converge slowly for a small ε; the gradient is that of an implicit
    # function.
    toward = ((2 * score.double() - 1) / epsilon).masked_fill(~mask, 0)
    all_chosen = mask.sum(1) <= k
    with torch.no_grad():
        offset = _offset(toward, mask, torch.where(all_chosen, 0, k))[:, None]
    share = torch.sigmoid(toward + offset).masked_fill(~mask, 0)
    slope = (share * (1 - share)).sum(1, keepdim=True).detach().clamp(min=torch.finfo(share.dtype).tiny)
    total = share.sum(1, keepdim=True)
    # Subtracts 0: the value stays, and the gradient of c keeps the sum at k.
    offset = offset - (total - total.detach()) / slope
    return torch.where(all_chosen[:, None], 1, torch.sigmoid(toward + offset)).masked_fill(~mask, 0)


def _offset(toward: Tensor, mask: Tensor, k: Tensor) -> Tensor:
    """c [B] with Σ σ(toward + c) = k; undefined where k is 0."""
    # If all scores were the largest one, or the smallest one, c would be `even` less that: the solution lies between.
    even = torch.logit(k.double() / mask.sum(1).clamp(min=1), eps=torch.finfo(torch.float64).eps)
    low = even - toward.masked_fill(~mask, -torch.inf).amax(1)
    high = even - toward.masked_fill(~mask, torch.inf).amin(1)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_few = torch.sigmoid(toward + middle[:, None]).masked_fill(~mask, 0).sum(1) < k
        low, high = torch.where(too_few, middle, low), torch.where(too_few, high, middle)
    return (low + high) / 2


def perturbed(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor, noise: Tensor, sigma: float) -> Chosen:
    """Perturbed top-k: the mean of the k best clips, in time order, over scores + σ·noise.

    `noise` [S,B,T] is standard normal; `sigma` is in units of the scores. The gradient by the scores is the Monte-Carlo
    estimate E[choice · noise/σ].
    """
    feature, score, k = _clean(feature, score, mask, k)
    noise = noise.to(score.dtype)
    width, num_clips = _widest(k), mask.shape[1]
    seen = (score.detach() + sigma * noise).masked_fill(~mask, -torch.inf)
    best = seen.argsort(dim=2, descending=True, stable=True)[..., :width]
    unwanted = torch.arange(width, device=k.device) >= k[:, None]
    best = best.masked_fill(unwanted, num_clips).sort(2).values
    # No gradient for a video that keeps all its clips: the choice does not depend on the scores.
    pull = ((noise * score).sum(2) / sigma).masked_fill(mask.sum(1) <= k, 0)
    # The value is 1/S, a mean over the samples; the derivative multiplies each sample by noise/σ.
    factor = (1 + pull - pull.detach()) / len(noise)
    # One more column takes the places that a video with a smaller k leaves unused.
    weight = score.new_zeros(len(k), width, num_clips + 1)
    weight = weight.scatter_add(2, best.permute(1, 2, 0), factor.T[:, None].expand(-1, width, -1))
    return _mixed(weight[..., :-1], feature, score, k)


def _clean(feature: Tensor, score: Tensor, mask: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features and scores in full precision, 0 in the padding; `k` limited to the number of clips.

    Raises ValueError for a `k` below 1.
    """
    if bool((k < 1).any()):
        raise ValueError(f"k is at least 1, not {k.tolist()}")
    feature = full_precision(feature).masked_fill(~mask[..., None], 0)
    return feature, full_precision(score).masked_fill(~mask, 0), torch.minimum(k, mask.sum(1))


def _mixed(weight: Tensor, feature: Tensor, score: Tensor, k: Tensor) -> Chosen:
    """Mix clips by `weight` [B,K,T]."""
    # Without autocast, which would mix in bfloat16.
    with torch.autocast(feature.device.type, enabled=False):
        mixed, mixed_score = weight @ feature, (weight @ score[..., None])[..., 0]
    # argmax refuses an empty axis.
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
