"""YouTube: 39 web videos with five users' key frames (VSUMM's 50 less cartoons). Others' models train on it.

Where: `eccv16_dataset_youtube_google_pool5.h5`, beside OVP's file and with the same keys (see `ovp`). Its videos are
`video_11` to `video_50` without `video_22`: so they are named in li-plus/DSNet@1804176 splits/*_aug.yml, *_trans.yml.
"""

from __future__ import annotations

from pathlib import Path

from vsumdata.datasets.benchmarks import ovp
from vsumdata.datasets.benchmarks.forms import eccv16
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "youtube"
PROTOCOL = protocol("scores-vs-mean")
FRAME_MODEL = eccv16.FRAME_MODEL
FRAME_RECIPE = eccv16.FRAME_RECIPE
NAMES = tuple(f"video_{number}" for number in range(11, 51) if number != 22)
WHERE = ovp.WHERE


def load(path: str | Path) -> list[Video]:
    """The 39 videos of the HDF5 file at `path`, or of a folder that holds it; others in it (cartoons) are left out.

    Raises UsageError.
    """
    file = eccv16.find(Path(path), NAME)
    found = {video.video_id: video for video in eccv16.load(file, WHERE, needed=eccv16.NEEDED_TO_TRAIN)}
    if missing := [name for name in NAMES if name not in found]:
        raise UsageError(
            f"{file} holds {len(found)} videos, without {len(missing)} of YouTube's {len(NAMES)} (first: "
            f"{missing[0]}): another data set's file, or a part; get it from {WHERE}"
        )
    return [found[name] for name in NAMES]
