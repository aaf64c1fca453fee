"""MSVA: VASNet's attention over each of several sources of features; their sum goes into a regressor.

Ghauri et al., "Supervised Video Summarization via Multiple Feature Sets with Parallel Attention", 2021,
https://github.com/TIBHannover/MSVA. The paper's sources are the content of a frame (GoogLeNet) and its motion (I3D on
RGB and on optical flow), all through the same weights. A frame's feature is the concatenation of its sources, which
`--features i3d:FOLDER` makes. With one source the model is VASNet with an aperture and another regressor.

Letters: B videos, T frames, F width of a source, S sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.parts.dropout import Dropout
from vsumdata.train.models.parts.official import Sources, copy_weights
from vsumdata.train.models.parts.rows import Rows
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.models.vasnet import Attention, LayerNorm, initialise

Size = Annotated[int, Field(ge=1)]


class MSVAOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: int = Field(
        1,
        ge=1,
        description="number of sources (S): a frame's feature is cut into so many parts of equal size. The paper has 3 "
        "of 1024 components each, which `--features i3d:FOLDER` gives TVSum and SumMe",
    )
    width: int | None = Field(
        None,
        ge=2,
        description="size that each source is projected to first (F), in components. `null`: no projection, as in the "
        "paper",
    )
    aperture: int | None = Field(
        250,
        ge=1,
        description="reach of the attention, in frames: a frame attends to those nearer than this. `null`: to all",
    )
    regressor: tuple[Size, Size, Annotated[int, Field(ge=2)]] = Field(
        (365, 365, 512),
        description="sizes of the regressor's three layers, in components; there is no activation between them",
    )
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of attention weights, attention outputs and regressor values that training drops, 0 to 1",
    )


class MSVA(nn.Module):
    """MSVA on frames. Raises UsageError if the sources do not divide the features, or have fewer than 2 components."""

    Options: ClassVar[type[MSVAOptions]] = MSVAOptions

    def __init__(self, options: MSVAOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__()
        self.sources = options.sources
        size, rest = divmod(frame_dim, options.sources)
        width = options.width or size
        # 2: the norm divides by the unbiased standard deviation, which one component does not have.
        if rest or width < 2:
            raise UsageError(
                f"msva: {options.sources} sources do not divide features of size {frame_dim} into parts of at least 2; "
                "set model.sources"
            )
        self.project = nn.Identity() if options.width is None else nn.Linear(size, width)
        self.attention = Attention(width, width, options.dropout, options.aperture)
        self.norm_mixed = LayerNorm(width)
        # Official: three Linear layers without an activation in between; ReLU comes after the last.
        self.regressor = nn.Sequential(*(nn.Linear(*pair) for pair in pairwise((width, *options.regressor))))
        self.norm_hidden = LayerNorm(options.regressor[-1])
        self.logit = nn.Linear(options.regressor[-1], 1)
        self.drop = Dropout(options.dropout)
        self.apply(initialise)

    def forward(self, batch: Batch) -> Scores:
        """Score each frame. `frame_embedding` is the sum over the sources."""
        # All sources share one set of weights, so they run as S·B videos.
        mask = batch.frame_mask.repeat_interleave(self.sources, 0)
        x = batch.frame_feature.unflatten(-1, (self.sources, -1)).transpose(1, 2).flatten(0, 1)  # [B·S,T,F]
        rows = Rows(mask)
        x = rows.clear(self.project(rows.take(x)))
        embedding = rows.give(self.norm_mixed(self.drop(self.attention.over(rows, x) + x)))
        embedding = embedding.unflatten(0, (-1, self.sources)).sum(1)
        hidden = self.regressor(embedding).relu()
        logit = self.logit(self.norm_hidden(self.drop(hidden))).squeeze(-1)
        return Scores(frame_logit=logit, frame_embedding=embedding)

    def official_names(self) -> Sources:
        """Map our entries to the official ones."""
        parts = {"key": "K", "query": "Q", "value": "V", "out": "output_linear"}
        names = {f"attention.{our}.weight": f"att1_3.{name}.weight" for our, name in parts.items()}
        layers = {"regressor.0": "ka1_3", "regressor.1": "kb", "regressor.2": "kc", "logit": "kd"}
        for our, name in layers.items():
            names |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("weight", "bias")}
        for our, name in (("norm_mixed", "layer_norm_y_1_3"), ("norm_hidden", "layer_norm_kc")):
            names |= {f"{our}.{kind}": f"{name}.{kind}" for kind in ("gamma", "beta")}
        return names

    def load_official(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy the weights of MSVA's `MSVA_Gen_auto`, by `official_names`; skips the two norms that it never uses."""
        copy_weights(self, self.official_names(), state_dict, unused=UNUSED)


# Official checkpoints hold these norms, but the official forward pass does not call them.
UNUSED = tuple(f"{norm}.{kind}" for norm in ("layer_norm_y_4", "layer_norm_kd") for kind in ("gamma", "beta"))
