"""A2Summ: frames and sentences in one sequence, each frame open to the sentences spoken over it.

He et al., "Align and Attend: Multimodal Summarization with Dual Contrastive Losses", CVPR 2023; the three models of
https://github.com/boheumd/A2Summ are options of this one:

    Model_BLiSS      head=linear segment_rows=200
    Model_VideoSumm  head=boxes  segment_rows=5000
    Model_MSMO       head=linear segment_rows=0 time_mask=false

Letters: B videos, T frames, M sentences, n either of them, D hidden size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.models.multiway import Initial, Layer, Size, initialise, is_open, table
from vsumdata.train.models.summarizer import Boxes, Scores
from vsumdata.train.models.text import Text, no_text, text_of


class A2SummOptions(BaseModel):
    """The trunk's size and the official code's variants of it; the defaults are those for TVSum with `head=linear`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(128, ge=1, description="D, a multiple of heads")
    layers: int = Field(2, ge=1, description="attention layers")
    heads: int = Field(8, ge=1, description="attention heads")
    ffn_ratio: int = Field(4, ge=1, description="width of the feed-forward networks in units of D")
    dropout_video: float = Field(0.1, ge=0, lt=1, description="of the projected frames")
    dropout_text: float = Field(0.1, ge=0, lt=1, description="of the projected sentences")
    dropout_attn: float = Field(0.1, ge=0, lt=1, description="of attention weights, attention and feed-forward output")
    initial: Initial = Field(
        "a2summ", description="first weights; a2summ: of deviation 0.02, which is little for a small D; or xavier"
    )
    drop_weights: bool = Field(
        True, description="dropout_attn of attention weights too, as officially; false trains 3 times faster on CPUs"
    )
    dropout_fc: float = Field(0.5, ge=0, lt=1, description="inside the heads")
    share_layers: bool = Field(True, description="all layers are one, as officially")
    head: Literal["linear", "boxes"] = Field("linear", description="a logit per position, or segments (TVSum, SumMe)")
    position_rows: int = Field(5000, ge=2, description="position table: frames, and sentences, at most, plus 1")
    segment_rows: int = Field(5000, ge=0, description="segment table: at most that many sentences; 0: no such table")
    time_mask: bool = Field(True, description="frames see only the sentences spoken over them; false: all, and CLS")
    compat: Literal["none", "a2summ"] = Field(
        "none", description="a2summ: sentence j takes segment row j+1, CLST row 0, while its frames take row j"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> A2SummOptions:
        if self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} is no multiple of heads={self.heads}")
        return self

    @property
    def size(self) -> Size:
        return Size(
            hidden=self.hidden,
            heads=self.heads,
            ffn_ratio=self.ffn_ratio,
            dropout=self.dropout_attn,
            dropout_weights=self.dropout_attn if self.drop_weights else 0.0,
        )


class Out(NamedTuple):
    """What the trunk says of one modality."""

    token: Tensor  # CLS, [B,D]
    embedding: Tensor  # what is contrasted, [B,n,D]
    logit: Tensor  # [B,n]
    boxes: Boxes | None


class Modality(nn.Module):
    """What one modality has for itself: its way into the trunk and out of it."""

    def __init__(self, options: A2SummOptions, dim: int, dropout: float) -> None:
        super().__init__()
        hidden = options.hidden
        self.project = nn.Sequential(nn.Linear(dim, hidden), nn.Dropout(dropout))
        self.cls = table(1, hidden)
        self.position = table(options.position_rows, hidden)
        self.kind = table(1, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.proposes = options.head == "boxes"
        last = nn.LayerNorm(hidden) if self.proposes else nn.Linear(hidden, 1)
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(options.dropout_fc), last)
        if self.proposes:
            self.logit, self.reach, self.centerness = (nn.Linear(hidden, size) for size in (1, 2, 1))

    def into(self, projected: Tensor) -> Tensor:
        """CLS, then the projected features [B,n,D], with their positions and their type."""
        tokens = torch.cat([self.cls.expand(len(projected), -1, -1), projected], 1)
        return tokens + self.position[:, : tokens.shape[1]] + self.kind

    def out(self, tokens: Tensor, projected: Tensor) -> Out:
        if not self.proposes:
            tokens = self.norm(tokens)
            return Out(tokens[:, 0], tokens[:, 1:], self.head(tokens[:, 1:]).squeeze(-1), None)
        embedding = self.head(self.norm(projected + tokens[:, 1:]))
        boxes = Boxes(reach=self.reach(embedding).exp(), centerness=self.centerness(embedding).squeeze(-1).sigmoid())
        return Out(tokens[:, 0], embedding, self.logit(embedding).squeeze(-1), boxes)


