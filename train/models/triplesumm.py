"""TripleSumm: frames, text and sound, second by second; every frame weighs the three anew.

Kim et al., "TripleSumm: Adaptive Triple-Modality Fusion for Video Summarization", ICLR 2026 (arXiv 2603.01169),
https://github.com/smkim37/TripleSumm (commit b7a8e7e): models/{model,blocks,layers}.py, configs/{mosu,mrhisum}.yaml.

Letters: B videos, T frames, M sentences, S streams (the fusion and each modality), K modalities, H heads, D hidden,
F size of a feature, w window.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.train.models.parts.attention import attend
from vsumdata.train.models.parts.dropout import Dropout, dropout
from vsumdata.train.models.parts.official import copy_weights
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.models.text import subtitles

# The rows of the table of streams.
FUSION, MODALITIES = 0, {"visual": 1, "text": 2, "audio": 3}
# The score of a key that does not count. Not −∞: the official code gives a frame without any key the mean of all.
CLOSED = -1e9
LEAST_BLOCK = 16  # frames; smaller blocks would be many small products
POSITIONS = "temporal_pe.pe"


class TripleSummOptions(BaseModel):
    """Size and windows. The defaults are the official ones, for MoSu and Mr. HiSum alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(
        128, ge=2, description="size of a frame inside the model (D), in components; even, and a multiple of `heads`"
    )
    heads: int = Field(4, ge=1, description="number of attention heads per layer")
    head_hidden: int = Field(192, ge=1, description="hidden size of the output head, in components")
    layers: int = Field(2, ge=1, description="number of layers; in each, frames look along time and then fuse")
    fusion_blocks: int = Field(2, ge=1, description="number of fusion blocks of a layer")
    windows: tuple[int, ...] = Field(
        (5, 15, 45, 0),
        min_length=1,
        description="number of frames that a frame sees, itself in the middle, in each block that looks along time. "
        "Odd, or 0: all; as many for each layer",
    )
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of attention weights, inputs, and outputs of attention and feed-forward that training "
        "drops, 0 to 1",
    )

    @model_validator(mode="after")
    def _fits(self) -> TripleSummOptions:
        if self.hidden % self.heads or self.hidden % 2:
            raise ValueError(f"hidden={self.hidden} is not even, or not a multiple of heads={self.heads}")
        if len(self.windows) % self.layers:
            raise ValueError(f"{len(self.windows)} windows cannot be divided among {self.layers} layers")
        if wrong := [size for size in self.windows if size < 0 or (size and size % 2 == 0)]:
            raise ValueError(f"a window of {wrong[0]} frames has no middle; give an odd number, or 0 for all frames")
        return self


