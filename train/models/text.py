"""The text that a model reads beside the frames: timed subtitles, or global text about the whole video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vsumdata.datasets.video import Batch

TextKind = Literal["subtitles", "global", "both", "none"]
GlobalTokens = Literal["description", "steps"]


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text tokens of a batch. In each video padding follows the tokens, and padding covers no frame."""

    feature: Tensor  # [B,M,S]
    mask: Tensor  # bool [B,M]
    cover: Tensor  # bool [B,T,M]: token j is about frame t
    timed: Tensor  # bool [B,M]: the token has start and end; one without covers every frame


def text_of(
    batch: Batch, kind: TextKind, global_tokens: GlobalTokens = "description", timed_steps: bool = False
) -> Text | None:
    """Select the tokens of `kind`; None if no video of the batch has any.

    "both" puts the global text after the subtitles. For a video without that text the whole mask is false.
    """
    parts = []
    if kind in ("subtitles", "both"):
        parts.append(subtitles(batch))
    if kind in ("global", "both"):
        parts.append(global_text(batch, global_tokens, timed_steps))
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    return joined(*found)


def subtitles(batch: Batch) -> Text | None:
    """One token per sentence; it covers the frames with start_s <= time < end_s. None without sentences."""
    feature, span, mask = batch.sentence_feature, batch.sentence_span, batch.sentence_mask
    if feature is None or span is None or mask is None:
        return None
    cover = within(span, batch.frame_time_s) & batch.frame_mask[:, :, None] & mask[:, None, :]
    return Text(feature=feature, mask=mask, cover=cover, timed=mask)


def within(span: Tensor, time_s: Tensor) -> Tensor:
    """Whether frame t lies in span j: bool [B,T,M] of spans [B,M,2] and times [B,T]; NaN holds nothing."""
    return (span[:, None, :, 0] <= time_s[:, :, None]) & (time_s[:, :, None] < span[:, None, :, 1])


def global_text(batch: Batch, tokens: GlobalTokens = "description", timed_steps: bool = False) -> Text | None:
    """Tokens about the whole video; None without such text.

    "description": one token, the global text. "steps": one token per step; a video without steps has the global text.
    With `timed_steps` a step whose time is known covers the frames of that time alone, as a sentence does.
    """
    feature = mask = None
    if batch.global_feature is not None and batch.global_mask is not None:
        feature, mask = batch.global_feature[:, None], batch.global_mask[:, None]
    if tokens == "steps" and batch.step_feature is not None and batch.step_mask is not None:
        if feature is None or mask is None:
            feature, mask = batch.step_feature, batch.step_mask
        else:
            feature, mask = _or_else(batch.step_feature, batch.step_mask, feature, mask)
    if feature is None or mask is None:
        return None
    # Global text has no timing, so every frame may attend to it (HierSum's parent step).
    cover = batch.frame_mask[:, :, None] & mask[:, None, :]
    timed = torch.zeros_like(mask)
    if timed_steps and tokens == "steps" and batch.step_span is not None and batch.step_mask is not None:
        # Not the token that stands for the steps of a video without any.
        timed = batch.step_mask & batch.step_span.isfinite().all(-1)
        cover &= ~timed[:, None] | within(batch.step_span, batch.frame_time_s)
    return Text(feature=feature, mask=mask, cover=cover, timed=timed)


def _or_else(feature: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of `feature` [B,P,S]; a video without any gets its single token of `other` [B,1,S] instead."""
    lacks = ~mask.any(1, keepdim=True) & other_mask  # [B,1]
    first = torch.where(lacks[..., None], other, feature[:, :1])
    return torch.cat([first, feature[:, 1:]], 1), torch.cat([mask[:, :1] | lacks, mask[:, 1:]], 1)


def joined(first: Text, second: Text) -> Text:
    """Append the tokens of `second` to those of `first`, video by video."""
    feature = torch.cat([first.feature, second.feature], 1)
    mask = torch.cat([first.mask, second.mask], 1)
    cover = torch.cat([first.cover, second.cover], 2)
    timed = torch.cat([first.timed, second.timed], 1)
    # Move the padding between the two to the end. Otherwise the position of a token, and so its embedding, would depend
    # on the longest video of the batch. The sort must be stable to keep the order of the sentences.
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)
    return Text(
        feature=feature.take_along_dim(order[..., None], 1),
        mask=mask.take_along_dim(order, 1),
        cover=cover.take_along_dim(order[:, None], 2),
        timed=timed.take_along_dim(order, 1),
    )


def no_text(batch: Batch, dim: int) -> Text:
    """A text without tokens (M = 0)."""
    (num_videos, num_frames), mask = batch.frame_mask.shape, batch.frame_mask[:, :0]
    feature = batch.frame_feature.new_zeros(num_videos, 0, dim)
    return Text(feature=feature, mask=mask, cover=mask[:, None].expand(-1, num_frames, -1), timed=mask)
