"""Find videos that show the same pictures in the same order: whole, mirrored, cropped, faster or slower, or a cut.

What is compared is the course of the frames' features in time. A crop, a mirrored picture or a logo moves all features
of a video alike, and the correlation along a line `j = slope · i + offset` does not see it. Letters: T frames, one a
second; K components.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vsumdata.manifests.errors import UsageError

# Of 512 components of CLIP these hold nearly all of what differs between frames, in an eighth of the memory.
COMPONENTS = 64
# Frames that the components are found from, a few of each of the first videos.
FITTED_FRAMES, FITTED_OF_EACH = 20_000, 16
# A frame whose cosine with the last key moment is lower is one itself.
KEY_COSINE = 0.9
MOST_INDEXED, MOST_ASKED = 64, 16  # key moments of a video
NEIGHBOURS = 24
# Key moments that look alike; strangers' nearest ones are below it mostly.
ALIKE = 0.5
# So many vectors are compared one by one; more are kept in lists, of which the nearest are looked into.
MOST_FLAT, LISTS_LOOKED_INTO = 50_000, 32
TRAINED_ON = 10_000  # videos whose key moments the lists are found from
ASKED_AT_ONCE = 20_000  # videos' key moments
SPEEDS = np.round(np.arange(0.88, 1.141, 0.02), 2)
LINES = 3  # of a pair of videos that are looked at
# The moments on a line that make it worth a look: of few moments two, else more, as strangers have two by chance.
FEWEST_VOTES, VOTES = 2, 0.25
SLACK_S = 3  # how far the ends of two videos of one length may lie apart, and how exactly a line is known at first
LEAST_SHARED = 0.8  # of the shorter video, along a line
# With few changes the best of all lines fits by chance: in the sample's films a cut of 12 s with two changes correlates
# .91 with a stranger, whole films at most .80.
FEWEST_CHANGES, MANY_CHANGES = 2, 8
CUT_WITH_FEW_CHANGES, CUT = 0.95, 0.05
# Below it, one title and one length tell nothing.
DIFFERENT = 0.5
# A line that is not exactly the right one has at least this, and only such a one is looked at more closely.
NEAR = 0.4


class Match(NamedTuple):
    """Two videos, the shorter one first, and the correlation of their frames along the best line."""

    first: str
    second: str
    correlation: float


def faiss() -> Any:
    """The library of near neighbours. Raises UsageError where it is not installed."""
    try:
        import faiss as found
    except ImportError as error:
        raise UsageError("near neighbours are found by faiss: pip install 'vsumdata[labels]'") from error
    return found


@dataclass
class Courses:
    """The courses of many videos: on disk, with an index of their key moments in memory."""

    path: Path
    fps: float
    threads: int = 1
    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # first frame of each in the file, and the end of the last one
    moments: list[np.ndarray] = field(default_factory=list)  # of each video: the frames
    number: dict[str, int] = field(default_factory=dict)
    mean: np.ndarray | None = None
    components: np.ndarray | None = None

    def fit(self, features: Iterable[np.ndarray]) -> bool:
        """Find mean and components from the frames of some videos; False if there is none."""
        found: list[np.ndarray] = []
        for feature in features:
            found.append(feature[np.linspace(0, len(feature) - 1, FITTED_OF_EACH).astype(int)])
            if sum(map(len, found)) >= FITTED_FRAMES:
                break
        if not found:
            return False
        frames = np.concatenate(found).astype(np.float32)
        self.mean = frames.mean(0)
        # Of the covariance, largest last.
        _, vectors = np.linalg.eigh(np.cov(frames.T, bias=True))
        self.components = vectors[:, ::-1][:, :COMPONENTS].astype(np.float32)
        self.starts = [0]
        self.path.write_bytes(b"")
        return True

    def add(self, name: str, feature: np.ndarray) -> None:
        """Take the frames [T,D] of one video."""
        assert self.mean is not None
        assert self.components is not None
        seconds = feature[:: max(1, round(self.fps))].astype(np.float32)
        course = unit((seconds - self.mean) @ self.components)
        with self.path.open("ab") as file:
            course.astype(np.float16).tofile(file)
        self.number[name] = len(self.names)
        self.names.append(name)
        self.starts.append(self.starts[-1] + len(course))
        self.moments.append(key_moments(course))

    def course(self, at: int) -> np.ndarray:
        """The course of video number `at`: float32 [T,K]."""
        assert self.components is not None
        width = self.components.shape[1]
        first, stop = self.starts[at], self.starts[at + 1]
        return (
            np.fromfile(self.path, np.float16, (stop - first) * width, offset=first * width * 2)
            .reshape(-1, width)
            .astype(np.float32)
        )

    def matches(self, least: float) -> Iterator[Match]:
        """Yield each pair of videos that have a line with this correlation; cuts of a video need more, see `needed`."""
        seen: set[tuple[int, int]] = set()
        for one, other, lines in self.candidates():
            # The shorter one is laid along the longer one.
            if self.starts[one + 1] - self.starts[one] > self.starts[other + 1] - self.starts[other]:
                one, other, lines = other, one, [(1 / slope, -offset / slope) for slope, offset in lines]
            if (one, other) in seen:
                continue
            first, second = self.course(one), self.course(other)
            correlation, is_cut = best_line(first, second, lines)
            if correlation >= needed(least, len(self.moments[one]) - 1, is_cut):
                seen.add((one, other))
                yield Match(self.names[one], self.names[other], correlation)

    def differ(self, first: str, second: str) -> bool:
        """Whether two videos of about one length show different pictures; False where their pictures cannot tell."""
        if not {first, second} <= self.number.keys():
            return False
        one, other = self.number[first], self.number[second]
        if min(len(self.moments[one]), len(self.moments[other])) <= FEWEST_CHANGES:
            return False
        return best_line(self.course(one), self.course(other), [(1.0, 0.0)])[0] < DIFFERENT

    def candidates(self) -> Iterator[tuple[int, int, list[tuple[float, float]]]]:
        """Yield pairs of videos with similar key moments, and lines (slope, offset) that most of these lie on."""
        owners = np.repeat(np.arange(len(self.names)), [min(len(each), MOST_INDEXED) for each in self.moments])
        times = np.concatenate([thinned(each, MOST_INDEXED) for each in self.moments])
        index = self.index(owners, times)
        for first in range(0, len(self.names), ASKED_AT_ONCE):
            asking = range(first, min(first + ASKED_AT_ONCE, len(self.names)))
            asked = [thinned(self.moments[at], MOST_ASKED) for at in asking]
            vectors = np.concatenate([self.course(at)[moments] for at, moments in zip(asking, asked, strict=True)])
            cosine, found = index.search(vectors, NEIGHBOURS)
            # A vote: a moment of one video that looks like a moment of another one.
            one = np.repeat(np.repeat(np.asarray(asking), [len(each) for each in asked]), NEIGHBOURS)
            at_s = np.repeat(np.concatenate(asked), NEIGHBOURS)
            hit = found.ravel()
            is_vote = (hit >= 0) & (owners[hit] != one) & (cosine.ravel() >= ALIKE)
            one, at_s, hit = one[is_vote], at_s[is_vote], hit[is_vote]
            order = np.lexsort((owners[hit], one))
            one, at_s, other, to_s = one[order], at_s[order], owners[hit][order], times[hit][order]
            edges = np.concatenate([[0], np.flatnonzero(np.diff(one) | np.diff(other)) + 1, [len(one)]])
            for at in np.flatnonzero(np.diff(edges) >= FEWEST_VOTES):
                votes = slice(edges[at], edges[at + 1])
                least = max(FEWEST_VOTES, VOTES * min(len(self.moments[one[edges[at]]]), MOST_ASKED))
                if lines := voted(at_s[votes], to_s[votes], least):
                    yield int(one[edges[at]]), int(other[edges[at]]), lines

    def index(self, owners: np.ndarray, times: np.ndarray) -> Any:
        """faiss's index of the key moments."""
        library = faiss()
        library.omp_set_num_threads(self.threads)
        assert self.components is not None
        width, number = self.components.shape[1], len(owners)
        index: Any = library.IndexFlatIP(width)
        if number > MOST_FLAT:
            lists = int(4 * np.sqrt(number))
            index = library.IndexIVFScalarQuantizer(
                index, width, lists, library.ScalarQuantizer.QT_fp16, library.METRIC_INNER_PRODUCT
            )
            index.nprobe = LISTS_LOOKED_INTO
            chosen = np.random.default_rng(0).choice(len(self.names), min(len(self.names), TRAINED_ON), replace=False)
            index.train(np.concatenate([self.course(at)[thinned(self.moments[at], MOST_INDEXED)] for at in chosen]))
        for first in range(0, len(self.names), 1000):
            some = range(first, min(first + 1000, len(self.names)))
            index.add(np.concatenate([self.course(at)[thinned(self.moments[at], MOST_INDEXED)] for at in some]))
        return index


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def key_moments(course: np.ndarray) -> np.ndarray:
    """The frames of a course [T,K] that differ from the key moment before them; the first is one."""
    found = [0]
    for at in range(1, len(course)):
        if course[at] @ course[found[-1]] < KEY_COSINE:
            found.append(at)
    return np.array(found)


