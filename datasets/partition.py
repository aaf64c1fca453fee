"""Divide videos into training, validation and test for each run; there is one run for each seed and fold."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, cast, get_args, overload

from vsumdata.datasets import splits
from vsumdata.datasets.crossings import SHOWN, crossings
from vsumdata.datasets.shards import Shards, open_shards, parts_of
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store

Run = tuple[int, int]  # seed, and number of the fold from 0
LEGACY = "legacy: selected on the test videos"
# The parts of a data set's own split that `--split` may name as the tested one.
TESTABLE = ("test", "val")
# What a video can be scored against: without any of them it is no test video.
REFERENCES = (
    "user_score", "user_summary", "gt_score", "gt_summary", "replay_score", "sentence_label", "summary_text", "summary",
    "moment",
)  # fmt: skip
# The videos of training without labels: those of the fold's training part, or all videos.
Pool = Literal["fold", "transductive"]


@dataclass(frozen=True)
class Partition:
    """The folds of each seed. `label` names the split that they are from; it is printed with the results."""

    label: str
    folds: tuple[tuple[Fold, ...], ...]

    @property
    def runs(self) -> Iterator[tuple[Run, Fold]]:
        """Each run with its fold, seed by seed."""
        for seed, folds in enumerate(self.folds):
            for number, fold in enumerate(folds):
                yield (seed, number), fold

    @property
    def names(self) -> dict[int, str]:
        """The name of each fold, by its number, where folds are of one domain each; else nothing."""
        return {number: fold.name for number, fold in enumerate(self.folds[0]) if fold.name} if self.folds else {}

    @cached_property
    def tested(self) -> dict[str, list[Run]]:
        """Video id -> the runs that test it. A random draw tests some videos several times and others never."""
        found: dict[str, list[Run]] = {}
        for run, fold in self.runs:
            for video_id in fold.test:
                found.setdefault(video_id, []).append(run)
        return found


def cut(
    name: str,
    videos: Sequence[Video],
    *,
    seeds: int,
    legacy: bool = False,
    groups: Mapping[str, str] | None = None,
    others: Mapping[str, Sequence[str]] | None = None,
) -> Partition:
    """The folds of `name` for each seed: published ones ("tvsum", "tvsum/pgl-sum"), or five parts drawn by the seed.

    `legacy` validates on the test videos. `others` are the other data sets of a pool, see `splits.folds`; `groups` adds
    their tasks. Raises UsageError for an unknown split.
    """
    # Of a lazy sequence neither reads the videos' features.
    groups = {**tasks(getattr(videos, "described", videos)), **(groups or {})}
    ids = ids_of(videos)
    found = [splits.folds(name, ids, seed=seed, groups=groups, legacy=legacy, others=others) for seed in range(seeds)]
    label = found[0][0].label.partition(", fold")[0].partition(", seed")[0]
    return Partition(labelled(label, legacy=legacy), tuple(map(tuple, found)))


def given(
    parts: Mapping[str, Sequence[str]],
    groups: Mapping[str, str],
    *,
    seeds: int,
    legacy: bool = False,
    label: str = "as published",
) -> Partition:
    """The one fold that a data set's own `train`, `val` and `test` make. Without val, each seed draws it from train."""
    fold = Fold(tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]), label)
    if legacy:
        fold = replace(fold, val=fold.test)
    return Partition(labelled(fold.label, legacy=legacy), tuple((nested(fold, groups, seed),) for seed in range(seeds)))


def nested(fold: Fold, groups: Mapping[str, str], seed: int) -> Fold:
    """`fold` with a validation part: a fifth of the training videos, whole groups of them.

    A fold that has one already, or trains on a single group, is returned as it is.
    """
    # A video without a task is a group of its own.
    tasks_of_train = {splits.normalise(groups.get(video_id, "")) or video_id for video_id in fold.train}
    if fold.val or len(tasks_of_train) < 2:
        return fold
    val = set(splits.folds("train", fold.train, seed=seed, groups=groups)[0].test)
    train = tuple(video_id for video_id in fold.train if video_id not in val)
    return replace(fold, train=train, val=tuple(video_id for video_id in fold.train if video_id in val))


def labelled(label: str, *, legacy: bool) -> str:
    """`label`, with a warning if the run selects on its test videos."""
    return f"{label}, {LEGACY}" if legacy else label


def tasks(videos: Iterable[Video]) -> dict[str, str]:
    """Video id -> task, for videos that have one."""
    return {video.video_id: video.task for video in getattr(videos, "described", videos) if video.task}


