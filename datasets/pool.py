"""Several data sets as one pool: `tvsum:A+summe:B`. One of them is split and measured, the others are trained on.

Ids such as `video_1` occur in every data set. The videos of the others are named `<data set>/<video id>` in the pool.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, overload

from vsumdata.datasets import partition, splits
from vsumdata.datasets.benchmarks.registry import DATASETS, data_set, need_path, pick
from vsumdata.datasets.join import join_features
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys

# A file's name may hold a plus; a data set and its path stand behind this one.
BETWEEN = re.compile(r"\+(?=[a-z][a-z0-9-]*:(?!//))")


class Member(NamedTuple):
    """A data set of a pool, and its file or folder."""

    data_set: str
    path: str


def members(data: str) -> list[Member]:
    """The data sets that `data` (`tvsum:A+summe:B`) names. Raises UsageError unless there are several, each once."""
    found = []
    for part in BETWEEN.split(data):
        name, _, path = part.partition(":")
        pick(name, DATASETS, "data set")
        if name == "shards":
            raise UsageError(f"--data {data}: a root cannot be in a pool; --features ROOT gives the pool its features")
        need_path(data_set(name), path)
        found.append(Member(name, path))
    names = [each.data_set for each in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"--data {data}: {twice} is named twice")
    return found


def is_pool(data: str) -> bool:
    return BETWEEN.search(data) is not None


def own_first(on: str, data: str) -> tuple[str, list[Member]]:
    """The path of the data set `on` in `data`, and the other data sets there.

    `data` is a path, or a pool of data sets. Raises UsageError for a pool without `on`.
    """
    name, colon, _ = data.partition(":")
    if not is_pool(data) and not (colon and name in DATASETS and name != on):
        # `train` needs the name before the path, so here it does no harm.
        return data.removeprefix(f"{on}:"), []
    found = members(data)
    own = next((each for each in found if each.data_set == on), None)
    if own is None:
        raise UsageError(f"--data {data} lacks {on}, whose videos are to be measured; give {on}:PATH")
    return own.path, [each for each in found if each is not own]


class Pooled(Sequence[Video]):
    """The videos of several data sets, each read when it is asked for; those of `others` under the pool's names."""

    def __init__(self, own: Sequence[Video], others: Sequence[tuple[str, Sequence[Video]]]) -> None:
        self.parts = [("", own), *others]
        self.ends = list(itertools.accumulate(len(videos) for _, videos in self.parts))
        self.video_ids = [named(name, each) for name, videos in self.parts for each in partition.ids_of(videos)]

    def __len__(self) -> int:
        return len(self.video_ids)

    def __iter__(self) -> Iterator[Video]:
        for name, videos in self.parts:
            yield from (renamed(name, video) for video in videos)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Video]: ...
    def __getitem__(self, at: int | slice) -> Video | Sequence[Video]:
        if isinstance(at, slice):
            return partition.pick(self, self.video_ids[at])
        at = range(len(self))[at]
        part = bisect.bisect_right(self.ends, at)
        name, videos = self.parts[part]
        return renamed(name, videos[at - (self.ends[part - 1] if part else 0)])


def named(name: str, video_id: str) -> str:
    """A video's id in the pool."""
    return f"{name}/{video_id}" if name else video_id


def renamed(name: str, video: Video) -> Video:
    return replace(video, video_id=named(name, video.video_id))


@dataclass(frozen=True, eq=False)
class Others:
    """The other data sets of a pool, opened: their videos by data set, and remarks on their features.

    `ids` has the pool's names of all videos by data set, also of those that the root of `--features` lacks: a split may
    name them.
    """

    members: tuple[Member, ...] = ()
    videos: tuple[tuple[str, Sequence[Video]], ...] = ()
    ids: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def tasks(self) -> dict[str, str]:
        return {named(name, key): task for name, its in self.videos for key, task in partition.tasks(its).items()}

    def told(self, name: str, own: Sequence[Video]) -> list[str]:
        """A note on the pool of these and `own`, the videos of the data set `name`; none without others."""
        counts = [f"{len(its)} videos of {each}" for each, its in ((name, own), *self.videos)]
        return [f"pool: {', '.join(counts)}; {name}'s alone are tested"] if self.videos else []

    def check_splittable(self, name: str, own: Sequence[Video], split: str | None) -> None:
        """Raise UsageError if `own` has parts of its own, which say nothing of the other data sets."""
        source, _ = splits.setting_of(split or "")
        if self.videos and not source and not splits.sources(name) and partition.own_parts(own):
            raise UsageError(f"{name} has parts of its own, which a pool cannot add to; test a data set that is split")

    def unlisted(self, folds: Iterable[Fold]) -> list[str]:
        """The names of the videos of those data sets that none of the folds names."""
        listed = {v.partition("/")[0] for fold in folds for v in (*fold.train, *fold.val) if "/" in v}
        return [video_id for name, its in self.ids.items() if name not in listed for video_id in its]

    def with_own(self, own: Sequence[Video], name: str, *, has_root: bool) -> Sequence[Video]:
        """The pool of these and `own`, the videos of the data set `name`. Raises UsageError for features of two kinds.

        `has_root` says that all features were joined from one root.
        """
        if not self.videos:
            return own
        check_alike([(name, own), *self.videos], has_root=has_root)
        return Pooled(own, self.videos)


def opened(found: Sequence[Member], features: str | None) -> Others:
    """Read the other data sets of a pool, with the features of a root if one is given. Raises UsageError."""
    videos, ids, remarks = [], {}, []
    for name, path in found:
        its: Sequence[Video] = data_set(name).load(path)
        partition.check_some(its, name, path)
        ids[name] = [named(name, each) for each in partition.ids_of(its)]
        if features:
            its, report = join_features(its, features, name)
            remarks.append(f"{name}: features of {hide_keys(features)}: {report}")
            partition.check_some(its, f"{name} with features of {hide_keys(features)}", path)
        videos.append((name, its))
    return Others(tuple(found), tuple(videos), ids, tuple(remarks))


def check_alike(found: Iterable[tuple[str, Sequence[Video]]], *, has_root: bool) -> None:
    """Raise UsageError unless the frames' features of all data sets have one size and, where it is known, one kind."""
    sizes: dict[int, str] = {}
    kinds: dict[str, str] = {}
    for name, videos in found:
        # A lazy sequence may be of 26 GB: its first video speaks for it.
        some = videos if isinstance(videos, list) else videos[:1]
        for size in {video.frame_feature.shape[1] for video in some} - {0}:
            sizes.setdefault(size, name)
        if not has_root and (kind := getattr(data_set(name), "FRAME_MODEL", None)):
            kinds.setdefault(kind, name)
    for what, each in (("size", sizes), ("model", kinds)):
        if len(each) > 1:
            told = ", ".join(f"{value} ({name})" for value, name in each.items())
            raise UsageError(
                f"the pool's frame features are not of one {what}: {told}; --features ROOT gives all of them its own"
            )
