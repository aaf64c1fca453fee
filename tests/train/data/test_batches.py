"""Batches: each video once per epoch, an order that can be resumed, and few videos in memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.train.training_kit import videos, write_root

from vsumdata.datasets.partition import pick
from vsumdata.datasets.shards import Shards, open_shards
from vsumdata.datasets.video import Video
from vsumdata.train.data.batches import Batches
from vsumdata.train.loop.preparation import order_of
from vsumdata.train.settings import settings_of


def ids(batches: Batches, number: int = 0, **where: int) -> list[tuple[str, ...]]:
    return [batch.video_id for batch in batches.epoch(number, **where)]


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("window", [1000, 12])
def test_an_epoch_has_every_video_once_and_every_epoch_another_order(window: int, by_length: bool) -> None:
    found = videos(50)
    batches = Batches(found, batch_size=4, seed=1, window=window, by_length=by_length)
    first, second = ids(batches, 0), ids(batches, 1)
    for epoch in (first, second):
        assert sorted(v for batch in epoch for v in batch) == [video.video_id for video in found]
        assert [len(batch) for batch in epoch].count(4) == 12
        assert len(epoch) == len(batches) == 13
    assert first != second
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert ids(Batches(found, batch_size=4, seed=1, window=window, by_length=by_length), 1) == second
    assert ids(Batches(found, batch_size=4, seed=2, window=window, by_length=by_length), 1) != second


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 12, 13])
def test_an_epoch_goes_on_from_any_batch(start: int, by_length: bool) -> None:
    batches = Batches(videos(50), batch_size=4, seed=1, window=12, by_length=by_length)
    assert ids(batches, 3, start=start) == ids(batches, 3)[start:]


def test_workers_share_each_batch() -> None:
    start = 2
    batches = Batches(videos(9), batch_size=4, seed=1)
    shares = [ids(batches, 0, rank=rank, world=3) for rank in range(3)]
    for whole, *parts in zip(ids(batches), *shares, strict=True):
        assert all(parts)
        assert {v for part in parts for v in part} == set(whole)
        if len(whole) >= 3:
            assert sorted(v for part in parts for v in part) == sorted(whole)
        else:
            assert parts == [whole] * 3, "all of its videos count alike"
    assert [share[start:] for share in shares] == [ids(batches, 0, start=start, rank=r, world=3) for r in range(3)]


def test_videos_of_a_batch_are_about_equally_long() -> None:
    rng = np.random.default_rng(0)
    found = [replace(v, video_id=f"{n}") for n, v in enumerate(videos(200, frames=300))]
    batches = Batches(found, batch_size=8, seed=0, by_length=True)
    filled = [float(batch.frame_mask.float().mean()) for batch in batches.epoch(0)]
    by_chance = [
        float(np.mean([len(found[i].frame_time_s) for i in some]) / max(len(found[i].frame_time_s) for i in some))
        for some in rng.permutation(200).reshape(-1, 8)
    ]
    assert np.mean(filled) > 0.85 > 0.8 > np.mean(by_chance)


def partners(batches: Batches, epochs: int) -> list[int]:
    """For each video, with how many others it shared a batch in `epochs` epochs."""
    met: dict[str, set[str]] = {}
    for number in range(epochs):
        for batch in ids(batches, number):
            for video_id in batch:
                met.setdefault(video_id, set()).update(batch)
    return [len(others) - 1 for others in met.values()]


@pytest.mark.parametrize(
    ("method", "sets", "num", "order"),
    [
        ("hiersum", [], 5000, "shuffled"),  # its inter loss compares videos
        ("hiersum", ["objective.w_inter=0"], 5000, "by-length"),
        ("mlp", [], 50, "shuffled"),
        ("mlp", [], 5000, "by-length"),
        ("csum+mlp", [], 5000, "shuffled"),
        ("visp+mlp", [], 5000, "shuffled"),
        ("visp+mlp", ["objective.variant=fixed"], 5000, "by-length"),
        ("hiersum", ["order=by-length"], 40, "by-length"),
        ("mlp", ["order=shuffled"], 5000, "shuffled"),
    ],
)
def test_contrasts_and_small_sets_are_shuffled(method: str, sets: list[str], num: int, order: str) -> None:
    assert order_of(settings_of(method, "default", sets), num) == order


def test_shuffled_videos_meet_nearly_all_others() -> None:
    """TVSum's training part at HierSum's batch of 2: chance alone would leave out 39 · (38/39)^100 = 2.9 of 39."""
    rng = np.random.default_rng(0)
    lengths = np.sort(rng.integers(150, 1300, 40))  # TVSum's videos have 166 to 1,294 picks
    found = [
        Video(video_id=f"{n}", frame_time_s=np.arange(length, dtype=np.float32), frame_feature=np.zeros((length, 1)))
        for n, length in enumerate(lengths.tolist())
    ]
    assert np.median(partners(Batches(found, batch_size=2, seed=0), 100)) >= 34
    assert np.median(partners(Batches(found, batch_size=2, seed=0, by_length=True), 100)) < 15


class Made(Sequence[Video]):
    """Videos made on access; `most` is the largest number that was alive at once."""

    def __init__(self, num: int) -> None:
        self.num, self.one, self.alive, self.most = num, videos(1)[0], weakref.WeakSet[Video](), 0
        self.made: list[int] = []

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, at: int) -> Video:  # type: ignore[override]
        video = replace(self.one, video_id=f"{at:05}")
        self.alive.add(video)
        self.made.append(at)
        self.most = max(self.most, len(self.alive))
        return video


def test_two_windows_are_held_however_many_videos_there_are() -> None:
    gc.collect()
    made = Made(1000)
    batches = Batches(made, batch_size=4, seed=0, window=64)
    assert len(made.made) == 0
    for _ in batches.epoch(0):
        assert len(made.alive) <= 2 * 64 + 2 * 4
    assert len(made.made) == 1000
    assert 64 < made.most <= 2 * 64 + 2 * 4


def test_what_fits_is_read_once() -> None:
    made = Made(30)
    batches = Batches(made, batch_size=4, seed=0, window=64)
    for epoch in range(3):
        assert len(list(batches.epoch(epoch))) == 8
    assert len(made.made) == 30


class Counting(Shards):
    """Shards that count the part files opened by each read."""

    opened: list[int]

    def read(self, entries: Sequence[tuple[str, str]]) -> list[Video]:
        self.opened = [*getattr(self, "opened", []), len({part for _, part in entries})]
        return super().read(entries)


def test_a_root_is_read_part_by_part(tmp_path: Path) -> None:
    found = videos(100, frames=4)
    scattered = [found[at] for at in np.random.default_rng(0).permutation(100)]  # ids are not in the order of parts
    shards = open_shards(write_root(tmp_path, scattered, ["train"], per_part=25))
    counting = Counting(shards.root, shards.table, shards.fingerprint, shards.entries)
    batches = Batches(counting, batch_size=8, seed=0, window=32)
    assert sorted(v for batch in ids(batches) for v in batch) == shards.video_ids
    assert len(counting.opened) == 4
    assert max(counting.opened) <= 3
    some = pick(counting, shards.video_ids[::2])
    assert (
        sorted(v for batch in ids(Batches(some, batch_size=8, seed=0, window=16)) for v in batch)
        == (shards.video_ids[::2])
    )


def test_an_error_while_reading_ends_the_epoch() -> None:
    def refuse(video: Video) -> Video:
        raise ValueError(f"{video.video_id} is no good")

    with pytest.raises(ValueError, match="is no good"):
        next(Batches(videos(3), batch_size=2, seed=0, prepare=refuse).epoch(0))


def test_leaving_an_epoch_early_ends_its_threads() -> None:
    import threading

    batches = Batches(Made(200), batch_size=2, seed=0, window=8)
    before = threading.active_count()
    epoch: Iterator = batches.epoch(0)
    next(epoch)
    assert threading.active_count() > before
    epoch.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_each_epoch_draws_its_windows_anew() -> None:
    batches = Batches(videos(50), batch_size=4, seed=1, window=12)
    assert batches.windows(0) == batches.windows(0) != batches.windows(1)