class WindowedAttention(nn.Module):
    """Each frame attends to the frames at most w // 2 away from it; with w = 0 to all."""

    def __init__(self, options: TripleSummOptions, window: int) -> None:
        super().__init__()
        self.heads, self.window, self.dropout = options.heads, window, options.dropout
        self.qkv = nn.Linear(options.hidden, 3 * options.hidden, bias=False)
        self.out = nn.Linear(options.hidden, options.hidden, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend in [B,T,D], `mask` bool [B,T].

        Near its ends a video has fewer frames than the window. Without a mask (None), the first and the last frame
        count several times there, as in the official code.
        """
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]  # [B,H,T,D/H]
        mixed = self.near(query, key, value, mask) if self.window else self.everywhere(query, key, value, mask)
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found

    def everywhere(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        # A row without any key would be NaN: where all are masked, all are open.
        is_open = None if mask is None else (mask | ~mask.any(1, keepdim=True))[:, None, None]
        # The function knows no training mode: it would drop weights in evaluation too.
        return attend(query, key, value, is_open, self.dropout if self.training else 0.0)

    def near(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attend block by block: c frames ask, and see the block's c + 2r keys, most of them closed to each frame.

        A copy of the keys for each frame of the window, as in the official code, takes w times their memory. With
        blocks of c = 2r frames it is twice.
        """
        num_frames, radius = query.shape[2], self.window // 2
        size = max(2 * radius, LEAST_BLOCK)
        num_blocks = -(-num_frames // size)
        blocks = F.pad(query, (0, 0, 0, num_blocks * size - num_frames)).unflatten(2, (num_blocks, size))
        # The place of each key, beyond the ends too, where the first and the last frame are repeated.
        at = torch.arange(-radius, num_blocks * size + radius, device=query.device)
        repeated = at.clamp(0, num_frames - 1)
        keys, values = (each[:, :, repeated].unfold(2, size + 2 * radius, size) for each in (key, value))
        score = blocks @ keys * query.shape[-1] ** -0.5  # [B,H,blocks,c,c+2r]
        if mask is not None:
            is_real = mask[:, repeated] & (at == repeated)
            score = score.masked_fill(~is_real.unfold(1, size + 2 * radius, size)[:, None, :, None], CLOSED)
        ahead = torch.arange(size + 2 * radius, device=query.device) - torch.arange(size, device=query.device)[:, None]
        score = score.masked_fill((ahead < 0) | (ahead > 2 * radius), -torch.inf)
        weight = dropout(score.softmax(-1), self.dropout if self.training else 0.0)
        mixed = weight @ values.transpose(-1, -2).to(weight.dtype)
        return mixed.flatten(2, 3)[:, :, :num_frames]


class FeedForward(nn.Module):
    """SwiGLU: W3(silu(W1 x) ⊙ W2 x), without biases."""

    def __init__(self, options: TripleSummOptions) -> None:
        super().__init__()
        width = int(options.hidden * 2 * (2 / 3))
        self.gate, self.value = (nn.Linear(options.hidden, width, bias=False) for _ in range(2))
        self.out = nn.Linear(width, options.hidden, bias=False)
        self.drop = Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.drop(self.out(F.silu(self.gate(x)) * self.value(x)))
        return found


class TemporalBlock(nn.Module):
    """Attention along time, then a feed-forward network, with the same weights for all streams."""

    def __init__(self, options: TripleSummOptions, window: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_feedforward = (nn.LayerNorm(options.hidden) for _ in range(2))
        self.attention, self.feedforward = WindowedAttention(options, window), FeedForward(options)
        self.drop = Dropout(options.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.drop(self.attention(self.norm_attention(x), mask))
        # The official code drops twice here: the network's own dropout comes before this one.
        return x + self.drop(self.feedforward(self.norm_feedforward(x)))


class CrossAttention(nn.Module):
    """Each frame's fusion attends to the frame's modalities."""

    def __init__(self, options: TripleSummOptions) -> None:
        super().__init__()
        self.heads = options.heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(options.hidden, options.hidden, bias=False) for _ in range(4)
        )
        self.drop = Dropout(options.dropout)

    def forward(self, asking: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """What [B,T,D] reads of [B,T,K,D], and the weights [B,T,H,K] before dropout."""
        query = self.query(asking).unflatten(-1, (self.heads, -1))  # [B,T,H,D/H]
        key, value = (layer(told).unflatten(-1, (self.heads, -1)) for layer in (self.key, self.value))
        score = torch.einsum("bthd,btkhd->bthk", query, key) * query.shape[-1] ** -0.5
        weight = score.softmax(-1)
        mixed = torch.einsum("bthk,btkhd->bthd", self.drop(weight).to(value.dtype), value)
        return self.out(mixed.flatten(2)), weight


class FusionBlock(nn.Module):
    """The fusion reads the modalities, frame by frame; these stay as they are."""

    def __init__(self, options: TripleSummOptions) -> None:
        super().__init__()
        self.norm_query, self.norm_context, self.norm_feedforward = (nn.LayerNorm(options.hidden) for _ in range(3))
        self.attention, self.feedforward = CrossAttention(options), FeedForward(options)
        self.drop = Dropout(options.dropout)

    def forward(self, x: Tensor, modalities: Tensor) -> Tensor:
        """Change `x` [B,T,D] by `modalities` [B,T,K,D]."""
        mixed, _ = self.attention(self.norm_query(x), self.norm_context(modalities))
        x = x + self.drop(mixed)
        return x + self.drop(self.feedforward(self.norm_feedforward(x)))


class TripleSumm(nn.Module):
    """TripleSumm on frames, with text if `text_dim` is given and with sound if `audio_dim` is.

    A modality without a size has no stream: the fusion begins as the mean of those that there are, and reads those
    alone. Where a model has a stream but a frame has nothing to say in it, the feature is 0: between sentences, and
    in a video without text or sound. A frame under several sentences has the last one.
    """

    Options: ClassVar[type[TripleSummOptions]] = TripleSummOptions

    def __init__(
        self, options: TripleSummOptions, frame_dim: int, text_dim: int | None = None, audio_dim: int | None = None
    ) -> None:
        super().__init__()
        sizes = {"visual": frame_dim, "text": text_dim, "audio": audio_dim}
        self.options, self.sizes = options, {name: size for name, size in sizes.items() if size is not None}
        hidden = options.hidden
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(size, hidden), nn.LayerNorm(hidden)) for name, size in self.sizes.items()}
        )
        self.kind = nn.Parameter(torch.randn(1 + len(MODALITIES), hidden))
        self.drop = Dropout(options.dropout)
        self.temporal = nn.ModuleList(TemporalBlock(options, window) for window in options.windows)
        self.fusion = nn.ModuleList(FusionBlock(options) for _ in range(options.layers * options.fusion_blocks))
        self.head = nn.Sequential(
            nn.Linear(hidden, options.head_hidden),
            nn.GELU(),
            Dropout(options.dropout),
            nn.LayerNorm(options.head_hidden),
            nn.Linear(options.head_hidden, 1),
        )
        self.apply(initialise)

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the fusion."""
        given = {"visual": batch.frame_feature, "text": self.text(batch), "audio": self.sound(batch)}
        embedding = self.fused({name: given[name] for name in self.sizes}, batch.frame_mask)
        return Scores(frame_logit=self.head(embedding).squeeze(-1), frame_embedding=embedding)

    def fused(self, features: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        """The fusion [B,T,D] of the features [B,T,F] of each modality; `mask` None: every frame is real."""
        projected = [self.project[name](features[name]) for name in self.sizes]
        streams = torch.stack([torch.stack(projected).mean(0), *projected])  # [S,B,T,D]
        streams = self.drop(streams + self.table(streams.shape[2]).to(streams))
        rows = [FUSION, *(MODALITIES[name] for name in self.sizes)]
        streams = streams + self.kind[rows][:, None, None]
        layers = self.options.layers
        for layer in range(layers):
            for block in part(self.temporal, layer, layers):
                # One call for all streams: a batch of S·B.
                every = None if mask is None else mask.repeat(len(streams), 1)
                streams = block(streams.flatten(0, 1), every).unflatten(0, streams.shape[:2])
            fusion, modalities = streams[0], streams[1:].permute(1, 2, 0, 3)
            for block in part(self.fusion, layer, layers):
                fusion = block(fusion, modalities)
            streams = torch.cat([fusion[None], streams[1:]])
        return streams[0] if mask is None else streams[0].masked_fill(~mask[..., None], 0)

    def table(self, num_frames: int) -> Tensor:
        """The fixed table of positions, float32 [T,D]. The official one ends at 10,000 frames; ours has no end."""
        return sinusoids(num_frames, self.options.hidden)

    def text(self, batch: Batch) -> Tensor:
        """The feature [B,T,F] of the sentence that is spoken over each frame; 0 where there is none."""
        said, frames = subtitles(batch), batch.frame_feature
        if said is None or not said.mask.shape[1]:
            return frames.new_zeros(*frames.shape[:2], self.sizes.get("text", 0))
        # The last that covers the frame is the first from behind. Numbers in place of bools would take 8 times as much.
        from_behind = said.cover.flip(2).view(torch.uint8).argmax(2)
        spoken = said.feature.take_along_dim((said.cover.shape[2] - 1 - from_behind)[..., None], 1)
        return spoken.masked_fill(~said.cover.any(2)[..., None], 0)

    def sound(self, batch: Batch) -> Tensor:
        """The sound [B,T,F] of each frame; 0 where a video has none."""
        frames, sound = batch.frame_feature, batch.audio_feature
        if sound is None:
            return frames.new_zeros(*frames.shape[:2], self.sizes.get("audio", 0))
        # As wide as the longest video that has sound.
        return F.pad(sound, (0, 0, 0, frames.shape[1] - sound.shape[1]))

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of the official `models.model.TripleSumm` with these options, by `OFFICIAL_NAMES`.

        Raises ValueError if entries do not match, or if the position table is not ours, which is fixed.
        """
        table = state_dict.get(POSITIONS)
        # float32 angles of thousands of radians are exact to about 5e-4 only, hence the tolerance.
        if table is not None and not is_near(table[0], sinusoids(*table.shape[1:]), 1e-3):
            raise ValueError(f"{POSITIONS} is not TripleSumm's table of sinusoids")
        copy_weights(self, {name: official_name(name) for name in self.state_dict()}, state_dict, [POSITIONS])


# Patterns of our names -> the official ones.
OFFICIAL_NAMES = {
    r"^project\.(\w+)\.0\.": r"\1_proj.",
    r"^project\.(\w+)\.1\.": r"\1_ln.",
    r"^kind$": "modality_embedding.embedding.weight",
    r"^temporal\.(\d+)\.": r"temporal_block.\1.wsa_layer.",
    r"^fusion\.(\d+)\.": r"modality_block.\1.cma_layer.",
    r"wsa_layer\.attention\.(\w+)\.": r"wsa_layer.wsa.\1_proj.",
    r"cma_layer\.attention\.(\w)\w*\.(?=weight)": r"cma_layer.cma.\1_proj.",
    r"\.cma\.o_proj\.": ".cma.out_proj.",
    r"\.feedforward\.gate\.": ".ffn.w1.",
    r"\.feedforward\.value\.": ".ffn.w2.",
    r"\.feedforward\.out\.": ".ffn.w3.",
    r"\.norm_attention\.": ".norm1.",
    r"\.norm_feedforward\.": ".norm2.",
    r"\.norm_query\.": ".norm_q.",
    r"\.norm_context\.": ".norm_c.",
}


def official_name(name: str) -> str:
    for pattern, replacement in OFFICIAL_NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def part(blocks: nn.ModuleList, number: int, parts: int) -> Sequence[nn.Module]:
    """Part `number` of the blocks, cut into `parts` of the same size."""
    size = len(blocks) // parts
    return list(blocks)[number * size : (number + 1) * size]


def sinusoids(length: int, width: int) -> Tensor:
    """The fixed position table, float32 [length,width]: sines in even columns, cosines in odd ones."""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


def is_near(table: Tensor, other: Tensor, tolerance: float) -> bool:
    return table.shape == other.shape and torch.allclose(table.float().cpu(), other, atol=tolerance)


def initialise(module: nn.Module) -> None:
    """Draw a Linear layer's weights as the official training does: Xavier uniform, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