class A2Summ(nn.Module):
    """A2Summ on frames and subtitles; without `text_dim` on frames alone, whatever text a batch has.

    Raises UsageError where a video has more frames or sentences than the tables have rows.
    """

    Options: ClassVar[type[A2SummOptions]] = A2SummOptions

    def __init__(self, options: A2SummOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.options, self.text_dim = options, text_dim
        self.nms_overlap = 0.4 if options.head == "boxes" else None
        self.video = Modality(options, frame_dim, options.dropout_video)
        self.text = None if text_dim is None else Modality(options, text_dim, options.dropout_text)
        self.segment = table(options.segment_rows, options.hidden) if options.segment_rows and text_dim else None
        self.layers = nn.ModuleList(Layer(options.size) for _ in range(1 if options.share_layers else options.layers))
        self.apply(partial(initialise, how=options.initial))

    def forward(self, batch: Batch) -> Scores:
        return self.summarize(batch, text_of(batch, "subtitles"))

    def summarize(self, batch: Batch, text: Text | None) -> Scores:
        """The scores with `text` beside the frames; nothing is said of sentences where no video has any."""
        if text is None or self.text is None:
            text = no_text(batch, self.text_dim or 0)
        self._check_rows(batch, text)
        dtype = self.video.cls.dtype
        video_in = self.video.project(batch.frame_feature.to(dtype))
        video = self.video.into(video_in)
        if self.text is None:
            video, _ = self._through(video, video[:, :0], batch, text)
            return scores(self.video.out(video, video_in), None)
        text_in = self.text.project(text.feature.to(dtype))
        video, words = self._through(video, self.text.into(text_in), batch, text)
        of_text = self.text.out(words, text_in) if text.mask.shape[1] else None
        return scores(self.video.out(video, video_in), of_text)

    def _through(self, video: Tensor, words: Tensor, batch: Batch, text: Text) -> tuple[Tensor, Tensor]:
        """The tokens of both modalities, CLS first, after all layers."""
        if self.segment is not None:
            in_video, in_words = self._segments(self.segment[0], text)
            video, words = video + in_video, words + in_words[..., : words.shape[1], :]
        num_video, tokens = video.shape[1], torch.cat([video, words], 1)
        size = tokens.shape[1]
        allowed = is_open(batch.frame_mask, text, self.options.time_mask)[..., :size, :size]
        for i in range(self.options.layers):
            tokens = self.layers[i % len(self.layers)](tokens, allowed, num_video)
        return tokens[:, :num_video], tokens[:, num_video:]

    def _segments(self, rows: Tensor, text: Text) -> tuple[Tensor, Tensor]:
        """What tells which frames a sentence goes with: its row, and in each frame the sum of its sentences' rows.

        CLS and text without a time have none, except for what `compat` says.
        """
        num_sentences = text.mask.shape[1]
        timed_cover = (text.cover & text.timed[:, None]).to(rows.dtype)
        in_video = before(timed_cover @ rows[:num_sentences])
        if self.options.compat == "a2summ":
            return in_video, rows[: 1 + num_sentences]
        return in_video, before(rows[:num_sentences] * text.timed[..., None])

    def _check_rows(self, batch: Batch, text: Text) -> None:
        options, num_sentences = self.options, text.mask.shape[1]
        shift = int(options.compat == "a2summ")
        for what, mask, rows, option, more in (
            ("frames", batch.frame_mask, options.position_rows, "position_rows", 1),
            ("sentences", text.mask, options.position_rows, "position_rows", 1),
            ("sentences", text.mask, options.segment_rows or num_sentences + shift, "segment_rows", shift),
        ):
            if mask.shape[1] + more > rows:
                video = batch.video_id[int(mask.sum(1).argmax())]
                raise UsageError(
                    f"{video}: {mask.shape[1]} {what} are more than this model has rows for; "
                    f"train one with --set model.{option}={mask.shape[1] + more}"
                )

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of the official model that has these options (see the module's docstring).

        `OFFICIAL_NAMES` says which entry is which. Official checkpoints repeat their one layer under every number; with
        `share_layers` the repeats must be equal. ValueError names every entry that is missing, unexpected or of
        another shape, and nothing is copied then.
        """
        into = self.official_views()
        faults = [f"missing {name}" for name in into if name not in state_dict]
        faults += [f"unexpected {name}" for name in state_dict if name not in into]
        faults += [
            f"{name} is {list(state_dict[name].shape)}, expected {list(view.shape)}"
            for name, view in into.items()
            if name in state_dict and state_dict[name].shape != view.shape
        ]
        if not faults and self.options.share_layers:
            first = {name: re.sub(r"^multiway_list\.\d+", "multiway_list.0", name) for name in into}
            faults += [f"{n} differs from {f}" for n, f in first.items() if not state_dict[n].equal(state_dict[f])]
        if faults:
            raise ValueError(f"these are no weights of this A2Summ: {'; '.join(faults)}")
        for name, view in into.items():
            view.copy_(state_dict[name])

    def official_views(self, gradient: bool = False) -> dict[str, Tensor]:
        """The weights, or their gradients where they have one, by their official names; writing to one changes ours."""
        views: dict[str, Tensor] = {}
        for ours, parameter in self.named_parameters():
            values = parameter.grad if gradient else parameter.detach()
            if values is not None:
                views |= self._official(ours, values)
        return views

    def _official(self, name: str, values: Tensor) -> dict[str, Tensor]:
        for pattern, replacement in OFFICIAL_NAMES.items():
            name = re.sub(pattern, replacement, name)
        numbers = range(self.options.layers if self.options.share_layers else 1)
        names = [re.sub(r"^multiway_list\.0", f"multiway_list.{i}", name) for i in numbers]
        if "qkv" not in name:
            return dict.fromkeys(names, values)
        return {
            each.replace("qkv", part): rows for each in names for part, rows in zip("qkv", values.chunk(3), strict=True)
        }


# Our names as patterns -> the official ones; `qkv` stacks the official q, k and v.
OFFICIAL_NAMES = {
    r"^segment$": "pos_embed_segment",
    r"^(video|text)\.position$": r"pos_embed_\1",
    r"^(video|text)\.kind$": r"type_\1",
    r"^(video|text)\.cls$": r"cls_token_\1",
    r"^(video|text)\.project\.": r"proj_fc_\1.",
    r"^(video|text)\.norm\.": r"norm_\1.",
    r"^(video|text)\.head\.": r"fc_\1.",
    r"^(video|text)\.logit\.": r"fc_\1_cls.",
    r"^(video|text)\.reach\.": r"fc_\1_loc.",
    r"^(video|text)\.centerness\.": r"fc_\1_ctr.",
    r"^layers\.": "multiway_list.",
    r"^(multiway_list\.\d+)\.norm\.": r"\1.norm1_fused.",
    r"^(multiway_list\.\d+)\.attention\.out\.": r"\1.attn_fusion.m.",
    r"^(multiway_list\.\d+)\.attention\.": r"\1.attn_fusion.",
    r"^(multiway_list\.\d+)\.(video|text)\.0\.": r"\1.norm2_\2.",
    r"^(multiway_list\.\d+)\.(video|text)\.1\.": r"\1.ffn_\2.fc1.",
    r"^(multiway_list\.\d+)\.(video|text)\.4\.": r"\1.ffn_\2.fc2.",
}


def scores(video: Out, text: Out | None) -> Scores:
    return Scores(
        frame_logit=video.logit,
        sentence_logit=text.logit if text else None,
        frame_embedding=video.embedding,
        sentence_embedding=text.embedding if text else None,
        video_token=video.token,
        text_token=text.token if text else None,
        frame_boxes=video.boxes,
        sentence_boxes=text.boxes if text else None,
    )


def before(rows: Tensor) -> Tensor:
    """[B,n,D] with zeros in front for CLS."""
    return F.pad(rows, (0, 0, 1, 0))
