"""Write our videos in the HDF5 layout that the field's other code reads (described in `eccv16`).

That code assumes every 15th frame (`[::15]` in A2Summ's datasets.py and CSTA's utils.py). So each of our frames is
written as the first of 15: T features become n_frames = 15·T. Videos are named `video_1`, `video_2`, … in order, as in
the split files of that code; `video_name` holds our id.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsumdata.datasets.benchmarks.forms.eccv16 import STEP
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

FORMAT = "eccv16-h5"


@dataclass
class Exported:
    """A report on each of our videos: its name in the file, or why it is left out."""

    names: dict[str, str] = field(default_factory=dict)  # video_id -> video_<i>
    left_out: dict[str, str] = field(default_factory=dict)  # video_id -> reason


def export(videos: Iterable[Video], path: str | Path) -> Exported:
    """Write `videos` to the HDF5 file at `path`, one at a time. An older file is replaced once all are written.

    A video needs features, and either an importance and shots or a benchmark's own annotations. The others are left
    out and reported. Raises UsageError if the folder is missing, or no video can be written.
    """
    import h5py

    path, done = Path(path), Exported()
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it first")
    # HDF5 cannot be written atomically, and a file cut off by a kill does not open. So write beside it, then rename.
    # The process id keeps two exports to one path apart.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with h5py.File(unfinished, "w") as file:
            for video in videos:
                if why := reason(video):
                    done.left_out[video.video_id] = why
                    continue
                name = f"video_{len(done.names) + 1}"
                write(file.create_group(name), with_reference(video, STEP))
                done.names[video.video_id] = name
        if not done.names:
            first = next(iter(done.left_out.items()), ("", "there are none"))
            raise UsageError(f"none of the {len(done.left_out)} videos can be exported; {first[0]}: {first[1]}")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return done


def reason(video: Video) -> str | None:
    """Why a video cannot be exported; None if it can."""
    if not video.frame_feature.size:
        return "no features"
    if video.user_summary is None:
        return lacks(video)
    missing = [name for name in ("change_points", "picks", "n_frames", "gt_score") if getattr(video, name) is None]
    return f"no {', '.join(missing)}" if missing else None


def write(group: h5py.Group, video: Video) -> None:
    """Write the data sets of one video, with the types of the published files.

    Raises ValueError for a video without a reference.
    """
    shots = video.change_points
    if shots is None or video.gt_score is None or video.user_summary is None:
        raise ValueError(f"{video.video_id} has no reference")
    group["features"] = video.frame_feature.astype(np.float32)
    group["gtscore"] = video.gt_score.astype(np.float32)
    if video.gt_summary is not None:
        group["gtsummary"] = video.gt_summary.astype(np.float32)
    group["user_summary"] = video.user_summary.astype(np.float32)
    group["change_points"] = shots.astype(np.int32)
    group["n_frame_per_seg"] = (shots[:, 1] - shots[:, 0] + 1).astype(np.int32)
    group["n_frames"] = np.int64(video.n_frames or 0)
    group["picks"] = np.asarray(video.picks).astype(np.int32)
    group["n_steps"] = np.int64(len(video.frame_time_s))
    group["video_name"] = video.video_id
