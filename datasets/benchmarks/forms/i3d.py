"""MSVA's features of motion, beside TVSum's or SumMe's own: I3D on RGB and on optical flow.

Layout of `msva_video_summarization.tar` (zenodo.org/record/4682137), from TIBHannover/MSVA@e63e6fe README.md ("Dataset
Files Structure") and train.py: `kinetic_features/<tvsum | summe>/<RGB | FLOW>/features/*.npy`, one array [rows, 1024]
for each video. SumMe's files have the videos' names. TVSum's have no known names: file number i by the alphabet is
`video_i`, says train.py. The rows need not be as many as the HDF5 file's steps; MSVA shrinks both to the shorter with
OpenCV's INTER_AREA. Here rows are averaged in the same way to the steps, which have the labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import read_npy
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

MOTION = "i3d:"
STREAMS = ("RGB", "FLOW")
WHERE = "zenodo.org/record/4682137 (msva_video_summarization.tar, unpacked)"
# Relative, and at least so many rows. All videos' rows per step are alike; another video's length gives another rate.
MOST_APART, LEAST_APART = 0.05, 2


def with_motion(videos: Sequence[Video], folder: Path, data_set: str) -> tuple[list[Video], str]:
    """`videos` with the features [T,3D] of three sources, own, RGB and flow, and a remark on where they are from.

    `folder` is MSVA's `kinetic_features`, or the folder of one data set in it. Raises UsageError if a video's file is
    missing, or if the files cannot be of these videos.
    """
    found = list(videos)
    place = folder if (folder / STREAMS[0]).is_dir() else folder / data_set
    sources = [[video.frame_feature for video in found]]
    for stream in STREAMS:
        files = _files(place / stream / "features", found)
        rows = [read_npy(file, WHERE) for file in files.values()]
        for video, file, its in zip(found, files.values(), rows, strict=True):
            _check(file, video, its)
        _check_rates(place / stream, found, rows)
        sources.append([shrunk(its, len(v.frame_time_s)) for v, its in zip(found, rows, strict=True)])
    joined = [
        replace(video, frame_feature=np.concatenate(parts, axis=1))
        for video, *parts in zip(found, *sources, strict=True)
    ]
    return joined, f"3 sources of {found[0].frame_feature.shape[1]} each: {data_set}'s own, I3D RGB, I3D flow"


def _files(folder: Path, videos: Sequence[Video]) -> Mapping[str, Path]:
    """video_id -> its file: by the video's name, or by its number among the sorted files."""
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise UsageError(f"{folder} holds no .npy files; give MSVA's folder kinetic_features, from {WHERE}")
    by_name = {file.stem: file for file in files}
    # `url` ends with the YouTube id.
    named = {
        v.video_id: next(
            (by_name[name] for name in (v.video_id, v.title, (v.url or "")[-11:]) if name in by_name), None
        )
        for v in videos
    }
    known = {video_id: file for video_id, file in named.items() if file is not None}
    if len(known) == len(videos):
        return known
    if known or len(files) != len(videos):
        lacking = next(video_id for video_id, file in named.items() if file is None)
        raise UsageError(
            f"{folder} holds {len(files)} files, {len(known)} of which have the name of one of the {len(videos)} "
            f"videos (first without: {lacking}); get them from {WHERE}"
        )
    return {video.video_id: file for video, file in zip(videos, files, strict=True)}


def _check(file: Path, video: Video, rows: np.ndarray) -> None:
    size = video.frame_feature.shape[1]
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != size:
        raise UsageError(f"{file} is {list(rows.shape)}; expected [rows, {size}], as {video.video_id}'s own features")
    if not np.issubdtype(rows.dtype, np.number) or not np.isfinite(rows).all():
        raise UsageError(f"{file} holds values that are not finite numbers")


def _check_rates(folder: Path, videos: Sequence[Video], rows: Sequence[np.ndarray]) -> None:
    """Raise UsageError unless all videos have about as many rows for each step: else a file is of another video."""
    steps = np.array([len(video.frame_time_s) for video in videos])
    count = np.array([len(its) for its in rows])
    expected = steps * np.median(count / steps)
    for at in np.flatnonzero(abs(count - expected) > np.maximum(MOST_APART * expected, LEAST_APART)).tolist()[:1]:
        raise UsageError(
            f"{folder}: {videos[at].video_id} has {count[at]} rows; its {steps[at]} steps and the other videos' rates "
            f"let expect {expected[at]:.0f}: the files are of other videos, or in another order"
        )


def shrunk(rows: np.ndarray, num: int) -> np.ndarray:
    """`rows` [R,D] as `num` rows, each the mean of its share of them by area: float32 [num,D]."""
    if len(rows) == num:
        return rows.astype(np.float32)
    edges = np.linspace(0, len(rows), num + 1)
    whole = np.minimum(edges.astype(np.int64), len(rows) - 1)
    total = np.vstack([np.zeros(rows.shape[1]), np.cumsum(rows, axis=0, dtype=np.float64)])
    at_edges = total[whole] + (edges - whole)[:, None] * rows[whole]
    return np.asarray(np.diff(at_edges, axis=0) / np.diff(edges)[:, None], np.float32)
