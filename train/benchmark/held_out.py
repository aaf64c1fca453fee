"""Whether a trained run may be measured on these videos, or fine-tuned for them: what it has seen, and its features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vsumdata.datasets import partition
from vsumdata.datasets.join import YOUTUBE_IDS, names, on_youtube
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.videos import BenchData
from vsumdata.train.data.origin import Origin, features_of, other_kind
from vsumdata.train.loop import runs
from vsumdata.train.loop.predict import text_of
from vsumdata.train.loop.runs import Info, Trained


def check_unseen(word: str, path: str, data: BenchData) -> None:
    """Raise UsageError if the run at `path`, or one that it started from, was trained or selected on test videos.

    Test videos of this data set may have been seen without their labels: the run's notes say so. `word` is what the
    user gave, for the message.
    """
    info = runs.read_info(Path(path))
    tested = partition.pick(data.videos, data.partition.tested)
    seen = seen_by(info, data.on, tested, unlabelled=info.origin.data_set != data.on)
    # Unlike `eval`, which leaves such videos out: a table must measure all its rows on the same videos.
    if seen:
        raise UsageError(
            f"{word} was trained or selected on {len(seen)} of the {len(tested)} test videos (first: "
            f"{min(seen)}); pre-train without them"
        )


def seen_by(info: Info, data_set: str, videos: Sequence[Video], unlabelled: bool = True) -> set[str]:
    """Ids of those `videos` of `data_set` that a run, or a run that it started from, was trained or selected on.

    With `unlabelled`, videos that were only seen without labels count as well.
    """
    # Ids such as video_1 occur in several data sets, so they are compared within one. A root of ours, VideoXum and
    # Instruct-V2Xum have YouTube's ids, and videos that know theirs (`names`) can be checked against them.
    found: set[str] = set()
    for each in info.seen:
        theirs = set(each.video_ids) if each.labelled or unlabelled else set()
        if each.data_set == data_set:
            found |= theirs.intersection(partition.ids_of(videos))
        elif each.data_set in YOUTUBE_IDS:
            # Also as they are: a root made for VideoXum may have its ids.
            theirs |= {its for video_id in theirs if (its := on_youtube(each.data_set, video_id))}
            found |= {video.video_id for video in videos if not theirs.isdisjoint(names(video))}
    return found


def first_tested(data: BenchData) -> Video:
    """A test video. Raises UsageError if there is none, as where a root has features of none."""
    tested = partition.pick(data.videos, data.partition.tested)
    if not tested:
        raise UsageError(f"{data.on}: no test video has features in {data.features}")
    return tested[0]


def check_kind(trained: Trained, data: BenchData, without_text: str) -> None:
    """Raise UsageError if the data's features are known to be by other models than those of the run.

    `without_text` is how the user would show the run no text, for the message.
    """
    check_same_kind(str(trained.path), trained.info, data, text_of(trained) != "none", f" or {without_text}")


def check_same_kind(word: str, info: Info, data: BenchData, reads_text: bool, without_text: str = "") -> None:
    """Raise UsageError that begins with `word` if the data's features are known to be by other models than `info`'s."""
    theirs = Origin(
        data_set=data.on, features_root=data.features, features=features_of(data.root) if data.root else None
    )
    if why := other_kind(info.origin, theirs, reads_text=reads_text):
        remedy = without_text if "texts'" in why else ""
        raise UsageError(f"{word}: {why}; use features of the same kind (--features ROOT){remedy}")
