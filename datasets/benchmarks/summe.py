"""SumMe: 25 short user videos; 15 to 18 users each chose segments of them.

Where: the features are `eccv16_dataset_summe_google_pool5.h5`, packed in e-apostolidis/PGL-SUM@81d0d6d data/SumMe
(layout in `eccv16`). The original annotations are in `GT/` of https://gyglim.github.io/me/vsum/index.html (SumMe.zip,
with its own loader python/summe.py): one MATLAB 5 file for each video with `user_score [n_frames, U]`,
`gt_score [n_frames, 1]`, `nFrames` and `FPS`.
Licence: research use, says the annotations' page; the licences of the videos differ.

`user_score` is the number of the user's segment that holds the frame, 0 for none. It says nothing about importance,
so this loader reads only whether it is 0. The file's `gt_score` is the mean of that over the users.

The HDF5 file's `video_1` to `video_25` are the videos in the order of their names, capitals first: so its `video_name`,
and TIBHannover/UnsupervisedVideoSummarization@c1fd6ca data/mapped_video_names.json.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms import eccv16
from vsumdata.datasets.benchmarks.forms.downloads import read_mat5
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "summe"
PROTOCOL = protocol(NAME)
FRAME_MODEL = eccv16.FRAME_MODEL
FRAME_RECIPE, TEXT_RECIPE = eccv16.FRAME_RECIPE, eccv16.TEXT_RECIPE
# In the order of the HDF5 file.
NAMES = (
    "Air_Force_One", "Base jumping", "Bearpark_climbing", "Bike Polo", "Bus_in_Rock_Tunnel", "Car_railcrossing",
    "Cockpit_Landing", "Cooking", "Eiffel Tower", "Excavators river crossing", "Fire Domino", "Jumps",
    "Kids_playing_in_leaves", "Notre_Dame", "Paintball", "Playing_on_water_slide", "Saving dolphines", "Scuba",
    "St Maarten Landing", "Statue of Liberty", "Uncut_Evening_Flight", "Valparaiso_Downhill", "car_over_camera",
    "paluma_jump", "playing_ball",
)  # fmt: skip
NUM_VIDEOS = len(NAMES)
SUFFIX = ".mat"
WHERE = "e-apostolidis/PGL-SUM on GitHub (data/SumMe, unpacked)"
WHERE_GT = "https://gyglim.github.io/me/vsum/index.html (SumMe.zip, folder GT)"


def load(path: str | Path) -> list[Video]:
    """The 25 videos: of the HDF5 file, of the folder `GT`, or of a folder that holds either or both.

    The HDF5 file gives features and shots, A2Summ's `text_roberta.npy` beside it sentences. `GT` adds the true frame
    rate (`frame_time_s`, `duration_s`). It must fit the HDF5 file: the same users, and as many frames but for a few.
    The HDF5 file must then name its videos.

    `GT` alone gives every 15th frame, with D = 0 and without shots: no summary can be made of scores, so scores
    are ranked against the users' choices, `user_score` (1 where the user chose the frame) and their mean `gt_score`.
    Raises UsageError.
    """
    path = Path(path)
    features, folder = _find(path)
    if features is None:
        return _annotated(folder or path)
    videos = eccv16.load(features, WHERE, NUM_VIDEOS)
    if folder is None:
        return eccv16.with_text(videos, features)
    unnamed = [video.video_id for video in videos if not video.title]
    if unnamed:
        raise UsageError(
            f"{features}: {unnamed[0]} has no video_name, so its file in GT cannot be found; get it from {WHERE}"
        )
    return eccv16.with_text([_with_rate(video, folder / f"{video.title}{SUFFIX}") for video in videos], features)


def _find(path: Path) -> tuple[Path | None, Path | None]:
    """The HDF5 file and the folder of annotations that `path` names or holds; None for one that is not there."""
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}, or the annotations from {WHERE_GT}")
    if not path.is_dir():
        if path.suffix == SUFFIX:
            raise UsageError(f"{path} is the annotation of one video; name its folder, which has {NUM_VIDEOS}")
        return path, None
    annotations = path / "GT" if (path / "GT").is_dir() else path if any(path.glob(f"*{SUFFIX}")) else None
    # SumMe.zip holds no HDF5 file. Two of them, or none beside no annotations, are an error.
    if annotations is not None and not any(path.rglob(f"*{NAME}*.h5")):
        return None, annotations
    return eccv16.find(path, NAME), annotations


def _annotated(folder: Path) -> list[Video]:
    there = {file.stem for file in folder.glob(f"*{SUFFIX}")}
    # Their order gives the ids, so one name too many would shift those of the others.
    if missing := [name for name in NAMES if name not in there]:
        raise UsageError(
            f"{folder} annotates {NUM_VIDEOS - len(missing)} of SumMe's {NUM_VIDEOS} videos, not {missing[0]}: a part, "
            f"or another data set's folder; get it from {WHERE_GT}"
        )
    return [_of_annotation(f"video_{number}", folder / f"{name}{SUFFIX}") for number, name in enumerate(NAMES, 1)]


def _of_annotation(video_id: str, path: Path) -> Video:
    chosen, fps = _choices(path)
    picks = np.arange(0, chosen.shape[1], eccv16.STEP)
    return Video(
        video_id=video_id,
        title=path.stem,
        duration_s=chosen.shape[1] / fps,
        frame_time_s=(picks / fps).astype(np.float32),
        frame_feature=np.zeros((len(picks), 0), np.float32),
        user_score=chosen[:, picks].astype(np.float32),
        user_summary=chosen,
        gt_score=chosen[:, picks].mean(0, dtype=np.float32),
        picks=picks,
        n_frames=chosen.shape[1],
    )


def _with_rate(video: Video, path: Path) -> Video:
    chosen, fps = _choices(path)
    if video.user_summary is None or video.picks is None:
        raise ValueError(f"{video.video_id} has no user_summary or no picks")
    users, width = video.user_summary.shape
    # The files are matched by a title, so check that they are of one video. Two decoders' counts may differ a little.
    if len(chosen) != users or abs(chosen.shape[1] - width) >= eccv16.STEP:
        raise UsageError(
            f"{path} has {list(chosen.shape)} users and frames, {video.video_id} of the HDF5 file "
            f"{list(video.user_summary.shape)}: another video, or another version"
        )
    return replace(video, duration_s=chosen.shape[1] / fps, frame_time_s=(video.picks / fps).astype(np.float32))


def _choices(path: Path) -> tuple[np.ndarray, float]:
    """Which frames each user chose, bool [U, n_frames], and the frame rate."""
    values = read_mat(path)
    users, fps = values["user_score"], values["FPS"]
    if users.ndim != 2 or not users.size or not np.issubdtype(users.dtype, np.number) or not np.isfinite(users).all():
        raise UsageError(f"{path}: user_score is {list(users.shape)} of {users.dtype}; expected [frames, users]")
    if fps.size != 1 or not np.issubdtype(fps.dtype, np.number) or not 0 < float(fps.item()) < np.inf:
        raise UsageError(f"{path}: FPS is {fps.tolist()}")
    # Above 0, not above a level: see the top of this file.
    return users.T > 0, float(fps.item())


def read_mat(path: Path) -> dict[str, Any]:
    """`user_score` [n_frames, U] and `FPS` of a MATLAB 5 file. Raises UsageError if it is not one, or lacks them."""
    return read_mat5(path, ("user_score", "FPS"), WHERE_GT)
