"""ViSP: a summary is good if a second network knows by it which video of the batch it is of.

From the summarizer's logits a random summary is drawn that gradients pass through (vsumdata.train.sampling). A second
network of the summarizer's kind, trained along and dropped afterwards, embeds videos and summaries for an InfoNCE.

Letters: B videos, T frames, F components of a feature, D hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vsumdata.datasets.video import Batch
from vsumdata.train import losses_infonce, sampling
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.objectives import Parts, known, total
from vsumdata.train.sampling import Form
from vsumdata.train.unlabelled import Unlabelled, generator, looked_at, video_embedding

Variant = Literal["concrete", "none", "gumbel", "gumbel-hard", "straight-through", "marginal", "hard-negative", "fixed"]
OF_FRAMES = ("video_id", "frame_feature", "frame_time_s", "frame_mask")


class ViSPOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Variant = Field(
        "concrete",
        description="how a summary is drawn; marginal: another video fills the gaps; hard-negative: random summaries "
        "are negatives too; fixed: the labels of the videos are learnt instead (FSA)",
    )
    temperature: float = Field(0.5, gt=0, description="of the drawing (the paper's λ)")
    w_size: float = Field(1.0, ge=0, description="of the mean weight of a frame (β_size)")
    w_binary: float = Field(1.0, ge=0, description="of how undecided the weights are (β_bin)")
    likeness: Literal["inner", "scaled"] = Field("inner", description="scaled: the inner product divided by √D")
    least_batch: int = Field(8, ge=2, description="videos that a batch needs; fewer than 8 tell too little")
    checkpoint: bool = Field(
        False,
        description="the second network sees the videos one by one, and again for the gradient: slower, in less memory",
    )

    @property
    def needs_targets(self) -> bool:
        return self.variant == "fixed"


class ViSP(Unlabelled):
    """L = InfoNCE + w_size·mean ŷ + w_binary·mean ŷ(1−ŷ), the means over a video's frames.

    The second network sees frames alone, also where the summarizer reads text: by its text any summary is known.
    """

    Options: ClassVar[type[ViSPOptions]] = ViSPOptions
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {  # published, of the random search
        "temperature": (0.05, 5.0),
        "w_size": (0.01, 1000.0),
        "w_binary": (0.01, 100.0),
    }
    second: nn.Module

    def __init__(self, options: ViSPOptions) -> None:
        super().__init__()
        self.options = options

    def attach(self, model: nn.Module, build: Callable[[], nn.Module], batch: Batch) -> None:
        looked_at(model, batch)
        if not self.options.needs_targets:
            self.second = build()

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        options, mask = self.options, batch.frame_mask
        scores: Scores = model(batch)
        if options.needs_targets:
            target = known(batch.gt_summary, batch.summary_mask, mask)
            return total({"cls": losses_infonce.fixed_summary(scores.frame_logit, *target)}, {}, {})
        noise = generator(mask.device)
        weight = sampling.sample(scores.frame_logit, mask, form_of(options.variant), options.temperature, noise)
        parts = {
            "contrast": self._contrast(batch, weight, noise),
            "size": losses_infonce.size(weight, mask),
            "binary": losses_infonce.binary(weight, mask),
        }
        return total(parts, {"size": options.w_size, "binary": options.w_binary}, {})

    def _contrast(self, batch: Batch, weight: Tensor, noise: torch.Generator) -> Tensor:
        video, mask, variant = batch.frame_feature, batch.frame_mask, self.options.variant
        if variant == "marginal":
            summary = sampling.marginal(video, mask, weight, sampling.another(len(video), noise))
        else:
            summary = sampling.summary(video, mask, weight)
        random = None
        if variant == "hard-negative":
            kept = sampling.random_summary(weight, mask, sampling.uniform_noise(mask, noise))
            random = self.embed(batch, sampling.summary(video, mask, kept))
        original = self.embed(batch, video)
        scale = 1 / math.sqrt(original.shape[1]) if self.options.likeness == "scaled" else 1.0
        return losses_infonce.visp(self.embed(batch, summary), original, random, scale)

    def embed(self, batch: Batch, feature: Tensor) -> Tensor:
        """The second network's embedding [B,D] of the videos of `batch` with other features [B,T,F]."""
        shown = frames_alone(batch, feature)
        if not self.options.checkpoint:
            return video_embedding(self.second(shown), shown.frame_mask)
        alone = [self._embed_one(shown, at) for at in range(len(feature))]
        return torch.cat(alone)

    def _embed_one(self, batch: Batch, at: int) -> Tensor:
        one = slice(at, at + 1)
        length = int(batch.frame_mask[at].sum())
        time_s, mask = batch.frame_time_s[one, :length], batch.frame_mask[one, :length]

        def embedded(feature: Tensor) -> Tensor:
            video = replace(
                batch, video_id=batch.video_id[one], frame_feature=feature, frame_time_s=time_s, frame_mask=mask
            )
            return video_embedding(self.second(video), mask)

        found: Tensor = checkpoint(embedded, batch.frame_feature[one, :length], use_reentrant=False)
        return found


def form_of(variant: Variant) -> Form:
    """How the weights are drawn: the variants that change something else have the paper's own, Concrete."""
    forms: dict[Variant, Form] = {
        "none": "none",
        "gumbel": "gumbel",
        "gumbel-hard": "gumbel-hard",
        "straight-through": "straight-through",
    }
    return forms.get(variant, "concrete")


def frames_alone(batch: Batch, feature: Tensor) -> Batch:
    """`batch` with other features, without texts and targets."""
    nothing: dict[str, Any] = {field.name: None for field in fields(Batch) if field.name not in OF_FRAMES}
    return replace(batch, frame_feature=feature, **nothing)
