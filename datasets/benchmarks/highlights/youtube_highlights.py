"""YouTube Highlights (Sun, Farhadi and Seitz, ECCV 2014): clips of personal videos that their owners kept when editing.

Six domains: dog, gymnastics, parkour, skating, skiing, surfing. Three forms:

| form | `--data` | where |
|---|---|---|
| the authors' | the folder with a folder for each domain | aliensunmin/DomainSpecificHighlight on GitHub (550 videos) |
| UMT's | `youtube_anno.json`, or its folder | TencentARC/UMT's README; nautilus-ai/VideoLights data/youtube_uni |
| lighthouse's | `youtube_highlight_{train,val}_release.jsonl`, or both | line/lighthouse data/youtube_highlight |

The JSON files may be packed (`.gz`). No licence is stated. The videos must be fetched from YouTube: `--features ROOT`
joins ours, and UMT's own features are read where they lie beside the annotation (`umt_features`).

Layout. The authors' (aliensunmin/DomainSpecificHighlight@29083d2 README.md): `<domain>/<YouTube id>/match_label.json`
is [clips, labels], a clip [first frame, end], a label 1 (in the edited video), -1 (not) or 0 (borderline); beside it
`info.json`, whose sixth entry is the title. There is no frame rate. UMT's (nautilus-ai/VideoLights@a072810, read by
TencentARC/UMT@bde05e3 datasets/youtube.py): YouTube id -> {fps, frames, domain, info, clip, match, perhaps mturk};
lighthouse's (line/lighthouse@d095eaa) has a line {vid, query, domain, fps, frames, clip, match, label} for each video.
A clip is a highlight where `match` is above 0: borderline clips are none.

Two clips overlap by half. The frame that stands for a clip is the one in its middle: the first frame is as much in the
clip before. UMT trains and tests by domain, so the domain is the `query`; as a `task` it would keep all videos of a
domain on one side of a split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets import published_splits
from vsumdata.datasets.benchmarks.forms.downloads import numbers
from vsumdata.datasets.benchmarks.forms.eccv16 import NOMINAL_FPS, make_video
from vsumdata.datasets.benchmarks.forms.gzipped import found, need_keys, read_json, read_lines, read_object
from vsumdata.datasets.benchmarks.highlights import umt_features
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "youtube-highlights"
PROTOCOL = protocol("umt-youtube-highlights")
FRAME_MODEL = umt_features.FRAME_MODEL
WHERE = "aliensunmin/DomainSpecificHighlight on GitHub, or the links in TencentARC/UMT's README"
DOMAINS = ("dog", "gymnastics", "parkour", "skating", "skiing", "surfing")
ANNOTATION = "youtube_anno.json"
RELEASED = {"train": "youtube_highlight_train_release.jsonl", "test": "youtube_highlight_val_release.jsonl"}
KEYS = ("fps", "frames", "domain", "clip", "match")
LABELS = (-1, 0, 1)
TITLE = 5  # its place in `info`
WATCH = "https://www.youtube.com/watch?v="


def load(path: str | Path) -> Sequence[Video]:
    """The videos in the file or folder at `path`: of UMT's form where a folder has several, else lighthouse's.

    A frame is a clip. `gt_summary` and `gt_score` are 1 where it is a highlight, `query` is the domain, and `split` is
    UMT's, whose validation part is `test`; None for videos that UMT leaves out. Without a frame rate, times assume 30
    a second until a root of ours tells the length. Raises UsageError for a missing or wrong file.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}")
    if not path.is_dir():
        return umt_features.beside(_once([path], [_of_file(path)]), path.parent)
    if annotation := found(path, ANNOTATION):
        return umt_features.beside(list(_of_umt(annotation)), path)
    if files := [file for name in RELEASED.values() if (file := found(path, name))]:
        return umt_features.beside(_once(files, [_of_lighthouse(file) for file in files]), path)
    if folders := [path / domain for domain in DOMAINS if (path / domain).is_dir()]:
        return umt_features.beside(_once(folders, [_of_authors(folder) for folder in folders]), path)
    raise UsageError(
        f"{path} holds neither {ANNOTATION} nor {' and '.join(RELEASED.values())}, nor a folder for each of "
        f"{', '.join(DOMAINS)}; get them from {WHERE}"
    )


def _of_file(path: Path) -> Iterator[Video]:
    return _of_lighthouse(path) if ".jsonl" in path.name else _of_umt(path)


