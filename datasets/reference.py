"""Make a reference summary for our own videos, so they can be scored and exported like a benchmark's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video


def lacks(video: Video) -> str | None:
    """What a video lacks for a reference; None if it lacks nothing."""
    if video.gt_score is None and video.replay_score is None:
        return "no importance (replay_score)"
    if video.shot_start is None or video.shot_stop is None or not len(video.shot_start):
        return "no shots"
    return None


def with_reference(video: Video, step: int = 1) -> Video:
    """`video` with gt_score, change_points, picks, n_frames and one user_summary, like a benchmark's video.

    The importance is the replay score. The summary is the knapsack's choice of shots under protocol `tvsum`: 15 % of
    the frames. `step` original frames count for each frame that has a feature. A video that has a user_summary is
    returned as it is. Raises ValueError if `lacks` gives a reason.
    """
    if video.user_summary is not None:
        return video
    why = lacks(video)
    score = video.replay_score if video.gt_score is None else video.gt_score
    if why or score is None or video.shot_start is None or video.shot_stop is None:
        raise ValueError(f"{video.video_id} has {why}")
    from vsumdata.datasets.keyshots import summary_from_scores

    num_frames = len(video.frame_time_s)
    shots = np.stack([video.shot_start, video.shot_stop], axis=1).astype(np.int64) * step
    # Our shots are half-open, a benchmark's change_points are closed.
    shots[:, 1] -= 1
    found = replace(
        video,
        gt_score=score,
        change_points=shots,
        picks=np.arange(num_frames) * step,
        n_frames=num_frames * step,
    )
    summary = summary_from_scores(score, found, protocol("tvsum"))
    return replace(found, user_summary=summary[None], gt_summary=summary[::step].astype(np.uint8))


def replay_score(num_frames: int, heatmap: Sequence[Mapping[str, float]] | None, fps: float = 1.0) -> np.ndarray | None:
    """The heatmap's value at the seconds k / fps, for k = 0 … T-1: float32 [T] in 0 to 1; None without a heatmap.

    A second before the first bin or after the last takes the nearest bin's value. A second in a gap takes the bin
    before it.
    """
    if not heatmap:
        return None
    # A list of one's own may give the bins in any order; searchsorted needs them by time.
    bins = sorted(heatmap, key=lambda mark: mark["start_s"])
    start_s = np.array([mark["start_s"] for mark in bins])
    value = np.array([mark["value"] for mark in bins], np.float32)
    # Only the starts of the bins count: YouTube's last bin can end up to a second after the video.
    holder = np.searchsorted(start_s, np.arange(num_frames) / fps, side="right") - 1
    return value[np.clip(holder, 0, None)]
