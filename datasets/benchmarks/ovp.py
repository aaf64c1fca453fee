"""OVP: 50 videos of the Open Video Project, each with five users' key frames (VSUMM). Others' models train on it.

Where: the features are `eccv16_dataset_ovp_google_pool5.h5`, in the archives of li-plus/DSNet@1804176 README.md
("Datasets Preparation") and KaiyangZhou/pytorch-vsumm-reinforce (layout in `eccv16`). Some forms of it hold features,
`gtscore` and `gtsummary` alone: enough to train on, and for ranks against `gtscore`, but not for F1.

The users' key frames are in BHI-Research/OST@5e7a339 user_summaries/VSUMM (form: see `key_frames`). Licence: GPL-3.0 is
the toolbox's; the authors of the data (sandraavila/vsumm@1a5167e) name none. The files do not say how long the videos
are. That repository's README.md has numbers of frames, but some cannot be right: a method has a key frame after the end
of v61, and v64 and v65 are of one length there.

Which `video_i` of the HDF5 file is which `v21` to `v70` is written nowhere, and the HDF5 file does not name its videos.
So the two are joined only if a copy of the file has these names as `video_name`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vsumdata.datasets.benchmarks.forms import eccv16, key_frames
from vsumdata.datasets.benchmarks.forms.tvsum_annotations import NUM_USERS as TVSUM_USERS
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "ovp"
PROTOCOL = protocol("scores-vs-mean")
FRAME_MODEL = eccv16.FRAME_MODEL
FRAME_RECIPE = eccv16.FRAME_RECIPE
NUM_VIDEOS = 50
NUM_USERS = 5
WHERE = "li-plus/DSNet on GitHub (README, Datasets Preparation)"
WHERE_KEY_FRAMES = "BHI-Research/OST on GitHub (user_summaries/VSUMM)"
# The files' names in VSUMM's own data.
NAMES = tuple(f"v{number}" for number in range(21, 71))
BELOW = (".", "VSUMM", "user_summaries/VSUMM")


def load(path: str | Path) -> list[Video]:
    """The 50 videos: of the HDF5 file, of the users' key frames, or of a folder that holds either or both.

    Key frames alone give videos `v21` to `v70` with every 15th frame, D = 0, and `user_summary` true at the key
    frames; protocol `vsumm` compares with them. `n_frames` is then the last key frame of any user and one more, the
    least that it can be. Raises UsageError.
    """
    path = Path(path)
    folder = _key_frames_in(path)
    if folder is not None and not any(path.rglob(f"*{NAME}*.h5")):
        return [_annotated(name, users) for name, users in _read(folder).items()]
    file = eccv16.find(path, NAME)
    videos = eccv16.load(file, WHERE, NUM_VIDEOS, eccv16.NEEDED_TO_TRAIN)
    # TVSum's file has as many videos, of the same names. Only the number of users tells.
    if any(video.user_summary is not None and len(video.user_summary) == TVSUM_USERS for video in videos):
        raise UsageError(
            f"{file}: user_summary is of {TVSUM_USERS} users, as TVSum's; OVP has 5: another data set's file?"
        )
    return videos if folder is None else _joined(file, videos, folder)


def _key_frames_in(path: Path) -> Path | None:
    """The folder of key frames that `path` is or holds; None if there is none."""
    if path.suffix == key_frames.SUFFIX:
        raise UsageError(f"{path} has the key frames of one video; name its folder, which has {NUM_VIDEOS}")
    # `v21.csv` itself may be the one that is missing.
    return next((path / name for name in BELOW if any((path / name).glob(f"v[0-9]*{key_frames.SUFFIX}"))), None)


def _read(folder: Path) -> dict[str, list[np.ndarray]]:
    """The users' key frames by the video's name."""
    files = {name: folder / f"{name}{key_frames.SUFFIX}" for name in NAMES}
    if missing := [name for name, file in files.items() if not file.exists()]:
        raise UsageError(
            f"{folder} has the key frames of {NUM_VIDEOS - len(missing)} of OVP's {NUM_VIDEOS} videos, not of "
            f"{missing[0]}: a part, or another data set's; get it from {WHERE_KEY_FRAMES}"
        )
    found = {name: key_frames.read(file, WHERE_KEY_FRAMES) for name, file in files.items()}
    for name, users in found.items():
        if len(users) != NUM_USERS:
            raise UsageError(
                f"{files[name]} has {len(users)} lines; expected {NUM_USERS}, one for each user: a method's, "
                f"or a part; get it from {WHERE_KEY_FRAMES}"
            )
    return found


def _annotated(name: str, users: list[np.ndarray]) -> Video:
    summary = key_frames.as_summary(users, 0)
    picks = np.arange(0, summary.shape[1], eccv16.STEP)
    return Video(
        video_id=name,
        # All of VSUMM's videos from OVP have 30 frames a second (sandraavila/vsumm@1a5167e README.md).
        frame_time_s=(picks / eccv16.NOMINAL_FPS).astype(np.float32),
        frame_feature=np.zeros((len(picks), 0), np.float32),
        user_summary=summary,
        picks=picks,
        n_frames=summary.shape[1],
    )


def _joined(file: Path, videos: Sequence[Video], folder: Path) -> list[Video]:
    """`videos` with the users' key frames as `user_summary`."""
    if sorted(video.title or "" for video in videos) != sorted(NAMES):
        named = videos[0].title
        raise UsageError(
            f"{file}: {videos[0].video_id} has {f'the name {named}' if named else 'no video_name'}; without the names "
            f"{NAMES[0]} to {NAMES[-1]} its key frames in {folder} cannot be found; name the HDF5 file or that folder"
        )
    users = _read(folder)
    return [_with_key_frames(file, video, users[str(video.title)]) for video in videos]


def _with_key_frames(file: Path, video: Video, users: list[np.ndarray]) -> Video:
    summary = key_frames.as_summary(users, video.n_frames or 0)
    if video.n_frames and summary.shape[1] - video.n_frames >= eccv16.STEP:
        raise UsageError(
            f"{file}: {video.video_id} has {video.n_frames} frames, and {video.title} a key frame at "
            f"{summary.shape[1] - 1}: another video, or another version"
        )
    return replace(video, user_summary=summary)
