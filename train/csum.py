"""CSUM: videos and their summaries by the k best clips are contrasted with those of the other videos of a batch.

The summarizer's frames are the clips: its `frame_embedding` is what of them is compared, its scores what the k best are
chosen by, so that gradients pass through the choice (vsumdata.train.topk).

Letters: B videos, T clips, D hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.train import losses_infonce, topk
from vsumdata.train.boxes import full_precision
from vsumdata.train.clip_distance import Draw, similarities
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.objectives import Parts, total
from vsumdata.train.topk import Chosen
from vsumdata.train.unlabelled import Unlabelled, generator, looked_at


class CSUMOptions(BaseModel):
    """What the paper leaves open is our choice: share, temperature, projection."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clips: int = Field(10, ge=1, description="clips drawn from each sequence to compare it (the paper's n)")
    draw: Draw = Field("windows", description="windows: neighbours, as the paper says; subsets: any, in order of time")
    compared: Literal["embeddings", "features"] = Field(
        "embeddings", description="what of a clip is compared: the summarizer's embedding, or its given features (ours)"
    )
    share: float = Field(0.15, gt=0, le=1, description="of the clips that a summary has, but at least `clips` of them")
    temperature: float = Field(0.1, gt=0, description="τ of the contrast")
    literal_denominator: bool = Field(False, description="without the positive pair, as printed; else as SimCLR's")
    projection: int = Field(128, ge=1, description="size of a projected clip")
    choice: Literal["successive-halving", "sinkhorn", "perturbed"] = Field(
        "successive-halving", description="how the best clips are chosen"
    )
    alpha: float = Field(400.0, gt=0, description="of successive halving: how sharply the better of two clips wins")
    epsilon: float = Field(0.01, gt=0, description="of sinkhorn: its entropy's weight")
    sigma: float = Field(0.05, gt=0, description="of perturbed: the noise on the scores")
    samples: int = Field(100, ge=1, description="of perturbed: how often the noise is drawn")

    needs_targets: ClassVar[bool] = False
    least_batch: ClassVar[int] = 2

    def can_choose(self, num_clips: int) -> bool:
        """Whether a summary of so many clips leaves any out."""
        return max(self.clips, math.ceil(self.share * num_clips)) < num_clips


class CSUM(Unlabelled):
    Options: ClassVar[type[CSUMOptions]] = CSUMOptions
    projector: nn.Module

    def __init__(self, options: CSUMOptions) -> None:
        super().__init__()
        self.options = options

    def attach(self, model: nn.Module, build: Callable[[], nn.Module], batch: Batch) -> None:
        size = self.compared(looked_at(model, batch), batch).shape[-1]
        self.projector = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, self.options.projection))

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        options, mask = self.options, batch.frame_mask
        scores: Scores = model(batch)
        clips = self.compared(scores, batch)
        chosen = self.choose(clips, full_precision(scores.frame_logit).sigmoid(), mask)
        sets = [(self.project(clips), mask), (self.project(chosen.feature), chosen.mask)]
        likeness = similarities(sets, options.clips, options.draw)
        contrast = losses_infonce.csum(likeness, options.temperature, options.literal_denominator)
        return total({"contrast": contrast}, {}, {"own": likeness.diagonal(len(mask)).mean()})

    def compared(self, scores: Scores, batch: Batch) -> Tensor:
        """The clips as they are compared, [B,T,D]; attention has mixed the whole video into each of its embeddings."""
        if self.options.compared == "features":
            return batch.frame_feature
        assert scores.frame_embedding is not None, "which `looked_at` refuses"
        return scores.frame_embedding

    def choose(self, clips: Tensor, score: Tensor, mask: Tensor) -> Chosen:
        options = self.options
        k = topk.num_chosen(mask, options.share, options.clips)
        if options.choice == "successive-halving":
            return topk.successive_halving(clips, score, mask, k, options.alpha)
        if options.choice == "sinkhorn":
            return topk.sinkhorn(clips, score, mask, k, options.epsilon)
        noise = torch.zeros((*mask.shape, options.samples), device=mask.device)
        drawn = (int(mask.sum()), options.samples)  # video by video, so that padding changes nothing
        noise[mask] = torch.randn(drawn, generator=generator(mask.device), device=mask.device)
        return topk.perturbed(clips, score, mask, k, noise.permute(2, 0, 1), options.sigma)

    def project(self, clips: Tensor) -> Tensor:
        """Each clip by itself, of length 1: [B,T,projection]."""
        return F.normalize(full_precision(self.projector(clips)), dim=-1)
