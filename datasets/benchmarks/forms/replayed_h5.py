"""What HDF5 files of "most replayed" videos share: a lazy sequence, splits, metadata, shots.

A file of Mr. HiSum, MoSu or SM-MrHiSum holds tens of gigabytes, so a video is read when it is asked for.
"""

from __future__ import annotations

import copy
import csv
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import check, open_hdf5, read_json
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

SPLITS = ("train", "val", "test")


class LazyVideos(Sequence[Video]):
    """A sequence that reads a video when it is asked for. It can be pickled, for a DataLoader's workers.

    `split` has the split of each video, in the order of the videos. Raises UsageError where a video is broken, only
    when that video is read.
    """

    # The files are opened for each access: an open HDF5 file cannot be pickled.
    def __init__(self, split: Mapping[str, str]) -> None:
        self.split = dict(split)
        self.video_ids = list(self.split)

    @abstractmethod
    def opened(self) -> AbstractContextManager[Any]:
        """The files, open for reading."""

    @abstractmethod
    def read(self, files: Any, video_id: str) -> Video:
        """One video of the open `files`."""

    @abstractmethod
    def known(self, video_id: str) -> dict[str, Any]:
        """What is known of a video without its files, as fields of Video."""

    def __len__(self) -> int:
        return len(self.video_ids)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> Video | Self:
        if isinstance(at, slice):
            return self._only({name: self.split[name] for name in self.video_ids[at]})
        video_id = self.video_ids[at]
        with self.opened() as files:
            return self.read(files, video_id)

    def __iter__(self) -> Iterator[Video]:
        # Opened once for the whole pass, not once for each of tens of thousands of videos.
        with self.opened() as files:
            for video_id in self.video_ids:
                yield self.read(files, video_id)

    @property
    def described(self) -> Iterator[Video]:
        """Each video's id, split, url and duration; nothing of it is read."""
        nothing = np.zeros(0, np.float32)
        for name, split in self.split.items():
            known = self.known(name)
            yield Video(video_id=name, frame_time_s=nothing, frame_feature=nothing[:, None], split=split, **known)

    def of_split(self, split: str) -> Self:
        """The videos of "train", "val" or "test"."""
        return self._only({name: its for name, its in self.split.items() if its == split})

    def _only(self, split: Mapping[str, str]) -> Self:
        found = copy.copy(self)
        found.split, found.video_ids = dict(split), list(split)
        return found


def read_split(path: Path, what: str, where: str, keys: str = "{}_keys") -> dict[str, str]:
    """Video -> split, from a JSON file of three lists; `keys` makes a list's name of the split's.

    Raises UsageError for anything else, with `what` the file should be and `where` it comes from.
    """
    found = read_json(path, where)
    wanted = [keys.format(split) for split in SPLITS]
    if not isinstance(found, dict) or any(not _are_names(found.get(key)) for key in wanted):
        raise UsageError(
            f"{path} has no lists {', '.join(wanted[:-1])} and {wanted[-1]} of videos: it is not {what}; "
            f"get it from {where}"
        )
    names = [(name, split) for split in SPLITS for name in found[keys.format(split)]]
    if not names:
        raise UsageError(f"{path} names no videos; get it from {where}")
    if len(dict(names)) != len(names):
        raise UsageError(f"{path} has videos in two splits, or twice in one")
    return dict(names)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def check_videos(path: Path, split: Mapping[str, str], where: str) -> None:
    """Raise UsageError if the HDF5 file at `path` lacks a video of the split. No video is opened."""
    with open_hdf5(path, where) as file:
        there = set(file)
    missing = sorted(set(split) - there)
    if missing:
        raise UsageError(
            f"{path} lacks {len(missing)} of the {len(split)} videos of the split (first: {missing[0]}): "
            f"another data set's file, or a part; get it from {where}"
        )


def read_metadata(
    path: Path, split: Mapping[str, str], where: str, needed: Sequence[str] = ("video_id", "youtube_id", "duration")
) -> dict[str, dict[str, str]]:
    """The rows of a CSV file by `video_id`, for the videos of the split. Raises UsageError if it lacks one of them."""
    check(path, where)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(needed) - set(reader.fieldnames or ())
            if missing:
                raise UsageError(f"{path} has no column {', '.join(sorted(missing))}; get it from {where}")
            rows = {row["video_id"]: row for row in reader}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file ({error}); get it from {where}") from error
    unknown = [name for name in split if name not in rows]
    if unknown:
        raise UsageError(f"{path} does not list {len(unknown)} videos of the split (first: {unknown[0]})")
    return {name: rows[name] for name in split}


def read_array(path: Path, node: Any, where: str) -> np.ndarray:
    """The array in an HDF5 dataset. Raises UsageError that names `path` if its bytes are damaged."""
    # Where several files are open at once, `open_hdf5` would name the one that was opened last.
    try:
        return np.asarray(node[()])
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error}); get it again from {where}") from error


def shot_pairs(path: Path, name: str, shots: np.ndarray) -> np.ndarray:
    """`change_points` as int64 [C,2]. Raises UsageError for another shape, or numbers that count no frames."""
    if shots.ndim != 2 or shots.shape[1:] != (2,) or not len(shots):
        raise UsageError(f"{path}: {name}: change_points is {list(shots.shape)}; expected [shots, 2]")
    if not np.issubdtype(shots.dtype, np.number) or not np.isfinite(shots).all() or (shots != np.floor(shots)).any():
        raise UsageError(f"{path}: {name}: change_points holds values that are not whole frame numbers")
    return shots.astype(np.int64)


def without_empty(shots: np.ndarray) -> np.ndarray:
    """Half-open `shots` without those of no frame. They add nothing to a summary, so they are no error."""
    return shots[shots[:, 0] != shots[:, 1]]


def cut_without_gap(shots: np.ndarray, last: tuple[int, ...]) -> bool:
    """Whether half-open `shots` begin at 0, follow one another, and end at one of the frames `last`."""
    start, stop = shots[:, 0], shots[:, 1]
    return bool(
        len(shots)
        and start[0] == 0
        and int(stop[-1]) in last
        and (start < stop).all()
        and (start[1:] == stop[:-1]).all()
    )


def closed_shots(path: Path, name: str, shots: np.ndarray, num_frames: int) -> np.ndarray:
    """`shots` [C,2] as closed ones, first to last frame, whether they were closed or half-open.

    In both forms the last shot may count its end as the last frame or as the number of frames. Raises UsageError for
    shots that do not cut the frames without gap or overlap.
    """
    shots = shot_pairs(path, name, shots)
    half_open = without_empty(shots)
    # SummDiff's and SD-MVSum's code lengthen the last shot of Mr. HiSum by a frame: their files end at T-1.
    if cut_without_gap(half_open, (num_frames, num_frames - 1)):
        last = np.append(half_open[1:, 0], num_frames) - 1
        return np.stack([half_open[:, 0], last], axis=1)
    opened = np.stack([shots[:, 0], shots[:, 1] + 1], axis=1)
    if opened[-1, 1] == num_frames + 1 and opened[-1, 0] < num_frames:
        opened[-1, 1] = num_frames
    if not cut_without_gap(opened, (num_frames,)):
        raise UsageError(
            f"{path}: {name}: change_points do not cut frames 0 to {num_frames - 1} without gap or overlap"
        )
    return np.stack([opened[:, 0], opened[:, 1] - 1], axis=1)
