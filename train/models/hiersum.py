"""HierSum: A2Summ's trunk, trained alternately on subtitles (child step) and on global text (parent step).

arXiv 2504.18689. Both steps use the same weights; `forward(text=…)` selects the text. The paper scores videos with
their subtitles. Scoring with subtitles and global text together is our addition.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from vsumdata.datasets.video import Batch
from vsumdata.train.models.a2summ import A2Summ, A2SummOptions
from vsumdata.train.models.summarizer import Scores
from vsumdata.train.models.text import GlobalTokens, TextKind, text_of


class HierSumOptions(A2SummOptions):
    """A2Summ's options, and the text that the model reads."""

    head: Literal["linear"] = Field(
        "linear",
        description="output head: one logit per frame; its sigmoid is the frame's score. No other is possible",
    )
    text: TextKind = Field(
        "subtitles",
        description="text to score videos with: `subtitles` (as in the paper), `global` (text about the whole video), "
        "`both`, or `none`",
    )
    global_tokens: GlobalTokens = Field(
        "description",
        description="how the global text enters the model: `description` as one token, `steps` as one token per "
        "step of the article",
    )
    timed_steps: bool = Field(
        False,
        description="with `global_tokens=steps`: a step whose time is known (table `step_times`) is about the frames "
        "of that time alone. In the paper global text is about all frames",
    )


class HierSum(A2Summ):
    """HierSum on frames, subtitles and global text. Raises what A2Summ raises."""

    Options: ClassVar[type[A2SummOptions]] = HierSumOptions

    def __init__(self, options: HierSumOptions, frame_dim: int, text_dim: int | None = None) -> None:
        super().__init__(options, frame_dim, text_dim)
        self.shown: TextKind = options.text
        self.global_tokens: GlobalTokens = options.global_tokens
        self.timed_steps = options.timed_steps

    def forward(self, batch: Batch, text: TextKind | None = None) -> Scores:
        """Score with `text`, by default that of the options. A parent step passes "global"."""
        return self.summarize(batch, text_of(batch, text or self.shown, self.global_tokens, self.timed_steps))
