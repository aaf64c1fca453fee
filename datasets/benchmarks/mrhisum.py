"""Mr. HiSum: 31,892 YouTube-8M videos. Their importance is YouTube's "most replayed" curve, one value a second.

Where: MRHiSum/MR.HiSum on GitHub. Its README.md links to `mr_hisum.h5` and `metadata.csv`; `mr_hisum_split.json` is in
its folder dataset/. The file comes without features: preprocess/preprocess.py there copies those of YouTube-8M into
it. Licence: CC BY 4.0, as YouTube-8M.

Layout, read from MRHiSum/MR.HiSum@aeb667f model/mrhisum_dataset.py, preprocess/preprocess.py and dataset/DATASET.md:
a group `video_<i>` for each video with `gtscore` [T], `gt_summary` [T], `change_points` [C,2] (here the second number
is the first frame of the *next* shot) and, once copied, `features` [T,1024]; train_keys, val_keys and test_keys in
the split; columns video_id, yt8m_file, random_id, youtube_id, duration, views, labels in the metadata.
`change_points` stay half-open in our `Video`: the protocols `mrhisum` and `mr-hisum` read them that way.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import check, open_hdf5, read_json
from vsumdata.datasets.benchmarks.forms.eccv16 import check_finite, make_video, open_group
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

NAME = "mrhisum"
PROTOCOL = protocol(NAME)
FRAME_MODEL = "Inception of YouTube-8M"
FRAME_RECIPE = "inception-yt8m"
WHERE = "the links in MRHiSum/MR.HiSum's README on GitHub"
# In seconds. YouTube-8M's features and Mr. HiSum's scores count a video's seconds separately, and the counts may
# differ. Both are cut to the shorter.
MAX_MISCOUNT = 2
SPLITS = ("train", "val", "test")


class HiSum(Sequence[Video]):
    """A sequence that reads a video when it is asked for. It can be pickled, for a DataLoader's workers.

    Raises UsageError where a video is broken, only when that video is read.
    """

    # Lazy, because all videos with their features take some 26 GB. The file is opened for each access: an open
    # HDF5 file cannot be pickled.
    def __init__(self, path: Path, split: Mapping[str, str], metadata: Mapping[str, Mapping[str, str]]) -> None:
        self.path, self.split, self.metadata = path, dict(split), metadata
        self.video_ids = list(split)

    def __len__(self) -> int:
        return len(self.video_ids)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> HiSum: ...
    def __getitem__(self, at: int | slice) -> Video | HiSum:
        if isinstance(at, slice):
            return HiSum(self.path, {name: self.split[name] for name in self.video_ids[at]}, self.metadata)
        with open_hdf5(self.path, WHERE) as file:
            return self._read(file, self.video_ids[at])

    def __iter__(self) -> Iterator[Video]:
        # Opened once for the whole pass, not once for each of 31,892 videos.
        with open_hdf5(self.path, WHERE) as file:
            for name in self.video_ids:
                yield self._read(file, name)

    @property
    def described(self) -> Iterator[Video]:
        """Each video's id, url and duration; nothing of it is read."""
        nothing = np.zeros(0, np.float32)
        for name in self.video_ids:
            yield Video(video_id=name, frame_time_s=nothing, frame_feature=nothing[:, None], **self._of_metadata(name))

    def _of_metadata(self, name: str) -> dict[str, Any]:
        if not (row := self.metadata.get(name)):
            return {}
        url = f"https://www.youtube.com/watch?v={row['youtube_id']}"
        return {"url": url, "duration_s": float(row["duration"])}

    def of_split(self, split: str) -> HiSum:
        """The videos of "train", "val" or "test"."""
        return HiSum(self.path, {name: its for name, its in self.split.items() if its == split}, self.metadata)

    def _read(self, file: h5py.File, name: str) -> Video:
        group = open_group(self.path, file, name, ("gtscore", "change_points", summary_key(file.get(name))))
        score, summary = np.asarray(group["gtscore"][()]), np.asarray(group[summary_key(group)][()])
        features = np.asarray(group["features"][()]) if "features" in group else np.zeros((len(score), 0), np.float32)
        _check(self.path, name, {"gtscore": score, "gt_summary": summary, "features": features})
        shots = _half_open(self.path, name, np.asarray(group["change_points"][()]), len(score))
        frame = np.arange(min(len(score), len(features)))
        return make_video(
            self.path,
            video_id=name,
            frame_time_s=frame.astype(np.float32),
            frame_feature=features[: len(frame)],
            gt_score=score[: len(frame)],
            gt_summary=summary[: len(frame)],
            user_summary=summary[None, : len(frame)] != 0,
            change_points=_without_empty(np.minimum(shots, len(frame))),
            picks=frame,
            n_frames=len(frame),
            split=self.split[name],
            license="CC BY 4.0",
            **self._of_metadata(name),
        )


