"""Moments in seconds, and spans: centre and width as shares of a video's length, as Moment-DETR predicts them.

The T frames of a video are its clips: each lasts from its time to the next one's, and the last as long as the others.

Letters: B videos, T frames, R spans.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Nothing tells how long the only frame of a video lasts.
LONE_S = 1.0


def grid(frame_time_s: np.ndarray) -> tuple[float, float, float]:
    """How long a clip lasts, when the first one starts, and how long all last together, in s."""
    time_s = np.asarray(frame_time_s, np.float64)
    clip_s = float(time_s[-1] - time_s[0]) / (len(time_s) - 1) if len(time_s) > 1 else LONE_S
    return clip_s, float(time_s[0]), clip_s * len(time_s)


def grids(frame_time_s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """When each video starts and how long it lasts, in s, [B,1] each. Times and mask are [B,T]."""
    count = mask.sum(1, keepdim=True)
    first, last = frame_time_s[:, :1], frame_time_s.gather(1, count - 1)
    clip_s = torch.where(count > 1, (last - first) / (count - 1).clamp(min=1), LONE_S)
    return first, clip_s * count


def to_seconds(span: Tensor, start_s: Tensor, lasts_s: Tensor) -> Tensor:
    """Spans [B,R,2] as starts and ends in s; `start_s` and `lasts_s` are [B,1]."""
    centre, half = span[..., 0], span[..., 1] / 2
    ends = torch.stack([centre - half, centre + half], -1)
    return ends * lasts_s[..., None] + start_s[..., None]


def to_shares(moment: Tensor, start_s: Tensor, lasts_s: Tensor) -> Tensor:
    """Starts and ends in s, […,2], as shares of the video's length."""
    return (moment - start_s[..., None]) / lasts_s[..., None]


def to_spans(ends: Tensor) -> Tensor:
    """Starts and ends […,2] as centre and width."""
    return torch.stack([ends.mean(-1), ends[..., 1] - ends[..., 0]], -1)
