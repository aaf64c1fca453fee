"""A2Summ: frames and sentences in one sequence; a frame attends to the sentences spoken over it.

He et al., "Align and Attend: Multimodal Summarization with Dual Contrastive Losses", CVPR 2023. The options select
among the three models of https://github.com/boheumd/A2Summ:

    Model_BLiSS      head=linear segment_rows=200
    Model_VideoSumm  head=boxes  segment_rows=5000
    Model_MSMO       head=linear segment_rows=0 time_mask=false

Letters: B videos, T frames, M sentences, n frames or sentences, D hidden size.
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
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.multiway import Initial, Layer, Size, initialise, is_open, table
from vsumdata.train.models.summarizer import Boxes, Scores
from vsumdata.train.models.text import Text, no_text, text_of


class A2SummOptions(BaseModel):
    """Size and variants of the trunk. The defaults are the official ones for TVSum, with `head=linear`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(
        128, ge=1, description="size of a token inside the model (D), in components; a multiple of `heads`"
    )
    layers: int = Field(2, ge=1, description="number of attention layers")
    heads: int = Field(8, ge=1, description="number of attention heads per layer")
    ffn_ratio: int = Field(4, ge=1, description="width of the feed-forward networks, as a multiple of `hidden`")
    dropout_video: float = Field(
        0.1, ge=0, lt=1, description="share of the projected frames' values that training drops, 0 to 1"
    )
    dropout_text: float = Field(
        0.1, ge=0, lt=1, description="share of the projected sentences' values that training drops, 0 to 1"
    )
    dropout_attn: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of attention weights, attention outputs and feed-forward outputs that training drops, "
        "0 to 1",
    )
    initial: Initial = Field(
        "a2summ",
        description="first weights of the Linear layers. `a2summ`: normal with standard deviation 0.02, as in the "
        "official code; for a small `hidden` that is little. `xavier`: Xavier uniform",
    )
    drop_weights: bool = Field(
        True,
        description="apply `dropout_attn` to the attention weights too, as in the official code. `false` trains 1.4 "
        "times faster on a CPU",
    )
    dropout_fc: float = Field(
        0.5, ge=0, lt=1, description="share of hidden values that training drops inside the output heads, 0 to 1"
    )
    share_layers: bool = Field(
        True, description="use one set of weights for all layers, as in the official code. `false`: one set per layer"
    )
    head: Literal["linear", "boxes"] = Field(
        "linear",
        description="output head. `linear`: one logit per frame and sentence. `boxes`: each of them also proposes a "
        "segment (official for TVSum and SumMe)",
    )
    position_rows: int = Field(
        5000,
        ge=2,
        description="rows of each position table. A video may have one frame, and one sentence, fewer than that",
    )
    segment_rows: int = Field(
        5000,
        ge=0,
        description="rows of the segment table, one per sentence of a video: the largest number of sentences. "
        "0: no segment table",
    )
    time_mask: bool = Field(
        True,
        description="let a frame attend only to the sentences spoken over it. `false`: all tokens attend to all "
        "tokens, CLS included (official for MSMO)",
    )
    compat: Literal["none", "a2summ"] = Field(
        "none",
        description="`a2summ` repeats an off-by-one of the official code: sentence j takes segment row j+1, its frames "
        "take row j. `none`: both take row j",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> A2SummOptions:
        if self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} is not a multiple of heads={self.heads}")
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
    """The output for one modality."""

    token: Tensor  # CLS, [B,D]
    embedding: Tensor  # input of the contrastive losses, [B,n,D]
    logit: Tensor  # [B,n]
    boxes: Boxes | None


class Modality(nn.Module):
    """The weights that frames and sentences do not share: input projection, tables and output head."""

    def __init__(self, options: A2SummOptions, dim: int, dropout: float) -> None:
        super().__init__()
        hidden = options.hidden
        self.project = nn.Sequential(nn.Linear(dim, hidden), Dropout(dropout))
        self.cls = table(1, hidden)
        self.position = table(options.position_rows, hidden)
        self.kind = table(1, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.proposes = options.head == "boxes"
        last = nn.LayerNorm(hidden) if self.proposes else nn.Linear(hidden, 1)
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), Dropout(options.dropout_fc), last)
        if self.proposes:
            self.logit, self.reach, self.centerness = (nn.Linear(hidden, size) for size in (1, 2, 1))

    def into(self, projected: Tensor) -> Tensor:
        """Build the input tokens [B,1+n,D]: CLS and the projected features, plus position and type."""
        tokens = torch.cat([self.cls.expand(len(projected), -1, -1), projected], 1)
        return tokens + self.position[:, : tokens.shape[1]] + self.kind

    def out(self, tokens: Tensor, projected: Tensor) -> Out:
        """Read logits, embeddings and boxes off the trunk's `tokens` [B,1+n,D]."""
        # The official models differ here: with a linear head CLS comes after the LayerNorm; with boxes CLS comes before
        # it, and the projected input is added as a residual.
        if not self.proposes:
            tokens = self.norm(tokens)
            return Out(tokens[:, 0], tokens[:, 1:], self.head(tokens[:, 1:]).squeeze(-1), None)
        embedding = self.head(self.norm(projected + tokens[:, 1:]))
        boxes = Boxes(reach=self.reach(embedding).exp(), centerness=self.centerness(embedding).squeeze(-1).sigmoid())
        return Out(tokens[:, 0], embedding, self.logit(embedding).squeeze(-1), boxes)


