"""The interface that every model of this folder shares.

A summarizer is an `nn.Module` built as `Model(options, frame_dim, text_dim)`; one that reads sound or queries also
takes `audio_dim` or `query_dim` (`reads_audio`, `reads_query` of its method). Its `forward(batch)` takes a `Batch` and
returns `Scores`. The scores of a video depend on that video alone, not on its batch mates and not on padding.
Where the authors published code, `load_official(state_dict)` copies the weights of that code, entry by entry.

Letters: B videos, T frames, M sentences, D hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The summary segment that each position proposes (regression heads of DSNet and A2Summ)."""

    reach: Tensor  # [B,N,2] positions back to the segment's first and ahead to its last one, at least 0
    centerness: Tensor  # [B,N] in (0,1)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A model's output for a batch. A field is None where the model has no such output.

    Values at padded positions are undefined. An embedding is the input of the model's head at that position; the
    contrastive losses compare embeddings. `video_token` represents all frames, `text_token` all sentences.
    """

    # Logits, not scores: a loss takes log σ of them without underflow.
    frame_logit: Tensor  # [B,T]
    sentence_logit: Tensor | None = None  # [B,M]
    frame_embedding: Tensor | None = None  # [B,T,D]
    sentence_embedding: Tensor | None = None  # [B,M,D]
    frame_kernel: Tensor | None = None  # [B,T,D]; inner products form the kernel of a determinantal point process
    video_token: Tensor | None = None  # [B,D]
    text_token: Tensor | None = None  # [B,D]
    frame_boxes: Boxes | None = None
    sentence_boxes: Boxes | None = None
    frame_summary: Tensor | None = None  # bool [B,T], the frames that a language model itself chose
    moments: Tensor | None = None  # [B,N,3] proposed moments: start and end in s, and the logit of being relevant
    earlier_moments: Tensor | None = None  # [L,B,N,3] the same of the layers before the last, which training looks at
