"""Moment-DETR: clips and a query's words in one encoder; learnt slots ask it for moments (Lei et al., NeurIPS 2021).

arXiv 2107.09609; jayleicn/moment_detr@b7e553a moment_detr/model.py, transformer.py, position_encoding.py. Not taken
over: the contrast of slots with words, which the released configuration does without, and the pre-training on
subtitles. Endpoint features (tef), which the official code adds to each video's features, are made here.

Letters: B videos, T frames (clips), Q words, N slots, D hidden size, L decoder layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import copy_weights
from vsumdata.train.models.queried.spans import grids, to_seconds
from vsumdata.train.models.summarizer import Scores

PERIOD = 10_000  # of the slowest sine, as in the transformer's paper


class MomentDETROptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(256, ge=2, multiple_of=2, description="size of all layers (D), in components; an even number")
    heads: int = Field(8, ge=1, description="number of attention heads per layer; they must divide `hidden`")
    encoder_layers: int = Field(2, ge=1, description="number of layers over clips and words")
    decoder_layers: int = Field(2, ge=1, description="number of layers over the slots")
    feedforward: int = Field(1024, ge=1, description="hidden size of the feed-forward networks, in components")
    slots: int = Field(10, ge=1, description="number of moments that are proposed for each video (N)")
    projections: int = Field(2, ge=1, le=3, description="linear layers between features and encoder")
    endpoints: bool = Field(
        True, description="whether each clip is told its start and end as shares of the video, beside its feature"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of values that training drops in the layers, 0 to 1")
    dropout_input: float = Field(
        0.5, ge=0, lt=1, description="share of the features' components that training drops, 0 to 1"
    )


class Projection(nn.Module):
    """LayerNorm, dropout and a linear layer for each of `num`; ReLU between them."""

    def __init__(self, size: int, hidden: int, num: int, dropout: float) -> None:
        super().__init__()
        sizes = [size, *[hidden] * (num - 1)]
        self.norms = nn.ModuleList(map(nn.LayerNorm, sizes))
        self.linears = nn.ModuleList(nn.Linear(each, hidden) for each in sizes)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for at, (norm, linear) in enumerate(zip(self.norms, self.linears, strict=True)):
            x = linear(self.drop(norm(x.relu() if at else x)))
        return x


class FeedForward(nn.Module):
    """Two linear layers with a residual, then LayerNorm."""

    def __init__(self, options: MomentDETROptions) -> None:
        super().__init__()
        self.inner = nn.Linear(options.hidden, options.feedforward)
        self.outer = nn.Linear(options.feedforward, options.hidden)
        self.norm = nn.LayerNorm(options.hidden)
        self.drop = Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.drop(self.outer(self.drop(self.inner(x).relu()))))


class Attention(nn.Module):
    """Multi-head attention with a residual, then LayerNorm. Positions are added to queries and keys, not to values."""

    def __init__(self, options: MomentDETROptions) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(options.hidden, options.heads, options.dropout, batch_first=True)
        self.norm = nn.LayerNorm(options.hidden)
        self.drop = Dropout(options.dropout)

    def forward(self, x: Tensor, place: Tensor, memory: Tensor, its_place: Tensor, hidden: Tensor | None) -> Tensor:
        """`hidden`, bool [B,K], is true for keys that are padding."""
        mixed, _ = self.attend(x + place, memory + its_place, memory, key_padding_mask=hidden, need_weights=False)
        return self.norm(x + self.drop(mixed))


class EncoderLayer(nn.Module):
    def __init__(self, options: MomentDETROptions) -> None:
        super().__init__()
        self.attention, self.feedforward = Attention(options), FeedForward(options)

    def forward(self, x: Tensor, place: Tensor, hidden: Tensor) -> Tensor:
        return self.feedforward(self.attention(x, place, x, place, hidden))


class DecoderLayer(nn.Module):
    def __init__(self, options: MomentDETROptions) -> None:
        super().__init__()
        self.among, self.across, self.feedforward = Attention(options), Attention(options), FeedForward(options)

    def forward(self, x: Tensor, slot: Tensor, memory: Tensor, place: Tensor, hidden: Tensor) -> Tensor:
        x = self.among(x, slot, x, slot, None)
        return self.feedforward(self.across(x, slot, memory, place, hidden))


class MomentDETR(nn.Module):
    """Moment-DETR. Without queries (`query_dim` None) it sees clips alone. Raises UsageError for heads that do not fit.

    `frame_logit` is the saliency of a clip. Weights are drawn as in the official code: Xavier for the transformer.
    """

    Options: ClassVar[type[MomentDETROptions]] = MomentDETROptions

    def __init__(
        self,
        options: MomentDETROptions,
        frame_dim: int,
        text_dim: int | None = None,
        *,
        query_dim: int | None = None,
    ) -> None:
        super().__init__()
        if options.hidden % options.heads:
            raise UsageError(
                f"moment-detr: {options.heads} heads do not divide {options.hidden} components; set model.heads"
            )
        self.options = options
        size, sizes = options.hidden, (options.hidden, options.projections, options.dropout_input)
        self.project_clips = Projection(frame_dim + 2 * options.endpoints, *sizes)
        self.project_words = None if query_dim is None else Projection(query_dim, *sizes)
        self.encoder = nn.ModuleList(EncoderLayer(options) for _ in range(options.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(options) for _ in range(options.decoder_layers))
        for weight in (*self.encoder.parameters(), *self.decoder.parameters()):
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
        self.norm = nn.LayerNorm(size)
        self.slot = nn.Embedding(options.slots, size)
        self.span = nn.ModuleList(nn.Linear(size, each) for each in (size, size, 2))
        # Two outputs, as official weights have them. Only their difference counts: a softmax of two is a sigmoid of it.
        self.foreground = nn.Linear(size, 2)
        self.saliency = nn.Linear(size, 1)

    def forward(self, batch: Batch) -> Scores:
        """Score each clip and propose moments. `frame_embedding` is the encoder's output."""
        mask = batch.frame_mask
        feature = batch.frame_feature
        if self.options.endpoints:
            feature = torch.cat([feature, endpoints(mask).to(feature.dtype)], -1)
        x, place = self.project_clips(feature), positions(mask, self.options.hidden).to(feature.dtype)
        is_real = mask
        if self.project_words is not None and batch.query_feature is not None and batch.query_mask is not None:
            words = self.project_words(batch.query_feature)
            # Words have no positions, as in the released configuration.
            x, place = torch.cat([x, words], 1), torch.cat([place, torch.zeros_like(words)], 1)
            is_real = torch.cat([mask, batch.query_mask], 1)
        for encode in self.encoder:
            x = encode(x, place, ~is_real)
        clips = x[:, : mask.shape[1]]
        found = torch.stack([self.propose(each, batch) for each in self.decode(x, place, ~is_real)])
        return Scores(
            frame_logit=self.saliency(clips).squeeze(-1),
            frame_embedding=clips,
            moments=found[-1],
            earlier_moments=found[:-1],
        )

    def decode(self, memory: Tensor, place: Tensor, hidden: Tensor) -> list[Tensor]:
        """The slots after each layer, [B,N,D] each."""
        slot = self.slot.weight.expand(len(memory), -1, -1)
        x, after = torch.zeros_like(slot), []
        for layer in self.decoder:
            x = layer(x, slot, memory, place, hidden)
            after.append(self.norm(x))
        return after

    def propose(self, slots: Tensor, batch: Batch) -> Tensor:
        """The moments of slots [B,N,D]: start and end in s, and the logit of being relevant, [B,N,3]."""
        first, second, last = self.span
        span = last(second(first(slots).relu()).relu())
        # Seconds of a long video need more digits than autocast's bfloat16 has.
        span = span.to(torch.promote_types(span.dtype, torch.float32)).sigmoid()
        start_s, lasts_s = grids(batch.frame_time_s.to(span.dtype), batch.frame_mask)
        relevant, other = self.foreground(slots).unbind(-1)
        return torch.cat([to_seconds(span, start_s, lasts_s), (relevant - other)[..., None].to(span.dtype)], -1)

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of Moment-DETR's `MomentDETR`, by `official_name`."""
        copy_weights(self, {name: official_name(name) for name in self.state_dict()}, state_dict, UNUSED)


