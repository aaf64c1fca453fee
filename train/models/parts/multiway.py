"""A2Summ's multi-way transformer: frames and sentences attend in one sequence, under a mask that aligns them in time.

Letters: B videos, T frames, M sentences, N = (1+T)+(1+M) tokens, D hidden size, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.train.models.parts.attention import attend
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.text import Text

# A2Summ draws tables, CLS tokens and Linear weights alike.
INITIAL_STD = 0.02
Initial = Literal["a2summ", "xavier"]


@dataclass(frozen=True, kw_only=True)
class Size:
    hidden: int
    heads: int
    ffn_ratio: int
    dropout: float
    # Dropout of the attention weights has a field of its own: PyTorch's fused attention for CPUs supports no dropout,
    # and any value above 0 falls back to the slow path.
    dropout_weights: float


class Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.num_heads, self.dropout_weights = size.heads, size.dropout_weights
        self.qkv = nn.Linear(size.hidden, 3 * size.hidden)
        self.out = nn.Linear(size.hidden, size.hidden)
        self.drop = Dropout(size.dropout)

    def queries_keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each [B,H,N,D/H]."""
        parts = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def forward(self, tokens: Tensor, is_open: Tensor) -> Tensor:
        """Attend; `is_open` is bool and broadcasts to [B,H,N,N] (query, key). True lets the query see the key."""
        query, key, value = self.queries_keys_values(tokens)
        # The function knows no training mode: it would drop weights in evaluation too.
        dropout = self.dropout_weights if self.training else 0.0
        mixed = attend(query, key, value, is_open, dropout)
        return self.drop(self.out(mixed.transpose(1, 2).flatten(2)))


class FeedForward(nn.Sequential):
    def __init__(self, size: Size) -> None:
        width, dropout = size.ffn_ratio * size.hidden, size.dropout
        super().__init__(
            nn.LayerNorm(size.hidden),
            nn.Linear(size.hidden, width),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(width, size.hidden),
            Dropout(dropout),
        )


class Layer(nn.Module):
    """Pre-norm attention over both modalities, then a feed-forward network per modality, each with a residual."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size.hidden)
        self.attention = Attention(size)
        self.video = FeedForward(size)
        self.text = FeedForward(size)

    def forward(self, tokens: Tensor, is_open: Tensor, num_video: int) -> Tensor:
        """Transform `tokens` [B,N,D]; the first `num_video` of them belong to the video."""
        tokens = tokens + self.attention(self.norm(tokens), is_open)
        video, text = tokens[:, :num_video], tokens[:, num_video:]
        return torch.cat([video + self.video(video), text + self.text(text)], 1)


def is_open(frame_mask: Tensor, text: Text, time_mask: bool) -> Tensor:
    """Which query may see which key: bool [B,1,N,N]; [B,1,1,N] without `time_mask`.

    Frames and the video's CLS see each other, sentences and the text's CLS see each other. Across modalities, a frame
    and a sentence see each other where the sentence covers the frame; CLS sees nothing. Without `time_mask` every token
    sees every token (A2Summ's MSMO model).
    """
    # CLS is always open, so every query has a key: a softmax over masked keys alone would be NaN.
    cls = frame_mask.new_ones(len(frame_mask), 1)
    video, words = torch.cat([cls, frame_mask], 1), torch.cat([cls, text.mask], 1)
    if not time_mask:
        return torch.cat([video, words], 1)[:, None, None]
    across = F.pad(text.cover, (1, 0, 1, 0))  # [B,1+T,1+M]
    frames = torch.cat([video[:, None].expand(-1, video.shape[1], -1), across], 2)
    sentences = torch.cat([across.transpose(1, 2), words[:, None].expand(-1, words.shape[1], -1)], 2)
    return torch.cat([frames, sentences], 1)[:, None]


def table(rows: int, hidden: int) -> nn.Parameter:
    """Make a learnable table [1,rows,D]."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, rows, hidden), std=INITIAL_STD))


def initialise(module: nn.Module, how: Initial) -> None:
    """Draw the first weights of a Linear layer; other modules keep PyTorch's."""
    if isinstance(module, nn.Linear):
        # A deviation of 0.02 makes the activations of a small D tiny; Xavier's grows as D shrinks.
        if how == "a2summ":
            nn.init.trunc_normal_(module.weight, std=INITIAL_STD)
        else:
            nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
