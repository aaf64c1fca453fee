"""SM-VideoXum: 11,908 videos of VideoXum, each with the summaries of ten users and a script of every one of them.

Mylonas et al., "SD-MVSum: Script-Driven Multimodal Video Summarization Method and Datasets" (arXiv 2510.05652). Where,
licence and what it shares with SM-MrHiSum: `scripts_h5`. Beside that a group holds `gtscores` [10,T], the users'
summaries: script i asks for summary i.

Each script is a video of its own here, `ID#1` to `ID#10`, with one reference. SD-MVSum's code takes a frame for chosen
if its score, cut to an integer, is not 0; so do we.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.eccv16 import make_video
from vsumdata.datasets.benchmarks.scripted import scripts_h5
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

NAME = "sm-videoxum"
PROTOCOL = protocol("sd-mvsum-videoxum")
WHERE = scripts_h5.WHERE
FRAME_MODEL, TEXT_MODEL = "CLIP tuned on VideoXum (SD-MVSum)", "CLIP tuned on VideoXum (SD-MVSum)"
NUM_SCRIPTS = 10


class SMVideoXum(scripts_h5.ScriptedVideos):
    def known(self, video_id: str) -> dict[str, Any]:
        name, _ = of_script(video_id)
        return {"url": f"https://www.youtube.com/watch?v={name.removeprefix('v_')}"}

    def read(self, files: h5py.File, video_id: str) -> Video:
        name, number = of_script(video_id)
        found = self.arrays(files, name, ("gtscores",))
        seconds, scores, scripts = len(found["video_embeddings"]), found["gtscores"], found["script_embeddings"]
        if scores.shape != (NUM_SCRIPTS, seconds):
            raise UsageError(
                f"{self.path}: {name}: gtscores is {list(scores.shape)}; expected [{NUM_SCRIPTS}, {seconds}]"
            )
        if scripts.ndim != 3 or len(scripts) != NUM_SCRIPTS:
            raise UsageError(
                f"{self.path}: {name}: script_embeddings is {list(scripts.shape)}; expected [{NUM_SCRIPTS}, any, 512]"
            )
        score, script = scores[number - 1], scripts[number - 1]
        chosen = np.abs(score) >= 1
        return make_video(
            self.path,
            video_id=video_id,
            split=self.split[video_id],
            gt_score=score,
            gt_summary=chosen.astype(np.uint8),
            user_summary=chosen[None],
            **self.known(video_id),
            # Rows of zeros fill up the shorter scripts.
            **self.fields(video_id, found, script[script.any(1)]),
        )


def of_script(video_id: str) -> tuple[str, int]:
    """The video's name in the file, and the number of the script from 1."""
    name, _, number = video_id.rpartition("#")
    return name, int(number)


def load(path: str | Path) -> SMVideoXum:
    """A video for each script in the folder `path`, or of the file sm_videoxum.h5 at `path`, in the split's order.

    Raises UsageError for a missing or wrong file; a broken video raises it when it is read.
    """
    file, split = scripts_h5.file_and_split(path, "sm_videoxum")
    numbers = range(1, NUM_SCRIPTS + 1)
    return SMVideoXum(file, {f"{name}#{number}": its for name, its in split.items() for number in numbers})
