"""The field's common HDF5 layout, `eccv16_dataset_*_google_pool5.h5`: one group for each video, named `video_<i>`.

| key | shape | meaning |
|---|---|---|
| features | [T,1024] | GoogLeNet pool5 of every 15th frame |
| gtscore | [T] | importance, the target of regression |
| gtsummary | [T] | the authors' summary (later code does not read it; left out where it is not [T]) |
| user_summary | [U,n] | a frame is chosen where above 0, one row for each user; n may differ from n_frames by a few |
| change_points | [C,2] | first and last frame of each shot, both inclusive; the very last may be n_frames |
| n_frame_per_seg | [C] | length of each shot (not read: change_points give it) |
| n_frames, n_steps | scalars | frames of the video, T |
| picks | [T] | the original frame of each feature |
| video_name | scalar or [1] | SumMe only: the file's name |

A2Summ's download has a second file beside it, `text_roberta.npy`: a pickled dictionary, `video_<i>` -> [M,768], one row
for each caption. The captions have no times there: caption j of a video with T steps goes with the steps from
j·⌈T/M⌉ to (j+1)·⌈T/M⌉ (boheumd/A2Summ@5c7dcea datasets.py, VideoSummDataset; README.md, data/{TVSum,SumMe}/feature).

Read from e-apostolidis/CA-SUM@43eee5d README.md ("Data") and inference/inference.py, e-apostolidis/PGL-SUM@81d0d6d
model/data_loader.py, thswodnjs3/CSTA@b070f7d dataset.py, li-plus/DSNet@1804176 src/helpers/data_helper.py. The files
were made by Ke Zhang and Wei-Lun Chao and first published with KaiyangZhou/pytorch-vsumm-reinforce.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import open_hdf5, read_npy_dict
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

if TYPE_CHECKING:
    import h5py

NEEDED = ("features", "gtscore", "user_summary", "change_points", "n_frames", "picks")
# OVP's and YouTube's files: pytorch-vsumm-reinforce's readme says that these have `features`, `gtscore` and
# `gtsummary` alone; DSNet's training reads shots, n_frames and picks there too, and `user_summary` if there is one.
NEEDED_TO_TRAIN = ("features", "gtscore")
FRAME_MODEL = "GoogLeNet pool5"
# Names in stages/encoders/recipes.py.
FRAME_RECIPE, TEXT_RECIPE = "googlenet-pool5", "roberta-a2summ"
TEXT = "text_roberta.npy"
WHERE_TEXT = "the link in boheumd/A2Summ's README on GitHub"
STEP = 15  # the published files hold every 15th frame
# The layout has no frame rate. TVSum's videos have 24 to 30; annotations with a length replace this guess.
NOMINAL_FPS = 30.0


def load(path: Path, where: str, num_videos: int | None = None, needed: tuple[str, ...] = NEEDED) -> list[Video]:
    """The videos of the HDF5 file at `path`, in the order of their numbers.

    `num_videos`: how many videos the data set has, None to accept any number. `needed`: the keys that each must have.
    `frame_time_s` assumes `NOMINAL_FPS`. Raises UsageError with video and key where something is missing or does not
    fit.
    """
    with open_hdf5(path, where) as file:
        names = in_order(file)
        if num_videos is not None:
            _check_names(path, names, num_videos, where)
        return [read(path, file, name, needed) for name in names]


def find(path: Path, name: str) -> Path:
    """The HDF5 file at `path`, or the one of the data set `name` in that folder. Raises UsageError."""
    if not path.is_dir():
        return path
    found = sorted(path.rglob(f"*{name}*.h5"))
    if len(found) != 1:
        raise UsageError(f"{path} holds {len(found)} HDF5 files named *{name}*.h5; name the file to read")
    return found[0]


def with_text(videos: Sequence[Video], features: Path) -> list[Video]:
    """`videos` with A2Summ's captions, if `text_roberta.npy` lies beside the HDF5 file `features`; else as they are.

    Call it last: the captions' times follow from `frame_time_s`. A caption's text is not in the file; it is "". Raises
    UsageError for a file that is not of these videos.
    """
    path = features.with_name(TEXT)
    if not path.exists():
        return list(videos)
    found = read_npy_dict(path, WHERE_TEXT)
    missing = [video.video_id for video in videos if video.video_id not in found]
    if missing or len(found) != len(videos):
        raise UsageError(
            f"{path} has {len(found)} videos, {features.name} {len(videos)}"
            + (f" (first without text: {missing[0]})" if missing else "")
            + ": another data set's file?"
        )
    return [_spoken(path, video, np.asarray(found[video.video_id])) for video in videos]


def _spoken(path: Path, video: Video, feature: np.ndarray) -> Video:
    check_finite(path, video.video_id, {"text": feature})
    if feature.ndim != 2 or not feature.size:
        raise UsageError(f"{path}: {video.video_id} is {list(feature.shape)}; expected [captions, 768]")
    time_s = video.frame_time_s
    # One step past the last frame ends the video. A video of one step lasts a second.
    end_s = time_s[-1] + (time_s[-1] - time_s[-2] if len(time_s) > 1 else 1)
    edges = np.append(time_s, np.float32(end_s))
    share = -(-len(time_s) // len(feature))
    at = np.minimum(np.arange(len(feature) + 1) * share, len(time_s))
    # A caption that begins behind the last step covers none: its start and end are the same.
    sentence = [{"start_s": float(edges[a]), "end_s": float(edges[b]), "text": ""} for a, b in pairwise(at)]
    return replace(video, sentence=sentence, sentence_feature=feature.astype(np.float32))


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names by their number: `video_2` before `video_10`."""
    # HDF5 lists its groups by the alphabet, and position i must be video i of the annotations.
    return sorted(
        names, key=lambda name: (int(digits) if (digits := name.rpartition("_")[2]).isdecimal() else -1, name)
    )


