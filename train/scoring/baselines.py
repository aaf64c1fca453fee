"""Baselines that every benchmark table shows: chance, uniform sampling and people.

A baseline yields the trials of one video: each a prediction, and the video that it is scored against. The baseline's
value for the video is the mean over its trials. No trial means that the video's annotations do not allow the baseline.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vsumdata.datasets.keyshots import num_of_users
from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.video import Video
from vsumdata.train.scoring.evaluate import Words
from vsumdata.train.scoring.metrics_moments import MOST_WINDOWS


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One prediction for `video`: scores of its frames [T] and sentences [M].

    `summary`, bool [n_frames], replaces the summary that the protocol would make from the scores. `words` is the
    predicted text, of methods that write one. `moments` [P,3] are start and end in s and score of proposed moments, the
    best first; there may be no scores of frames beside them.
    """

    video: Video
    frame_score: np.ndarray
    sentence_score: np.ndarray | None = None
    summary: np.ndarray | None = None
    words: Words | None = None
    moments: np.ndarray | None = None


Baseline = Callable[[Video, Protocol, int], Iterator[Trial]]


def random(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """Scores drawn uniformly from [0, 1), and moments whose ends are. They depend on the seed and the video's id only.

    Moments are drawn for videos that have some, as many as count.
    """
    # Python's own `hash` of a string differs in every process.
    rng = np.random.default_rng([seed, zlib.crc32(video.video_id.encode())])
    yield Trial(
        video=video,
        frame_score=rng.random(len(video.frame_time_s)),
        sentence_score=rng.random(len(video.sentence)) if video.sentence else None,
        moments=None if video.moment is None else random_moments(rng, video),
    )


def random_moments(rng: np.random.Generator, video: Video) -> np.ndarray:
    """Moments anywhere in the video, [MOST_WINDOWS,3]."""
    ends = np.sort(rng.random((MOST_WINDOWS, 2)), axis=1) * (video.duration_s or float(video.frame_time_s[-1]))
    return np.column_stack([ends, np.linspace(1, 0, MOST_WINDOWS)])


def uniform(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """1 for equally spaced frames and sentences, as many as the protocol chooses (at least one); 0 for the others."""
    share = protocol.budget
    # More ones than are chosen would not be spread: of equal scores the first are chosen.
    if protocol.selection == "as-users" and video.user_summary is not None:
        share = num_of_users(video) / len(video.frame_time_s)
    yield Trial(
        video=video,
        frame_score=evenly(len(video.frame_time_s), share),
        sentence_score=evenly(len(video.sentence), protocol.budget) if video.sentence else None,
    )


def evenly(num: int, share: float) -> np.ndarray:
    """[num] zeros with a `share` of ones, each at the centre of a piece; all pieces are equally long."""
    chosen = max(1, round(num * share))
    score = np.zeros(num)
    score[((np.arange(chosen) + 0.5) * num / chosen).astype(int)] = 1
    return score


def human(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """Each user's own scores and summary against all other users. Yields nothing if there is only one user."""
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
                # Both are made from all users, this one included. Where that is the reference itself, it stays.
                gt_score=None,
                gt_summary=video.gt_summary if protocol.summary_reference == "oracle" else None,
            ),
            frame_score=scores[user] if scores is not None else at_picks(summaries[user], video),  # type: ignore[index]
            summary=None if summaries is None else summaries[user].astype(bool),
        )


def mean_user(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
    """The mean of all users, against each of them; or the mean that the data set gives.

    This is a ceiling, not a competitor: it is scored against annotations that it contains. Yields nothing where users
    chose single frames: these hardly ever coincide, so their mean is no ranking.
    """
    if protocol.selection == "as-users":
        return
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
    """The values of the T picked frames, from values of all original frames: [T]."""
    # Some users' summaries end a few frames before the video does: the missing frames are not in the summary.
    picks = np.arange(len(video.frame_time_s)) if video.picks is None else video.picks
    missing = max(0, int(picks[-1]) + 1 - len(summary))
    return np.pad(summary.astype(np.float64), (0, missing))[picks]


BASELINES: Mapping[str, Baseline] = {"random": random, "uniform": uniform, "human": human, "mean-user": mean_user}
# Only these depend on the seed. The others are measured once for all seeds.
SEEDED = frozenset({"random"})
