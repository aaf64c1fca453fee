"""Find leaks between the parts of a fold: one video, one task, or nearly the same pictures in two parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vsumdata.datasets.splits import Fold, normalise
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

# Two videos are near-duplicates if their mean features have at least this cosine and their lengths differ by at most
# this share. Re-encoding moves a mean by far less; two videos of one kind differ by more. Chosen, not fitted: no
# benchmark's features were at hand. `crossings` takes other values.
SAME_COSINE = 0.995
# The same of the means less the mean of all videos. Features share a large common part: independent random ones in
# [0, 1] have a cosine of .999, and their centred means one of about 0. Of 8 dimensions one pair in 30,000 reaches .95.
SAME_CENTRED = 0.95
LEAST_TO_CENTRE = 3  # two videos less their mean are always opposite
SAME_DURATION = 0.02  # relative
SHOWN = 5  # crossings that a message names


@dataclass(frozen=True)
class Crossing:
    """Two videos, or one, in two parts of the fold `label`. `what` is "video", "task" or "near-duplicate"."""

    what: str
    first: str
    second: str
    label: str

    def __str__(self) -> str:
        which = self.first if self.first == self.second else f"{self.first} and {self.second}"
        return f"{self.what} {which} ({self.label})" if self.label else f"{self.what} {which}"


def check(folds: Sequence[Fold], videos: Iterable[Video], *, cosine: float = SAME_COSINE) -> None:
    """Raise UsageError that names the first crossings, if there are any; see `crossings`."""
    found = list(crossings(folds, videos, cosine=cosine))
    if found:
        shown = "; ".join(map(str, found[:SHOWN]))
        raise UsageError(f"{len(found)} crossings between training, validation and test videos: {shown}")


def crossings(
    folds: Sequence[Fold], videos: Iterable[Video], *, cosine: float = SAME_COSINE, duration: float = SAME_DURATION
) -> Iterator[Crossing]:
    """Every pair of videos that is in two parts of one fold but must not be.

    `videos` are read once and not kept. A legacy fold validates on its test videos, so only its training videos can
    cross. Videos without features (D = 0) are never near-duplicates. Raises UsageError if a fold names a video that is
    not among `videos`.
    """
    # Mean and length only: the features of a whole data set (Mr. HiSum: 26 GB) do not fit into memory.
    known = [_Known.of(video) for video in videos]
    # Two data sets may hold one video, under two ids and one url.
    pairs = [
        *_alike("video", {each.video_id: each.url for each in known}),
        *_alike("task", {each.video_id: each.task for each in known}),
        *_near(known, cosine, duration),
    ]
    ids = {video.video_id for video in known}
    for fold in folds:
        parts = {"train": fold.train, "test": fold.test} | ({} if fold.legacy else {"val": fold.val})
        unknown = sorted(set().union(*parts.values()) - ids)
        if unknown:
            raise UsageError(f"{fold.label or 'a fold'} names {unknown[0]}, which is not among the {len(ids)} videos")
        for one, other in combinations(parts.values(), 2):
            yield from (Crossing("video", both, both, fold.label) for both in sorted(set(one) & set(other)))
        where = {video_id: part for part, its in parts.items() for video_id in its}
        for what, first, second in pairs:
            if first in where and second in where and where[first] != where[second]:
                yield Crossing(what, first, second, fold.label)


@dataclass(frozen=True, eq=False)
class _Known:
    """What the search needs of a video. `mean` is that of its features, None without features or if it is 0."""

    video_id: str
    task: str
    url: str
    duration_s: float
    mean: np.ndarray | None

    @classmethod
    def of(cls, video: Video) -> _Known:
        mean = video.frame_feature.mean(0, dtype=np.float64) if video.frame_feature.size else np.zeros(0)
        last = float(video.frame_time_s[-1]) if len(video.frame_time_s) else 0.0
        known = mean.astype(np.float32) if mean.any() else None
        return cls(video.video_id, normalise(video.task or ""), video.url or "", video.duration_s or last, known)


Pair = tuple[str, str, str]


def _alike(what: str, values: Mapping[str, str]) -> Iterator[Pair]:
    """Pairs of videos that have the same value; "" is none."""
    found: dict[str, list[str]] = {}
    for video_id, value in values.items():
        if value:
            found.setdefault(value, []).append(video_id)
    for same in found.values():
        yield from ((what, first, second) for first, second in combinations(same, 2))


def _near(known: Sequence[_Known], cosine: float, duration: float) -> Iterator[Pair]:
    """Pairs of nearly the same pictures among videos of about the same length."""
    # Sorted by length, so each video is compared with its neighbours only and not with all n.
    seen = sorted((video for video in known if video.mean is not None), key=lambda video: video.duration_s)
    # Videos of several data sets may have features of several sizes, which have no cosine.
    for size in sorted({len(video.mean) for video in seen if video.mean is not None}):
        same = [video for video in seen if video.mean is not None and len(video.mean) == size]
        means = np.stack([video.mean for video in same if video.mean is not None])
        directions, centred = _unit(means), _unit(means - means.mean(0, dtype=np.float64).astype(np.float32))
        lasts = np.array([video.duration_s for video in same])
        stops = np.searchsorted(lasts, lasts * (1 + duration), side="right")
        for at, stop in enumerate(stops.tolist()):
            alike = directions[at + 1 : stop] @ directions[at] >= cosine
            if len(same) >= LEAST_TO_CENTRE:
                own, others = centred[at], centred[at + 1 : stop]
                # A video that is the mean itself has no direction: it is like those that are the mean as well.
                alike &= (others @ own >= SAME_CENTRED) | ~(own.any() | others.any(1))
            for to in np.flatnonzero(alike).tolist():
                yield ("near-duplicate", same[at].video_id, same[at + 1 + to].video_id)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of no length beside its own rounding stays 0."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-6 * float(np.abs(rows).max(initial=0)), rows / np.where(length > 0, length, 1), 0)