def read(path: Path, file: h5py.File, name: str, needed: tuple[str, ...] = NEEDED) -> Video:
    """One video of the open `file`. Raises UsageError with video and key where something does not fit.

    Without `picks` the frames are taken as every `STEP`-th one; shots without `n_frames` are not read.
    """
    group = open_group(path, file, name, needed)
    values = {key: np.asarray(group[key][()]) for key in NEEDED if key in group}
    values.setdefault("picks", np.arange(len(values["gtscore"]) if values["gtscore"].ndim else 0) * STEP)
    n_frames = int(scalar(path, name, "n_frames", values["n_frames"])) if "n_frames" in values else None
    _check_frames(path, name, values, n_frames)
    picks = values["picks"].astype(np.int64)
    shots = None
    if "change_points" in values and n_frames is not None:
        shots = _shots(path, name, values["change_points"], n_frames, _stride(picks))
    summary = np.asarray(group["gtsummary"][()]) if "gtsummary" in group else None
    return make_video(
        path,
        video_id=name,
        title=_text(group["video_name"][()]) if "video_name" in group else None,
        frame_time_s=(picks / NOMINAL_FPS).astype(np.float32),
        frame_feature=values["features"],
        gt_score=values["gtscore"],
        # No later code reads gtsummary, so one of another length is no reason to refuse the file.
        gt_summary=summary if summary is not None and summary.shape == picks.shape else None,
        user_summary=values["user_summary"] > 0 if "user_summary" in values else None,
        change_points=shots,
        picks=picks,
        n_frames=n_frames,
    )


def _text(value: object) -> str | None:
    """The text in a scalar or in an array of one element; None where it is empty."""
    # h5py gives bytes or str, depending on how the writer declared the text.
    found = np.asarray(value).reshape(-1)
    if not found.size:
        return None
    return found[0].decode() if isinstance(found[0], bytes) else str(found[0])


def make_video(path: Path, **values: Any) -> Video:
    """A Video of these values. Its ValueError about a shape becomes a UsageError about the file at `path`."""
    try:
        return Video(**values)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def open_group(path: Path, file: h5py.File, name: str, needed: Sequence[str]) -> Mapping[str, Any]:
    """The group of a video. Raises UsageError if the group or one of the `needed` data sets is missing."""
    import h5py

    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise UsageError(f"{path}: {name} is missing" if group is None else f"{path}: {name} is not a video's group")
    missing = [key for key in needed if not isinstance(group.get(key), h5py.Dataset)]
    if missing:
        raise UsageError(f"{path}: {name} has no {', '.join(missing)}; it has {', '.join(sorted(group)) or 'nothing'}")
    return group


def scalar(path: Path, name: str, key: str, value: np.ndarray) -> float:
    """The one number in `value`. Raises UsageError if it holds several or none."""
    # Some writers wrap the number in an array, as [[63.0]].
    if value.size != 1:
        raise UsageError(f"{path}: {name}: {key} has shape {list(value.shape)}; expected one number")
    return float(value.reshape(()))


