"""The objectives with labels: each maps a model, a batch and the step's number to the loss and its named parts.

Every part is a scalar. "loss" carries the gradient; the others are for the log. A video without a target (see
vsumdata.train.data.targets) adds nothing; a batch without any target has loss 0.

Letters: B videos, N positions (frames or sentences).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.losses import supervised as losses
from vsumdata.train.losses.boxes import centerness_label, reach_label
from vsumdata.train.losses.contrastive import FIRST_SCALE, Empty, Modality, inter, intra
from vsumdata.train.losses.dpp import dpp
from vsumdata.train.losses.supervised import FocalForm, Over
from vsumdata.train.models import hiersum
from vsumdata.train.models.summarizer import Boxes, Scores
from vsumdata.train.models.text import TextKind

Parts = dict[str, Tensor]
Known = tuple[Tensor, Tensor]  # a target [B,N], and bool [B,N] where it is known
Ends = Literal["soft-iou", "smooth-l1"]

# The user's word for a kind of contrast -> how `intra` treats a video without negatives.
EMPTY: dict[str, Empty] = {"ours": "leave out", "a2summ": "a2summ", "msmo": "msmo"}


def is_parent(step: int, global_step: int, period: Literal["g", "g+1"] = "g") -> bool:
    """Whether this optimizer step, counted from 0, is a parent step: it shows the global text instead of the subtitles.

    Period "g": every `global_step`-th step; 0 means never, 1 always. Period "g+1": one parent step for every
    `global_step` child steps.
    """
    # HierSum contradicts itself: its caption has one parent for g children ("g+1"); its text says that 1 means parents
    # only, which "g" alone satisfies.
    if global_step == 0:
        return False
    return step % (global_step + (period == "g+1")) == 0


class HierSumOptions(BaseModel):
    """The weights of HierSum's losses, its schedule, and switches for A2Summ's official code."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    w_mse: float = Field(
        1.0, ge=0, description="weight of the squared error of the frames' scores (the paper's α); 0 switches it off"
    )
    w_inter: float = Field(
        0.1, ge=0, description="weight of the contrast between videos (the paper's β); 0 switches it off"
    )
    w_intra: float = Field(
        1.0, ge=0, description="weight of the contrast within each video (the paper's λ); 0 switches it off"
    )
    global_step: int = Field(
        2,
        ge=0,
        description="period of the parent steps, in optimizer steps: every so many steps the model reads the global "
        "text instead of the subtitles. 0: never; 1: always",
    )
    period: Literal["g", "g+1"] = Field(
        "g",
        description="how `global_step` counts. `g`: every `global_step`-th step is a parent step; `g+1`: one parent "
        "step for every `global_step` child steps",
    )
    parent_text: Literal["global", "both"] = Field(
        "global",
        description="text of a parent step. `global`: the global text alone; `both`: the subtitles too (our addition, "
        "for models that score videos with both)",
    )
    focal: Literal["paper", "a2summ"] = Field(
        "paper",
        description="form of the focal loss. `a2summ`: as in A2Summ's code, where the class weight `alpha` cancels",
    )
    alpha: float = Field(
        0.25, gt=0, lt=1, description="weight of positives against negatives in the paper's focal loss, 0 to 1"
    )
    gamma: float = Field(
        2.0, ge=0, description="exponent of the focal loss: larger values give less weight to easy positions"
    )
    ratio: int = Field(
        16,
        ge=1,
        description="at most one of so many positions of a video is a hard negative; each video has at least one",
    )
    contrast: Literal["ours", "a2summ", "msmo"] = Field(
        "ours",
        description="form of the contrast within a video. `a2summ` and `msmo` repeat A2Summ's code: the scales are not "
        "exponentiated; a video without negatives counts as 0 (`a2summ`) or takes its lowest-scored position (`msmo`)",
    )

    @property
    def contrasts(self) -> bool:
        """Whether the videos of a batch are compared."""
        return self.w_inter > 0