def load(path: str | Path) -> HiSum:
    """The videos in the folder `path`, or of the file mr_hisum.h5 at `path`, in the order of the split.

    Without `metadata.csv` there is no url and no duration; without features D = 0. Raises UsageError for a missing
    or wrong file; a broken video raises it when it is read.
    """
    path = Path(path)
    file_path = path / "mr_hisum.h5" if path.is_dir() else path
    split = _read_split(file_path.with_name("mr_hisum_split.json"))
    with open_hdf5(file_path, WHERE) as file:
        missing = sorted(set(split) - set(file))
        if missing:
            raise UsageError(
                f"{file_path} lacks {len(missing)} of the {len(split)} videos of the split (first: {missing[0]}): "
                f"another data set's file, or a part; get it from {WHERE}"
            )
    metadata_path = file_path.with_name("metadata.csv")
    metadata = _read_metadata(metadata_path, split) if metadata_path.exists() else {}
    return HiSum(file_path, split, metadata)


def summary_key(group: Mapping[str, object] | None) -> str:
    """The name of the summary in a video's group: `gt_summary`, or `gtsummary` where only that exists."""
    # The official code reads `gt_summary`; its README speaks of `gtsummary`.
    return "gtsummary" if group is not None and "gtsummary" in group and "gt_summary" not in group else "gt_summary"


def _read_split(path: Path) -> dict[str, str]:
    found = read_json(path, f"{WHERE} (folder dataset)")
    if not isinstance(found, dict) or any(not isinstance(found.get(f"{split}_keys"), list) for split in SPLITS):
        raise UsageError(f"{path} has no lists train_keys, val_keys and test_keys: it is not mr_hisum_split.json")
    names = [(name, split) for split in SPLITS for name in found[f"{split}_keys"]]
    if len(dict(names)) != len(names):
        raise UsageError(f"{path} has videos in two splits")
    return dict(names)


def _read_metadata(path: Path, split: Mapping[str, str]) -> dict[str, dict[str, str]]:
    check(path, WHERE)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"video_id", "youtube_id", "duration"} - set(reader.fieldnames or ())
        if missing:
            raise UsageError(f"{path} has no column {', '.join(sorted(missing))}; get it from {WHERE}")
        rows = {row["video_id"]: row for row in reader}
    unknown = [name for name in split if name not in rows]
    if unknown:
        raise UsageError(f"{path} does not list {len(unknown)} videos of the split (first: {unknown[0]})")
    return {name: rows[name] for name in split}


def _check(path: Path, name: str, values: Mapping[str, np.ndarray]) -> None:
    sizes = {key: value.shape[0] if value.ndim else 0 for key, value in values.items()}
    seconds = sizes["gtscore"]
    too_far = abs(sizes["features"] - seconds) > MAX_MISCOUNT
    if sizes["gt_summary"] != seconds or too_far or not seconds or not sizes["features"]:
        found = ", ".join(f"{key} {size}" for key, size in sizes.items())
        raise UsageError(f"{path}: {name}: the numbers of seconds differ or are 0: {found}")
    check_finite(path, name, values)


def _half_open(path: Path, name: str, shots: np.ndarray, num_frames: int) -> np.ndarray:
    if shots.ndim != 2 or shots.shape[1:] != (2,) or not len(shots):
        raise UsageError(f"{path}: {name}: change_points is {list(shots.shape)}; expected [shots, 2]")
    # A file may hold empty shots. They add no frame to a summary, so they are no error.
    shots = _without_empty(shots.astype(np.int64))
    start, stop = shots[:, 0], shots[:, 1]
    if (
        not len(shots)
        or start[0] != 0
        or stop[-1] != num_frames
        or (start >= stop).any()
        or (start[1:] != stop[:-1]).any()
    ):
        raise UsageError(f"{path}: {name}: change_points do not cut seconds 0 to {num_frames} without gap or overlap")
    return shots


def _without_empty(shots: np.ndarray) -> np.ndarray:
    return shots[shots[:, 0] != shots[:, 1]]
