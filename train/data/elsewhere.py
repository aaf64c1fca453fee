"""Train on one data set for a table of another one (`bench --train-on`): its videos, apart from those tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vsumdata.datasets import partition, splits
from vsumdata.datasets.benchmarks.registry import DATASETS
from vsumdata.datasets.join import YOUTUBE_IDS, names, on_youtube
from vsumdata.datasets.shards import Shards
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data.training import Data, Wanted, open_data


def wanted(word: str, features: str | None, *, labelled: bool, labels: str = "auto") -> Wanted:
    """The request for the videos of `word`: a root, or a data set as NAME:PATH, which takes the table's `features`."""
    name = word.partition(":")[0]
    joined = features if name in DATASETS and name != "shards" else None
    return Wanted(data=word, features=joined, labelled=labelled, labels=labels)


def open_apart(request: Wanted, seed: int, on: str, tested: Sequence[Video]) -> Data:
    """Open the training videos of `request`, without those that are videos `tested` of the data set `on`.

    A note counts them, and the training videos that have the task of a test video. Raises UsageError if none is left.
    """
    data = open_data(request, seed)
    parts = {"train": data.train, "val": data.val}
    left = {part: partition.pick(videos, apart(videos, data, on, tested)) for part, videos in parts.items()}
    lost = sum(len(videos) - len(left[part]) for part, videos in parts.items())
    if not left["train"]:
        raise UsageError(f"--train-on {request.data}: each of its {len(data.train)} training videos is tested here")
    notes = [f"{lost} videos of {data.origin.data_set} are tested here and were left out of training"] if lost else []
    theirs = {splits.normalise(task) for task in partition.tasks(tested).values()}
    own = tasks_of(data)
    shared = sum(splits.normalise(own.get(video_id, "")) in theirs for video_id in partition.ids_of(left["train"]))
    if shared:
        notes.append(f"{shared} training videos have the task of a test video")
    return replace(data, train=left["train"], val=left["val"], notes=(*data.notes, *notes))


def apart(videos: Sequence[Video], data: Data, on: str, tested: Sequence[Video]) -> list[str]:
    """The ids of `videos` that are not among those tested."""
    # Ids such as video_1 are in several data sets, so they count within one. Some data sets have YouTube's ids.
    ids, there = partition.ids_of(videos), set(partition.ids_of(tested))
    if data.origin.data_set == on:
        return [video_id for video_id in ids if video_id not in there]
    if data.origin.data_set in YOUTUBE_IDS:
        there = {name for video in tested for name in names(video)}
        return [each for each in ids if there.isdisjoint((each, on_youtube(data.origin.data_set, each)))]
    if on == "shards":
        return [video.video_id for video in videos if there.isdisjoint(names(video))]
    return ids


def tasks_of(data: Data) -> Mapping[str, str]:
    """Video id -> task of the training videos."""
    # From an index: reading the videos of a root would read their features too.
    if isinstance(data.train, Shards):
        return partition.tasks_of_root(str(data.train.root))
    return partition.tasks(data.train)
