"""SumMe: 25 short user videos; 15 to 18 users each chose segments of them.

Where: the features are `eccv16_dataset_summe_google_pool5.h5`, packed in e-apostolidis/PGL-SUM@81d0d6d data/SumMe
(layout in `eccv16`). The original annotations are in `GT/` of https://gyglim.github.io/me/vsum/index.html (SumMe.zip,
with its own loader python/summe.py): one MATLAB 5 file for each video with `user_score [n_frames, U]`,
`gt_score [n_frames, 1]`, `nFrames` and `FPS`.
Licence: research use, says the annotations' page; the licences of the videos differ.

`user_score` is the number of the user's segment that holds the frame, 0 for none. It says nothing about importance,
so this loader reads only whether it is 0.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms import eccv16
from vsumdata.datasets.benchmarks.forms.downloads import check
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "summe"
PROTOCOL = protocol(NAME)
FRAME_MODEL = eccv16.FRAME_MODEL
FRAME_RECIPE, TEXT_RECIPE = eccv16.FRAME_RECIPE, eccv16.TEXT_RECIPE
NUM_VIDEOS = 25
WHERE = "e-apostolidis/PGL-SUM on GitHub (data/SumMe, unpacked)"
WHERE_GT = "https://gyglim.github.io/me/vsum/index.html (SumMe.zip, folder GT)"


def load(path: str | Path) -> list[Video]:
    """The 25 videos of the HDF5 file at `path`, or of a folder that holds it and perhaps a folder `GT`.

    `GT` adds the true frame rate (`frame_time_s`, `duration_s`). It must fit the HDF5 file: the same users, and as
    many frames but for a few. The HDF5 file must then name its videos. A2Summ's `text_roberta.npy` beside the HDF5 file
    gives sentences. Raises UsageError.
    """
    features = eccv16.find(Path(path), NAME)
    videos = eccv16.load(features, WHERE, NUM_VIDEOS)
    folder = Path(path) / "GT"
    if not folder.is_dir():
        return eccv16.with_text(videos, features)
    unnamed = [video.video_id for video in videos if not video.title]
    if unnamed:
        raise UsageError(
            f"{features}: {unnamed[0]} has no video_name, so its file in GT cannot be found; get it from {WHERE}"
        )
    return eccv16.with_text([_with_rate(video, folder / f"{video.title}.mat") for video in videos], features)


def _with_rate(video: Video, path: Path) -> Video:
    values = read_mat(path)
    # Above 0, not above a level: see the top of this file.
    chosen, fps = values["user_score"].T > 0, float(values["FPS"].item())
    if video.user_summary is None or video.picks is None:
        raise ValueError(f"{video.video_id} has no user_summary or no picks")
    users, width = video.user_summary.shape
    # The files are matched by a title, so check that they are of one video. Two decoders' counts may differ a little.
    if len(chosen) != users or abs(chosen.shape[1] - width) >= eccv16.STEP:
        raise UsageError(
            f"{path} has {list(chosen.shape)} users and frames, {video.video_id} of the HDF5 file "
            f"{list(video.user_summary.shape)}: another video, or another version"
        )
    if not fps > 0:
        raise UsageError(f"{path}: FPS is {fps}")
    return replace(video, duration_s=chosen.shape[1] / fps, frame_time_s=(video.picks / fps).astype(np.float32))


def read_mat(path: Path) -> dict[str, Any]:
    """`user_score` [n_frames, U] and `FPS` of a MATLAB 5 file. Raises UsageError if it is not one, or lacks them."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    check(path, WHERE_GT)
    try:
        values = loadmat(path, variable_names=("user_score", "FPS"))
    # scipy raises any of these for a damaged or foreign file; NotImplementedError is its word for MATLAB 7.3.
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise UsageError(f"{path} is not a MATLAB 5 file, or is cut off ({error}); get it from {WHERE_GT}") from error
    missing = {"user_score", "FPS"} - set(values)
    if missing:
        raise UsageError(f"{path} has no {', '.join(sorted(missing))}; get it from {WHERE_GT}")
    return values
