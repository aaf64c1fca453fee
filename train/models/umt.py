"""UMT: frames and sound in one transformer each, fused through a few bottleneck tokens, and read out by a query.

Liu et al., "UMT: Unified Multi-modal Transformers for Joint Video Moment Retrieval and Highlight Detection", CVPR 2022,
https://github.com/TencentARC/UMT (commit bde05e3), for highlights: models/model.py, models/blocks/, configs/_base_/.
Its layers come from https://github.com/yeliudev/nncore, tag 0.3.6; version 0.4 has other position tables.

Letters: B videos, T frames (the paper's clips), Q words of a query, Z bottleneck tokens, D hidden, F size of a feature.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.parts.attention import attend
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import copy_weights
from vsumdata.train.models.summarizer import Scores


class UMTOptions(BaseModel):
    """Size and variants. The defaults are the official ones of UMT-small."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(
        256, ge=1, description="size of a frame inside the model (D), in components; a multiple of `heads`"
    )
    heads: int = Field(8, ge=1, description="number of attention heads per layer")
    ffn_ratio: int = Field(4, ge=1, description="width of the feed-forward networks, as a multiple of `hidden`")
    tokens: int = Field(4, ge=1, description="number of bottleneck tokens, through which frames and sound are fused")
    fusion_layers: int = Field(1, ge=1, description="number of layers that fuse frames and sound")
    position_rows: int = Field(
        5000, ge=1, description="rows of each position table: the largest number of frames of a video"
    )
    dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of attention weights, positions, and outputs of attention and feed-forward that training "
        "drops, 0 to 1",
    )
    dropout_input: float = Field(
        0.5, ge=0, lt=1, description="share of the input features of frames and sound that training drops, 0 to 1"
    )
    dropout_query: float = Field(
        0.3, ge=0, lt=1, description="share of the query's input features that training drops, 0 to 1"
    )
    decoder_mask: Literal["ours", "umt"] = Field(
        "ours",
        description="what the decoder attends to. `ours`: the frames of the video; `umt`: also its padding, as in the "
        "official code, where the scores of a video depend on the longest one of its batch",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> UMTOptions:
        if self.hidden % self.heads:
            raise ValueError(f"hidden={self.hidden} is not a multiple of heads={self.heads}")
        return self


class Attention(nn.Module):
    """Multi-head attention with four Linear layers."""

    def __init__(self, options: UMTOptions) -> None:
        super().__init__()
        self.heads, self.dropout = options.heads, options.dropout
        self.query, self.key, self.value, self.out = (nn.Linear(options.hidden, options.hidden) for _ in range(4))
        self.drop = Dropout(options.dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from [B,N,D] to [B,M,D]; `mask` is bool [B,M], None lets every key be seen."""
        # A row without any key would be NaN, and so would its gradient. It sees all, and its reader leaves it out.
        is_open = None if mask is None else (mask | ~mask.any(1, keepdim=True))[:, None, None]
        # The function knows no training mode: it would drop weights in evaluation too.
        dropout = self.dropout if self.training else 0.0
        parts = (self.split(self.query(query)), self.split(self.key(key)), self.split(self.value(value)))
        mixed = attend(*parts, is_open, dropout)
        return self.drop(self.out(mixed.transpose(1, 2).flatten(2)))

    def split(self, x: Tensor) -> Tensor:
        """[B,N,D] to [B,heads,N,D/heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    def __init__(self, options: UMTOptions) -> None:
        width, dropout = options.ffn_ratio * options.hidden, options.dropout
        super().__init__(
            nn.Linear(options.hidden, width),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(width, options.hidden),
            Dropout(dropout),
        )


class Positions(nn.Module):
    """A learnt table of positions, of which a video takes the first T rows."""

    def __init__(self, options: UMTOptions) -> None:
        super().__init__()
        self.table = nn.Parameter(drawn(1, options.position_rows, options.hidden))
        self.drop = Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """The rows for `x` [B,T,D]."""
        # Repeated before the dropout, so that the videos of a batch do not all drop the same values.
        found: Tensor = self.drop(self.table[:, : x.shape[1]].expand_as(x))
        return found


class Encoder(nn.Module):
    """One modality by itself: a projection, then one pre-norm layer, without a norm behind it."""

    def __init__(self, options: UMTOptions, dim: int) -> None:
        super().__init__()
        self.project = nn.Sequential(Dropout(options.dropout_input), nn.Linear(dim, options.hidden))
        self.position = Positions(options)
        self.attention, self.feedforward = Attention(options), FeedForward(options)
        self.norms = norms(2, options)

    def forward(self, feature: Tensor, mask: Tensor) -> Tensor:
        x = self.project(feature)
        value = self.norms[0](x)
        at = value + self.position(x)
        x = x + self.attention(at, at, value, mask)
        return x + self.feedforward(self.norms[1](x))


class FusionLayer(nn.Module):
    """Bottleneck tokens z gather from both streams, then each stream reads what they gathered."""

    def __init__(self, options: UMTOptions) -> None:
        super().__init__()
        self.gather = nn.ModuleList(Attention(options) for _ in range(2))
        self.read = nn.ModuleList(Attention(options) for _ in range(2))
        self.feedforward = nn.ModuleList(FeedForward(options) for _ in range(2))
        self.norms = norms(6, options)

    def forward(
        self, streams: tuple[Tensor, Tensor], tokens: Tensor, position: Tensor, mask: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Both streams [B,T,D] and the tokens [B,Z,D], each changed."""
        value = [norm(x) for norm, x in zip(self.norms[:2], streams, strict=True)]
        key, asking = [each + position for each in value], self.norms[2](tokens)
        gathered = [part(asking, k, v, mask) for part, k, v in zip(self.gather, key, value, strict=True)]
        tokens = tokens + gathered[0] + gathered[1]
        shared = self.norms[3](tokens)
        done = []
        for at, x in enumerate(streams):
            x = x + self.read[at](key[at], shared, shared)
            done.append(x + self.feedforward[at](self.norms[4 + at](x)))
        return (done[0], done[1]), tokens


class Fusion(nn.Module):
    """Frames and sound to one stream: layers over bottleneck tokens, then LN(frames + sound)."""

    def __init__(self, options: UMTOptions) -> None:
        super().__init__()
        self.token = nn.Parameter(drawn(options.tokens, options.hidden))
        self.position = Positions(options)
        self.layers = nn.ModuleList(FusionLayer(options) for _ in range(options.fusion_layers))
        self.norm = nn.LayerNorm(options.hidden)

    def forward(self, frames: Tensor, sound: Tensor, mask: Tensor) -> Tensor:
        streams, tokens, position = (frames, sound), self.token.expand(len(frames), -1, -1), self.position(frames)
        for layer in self.layers:
            streams, tokens = layer(streams, tokens, position, mask)
        found: Tensor = self.norm(streams[0] + streams[1])
        return found


class QueryGenerator(nn.Module):
    """Each frame reads the words of the query."""

    def __init__(self, options: UMTOptions, dim: int) -> None:
        super().__init__()
        # No bias: a norm follows.
        self.project = nn.Sequential(
            Dropout(options.dropout_query),
            nn.Linear(dim, options.hidden, bias=False),
            nn.LayerNorm(options.hidden),
        )
        self.attention = Attention(options)

    def forward(self, frames: Tensor, word: Tensor, mask: Tensor) -> Tensor:
        # No residual, as in the official code: what is read replaces the frames.
        words = self.project(word)
        found: Tensor = self.attention(frames, words, words, mask)
        return found


class Decoder(nn.Module):
    """One pre-norm layer from the queries [B,T,D] to the fused frames [B,T,D], then a norm."""

    def __init__(self, options: UMTOptions) -> None:
        super().__init__()
        self.query_position, self.key_position = Positions(options), Positions(options)
        self.itself, self.memory = Attention(options), Attention(options)
        self.feedforward, self.norms = FeedForward(options), norms(3, options)
        self.norm = nn.LayerNorm(options.hidden)

    def forward(self, query: Tensor, frames: Tensor, mask: Tensor | None) -> Tensor:
        at, key = self.query_position(query), frames + self.key_position(frames)
        value = self.norms[0](query)
        query = query + self.itself(value + at, value + at, value, mask)
        query = query + self.memory(self.norms[1](query) + at, key, frames, mask)
        found: Tensor = self.norm(query + self.feedforward(self.norms[2](query)))
        return found


class UMT(nn.Module):
    """UMT on frames, with sound if `audio_dim` is given and with a query's words if `query_dim` is.

    A video without sound, in a model that hears, is silent: its features are 0. A video without a query is read as by a
    model without queries: its frames are the query. `forward` raises UsageError for a video with more frames than the
    tables have rows.
    """

    Options: ClassVar[type[UMTOptions]] = UMTOptions

    def __init__(
        self,
        options: UMTOptions,
        frame_dim: int,
        text_dim: int | None = None,
        audio_dim: int | None = None,
        query_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.options, self.audio_dim = options, audio_dim
        self.video = Encoder(options, frame_dim)
        self.audio = None if audio_dim is None else Encoder(options, audio_dim)
        self.fusion = None if audio_dim is None else Fusion(options)
        self.query = None if query_dim is None else QueryGenerator(options, query_dim)
        self.decoder = Decoder(options)
        self.logit = nn.Linear(options.hidden, 1)
        self.apply(initialise)

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the decoder's output."""
        self._check_rows(batch)
        mask = batch.frame_mask
        frames = self.video(batch.frame_feature, mask)
        if self.audio is not None and self.fusion is not None:
            frames = self.fusion(frames, self.audio(self.sound(batch), mask), mask)
        query = self.asked(frames, batch)
        embedding = self.decoder(query, frames, mask if self.options.decoder_mask == "ours" else None)
        return Scores(frame_logit=self.logit(embedding).squeeze(-1), frame_embedding=embedding)

    def sound(self, batch: Batch) -> Tensor:
        """The sound of each frame [B,T,F]; 0 where a video has none."""
        frames, sound = batch.frame_feature, batch.audio_feature
        if sound is None:
            return frames.new_zeros(*frames.shape[:2], self.audio_dim or 0)
        # As wide as the longest video that has sound.
        return F.pad(sound, (0, 0, 0, frames.shape[1] - sound.shape[1]))

    def asked(self, frames: Tensor, batch: Batch) -> Tensor:
        """What the decoder starts from, [B,T,D]: the frames' reading of the query, or the frames themselves."""
        word, mask = batch.query_feature, batch.query_mask
        if self.query is None or word is None or mask is None:
            return frames
        # Arithmetic on padding that is not finite would reach the gradient.
        read = self.query(frames, word.masked_fill(~mask[..., None], 0), mask)
        return torch.where(mask.any(1)[:, None, None], read, frames)

    def _check_rows(self, batch: Batch) -> None:
        (_, num_frames), rows = batch.frame_mask.shape, self.options.position_rows
        if num_frames > rows:
            video = batch.video_id[int(batch.frame_mask.sum(1).argmax())]
            raise UsageError(
                f"{video}: {num_frames} frames do not fit into this model's tables; "
                f"train a model with --set model.position_rows={num_frames}"
            )

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of the official `models.UMT` with these options, by `OFFICIAL_NAMES`."""
        copy_weights(self, {name: official_name(name) for name in self.state_dict()}, state_dict)


# Patterns of our names -> the official ones, tried in this order: `norms.0` is officially `norm1`.
OFFICIAL_NAMES: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"^(video|audio)\.project\.1\.": r"\1_enc.mapping.linear.",
    r"^(video|audio)\.position\.table$": r"\1_enc.pos_enc.pe",
    r"^(video|audio)\.attention\.": r"\1_enc.encoder.att.",
    r"^(video|audio)\.": r"\1_enc.encoder.",
    r"^fusion\.token$": "cross_enc.encoder.token",
    r"^fusion\.position\.table$": "cross_enc.pos_enc.pe",
    r"^fusion\.layers\.": "cross_enc.encoder.encoder.",
    r"^fusion\.norm\.": "cross_enc.norm.",
    r"^query\.project\.1\.": "query_gen.mapping.linear.",
    r"^query\.project\.2\.": "query_gen.mapping.norm.",
    r"^query\.attention\.": "query_gen.encoder.",
    r"^decoder\.query_position\.table$": "query_dec.q_pos_enc.pe",
    r"^decoder\.key_position\.table$": "query_dec.k_pos_enc.pe",
    r"^decoder\.norm\.": "query_dec.norm.",
    r"^decoder\.itself\.": "query_dec.decoder.0.att1.",
    r"^decoder\.memory\.": "query_dec.decoder.0.att2.",
    r"^decoder\.": "query_dec.decoder.0.",
    r"^logit\.": "pred_head.0.saliency_pred.linear.",
    r"\.gather\.0\.": ".att1.",
    r"\.gather\.1\.": ".att2.",
    r"\.read\.0\.": ".att3.",
    r"\.read\.1\.": ".att4.",
    r"\.feedforward\.([01])\.(?=\d)": lambda found: f".ffn{int(found[1]) + 1}.mapping.",
    r"\.feedforward\.": ".ffn.mapping.",
    r"\.norms\.(\d)\.": lambda found: f".norm{int(found[1]) + 1}.",
    r"\.(q|k|v)(?:uery|ey|alue)\.(?=weight|bias)": r".\1.",
    r"\.out\.(?=weight|bias)": ".m.",
}


def official_name(name: str) -> str:
    for pattern, replacement in OFFICIAL_NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def norms(number: int, options: UMTOptions) -> nn.ModuleList:
    return nn.ModuleList(nn.LayerNorm(options.hidden) for _ in range(number))


def drawn(*shape: int) -> Tensor:
    """First values of a table or of tokens [...,D]: normal, divided by √D."""
    return torch.randn(shape) / math.sqrt(shape[-1])


def initialise(module: nn.Module) -> None:
    """Draw a Linear layer's weights as the official training does: Xavier normal, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
