"""PGL-SUM: attention over the whole video and within each of its segments, fused, then a regressor.

Apostolidis et al., "Combining Global and Local Attention with Positional Encoding for Video Summarization", 2021,
https://github.com/e-apostolidis/PGL-SUM. The official code takes one video at a time, a head at a time, and fails where
a segment has fewer than two frames; this one takes padded batches and every length, and gives the same.

Letters: B videos, T frames, F width, D hidden, H heads, S segments, L frames of the longest segment; G groups of heads
that have weights of their own: 1 globally, S locally.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.models.official import Sources, copy_weights
from vsumdata.train.models.summarizer import Scores

LOCAL_HEADS = 4
FREQUENCY = 10000.0


class PGLSUMOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(
        None, ge=1, description="F: features are projected to it first; none: their own size, as in the paper"
    )
    hidden: int | None = Field(
        None, ge=4, description="D, the size of all global heads together; S times that of a segment's; none: F"
    )
    heads: int = Field(8, ge=1, description="global heads; a segment has 4")
    segments: int | None = Field(4, ge=2, description="S; none: global attention alone")
    fusion: Literal["add", "mult", "avg", "max"] = Field("add", description="how global and local attention meet")
    positions: Literal["absolute", "relative", "none"] = Field("absolute", description="sinusoids on the energies")
    dropout: float = Field(0.5, ge=0, lt=1, description="of attention weights and in the regressor")
    compat: Literal["none", "mr-hisum"] = Field(
        "none",
        description="mr-hisum: aggregation by the transposed attention, segments and sinusoids of the padded length, "
        "normalisation that depends on the place in the batch",
    )

    @model_validator(mode="after")
    def _is_computable(self) -> PGLSUMOptions:
        if self.compat == "mr-hisum" and (self.positions == "relative" or self.fusion == "max"):
            raise ValueError("MR.HiSum's PGL-SUM fails with relative positions and with fusion=max")
        return self


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Which frames the segments of a video have: segment s has the frames from s·⌈n/S⌉ on."""

    frame: Tensor  # [B,S,L] frame at each place of a segment
    mask: Tensor  # bool [B,S,L]
    length: Tensor  # [B,S] frames of each segment
    of_frame: Tensor  # [B,T] segment of each frame
    place: Tensor  # [B,T] place of each frame among the S·L


