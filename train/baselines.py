"""What every benchmark table shows beside the methods: chance, a summary that looks at nothing, and people.

A baseline gives the trials of one video: a prediction, and the video as it is scored against. Its value for the
video is the mean over the trials; no trial means that the video's annotations do not allow it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    video: Video
    frame_score: np.ndarray  # [T]
    sentence_score: np.ndarray | None = None  # [M]
    summary: np.ndarray | None = None  # bool [n_frames], where the summary is given rather than made of the scores


Baseline = Callable[[Video, Protocol, int], Iterator[Trial]]


def random(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """Uniformly drawn scores, which depend on the seed and the video's id only."""
    rng = np.random.default_rng([seed, zlib.crc32(video.video_id.encode())])
    yield Trial(
        video=video,
        frame_score=rng.random(len(video.frame_time_s)),
        sentence_score=rng.random(len(video.sentence)) if video.sentence else None,
    )


def uniform(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """1 for frames and sentences at equal distances, as many as the budget allows (at least one), else 0."""
    yield Trial(
        video=video,
        frame_score=evenly(len(video.frame_time_s), protocol.budget),
        sentence_score=evenly(len(video.sentence), protocol.budget) if video.sentence else None,
    )


def evenly(num: int, share: float) -> np.ndarray:
    """`share` of `num` places, at the centres of pieces of equal length, are 1: [num]."""
    chosen = max(1, round(num * share))
    score = np.zeros(num)
    score[((np.arange(chosen) + 0.5) * num / chosen).astype(int)] = 1
    return score


def human(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """Each user's own scores and summary against all other users; it takes two."""
    scores, summaries = video.user_score, video.user_summary
    count = len(scores) if scores is not None else len(summaries) if summaries is not None else 0
    if count < 2:
        return
    for user in range(count):
        others = np.arange(count) != user
        yield Trial(
            video=replace(
                video,
                user_score=None if scores is None else scores[others],
                user_summary=None if summaries is None else summaries[others],
                gt_score=None,  # the user is in it
                gt_summary=None,
            ),
            frame_score=scores[user] if scores is not None else at_picks(summaries[user], video),  # type: ignore[index]
            summary=None if summaries is None else summaries[user].astype(bool),
        )


def mean_user(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """The mean of all users against each of them; of a data set that gives only the mean, that mean.

    A ceiling, not a rival: what it is scored against is in it.
    """
    if video.user_score is not None:
        mean = video.user_score.mean(axis=0)
    elif video.gt_score is not None:
        mean = video.gt_score
    elif video.user_summary is not None:
        mean = at_picks(video.user_summary.mean(axis=0), video)
    elif video.gt_summary is not None:
        mean = video.gt_summary
    else:
        return
    label = video.sentence_label
    yield Trial(
        video=video,
        frame_score=np.asarray(mean, np.float64),
        sentence_score=None if label is None else label.astype(np.float64),
    )


def at_picks(summary: np.ndarray, video: Video) -> np.ndarray:
    """Of values for all original frames those of the T frames: [T]; zero where the users' summaries end early."""
    picks = np.arange(len(video.frame_time_s)) if video.picks is None else video.picks
    missing = max(0, int(picks[-1]) + 1 - len(summary))
    return np.pad(summary.astype(np.float64), (0, missing))[picks]


BASELINES: Mapping[str, Baseline] = {"random": random, "uniform": uniform, "human": human, "mean-user": mean_user}
SEEDED = frozenset({"random"})  # the others say the same for every seed