class HierSum(nn.Module):
    """HierSum's loss: L_cls + w_mse·MSE + w_inter·inter + w_intra·intra. With global_step 0 and w_mse 0: A2Summ's.

    A child step shows the subtitles and classifies frames and sentences. A parent step shows the global text; it
    classifies frames only and has no intra loss, because global text has no labels. A video without the step's text is
    classified by its frames and takes no part in the contrasts. If the model proposes segments, soft-IoU and centerness
    are added, as in A2Summ on TVSum. Pre-training (on replay scores) and fine-tuning (on other labels) both use this
    objective. Raises UsageError for a parent step of a model other than HierSum.
    """

    Options: ClassVar[type[HierSumOptions]] = HierSumOptions

    def __init__(self, options: HierSumOptions) -> None:
        super().__init__()
        self.options = options
        # One scale per loss and modality, as in the official code; all are logarithms.
        self.inter_scale = nn.Parameter(torch.tensor(FIRST_SCALE))
        self.video_scale = nn.Parameter(torch.tensor(FIRST_SCALE))
        self.text_scale = nn.Parameter(torch.tensor(FIRST_SCALE))

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        options = self.options
        parent = is_parent(step, options.global_step, options.period)
        scores = shown(model, batch, options.parent_text if parent else "subtitles")
        frames = known(batch.gt_summary, batch.summary_mask, batch.frame_mask)
        parts = self._classify("video", scores.frame_logit, frames, scores.frame_boxes)
        if options.w_mse:
            parts["mse"] = losses.mse(scores.frame_logit, *known(batch.gt_score, batch.score_mask, batch.frame_mask))
        counts: Parts = {}
        if not parent and scores.sentence_logit is not None:
            sentences = sentences_of(batch, scores.sentence_logit)
            parts |= self._classify("text", scores.sentence_logit, sentences, scores.sentence_boxes)
            if options.w_intra:
                parts["intra"], counts["left_out"] = self._intra(scores, frames, sentences)
        if options.w_inter and scores.video_token is not None and scores.text_token is not None:
            # With both texts, either one is enough to take part.
            both = has_text(batch, parent) | (has_text(batch, False) if options.parent_text == "both" else False)
            parts["inter"] = inter(scores.video_token, scores.text_token, self.inter_scale.exp(), both)
        weights = {"mse": options.w_mse, "inter": options.w_inter, "intra": options.w_intra}
        return total(parts, weights, counts | {"parent": torch.tensor(float(parent)), "positive_rate": rate(*frames)})

    def _classify(self, name: str, logit: Tensor, target: Known, boxes: Boxes | None) -> Parts:
        options = self.options
        parts = {f"cls_{name}": losses.focal(logit, *target, options.focal, options.alpha, options.gamma)}
        if boxes is not None:
            parts |= {f"{part}_{name}": value for part, value in segments(boxes, target).items()}
        return parts

    def _intra(self, scores: Scores, frames: Known, sentences: Known) -> tuple[Tensor, Tensor]:
        """The intra loss, and the number of videos left out of it."""
        video = modality(scores.frame_embedding, scores.frame_logit, frames)
        text = modality(scores.sentence_embedding, scores.sentence_logit, sentences)
        scales: tuple[Tensor, Tensor] = (self.video_scale, self.text_scale)
        # The official code takes the exponential of the inter scale but forgets it here: 2.66 instead of 14.3 at first.
        if self.options.contrast == "ours":
            scales = (self.video_scale.exp(), self.text_scale.exp())
        return intra(video, text, scales, self.options.ratio, EMPTY[self.options.contrast])


class RegressionOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Literal["raw", "min-max"] = Field(
        "raw",
        description="target of a frame. `raw`: its score; `min-max`: the scores of each video stretched to 0 … 1, as "
        "in VASNet; a video with constant scores is left out",
    )
    reduction: Literal["videos", "frames", "sum"] = Field(
        "videos",
        description="how the errors of a batch become one loss. `videos`: the mean over videos of each one's mean; "
        "`frames`: the mean over all frames, as in MR.HiSum; `sum`: the sum over videos of each one's mean, as in "
        "PGL-SUM, which adds up the gradients of a batch",
    )


