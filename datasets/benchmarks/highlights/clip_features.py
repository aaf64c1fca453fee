"""The features that Moment-DETR's authors released: a .npz file for each video and kind, and one for each query.

Layout, read from jayleicn/moment_detr@b7e553a README.md, moment_detr/scripts/train.sh, moment_detr/start_end_dataset.py
and utils/basic_utils.py: `slowfast_features/VID.npz` (2,304) and `clip_features/VID.npz` (512) with the key `features`
[clips,D], `clip_text_features/qidQID.npz` (512) with the key `last_hidden_state` [words,E]. Each row is scaled to
length 1, kinds are joined in the order of VIDEO_FOLDERS, and a query keeps its first 32 words.

Letters: T clips, D components of their features, Q words, E components of a word's.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import HEAD_BYTES, check
from vsumdata.manifests.errors import UsageError

VIDEO_FOLDERS = ("slowfast_features", "clip_features")
QUERY_FOLDER = "clip_text_features"
VIDEO_KEY, QUERY_KEY = "features", "last_hidden_state"
MOST_WORDS = 32
# In clips. Of QVHighlights' 1,550 validation queries 13 have features of one clip less than their duration tells.
MAX_MISCOUNT = 2
# The official code adds it to a length before it divides.
EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class Released:
    """The folders of features that are there. `where` tells a user how to get the others."""

    of_videos: tuple[Path, ...] = ()
    of_queries: Path | None = None
    where: str

    def check(self, vids: Iterable[str], qids: Iterable[str]) -> None:
        """Raise UsageError if a folder lacks files. Only names are looked at, so it is quick for 10,000 videos."""
        wanted = {folder: [f"{vid}.npz" for vid in dict.fromkeys(vids)] for folder in self.of_videos}
        if self.of_queries:
            wanted[self.of_queries] = [f"qid{qid}.npz" for qid in qids]
        for folder, names in wanted.items():
            there = {path.name for path in folder.iterdir()}
            if missing := [name for name in names if name not in there]:
                raise UsageError(
                    f"{folder} lacks {len(missing)} of {len(names)} files (first: {missing[0]}): unpack all of "
                    f"{self.where}, or take the folder away to do without"
                )

    def of_video(self, vid: str, num_clips: int) -> np.ndarray:
        """The features of a video's clips, float32 [T,D]; D is 0 without a folder.

        Raises UsageError for a broken file, and where the clips are more than `MAX_MISCOUNT` off `num_clips`.
        """
        kinds = [self._rows(folder / f"{vid}.npz", VIDEO_KEY) for folder in self.of_videos]
        if not kinds:
            return np.zeros((num_clips, 0), np.float32)
        for folder, kind in zip(self.of_videos, kinds, strict=True):
            if abs(len(kind) - num_clips) > MAX_MISCOUNT:
                raise UsageError(
                    f"{folder / vid}.npz has {len(kind)} clips, the annotation {num_clips}: features of another video, "
                    f"or of clips of another length; get them from {self.where}"
                )
        # Where the last clips have no features, the official code gives them no score. Here every clip is scored.
        short = min(map(len, kinds))
        held = np.minimum(np.arange(num_clips), short - 1)
        return np.concatenate([kind[held] for kind in kinds], axis=1)

    def of_query(self, qid: str) -> np.ndarray | None:
        """The features of a query's words, float32 [Q,E]; None without a folder.

        Raises UsageError for a broken file.
        """
        if self.of_queries is None:
            return None
        return self._rows(self.of_queries / f"qid{qid}.npz", QUERY_KEY)[:MOST_WORDS]

    def _rows(self, path: Path, key: str) -> np.ndarray:
        found = _read(path, key, self.where)
        if found.ndim != 2 or 0 in found.shape or found.dtype.kind != "f":
            raise UsageError(
                f"{path}: {key} is {found.dtype} {list(found.shape)}; expected floats [rows, components]; get it from "
                f"{self.where}"
            )
        rows = found.astype(np.float32)
        if not np.isfinite(rows).all():
            raise UsageError(f"{path}: {key} holds values that are not finite; get it again from {self.where}")
        return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + EPS), np.float32)


def released_at(places: Sequence[Path], where: str) -> Released:
    """The folders of features that one of `places` has, the first of each name."""

    def at(name: str) -> Path | None:
        return next((place / name for place in places if (place / name).is_dir()), None)

    of_videos = tuple(folder for name in VIDEO_FOLDERS if (folder := at(name)))
    return Released(of_videos=of_videos, of_queries=at(QUERY_FOLDER), where=where)


def _read(path: Path, key: str, where: str) -> np.ndarray:
    """An array of a .npz file. Raises UsageError if it is no such file, is damaged or lacks the key."""
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    if not head.startswith(b"PK"):
        check(path, where)
        raise UsageError(f"{path} is not a .npz file; get it from {where}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if key not in arrays.files:
                has = ", ".join(arrays.files) or "nothing"
                raise UsageError(f"{path} has no {key} (it has {has}): not Moment-DETR's features; get it from {where}")
            return np.asarray(arrays[key])
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError, OSError) as error:
        raise UsageError(f"{path} is damaged or cut off ({error}); get it again from {where}") from error
