"""Batches of videos of about the same length, in an order that depends on the seed and the epoch alone.

Videos are read window by window. Where they fit into one window they are read once and kept; where not, a thread reads
the next window while one is trained on, so that two windows are held, however many videos there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np

from vsumdata.datasets.shards import Shards
from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.train.partition import Picked

BLOCK = 32  # neighbours in a file that stay together, for otherwise each window would read all files
LENGTH_NOISE = 0.1  # lengths are sorted after a random change by up to this share, so that batches differ by epoch
Answer = TypeVar("Answer")


class Batches:
    """`prepare` is applied to each video when it is read.

    An epoch's last batch is smaller where the videos do not divide; one of fewer than `least` is left out, of other
    videos each time.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        *,
        batch_size: int,
        seed: int,
        prepare: Callable[[Video], Video] = lambda video: video,
        window: int = 1024,
        least: int = 1,
    ) -> None:
        self.videos, self.batch_size, self.seed, self.prepare = videos, batch_size, seed, prepare
        rest = len(videos) % batch_size
        self.left_out = rest if rest < least else 0  # videos of each epoch
        self.window = -(-window // batch_size) * batch_size  # so that only an epoch's last batch is smaller
        self.in_file_order = sorted(range(len(videos)), key=partial(place, videos))
        self.kept: list[Video] | None = None

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-(len(self.videos) - self.left_out) // self.batch_size)

    def epoch(self, number: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of an epoch from the `start`-th on; of each the share of worker `rank` of `world`.

        Every worker gets something: a batch of fewer videos than workers gives some of them twice.
        """
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as collator:
            shares = (
                videos[rank::world] or [videos[rank % len(videos)]] for videos in self.groups(reader, number, start)
            )
            yield from one_ahead(collator, (partial(collate, videos) for videos in shares))

    def groups(self, reader: ThreadPoolExecutor, number: int, start: int) -> Iterator[list[Video]]:
        """The videos of each batch."""
        first, skipped = divmod(start, self.window // self.batch_size)
        windows = list(enumerate(self.windows(number)))[first:]
        for at, window in one_ahead(reader, (partial(self.read, *numbered) for numbered in windows)):
            batches = self.batches(number, at, window)[skipped if at == first else 0 :]
            del window  # and below each batch: what was used is gone before another window is begun
            batches.reverse()
            while batches:
                yield batches.pop()

    def windows(self, number: int) -> list[list[int]]:
        """Which videos are held together: blocks of neighbours from all over the files, another choice each epoch."""
        if len(self.videos) <= self.window:
            return [self.in_file_order]
        size = min(BLOCK, self.window)
        blocks = [self.in_file_order[at : at + size] for at in range(0, len(self.videos), size)]
        order = np.random.default_rng([self.seed, number]).permutation(len(blocks))
        shuffled = [i for block in order.tolist() for i in blocks[block]]
        return [shuffled[at : at + self.window] for at in range(0, len(shuffled), self.window)]

    def read(self, at: int, window: Sequence[int]) -> tuple[int, list[Video]]:
        if self.kept is not None:
            return at, self.kept
        videos = [self.prepare(video) for video in read(self.videos, window)]
        if len(videos) == len(self.videos):
            self.kept = videos
        return at, videos

    def batches(self, number: int, at: int, videos: Sequence[Video]) -> list[list[Video]]:
        """The window's videos sorted by length, give or take, cut into batches, and these shuffled."""
        rng = np.random.default_rng([self.seed, number, at])
        length = np.array([len(video.frame_time_s) for video in videos])
        by_length = np.argsort(length * rng.uniform(1 - LENGTH_NOISE, 1 + LENGTH_NOISE, len(videos)), kind="stable")
        if self.left_out and (rest := len(videos) % self.batch_size):  # the last window: windows hold whole batches
            by_length = np.delete(by_length, rng.choice(len(videos), rest, replace=False))
        cut = [by_length[first : first + self.batch_size] for first in range(0, len(by_length), self.batch_size)]
        if not cut:
            return []
        if len(cut[-1]) < self.batch_size:  # last, so that the number of a batch tells where it is
            order = [*rng.permutation(len(cut) - 1), len(cut) - 1]
        else:
            order = [*rng.permutation(len(cut))]
        return [[videos[i] for i in cut[batch]] for batch in order]


def one_ahead(pool: ThreadPoolExecutor, calls: Iterable[Callable[[], Answer]]) -> Iterator[Answer]:
    """The answers of `calls` in their order; while one is used the next is being made."""
    waiting: Future[Answer] | None = None
    for call in calls:
        following = pool.submit(call)
        if waiting is not None:
            yield waiting.result()
        waiting = following
    if waiting is not None:
        yield waiting.result()


def place(videos: Sequence[Video], at: int) -> tuple[str, int]:
    """Where a video is stored: the part of a root, and its place there (parts are sorted by id, as `videos` is)."""
    if isinstance(videos, Picked):
        return place(videos.videos, videos.places[at])
    return (videos.entries[at][1] if isinstance(videos, Shards) else "", at)


def read(videos: Sequence[Video], at: Sequence[int]) -> list[Video]:
    """Some of `videos`; those of a root by one reading of each part."""
    if isinstance(videos, Picked):
        return read(videos.videos, [videos.places[i] for i in at])
    if isinstance(videos, Shards):
        return videos.read([videos.entries[i] for i in at])
    return [videos[i] for i in at]
