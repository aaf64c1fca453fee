"""TVSum as UMT has it: clips of two seconds with the scores of 20 users, a title as query, ten domains.

Where: line/lighthouse on GitHub, data/tvsum: `tvsum_train_release.jsonl` and `tvsum_val_release.jsonl` (40 and 10
videos; the same in wjun0830/QD-DETR), plain or packed (`.gz`); or UMT's `tvsum_anno.json`, by its README. Labels CC BY
3.0, as TVSum's. UMT's features are read where they lie beside the annotation (`umt_features`).

Layout (line/lighthouse@d095eaa, TencentARC/UMT@bde05e3 datasets/tvsum.py): a line for each video: {vid, query (the
title), duration (the number of clips), domain, label [clips,20] of 1 to 5}. UMT's JSON has YouTube id -> {anno
[clips,20], …}: of it only `anno` is known to us, so titles and domains are taken where they are there.

The labels are TVSum's annotations at the middle of each clip, equal in all 50 videos to what protocol `umt-tvsum` cuts
from the annotations themselves (`train/scoring/evaluate.py`). UMT's validation videos are its test videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets import published_splits
from vsumdata.datasets.benchmarks.forms.downloads import numbers
from vsumdata.datasets.benchmarks.forms.eccv16 import make_video
from vsumdata.datasets.benchmarks.forms.gzipped import found, need_keys, read_lines, read_object
from vsumdata.datasets.benchmarks.highlights import umt_features
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "umt-tvsum"
PROTOCOL = protocol(NAME)
FRAME_MODEL = umt_features.FRAME_MODEL
WHERE = "line/lighthouse on GitHub (data/tvsum)"
ANNOTATION = "tvsum_anno.json"
RELEASED = {"train": "tvsum_train_release.jsonl", "test": "tvsum_val_release.jsonl"}
KEYS = ("vid", "query", "duration", "label", "domain")
NUM_USERS = 20
CLIP_S = 2.0
WATCH = "https://www.youtube.com/watch?v="


def load(path: str | Path) -> Sequence[Video]:
    """The videos in the file or folder at `path`: of UMT's form where a folder has both.

    A frame is a clip, at its middle. `user_score` [20,T] are the users' scores, `gt_score` UMT's label, (their sum -
    20) / 80; `query` is the title. Raises UsageError for a missing or wrong file.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}")
    folder = path if path.is_dir() else path.parent
    annotation = found(path, ANNOTATION) if path.is_dir() else None
    files = [annotation] if annotation else [file for name in RELEASED.values() if (file := found(folder, name))]
    if not path.is_dir():
        files = [path]
    if not files:
        raise UsageError(
            f"{path} holds neither {ANNOTATION} nor {' and '.join(RELEASED.values())}; get them from {WHERE}"
        )
    videos: dict[str, Video] = {}
    for file in files:
        for video in _of_lines(file) if ".jsonl" in file.name else _of_umt(file):
            if video.video_id in videos:
                raise UsageError(f"{file}: {video.video_id} is there twice, or in two parts; get it from {WHERE}")
            videos[video.video_id] = video
    return umt_features.beside(list(videos.values()), folder)


def _parts() -> dict[str, tuple[str, str]]:
    """YouTube id -> domain, and `train` or `test`."""
    return {
        video_id: (domain, part)
        for domain, fold in published_splits.by_domain(NAME, "umt").items()
        for part in ("train", "test")
        for video_id in fold[part]
    }


def _of_lines(path: Path) -> Iterator[Video]:
    parts = _parts()
    named = [part for part, name in RELEASED.items() if path.name.removesuffix(".gz") == name]
    for record in read_lines(path, KEYS, "UMT's TVSum", WHERE):
        name = record["vid"]
        domain, part = parts.get(name, (record["domain"], None))
        if record["domain"] != domain:
            raise UsageError(f"{path}: {name}: domain is {record['domain']!r}; in UMT's split it is {domain}")
        video = _video(path, name, record["label"], record, named[0] if named else part)
        clips = numbers(path, name, "duration", record["duration"], ())
        if clips != len(video.frame_time_s):
            raise UsageError(f"{path}: {name}: duration is {clips:g}, but label has {len(video.frame_time_s)} clips")
        yield video


def _of_umt(path: Path) -> Iterator[Video]:
    parts = _parts()
    for name, record in read_object(path, f"UMT's annotation of TVSum ({ANNOTATION})", WHERE).items():
        need_keys(path, name, record, ("anno",), "UMT's TVSum")
        _, part = parts.get(name, ("", None))
        yield _video(path, name, record["anno"], record, part)


def _video(path: Path, name: Any, label: Any, record: Mapping[str, Any], part: str | None) -> Video:
    if not isinstance(name, str) or not name:
        raise UsageError(f"{path}: a video's id is {name!r}; expected a YouTube id")
    users = numbers(path, name, "label", label, (None, NUM_USERS)).T
    if not users.size or users.min() < 1 or users.max() > 5:
        raise UsageError(f"{path}: {name}: label does not hold scores of 1 to 5 from {NUM_USERS} users for each clip")
    title = next((record[key] for key in ("query", "title") if isinstance(record.get(key), str)), None)
    clips = np.arange(users.shape[1])
    return make_video(
        path,
        video_id=name,
        frame_time_s=((clips + 0.5) * CLIP_S).astype(np.float32),
        frame_feature=np.zeros((len(clips), 0), np.float32),
        user_score=users.astype(np.float32),
        gt_score=((users.sum(0) - NUM_USERS) / (4 * NUM_USERS)).astype(np.float32),
        query=title,
        title=title,
        url=WATCH + name,
        license="CC BY 3.0",
        split=part,
    )
