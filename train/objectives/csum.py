"""CSUM: contrast each video and its summary with the other videos and summaries of the batch.

The summarizer's frames are the clips. Its scores choose the k best clips as the summary, by a differentiable top-k
(vsumdata.train.objectives.topk). Clips are compared by its `frame_embedding`.

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
from vsumdata.train.losses import infonce
from vsumdata.train.losses.boxes import full_precision
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.objectives import topk
from vsumdata.train.objectives.distance import Draw, similarities
from vsumdata.train.objectives.supervised import Parts, total
from vsumdata.train.objectives.topk import Chosen
from vsumdata.train.objectives.unlabelled import Unlabelled, generator, looked_at


class CSUMOptions(BaseModel):
    """CSUM's settings. The paper leaves share, temperature and projection open; those defaults are our choice.

    Where planted videos show that another choice than the paper's learns more, it is the default (docs/results.md), and
    the preset `paper` has the paper's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clips: int = Field(
        10, ge=1, description="number of clips drawn from a video or summary to compare it (the paper's n)"
    )
    draw: Draw = Field(
        "windows",
        description="which clips are drawn. `windows`: consecutive ones, as in the paper; `subsets`: any, in order",
    )
    compared: Literal["embeddings", "features"] = Field(
        "features",
        description="what represents a clip. `embeddings`: the summarizer's embedding, as in the paper; `features`: "
        "the clip's input features, by which attention models learn more (our addition)",
    )
    share: float = Field(
        0.15, gt=0, le=1, description="length of a summary, as a share of the video's clips; at least `clips` clips"
    )
    temperature: float = Field(
        0.1, gt=0, description="temperature of the contrast (τ): smaller weighs the hardest negatives more"
    )
    literal_denominator: bool = Field(
        False, description="leave the positive pair out of the denominator, as the paper prints it. `false`: as SimCLR"
    )
    projection: int = Field(128, ge=1, description="size of a projected clip, in components")
    choice: Literal["successive-halving", "sinkhorn", "perturbed"] = Field(
        "successive-halving", description="the differentiable method that chooses the best clips"
    )
    alpha: float = Field(
        20.0,
        gt=0,
        description="for `successive-halving`: how sharply the better of two clips wins; no unit. The paper's figures "
        "need about 400, which leaves little gradient",
    )
    epsilon: float = Field(
        0.01, gt=0, description="for `sinkhorn`: weight of the entropy; smaller makes the choice sharper"
    )
    sigma: float = Field(
        0.05, gt=0, description="for `perturbed`: standard deviation of the noise on the scores (scores are 0 to 1)"
    )
    samples: int = Field(100, ge=1, description="for `perturbed`: number of noise samples per step")

    needs_targets: ClassVar[bool] = False
    contrasts: ClassVar[bool] = True
    least_batch: ClassVar[int] = 2

    def can_choose(self, num_clips: int) -> bool:
        """Whether a summary of a video with `num_clips` clips leaves any of them out."""
        # If it keeps all, every choice is the same and there is nothing to learn from.
        return max(self.clips, math.ceil(self.share * num_clips)) < num_clips


class CSUM(Unlabelled):
    """The mean contrast of videos and summaries (`losses.infonce.csum`), with clips projected by a small network.

    Raises ValueError for a batch of one video.
    """

    Options: ClassVar[type[CSUMOptions]] = CSUMOptions
    projector: nn.Module

    def __init__(self, options: CSUMOptions) -> None:
        super().__init__()
        self.options = options

    def attach(self, model: nn.Module, build: Callable[[], nn.Module], batch: Batch) -> None:
        size = self.compared(looked_at(model, batch), batch).shape[-1]
        # The paper leaves the projector open; two layers are SimCLR's choice.
        self.projector = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, self.options.projection))

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        options, mask = self.options, batch.frame_mask
        scores: Scores = model(batch)
        clips = self.compared(scores, batch)
        chosen = self.choose(clips, full_precision(scores.frame_logit).sigmoid(), mask)
        sets = [(self.project(clips), mask), (self.project(chosen.feature), chosen.mask)]
        # Time order counts in dist_n, and `topk` restores it: successive halving leaves clips sorted by score.
        likeness = similarities(sets, options.clips, options.draw)
        contrast = infonce.csum(likeness, options.temperature, options.literal_denominator)
        return total({"contrast": contrast}, {}, {"own": likeness.diagonal(len(mask)).mean()})

    def compared(self, scores: Scores, batch: Batch) -> Tensor:
        """The clips to compare, [B,T,D]."""
        # Attention mixes the whole video into every embedding. Input features are not mixed.
        if self.options.compared == "features":
            return batch.frame_feature
        assert scores.frame_embedding is not None, "`looked_at` refuses such a model"
        return scores.frame_embedding

    def choose(self, clips: Tensor, score: Tensor, mask: Tensor) -> Chosen:
        """Choose each video's best clips of [B,T,D] by `score` [B,T] in [0,1], with the method of the options."""
        options = self.options
        k = topk.num_chosen(mask, options.share, options.clips)
        if options.choice == "successive-halving":
            return topk.successive_halving(clips, score, mask, k, options.alpha)
        if options.choice == "sinkhorn":
            return topk.sinkhorn(clips, score, mask, k, options.epsilon)
        noise = torch.zeros((*mask.shape, options.samples), device=mask.device)
        # Drawn for real clips only: padding must not change the noise of the videos behind it.
        drawn = (int(mask.sum()), options.samples)
        noise[mask] = torch.randn(drawn, generator=generator(mask.device), device=mask.device)
        return topk.perturbed(clips, score, mask, k, noise.permute(2, 0, 1), options.sigma)

    def project(self, clips: Tensor) -> Tensor:
        """Project each clip separately to a vector of length 1: [B,T,projection]."""
        return F.normalize(full_precision(self.projector(clips)), dim=-1)
