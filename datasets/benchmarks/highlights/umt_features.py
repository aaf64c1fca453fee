"""Features as UMT releases them: a file for each video, beside its annotation.

| folder | file of a video | holds |
|---|---|---|
| `video_features` | `<id>_rgb.npy`, `<id>_opt.npy` | I3D of pictures and of optical flow, [clips,1024] each |
| `audio_features` | `<id>.npy` | PANN, [clips,2048] |
| `query_features` (TVSum) | `<id>.npz` | `token` [words,512] of the title |

Read from TencentARC/UMT@bde05e3 datasets/tvsum.py and configs/_base_/datasets; where to get them: its README. Pictures
and flow are concatenated there, and a video is cut to the shortest of features and annotation.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import read_npy
from vsumdata.datasets.video import SHAPES, Video
from vsumdata.manifests.errors import UsageError

VIDEO, AUDIO, QUERY = "video_features", "audio_features", "query_features"
STREAMS = ("rgb", "opt")
FRAME_MODEL = "I3D RGB and flow (UMT)"
WHERE = "the links in TencentARC/UMT's README on GitHub"


class Clips(Sequence[Video]):
    """`videos` with the features in `folder`, each read when it is asked for.

    It can be pickled. A video without clips in common, or with a wrong file, raises UsageError when it is read.
    """

    # Lazy, because 10,000 videos of 60 clips would take 10 GB.
    def __init__(self, videos: Sequence[Video], folder: Path) -> None:
        self.videos, self.folder = videos, folder
        self.video_ids = [video.video_id for video in videos]

    @property
    def described(self) -> Iterator[Video]:
        """The annotations; no feature is read."""
        return iter(self.videos)

    def __len__(self) -> int:
        return len(self.videos)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Clips: ...
    def __getitem__(self, at: int | slice) -> Video | Clips:
        if isinstance(at, slice):
            return Clips(self.videos[at], self.folder)
        return with_features(self.videos[at], self.folder)


def beside(videos: Sequence[Video], folder: Path) -> Sequence[Video]:
    """`videos` with the features in `folder`, if it has a folder `video_features`; else as they are.

    Raises UsageError if a video has no file there.
    """
    if not (folder / VIDEO).is_dir():
        return videos
    for video in videos:
        for stream in STREAMS:
            if not (path := folder / VIDEO / f"{video.video_id}_{stream}.npy").exists():
                raise UsageError(f"{path} is not there; get UMT's features from {WHERE}, or move {folder / VIDEO} away")
    return Clips(videos, folder)


def with_features(video: Video, folder: Path) -> Video:
    """`video` with its features, cut to the clips that annotation and features have. Raises UsageError."""
    streams = [_rows(folder / VIDEO / f"{video.video_id}_{stream}.npy") for stream in STREAMS]
    if len({len(rows) for rows in streams}) > 1:
        counts = " and ".join(str(len(rows)) for rows in streams)
        raise UsageError(f"{folder / VIDEO}: {video.video_id} has {counts} clips of rgb and opt; get them from {WHERE}")
    values: dict[str, Any] = {"frame_feature": np.concatenate(streams, axis=1)}
    if (folder / AUDIO).is_dir():
        values["audio_feature"] = _rows(folder / AUDIO / f"{video.video_id}.npy")
    if (folder / QUERY).is_dir():
        values["query_feature"] = _tokens(folder / QUERY / f"{video.video_id}.npz")
    annotated = len(video.frame_time_s)
    num = min(annotated, *(len(values[name]) for name in ("frame_feature", "audio_feature") if name in values))
    # How far they may differ is not stated. A video of half the length is another one.
    if num * 2 < annotated:
        raise UsageError(
            f"{folder}: {video.video_id} has {num} clips with features and {annotated} annotated ones: other videos'?"
        )
    values = {name: _cut(name, its, num) for name, its in values.items()}
    return replace(video, **first_clips(video, num) | values)


def first_clips(video: Video, num: int) -> dict[str, Any]:
    """The arrays of `video` that count its clips, cut to the first `num`; none if it has no more."""
    if num == len(video.frame_time_s):
        return {}
    arrays = {name: getattr(video, name) for name, shape in SHAPES.items() if "T" in shape and "D" not in shape}
    return {name: _cut(name, array, num) for name, array in arrays.items() if array is not None}


def _cut(name: str, array: np.ndarray, num: int) -> np.ndarray:
    shape = SHAPES[name]
    return array[(slice(None),) * shape.index("T") + (slice(num),)] if "T" in shape else array


def _rows(path: Path) -> np.ndarray:
    """The features [clips, any] in a file, float32."""
    return _checked(path, read_npy(path, WHERE))


def _tokens(path: Path) -> np.ndarray:
    if not path.is_file():
        raise UsageError(f"{path} is not there; get UMT's features from {WHERE}")
    try:
        # A file without ZIP's head is read as .npy, or refused as a pickle: an array has no `token`.
        with np.load(path, allow_pickle=False) as file:
            return _checked(path, file["token"])
    except (
        ValueError,
        EOFError,
        OSError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise UsageError(f"{path} is no .npz file with `token` ({error}); get it again from {WHERE}") from error


def _checked(path: Path, rows: np.ndarray) -> np.ndarray:
    if rows.ndim != 2 or not rows.size or not np.issubdtype(rows.dtype, np.number):
        raise UsageError(f"{path} is {list(rows.shape)} of {rows.dtype}; expected numbers, [rows, size]")
    if not np.isfinite(rows).all():
        raise UsageError(f"{path} holds values that are not finite numbers")
    return rows.astype(np.float32)
