"""What a video is trained towards: the importance of its frames, and which frames and sentences are in its summary.

    replay     importance: the replay score.   summary: its frames of at least 0.15 (HierSum)
    keyshots   importance: gt_score, or else the replay score.   summary: the shots that a knapsack chooses for 15 %
               of the video, from the scores stretched to 0 and 1 (A2Summ, DSNet)
    given      both as the data set has them; where it has one only, that makes the other

A sentence is in the summary if a frame within its time is, unless the data set says so itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np

from vsumdata.datasets import reference
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.video import Video
from vsumdata.train.keyshots import keyshots, shots_of

Rule = Literal["replay", "keyshots", "given"]

DEFAULT_RULES: dict[str, Rule] = {
    "tvsum": "keyshots",
    "summe": "keyshots",
    "mrhisum": "replay",  # its gt_score is the replay score
    "bliss": "given",
    "wikihow-summaries": "given",
    "shards": "replay",
    "synthetic": "given",
}
LEAST_REPLAY = 0.15
MAJORITY = 0.5  # a score that is a share of chosen frames (wikihow-summaries)
MOST_POSITIVE = 0.6
KEYSHOTS = PROTOCOLS["a2summ"]


def default_rule(data_set: str) -> Rule:
    """What suits a data set of `vsumdata.train.benchmark.DATASETS`."""
    return DEFAULT_RULES[data_set]


def lacks_target(video: Video, rule: Rule) -> str | None:
    """Why a video has no target under this rule; None where it has one."""
    if not len(video.frame_time_s):
        return "no frames"
    score = _score(video, rule)
    if score is None:
        return "no replay score" if rule == "replay" else "no importance (gt_score)"
    if not np.isfinite(score).all():
        return "scores that are not finite"
    if rule == "replay" and (score.min() < 0 or score.max() > 1):
        return "scores outside 0 to 1, so they are no replay"
    if rule == "keyshots":
        return _lacks_keyshots(video, score)
    return None


def _lacks_keyshots(video: Video, score: np.ndarray) -> str | None:
    if score.min() == score.max():
        return "the same score throughout"
    if video.change_points is None or video.n_frames is None:
        return reference.lacks(video)
    return None


def with_targets(video: Video, rule: Rule) -> Video:
    """`video` with gt_score in [0,1], gt_summary, and sentence_label where its sentences have features.

    Scores that are not within 0 and 1 are stretched to them. Raises ValueError where `lacks_target` gives a reason.
    """
    why, score = lacks_target(video, rule), _score(video, rule)
    if why or score is None:
        raise ValueError(f"{video.video_id} has {why}")
    summary = _summary(video, rule, score)
    label = None
    if video.sentence_feature is not None:
        given = video.sentence_label if rule == "given" else None
        label = sentence_label(video, summary) if given is None else given
    return replace(video, gt_score=_within_unit(score), gt_summary=summary, sentence_label=label)


def sentence_label(video: Video, summary: np.ndarray) -> np.ndarray:
    """1 for each sentence during which a frame of `summary` [T] comes, uint8 [M]."""
    start, end = video.sentence_span.T[:, None]
    time_s = video.frame_time_s[:, None]
    covers = (start <= time_s) & (time_s < end)
    return np.asarray((covers & (summary[:, None] > 0)).any(0), np.uint8)


def positive_rate(videos: Iterable[Video]) -> float:
    """The share of frames that are in the summary, over all videos with targets; 0 without any."""
    counts = [(int(video.gt_summary.sum()), len(video.gt_summary)) for video in videos if video.gt_summary is not None]
    positives, frames = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return positives / max(frames, 1)


def rate_warning(rate: float) -> str | None:
    """What to tell a person whose labels hardly distinguish frames."""
    if rate <= MOST_POSITIVE:
        return None
    return f"{rate:.0%} of the frames are labelled as summary; labels=keyshots chooses 15 % of each video"


def _score(video: Video, rule: Rule) -> np.ndarray | None:
    """The importance that the rule begins with, [T]."""
    candidates = {
        "replay": (video.replay_score, video.gt_score),
        "keyshots": (video.gt_score, video.replay_score),
        "given": (video.gt_score, video.gt_summary),
    }[rule]
    found = next((score for score in candidates if score is not None), None)
    return None if found is None else np.asarray(found, np.float32)


def _summary(video: Video, rule: Rule, score: np.ndarray) -> np.ndarray:
    """Which frames are positive, uint8 [T]."""
    if rule == "given" and video.gt_summary is not None:
        return np.asarray(video.gt_summary > 0, np.uint8)
    if rule == "keyshots":
        if video.change_points is None or video.n_frames is None:
            video = reference.with_reference(replace(video, user_summary=None))
        shots = shots_of(video)
        return np.asarray(keyshots(_stretched(score), shots, KEYSHOTS)[shots.picks], np.uint8)
    return np.asarray(score >= (LEAST_REPLAY if rule == "replay" else MAJORITY), np.uint8)


def _within_unit(score: np.ndarray) -> np.ndarray:
    return score if score.min() >= 0 and score.max() <= 1 else _stretched(score)


def _stretched(score: np.ndarray) -> np.ndarray:
    """From 0 to 1; a constant one becomes 0."""
    span = float(np.ptp(score))
    return (score - score.min()) / span if span else np.zeros_like(score)
