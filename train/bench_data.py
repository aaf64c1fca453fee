"""The videos of a benchmark table: which are measured, which may train, and whose features they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from vsumdata.datasets import splits
from vsumdata.datasets.join import join_features
from vsumdata.datasets.video import Video
from vsumdata.train import partition
from vsumdata.train.partition import Partition


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchData:
    """`videos` can be measured, `pool` can be trained on; both have the features that were asked for."""

    on: str
    path: str
    videos: Sequence[Video]
    pool: Sequence[Video]
    partition: Partition
    features: str | None  # the root of ours whose features replace the data set's own
    remarks: tuple[str, ...] = ()

    @property
    def root(self) -> str | None:
        """The root of ours that the features are from."""
        return self.features or (self.path if self.on == "shards" else None)


def open_data(
    module: ModuleType,
    path: str,
    *,
    features: str | None = None,
    split: str | None = None,
    seeds: int = 1,
    legacy: bool = False,
) -> BenchData:
    """Read the data set of `module`. The split is made before features are joined: a published one tests all videos.

    Raises UsageError for a split that is not known, and for data that cannot be read.
    """
    on = str(module.NAME)
    videos: Sequence[Video] = module.load(path)
    partition.check_some(videos, on, path)
    # Of a root, `load` gives the test part; what it trains on is read when it is needed.
    pool: Sequence[Video] = module.open_shards(path) if hasattr(module, "open_shards") else videos
    parts = None if split or splits.sources(on) else partition.own_parts(videos)
    if parts is None:
        made = partition.cut(f"{on}/{split}" if split else on, videos, seeds=seeds, legacy=legacy)
    elif pool is videos:
        made = partition.given(parts, partition.tasks(videos), seeds=seeds, legacy=legacy)
    else:
        own = {part: module.open_shards(path, split=part).video_ids for part in ("train", "val")}
        made = partition.given(parts | own, partition.tasks_of_root(path), seeds=seeds, legacy=legacy)
    remarks = []
    if features:
        is_pool = pool is videos
        videos, report = join_features(videos, features)
        pool = videos if is_pool else join_features(pool, features)[0]
        remarks.append(f"features of {features}: {report}")
    return BenchData(
        on=on, path=path, videos=videos, pool=pool, partition=made, features=features, remarks=tuple(remarks)
    )
