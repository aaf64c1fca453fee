"""A reference summary for our own videos, so that they can be scored, and exported, like a benchmark's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video


def lacks(video: Video) -> str | None:
    """Why no reference can be made of a video; None where it can."""
    if video.gt_score is None and video.replay_score is None:
        return "no importance (replay_score)"
    if video.shot_start is None or video.shot_stop is None or not len(video.shot_start):
        return "no shots"
    return None


def with_reference(video: Video, step: int = 1) -> Video:
    """`video` with gt_score, change_points, picks, n_frames and one user_summary, as if of a benchmark.

    The importance is the replay score; the summary is the knapsack's over the video's shots (protocol `tvsum`: 15 %
    of the frames). `step` original frames are counted for each frame that has a feature. A video that has a
    user_summary already is returned as it is. Raises ValueError where `lacks` gives a reason.
    """
    if video.user_summary is not None:
        return video
    why = lacks(video)
    score = video.replay_score if video.gt_score is None else video.gt_score
    if why or score is None or video.shot_start is None or video.shot_stop is None:
        raise ValueError(f"{video.video_id} has {why}")
    from vsumdata.train.keyshots import summary_from_scores

    num_frames = len(video.frame_time_s)
    shots = np.stack([video.shot_start, video.shot_stop], axis=1).astype(np.int64) * step
    shots[:, 1] -= 1  # change_points are closed
    found = replace(
        video,
        gt_score=score,
        change_points=shots,
        picks=np.arange(num_frames) * step,
        n_frames=num_frames * step,
    )
    summary = summary_from_scores(score, found, protocol("tvsum"))
    return replace(found, user_summary=summary[None], gt_summary=summary[::step].astype(np.uint8))
