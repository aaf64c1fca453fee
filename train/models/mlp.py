"""MLP: scores each frame by itself. The baseline of MR.HiSum (networks/mlp.py)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import Sources, copy_weights
from vsumdata.train.models.summarizer import Scores


class MLPOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1024,), min_length=1, description="sizes of the hidden layers, in components; one number means one layer"
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of values that training drops after each hidden layer, 0 to 1"
    )

    @field_validator("hidden", mode="before")
    @classmethod
    def _one_layer(cls, value: Any) -> Any:
        """Accept a single number: the other models' `hidden` is one, so `--set model.hidden=64` works for all."""
        return (value,) if isinstance(value, int) else value


class MLP(nn.Module):
    """Linear and ReLU per hidden layer, then one logit per frame. Takes features of any size."""

    Options: ClassVar[type[MLPOptions]] = MLPOptions

    def __init__(self, options: MLPOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        sizes = (frame_dim, *options.hidden)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.logit = nn.Linear(sizes[-1], 1)
        self.drop = Dropout(options.dropout)
        for linear in [*self.layers, self.logit]:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the last hidden layer."""
        hidden = batch.frame_feature
        for layer in self.layers:
            hidden = self.drop(layer(hidden).relu())
        return Scores(frame_logit=self.logit(hidden).squeeze(-1), frame_embedding=hidden)

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of MR.HiSum's `SimpleMLP`: input → layers.0, hidden.N → layers.N+1, out → logit."""
        names = {"layers.0": "input", "logit": "out"}
        names |= {f"layers.{n}": f"hidden.{n - 1}" for n in range(1, len(self.layers))}
        sources: Sources = {
            f"{our}.{kind}": f"{name}.{kind}" for our, name in names.items() for kind in ("weight", "bias")
        }
        copy_weights(self, sources, state_dict)
