"""PGL-SUM: attention over the whole video and within each of its segments, fused, then a regressor.

Apostolidis et al., "Combining Global and Local Attention with Positional Encoding for Video Summarization", 2021,
https://github.com/e-apostolidis/PGL-SUM. The official code takes one video and one head at a time and fails if a
segment has fewer than two frames. This one takes padded batches and videos of any length, and gives the same scores.

Letters: B videos, T frames, F width, D hidden, H heads, S segments, L frames of the longest segment; G groups of heads,
each with its own weights: 1 for global attention, S for local attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.parts.attention import attend
from vsumdata.train.models.parts.dropout import Dropout, dropout
from vsumdata.train.models.parts.official import Sources, copy_weights
from vsumdata.train.models.parts.rows import Rows
from vsumdata.train.models.summarizer import Scores

# Fixed in the official code: four heads per segment, and the base of the sinusoids.
LOCAL_HEADS = 4
FREQUENCY = 10000.0


class PGLSUMOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(
        None,
        ge=1,
        description="size that the frames' features are projected to first (F), in components. `null`: no projection, "
        "as in the paper",
    )
    hidden: int | None = Field(
        None,
        ge=4,
        description="size of all global heads together (D), in components; the heads of one segment have "
        "`hidden`/`segments`. `null`: the size of the frames (F)",
    )
    heads: int = Field(8, ge=1, description="number of global attention heads. Each segment always has 4 local ones")
    segments: int | None = Field(
        4, ge=2, description="number of equal segments with local attention (S). `null`: global attention only"
    )
    fusion: Literal["add", "mult", "avg", "max"] = Field(
        "add", description="how global and local attention are combined, element by element"
    )
    positions: Literal["absolute", "relative", "none"] = Field(
        "absolute", description="which sinusoids of the frames' positions are added to the attention energies"
    )
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of attention weights and of the regressor's values that training drops, 0 to 1",
    )
    compat: Literal["none", "mr-hisum"] = Field(
        "none",
        description="`mr-hisum` repeats MR.HiSum's code: it aggregates with the transposed attention, cuts segments "
        "and sinusoids by the padded length, and normalises by a video's place in the batch",
    )

    @model_validator(mode="after")
    def _is_computable(self) -> PGLSUMOptions:
        # MR.HiSum's code raises an error for these two, so there is nothing to be compatible with.
        if self.compat == "mr-hisum" and (self.positions == "relative" or self.fusion == "max"):
            raise ValueError("MR.HiSum's PGL-SUM fails with relative positions and with fusion=max")
        return self


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The segments of each video. Segment s of a video of n frames starts at frame s·⌈n/S⌉."""

    frame: Tensor  # [B,S,L] frame at each place of a segment
    mask: Tensor  # bool [B,S,L]
    length: Tensor  # [B,S] frames of each segment
    of_frame: Tensor  # [B,T] segment of each frame
    place: Tensor  # [B,T] place of each frame among the S·L


