"""TVSum: 50 YouTube videos of ten categories, scored by 20 users.

Where: the annotations are at https://people.csail.mit.edu/yalesong/tvsum (files: see `tvsum_annotations`). The
features are `eccv16_dataset_tvsum_google_pool5.h5`, packed in e-apostolidis/PGL-SUM@81d0d6d data/TVSum (layout in
`eccv16`). Licence: CC BY 3.0 for videos, annotations and the HDF5 file.

The HDF5 file does not name its videos. thswodnjs3/CSTA@b070f7d evaluation_metrics.py and e-apostolidis/CA-SUM@43eee5d
assume that `video_i` is the i-th video of the annotations. This loader checks it by length. No two of the 50 videos
have lengths within 3 frames of each other, so a swapped video is an error, while another decoder's frame count is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms import eccv16, tvsum_annotations
from vsumdata.datasets.benchmarks.forms.tvsum_annotations import Annotation
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "tvsum"
PROTOCOL = protocol(NAME)
FRAME_MODEL = eccv16.FRAME_MODEL
FRAME_RECIPE, TEXT_RECIPE = eccv16.FRAME_RECIPE, eccv16.TEXT_RECIPE
WHERE = "e-apostolidis/PGL-SUM on GitHub (data/TVSum, unpacked)"
# In frames. No two videos' annotations are this close in length, so a larger tolerance would miss a swap.
MAX_MISCOUNT = 3
WATCH = "https://www.youtube.com/watch?v="
ANNOTATIONS = ("ydata-tvsum50.mat", "ydata-tvsum50-anno.tsv", "ydata-anno.tsv", "tvsum_annotations.parquet")


def load(path: str | Path, *, step: int = eccv16.STEP) -> list[Video]:
    """The 50 videos: from the HDF5 file, from an annotation file, or from a folder that holds either or both.

    The HDF5 file gives features, shots and `user_summary`, A2Summ's `text_roberta.npy` beside it sentences. The
    annotations give `user_score`, title, url and length. Annotations alone give every `step`-th frame, with D = 0.
    `video_id` is always `video_1` to `video_50`; the YouTube id is in `url`. Raises UsageError.
    """
    features, annotations = _find(Path(path))
    notes = tvsum_annotations.read(annotations) if annotations else []
    if features is None:
        return [_annotated(f"video_{i}", note, step) for i, note in enumerate(notes, 1)]
    videos = eccv16.load(features, WHERE, tvsum_annotations.NUM_VIDEOS)
    # OVP's file has the same layout and 50 videos as well; only the users differ.
    for video in videos:
        if video.user_summary is not None and len(video.user_summary) != tvsum_annotations.NUM_USERS:
            raise UsageError(
                f"{features}: {video.video_id}: user_summary is of {len(video.user_summary)} users; TVSum has "
                f"{tvsum_annotations.NUM_USERS}: another data set's file?"
            )
    if notes and annotations is not None:
        _check_order(features, annotations, videos, notes)
        videos = [_with_scores(video, note) for video, note in zip(videos, notes, strict=True)]
    return eccv16.with_text(videos, features)


def _find(path: Path) -> tuple[Path | None, Path | None]:
    """The HDF5 file and the annotation file that `path` names or holds; None for one that is not there."""
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}")
    if not path.is_dir():
        return (path, None) if path.suffix in {".h5", ".hdf5"} else (None, path)
    features = sorted(path.rglob("*tvsum*.h5"))
    if len(features) > 1:
        raise UsageError(f"{path} holds several HDF5 files of TVSum; name one: {', '.join(map(str, features))}")
    # A folder may hold several forms of the annotations. Their content is the same, so the first will do.
    annotations = next((found for name in ANNOTATIONS for found in sorted(path.rglob(name))), None)
    if not features and annotations is None:
        raise UsageError(f"{path} holds neither eccv16_dataset_tvsum_google_pool5.h5 nor {', '.join(ANNOTATIONS)}")
    return (features[0] if features else None), annotations


def _same_length(n_frames: int, annotated: int) -> bool:
    """Whether a video of `n_frames` can be the one with `annotated` frames: a small miscount, and as many picks."""
    # One score for each pick: with another number of picks, scores and features would not match.
    same_picks = -(-n_frames // eccv16.STEP) == -(-annotated // eccv16.STEP)
    return n_frames == annotated or (abs(n_frames - annotated) <= MAX_MISCOUNT and same_picks)


def _check_order(features: Path, annotations: Path, videos: Sequence[Video], notes: Sequence[Annotation]) -> None:
    # A length that is exactly another video's is a swap, not a miscount.
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
    # The last pick may lie past the end of annotations that are a few frames shorter.
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
    """The fields of Video that an annotation knows; `frame_time_s` only where it gives the length."""
    described: dict[str, Any] = {"title": note.title, "url": WATCH + note.youtube_id, "license": "CC BY 3.0"}
    # The published length gives the true frame rate, which the HDF5 layout lacks.
    if note.length_s:
        described["duration_s"] = note.length_s
        described["frame_time_s"] = (picks * (note.length_s / note.score.shape[1])).astype(np.float32)
    return described
