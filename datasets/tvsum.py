"""TVSum: 50 YouTube videos of ten categories, scored by 20 users.

Where: the annotations from https://people.csail.mit.edu/yalesong/tvsum (files in `tvsum_annotations`), the features
`eccv16_dataset_tvsum_google_pool5.h5` packed in e-apostolidis/PGL-SUM@81d0d6d data/TVSum (layout in `eccv16`).
Licence: videos and annotations CC BY 3.0; the HDF5 file comes under the same.

The HDF5 file does not name its videos. That `video_i` is the i-th video of the annotations is assumed by
thswodnjs3/CSTA@b070f7d evaluation_metrics.py and e-apostolidis/CA-SUM@43eee5d; it is checked here: no two of the 50
lie within 3 frames of each other in length, so one video out of its place is an error, and another decoder's count of
a video's frames is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets import eccv16, tvsum_annotations
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.tvsum_annotations import Annotation
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError

NAME = "tvsum"
PROTOCOL = protocol(NAME)
WHERE = "e-apostolidis/PGL-SUM on GitHub (data/TVSum, unpacked)"
MAX_MISCOUNT = 3  # frames; the annotations of no two videos are closer in length
WATCH = "https://www.youtube.com/watch?v="
ANNOTATIONS = ("ydata-tvsum50.mat", "ydata-tvsum50-anno.tsv", "ydata-anno.tsv", "tvsum_annotations.parquet")


def load(path: str | Path, *, step: int = eccv16.STEP) -> list[Video]:
    """The 50 videos: from the HDF5 file, from an annotation file, or from a folder that holds either or both.

    Only the HDF5 file has features, shots and `user_summary`; only annotations have `user_score`, title, url and
    length. Annotations alone give a video of every `step`-th frame with D = 0. `video_id` is `video_1` to
    `video_50` in all cases; the YouTube id is in `url`. Raises UsageError.
    """
    features, annotations = _find(Path(path))
    notes = tvsum_annotations.read(annotations) if annotations else []
    if features is None:
        return [_annotated(f"video_{i}", note, step) for i, note in enumerate(notes, 1)]
    videos = eccv16.load(features, WHERE, tvsum_annotations.NUM_VIDEOS)
    for video in videos:
        if video.user_summary is not None and len(video.user_summary) != tvsum_annotations.NUM_USERS:
            raise UsageError(
                f"{features}: {video.video_id}: user_summary is of {len(video.user_summary)} users; TVSum has "
                f"{tvsum_annotations.NUM_USERS}: another data set's file?"
            )
    if not notes or annotations is None:
        return videos
    _check_order(features, annotations, videos, notes)
    return [_with_scores(video, note) for video, note in zip(videos, notes, strict=True)]


def _find(path: Path) -> tuple[Path | None, Path | None]:
    """The HDF5 file and the annotations that `path` means."""
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}")
    if not path.is_dir():
        return (path, None) if path.suffix in {".h5", ".hdf5"} else (None, path)
    features = sorted(path.rglob("*tvsum*.h5"))
    if len(features) > 1:
        raise UsageError(f"{path} holds several HDF5 files of TVSum; name one: {', '.join(map(str, features))}")
    annotations = next((found for name in ANNOTATIONS for found in sorted(path.rglob(name))), None)
    if not features and annotations is None:
        raise UsageError(f"{path} holds neither eccv16_dataset_tvsum_google_pool5.h5 nor {', '.join(ANNOTATIONS)}")
    return (features[0] if features else None), annotations


def _same_length(n_frames: int, annotated: int) -> bool:
    """Whether a video of `n_frames` can be the one annotated: the same but for a miscount, with as many picks."""
    same_picks = -(-n_frames // eccv16.STEP) == -(-annotated // eccv16.STEP)
    return n_frames == annotated or (abs(n_frames - annotated) <= MAX_MISCOUNT and same_picks)


def _check_order(features: Path, annotations: Path, videos: Sequence[Video], notes: Sequence[Annotation]) -> None:
    lengths = {note.score.shape[1] for note in notes}
    wrong = [
        f"{video.video_id} has {video.n_frames} frames, {note.youtube_id} {note.score.shape[1]}"
        for video, note in zip(videos, notes, strict=True)
        if video.n_frames != note.score.shape[1]
        and (video.n_frames in lengths or not _same_length(video.n_frames or 0, note.score.shape[1]))
    ]
    if wrong:
        raise UsageError(
            f"{features} and {annotations} are not in the same order: {len(wrong)} videos differ, first {wrong[0]}"
        )


def _with_scores(video: Video, note: Annotation) -> Video:
    picks = video.picks
    if picks is None:
        raise ValueError(f"{video.video_id} has no picks")
    return replace(
        video, **_described(note, picks), user_score=note.score[:, np.minimum(picks, note.score.shape[1] - 1)]
    )


def _annotated(video_id: str, note: Annotation, step: int) -> Video:
    n_frames = note.score.shape[1]
    picks = np.arange(0, n_frames, step)
    described = {"frame_time_s": (picks / eccv16.NOMINAL_FPS).astype(np.float32)} | _described(note, picks)
    return Video(
        video_id=video_id,
        frame_feature=np.zeros((len(picks), 0), np.float32),
        user_score=note.score[:, picks],
        gt_score=note.score.mean(0)[picks],
        picks=picks,
        n_frames=n_frames,
        **described,
    )


def _described(note: Annotation, picks: np.ndarray) -> dict[str, Any]:
    """What an annotation tells of its video; the frames' times where its length is known."""
    described: dict[str, Any] = {"title": note.title, "url": WATCH + note.youtube_id, "license": "CC BY 3.0"}
    if note.length_s:
        described["duration_s"] = note.length_s
        described["frame_time_s"] = (picks * (note.length_s / note.score.shape[1])).astype(np.float32)
    return described
