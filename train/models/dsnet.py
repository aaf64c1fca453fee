"""DSNet (Zhu et al., TIP 2020), anchor-free version: each frame proposes the summary segment around it.

Letters: B videos, T frames, F components of a feature, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.parts.attention import attend
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import copy_weights
from vsumdata.train.models.summarizer import Boxes, Scores

OFFICIAL_LAYERS = {
    "attention.query": "base_model.Q",
    "attention.key": "base_model.K",
    "attention.value": "base_model.V",
    "attention.out": "base_model.fc.0",
    "norm": "layer_norm",
    "trunk.0": "fc1.0",
    "trunk.3": "fc1.3",
    "logit": "fc_cls",
    "reach": "fc_loc",
    "centerness": "fc_ctr",
}


class DSNetOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int = Field(128, ge=1, description="size of the hidden layer after the attention, in components")
    heads: int = Field(8, ge=1, description="number of attention heads; they must divide the size of the features")
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of attention weights, attention outputs and hidden values that training drops, 0 to 1",
    )


class Attention(nn.Module):
    """Multi-head attention over the frames of each video, without biases."""

    def __init__(self, dim: int, options: DSNetOptions) -> None:
        super().__init__()
        self.heads, self.dropout = options.heads, options.dropout
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.drop = Dropout(options.dropout)

    def split(self, projected: Tensor) -> Tensor:
        """[B,T,F] → [B,H,T,F/H]."""
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (self.split(layer(frames)) for layer in (self.query, self.key, self.value))
        # The function knows no training mode: it would drop weights in evaluation too.
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, mask[:, None, None], dropout)
        return self.drop(self.out(mixed.transpose(1, 2).flatten(2)))


class DSNet(nn.Module):
    """DSNet-AF with attention as the base model. Raises UsageError if the heads do not divide `frame_dim`."""

    Options: ClassVar[type[DSNetOptions]] = DSNetOptions
    # The official threshold of suppression, with the overlap taken over the hull of both boxes.
    nms_overlap: float | None = 0.5

    def __init__(self, options: DSNetOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        if frame_dim % options.heads:
            raise UsageError(
                f"dsnet: {options.heads} heads do not divide features of {frame_dim}; give --set model.heads=N"
            )
        self.options = options
        self.attention = Attention(frame_dim, options)
        self.norm = nn.LayerNorm(frame_dim)
        self.trunk = nn.Sequential(
            nn.Linear(frame_dim, options.hidden), nn.ReLU(), Dropout(options.dropout), nn.LayerNorm(options.hidden)
        )
        self.logit, self.reach, self.centerness = (nn.Linear(options.hidden, size) for size in (1, 2, 1))

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the normalised sum of frame and attention."""
        frames = batch.frame_feature
        embedding = self.norm(self.attention(frames, batch.frame_mask) + frames)
        hidden = self.trunk(embedding)
        # exp keeps a reach positive: a segment always contains its own frame.
        boxes = Boxes(reach=self.reach(hidden).exp(), centerness=self.centerness(hidden).squeeze(-1).sigmoid())
        return Scores(frame_logit=self.logit(hidden).squeeze(-1), frame_embedding=embedding, frame_boxes=boxes)

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of `anchor_free.dsnet_af.DSNetAF` with `base_model=attention`, by `OFFICIAL_LAYERS`."""
        copy_weights(self, {name: official_name(name) for name in self.state_dict()}, state_dict)


def official_name(ours: str) -> str:
    layer, _, entry = ours.rpartition(".")
    return f"{OFFICIAL_LAYERS[layer]}.{entry}"
