"""VASNet: one soft attention over all frames of a video, then a regressor.

Fajtl et al., "Summarizing Videos with Attention", 2018, https://github.com/ok1zjf/VASNet. MR.HiSum's batched copy
(networks/vasnet) computes the same for all real frames, so no `compat` option is needed.

Letters: B videos, T frames, F width, D hidden.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import Sources, copy_weights
from vsumdata.train.models.parts.rows import Rows
from vsumdata.train.models.summarizer import Scores

# The official code scales the queries by this constant, not by 1/√D.
SCALE = 0.06


class VASNetOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(
        None,
        ge=2,
        description="size that the frames' features are projected to first (F), in components. `null`: no projection, "
        "as in the paper",
    )
    hidden: int = Field(1024, ge=1, description="size of keys, queries and values (D), in components")
    regressor: int = Field(1024, ge=2, description="hidden size of the regressor, in components")
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of attention weights and of the regressor's values that training drops, 0 to 1",
    )


class LayerNorm(nn.Module):
    """VASNet's own LayerNorm: (x − mean) / (std + eps), with the unbiased standard deviation."""

    # nn.LayerNorm takes the biased variance and adds eps under the root; official weights need this one.

    def __init__(self, size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(size))
        self.beta = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Autocast passes bfloat16, which is too coarse for a mean and a deviation over many components.
        x = x.to(self.gamma.dtype)
        centred = x - x.mean(-1, keepdim=True)
        return self.gamma * centred / (x.std(-1, keepdim=True) + self.eps) + self.beta


class Attention(nn.Module):
    """Attention that aggregates by its transpose: y_j = Σ_i A_ij·v_i, where the rows A_i sum to 1.

    Frame i attends to the frames j with |i−j| < `aperture`; to all frames if that is None.
    """

    def __init__(self, width: int, hidden: int, dropout: float, aperture: int | None = None) -> None:
        super().__init__()
        self.aperture = aperture
        self.key, self.query, self.value = (nn.Linear(width, hidden, bias=False) for _ in range(3))
        self.out = nn.Linear(hidden, width, bias=False)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend: mixed frames [B,T,F] and the weights [B,T,T] before dropout. Needs `x` to be zero at padding."""
        mixed, weight = self.mix(mask, SCALE * self.query(x), self.key(x), self.value(x))
        return self.out(mixed), weight

    def over(self, rows: Rows, x: Tensor) -> Tensor:
        """Mix the frames `x` of a batch as `rows` has them; the result has the shape of `x`."""
        if rows.padded:
            mixed: Tensor = self(x, rows.mask)[0]
            return mixed
        projected = (SCALE * self.query(x), self.key(x), self.value(x))
        return self.out(rows.join(self.mix(*video)[0] for video in rows.videos(*projected)))

    def mix(self, mask: Tensor, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed values [B,T,D], and the weights [B,T,T] before dropout."""
        energy = query @ key.transpose(1, 2)
        # The least number, not −∞: a padded row may have no open key within the aperture, and would become NaN.
        weight = energy.masked_fill(~self.is_open(mask), torch.finfo(energy.dtype).min).softmax(-1)
        # Padded rows i add nothing to the sum over i: their x is 0 and `value` has no bias, so v_i = 0.
        return self.drop(weight).transpose(1, 2) @ value, weight

    def is_open(self, mask: Tensor) -> Tensor:
        """Which frames (last axis) a frame may attend to: bool [B,1,T]; with an aperture [B,T,T]."""
        if self.aperture is None:
            return mask[:, None]
        at = torch.arange(mask.shape[1], device=mask.device)
        return mask[:, None] & ((at[:, None] - at).abs() < self.aperture)


class VASNet(nn.Module):
    """VASNet on frames."""

    Options: ClassVar[type[VASNetOptions]] = VASNetOptions

    def __init__(self, options: VASNetOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        width = options.width or frame_dim
        self.project = nn.Identity() if options.width is None else nn.Linear(frame_dim, width)
        self.attention = Attention(width, options.hidden, options.dropout)
        self.norm_mixed = LayerNorm(width)
        self.regressor = nn.Linear(width, options.regressor)
        self.norm_hidden = LayerNorm(options.regressor)
        self.logit = nn.Linear(options.regressor, 1)
        self.drop = Dropout(options.dropout)
        self.apply(initialise)

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the normalised sum of frame and attention."""
        rows = Rows(batch.frame_mask)
        x = rows.clear(self.project(rows.take(batch.frame_feature)))
        embedding = rows.give(self.norm_mixed(self.drop(self.attention.over(rows, x) + x)))
        hidden = self.regressor(rows.take(embedding)).relu()
        logit = self.logit(self.norm_hidden(self.drop(hidden))).squeeze(-1)
        return Scores(frame_logit=rows.give(logit), frame_embedding=embedding)

    def official_names(self) -> Sources:
        """Map our entries to the official ones."""
        layers = {
            "attention.key": "att.K",
            "attention.query": "att.Q",
            "attention.value": "att.V",
            "attention.out": "att.output_linear",
        }
        names = {f"{our}.weight": f"{name}.weight" for our, name in layers.items()}
        for our, name in (("regressor", "ka"), ("logit", "kd")):
            names |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("weight", "bias")}
        for our, name in (("norm_mixed", "layer_norm_y"), ("norm_hidden", "layer_norm_ka")):
            names |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("gamma", "beta")}
        return names

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of VASNet's or MR.HiSum's `VASNet`, by `official_names`; skips kb and kc, never used."""
        copy_weights(self, self.official_names(), state_dict, unused=UNUSED)


# Official checkpoints hold these layers, but the official forward pass does not call them.
UNUSED = tuple(f"{layer}.{kind}" for layer in ("kb", "kc") for kind in ("weight", "bias"))


def initialise(module: nn.Module) -> None:
    """Draw weights as the official training does: Xavier with ReLU's gain, biases 0.1."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight, gain=math.sqrt(2))
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.1)
