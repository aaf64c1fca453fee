"""Shots from how likely a shot ends at each picture of a video, as TransNet V2 tells it.

Facts: `predictions_to_scenes` of soCzech/TransNetV2@570be2b inference/transnetv2.py. There the pictures of a change
belong to no shot; here shots have no gaps, so they belong to the shot before.
"""

from __future__ import annotations

import numpy as np

THRESHOLD = 0.5


def scenes(probability: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Return the first picture of each shot, ascending from 0, int64 [C], of the probabilities of all pictures [P].

    A shot begins after each run of pictures above the threshold. A run at the very start ends no shot.
    """
    ends = probability > threshold
    starts = np.flatnonzero(ends[:-1] & ~ends[1:]) + 1
    return np.concatenate(([0], starts[bool(ends[:1].any()) :])).astype(np.int64)


def shots_of_frames(
    starts: np.ndarray, picture_time_s: np.ndarray, frame_time_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return start and stop, in sampled frames, of the shots that begin at the pictures `starts`: int32 [C] each.

    A frame is in the shot of the picture that it shows. Half-open, covering [0, T) of `frame_time_s` [T >= 1]; a shot
    without a sampled frame vanishes. `picture_time_s` has the times of all pictures [P], in their order.
    """
    # As the table keeps times: a frame's time is then its picture's, to the bit. A clock that jumps back would leave
    # the starts unsorted.
    begin_s = np.maximum.accumulate(picture_time_s.astype(np.float32))[starts]
    shot = np.searchsorted(begin_s, frame_time_s.astype(np.float32), side="right") - 1
    # Before the first picture is shown, it stands for the frames.
    shot = np.maximum.accumulate(np.maximum(shot, 0))
    bounds = np.concatenate(([0], np.flatnonzero(np.diff(shot)) + 1, [len(shot)])).astype(np.int32)
    return bounds[:-1], bounds[1:]
