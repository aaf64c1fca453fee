"""VideoXum (IEEE TMM 2023): 14,001 videos of ActivityNet; summaries of ten users in frames, and one in sentences.

Where: jylins/videoxum on Hugging Face: `train_videoxum.json`, `val_videoxum.json` and `test_videoxum.json` (8,000,
2,001 and 4,000 videos). The videos must be fetched, so there are no features; `vsumdata.datasets.join` adds ours.

Layout, read from jylins/videoxum@11bd4fe README.md, data/activitynet_dataset.py and data/utils.py: each file is a list
of records {video_id ("v_" and the YouTube id), duration, sampled_frames, timestamps [S,2], tsum [S], vsum [S,10,2],
vsum_onehot [10,sampled_frames]}. There are S segments, each with a sentence (`tsum`) and with the seconds that each
user chose of it (`vsum`). `vsum_onehot` has the same for each frame, one a second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import numbers, read_records, split_files
from vsumdata.datasets.benchmarks.forms.eccv16 import make_video
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Summary, Video
from vsumdata.manifests.errors import UsageError

NAME = "videoxum"
PROTOCOL = protocol(NAME)
WHERE = "jylins/videoxum on Hugging Face"
KEYS = ("video_id", "duration", "sampled_frames", "timestamps", "tsum", "vsum", "vsum_onehot")
NUM_USERS = 10
MAJORITY = 5
# In frames. The number of sampled frames and the length of what counts them may differ by one.
MAX_MISCOUNT = 1
# What the official code does to the reference text: these become blanks, and only so many words stay.
DROPPED = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))
MAX_WORDS = 512


def load(path: str | Path) -> list[Video]:
    """The videos of the files in the folder `path` (or in its folder `anno`), train first; or of one of these files.

    `user_score` and `user_summary` are the ten users' choices, `gt_score` their mean, and `summary` has each sentence
    with the seconds that most users chose of its segment. Raises UsageError for a missing or wrong file.
    """
    path = Path(path)
    folder = path / "anno" if (path / "anno").is_dir() else path
    found: dict[str, Video] = {}
    for file, split in split_files(folder, "*_videoxum.json", WHERE).items():
        for record in read_records(file, KEYS, "VideoXum", WHERE):
            video = _video(file, record, split)
            if video.video_id in found:
                raise UsageError(f"{file}: {video.video_id} is there twice, or in two splits; get it from {WHERE}")
            found[video.video_id] = video
    return list(found.values())


def _video(path: Path, record: Mapping[str, Any], split: str | None) -> Video:
    name = record["video_id"]
    chosen = one_hot(path, name, record["vsum_onehot"], record["sampled_frames"], (NUM_USERS, None))
    texts = record["tsum"]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(f"{path}: {name}: tsum is not a list of texts")
    segments = numbers(path, name, "timestamps", record["timestamps"], (len(texts), 2))
    spans = numbers(path, name, "vsum", record["vsum"], (len(texts), NUM_USERS, 2))
    return make_video(
        path,
        video_id=name,
        frame_time_s=np.arange(chosen.shape[1], dtype=np.float32),
        frame_feature=np.zeros((chosen.shape[1], 0), np.float32),
        duration_s=duration(path, name, record["duration"]),
        user_score=chosen.astype(np.float32),
        user_summary=chosen,
        gt_score=chosen.mean(0, dtype=np.float32),
        summary=_sentences(texts, segments[:, 0], spans, chosen),
        summary_text=reference_text(texts),
        url=f"https://www.youtube.com/watch?v={name.removeprefix('v_')}",
        split=split,
    )


def one_hot(path: Path, name: str, value: Any, sampled_frames: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Which frames are chosen, bool of `shape`, cut to `sampled_frames`. Raises UsageError if the two do not fit."""
    found = numbers(path, name, "vsum_onehot", value, shape)
    if not np.isin(found, (0, 1)).all():
        raise UsageError(f"{path}: {name}: vsum_onehot has values other than 0 and 1")
    count = found.shape[-1]
    if type(sampled_frames) is not int or not sampled_frames or not count or abs(sampled_frames - count) > MAX_MISCOUNT:
        raise UsageError(f"{path}: {name}: sampled_frames is {sampled_frames!r}, but vsum_onehot has {count} frames")
    return found[..., :sampled_frames] > 0


def duration(path: Path, name: str, value: Any) -> float:
    """The video's length in seconds. Raises UsageError if it is not a positive number."""
    found = float(numbers(path, name, "duration", value, ()))
    if found <= 0:
        raise UsageError(f"{path}: {name}: duration is {found:g} s")
    return found


def _sentences(texts: Sequence[str], starts: np.ndarray, spans: np.ndarray, chosen: np.ndarray) -> Summary:
    """Each text with the seconds that most users chose of its segment; with those of any user where most agree on none.

    `spans` [S,U,2] are the users' choices in seconds, `chosen` [U,T] the frames of all of them.
    """
    second = np.arange(chosen.shape[1])
    # How VideoXum rounds a span to frames is not published: the frames are its own, and a span only tells which of
    # them are of this segment.
    within = (np.floor(spans[..., :1]) <= second) & (second <= np.ceil(spans[..., 1:]))
    votes = (within & chosen).sum(1)
    found = []
    for text, start_s, count in zip(texts, starts.tolist(), votes, strict=True):
        if not (text := " ".join(text.split())):
            continue
        most = count >= MAJORITY
        time_s = np.flatnonzero(most if most.any() else count).astype(float).tolist()
        found.append((time_s[0] if time_s else start_s, {"text": text, "time_s": time_s}))
    return tuple(sentence for _, sentence in sorted(found, key=lambda pair: pair[0]))


def reference_text(texts: Sequence[str]) -> str:
    """The reference of the metrics of text, as the official code makes it."""
    # The texts are joined without a blank, and only the full stop that becomes one keeps their words apart.
    plain = re.sub(r"\s{2,}", " ", "".join(texts).lower().translate(DROPPED)).strip("\n").strip(" ")
    return " ".join(plain.split(" ")[:MAX_WORDS])