class A2Summ(nn.Module):
    """A2Summ on frames and subtitles. Without `text_dim` it reads the frames alone and ignores the batch's text.

    `forward` raises UsageError for a video with more frames or sentences than the tables have rows.
    """

    Options: ClassVar[type[A2SummOptions]] = A2SummOptions

    def __init__(self, options: A2SummOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.options, self.text_dim = options, text_dim
        # The overlap at which A2Summ's own prediction code suppresses a box.
        self.nms_overlap = 0.4 if options.head == "boxes" else None
        self.video = Modality(options, frame_dim, options.dropout_video)
        self.text = None if text_dim is None else Modality(options, text_dim, options.dropout_text)
        self.segment = table(options.segment_rows, options.hidden) if options.segment_rows and text_dim else None
        self.layers = nn.ModuleList(Layer(options.size) for _ in range(1 if options.share_layers else options.layers))
        self.apply(partial(initialise, how=options.initial))

    def forward(self, batch: Batch) -> Scores:
        return self.summarize(batch, text_of(batch, "subtitles"))

    def summarize(self, batch: Batch, text: Text | None) -> Scores:
        """Score the frames and the tokens of `text`. Without any token, the sentence fields of the result are None."""
        # Without text (M = 0) a model still has its text CLS token, so the batch runs through the same weights.
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
        """Run all layers over both modalities; returns the tokens of each, CLS first."""
        if self.segment is not None:
            in_video, in_words = self._segments(self.segment[0], text)
            video, words = video + in_video, words + in_words[..., : words.shape[1], :]
        num_video, tokens = video.shape[1], torch.cat([video, words], 1)
        size = tokens.shape[1]
        # A model without text has no text CLS token, so the mask's last row and column go.
        allowed = is_open(batch.frame_mask, text, self.options.time_mask)[..., :size, :size]
        for i in range(self.options.layers):
            tokens = self.layers[i % len(self.layers)](tokens, allowed, num_video)
        return tokens[:, :num_video], tokens[:, num_video:]

    def _segments(self, rows: Tensor, text: Text) -> tuple[Tensor, Tensor]:
        """Vectors that mark which frames belong to which sentence, for the tokens of both modalities.

        Sentence j gets row j of the table; a frame gets the sum of the rows of the sentences that cover it. CLS and
        text without a time get 0, except with `compat`.
        """
        num_sentences = text.mask.shape[1]
        timed_cover = (text.cover & text.timed[:, None]).to(rows.dtype)
        in_video = before(timed_cover @ rows[:num_sentences])
        if self.options.compat == "a2summ":
            # The official code counts the text's CLS as row 0, which shifts every sentence by one against its frames.
            return in_video, rows[: 1 + num_sentences]
        return in_video, before(rows[:num_sentences] * text.timed[..., None])

    def _check_rows(self, batch: Batch, text: Text) -> None:
        options, num_sentences = self.options, text.mask.shape[1]
        shift = int(options.compat == "a2summ")
        # The 1 is CLS, which takes a position but, outside `compat`, no segment.
        for what, mask, rows, option, more in (
            ("frames", batch.frame_mask, options.position_rows, "position_rows", 1),
            ("sentences", text.mask, options.position_rows, "position_rows", 1),
            ("sentences", text.mask, options.segment_rows or num_sentences + shift, "segment_rows", shift),
        ):
            if mask.shape[1] + more > rows:
                video = batch.video_id[int(mask.sum(1).argmax())]
                raise UsageError(
                    f"{video}: {mask.shape[1]} {what} do not fit into this model's tables; "
                    f"train a model with --set model.{option}={mask.shape[1] + more}"
                )

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of the official model that has these options (see the module's docstring).

        `OFFICIAL_NAMES` maps our names to the official ones. Raises ValueError, before it copies anything, with the
        name of every entry that is missing, unexpected or of another shape.
        """
        into = self.official_views()
        faults = [f"missing {name}" for name in into if name not in state_dict]
        faults += [f"unexpected {name}" for name in state_dict if name not in into]
        faults += [
            f"{name} is {list(state_dict[name].shape)}, expected {list(view.shape)}"
            for name, view in into.items()
            if name in state_dict and state_dict[name].shape != view.shape
        ]
        # Official checkpoints repeat the one shared layer under every layer number. Repeats that differ come from a
        # model with a set of weights per layer, which this one cannot hold.
        if not faults and self.options.share_layers:
            first = {name: re.sub(r"^multiway_list\.\d+", "multiway_list.0", name) for name in into}
            faults += [f"{n} differs from {f}" for n, f in first.items() if not state_dict[n].equal(state_dict[f])]
        if faults:
            raise ValueError(f"these weights do not fit this A2Summ: {'; '.join(faults)}")
        for name, view in into.items():
            view.copy_(state_dict[name])

    def official_views(self, gradient: bool = False) -> dict[str, Tensor]:
        """The weights under their official names, or the gradients of those that have one.

        Each is a view: writing to it changes our weights.
        """
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


# Patterns of our names -> the official names. Our `qkv` stacks the official q, k and v, in that order.
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
    """Put a zero row for CLS before `rows`: [B,1+n,D] of [B,n,D]."""
    return F.pad(rows, (0, 0, 1, 0))
