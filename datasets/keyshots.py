"""Make a summary from frame scores: by shots and the knapsack, or by choosing single frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsumdata.datasets.knapsack import knapsack
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video


@dataclass(frozen=True, kw_only=True)
class Shots:
    """The shots of one video: `change_points` int [C,2], and `picks` int [T], the original frame of each score.

    The protocol says whether `change_points` are closed. `num_shot_frames` [C] are the lengths that a data set states
    (eccv16's `n_frame_per_seg`); None derives them from `change_points`. Raises ValueError for shots or picks that
    are out of order or outside the video.
    """

    change_points: np.ndarray
    picks: np.ndarray
    n_frames: int
    num_shot_frames: np.ndarray | None = None

    def __post_init__(self) -> None:
        points, picks = self.change_points, self.picks
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ValueError(f"change_points must be [C,2] with C >= 1, got {list(points.shape)}")
        # A last frame of n_frames is allowed: MR.HiSum's half-open shots end there.
        if points.min() < 0 or points.max() > self.n_frames or (points[:, 0] > points[:, 1]).any():
            raise ValueError(f"change_points must be ordered pairs within 0 to {self.n_frames}")
        if len(picks) and (picks[0] < 0 or picks[-1] >= self.n_frames or (np.diff(picks) <= 0).any()):
            raise ValueError(f"picks must ascend within 0 to {self.n_frames - 1}")

    def frames(self, protocol: Protocol) -> np.ndarray:
        """The weight of each shot in the knapsack, in frames: int64 [C]."""
        if self.num_shot_frames is not None:
            return np.asarray(self.num_shot_frames, np.int64)
        frames = self.change_points[:, 1] - self.change_points[:, 0] + (protocol.shots == "closed")
        if protocol.shots == "sd-mvsum":
            frames[-1] += 1
        return np.asarray(frames, np.int64)


def shots_of(video: Video) -> Shots:
    """The shots of a benchmark's video. Raises ValueError if it has no `change_points` or `n_frames`."""
    if video.change_points is None or video.n_frames is None:
        raise ValueError(f"{video.video_id}: keyshots need change_points and n_frames")
    picks = np.arange(len(video.frame_time_s)) if video.picks is None else video.picks
    return Shots(change_points=video.change_points, picks=picks, n_frames=video.n_frames)


def full_rate(frame_score: np.ndarray, shots: Shots, protocol: Protocol) -> np.ndarray:
    """The score of each original frame, float32 [n_frames]: a score holds until the next pick; 0 before the first.

    Raises ValueError for another number of scores than picks, except where the protocol fills in a last one.
    """
    # VASNet's and PGL-SUM's code append a 0 when the last pick has no score; DSNet's fails.
    missing = len(shots.picks) - len(frame_score)
    if missing and not (missing == 1 and protocol.missing_score == "zero"):
        raise ValueError(f"{len(frame_score)} scores for {len(shots.picks)} picks")
    # float32 as in the official code: the knapsack breaks ties by values, which must round alike.
    scores = np.append(np.asarray(frame_score, np.float32), np.zeros(missing, np.float32))
    held = np.diff(shots.picks, append=shots.n_frames)
    before = shots.picks[0] if len(shots.picks) else shots.n_frames
    return np.concatenate([np.zeros(before, np.float32), np.repeat(scores, held)])


def shot_scores(frame_score: np.ndarray, shots: Shots, protocol: Protocol) -> np.ndarray:
    """The value of each shot in the knapsack, float64 [C]: the float32 mean of its frames' scores."""
    scores = full_rate(frame_score, shots, protocol)
    # MR.HiSum's and SD-MVSum's code weigh b - a frames, but take the mean over a to b: a frame of the next shot counts.
    after = shots.change_points[:, 1] + (protocol.shots != "half-open")
    bounds = zip(shots.change_points[:, 0].tolist(), after.tolist(), strict=True)
    means = [float(scores[first:stop].mean()) for first, stop in bounds]
    # float first: numpy 2 computes 1000 * float32 in float32, numpy 1 in float64, and the integers differ.
    if protocol.shot_value == "int1000":
        return np.trunc(1000 * np.array(means))
    return np.array(means)


def budget_frames(shots: Shots, protocol: Protocol) -> int:
    """The largest number of frames that the summary may have."""
    # PGL-SUM's code takes the end of the last shot for the length; shots may end before the video does.
    length = shots.n_frames if protocol.budget_of == "frames" else int(shots.change_points[-1, 1]) + 1
    share = length * protocol.budget
    return round(share) if protocol.budget_rounding == "round" else int(share)


def keyshots(frame_score: np.ndarray, shots: Shots, protocol: Protocol) -> np.ndarray:
    """The summary by shots, bool, True where a frame is chosen. `protocol.summary_length` decides its length."""
    frames = shots.frames(protocol)
    values = shot_scores(frame_score, shots, protocol)
    chosen = np.zeros(len(frames), bool)
    chosen[knapsack(values, frames, budget_frames(shots, protocol), protocol.knapsack)] = True
    # As VASNet's code joins it: gaps between shots are lost, so the summary may be shorter than the video.
    if protocol.summary_length == "shots":
        return np.repeat(chosen, frames)
    length = shots.n_frames if protocol.summary_length == "frames" else int(shots.change_points[-1, 1]) + 1
    summary = np.zeros(length, bool)
    for first, last in shots.change_points[chosen].tolist():
        summary[first : last + (protocol.shots == "closed")] = True
    return summary


def best_frames(frame_score: np.ndarray, count: int) -> np.ndarray:
    """The `count` frames with the highest scores, bool [T]. Of equal scores the earlier frame is chosen."""
    chosen = np.zeros(len(frame_score), bool)
    # Only a stable sort keeps equal scores in order; numpy's default sort does not. As floats: the negative of an
    # unsigned 1, as of a data set's own summary, is 255.
    chosen[np.argsort(-np.asarray(frame_score, np.float64), kind="stable")[:count]] = True
    return chosen


def above_rank(frame_score: np.ndarray, budget: float, in_time: bool = False) -> np.ndarray:
    """The frames that score at least as much as the one of rank int(budget·T), counted from 0: bool [T].

    So at least one frame more than the budget is chosen, and all frames of equal score. `in_time` leaves the scores
    unsorted: the threshold is then the score at a fixed position in time.
    """
    if not len(frame_score):
        return np.zeros(0, bool)
    # VideoXum's released evaluation sorts [B,T,1] along the last axis, of size 1, and so sorts nothing.
    descending = frame_score[::-1] if in_time else np.sort(frame_score)[::-1]
    return np.asarray(frame_score >= descending[int(len(frame_score) * budget)])


def num_of_users(video: Video) -> int:
    """How many frames the users of `video` choose on average, rounded, but at least one. ValueError without users."""
    if video.user_summary is None or not len(video.user_summary):
        raise ValueError(f"{video.video_id}: the number of key frames is that of its users, and it has no user_summary")
    return max(1, round(float((video.user_summary > 0).sum(1).mean())))


def summary_from_scores(frame_score: np.ndarray, video: Video, protocol: Protocol) -> np.ndarray:
    """The summary that `protocol` makes of `frame_score` [T], bool: one value an original frame for keyshots, else [T].

    Raises ValueError if the number of scores does not fit the video, or keyshots lack shots.
    """
    if protocol.selection == "keyshots":
        return keyshots(frame_score, shots_of(video), protocol)
    if len(frame_score) != len(video.frame_time_s):
        raise ValueError(f"{video.video_id}: {len(frame_score)} scores for {len(video.frame_time_s)} frames")
    if protocol.selection == "top":
        return best_frames(frame_score, int(protocol.budget * len(frame_score)))
    if protocol.selection == "as-users":
        return best_frames(frame_score, num_of_users(video))
    return above_rank(frame_score, protocol.budget, in_time=protocol.selection == "time-threshold")