def cut(length: Tensor, mask: Tensor, num_segments: int) -> Segments:
    """Cut videos of `length` [B] frames into segments; `mask` [B,T] is false for padding."""
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
    # Real frames never exceed the last segment; padding does, and must stay a valid index.
    of_frame = (every // size).clamp(max=num_segments - 1)
    place = of_frame * longest + every % size
    return Segments(frame=frame, mask=known, length=lengths, of_frame=of_frame, place=place)


def joined(videos: list[Segments]) -> Segments:
    """The segments of videos that follow each other in one long video, each segment of it that of all, end to end."""
    if len(videos) == 1:
        return videos[0]
    frame, place, first, column = [], [], 0, 0
    total = sum(video.frame.shape[-1] for video in videos)
    for video in videos:
        longest, num_frames = video.frame.shape[-1], video.of_frame.shape[1]
        within = video.place - video.of_frame * longest
        frame.append(video.frame + first)
        place.append(video.of_frame * total + column + within)
        first, column = first + num_frames, column + longest
    return Segments(
        frame=torch.cat(frame, -1),
        mask=torch.cat([video.mask for video in videos], -1),
        length=sum((video.length for video in videos), start=torch.zeros_like(videos[0].length)),
        of_frame=torch.cat([video.of_frame for video in videos], 1),
        place=torch.cat(place, 1),
    )


def at(x: Tensor, index: Tensor) -> Tensor:
    """Pick rows `index` [B,…] of `x` [B,N,F]: [B,…,F]."""
    found = x.gather(1, index.flatten(1)[..., None].expand(-1, -1, x.shape[-1]))
    return found.view(*index.shape, x.shape[-1])


def sinusoids(kind: str, length: Tensor, size: int, width: int) -> Tensor:
    """Position table [B,G,size,size] of sequences with `length` [B,G] frames; rows are queries. Always float32.

    As in the official code, the last column is 0 if the number of frames is odd.
    """
    # The official code fills the T×T table in pairs of a sine and a cosine column, so an odd last column stays 0. The
    # table of a video depends on its own length: one for the padded length would differ.
    column = torch.arange(size, device=length.device)
    row, length = column[:, None], length[..., None, None].clamp(min=1)
    if kind == "relative":
        angle = (column - row + length - 1) / FREQUENCY ** ((row + column) / (2 * length))
    else:
        angle = row / FREQUENCY ** ((column - column % 2) / width)
    table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
    return table.masked_fill((column == length - 1) & (length % 2 == 1), 0)


def by_group(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply `x` [B,G,L,F] by each group's matrix of `weight` [G,E,F]: [B,G,L,E]."""
    # One product per group over all videos; broadcasting over B would copy the weights for every video.
    rows_of_group = x.transpose(0, 1).flatten(1, 2)
    return (rows_of_group @ weight.transpose(1, 2)).unflatten(1, (x.shape[0], x.shape[2])).transpose(0, 1)


class Attention(nn.Module):
    """Multi-head attention with unscaled energies; each group of heads attends to its own sequence."""

    def __init__(self, groups: int, heads: int, hidden: int, width: int, options: PGLSUMOptions) -> None:
        super().__init__()
        self.positions, self.width, self.dropout = options.positions, width, options.dropout
        self.transposed = options.compat == "mr-hisum"
        self.qkv = nn.Parameter(torch.empty(groups, 3, heads, hidden // heads, width))
        self.out = nn.Parameter(torch.empty(groups, width, hidden))
        for weight in (self.qkv, self.out):
            # Xavier with gain √2, as if each head's matrix were a Linear layer: `xavier_uniform_` would take the sizes
            # of the stacked tensor for fan-in and fan-out.
            bound = math.sqrt(2 * 6 / sum(weight.shape[-2:]))
            nn.init.uniform_(weight, -bound, bound)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project `x` [B,G,L,F] to queries, keys and values, each [B,G,H,L,D/H]."""
        heads, size = self.qkv.shape[2:4]
        parts = by_group(x, self.qkv.flatten(1, 3)).unflatten(-1, (3, heads, size))
        # Without the copy, the products below are far slower.
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5).contiguous()
        return query, key, value

    def bias(self, mask: Tensor, length: Tensor) -> Tensor:
        """The term added to the energies [B,G,L,L]: sinusoids, and nearly −∞ for keys outside `mask` [B,G,L]."""
        # Finite: a segment without frames has only masked keys, and a softmax over −∞ alone is NaN. Half of the minimum
        # leaves room for a negative energy on top.
        shut = torch.finfo(torch.float32).min / 2
        size = mask.shape[-1]
        if self.positions == "none":
            table = torch.zeros(*mask.shape[:2], size, size, device=mask.device)
        else:
            table = sinusoids(self.positions, length, size, self.width)
        return table.masked_fill(~mask[:, :, None], shut)

    def weights(self, query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        """Attention weights [B,G,H,L,L]; each row (query) sums to 1."""
        return (query @ key.transpose(-2, -1) + bias[:, :, None]).softmax(-1)

    def forward(self, x: Tensor, mask: Tensor, length: Tensor) -> Tensor:
        """Attend within each sequence: [B,G,L,F]. Needs `x` to be zero outside `mask`."""
        return by_group(self.mix(*self.queries_keys_values(x), mask, length).transpose(2, 3).flatten(3), self.out)

    def over(self, x: Tensor, masks: Sequence[Tensor], lengths: Sequence[Tensor]) -> Tensor:
        """Attend within each of the sequences that follow each other in `x` [B,G,N,F]: [B,G,N,F]."""
        if len(masks) == 1:
            mixed: Tensor = self(x, masks[0], lengths[0])
            return mixed
        sizes = [mask.shape[-1] for mask in masks]
        parts = (part.split(sizes, dim=-2) for part in self.queries_keys_values(x))
        found = [self.mix(*each) for each in zip(*parts, masks, lengths, strict=True)]
        return by_group(torch.cat(found, -2).transpose(2, 3).flatten(3), self.out)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, length: Tensor) -> Tensor:
        """The mixed values [B,G,H,L,D/H] of one sequence."""
        bias = self.bias(mask, length)
        share = self.dropout if self.training else 0.0
        if self.transposed:
            # No fused kernel aggregates by columns, so the weights are computed in full.
            return dropout(self.weights(query, key, bias), share).transpose(-2, -1) @ value
        q, k, v = (part.flatten(0, 1) for part in (query, key, value))
        # PGL-SUM does not divide the energies by √d.
        mixed = attend(q, k, v, bias.flatten(0, 1)[:, None].to(q.dtype), share, scale=1.0)
        return mixed.unflatten(0, value.shape[:2])


class PGLSUM(nn.Module):
    """PGL-SUM on frames. Raises UsageError if the heads do not divide the hidden size."""

    Options: ClassVar[type[PGLSUMOptions]] = PGLSUMOptions

    def __init__(self, options: PGLSUMOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.options = options
        width = options.width or frame_dim
        hidden, per_segment = options.hidden or width, (options.hidden or width) // (options.segments or 1)
        if hidden % options.heads or (options.segments and (per_segment % LOCAL_HEADS or not per_segment)):
            raise UsageError(
                f"pglsum: {options.heads} heads do not divide the hidden size {hidden}, or {LOCAL_HEADS} heads do not "
                f"divide a segment's part of it, {per_segment}; set model.hidden"
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
        self.drop = Dropout(options.dropout)
        self.apply(initialise)

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the normalised sum of frame and attention."""
        # MR.HiSum's code depends on the padding.
        rows = self.rows(batch.frame_mask)
        x = rows.clear(self.project(rows.take(batch.frame_feature)))
        embedding = rows.give(self.norm_mixed(self.drop(self.fuse(x, rows) + x)))
        hidden = self.regressor(rows.take(embedding)).relu()
        logit = self.logit(self.norm_hidden(self.drop(hidden))).squeeze(-1)
        return Scores(frame_logit=rows.give(logit), frame_embedding=embedding)

    def rows(self, mask: Tensor) -> Rows:
        # MR.HiSum's scores depend on the padding.
        return Rows(mask, padded=self.options.compat == "mr-hisum")

    def mix(self, x: Tensor, mask: Tensor) -> Tensor:
        """Fuse global and local attention [B,T,F]."""
        rows = self.rows(mask)
        return rows.give(self.fuse(rows.take(x), rows))

    def fuse(self, x: Tensor, rows: Rows) -> Tensor:
        """Fuse global and local attention of frames as `rows` has them."""
        # The rows of all videos count as one long video, in which each of them is a sequence of its own.
        whole = x if rows.padded else x[None]
        masks = [mask for (mask,) in rows.videos()]
        lengths = [mask.sum(1) for mask in masks]
        if self.options.compat == "mr-hisum":
            lengths = [torch.full_like(length, mask.shape[1]) for length, mask in zip(lengths, masks, strict=True)]
        ones = [mask[:, None] for mask in masks], [length[:, None] for length in lengths]
        mixed = self.attention.over(whole[:, None], *ones)[:, 0]
        if self.local is None or self.options.segments is None:
            return mixed.view_as(x)
        each = [cut(length, mask, self.options.segments) for length, mask in zip(lengths, masks, strict=True)]
        segments = joined(each)
        inside = at(whole, segments.frame).masked_fill(~segments.mask[..., None], 0)
        local = self.local.over(inside, [part.mask for part in each], [part.length for part in each])
        # The official code L2-normalises both outputs before it fuses them.
        local = F.normalize(at(local.flatten(1, 2), segments.place), dim=-1)
        if self.options.compat == "mr-hisum":
            return self._fused_by_batch_place(mixed, local, segments)
        return self._fused(F.normalize(mixed, dim=-1), local).view_as(x)

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
        """Fuse as MR.HiSum does: before segment s of all videos, it normalises videos s·L to (s+1)·L of the batch."""
        # Its slice was meant for frames but cuts the batch axis: it is right only for batches of at most L videos.
        num_segments, longest = segments.frame.shape[1:]
        place = torch.arange(len(mixed), device=mixed.device)[:, None, None] // longest
        for segment in range(num_segments):
            mixed = torch.where(place == segment, F.normalize(mixed, dim=-1), mixed)
            mixed = torch.where(segments.of_frame[..., None] == segment, self._fused(mixed, local), mixed)
        return mixed

    def official_names(self) -> Sources:
        """Map our entries to the official ones, which have one matrix per head and segment."""
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
        """Copy the weights of PGL-SUM's or MR.HiSum's `PGL_SUM`, by `official_names`. Every entry must match."""
        copy_weights(self, self.official_names(), state_dict)


def initialise(module: nn.Module) -> None:
    """Draw weights as the official training does: Xavier with ReLU's gain; all biases 0.1, also those of the norms."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight, gain=math.sqrt(2))
    if isinstance(module, nn.Linear | nn.LayerNorm):
        nn.init.constant_(module.bias, 0.1)
