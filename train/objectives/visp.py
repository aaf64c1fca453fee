"""ViSP: a summary is good if a second network can tell from it which video of the batch it belongs to.

The summarizer's logits define a random summary that gradients pass through (`vsumdata.train.objectives.sampling`). A
second network with the summarizer's architecture embeds videos and summaries for an InfoNCE. It is trained jointly and
discarded afterwards.

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
from vsumdata.train.losses import infonce
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.objectives import sampling
from vsumdata.train.objectives.sampling import Form
from vsumdata.train.objectives.supervised import Parts, known, total
from vsumdata.train.objectives.unlabelled import Unlabelled, generator, looked_at, video_embedding

Variant = Literal["concrete", "none", "gumbel", "gumbel-hard", "straight-through", "marginal", "hard-negative", "fixed"]
OF_FRAMES = ("video_id", "frame_feature", "frame_time_s", "frame_mask")


class ViSPOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Variant = Field(
        "concrete",
        description="how a summary is drawn. `marginal`: another video fills the gaps; `hard-negative`: random "
        "summaries are negatives too; `fixed`: learn the videos' labels instead (FSA); others: the distribution",
    )
    temperature: float = Field(
        0.5, gt=0, description="temperature of the drawing (the paper's λ): smaller gives weights nearer to 0 and 1"
    )
    w_size: float = Field(1.0, ge=0, description="weight of the mean frame weight (β_size): larger shortens summaries")
    w_binary: float = Field(
        1.0, ge=0, description="weight of the binary regulariser (β_bin): larger pushes frame weights to 0 or 1"
    )
    likeness: Literal["inner", "scaled"] = Field(
        "scaled",
        description="similarity of two embeddings. `inner`: inner product, as in the paper; `scaled`: that / √D, which "
        "learns more (docs/results.md)",
    )
    least_batch: int = Field(
        8, ge=2, description="smallest batch allowed, in videos; with fewer than 8 the contrast teaches too little"
    )
    checkpoint: bool = Field(
        False,
        description="save memory: the second network takes one video at a time and computes it again for the gradient; "
        "slower",
    )

    @property
    def needs_targets(self) -> bool:
        """Whether the objective learns from labels: only the variant `fixed` does."""
        return self.variant == "fixed"

    @property
    def contrasts(self) -> bool:
        """Whether the videos of a batch are compared: in all variants but `fixed`."""
        return not self.needs_targets


class ViSP(Unlabelled):
    """ViSP's loss: InfoNCE + w_size·mean ŷ + w_binary·mean ŷ(1−ŷ), with means over a video's frames.

    `attach` raises UsageError for a summarizer without gradient or frame embeddings.
    """

    Options: ClassVar[type[ViSPOptions]] = ViSPOptions
    # Published ranges of the random search.
    RANGES: ClassVar[dict[str, tuple[float, float]]] = {
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
            return total({"cls": infonce.fixed_summary(scores.frame_logit, *target)}, {}, {})
        noise = generator(mask.device)
        weight = sampling.sample(scores.frame_logit, mask, form_of(options.variant), options.temperature, noise)
        parts = {
            "contrast": self._contrast(batch, weight, noise),
            "size": infonce.size(weight, mask),
            "binary": infonce.binary(weight, mask),
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
        return infonce.visp(self.embed(batch, summary), original, random, scale)

    def embed(self, batch: Batch, feature: Tensor) -> Tensor:
        """The second network's embedding [B,D] of the videos of `batch`, with `feature` [B,T,F] as their frames."""
        # Frames alone, even if the summarizer reads text: the text alone would identify the video of any summary.
        shown = frames_alone(batch, feature)
        # With CSTA at batch 8 and 100 frames, `checkpoint` took 2.1 GB instead of 3.5 GB, at four fifths of the speed.
        if not self.options.checkpoint:
            return video_embedding(self.second(shown), shown.frame_mask)
        alone = [self._embed_one(shown, at) for at in range(len(feature))]
        return torch.cat(alone)

    def _embed_one(self, batch: Batch, at: int) -> Tensor:
        # Cut to its own length: alone, a video needs no padding.
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
    """The distribution of a variant's weights; variants that change something else use the paper's, Concrete."""
    forms: dict[Variant, Form] = {
        "none": "none",
        "gumbel": "gumbel",
        "gumbel-hard": "gumbel-hard",
        "straight-through": "straight-through",
    }
    return forms.get(variant, "concrete")


def frames_alone(batch: Batch, feature: Tensor) -> Batch:
    """Replace the features of `batch` by `feature`, and drop its texts and targets."""
    nothing: dict[str, Any] = {field.name: None for field in fields(Batch) if field.name not in OF_FRAMES}
    return replace(batch, frame_feature=feature, **nothing)
