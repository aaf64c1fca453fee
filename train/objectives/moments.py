"""Moment-DETR's objective: proposals are matched to a query's moments, and relevant clips rank before others.

Letters: B videos, T clips, N proposals, R moments.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.train.losses.moments import Weights, label_loss, match, ranked_pairs, span_losses
from vsumdata.train.losses.supervised import masked_mean
from vsumdata.train.models.queried.spans import grid, grids, to_shares
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.objectives.sampling import uniform_noise
from vsumdata.train.objectives.supervised import Parts, known, rate, total
from vsumdata.train.objectives.unlabelled import generator


class MomentsOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    w_l1: float = Field(10.0, ge=0, description="weight of the error of centre and width, in the matching and the loss")
    w_giou: float = Field(1.0, ge=0, description="weight of 1 − generalised IoU, in the matching and the loss")
    w_label: float = Field(
        4.0, ge=0, description="weight of whether a proposal is relevant, in the matching and the loss"
    )
    w_background: float = Field(
        0.1, ge=0, description="weight of a proposal that matches no moment, relative to one that does"
    )
    w_saliency: float = Field(1.0, ge=0, description="weight of the ranking of clips")
    margin: float = Field(0.2, ge=0, description="by how much the logit of a better clip is to exceed that of a worse")
    most: int = Field(5, ge=1, description="moments of a video that a step looks at; of more it draws so many")
    earlier: bool = Field(True, description="whether the moments of the earlier decoder layers are trained as well")


class Moments(nn.Module):
    """w_l1·|Δ span| + w_giou·(1 − GIoU) + w_label·CE + w_saliency·hinge; the first three for every decoder layer.

    A video without moments of its own has the runs of its summary for moments. One that has neither trains no proposal,
    and one without relevant clips and scores no saliency.
    """

    Options: ClassVar[type[MomentsOptions]] = MomentsOptions

    def __init__(self, options: MomentsOptions) -> None:
        super().__init__()
        self.options = options
        self.weights = Weights(l1=options.w_l1, giou=options.w_giou, label=options.w_label)

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        options = self.options
        scores: Scores = model(batch)
        assert scores.moments is not None, "this objective needs a model that proposes moments"
        wanted = self.wanted(batch, scores.moments)
        layers = [scores.moments]
        if options.earlier and scores.earlier_moments is not None:
            layers += list(scores.earlier_moments)
        parts: Parts = {}
        weights = {"saliency": options.w_saliency}
        for number, moments in enumerate(layers):
            # The last layer has the plain names; "l1_1" is of a layer before it.
            names = {name: f"{name}_{number}" if number else name for name in ("l1", "giou", "label")}
            found = self.of_layer(moments, wanted, batch)
            parts |= {names[name]: value for name, value in found.items()}
            weights |= {names[name]: getattr(options, f"w_{name}") for name in names}
        score, has_score = known(batch.gt_score, batch.score_mask, batch.frame_mask)
        relevant, has_label = known(batch.gt_summary, batch.summary_mask, batch.frame_mask)
        noise = uniform_noise(batch.frame_mask, generator(batch.frame_mask.device))
        hinge, ranks = ranked_pairs(
            scores.frame_logit, score, relevant > 0.5, has_score & has_label, noise, options.margin
        )
        parts["saliency"] = masked_mean(hinge, ranks)
        left_out = torch.tensor(float(sum(each is None for each in wanted)))
        return total(parts, weights, {"left_out": left_out, "positive_rate": rate(relevant, has_label)})

    def of_layer(self, moments: Tensor, wanted: list[Tensor | None], batch: Batch) -> Parts:
        """The losses of one decoder layer's moments [B,N,3], as means over matched pairs and over all proposals."""
        start_s, lasts_s = grids(batch.frame_time_s.to(moments.dtype), batch.frame_mask)
        ends, logit = to_shares(moments[..., :2], start_s, lasts_s), moments[..., 2]
        is_matched, is_known = torch.zeros_like(logit, dtype=torch.bool), torch.zeros_like(logit, dtype=torch.bool)
        ours, theirs = [], []
        for at, moment in enumerate(wanted):
            if moment is None:
                continue
            is_known[at] = True
            if len(moment):
                rows, columns = match(ends[at], logit[at], moment, self.weights)
                is_matched[at, rows] = True
                ours.append(ends[at, rows])
                theirs.append(moment[columns])
        nothing = 0 * moments.sum()
        error, overlap = span_losses(torch.cat(ours), torch.cat(theirs)) if ours else (nothing, nothing)
        label = masked_mean(label_loss(logit, is_matched, self.options.w_background), is_known)
        return {"l1": error.mean(), "giou": overlap.mean(), "label": label}

    def wanted(self, batch: Batch, like: Tensor) -> list[Tensor | None]:
        """The moments of each video as shares of its length [R,2]; None where they are not known."""
        start_s, lasts_s = grids(batch.frame_time_s.double(), batch.frame_mask)
        here = generator(torch.device("cpu"))
        found: list[Tensor | None] = []
        for at in range(len(batch.video_id)):
            moment = moments_of(batch, at)
            if moment is None:
                found.append(None)
                continue
            if len(moment) > self.options.most:
                moment = moment[torch.randperm(len(moment), generator=here)[: self.options.most].numpy()]
            shares = to_shares(torch.as_tensor(moment, device=like.device).double(), start_s[at], lasts_s[at])
            shares = shares.clamp(0, 1).to(like.dtype)
            # Of a video that was cut shorter than its moments nothing may be left.
            found.append(shares[shares[:, 0] < shares[:, 1]])
        return found


def moments_of(batch: Batch, at: int) -> np.ndarray | None:
    """The moments of a video in s, [R,2]: its own, or else the runs of its summary. None if it has neither."""
    if batch.moment and (own := batch.moment[at]) is not None:
        return own
    if batch.gt_summary is None or batch.summary_mask is None or not batch.summary_mask[at].any():
        return None
    num = int(batch.frame_mask[at].sum())
    chosen, time_s = (batch.gt_summary[at, :num] > 0.5).cpu().numpy(), batch.frame_time_s[at, :num].cpu().numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]])))
    clip_s, _, _ = grid(time_s)
    ends = np.append(time_s, time_s[-1] + clip_s)
    return np.asarray(ends[edges].reshape(-1, 2), np.float64)
