"""MoSu, KoSum and Mr. HiSum with text and audio: "most replayed" curves with three kinds of features a second.

Where: hminjeong/TripleSumm-MoSu and hminjeong/TripleSumm-Mr.HiSum on Hugging Face. MoSu has 52,678 videos and about
40 GB for each kind of features, their Mr. HiSum 30,452 of 31,892 videos. Licence: where we read none is stated for the
data (KoSum: CC BY-NC); what a column `license` of the metadata says is kept.

Layout, read from smkim37/TripleSumm@b7a8e7e dataset.py, utils/generate_summary.py and README.md: for a prefix X (mosu,
mrhisum, …) `X_feat_visual_*.h5`, `X_feat_text_*.h5` and `X_feat_audio_*.h5` hold an array [T,D] for each video, one row
a second; `X_gt.h5` a group for each, with `gt_score` [T], `gt_summary` [T] and `change_points` [C,2]; `X_split.json`
train_keys, val_keys and test_keys; `X_metadata.csv` a row for each. All four arrays of a video have one length there.
Shots are read as closed in that code, and as half-open in Mr. HiSum's own file: each video's numbers tell which they
are, and our `Video` has them closed. The columns of the metadata beside `video_id` and `youtube_id` are not published
there; `title`, `duration` and `license` are read where they exist.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import open_hdf5
from vsumdata.datasets.benchmarks.forms.eccv16 import check_finite, make_video, open_group
from vsumdata.datasets.benchmarks.forms.replayed_h5 import (
    LazyVideos,
    check_videos,
    closed_shots,
    read_array,
    read_metadata,
    read_split,
)
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

NAME = "mosu"
PROTOCOL = protocol(NAME)
WHERE = "hminjeong/TripleSumm-MoSu (or -Mr.HiSum) on Hugging Face"
GT = "_gt.h5"
KINDS = ("visual", "text", "audio")
NEEDED = ("gt_score", "gt_summary", "change_points")
YOUTUBE_ID = re.compile(r"[\w-]{11}", re.ASCII)


class MoSu(LazyVideos):
    """The videos of a prefix, each read when it is asked for.

    `files` has the path of `gt` and of each kind of features that is there.
    """

    def __init__(
        self, files: Mapping[str, Path], split: Mapping[str, str], metadata: Mapping[str, Mapping[str, str]]
    ) -> None:
        super().__init__(split)
        self.files, self.metadata = dict(files), metadata

    @contextlib.contextmanager
    def opened(self) -> Iterator[dict[str, h5py.File]]:
        with contextlib.ExitStack() as stack:
            yield {kind: stack.enter_context(open_hdf5(path, WHERE)) for kind, path in self.files.items()}

    def known(self, video_id: str) -> dict[str, Any]:
        row = self.metadata.get(video_id, {})
        found: dict[str, Any] = {name: row.get(name) or None for name in ("title", "license")}
        # Our own export writes the ids of videos that are not on YouTube into that column too.
        if YOUTUBE_ID.fullmatch(youtube_id := row.get("youtube_id") or ""):
            found["url"] = f"https://www.youtube.com/watch?v={youtube_id}"
        if duration := row.get("duration"):
            found["duration_s"] = float(duration)
        return found

    def read(self, files: Mapping[str, h5py.File], video_id: str) -> Video:
        path = self.files["gt"]
        group = open_group(path, files["gt"], video_id, NEEDED)
        truth = {key: read_array(path, group[key], WHERE) for key in NEEDED}
        seconds = _seconds(path, video_id, truth)
        second, score, summary = np.arange(seconds), truth["gt_score"], truth["gt_summary"]
        features = {kind: self._feature(kind, files[kind], video_id, seconds) for kind in KINDS if kind in files}
        # What is said in a second is not in the files, only its feature.
        seconds_said = range(seconds if "text" in features else 0)
        return make_video(
            path,
            video_id=video_id,
            frame_time_s=second.astype(np.float32),
            frame_feature=features.get("visual", np.zeros((seconds, 0), np.float32)),
            audio_feature=features.get("audio"),
            sentence=[{"start_s": float(at), "end_s": float(at + 1), "text": ""} for at in seconds_said],
            sentence_feature=features.get("text"),
            gt_score=score,
            gt_summary=summary,
            user_summary=summary[None] != 0,
            change_points=closed_shots(path, video_id, truth["change_points"], seconds),
            picks=second,
            n_frames=seconds,
            split=self.split[video_id],
            **self.known(video_id),
        )

    def _feature(self, kind: str, file: h5py.File, video_id: str, seconds: int) -> np.ndarray:
        import h5py

        path, node = self.files[kind], file.get(video_id)
        if not isinstance(node, h5py.Dataset):
            raise UsageError(f"{path}: {video_id} is {'missing' if node is None else 'no array of features'}")
        found = read_array(path, node, WHERE)
        if found.ndim != 2 or len(found) != seconds or not found.shape[1]:
            raise UsageError(
                f"{path}: {video_id} is {list(found.shape)}; expected [{seconds}, any], a row for each gt_score of "
                f"{self.files['gt'].name}"
            )
        check_finite(path, video_id, {kind: found})
        return found


def load(path: str | Path) -> MoSu:
    """The videos in the folder `path`, in the order of the split; of the file X_gt.h5 at `path`, where X are several.

    Without a file of text or audio its features are None; without one of the visual features D = 0; without metadata
    there is no url. Raises UsageError for a missing or wrong file, for several prefixes or encoders in one folder; a
    broken video raises it when it is read.
    """
    folder, prefix = _found(Path(path))
    files = {"gt": folder / f"{prefix}{GT}"} | {
        kind: file for kind in KINDS if (file := _features_of(folder, prefix, kind)) is not None
    }
    split = read_split(folder / f"{prefix}_split.json", f"the split of {prefix}", WHERE)
    for file in files.values():
        check_videos(file, split, WHERE)
    table = folder / f"{prefix}_metadata.csv"
    metadata = read_metadata(table, split, WHERE, ("video_id", "youtube_id")) if table.exists() else {}
    for name, row in metadata.items():
        _check_duration(table, name, row.get("duration"))
    return MoSu(files, split, metadata)


def _found(path: Path) -> tuple[Path, str]:
    """The folder and the prefix of its files."""
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}")
    if not path.is_dir():
        if not path.name.endswith(GT):
            raise UsageError(f"{path} is not a file X{GT}; give that file, or its folder")
        return path.parent, path.name.removesuffix(GT)
    prefixes = sorted(file.name.removesuffix(GT) for file in path.iterdir() if file.name.endswith(GT))
    if not prefixes:
        raise UsageError(f"{path} holds no X{GT} (mosu{GT}, kosum{GT}, …); get it from {WHERE}")
    if len(prefixes) > 1:
        raise UsageError(f"{path} holds {' and '.join(prefixes)}: name the file of one, e.g. {path / prefixes[0]}{GT}")
    return path, prefixes[0]


def _features_of(folder: Path, prefix: str, kind: str) -> Path | None:
    start = f"{prefix}_feat_{kind}_"
    found = sorted(file for file in folder.iterdir() if file.name.startswith(start) and file.name.endswith(".h5"))
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise UsageError(f"{folder} holds {names}: {kind} features of several encoders; leave one of the files there")
    return found[0] if found else None


def _seconds(path: Path, name: str, truth: Mapping[str, np.ndarray]) -> int:
    """T, once the importance and the summary are vectors of that length."""
    score, summary = truth["gt_score"], truth["gt_summary"]
    if score.ndim != 1 or not len(score) or summary.shape != score.shape:
        found = f"gt_score is {list(score.shape)}, gt_summary {list(summary.shape)}"
        raise UsageError(f"{path}: {name}: {found}; expected [T] of one length, at least 1")
    check_finite(path, name, {"gt_score": score, "gt_summary": summary})
    return len(score)


def _check_duration(path: Path, name: str, value: str | None) -> None:
    try:
        is_length = not value or 0 < float(value) < float("inf")
    except ValueError:
        is_length = False
    if not is_length:
        raise UsageError(f"{path}: {name}: duration is {value!r}; expected seconds")
