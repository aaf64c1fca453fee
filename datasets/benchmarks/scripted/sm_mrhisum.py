"""SM-MrHiSum: 29,917 videos of Mr. HiSum, each with a script of its summary and a timed transcript.

Mylonas et al., "SD-MVSum: Script-Driven Multimodal Video Summarization Method and Datasets" (arXiv 2510.05652). Where,
licence and what it shares with SM-VideoXum: `scripts_h5`. Beside that a group holds `gt_summary` [T] and
`change_points` [C,2]. SD-MVSum's code also reads `gtscores` [T], which its README does not list: without them there is
no importance to rank by.

The shots follow one another as [start, next start). Whether the last ends at T or at T-1 is not stated: SD-MVSum's
code adds a frame to the last shot. Both are read and kept as they are, for the protocol `sd-mvsum`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.eccv16 import make_video
from vsumdata.datasets.benchmarks.forms.replayed_h5 import cut_without_gap, shot_pairs, without_empty
from vsumdata.datasets.benchmarks.scripted import scripts_h5
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

NAME = "sm-mrhisum"
PROTOCOL = protocol("sd-mvsum")
WHERE = scripts_h5.WHERE
FRAME_MODEL, TEXT_MODEL = "CLIP ViT-B/32 (SD-MVSum)", "CLIP ViT-B/32 (SD-MVSum)"
NEEDED = ("gt_summary", "change_points")


class SMMrHiSum(scripts_h5.ScriptedVideos):
    def known(self, video_id: str) -> dict[str, Any]:
        return {}

    def read(self, files: h5py.File, video_id: str) -> Video:
        found = self.arrays(files, video_id, NEEDED, may=("gtscores",))
        seconds, summary, score = len(found["video_embeddings"]), found["gt_summary"], found.get("gtscores")
        for key, value in (("gt_summary", summary), ("gtscores", score)):
            if value is not None and value.shape != (seconds,):
                raise UsageError(f"{self.path}: {video_id}: {key} is {list(value.shape)}; expected [{seconds}]")
        shots = without_empty(shot_pairs(self.path, video_id, found["change_points"]))
        if not cut_without_gap(shots, (seconds, seconds - 1)):
            raise UsageError(
                f"{self.path}: {video_id}: change_points do not cut seconds 0 to {seconds} without gap or overlap"
            )
        return make_video(
            self.path,
            video_id=video_id,
            split=self.split[video_id],
            gt_score=score,
            gt_summary=(summary > 0).astype(np.uint8),
            user_summary=summary[None] > 0,
            change_points=shots,
            **self.fields(video_id, found, found["script_embeddings"]),
        )


def load(path: str | Path) -> SMMrHiSum:
    """The videos in the folder `path`, or of the file sm_mrhisum.h5 at `path`, in the order of sm_mrhisum_split.json.

    Raises UsageError for a missing or wrong file; a broken video raises it when it is read.
    """
    return SMMrHiSum(*scripts_h5.file_and_split(path, "sm_mrhisum"))
