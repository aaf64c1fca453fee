"""BLiSS (A2Summ, CVPR 2023): five-minute clips of livestreams with transcript, key frames and key sentences.

Where: the link in boheumd/A2Summ's README on GitHub. It has features and annotations; the authors send the videos on
request. Licence: none stated; the authors offer it for research.

Layout, read from boheumd/A2Summ@5c7dcea datasets.py (BLiSSDataset) and losses.py (calc_text_rouge, calc_video_cos):
`annotation/<split>.json`, clip id -> {video_id, num_frame, num_keyframe, num_sentence, video_label [T],
text_label [M], sentence [M], sentence_time [M, 2] in frames, highlight (text or list of texts)};
`feature/video_clip_<split>.npy` [T,512], `feature/text_roberta_<split>.npy` [M,768] and
`feature/video_summ_clip_<split>.npy` [num_keyframe,512]: each is a pickled dictionary, clip id -> array.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import read_json, read_npy_dict
from vsumdata.datasets.benchmarks.forms.eccv16 import check_finite, make_video
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "bliss"
TEXT_MODEL = "RoBERTa (BLiSS's own features)"
FRAME_RECIPE, TEXT_RECIPE = "bliss-clip", "roberta-a2summ"
PROTOCOL = protocol(NAME)
WHERE = "the link in boheumd/A2Summ's README on GitHub"
# The official code reads train and test only, so a download without val is complete for it, and for us.
SPLITS = ("train", "val", "test")
FEATURES = {"frame_feature": "video_clip", "sentence_feature": "text_roberta", "summary_feature": "video_summ_clip"}
NEEDED = frozenset(
    "video_id num_frame num_keyframe num_sentence video_label text_label sentence sentence_time highlight".split()
)


def load(path: str | Path) -> list[Video]:
    """The clips in the folder `BLiSS` at `path`, train first, then val and test, as published.

    `task` is the clip's livestream; `crossings.check` can then find a livestream that is in two splits. Raises
    UsageError for a missing, damaged or inconsistent file.
    """
    folder = Path(path)
    if not (folder / "annotation").is_dir():
        raise UsageError(f"{folder} has no folder annotation; give the path of the folder BLiSS; get it from {WHERE}")
    splits = [split for split in SPLITS if (folder / "annotation" / f"{split}.json").exists()]
    if not {"train", "test"} <= set(splits):
        raise UsageError(f"{folder / 'annotation'} lacks train.json or test.json; get them from {WHERE}")
    return [video for split in splits for video in _load_split(folder, split)]


def _load_split(folder: Path, split: str) -> list[Video]:
    path = folder / "annotation" / f"{split}.json"
    clips = read_json(path, WHERE)
    if not isinstance(clips, dict) or not clips:
        raise UsageError(f"{path} is not a JSON object of clips; get it from {WHERE}")
    arrays: dict[str, Mapping[str, np.ndarray]] = {}
    for field, name in FEATURES.items():
        feature_path = folder / "feature" / f"{name}_{split}.npy"
        arrays[field] = read_npy_dict(feature_path, WHERE)
        missing = [clip for clip in clips if clip not in arrays[field]]
        if missing:
            raise UsageError(f"{feature_path} lacks {len(missing)} clips of {path.name} (first: {missing[0]})")
    return [
        _video(path, clip, entry, {field: np.asarray(found[clip]) for field, found in arrays.items()}, split)
        for clip, entry in clips.items()
    ]


def _video(path: Path, clip: str, entry: Any, arrays: Mapping[str, np.ndarray], split: str) -> Video:
    missing = NEEDED - set(entry) if isinstance(entry, dict) else NEEDED
    if missing:
        raise UsageError(f"{path}: {clip} has no {', '.join(sorted(missing))}: this is not BLiSS's annotation")
    _check(path, clip, entry, arrays)
    highlight = entry["highlight"]
    return make_video(
        path,
        video_id=clip,
        task=str(entry["video_id"]),
        split=split,
        # No file gives the frame rate, and sentence times count frames: one frame stands for one second throughout.
        frame_time_s=np.arange(entry["num_frame"], dtype=np.float32),
        gt_summary=np.array(entry["video_label"], np.uint8),
        sentence_label=np.array(entry["text_label"], np.uint8),
        sentence=[
            {"start_s": float(start), "end_s": float(stop), "text": text}
            for text, (start, stop) in zip(entry["sentence"], entry["sentence_time"], strict=True)
        ],
        # Some entries have a list, others one text. The official code joins a list by blanks.
        summary_text=" ".join(highlight) if isinstance(highlight, list) else highlight,
        **arrays,
    )


def _check(path: Path, clip: str, entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise UsageError unless the entry's numbers are those of its lists and of the features."""
    # Annotation and features are separate downloads: without this check files of two releases would be joined.
    counted = {
        "num_frame": {"video_label": len(entry["video_label"]), "video_clip": len(arrays["frame_feature"])},
        "num_sentence": {
            "text_label": len(entry["text_label"]),
            "sentence": len(entry["sentence"]),
            "sentence_time": len(entry["sentence_time"]),
            "text_roberta": len(arrays["sentence_feature"]),
        },
        "num_keyframe": {"video_label": sum(entry["video_label"]), "video_summ_clip": len(arrays["summary_feature"])},
    }
    for key, found in counted.items():
        for name, count in found.items():
            if count != entry[key]:
                raise UsageError(f"{path}: {clip}: {key} is {entry[key]}, but {name} has {count}")
    check_finite(path, clip, arrays)
