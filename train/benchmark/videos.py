"""The videos of a benchmark table: those to measure, those to train on, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

from vsumdata.datasets import partition, splits
from vsumdata.datasets import pool as pools
from vsumdata.datasets.join import join_features, replaces_frames
from vsumdata.datasets.partition import Partition
from vsumdata.datasets.video import Video
from vsumdata.manifests.roots.address import hide_keys


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchData:
    """`videos` can be measured and `pool` can be trained on. Both have the features that were asked for.

    `features` is the root of ours whose features replace the data set's own. `others` are the other data sets of a
    pool; `unlisted` are those of their videos that the split leaves to methods without labels.
    """

    on: str
    path: str
    videos: Sequence[Video]
    pool: Sequence[Video]
    partition: Partition
    features: str | None
    remarks: tuple[str, ...] = ()
    others: tuple[pools.Member, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def root(self) -> str | None:
        """The root of ours that the frames' features come from, if any."""
        if self.features:
            return self.features if replaces_frames(self.features) else None
        return self.path if self.on == "shards" else None


def open_data(
    module: ModuleType,
    path: str,
    *,
    features: str | None = None,
    split: str | None = None,
    seeds: int = 1,
    legacy: bool = False,
) -> BenchData:
    """Read the data set of `module` and split it. `path` may be a pool of data sets (`tvsum:A+summe:B`).

    Raises UsageError if the split is unknown or the data cannot be read.
    """
    on = str(module.NAME)
    path, members = pools.own_first(on, path)
    others = pools.opened(members, features)
    videos: Sequence[Video] = module.load(path)
    partition.check_some(videos, on, path)
    others.check_splittable(on, videos, split)
    # A root's `load` reads the test part. The training part may not fit in memory: `open_shards` reads it on demand.
    pool: Sequence[Video] = module.open_shards(path) if hasattr(module, "open_shards") else videos
    # Of a pool the split says what is trained on, and a data set's own parts do not.
    is_own = not members and (split in partition.TESTABLE or not (split or splits.sources(on)))
    parts = partition.own_parts(videos, split) if is_own else None
    if parts is None:
        name = f"{on}/{split}" if split else on
        made = partition.cut(name, videos, seeds=seeds, legacy=legacy, groups=others.tasks, others=others.ids)
    elif pool is videos:
        made = partition.given(parts, partition.tasks(videos), seeds=seeds, legacy=legacy, label=parts.label)
    else:
        own = {part: module.open_shards(path, split=part).video_ids for part in ("train", "val")}
        made = partition.given(parts | own, partition.tasks_of_root(path), seeds=seeds, legacy=legacy)
    remarks = []
    # After the split: a published split tests all videos, and the root may lack some of them.
    if features:
        is_pool = pool is videos
        videos, report = join_features(videos, features, on)
        pool = videos if is_pool else join_features(pool, features, on)[0]
        remarks.append(f"features of {hide_keys(features)}: {report}")
    return BenchData(
        on=on,
        path=path,
        videos=videos,
        pool=others.with_own(pool, on, has_root=replaces_frames(features)),
        partition=made,
        features=features,
        remarks=(*remarks, *others.remarks, *others.told(on, videos)),
        others=others.members,
        unlisted=tuple(others.unlisted(fold for _, fold in made.runs)),
    )