def check_finite(path: Path, name: str, values: Mapping[str, np.ndarray]) -> None:
    """Raise UsageError if an array is not numeric or holds NaN or infinity."""
    for key, value in values.items():
        if not np.issubdtype(value.dtype, np.number) or not np.isfinite(value).all():
            raise UsageError(f"{path}: {name}: {key} holds values that are not finite numbers")


def _check_names(path: Path, names: Sequence[str], num_videos: int, where: str) -> None:
    # TVSum's and SumMe's files have the same layout and the same names; only the number of videos tells them apart.
    expected = {f"video_{i}" for i in range(1, num_videos + 1)}
    if set(names) != expected:
        strange = in_order(set(names) ^ expected)[:3]
        raise UsageError(
            f"{path} holds {len(names)} videos, not video_1 to video_{num_videos} (first differences: "
            f"{', '.join(strange)}): another data set's file, or a part; get it from {where}"
        )


def _check_frames(path: Path, name: str, values: Mapping[str, np.ndarray], n_frames: int | None) -> None:
    sizes = {key: values[key].shape[0] if values[key].ndim else 0 for key in ("features", "gtscore", "picks")}
    if len(set(sizes.values())) > 1 or not sizes["features"]:
        found = ", ".join(f"{key} {size}" for key, size in sizes.items())
        raise UsageError(f"{path}: {name}: the numbers of steps differ or are 0: {found}")
    check_finite(path, name, {key: value for key, value in values.items() if key not in ("change_points", "n_frames")})
    if n_frames is None:
        return
    picks, users = values["picks"], values.get("user_summary")
    if picks.ndim != 1 or (np.diff(picks) <= 0).any() or picks[0] < 0 or picks[-1] >= n_frames:
        raise UsageError(f"{path}: {name}: picks do not ascend within 0 to n_frames - 1 = {n_frames - 1}")
    _check_whole(path, name, "picks", picks)
    # Seconds ascend as well, and so do the numbers 0 to T-1 of the steps: only their end tells them from frames.
    if len(picks) > 1 and n_frames - picks[-1] > _stride(picks):
        raise UsageError(
            f"{path}: {name}: picks end at {picks[-1]} in steps of {_stride(picks)}; expected frame numbers that end "
            f"within one step of n_frames = {n_frames} (not seconds, nor the numbers of the steps)"
        )
    # Two decoders can count a video's frames differently: genuine files are up to 14 frames off.
    if users is not None and (users.ndim != 2 or abs(users.shape[1] - n_frames) >= STEP or not len(users)):
        raise UsageError(
            f"{path}: {name}: user_summary is {list(users.shape)}; expected [users, n_frames = {n_frames}]"
        )


def _check_whole(path: Path, name: str, key: str, values: np.ndarray) -> None:
    if (values != np.floor(values)).any():
        strange = values[values != np.floor(values)].ravel()[0]
        raise UsageError(f"{path}: {name}: {key} holds {strange:g}; expected whole frame numbers, not seconds")


def _stride(picks: np.ndarray) -> int:
    """The largest number of frames from one pick to the next; `STEP` for a single pick."""
    return int(np.diff(picks).max()) if len(picks) > 1 else STEP


def _shots(path: Path, name: str, shots: np.ndarray, n_frames: int, stride: int) -> np.ndarray:
    """The shots [C,2], closed; a last shot that ends at n_frames ends one frame earlier."""
    if shots.ndim != 2 or shots.shape[1:] != (2,) or not len(shots):
        raise UsageError(f"{path}: {name}: change_points is {list(shots.shape)}; expected [shots, 2]")
    check_finite(path, name, {"change_points": shots})
    _check_whole(path, name, "change_points", shots)
    shots = shots.astype(np.int64)
    # Some published files count the last frame as n_frames, one past the end.
    if shots[-1, 1] == n_frames:
        shots = np.vstack([shots[:-1], [[shots[-1, 0], n_frames - 1]]])
    start, last = shots[:, 0], shots[:, 1]
    if start[0] != 0 or last[-1] >= n_frames or (start > last).any() or (start[1:] != last[:-1] + 1).any():
        raise UsageError(f"{path}: {name}: change_points do not cut frames 0 to {n_frames - 1} without gap or overlap")
    # What no shot holds can never be chosen, and the budget is of all frames.
    if n_frames - 1 - last[-1] > stride:
        raise UsageError(
            f"{path}: {name}: change_points end at frame {last[-1]}; expected an end within one step of the picks "
            f"({stride}) of frame {n_frames - 1} (not seconds)"
        )
    return shots
