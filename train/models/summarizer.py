"""What every model of this folder takes and gives.

A summarizer is an `nn.Module` built as `Model(options, frame_dim, text_dim)`. Its `forward(batch)` takes a `Batch`
and gives `Scores`; a video's scores depend on that video alone, neither on its batch mates nor on padding.
`load_official(state_dict)` copies the weights of the code that its authors published, name by name, where they did.

Letters: B videos, T frames, M sentences, D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """For each position the summary segment that it proposes: DSNet's and A2Summ's regression heads."""

    reach: Tensor  # [B,N,2] frames from the position to the segment's first and last frame, at least 0
    centerness: Tensor  # [B,N] in (0,1)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model says of a batch; padded positions hold anything. None is what the model does not have.

    The embeddings are what the contrastive losses compare: what the model's head is given at that position.
    `video_token` and `text_token` stand for all frames and for all sentences.
    """

    frame_logit: Tensor  # [B,T]
    sentence_logit: Tensor | None = None  # [B,M]
    frame_embedding: Tensor | None = None  # [B,T,D]
    sentence_embedding: Tensor | None = None  # [B,M,D]
    frame_kernel: Tensor | None = None  # [B,T,D], whose inner products are a determinantal point process's kernel
    video_token: Tensor | None = None  # [B,D]
    text_token: Tensor | None = None  # [B,D]
    frame_boxes: Boxes | None = None
    sentence_boxes: Boxes | None = None
