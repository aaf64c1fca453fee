"""SL-module: a transformer over the frames of a video, then a score net.

Xu et al., "Cross-category Video Highlight Detection via Set-based Learning", ICCV 2021, as MR.HiSum trains it
(networks/sl_module).

Letters: B videos, T frames, F width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import copy_weights
from vsumdata.train.models.summarizer import Scores


class SLModuleOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int | None = Field(
        None,
        ge=16,
        description="size that the frames' features are projected to first (F), in components. `null`: no projection, "
        "as in the paper",
    )
    layers: int = Field(5, ge=1, description="number of transformer layers")
    heads: int = Field(8, ge=1, description="number of attention heads per layer; they must divide the width")
    feedforward: int = Field(3072, ge=1, description="hidden size of the feed-forward networks, in components")
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of values that training drops after attention, after feed-forward and in the score net, "
        "0 to 1",
    )
    compat: Literal["none", "mr-hisum"] = Field(
        "none",
        description="`mr-hisum` repeats MR.HiSum's code, where frames attend to padding too. `none`: it is masked",
    )


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        # The official code scales by the full width, where a transformer takes the width of one head.
        self.num_heads, self.scale = heads, width**-0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, is_open: Tensor) -> Tensor:
        """Attend over frames [B,T,F]; `is_open`, bool [B,1,1,T], is false for keys that are padding."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_open, scale=self.scale)
        return self.drop(self.out(mixed.transpose(1, 2).flatten(2)))


class Layer(nn.Module):
    """Pre-norm attention and feed-forward network, each with a residual."""

    def __init__(self, width: int, options: SLModuleOptions) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, options.heads, options.dropout)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, options.feedforward),
            nn.GELU(),
            Dropout(options.dropout),
            nn.Linear(options.feedforward, width),
            Dropout(options.dropout),
        )

    def forward(self, x: Tensor, is_open: Tensor) -> Tensor:
        x = x + self.attention(self.norm_attention(x), is_open)
        return x + self.feedforward(x)


class SLModule(nn.Module):
    """SL-module on frames. Raises UsageError if the heads do not divide the width, or the width is below 16."""

    Options: ClassVar[type[SLModuleOptions]] = SLModuleOptions

    def __init__(self, options: SLModuleOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.options = options
        width = options.width or frame_dim
        # 16: the score net narrows to a sixteenth of the width.
        if width % options.heads or width < 16:
            raise UsageError(
                f"slmodule: a width of {width} is below 16 or not a multiple of {options.heads} heads; "
                "set model.width or model.heads"
            )
        self.project = nn.Identity() if options.width is None else nn.Linear(frame_dim, width)
        self.layers = nn.ModuleList(Layer(width, options) for _ in range(options.layers))
        self.score = nn.Sequential(
            nn.Linear(width, width // 4),
            nn.ReLU(),
            Dropout(options.dropout),
            nn.Linear(width // 4, width // 16),
            nn.ReLU(),
            Dropout(options.dropout),
            nn.Linear(width // 16, 1),
        )

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the transformer's output."""
        mask = batch.frame_mask
        x = self.project(batch.frame_feature)
        # MR.HiSum's code passes no mask, so scores there depend on the length of the batch mates.
        if self.options.compat == "mr-hisum":
            mask = torch.ones_like(mask)
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        return Scores(frame_logit=self.score(x).squeeze(-1), frame_embedding=x)

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of MR.HiSum's `SL_module`. Every entry must match.

        transformer.layers.N.0.fn → layers.N: norm → norm_attention, fn.to_qkv → attention.qkv,
        fn.to_out.0 → attention.out. transformer.layers.N.1.fn → layers.N.feedforward: norm → 0, fn.net.0 → 1,
        fn.net.3 → 4. score_model.fc1, fc2, fc3 → score.0, 3, 6.
        """
        names = {"score.0": "score_model.fc1", "score.3": "score_model.fc2", "score.6": "score_model.fc3"}
        for n in range(len(self.layers)):
            official = f"transformer.layers.{n}"
            names |= {
                f"layers.{n}.norm_attention": f"{official}.0.fn.norm",
                f"layers.{n}.attention.out": f"{official}.0.fn.fn.to_out.0",
                f"layers.{n}.feedforward.0": f"{official}.1.fn.norm",
                f"layers.{n}.feedforward.1": f"{official}.1.fn.fn.net.0",
                f"layers.{n}.feedforward.4": f"{official}.1.fn.fn.net.3",
            }
        sources: dict[str, str] = {
            f"layers.{n}.attention.qkv.weight": f"transformer.layers.{n}.0.fn.fn.to_qkv.weight"
            for n in range(len(self.layers))
        }
        for our, name in names.items():
            sources |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("weight", "bias")}
        copy_weights(self, sources, state_dict)
