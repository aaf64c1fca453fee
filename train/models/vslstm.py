"""vsLSTM and dppLSTM: an LSTM over the frames both ways, then a perceptron; dppLSTM adds the kernel of a DPP.

Zhang et al., "Video Summarization with Long Short-term Memory", 2016,
https://github.com/kezhang-cs/Video-Summarization-with-LSTM. Both ways have the same cell and the same first state. The
official score is the perceptron's output itself, ours is its sigmoid, as everywhere here; the official weights start
within ±0.02, ours as PyTorch's do.

Letters: B videos, T frames, F width, D hidden.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.train.models.summarizer import Scores


class VsLSTMOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(
        None, ge=1, description="F: features are projected to it first; none: their own size, as in the paper"
    )
    hidden: int = Field(256, ge=1, description="D, of the LSTM each way and of the perceptrons")


class DppLSTMOptions(VsLSTMOptions):
    kernel: int = Field(256, ge=1, description="size of the vectors whose inner products are the kernel")


class VsLSTM(nn.Module):
    Options: ClassVar[type[VsLSTMOptions]] = VsLSTMOptions

    def __init__(self, options: VsLSTMOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        width = options.width or frame_dim
        self.size = width + 2 * options.hidden
        self.project = nn.Identity() if options.width is None else nn.Linear(frame_dim, width)
        self.first_hidden, self.first_cell = (nn.Linear(width, options.hidden) for _ in range(2))
        self.lstm = nn.LSTM(width, options.hidden, batch_first=True)
        self.score = perceptron(self.size, options.hidden, 1)

    def forward(self, batch: Batch) -> Scores:
        """`frame_embedding` is each frame with the states of both ways, [B,T,F+2D]."""
        embedding = self.embed(batch)
        return Scores(frame_logit=self.score(embedding).squeeze(-1), frame_embedding=embedding)

    def embed(self, batch: Batch) -> Tensor:
        """Both ways are one run over twice the videos; padding comes last in each, where nothing follows."""
        mask = batch.frame_mask
        length = mask.sum(1, keepdim=True)
        x = self.project(batch.frame_feature).masked_fill(~mask[..., None], 0)
        mean = x.sum(1) / length
        first = [layer(mean).tanh().repeat(2, 1)[None] for layer in (self.first_hidden, self.first_cell)]
        states, _ = self.lstm(torch.cat([x, turned(x, length)]), (first[0], first[1]))
        forward, backward = states.chunk(2)
        return torch.cat([x, forward, turned(backward, length)], -1)


class DppLSTM(VsLSTM):
    """The DPP has L_ij = q_i·q_j·φ_i·φ_j, with q = σ(logit) and φ the `frame_kernel`: vsumdata.train.losses_dpp.

    Scores are q alone; the paper's greedy choice of frames by L is not made.
    """

    Options: ClassVar[type[VsLSTMOptions]] = DppLSTMOptions

    def __init__(self, options: DppLSTMOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__(options, frame_dim, text_dim)
        self.kernel = perceptron(self.size, options.hidden, options.kernel)

    def forward(self, batch: Batch) -> Scores:
        """`frame_embedding` is that of vsLSTM."""
        embedding = self.embed(batch)
        return Scores(
            frame_logit=self.score(embedding).squeeze(-1),
            frame_embedding=embedding,
            frame_kernel=self.kernel(embedding),
        )


def perceptron(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.Sigmoid(), nn.Linear(hidden, out))


def turned(x: Tensor, length: Tensor) -> Tensor:
    """`x` [B,T,…] with the first `length` [B,1] frames of each video in reverse, padding behind them."""
    num_frames = x.shape[1]
    place = (length - 1 - torch.arange(num_frames, device=x.device)) % num_frames
    return x.gather(1, place[..., None].expand_as(x))
