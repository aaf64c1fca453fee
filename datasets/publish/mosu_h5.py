"""Write our videos in the layout of MoSu and TripleSumm, a folder of five or six files.

`X_feat_visual_clip.h5`, `X_feat_text_NAME.h5` and, of a root with a table `audio`, `X_feat_audio_NAME.h5` hold [T, D]
for each video, `X_gt.h5` {gt_score [T], gt_summary [T],
change_points [C, 2], closed}, `X_split.json` {train_keys, val_keys, test_keys}, `X_metadata.csv` a row for each video.
X is the folder's name. Read from smkim37/TripleSumm@b7a8e7e, dataset.py and utils/generate_summary.py: file names,
keys, shapes, and that shots are closed. Not published there and ours: the types, the keys `video_1`, `video_2`, …, and
what the metadata hold beside `video_id`, `youtube_id` and `duration`, and zeros for the sound of a silent video.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsumdata.datasets.publish import eccv16_h5
from vsumdata.datasets.reference import with_reference
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.local import new_folder

if TYPE_CHECKING:
    import h5py

FORMAT = "mosu-h5"
SPLITS = ("train", "val", "test")
METADATA = ("video_id", "youtube_id", "duration", "split", "license")


def export(
    videos: Iterable[Video], path: str | Path, text_model: str, fps: float = 1.0, audio_model: str | None = None
) -> eccv16_h5.Exported:
    """Write `videos` to the folder `path`, one at a time; an earlier export in its place is replaced.

    A video needs features, an importance and shots. The others are left out and reported. `text_model` names the
    file of the text features, `audio_model` that of the sound's, where there are any; `fps` is the frames' rate.
    Raises UsageError if the folder holds something else, or no video can be written.
    """
    import h5py

    path, done = Path(path), eccv16_h5.Exported()
    name = path.expanduser().absolute().name
    text_name = file_name(text_model) or "text"
    lengths: dict[str, int] = {}
    sound: h5py.File | None = None
    keys: dict[str, list[str]] = {split: [] for split in SPLITS}
    with new_folder(path, lambda entry: entry.name.startswith(f"{name}_")) as folder, contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(h5py.File(folder / f"{name}_{kind}.h5", "w"))
            for kind in ("feat_visual_clip", f"feat_text_{text_name}", "gt")
        ]
        # With a mark at its start, as TripleSumm's users read it (utf-8-sig).
        table = stack.enter_context((folder / f"{name}_metadata.csv").open("w", encoding="utf-8-sig", newline=""))
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(METADATA)
        for video in videos:
            if why := eccv16_h5.reason(video):
                done.left_out[video.video_id] = why
                continue
            key = f"video_{len(done.names) + 1}"
            write(files, key, with_reference(video), fps)
            lengths[key] = len(video.frame_time_s)
            if video.audio_feature is not None:
                if sound is None:
                    called = f"{name}_feat_audio_{file_name(audio_model or '') or 'audio'}.h5"
                    sound = stack.enter_context(h5py.File(folder / called, "w"))
                sound[key] = video.audio_feature.astype(np.float32)
            split = video.split or "train"
            keys[split].append(key)
            duration = round(video.duration_s if video.duration_s is not None else len(video.frame_time_s))
            rows.writerow([key, video.video_id, duration, split, video.license or ""])
            done.names[video.video_id] = key
        if not done.names:
            first = next(iter(done.left_out.items()), ("", "there are none"))
            raise UsageError(f"none of the {len(done.left_out)} videos can be exported; {first[0]}: {first[1]}")
        if sound is not None:
            size = next(iter(sound.values())).shape[1]
            for key in lengths.keys() - set(sound):
                sound[key] = np.zeros((lengths[key], size), np.float32)
        stack.close()
        content = {f"{split}_keys": keys[split] for split in SPLITS}
        (folder / f"{name}_split.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return done


def file_name(model: str) -> str:
    """A model's name as a part of a file's."""
    return re.sub(r"\W+", "-", model.rpartition("/")[2].lower()).strip("-")


def write(files: list[h5py.File], key: str, video: Video, fps: float) -> None:
    """Write one video with a reference."""
    visual, text, truth = files
    assert video.gt_score is not None
    assert video.gt_summary is not None
    assert video.change_points is not None
    visual[key] = video.frame_feature.astype(np.float32)
    text[key] = spoken(video, fps)
    group = truth.create_group(key)
    group["gt_score"] = video.gt_score.astype(np.float32)
    group["gt_summary"] = video.gt_summary.astype(np.float32)
    group["change_points"] = video.change_points.astype(np.int32)


def spoken(video: Video, fps: float = 1.0) -> np.ndarray:
    """For each frame the feature of the sentence that is said then: float32 [T, S], zeros where nobody speaks.

    Of sentences at the same time the last to begin counts.
    """
    num_frames, feature = len(video.frame_time_s), video.sentence_feature
    size = next((len(v) for v in (video.global_feature, video.description_feature) if v is not None), 1)
    if feature is not None and len(feature):
        size = feature.shape[1]
    found = np.zeros((num_frames, size), np.float32)
    seconds = np.arange(num_frames) / fps
    for sentence, vector in zip(video.sentence, feature if feature is not None else (), strict=False):
        said = (seconds >= sentence["start_s"]) & (seconds < sentence["end_s"])
        found[said] = vector.astype(np.float32)
    return found