def cut(length: Tensor, mask: Tensor, num_segments: int) -> Segments:
    """Cut videos of `length` [B] frames; `mask` [B,T] says which of the padded frames there are."""
    num_frames = mask.shape[1]
    longest = math.ceil(num_frames / num_segments)
    size = length.add(num_segments - 1).div(num_segments, rounding_mode="floor").clamp(min=1)[:, None]
    within = torch.arange(longest, device=mask.device)
    start = torch.arange(num_segments, device=mask.device) * size
    frame = start[..., None] + within
    lengths = (length[:, None] - start).clamp(min=0).minimum(size)
    frame = frame.clamp(max=num_frames - 1)
    known = (within < lengths[..., None]) & mask.gather(1, frame.flatten(1)).view_as(frame)
    every = torch.arange(num_frames, device=mask.device)
    of_frame = (every // size).clamp(max=num_segments - 1)  # only padding is clamped
    place = of_frame * longest + every % size
    return Segments(frame=frame, mask=known, length=lengths, of_frame=of_frame, place=place)


def rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [B,…] of `x` [B,N,F]: [B,…,F]."""
    found = x.gather(1, index.flatten(1)[..., None].expand(-1, -1, x.shape[-1]))
    return found.view(*index.shape, x.shape[-1])


def sinusoids(kind: str, length: Tensor, size: int, width: int) -> Tensor:
    """Position table [B,G,size,size] of sequences with `length` [B,G] frames; rows are queries.

    Always float32, as in the official code. The last column of an odd number of frames is 0, as there.
    """
    column = torch.arange(size, device=length.device)
    row, length = column[:, None], length[..., None, None].clamp(min=1)
    if kind == "relative":
        angle = (column - row + length - 1) / FREQUENCY ** ((row + column) / (2 * length))
    else:
        angle = (row / FREQUENCY ** ((column - column % 2) / width)).expand(*length.shape[:2], -1, -1)
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    return table.masked_fill((column == length - 1) & (length % 2 == 1), 0)


def by_group(x: Tensor, weight: Tensor) -> Tensor:
    """`x` [B,G,L,F] times each group's matrix, `weight` [G,E,F]: [B,G,L,E]."""
    rows_of_group = x.transpose(0, 1).flatten(1, 2)
    return (rows_of_group @ weight.transpose(1, 2)).unflatten(1, (x.shape[0], x.shape[2])).transpose(0, 1)


class Attention(nn.Module):
    """Heads with unscaled energies: for each group G of heads a sequence of its own."""

    def __init__(self, groups: int, heads: int, hidden: int, width: int, options: PGLSUMOptions) -> None:
        super().__init__()
        self.positions, self.width, self.dropout = options.positions, width, options.dropout
        self.transposed = options.compat == "mr-hisum"
        self.qkv = nn.Parameter(torch.empty(groups, 3, heads, hidden // heads, width))
        self.out = nn.Parameter(torch.empty(groups, width, hidden))
        for weight in (self.qkv, self.out):
            bound = math.sqrt(2 * 6 / sum(weight.shape[-2:]))  # Xavier, gain √2, for each head's matrix
            nn.init.uniform_(weight, -bound, bound)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of `x` [B,G,L,F]: each [B,G,H,L,D/H]."""
        heads, size = self.qkv.shape[2:4]
        parts = by_group(x, self.qkv.flatten(1, 3)).unflatten(-1, (3, heads, size))
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5).contiguous()  # else the products below are far slower
        return query, key, value

    def bias(self, mask: Tensor, length: Tensor) -> Tensor:
        """What is added to the energies [B,G,L,L]: positions, and nearly −∞ for keys outside `mask` [B,G,L].

        Finite, so that a segment without frames gives no NaN.
        """
        shut = torch.finfo(torch.float32).min / 2
        size = mask.shape[-1]
        if self.positions == "none":
            table = torch.zeros(*mask.shape[:2], size, size, device=mask.device)
        else:
            table = sinusoids(self.positions, length, size, self.width)
        return table.masked_fill(~mask[:, :, None], shut)

    def weights(self, query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        """How each frame spreads its attention [B,G,H,L,L]."""
        return (query @ key.transpose(-2, -1) + bias[:, :, None]).softmax(-1)

    def forward(self, x: Tensor, mask: Tensor, length: Tensor) -> Tensor:
        """Mixed frames [B,G,L,F]; `x` is zero outside `mask`."""
        query, key, value = self.queries_keys_values(x)
        bias = self.bias(mask, length)
        dropout = self.dropout if self.training else 0.0
        if self.transposed:
            mixed = F.dropout(self.weights(query, key, bias), dropout).transpose(-2, -1) @ value
        else:
            q, k, v = (part.flatten(0, 1) for part in (query, key, value))
            shared = bias.flatten(0, 1)[:, None].to(q.dtype)
            mixed = F.scaled_dot_product_attention(q, k, v, shared, dropout, scale=1.0).unflatten(0, value.shape[:2])
        return by_group(mixed.transpose(2, 3).flatten(3), self.out)


class PGLSUM(nn.Module):
    """Raises UsageError where the hidden size does not divide into the heads."""

    Options: ClassVar[type[PGLSUMOptions]] = PGLSUMOptions

    def __init__(self, options: PGLSUMOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.options = options
        width = options.width or frame_dim
        hidden, per_segment = options.hidden or width, (options.hidden or width) // (options.segments or 1)
        if hidden % options.heads or (options.segments and (per_segment % LOCAL_HEADS or not per_segment)):
            raise UsageError(
                f"pglsum: {hidden} does not divide into {options.heads} heads, or {per_segment}, a segment's part of "
                f"it, not into {LOCAL_HEADS}; set model.hidden"
            )
        self.project = nn.Identity() if options.width is None else nn.Linear(frame_dim, width)
        self.attention = Attention(1, options.heads, hidden, width, options)
        self.local: Attention | None = None
        if options.segments:
            self.local = Attention(options.segments, LOCAL_HEADS, per_segment, width, options)
        self.norm_mixed = nn.LayerNorm(width, eps=1e-6)
        self.regressor = nn.Linear(width, width)
        self.norm_hidden = nn.LayerNorm(width, eps=1e-6)
        self.logit = nn.Linear(width, 1)
        self.drop = nn.Dropout(options.dropout)
        self.apply(initialise)

    def forward(self, batch: Batch) -> Scores:
        """`frame_embedding` is the normalised sum of frame and attention."""
        x = self.project(batch.frame_feature).masked_fill(~batch.frame_mask[..., None], 0)
        mixed = self.mix(x, batch.frame_mask)
        embedding = self.norm_mixed(self.drop(mixed + x))
        hidden = self.regressor(embedding).relu()
        logit = self.logit(self.norm_hidden(self.drop(hidden))).squeeze(-1)
        return Scores(frame_logit=logit, frame_embedding=embedding)

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        """Global and local attention together [B,T,F]."""
        length = mask.sum(1)
        if self.options.compat == "mr-hisum":
            length = torch.full_like(length, mask.shape[1])
        mixed = self.attention(x[:, None], mask[:, None], length[:, None])[:, 0]
        if self.local is None or self.options.segments is None:
            return mixed
        segments = cut(length, mask, self.options.segments)
        inside = rows(x, segments.frame).masked_fill(~segments.mask[..., None], 0)
        local = self.local(inside, segments.mask, segments.length)
        local = F.normalize(rows(local.flatten(1, 2), segments.place), dim=-1)
        if self.options.compat == "mr-hisum":
            return self._fused_by_batch_place(mixed, local, segments)
        return self._fused(F.normalize(mixed, dim=-1), local)

    def _fused(self, mixed: Tensor, local: Tensor) -> Tensor:
        match self.options.fusion:
            case "add":
                return mixed + local
            case "avg":
                return (mixed + local) / 2
            case "mult":
                return mixed * local
            case "max":
                return torch.maximum(mixed, local)

    def _fused_by_batch_place(self, mixed: Tensor, local: Tensor, segments: Segments) -> Tensor:
        """MR.HiSum normalises the videos s·L to (s+1)·L of the batch just before it fuses segment s of all."""
        num_segments, longest = segments.frame.shape[1:]
        place = torch.arange(len(mixed), device=mixed.device)[:, None, None] // longest
        for segment in range(num_segments):
            mixed = torch.where(place == segment, F.normalize(mixed, dim=-1), mixed)
            mixed = torch.where(segments.of_frame[..., None] == segment, self._fused(mixed, local), mixed)
        return mixed

    def official_names(self) -> Sources:
        """Our entries and the official ones; they have a matrix per head and per segment."""
        parts = {"attention": ["attention.attention"]}
        if self.local is not None:
            parts["local"] = [f"attention.local_attention.{s}" for s in range(len(self.local.out))]
        names: dict[str, str | list[str]] = {}
        for our, modules in parts.items():
            heads = range(self.options.heads if our == "attention" else LOCAL_HEADS)
            names[f"{our}.qkv"] = [f"{m}.W{part}.{h}.weight" for m in modules for part in "qkv" for h in heads]
            names[f"{our}.out"] = [f"{m}.out.weight" for m in modules]
        layers = {"norm_mixed": "norm_y", "regressor": "linear_1", "norm_hidden": "norm_linear", "logit": "linear_2"}
        for our, name in layers.items():
            names |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("weight", "bias")}
        return names

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """From PGL-SUM's or MR.HiSum's `PGL_SUM`, by `official_names`; every entry is used."""
        copy_weights(self, self.official_names(), state_dict)


def initialise(module: nn.Module) -> None:
    """As the official training does: Xavier with the gain of ReLU, biases 0.1, those of the norms too."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight, gain=math.sqrt(2))
    if isinstance(module, nn.Linear | nn.LayerNorm):
        nn.init.constant_(module.bias, 0.1)