def _once(paths: Sequence[Path], parts: Sequence[Iterator[Video]]) -> list[Video]:
    videos: dict[str, Video] = {}
    for path, part in zip(paths, parts, strict=True):
        for video in part:
            if video.video_id in videos:
                raise UsageError(f"{path}: {video.video_id} is there twice, or in two parts; get it from {WHERE}")
            videos[video.video_id] = video
    return list(videos.values())


def _of_umt(path: Path) -> Iterator[Video]:
    parts = umt_parts()
    for name, record in read_object(path, f"YouTube Highlights' annotation ({ANNOTATION})", WHERE).items():
        need_keys(path, name, record, KEYS, "YouTube Highlights")
        yield _timed(path, name, record, parts.get(name))


def _of_lighthouse(path: Path) -> Iterator[Video]:
    named = [part for part, name in RELEASED.items() if path.name.removesuffix(".gz") == name]
    parts = umt_parts()
    for record in read_lines(path, ("vid", "label", *KEYS), "YouTube Highlights", WHERE):
        name = record["vid"]
        video = _timed(path, name, record, named[0] if named else parts.get(name))
        labels = numbers(path, name, "label", record["label"], (None, 1))[:, 0]
        if video.gt_score is None or not np.array_equal(labels, video.gt_score):
            raise UsageError(f"{path}: {name}: label is not 1 where match is above 0, and 0 elsewhere")
        yield video


def _of_authors(folder: Path) -> Iterator[Video]:
    parts = umt_parts()
    videos = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    if not videos:
        raise UsageError(f"{folder} holds no videos; get it from {WHERE}")
    for video in videos:
        path = video / "match_label.json"
        value = read_json(path, WHERE)
        if not isinstance(value, list) or len(value) != 2:
            raise UsageError(f"{path} is not [clips, labels]; get it from {WHERE}")
        record = {"domain": folder.name, "clip": value[0], "match": value[1]}
        if (info := video / "info.json").exists():
            record["info"] = read_json(info, WHERE)
        yield _video(path, video.name, record, parts.get(video.name))


def umt_parts() -> dict[str, str]:
    """YouTube id -> `train` or `test`, for the videos of UMT's split, of which some have no annotation."""
    return {
        video_id: part
        for fold in published_splits.by_domain(NAME, "umt").values()
        for part in ("train", "test")
        for video_id in fold[part]
    }


def _timed(path: Path, name: Any, record: Mapping[str, Any], part: str | None) -> Video:
    """A video with a frame rate and a length."""
    fps = float(numbers(path, str(name), "fps", record["fps"], ()))
    # UMT writes the number of frames as a text.
    frames = float(numbers(path, str(name), "frames", record["frames"], ()))
    if fps <= 0 or frames < 1:
        raise UsageError(f"{path}: {name}: {frames:g} frames at {fps:g} a second; expected positive numbers")
    return _video(path, name, record, part, fps=fps, duration_s=frames / fps)


def _video(
    path: Path, name: Any, record: Mapping[str, Any], part: str | None, fps: float | None = None, **more: Any
) -> Video:
    if not isinstance(name, str) or not name:
        raise UsageError(f"{path}: a video's id is {name!r}; expected a YouTube id")
    if (domain := record["domain"]) not in DOMAINS:
        raise UsageError(f"{path}: {name}: domain is {domain!r}; expected one of {', '.join(DOMAINS)}")
    clips = numbers(path, name, "clip", record["clip"], (None, 2))
    match = numbers(path, name, "match", record["match"], (len(clips),))
    first, end = clips.T
    if not len(clips) or (first < 0).any() or (end <= first).any() or (np.diff(first) <= 0).any():
        raise UsageError(f"{path}: {name}: clip does not hold first frames and ends of clips in the order of time")
    if not np.isin(match, LABELS).all():
        raise UsageError(f"{path}: {name}: match holds {match[~np.isin(match, LABELS)][0]:g}; expected -1, 0 or 1")
    picks = ((first + end) // 2).astype(np.int64)
    info = record.get("info")
    title = info[TITLE] if isinstance(info, list) and len(info) > TITLE else None
    return make_video(
        path,
        video_id=name,
        frame_time_s=(picks / (fps or NOMINAL_FPS)).astype(np.float32),
        frame_feature=np.zeros((len(clips), 0), np.float32),
        gt_summary=(match > 0).astype(np.uint8),
        gt_score=(match > 0).astype(np.float32),
        picks=picks,
        n_frames=int(end.max()),
        query=domain,
        title=title if isinstance(title, str) else None,
        url=WATCH + name,
        split=part,
        **more,
    )
