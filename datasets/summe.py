"""SumMe: 25 short user videos; 15 to 18 users each chose segments of them.

Where: `eccv16_dataset_summe_google_pool5.h5` packed in e-apostolidis/PGL-SUM@81d0d6d data/SumMe (layout in `eccv16`);
the original annotations, one MATLAB 5 file for each video with `user_score [n_frames, U]`, `gt_score [n_frames, 1]`,
`nFrames` and `FPS`, in `GT/` of https://gyglim.github.io/me/vsum/index.html (SumMe.zip; its own loader is
python/summe.py there).
Licence: research use, by the annotations' page; the videos' own licences differ.

`user_score` stores which of a user's segments a frame is in (0 to 11), not how important it is: only zero or not
zero means something, and that is what is read here.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets import eccv16
from vsumdata.datasets.downloads import check
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError

NAME = "summe"
PROTOCOL = protocol(NAME)
NUM_VIDEOS = 25
WHERE = "e-apostolidis/PGL-SUM on GitHub (data/SumMe, unpacked)"
WHERE_GT = "https://gyglim.github.io/me/vsum/index.html (SumMe.zip, folder GT)"


def load(path: str | Path) -> list[Video]:
    """The 25 videos of the HDF5 file at `path`, or of a folder that holds it and perhaps a folder `GT`.

    `GT` adds the true frame rate (`frame_time_s`, `duration_s`) and must have as many users and, but for a few, frames
    as the HDF5 file, which then must name its videos. Raises UsageError.
    """
    features = _find(Path(path))
    videos = eccv16.load(features, WHERE, NUM_VIDEOS)
    folder = Path(path) / "GT"
    if not folder.is_dir():
        return videos
    unnamed = [video.video_id for video in videos if not video.title]
    if unnamed:
        raise UsageError(
            f"{features}: {unnamed[0]} has no video_name, by which its file in GT is found; get it from {WHERE}"
        )
    return [_with_rate(video, folder / f"{video.title}.mat") for video in videos]


def _find(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.rglob("*summe*.h5"))
    if len(found) != 1:
        raise UsageError(f"{path} holds {len(found)} HDF5 files named *summe*.h5; name the file to read")
    return found[0]


def _with_rate(video: Video, path: Path) -> Video:
    values = read_mat(path)
    chosen, fps = values["user_score"].T > 0, float(values["FPS"].item())
    if video.user_summary is None or video.picks is None:
        raise ValueError(f"{video.video_id} has no user_summary or no picks")
    users, width = video.user_summary.shape
    if len(chosen) != users or abs(chosen.shape[1] - width) >= eccv16.STEP:
        raise UsageError(
            f"{path} has {list(chosen.shape)} users and frames, {video.video_id} of the HDF5 file "
            f"{list(video.user_summary.shape)}: another video, or another version"
        )
    if not fps > 0:
        raise UsageError(f"{path}: FPS is {fps}")
    return replace(video, duration_s=chosen.shape[1] / fps, frame_time_s=(video.picks / fps).astype(np.float32))


def read_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    check(path, WHERE_GT)
    try:
        values = loadmat(path, variable_names=("user_score", "FPS"))
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise UsageError(f"{path} is not a MATLAB 5 file, or is cut off ({error}); get it from {WHERE_GT}") from error
    missing = {"user_score", "FPS"} - set(values)
    if missing:
        raise UsageError(f"{path} has no {', '.join(sorted(missing))}; get it from {WHERE_GT}")
    return values
