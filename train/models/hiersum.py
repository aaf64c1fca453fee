"""HierSum: A2Summ's trunk, trained in turns on the subtitles (child) and on the text of the whole video (parent).

arXiv 2504.18689. Both passes have the same weights; which one is meant is the `text` of `forward`. The paper scores
videos with their subtitles; the subtitles and the global text together are our addition.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from vsumdata.datasets.video import Batch
from vsumdata.train.models.a2summ import A2Summ, A2SummOptions
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.models.text import GlobalTokens, TextKind, text_of


class HierSumOptions(A2SummOptions):
    """A2Summ's, and which text is shown."""

    head: Literal["linear"] = Field("linear", description="σ(logit) is a frame's score")
    text: TextKind = Field("subtitles", description="what videos are scored with")
    global_tokens: GlobalTokens = Field("description", description="the global text as one token, or as one a step")


class HierSum(A2Summ):
    Options: ClassVar[type[A2SummOptions]] = HierSumOptions

    def __init__(self, options: HierSumOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__(options, frame_dim, text_dim)
        self.shown: TextKind = options.text
        self.global_tokens: GlobalTokens = options.global_tokens

    def forward(self, batch: Batch, text: TextKind | None = None) -> Scores:
        """With the text that the options say, or with another: "global" is the parent's pass."""
        return self.summarize(batch, text_of(batch, text or self.shown, self.global_tokens))