def endpoints(mask: Tensor) -> Tensor:
    """Start and end of each clip as shares of its video, float32 [B,T,2]: i/n and (i+1)/n."""
    start = torch.arange(mask.shape[1], device=mask.device) / mask.sum(1, keepdim=True)
    return torch.stack([start, start + 1 / mask.sum(1, keepdim=True)], -1)


def positions(mask: Tensor, size: int) -> Tensor:
    """Sines and cosines of each clip's place in its video, scaled to 0 … 2π: float32 [B,T,size]."""
    place = mask.cumsum(1, dtype=torch.float32)
    place = place / (mask.sum(1, keepdim=True) + 1e-6) * 2 * math.pi
    slow = PERIOD ** (torch.arange(0, size, 2, device=mask.device, dtype=torch.float32) / size)
    angle = place[..., None] / slow
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


# A released model holds these, and its forward pass does not use them: words have no positions.
UNUSED = tuple(
    f"txt_position_embed.{each}" for each in ("position_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
)
OFFICIAL = {
    "project_clips": "input_vid_proj",
    "project_words": "input_txt_proj",
    "encoder": "transformer.encoder.layers",
    "decoder": "transformer.decoder.layers",
    "norm": "transformer.decoder.norm",
    "slot": "query_embed",
    "span": "span_embed.layers",
    "foreground": "class_embed",
    "saliency": "saliency_proj",
}
# The parts of a layer; the official ones have numbered norms.
OF_ENCODER = {"attention.attend": "self_attn", "attention.norm": "norm1", "feedforward.norm": "norm2"}
OF_DECODER = {
    "among.attend": "self_attn", "among.norm": "norm1", "across.attend": "multihead_attn", "across.norm": "norm2",
    "feedforward.norm": "norm3",
}  # fmt: skip
FEEDFORWARD = {"feedforward.inner": "linear1", "feedforward.outer": "linear2"}


def official_name(ours: str) -> str:
    """The official name of our entry."""
    part, _, rest = ours.partition(".")
    if part.startswith("project"):
        kind, number, entry = rest.split(".")
        return f"{OFFICIAL[part]}.{number}.{'LayerNorm' if kind == 'norms' else 'net.1'}.{entry}"
    for name, official in {"encoder": OF_ENCODER, "decoder": OF_DECODER}.get(part, {}).items():
        rest = rest.replace(f".{name}.", f".{official}.")
    for name, official in FEEDFORWARD.items():
        rest = rest.replace(f".{name}.", f".{official}.")
    return f"{OFFICIAL[part]}.{rest}"
