"""vsLSTM and dppLSTM: an LSTM over the frames in both directions, then a perceptron; dppLSTM adds a DPP kernel.

Zhang et al., "Video Summarization with Long Short-term Memory", 2016,
https://github.com/kezhang-cs/Video-Summarization-with-LSTM. Both directions share one cell and one initial state.
Deviations: the official score is the perceptron's output, ours is its sigmoid, as for all models here; official weights
start within ±0.02, ours with PyTorch's defaults.

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
        None,
        ge=1,
        description="size that the frames' features are projected to first (F), in components. `null`: no projection, "
        "as in the paper",
    )
    hidden: int = Field(
        256, ge=1, description="size of the LSTM's state per direction, and of the perceptrons (D), in components"
    )


class DppLSTMOptions(VsLSTMOptions):
    kernel: int = Field(
        256,
        ge=1,
        description="size of a frame's kernel vector, in components; the DPP's kernel is their inner products",
    )


class VsLSTM(nn.Module):
    """vsLSTM on frames."""

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
        """Score each frame. `frame_embedding` is the frame with the states of both directions, [B,T,F+2D]."""
        embedding = self.embed(batch)
        return Scores(frame_logit=self.score(embedding).squeeze(-1), frame_embedding=embedding)

    def embed(self, batch: Batch) -> Tensor:
        """Each frame with the LSTM's states of both directions, [B,T,F+2D]."""
        # Both directions share the cell, so they run as one batch of 2B videos. A video is reversed within its own
        # length: padding always comes last and changes no state that counts.
        mask = batch.frame_mask
        length = mask.sum(1, keepdim=True)
        x = self.project(batch.frame_feature).masked_fill(~mask[..., None], 0)
        # Official: small perceptrons of the mean feature give the initial state.
        mean = x.sum(1) / length
        first = [layer(mean).tanh().repeat(2, 1)[None] for layer in (self.first_hidden, self.first_cell)]
        both = torch.cat([x, turned(x, length)])
        # oneDNN has no LSTM in bfloat16 for CPUs without AVX-512, and raises there. GPUs keep autocast's type.
        if both.device.type == "cpu":
            both, *first = (each.to(self.lstm.weight_hh_l0.dtype) for each in (both, *first))
        with torch.autocast("cpu", enabled=False):
            states, _ = self.lstm(both, (first[0], first[1]))
        forward, backward = states.chunk(2)
        return torch.cat([x, forward, turned(backward, length)], -1)


class DppLSTM(VsLSTM):
    """dppLSTM: vsLSTM with a DPP of L_ij = q_i·q_j·φ_i·φ_j, q = σ(logit), φ = `frame_kernel` (train.losses.dpp).

    Deviation: a frame's score is q alone; we do not choose frames greedily by L, as the paper does.
    """

    Options: ClassVar[type[VsLSTMOptions]] = DppLSTMOptions

    def __init__(self, options: DppLSTMOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__(options, frame_dim, text_dim)
        self.kernel = perceptron(self.size, options.hidden, options.kernel)

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is that of vsLSTM; `frame_kernel` holds the vectors φ."""
        embedding = self.embed(batch)
        return Scores(
            frame_logit=self.score(embedding).squeeze(-1),
            frame_embedding=embedding,
            frame_kernel=self.kernel(embedding),
        )


def perceptron(size: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.Sigmoid(), nn.Linear(hidden, out))


def turned(x: Tensor, length: Tensor) -> Tensor:
    """Reverse the first `length` [B,1] frames of each video of `x` [B,T,…]; padding stays behind them."""
    num_frames = x.shape[1]
    # The modulo keeps the index of padding valid; its value does not matter.
    place = (length - 1 - torch.arange(num_frames, device=x.device)) % num_frames
    return x.gather(1, place[..., None].expand_as(x))
