"""Which text a model is shown, as tokens beside the frames: subtitles in time, global text over the whole video."""

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
    """A video's tokens come first, its padding after them; masked tokens cover nothing."""

    feature: Tensor  # [B,M,S]
    mask: Tensor  # bool [B,M]
    cover: Tensor  # bool [B,T,M]: token j is about frame t
    timed: Tensor  # bool [B,M]: the token has a time of its own; what has none covers every frame


def text_of(batch: Batch, kind: TextKind, global_tokens: GlobalTokens = "description") -> Text | None:
    """The tokens of `kind`; None where no video of the batch has any.

    "both" is the subtitles, then the global text. A video without that text has a mask that is false throughout.
    """
    parts = []
    if kind in ("subtitles", "both"):
        parts.append(subtitles(batch))
    if kind in ("global", "both"):
        parts.append(global_text(batch, global_tokens))
    found = [part for part in parts if part is not None]
    if len(found) < 2:
        return found[0] if found else None
    return joined(*found)


def subtitles(batch: Batch) -> Text | None:
    """The sentences; each covers the frames with start_s <= time < end_s."""
    feature, span, mask = batch.sentence_feature, batch.sentence_span, batch.sentence_mask
    if feature is None or span is None or mask is None:
        return None
    time_s = batch.frame_time_s[:, :, None]
    inside = (span[:, None, :, 0] <= time_s) & (time_s < span[:, None, :, 1])
    cover = inside & batch.frame_mask[:, :, None] & mask[:, None, :]
    return Text(feature=feature, mask=mask, cover=cover, timed=mask)


def global_text(batch: Batch, tokens: GlobalTokens = "description") -> Text | None:
    """What is said of the whole video.

    "description" is one token, the global text; "steps" is one a step, and the global text where a video has no step.
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
    cover = batch.frame_mask[:, :, None] & mask[:, None, :]
    return Text(feature=feature, mask=mask, cover=cover, timed=torch.zeros_like(mask))


def _or_else(feature: Tensor, mask: Tensor, other: Tensor, other_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of `feature` [B,P,S]; where a video has none, its one of `other` [B,1,S] in the first place."""
    lacks = ~mask.any(1, keepdim=True) & other_mask  # [B,1]
    first = torch.where(lacks[..., None], other, feature[:, :1])
    return torch.cat([first, feature[:, 1:]], 1), torch.cat([mask[:, :1] | lacks, mask[:, 1:]], 1)


def joined(first: Text, second: Text) -> Text:
    """The tokens of one after those of the other, video by video, so that no place depends on a batch mate."""
    feature = torch.cat([first.feature, second.feature], 1)
    mask = torch.cat([first.mask, second.mask], 1)
    cover = torch.cat([first.cover, second.cover], 2)
    timed = torch.cat([first.timed, second.timed], 1)
    order = torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)  # padding last
    return Text(
        feature=feature.take_along_dim(order[..., None], 1),
        mask=mask.take_along_dim(order, 1),
        cover=cover.take_along_dim(order[:, None], 2),
        timed=timed.take_along_dim(order, 1),
    )


def no_text(batch: Batch, dim: int) -> Text:
    """No token at all, M = 0."""
    (num_videos, num_frames), mask = batch.frame_mask.shape, batch.frame_mask[:, :0]
    feature = batch.frame_feature.new_zeros(num_videos, 0, dim)
    return Text(feature=feature, mask=mask, cover=mask[:, None].expand(-1, num_frames, -1), timed=mask)
