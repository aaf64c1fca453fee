"""From frame scores to a summary: shots, their values, the knapsack, and the other ways to choose frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video
from vsumdata.train.knapsack import knapsack


@dataclass(frozen=True, kw_only=True)
class Shots:
    """Where the shots of one video are: `change_points` closed, int [C,2]; `picks`, the scored frames, int [T].

    `num_shot_frames` [C] is what a data set states (eccv16's `n_frame_per_seg`); None derives it by the protocol.
    """

    change_points: np.ndarray
    picks: np.ndarray
    n_frames: int
    num_shot_frames: np.ndarray | None = None

    def __post_init__(self) -> None:
        points, picks = self.change_points, self.picks
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise ValueError(f"change_points must be [C,2] with C >= 1, got {list(points.shape)}")
        # MR.HiSum's half-open shots end at n_frames.
        if points.min() < 0 or points.max() > self.n_frames or (points[:, 0] > points[:, 1]).any():
            raise ValueError(f"change_points must be ordered pairs within 0 to {self.n_frames}")
        if len(picks) and (picks[0] < 0 or picks[-1] >= self.n_frames or (np.diff(picks) <= 0).any()):
            raise ValueError(f"picks must ascend within 0 to {self.n_frames - 1}")

    def frames(self, protocol: Protocol) -> np.ndarray:
        """How many frames each shot weighs, int64 [C]."""
        if self.num_shot_frames is not None:
            return np.asarray(self.num_shot_frames, np.int64)
        frames = self.change_points[:, 1] - self.change_points[:, 0] + (protocol.shots == "closed")
        return np.asarray(frames, np.int64)


def shots_of(video: Video) -> Shots:
    """The shots of a benchmark's video; ValueError names what its data set does not give."""
    if video.change_points is None or video.n_frames is None:
        raise ValueError(f"{video.video_id}: keyshots need change_points and n_frames")
    picks = np.arange(len(video.frame_time_s)) if video.picks is None else video.picks
    return Shots(change_points=video.change_points, picks=picks, n_frames=video.n_frames)


def full_rate(frame_score: np.ndarray, shots: Shots, protocol: Protocol) -> np.ndarray:
    """Scores of all frames, float32 [n_frames]: each holds from its pick to the next, and 0 before the first."""
    missing = len(shots.picks) - len(frame_score)
    if missing and not (missing == 1 and protocol.missing_score == "zero"):
        raise ValueError(f"{len(frame_score)} scores for {len(shots.picks)} picks")
    scores = np.append(np.asarray(frame_score, np.float32), np.zeros(missing, np.float32))
    held = np.diff(shots.picks, append=shots.n_frames)
    before = shots.picks[0] if len(shots.picks) else shots.n_frames
    return np.concatenate([np.zeros(before, np.float32), np.repeat(scores, held)])


def shot_scores(frame_score: np.ndarray, shots: Shots, protocol: Protocol) -> np.ndarray:
    """What each shot is worth to the knapsack, float64 [C]: the float32 mean of its frames' scores."""
    scores = full_rate(frame_score, shots, protocol)
    after = shots.change_points[:, 1] + (protocol.shots != "half-open")
    bounds = zip(shots.change_points[:, 0].tolist(), after.tolist(), strict=True)
    means = [float(scores[first:stop].mean()) for first, stop in bounds]
    if protocol.shot_value == "int1000":
        return np.trunc(1000 * np.array(means))
    return np.array(means)


def budget_frames(shots: Shots, protocol: Protocol) -> int:
    """How many frames the summary may have."""
    length = shots.n_frames if protocol.budget_of == "frames" else int(shots.change_points[-1, 1]) + 1
    share = length * protocol.budget
    return round(share) if protocol.budget_rounding == "round" else int(share)


def keyshots(frame_score: np.ndarray, shots: Shots, protocol: Protocol) -> np.ndarray:
    """The binary summary, bool; `protocol.summary_length` says how long it is."""
    frames = shots.frames(protocol)
    values = shot_scores(frame_score, shots, protocol)
    chosen = np.zeros(len(frames), bool)
    chosen[knapsack(values, frames, budget_frames(shots, protocol), protocol.knapsack)] = True
    if protocol.summary_length == "shots":
        return np.repeat(chosen, frames)
    length = shots.n_frames if protocol.summary_length == "frames" else int(shots.change_points[-1, 1]) + 1
    summary = np.zeros(length, bool)
    for first, last in shots.change_points[chosen].tolist():
        summary[first : last + (protocol.shots == "closed")] = True
    return summary


def best_frames(frame_score: np.ndarray, count: int) -> np.ndarray:
    """The `count` frames of the highest scores, bool [T]; of equal ones the earlier."""
    chosen = np.zeros(len(frame_score), bool)
    chosen[np.argsort(-np.asarray(frame_score), kind="stable")[:count]] = True
    return chosen


def above_rank(frame_score: np.ndarray, budget: float, in_time: bool = False) -> np.ndarray:
    """Frames that score at least as much as the one of rank int(budget·T), bool [T]: more than the budget, ties kept.

    `in_time` takes that one from the reversed scores as they are, unsorted: VideoXum's released evaluation, which
    sorts along an axis of size 1.
    """
    if not len(frame_score):
        return np.zeros(0, bool)
    descending = frame_score[::-1] if in_time else np.sort(frame_score)[::-1]
    return np.asarray(frame_score >= descending[int(len(frame_score) * budget)])


def summary_from_scores(frame_score: np.ndarray, video: Video, protocol: Protocol) -> np.ndarray:
    """The binary summary of `frame_score` [T], bool: at the original frames' rate for keyshots, else [T].

    Raises ValueError for a number of scores that is not the number of picks, and for a video without shots.
    """
    if protocol.selection == "keyshots":
        return keyshots(frame_score, shots_of(video), protocol)
    if len(frame_score) != len(video.frame_time_s):
        raise ValueError(f"{video.video_id}: {len(frame_score)} scores for {len(video.frame_time_s)} frames")
    if protocol.selection == "top":
        return best_frames(frame_score, int(protocol.budget * len(frame_score)))
    return above_rank(frame_score, protocol.budget, in_time=protocol.selection == "time-threshold")
