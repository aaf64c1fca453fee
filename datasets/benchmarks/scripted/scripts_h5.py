"""SD-MVSum's HDF5 layout: videos with timed transcripts, and scripts that say what a summary should show.

Both data sets hold a group for each video. Read from IDT-ITI/SD-MVSum@5bc59a2 README.md (section A), its
sm-{mrhisum,videoxum}/model/data_loader.py and solver.py:

| key | shape | meaning |
|---|---|---|
| video_embeddings | [T,512] | CLIP ViT-B/32 of one frame a second; of SM-VideoXum one that was tuned on VideoXum |
| script_embeddings | [M,512] or [10,M,512] | a script's sentences; of ten scripts the shorter ones end with zeros |
| transcript_embeddings | [N,512] | the pieces of the transcript |
| transcript_timestamps | [N,2] | their start and end, taken for seconds (no unit is stated) |
| aligned_transcripts | [T,512] | the transcript by frames, zeros where nobody speaks; checked and not kept |

A video without speech may lack the two arrays of pieces. Types are not stated; numbers of any type are read.

Where: zenodo.org/records/19919955, files in `SM-…-Training-Data`. Licence: academic, non-commercial use.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import open_hdf5
from vsumdata.datasets.benchmarks.forms.eccv16 import check_finite, open_group
from vsumdata.datasets.benchmarks.forms.replayed_h5 import LazyVideos, check_videos, read_array, read_split
from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

WHERE = "zenodo.org/records/19919955 (SD-MVSum)"
LICENCE = "academic, non-commercial use"
PIECES = ("transcript_embeddings", "transcript_timestamps")
NEEDED = ("video_embeddings", "script_embeddings", "aligned_transcripts")


class ScriptedVideos(LazyVideos):
    """The videos of the file at `path`, each with one script; read when they are asked for."""

    def __init__(self, path: Path, split: Mapping[str, str]) -> None:
        super().__init__(split)
        self.path = path

    def opened(self) -> AbstractContextManager[h5py.File]:
        return open_hdf5(self.path, WHERE)

    def arrays(self, file: h5py.File, name: str, needed: tuple[str, ...], may: tuple[str, ...] = ()) -> dict[str, Any]:
        """The arrays that both data sets have, with `needed` and those of `may` that are there; checked for T."""
        group = open_group(self.path, file, name, (*NEEDED, *needed))
        keys = (*NEEDED, *needed, *(key for key in (*PIECES, *may) if key in group))
        found = {key: read_array(self.path, group[key], WHERE) for key in keys}
        check_finite(self.path, name, found)
        frames, aligned = found["video_embeddings"], found["aligned_transcripts"]
        if frames.ndim != 2 or not frames.size:
            raise UsageError(f"{self.path}: {name}: video_embeddings is {list(frames.shape)}; expected [T, 512]")
        if aligned.ndim != 2 or len(aligned) != len(frames):
            raise UsageError(
                f"{self.path}: {name}: aligned_transcripts is {list(aligned.shape)}; expected [{len(frames)}, 512]"
            )
        return found

    def fields(self, name: str, found: Mapping[str, np.ndarray], script: np.ndarray) -> dict[str, Any]:
        """What both data sets make of the arrays, as fields of Video. `script` [M,512]."""
        seconds = len(found["video_embeddings"])
        second = np.arange(seconds)
        if script.ndim != 2 or not script.size:
            raise UsageError(f"{self.path}: {name}: the script is {list(script.shape)}; expected [sentences, 512]")
        return {
            "frame_time_s": second.astype(np.float32),
            "frame_feature": found["video_embeddings"],
            "query_feature": script,
            "picks": second,
            # In SM-MrHiSum's file `n_frames` counts the frames of the film; SD-MVSum's code counts these.
            "n_frames": seconds,
            "license": LICENCE,
            **self._transcript(name, found),
        }

    def _transcript(self, name: str, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
        there = [key for key in PIECES if key in found]
        if not there:
            return {}
        if len(there) == 1:
            raise UsageError(f"{self.path}: {name} has {there[0]} alone; expected {' and '.join(PIECES)}")
        feature, span = found[PIECES[0]], found[PIECES[1]]
        width = found["aligned_transcripts"].shape[1]
        # Where nobody speaks, an empty list becomes an array of one axis.
        if not feature.size and not span.size:
            return {"sentence_feature": np.zeros((0, width), np.float32)}
        if feature.ndim != 2 or span.shape != (len(feature), 2):
            shapes = f"{list(feature.shape)}, transcript_timestamps {list(span.shape)}"
            raise UsageError(f"{self.path}: {name}: transcript_embeddings is {shapes}; expected [N, 512] and [N, 2]")
        if (span < 0).any() or (span[:, 0] > span[:, 1]).any():
            at = int(((span < 0).any(1) | (span[:, 0] > span[:, 1])).argmax())
            raise UsageError(
                f"{self.path}: {name}: transcript_timestamps {at} is {span[at].tolist()}; expected start and end in s"
            )
        # The transcripts' texts are files of their own, whose form is not described.
        sentence = [{"start_s": float(start), "end_s": float(end), "text": ""} for start, end in span.tolist()]
        return {"sentence": sentence, "sentence_feature": feature}


def file_and_split(path: str | Path, name: str) -> tuple[Path, dict[str, str]]:
    """The file NAME.h5 in the folder `path` or at `path`, and the split of its videos by the JSON file beside it.

    Raises UsageError where one is missing or wrong, or the file lacks a video of the split.
    """
    path = Path(path)
    file = path / f"{name}.h5" if path.is_dir() else path
    split = read_split(file.with_name(f"{name}_split.json"), f"{name}_split.json", WHERE, keys="{}")
    check_videos(file, split, WHERE)
    return file, split
