"""ViSP's random summaries: from one logit per frame a weight in [0,1] per frame, and features weighted by it.

All functions of noise take it as an argument, drawn by `uniform_noise`, so that what a video gets
does not depend on padding. Whatever a mask excludes gives neither value nor gradient.

Letters: B videos, T frames, F features.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vsumdata.train.boxes import full_precision

Form = Literal["none", "concrete", "gumbel", "gumbel-hard", "straight-through"]


def sample(logit: Tensor, mask: Tensor, form: Form, temperature: float, generator: torch.Generator) -> Tensor:
    """The weight ŷ of every frame in ViSP's variant `form`, [B,T]; 0 in the padding.

    `generator` is of the logits' device; "none" draws nothing from it.
    """
    logit = full_precision(logit).masked_fill(~mask, 0)
    if form == "none":
        weight = torch.sigmoid(logit / temperature)
    elif form == "concrete":
        weight = concrete(logit, uniform_noise(mask, generator), temperature)
    elif form == "straight-through":
        weight = straight_through(torch.sigmoid(logit / temperature), uniform_noise(mask, generator))
    else:
        first, second = uniform_noise(mask, generator), uniform_noise(mask, generator)
        weight = gumbel(logit, first, second, temperature, hard=form == "gumbel-hard")
    return weight.masked_fill(~mask, 0)


def uniform_noise(mask: Tensor, generator: torch.Generator) -> Tensor:
    """ε ~ U(0,1), never 0 nor 1, float32 [B,T]: one draw for each frame of `mask`, video by video; ½ elsewhere."""
    eps = torch.finfo(torch.float32).eps
    noise = torch.full(mask.shape, 0.5, device=mask.device)
    drawn = torch.rand(int(mask.sum()), generator=generator, device=mask.device)
    noise[mask] = drawn.clamp(eps / 4, 1 - eps / 2)  # half the least of its steps, which may also be 0
    return noise


def concrete(logit: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Binary Concrete: ŷ = σ((logit(ε)+α)/λ) for ε = `uniform` and λ = `temperature`; P(ŷ>½) = σ(α) for every λ."""
    return torch.sigmoid((torch.logit(uniform) + full_precision(logit)) / temperature)


def gumbel(logit: Tensor, first: Tensor, second: Tensor, temperature: float, hard: bool = False) -> Tensor:
    """Two-class Gumbel-softmax over the logits α and 0, with two uniform draws; distributed as `concrete` is.

    `hard` gives 0 or 1, with the gradient of the soft weight.
    """
    noise = torch.log(-torch.log(second)) - torch.log(-torch.log(first))
    soft = torch.sigmoid((full_precision(logit) + noise) / temperature)
    return _as_if(soft > 0.5, soft) if hard else soft


def straight_through(score: Tensor, uniform: Tensor) -> Tensor:
    """y ~ Bernoulli(`score`), 0 or 1, with the identity for its derivative."""
    return _as_if(uniform < score, score)


def _as_if(chosen: Tensor, score: Tensor) -> Tensor:
    """0 or 1 by `chosen`, and the gradient of `score`."""
    return chosen.to(score.dtype) + (score - score.detach())


def random_summary(weight: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
    """A hard negative: each frame with the probability of the mean weight of its video, 0 or 1 [B,T], no gradient."""
    size = weight.masked_fill(~mask, 0).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    return ((uniform < size) & mask).to(weight.dtype)


def summary(feature: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """X̂_s = X_o ⊙ ŷ, [B,T,F]; the frames keep their places, and what is left out is 0."""
    return feature.masked_fill(~mask[..., None], 0) * weight.masked_fill(~mask, 0)[..., None].to(feature.dtype)


def marginal(feature: Tensor, mask: Tensor, weight: Tensor, other: Tensor) -> Tensor:
    """X̂_s = X_o ⊙ ŷ + Z ⊙ (1−ŷ), [B,T,F]; Z is the video `other` [B] of the same batch, resampled to as many frames."""
    z = resampled(feature[other], mask[other], mask).to(feature.dtype)
    return summary(feature, mask, weight) + summary(z, mask, 1 - weight)


def another(num_videos: int, generator: torch.Generator) -> Tensor:
    """For each video of a batch the index of another one, int64 [B]; each is another one's once."""
    if num_videos < 2:
        raise ValueError(f"marginalising needs another video; the batch has {num_videos}")
    shift = torch.randint(1, num_videos, (), generator=generator, device=generator.device)
    return (torch.arange(num_videos, device=generator.device) + shift) % num_videos


def resampled(feature: Tensor, mask: Tensor, to_mask: Tensor) -> Tensor:
    """Each video [B,T,F] at as many frames as `to_mask` [B,T′] has, linearly between the middles of its frames.

    In `to_mask` the frames come before the padding, as in `mask`; the result [B,T′,F] is 0 beyond. Needs T ≥ 1.
    """
    length, to_length = mask.sum(1, keepdim=True), to_mask.sum(1, keepdim=True)
    at = torch.arange(to_mask.shape[1], device=mask.device)
    place = (at + 0.5) * (length.double() / to_length.clamp(min=1)) - 0.5
    last = (length - 1).clamp(min=0)
    place = place.clamp(min=0).minimum(last)
    low = place.long()
    high = (low + 1).minimum(last)
    feature = full_precision(feature).masked_fill(~mask[..., None], 0)
    share = (place - low)[..., None].to(feature.dtype)
    before, after = (feature.gather(1, i[..., None].expand(-1, -1, feature.shape[-1])) for i in (low, high))
    return (before + share * (after - before)).masked_fill(~to_mask[..., None], 0)