def thinned(moments: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the moments, evenly."""
    if len(moments) <= most:
        return moments
    return moments[np.linspace(0, len(moments) - 1, most).astype(int)]


def voted(at_s: np.ndarray, to_s: np.ndarray, least: float) -> list[tuple[float, float]]:
    """The lines (slope, offset) on which most of the pairs of moments lie, the best first; at least `least` of them."""
    if len(np.unique(at_s)) < least:
        return []
    offset = to_s - SPEEDS[:, None] * at_s
    # Whether pairs lie on one line, for each slope: [slopes, pairs, pairs].
    together = np.abs(offset[:, :, None] - offset[:, None, :]) <= SLACK_S
    number = together.sum(2).max(1)
    found: list[tuple[float, float]] = []
    for at in sorted(np.flatnonzero(number >= least), key=lambda at: (-number[at], abs(SPEEDS[at] - 1)))[:LINES]:
        best = together[at, together[at].sum(1).argmax()]
        found.append((float(SPEEDS[at]), float(np.median(offset[at, best]))))
    return found


def best_line(first: np.ndarray, second: np.ndarray, lines: Iterable[tuple[float, float]]) -> tuple[float, bool]:
    """The largest correlation of two courses [T,K] near some lines, and whether the first is a cut of the second."""
    best, is_cut = -1.0, True
    for slope, offset in lines:
        if max(correlation(first, second, slope, offset + shift) for shift in (-2, 0, 2)) < NEAR:
            continue
        for near, shift in product((-0.02, 0.0, 0.02), range(-SLACK_S, SLACK_S + 1)):
            found = correlation(first, second, slope + near, offset + shift)
            if found > best:
                end = (slope + near) * len(first) + offset + shift
                best = found
                is_cut = abs(offset + shift) > SLACK_S or abs(end - len(second)) > 2 * SLACK_S
    return best, is_cut


def correlation(first: np.ndarray, second: np.ndarray, slope: float, offset: float) -> float:
    """The correlation of the courses along a line; -1 where they share too little of the first."""
    at = np.arange(len(first))
    to = np.rint(slope * at + offset).astype(int)
    shared = (to >= 0) & (to < len(second))
    if shared.sum() < max(2, LEAST_SHARED * len(first)):
        return -1.0
    one, other = first[shared], second[to[shared]]
    one, other = one - one.mean(0), other - other.mean(0)
    return float((one * other).sum() / max(1e-9, np.sqrt((one * one).sum() * (other * other).sum())))


def needed(least: float, changes: int, is_cut: bool) -> float:
    """The correlation from which two videos are the same, by how often the picture of the shorter one changes."""
    if changes < FEWEST_CHANGES:
        return float("inf")
    if not is_cut:
        return least
    return max(least, CUT_WITH_FEW_CHANGES) if changes < MANY_CHANGES else least + CUT
