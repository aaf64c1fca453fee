"""MSVA: VASNet's attention over each of several sources of features, their sum, then a regressor.

Ghauri et al., "Supervised Video Summarization via Multiple Feature Sets with Parallel Attention", 2021,
https://github.com/TIBHannover/MSVA: what a frame shows (GoogLeNet), its surroundings and its motion (I3D on pictures
and on optical flow), all through the same weights. A frame's feature is its sources one behind the other. With a single
source, for want of others, it is VASNet with an aperture and another regressor.

Letters: B videos, T frames, F width of a source, S sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.models.official import Sources, copy_weights
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.models.vasnet import Attention, LayerNorm, initialise

Size = Annotated[int, Field(ge=1)]


class MSVAOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: int = Field(
        1, ge=1, description="S: each feature is cut into so many of equal size; 3 in the paper, of 1024 each"
    )
    width: int | None = Field(
        None, ge=2, description="F: sources are projected to it first; none: their own size, as in the paper"
    )
    aperture: int | None = Field(250, ge=1, description="frames see those nearer than this; none: all")
    regressor: tuple[Size, Size, Annotated[int, Field(ge=2)]] = Field(
        (365, 365, 512), description="sizes of the regressor's layers, with nothing between them"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="of attention weights, attention and in the regressor")


class MSVA(nn.Module):
    """Raises UsageError where the features do not divide into the sources, or these have one component."""

    Options: ClassVar[type[MSVAOptions]] = MSVAOptions

    def __init__(self, options: MSVAOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.sources = options.sources
        size, rest = divmod(frame_dim, options.sources)
        width = options.width or size
        if rest or width < 2:
            raise UsageError(
                f"msva: features of {frame_dim} do not divide into {options.sources} sources of at least 2; "
                "set model.sources"
            )
        self.project = nn.Identity() if options.width is None else nn.Linear(size, width)
        self.attention = Attention(width, width, options.dropout, options.aperture)
        self.norm_mixed = LayerNorm(width)
        self.regressor = nn.Sequential(*(nn.Linear(*pair) for pair in pairwise((width, *options.regressor))))
        self.norm_hidden = LayerNorm(options.regressor[-1])
        self.logit = nn.Linear(options.regressor[-1], 1)
        self.drop = nn.Dropout(options.dropout)
        self.apply(initialise)

    def forward(self, batch: Batch) -> Scores:
        """`frame_embedding` is the sum over the sources."""
        mask = batch.frame_mask.repeat_interleave(self.sources, 0)
        x = batch.frame_feature.unflatten(-1, (self.sources, -1)).transpose(1, 2).flatten(0, 1)  # [B·S,T,F]
        x = self.project(x).masked_fill(~mask[..., None], 0)
        mixed, _ = self.attention(x, mask)
        embedding = self.norm_mixed(self.drop(mixed + x)).unflatten(0, (-1, self.sources)).sum(1)
        hidden = self.regressor(embedding).relu()
        logit = self.logit(self.norm_hidden(self.drop(hidden))).squeeze(-1)
        return Scores(frame_logit=logit, frame_embedding=embedding)

    def official_names(self) -> Sources:
        """Our entries and the official ones."""
        parts = {"key": "K", "query": "Q", "value": "V", "out": "output_linear"}
        names = {f"attention.{our}.weight": f"att1_3.{name}.weight" for our, name in parts.items()}
        layers = {"regressor.0": "ka1_3", "regressor.1": "kb", "regressor.2": "kc", "logit": "kd"}
        for our, name in layers.items():
            names |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("weight", "bias")}
        for our, name in (("norm_mixed", "layer_norm_y_1_3"), ("norm_hidden", "layer_norm_kc")):
            names |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("gamma", "beta")}
        return names

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """From MSVA's `MSVA_Gen_auto`, by `official_names`; layer_norm_y_4 and layer_norm_kd are never used."""
        copy_weights(self, self.official_names(), state_dict, unused=UNUSED)


UNUSED = tuple(f"{norm}.{kind}" for norm in ("layer_norm_y_4", "layer_norm_kd") for kind in ("gamma", "beta"))