class Regression(nn.Module):
    """Squared error (s − σ(logit))², averaged over a video's frames, then over videos.

    The loss of VASNet, PGL-SUM, CSTA and SL-module. Each video counts the same, whatever its length, unless
    `reduction` asks for the mean over frames.
    """

    Options: ClassVar[type[RegressionOptions]] = RegressionOptions

    def __init__(self, options: RegressionOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        return total(*self.compare(model(batch), batch))

    def compare(self, scores: Scores, batch: Batch) -> tuple[Parts, dict[str, float], Parts]:
        """The parts of the loss, their weights, and the counts for the log."""
        target, mask = known(batch.gt_score, batch.score_mask, batch.frame_mask)
        if self.options.target == "min-max":
            target, mask = stretched(target, mask)
        error = losses.squared_error(scores.frame_logit, target, mask)
        left_out = (~mask.any(1)).sum()
        return {"mse": self.reduced(error, mask)}, {}, {"left_out": left_out}

    def reduced(self, error: Tensor, mask: Tensor) -> Tensor:
        """The errors [B,T] as one number."""
        if self.options.reduction == "frames":
            return losses.masked_mean(error, mask)
        mean = losses.video_mean(error, mask)
        return mean * mask.any(1).sum() if self.options.reduction == "sum" else mean


class DppRegressionOptions(RegressionOptions):
    w_dpp: float = Field(
        0.01,
        ge=0,
        description="weight of the summary's negative log-likelihood under the DPP; the default makes it about as "
        "large as the squared error",
    )


class DppRegression(Regression):
    """dppLSTM's loss: that of `Regression` + w_dpp·(−log P(summary)); P comes from the model's `frame_kernel`."""

    Options: ClassVar[type[RegressionOptions]] = DppRegressionOptions

    def __init__(self, options: DppRegressionOptions) -> None:
        super().__init__(options)
        self.w_dpp = options.w_dpp

    def compare(self, scores: Scores, batch: Batch) -> tuple[Parts, dict[str, float], Parts]:
        parts, _, counts = super().compare(scores, batch)
        assert scores.frame_kernel is not None, "this objective needs a model with a frame_kernel"
        summary, mask = known(batch.gt_summary, batch.summary_mask, batch.frame_mask)
        parts["dpp"] = dpp(scores.frame_logit, scores.frame_kernel, summary, mask)
        return parts, {"dpp": self.w_dpp}, counts


class SaliencyOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Literal["score", "summary"] = Field(
        "score",
        description="target of a frame. `score`: its importance, 0 to 1; `summary`: 1 if the summary has it, else 0",
    )
    over: Over = Field(
        "known",
        description="what the loss of a batch is divided by. `known`: its frames with a label; `umt`: all positions, "
        "padding too, as in UMT's code",
    )


class Saliency(nn.Module):
    """UMT's loss for highlights: binary cross-entropy of each frame's logit and its importance or label."""

    Options: ClassVar[type[SaliencyOptions]] = SaliencyOptions

    def __init__(self, options: SaliencyOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        scores: Scores = model(batch)
        if self.options.target == "score":
            target, mask = known(batch.gt_score, batch.score_mask, batch.frame_mask)
        else:
            target, mask = known(batch.gt_summary, batch.summary_mask, batch.frame_mask)
        entropy = losses.cross_entropy(scores.frame_logit, target, mask, self.options.over)
        return total({"bce": entropy}, {}, {"left_out": (~mask.any(1)).sum()})


class ProposalsOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    w_loc: float = Field(1.0, ge=0, description="weight of the loss for the segments' ends (the paper's λ_reg)")
    w_ctr: float = Field(1.0, ge=0, description="weight of the centerness loss (the paper's λ_ctr)")
    focal: FocalForm = Field(
        "dsnet",
        description="form of the focal loss. `dsnet`: a video's sum divided by its positives; `paper`: the mean with "
        "class weights; `a2summ`: the mean without",
    )
    loc: Ends = Field(
        "soft-iou", description="loss for the segments' ends: −log of their overlap, or Huber on the distances"
    )


class Proposals(nn.Module):
    """DSNet-AF's loss: focal + w_loc·ends + w_ctr·centerness, over the videos that have positives."""

    Options: ClassVar[type[ProposalsOptions]] = ProposalsOptions

    def __init__(self, options: ProposalsOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Parts:
        scores: Scores = model(batch)
        assert scores.frame_boxes is not None, "this objective needs a model that proposes segments"
        frames = known(batch.gt_summary, batch.summary_mask, batch.frame_mask)
        parts = {"cls": losses.focal(scores.frame_logit, *frames, self.options.focal)}
        parts |= segments(scores.frame_boxes, frames, self.options.loc)
        # DSNet divides by the number of positives; a video without any is left out and counted.
        left_out = (~((frames[0] > 0.5) & frames[1]).any(1)).sum()
        weights = {"loc": self.options.w_loc, "ctr": self.options.w_ctr}
        return total(parts, weights, {"left_out": left_out, "positive_rate": rate(*frames)})


def shown(model: nn.Module, batch: Batch, text: TextKind) -> Scores:
    """The model's scores with the text of this step. Raises UsageError for a parent step of a model without one."""
    asked = {}
    if isinstance(model, hiersum.HierSum):
        asked = {"text": text}
    elif text != "subtitles":
        raise UsageError("parent steps need the method hiersum; use objective.global_step=0")
    scores: Scores = model(batch, **asked)
    return scores


def total(parts: Parts, weights: dict[str, float], counts: Parts) -> Parts:
    """Sum the weighted parts to "loss" (a part without a weight has 1), and add parts and counts for the log."""
    loss = torch.stack([weights.get(name, 1.0) * value for name, value in parts.items()]).sum()
    return {"loss": loss, **{name: value.detach() for name, value in (parts | counts).items()}}


def known(target: Tensor | None, mask: Tensor | None, valid: Tensor) -> Known:
    """Pad a target of the batch to the size of `valid`, bool [B,N], and say where it is known."""
    # A batch holds a target only as wide as the longest video that has it, and None if no video has it.
    if target is None or mask is None:
        return torch.zeros_like(valid, dtype=torch.float32), torch.zeros_like(valid)
    room = (0, valid.shape[1] - target.shape[1])
    return F.pad(target, room), F.pad(mask, room) & valid


def sentences_of(batch: Batch, logit: Tensor) -> Known:
    """The labels of the sentences, in the size of `logit` [B,N]."""
    # With both texts, global tokens follow the sentences of a video; they have no label.
    valid = torch.zeros_like(logit, dtype=torch.bool)
    if batch.sentence_mask is not None:
        width = min(logit.shape[1], batch.sentence_mask.shape[1])
        valid[:, :width] = batch.sentence_mask[:, :width]
    return known(batch.sentence_label, batch.label_mask, valid)


def modality(embedding: Tensor | None, logit: Tensor | None, target: Known) -> Modality:
    """The inputs of the intra loss for one modality."""
    assert embedding is not None, "this objective needs a model with embeddings, or w_intra=0"
    assert logit is not None
    return Modality(embedding=embedding, logit=logit, label=target[0], mask=target[1])


def has_text(batch: Batch, parent: bool) -> Tensor:
    """Which videos have the text of a parent step, or of a child step: bool [B]."""
    has = torch.zeros(len(batch.frame_mask), dtype=torch.bool, device=batch.frame_mask.device)
    if not parent:
        return has if batch.sentence_mask is None else batch.sentence_mask.any(1)
    for mask in (batch.global_mask, None if batch.step_mask is None else batch.step_mask.any(1)):
        has = has if mask is None else has | mask
    return has


def segments(boxes: Boxes, target: Known, loc: Ends = "soft-iou") -> Parts:
    """The losses "loc" (ends) and "ctr" (centerness) of the proposed segments, at the positives."""
    # Unknown labels count as negative here: `reach_label` would take a stray 1 for part of a segment.
    label = target[0].masked_fill(~target[1], 0)
    reach, positive = reach_label(label), label > 0.5
    ends = losses.soft_iou if loc == "soft-iou" else losses.smooth_l1
    return {
        "loc": ends(boxes.reach, reach, positive),
        "ctr": losses.centerness(boxes.centerness, centerness_label(reach, label), positive),
    }


def stretched(target: Tensor, mask: Tensor) -> Known:
    """Stretch each video's scores to 0 … 1; a video with constant scores becomes unknown."""
    # A constant video has span 0, and its stretched scores would be NaN.
    least = target.masked_fill(~mask, torch.inf).amin(1, keepdim=True)
    span = target.masked_fill(~mask, -torch.inf).amax(1, keepdim=True) - least
    mask = mask & (span > 0)
    return ((target - least) / span).masked_fill(~mask, 0), mask


def rate(label: Tensor, mask: Tensor) -> Tensor:
    """The share of positives among the known labels."""
    return losses.masked_mean(label, mask)