def what_crosses(partition: Partition, videos: Sequence[Video], also: Sequence[str] = ()) -> list[str]:
    """A warning of one line if a video, a task or nearly the same pictures are in two parts of a fold; else nothing.

    `also` are ids that every fold trains on, beside its own.
    """
    # A root that is joined to a benchmark may lack some of its videos, and `crossings` refuses unknown ones.
    there = set(ids_of(videos))
    whole = (replace(fold, train=(*fold.train, *also)) for _, fold in partition.runs)
    folds = dict.fromkeys(restricted(fold, there) for fold in whole)
    # One pair can cross in every fold of every seed; it is named once.
    found = {(each.what, each.first, each.second): replace(each, label="") for each in crossings(list(folds), videos)}
    if not found:
        return []
    shown = "; ".join(map(str, list(found.values())[:SHOWN]))
    return [f"{len(found)} crossings between training, validation and test videos: {shown}"]


def pool_of(word: str) -> Pool:
    """The pool of that name. Raises UsageError for any other word."""
    if word not in (known := get_args(Pool)):
        raise UsageError(f"--pool {word}: it is {' or '.join(known)}")
    return cast(Pool, word)


def restricted(fold: Fold, to: Container[str]) -> Fold:
    """`fold` without the videos that are not in `to`."""
    train, val, test = (tuple(each for each in part if each in to) for part in (fold.train, fold.val, fold.test))
    return Fold(train, val, test, fold.label, fold.name)


class Picked(Sequence[Video]):
    """Some of `videos`, each read when it is asked for."""

    def __init__(self, videos: Sequence[Video], places: Sequence[int]) -> None:
        self.videos, self.places = videos, tuple(places)

    @property
    def video_ids(self) -> list[str]:
        known = ids_of(self.videos)
        return [known[place] for place in self.places]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Picked: ...
    def __getitem__(self, at: int | slice) -> Video | Picked:
        return Picked(self.videos, self.places[at]) if isinstance(at, slice) else self.videos[self.places[at]]


def ids_of(videos: Sequence[Video]) -> list[str]:
    """The id of each video. A lazy sequence gives them by its `video_ids`."""
    # Reading 31,892 videos of Mr. HiSum for their ids would read 26 GB.
    known: list[str] | None = getattr(videos, "video_ids", None)
    return [video.video_id for video in videos] if known is None else known


def pick(videos: Sequence[Video], video_ids: Iterable[str]) -> Sequence[Video]:
    """Those of `videos` whose id is in `video_ids`, in that order. Ids of videos that are not there are ignored."""
    at = {video_id: place for place, video_id in enumerate(ids_of(videos))}
    places = [at[video_id] for video_id in video_ids if video_id in at]
    # Shards read several videos of a part at a time; `Picked` would read them one by one.
    if isinstance(videos, Shards):
        return videos.only([videos.entries[place] for place in places])
    return Picked(videos, places)


def tasks_of_root(root: str) -> dict[str, str]:
    """Video id -> task, for the videos of a root that have one."""
    # From the columns of the table: reading the videos would read their features too.
    shards = open_shards(root)
    parts = parts_of(Store(root), shards.table, shards.fingerprint)
    return {video_id: part.task for video_id, part in parts.items() if part.task}


class OwnParts(dict[str, list[str]]):
    """A data set's own split: part -> video ids. `label` says what is tested if it is not the test part."""

    label = "as published"

    @property
    def tests_val(self) -> bool:
        return self.label != OwnParts.label


def own_parts(videos: Sequence[Video], tested: str | None = None) -> OwnParts | None:
    """The data set's own split. None if no video is in its test part.

    Where the authors keep the labels of the test part (QVHighlights), or `tested` asks for it, the val part is the test
    part; to choose an epoch by, videos are then drawn from the training part, as for any data set without val.
    """
    parts = OwnParts({part: [] for part in ("train", "val", "test")})
    is_labelled = False
    # `described` knows the split and the task of a lazy sequence's videos without reading them, `annotated` also what
    # they are measured against.
    known = getattr(videos, "annotated", videos if not hasattr(videos, "described") else None)
    for video in videos.described if known is None else known:  # type: ignore[attr-defined]
        if video.split is not None and video.split in parts:
            parts[video.split].append(video.video_id)
            has_reference = known is None or any(getattr(video, name) is not None for name in REFERENCES)
            is_labelled |= video.split == "test" and has_reference
    has_no_test = not is_labelled and bool(parts["test"] or parts["train"])
    if parts["val"] and (tested == "val" or has_no_test):
        parts["test"], parts["val"], parts.label = parts["val"], [], "as published, tested on its val part"
        return parts
    return parts if parts["test"] else None


def check_some(videos: Sequence[Video], on: str, path: str) -> None:
    """Raise UsageError if there are no videos."""
    if not videos:
        raise UsageError(f"{on}: {path} holds no videos")
