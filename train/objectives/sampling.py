"""ViSP's random summaries: draw a weight in [0,1] per frame from its logit, and weight the features by it.

Functions that need noise take it as an argument. `uniform_noise` draws it, so that a video's noise does not depend on
padding. A position that the mask excludes adds neither value nor gradient.

Letters: B videos, T frames, F components of a feature.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vsumdata.train.losses.boxes import full_precision

Form = Literal["none", "concrete", "gumbel", "gumbel-hard", "straight-through"]


def sample(logit: Tensor, mask: Tensor, form: Form, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw the weight ŷ in [0,1] of every frame by ViSP's variant `form`, [B,T]; 0 in the padding.

    `temperature` is the paper's λ. `generator` must be on the device of the logits; "none" draws nothing from it.
    """
    logit = full_precision(logit).masked_fill(~mask, 0)
    if form == "none":
        weight = torch.sigmoid(logit / temperature)
    elif form == "concrete":
        weight = concrete(logit, uniform_noise(mask, generator), temperature)
    elif form == "straight-through":
        # A Bernoulli draw *of the Concrete sample*: P(y=1) is its mean E[ŷ]. A draw of σ(α/λ) would sharpen the
        # probability itself: at λ = 0.5 and α = −2 it keeps 1.8 % of the frames instead of 14.9 %.
        soft = concrete(logit, uniform_noise(mask, generator), temperature)
        weight = straight_through(soft, uniform_noise(mask, generator))
    else:
        first, second = uniform_noise(mask, generator), uniform_noise(mask, generator)
        weight = gumbel(logit, first, second, temperature, hard=form == "gumbel-hard")
    return weight.masked_fill(~mask, 0)


def uniform_noise(mask: Tensor, generator: torch.Generator) -> Tensor:
    """ε ~ U(0,1), never 0 or 1, float32 [B,T]: one draw per frame of `mask`; ½ elsewhere."""
    # One draw per real frame, video by video: a full [B,T] draw would give a video other noise with more padding.
    eps = torch.finfo(torch.float32).eps
    noise = torch.full(mask.shape, 0.5, device=mask.device)
    drawn = torch.rand(int(mask.sum()), generator=generator, device=mask.device)
    # torch.rand returns 0 once in 2^24 draws (pytorch/pytorch#16706), and logit(0) is −∞. 0 becomes half of the least
    # step.
    noise[mask] = drawn.clamp(eps / 4, 1 - eps / 2)
    return noise


def concrete(logit: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Binary Concrete: ŷ = σ((logit(ε)+α)/λ) for ε = `uniform` and λ = `temperature`; P(ŷ>½) = σ(α) for every λ."""
    return torch.sigmoid((torch.logit(uniform) + full_precision(logit)) / temperature)


def gumbel(logit: Tensor, first: Tensor, second: Tensor, temperature: float, hard: bool = False) -> Tensor:
    """Two-class Gumbel-softmax over the logits α and 0, from two uniform draws [B,T].

    `hard` returns 0 or 1 with the gradient of the soft weight.
    """
    # The difference of two Gumbel variables is logistic, so the distribution is that of `concrete`. ViSP compares the
    # two as variants.
    noise = torch.log(-torch.log(second)) - torch.log(-torch.log(first))
    soft = torch.sigmoid((full_precision(logit) + noise) / temperature)
    return _as_if(soft > 0.5, soft) if hard else soft


def straight_through(score: Tensor, uniform: Tensor) -> Tensor:
    """y ~ Bernoulli(`score`), 0 or 1; the gradient passes as if y were `score`."""
    return _as_if(uniform < score, score)


def _as_if(chosen: Tensor, score: Tensor) -> Tensor:
    """The value of `chosen` (0 or 1) with the gradient of `score`."""
    # The bracket is 0 exactly; its derivative is 1.
    return chosen.to(score.dtype) + (score - score.detach())


def random_summary(weight: Tensor, mask: Tensor, uniform: Tensor) -> Tensor:
    """ViSP's hard negative, 0 or 1 [B,T], without gradient.

    It keeps each frame with the same probability, the video's mean weight: as many frames as the summary, but any.
    """
    size = weight.masked_fill(~mask, 0).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    return ((uniform < size) & mask).to(weight.dtype)


def summary(feature: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """X̂_s = X_o ⊙ ŷ, [B,T,F]: the frames keep their places, dropped frames become 0."""
    # The mask comes first: a non-finite padded feature times 0 would be NaN.
    return feature.masked_fill(~mask[..., None], 0) * weight.masked_fill(~mask, 0)[..., None].to(feature.dtype)


def marginal(feature: Tensor, mask: Tensor, weight: Tensor, other: Tensor) -> Tensor:
    """X̂_s = X_o ⊙ ŷ + Z ⊙ (1−ŷ), [B,T,F]: another video Z fills the gaps.

    `other` [B] is the index of Z in the batch; Z is resampled to the length of the video.
    """
    z = resampled(feature[other], mask[other], mask).to(feature.dtype)
    return summary(feature, mask, weight) + summary(z, mask, 1 - weight)


def another(num_videos: int, generator: torch.Generator) -> Tensor:
    """For each video of a batch, the index of another one, int64 [B]; each video is used once.

    Raises ValueError for a batch of one video.
    """
    if num_videos < 2:
        raise ValueError(f"marginalising needs another video; the batch has {num_videos}")
    # A shift, not a permutation: a permutation may leave a video in its place.
    shift = torch.randint(1, num_videos, (), generator=generator, device=generator.device)
    return (torch.arange(num_videos, device=generator.device) + shift) % num_videos


def resampled(feature: Tensor, mask: Tensor, to_mask: Tensor) -> Tensor:
    """Resample each video [B,T,F] to the number of frames in `to_mask` [B,T′]: [B,T′,F], 0 in the padding.

    Interpolates linearly between the middles of frames. Padding must follow the frames in both masks. Needs T ≥ 1.
    """
    # The same as F.interpolate(mode="linear") without aligned corners, which takes one length per call. Places are in
    # float64 so that they stay exact for long videos.
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
