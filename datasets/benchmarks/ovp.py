"""OVP: 50 videos of the Open Video Project, each with five users' key frames (VSUMM). Others' models train on it.

Where: `eccv16_dataset_ovp_google_pool5.h5`, in the archives of li-plus/DSNet@1804176 README.md ("Datasets Preparation")
and KaiyangZhou/pytorch-vsumm-reinforce (layout in `eccv16`). Some forms of it hold features, `gtscore` and `gtsummary`
alone: enough to train on, and for ranks against `gtscore`, but not for F1.
"""

from __future__ import annotations

from pathlib import Path

from vsumdata.datasets.benchmarks.forms import eccv16
from vsumdata.datasets.benchmarks.forms.tvsum_annotations import NUM_USERS as TVSUM_USERS
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "ovp"
PROTOCOL = protocol("scores-vs-mean")
FRAME_MODEL = eccv16.FRAME_MODEL
FRAME_RECIPE = eccv16.FRAME_RECIPE
NUM_VIDEOS = 50
WHERE = "li-plus/DSNet on GitHub (README, Datasets Preparation)"


def load(path: str | Path) -> list[Video]:
    """The 50 videos of the HDF5 file at `path`, or of a folder that holds it. Raises UsageError."""
    file = eccv16.find(Path(path), NAME)
    videos = eccv16.load(file, WHERE, NUM_VIDEOS, eccv16.NEEDED_TO_TRAIN)
    # TVSum's file has as many videos, of the same names. Only the number of users tells.
    if any(video.user_summary is not None and len(video.user_summary) == TVSUM_USERS for video in videos):
        raise UsageError(
            f"{file}: user_summary is of {TVSUM_USERS} users, as TVSum's; OVP has 5: another data set's file?"
        )
    return videos
