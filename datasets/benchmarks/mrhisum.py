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

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import check, open_hdf5
from vsumdata.datasets.benchmarks.forms.eccv16 import check_finite, make_video, open_group
from vsumdata.datasets.benchmarks.forms.replayed_h5 import (
    LazyVideos,
    check_videos,
    cut_without_gap,
    read_metadata,
    read_split,
    shot_pairs,
    without_empty,
)
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


class HiSum(LazyVideos):
    """The videos of the file at `path`, each read when it is asked for."""

    # Lazy, because all videos with their features take some 26 GB.
    def __init__(self, path: Path, split: Mapping[str, str], metadata: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(split)
        self.path, self.metadata = path, metadata

    def opened(self) -> AbstractContextManager[h5py.File]:
        return open_hdf5(self.path, WHERE)

    def known(self, video_id: str) -> dict[str, Any]:
        if not (row := self.metadata.get(video_id)):
            return {}
        url = f"https://www.youtube.com/watch?v={row['youtube_id']}"
        return {"url": url, "duration_s": float(row["duration"])}

    def read(self, files: h5py.File, video_id: str) -> Video:
        group = open_group(self.path, files, video_id, ("gtscore", "change_points", summary_key(files.get(video_id))))
        score, summary = np.asarray(group["gtscore"][()]), np.asarray(group[summary_key(group)][()])
        features = np.asarray(group["features"][()]) if "features" in group else np.zeros((len(score), 0), np.float32)
        _check(self.path, video_id, {"gtscore": score, "gt_summary": summary, "features": features})
        shots = _half_open(self.path, video_id, np.asarray(group["change_points"][()]), len(score))
        frame = np.arange(min(len(score), len(features)))
        return make_video(
            self.path,
            video_id=video_id,
            frame_time_s=frame.astype(np.float32),
            frame_feature=features[: len(frame)],
            gt_score=score[: len(frame)],
            gt_summary=summary[: len(frame)],
            user_summary=summary[None, : len(frame)] != 0,
            change_points=without_empty(np.minimum(shots, len(frame))),
            picks=frame,
            n_frames=len(frame),
            split=self.split[video_id],
            license="CC BY 4.0",
            **self.known(video_id),
        )


def load(path: str | Path) -> HiSum:
    """The videos in the folder `path`, or of the file mr_hisum.h5 at `path`, in the order of the split.

    Without `metadata.csv` there is no url and no duration; without features D = 0. Raises UsageError for a missing
    or wrong file; a broken video raises it when it is read.
    """
    path = Path(path)
    file_path = path / "mr_hisum.h5" if path.is_dir() else path
    # What the user named is judged first, not the split that would lie beside it.
    if not path.is_dir():
        check(path, f"{WHERE} (folder dataset)")
    split = read_split(file_path.with_name("mr_hisum_split.json"), "mr_hisum_split.json", f"{WHERE} (folder dataset)")
    check_videos(file_path, split, WHERE)
    metadata_path = file_path.with_name("metadata.csv")
    metadata = read_metadata(metadata_path, split, WHERE) if metadata_path.exists() else {}
    return HiSum(file_path, split, metadata)


def summary_key(group: Mapping[str, object] | None) -> str:
    """The name of the summary in a video's group: `gt_summary`, or `gtsummary` where only that exists."""
    # The official code reads `gt_summary`; its README speaks of `gtsummary`.
    return "gtsummary" if group is not None and "gtsummary" in group and "gt_summary" not in group else "gt_summary"


def _check(path: Path, name: str, values: Mapping[str, np.ndarray]) -> None:
    sizes = {key: value.shape[0] if value.ndim else 0 for key, value in values.items()}
    seconds = sizes["gtscore"]
    too_far = abs(sizes["features"] - seconds) > MAX_MISCOUNT
    if sizes["gt_summary"] != seconds or too_far or not seconds or not sizes["features"]:
        found = ", ".join(f"{key} {size}" for key, size in sizes.items())
        raise UsageError(f"{path}: {name}: the numbers of seconds differ or are 0: {found}")
    check_finite(path, name, values)


def _half_open(path: Path, name: str, shots: np.ndarray, num_frames: int) -> np.ndarray:
    shots = without_empty(shot_pairs(path, name, shots))
    if not cut_without_gap(shots, (num_frames,)):
        raise UsageError(f"{path}: {name}: change_points do not cut seconds 0 to {num_frames} without gap or overlap")
    return shots
