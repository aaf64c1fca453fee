"""Batches of videos, shuffled or of similar length, in an order that depends only on the seed and the epoch.

Videos are read in windows. If all fit into one window, they are read once and kept. Otherwise a thread reads the next
window while training uses the current one: two windows are in memory, however many videos there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np

from vsumdata.datasets.llava_pretrain import Pairs
from vsumdata.datasets.partition import Picked
from vsumdata.datasets.shards import Shards
from vsumdata.datasets.video import Batch, Video, collate

# Videos next to each other in a file that go into the same window. With single videos, every window would read nearly
# every file.
BLOCK = 32
# Lengths change at random by up to this share before they are sorted: otherwise every epoch has the same batches.
LENGTH_NOISE = 0.1
Answer = TypeVar("Answer")


class Batches:
    """The batches of all epochs. `prepare` is applied to each video when it is read; `window` counts videos.

    `by_length` puts videos of similar length into a batch: less padding, but a video then meets few of the others. The
    last batch of an epoch may be smaller. If it would have fewer than `least` videos, it is left out; each epoch
    leaves out other videos.
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
        by_length: bool = False,
    ) -> None:
        self.by_length = by_length
        self.videos, self.batch_size, self.seed, self.prepare = videos, batch_size, seed, prepare
        rest = len(videos) % batch_size
        self.left_out = rest if rest < least else 0  # videos of each epoch
        # Rounded up to whole batches, so that only the last batch of an epoch may be smaller.
        self.window = -(-window // batch_size) * batch_size
        self.in_file_order = sorted(range(len(videos)), key=partial(place, videos))
        self.kept: list[Video] | None = None

    def __len__(self) -> int:
        """The number of batches per epoch."""
        return -(-(len(self.videos) - self.left_out) // self.batch_size)

    def epoch(self, number: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on; of each, the share of worker `rank` of `world`."""
        # Each worker must take part in every step, or the others would wait for its gradients for ever. A batch of
        # fewer videos than there are workers goes to each of them whole, so that all its videos count alike.
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as collator:
            shares = (
                videos[rank::world] if len(videos) >= world else videos for videos in self.groups(reader, number, start)
            )
            yield from one_ahead(collator, (partial(collate, videos) for videos in shares))

    def groups(self, reader: ThreadPoolExecutor, number: int, start: int) -> Iterator[list[Video]]:
        """The videos of each batch, from batch `start` on."""
        # A resumed epoch skips whole windows without reading them.
        first, skipped = divmod(start, self.window // self.batch_size)
        windows = list(enumerate(self.windows(number)))[first:]
        for at, window in one_ahead(reader, (partial(self.read, *numbered) for numbered in windows)):
            batches = self.batches(number, at, window)[skipped if at == first else 0 :]
            # Drop the references to used videos, here and with `pop` below: a loop variable would hold a whole window
            # in memory while the next two are read.
            del window
            batches.reverse()
            while batches:
                yield batches.pop()

    def windows(self, number: int) -> list[list[int]]:
        """The indexes of the videos of each window: blocks from all over the files, drawn anew for each epoch."""
        if len(self.videos) <= self.window:
            return [self.in_file_order]
        size = min(BLOCK, self.window)
        blocks = [self.in_file_order[at : at + size] for at in range(0, len(self.videos), size)]
        order = np.random.default_rng([self.seed, number]).permutation(len(blocks))
        shuffled = [i for block in order.tolist() for i in blocks[block]]
        return [shuffled[at : at + self.window] for at in range(0, len(shuffled), self.window)]

    def read(self, at: int, window: Sequence[int]) -> tuple[int, list[Video]]:
        """Read and prepare the videos of window number `at`; keeps them if they are all videos."""
        if self.kept is not None:
            return at, self.kept
        videos = [self.prepare(video) for video in read(self.videos, window)]
        if len(videos) == len(self.videos):
            self.kept = videos
        return at, videos

    def batches(self, number: int, at: int, videos: Sequence[Video]) -> list[list[Video]]:
        """Cut a window's videos into batches, in an order of its own for each epoch."""
        # Seeded by position, not by a running generator: a resumed run gets the same order.
        rng = np.random.default_rng([self.seed, number, at])
        if self.by_length:
            length = np.array([len(video.frame_time_s) for video in videos])
            order = np.argsort(length * rng.uniform(1 - LENGTH_NOISE, 1 + LENGTH_NOISE, len(videos)), kind="stable")
        else:
            order = rng.permutation(len(videos))
        # Only the last window has a rest: the others hold whole batches.
        if self.left_out and (rest := len(videos) % self.batch_size):
            order = np.delete(order, rng.choice(len(videos), rest, replace=False))
        cut = [order[first : first + self.batch_size] for first in range(0, len(order), self.batch_size)]
        if not cut:
            return []
        # The smaller batch stays last: `groups` finds the place of batch `start` by dividing, as if all were full.
        whole = len(cut) - (len(cut[-1]) < self.batch_size)
        return [[videos[i] for i in cut[batch]] for batch in (*rng.permutation(whole), *range(whole, len(cut)))]


def one_ahead(pool: ThreadPoolExecutor, calls: Iterable[Callable[[], Answer]]) -> Iterator[Answer]:
    """The answers of `calls`, in order. While one is used, the pool computes the next."""
    waiting: Future[Answer] | None = None
    for call in calls:
        following = pool.submit(call)
        if waiting is not None:
            yield waiting.result()
        waiting = following
    if waiting is not None:
        yield waiting.result()


def place(videos: Sequence[Video], at: int) -> tuple[str, int]:
    """Where a video is stored: the part file, and its place. Parts are sorted by id, and so is `videos`."""
    if isinstance(videos, Picked):
        return place(videos.videos, videos.places[at])
    return (videos.entries[at][1] if isinstance(videos, Shards) else "", at)


def read(videos: Sequence[Video], at: Sequence[int]) -> list[Video]:
    """Read the videos at the indexes `at`; opens each part file of a root once."""
    if isinstance(videos, Picked):
        return read(videos.videos, [videos.places[i] for i in at])
    if isinstance(videos, Shards):
        return videos.read([videos.entries[i] for i in at])
    if isinstance(videos, Pairs):
        return videos.read_at(at)
    return [videos[i] for i in at]
