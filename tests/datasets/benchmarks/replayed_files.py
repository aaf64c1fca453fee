"""MoSu's, SM-MrHiSum's and SM-VideoXum's files in their published layout, but small."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FEATURES = {"visual_clip": 8, "text_roberta": 6, "audio_ast": 5}
MOSU_SPLIT = {"train_keys": ["b", "video_1"], "val_keys": ["video_2"], "test_keys": ["c-4"]}
SECONDS = {"b": 23, "video_1": 21, "video_2": 22, "c-4": 30}
Changes = Mapping[str, Mapping[str, Any]]


def mosu_video(name: str, seconds: int) -> dict[str, Any]:
    """A video's truth under the keys of `X_gt.h5`, and its features under the files' kinds."""
    rng = np.random.default_rng([seconds, *name.encode()])
    truth = {
        "gt_score": rng.random(seconds, np.float32),
        "gt_summary": np.repeat(np.array([1, 0], np.float32), [3, seconds - 3]),
        "change_points": np.array([[0, 2], [3, 9], [10, seconds - 1]], np.int32),
    }
    return truth | {kind: rng.random((seconds, size), np.float32) for kind, size in FEATURES.items()}


def write_mosu(
    folder: Path,
    prefix: str = "mosu",
    changes: Changes | None = None,
    without: tuple[str, ...] = (),
    split: Mapping[str, list[str]] = MOSU_SPLIT,
) -> Path:
    """`changes`: video -> what to replace, or to leave out where it is None. `without`: kinds whose file is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for its in split.values() for name in its]
    videos = {name: mosu_video(name, SECONDS.get(name, 20)) | dict((changes or {}).get(name, {})) for name in names}
    for kind in FEATURES:
        if kind not in without:
            with h5py.File(folder / f"{prefix}_feat_{kind}.h5", "w") as file:
                for name, video in videos.items():
                    if video[kind] is not None:
                        file[name] = video[kind]
    with h5py.File(folder / f"{prefix}_gt.h5", "w") as file:
        for name, video in videos.items():
            group = file.create_group(name)
            for key in ("gt_score", "gt_summary", "change_points"):
                if video[key] is not None:
                    group[key] = video[key]
    (folder / f"{prefix}_split.json").write_text(json.dumps(split))
    with (folder / f"{prefix}_metadata.csv").open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "youtube_id", "title", "duration", "views", "cluster_id"])
        for number, name in enumerate(names):
            rows.writerow([name, f"youtube{number:04d}", f"Title {number}, é", SECONDS.get(name, 20), 9000, 3])
    return folder


SM_SPLIT = {"train": ["video_7", "video_3"], "val": ["video_1"], "test": ["video_9"]}


def scripted(name: str, seconds: int) -> dict[str, Any]:
    """The arrays that both of SD-MVSum's data sets have, of a video in which three pieces are spoken."""
    rng = np.random.default_rng([seconds, *name.encode()])
    spans = np.array([[0.5, 2.0], [2.0, 4.25], [9.0, 12.5]])
    pieces = rng.random((3, 8), np.float32)
    second = np.arange(seconds)
    said = (spans[:, :1] <= second) & (second < spans[:, 1:])
    return {
        "n_frames": np.int64(seconds * 30),
        "video_embeddings": rng.random((seconds, 8), np.float32),
        "script_embeddings": rng.random((4, 8), np.float32),
        "transcript_embeddings": pieces,
        "transcript_timestamps": spans,
        "aligned_transcripts": said.T.astype(np.float32) @ pieces,
    }


def sm_mrhisum_video(name: str, seconds: int = 24) -> dict[str, Any]:
    rng = np.random.default_rng(seconds)
    return scripted(name, seconds) | {
        "gtscores": rng.random(seconds),
        "gt_summary": np.repeat([1.0, 0.0], [3, seconds - 3]),
        "change_points": np.array([[0, 3], [3, 9], [9, seconds - 1]]),
    }


def sm_videoxum_video(name: str, seconds: int = 20) -> dict[str, Any]:
    """Script i has i mod 4 + 1 sentences of 4."""
    rng = np.random.default_rng(seconds)
    scripts = rng.random((10, 4, 8), np.float32)
    for number in range(10):
        scripts[number, number % 4 + 1 :] = 0
    return scripted(name, seconds) | {
        "n_frames": np.int64(seconds),
        "script_embeddings": scripts,
        "gtscores": (np.arange(seconds) % 10 == np.arange(10)[:, None]).astype(np.float64),
    }


def write_scripted(path: Path, videos: Mapping[str, Mapping[str, Any]], split: Mapping[str, list[str]]) -> Path:
    """The HDF5 file `path` and its split beside it; an array that is None is left out."""
    with h5py.File(path, "w") as file:
        for name, video in videos.items():
            group = file.create_group(name)
            for key, value in video.items():
                if value is not None:
                    group[key] = value
    path.with_name(f"{path.stem}_split.json").write_text(json.dumps(split))
    return path


def write_sm_mrhisum(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """`changes` go into video_3."""
    names = [name for its in SM_SPLIT.values() for name in its]
    videos = {name: sm_mrhisum_video(name, 24 + at) for at, name in enumerate(names)}
    videos["video_3"] |= changes or {}
    write_scripted(folder / "sm_mrhisum.h5", videos, SM_SPLIT)
    return folder


XUM_SPLIT = {"train": ["v_QOlSCBRmfWY"], "test": ["v_uqiMw7tQ1Cc"], "val": ["v_IoiDAHNryTk"]}


def write_sm_videoxum(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """`changes` go into the test video."""
    videos = {its[0]: sm_videoxum_video(its[0], 20 + at) for at, its in enumerate(XUM_SPLIT.values())}
    videos["v_uqiMw7tQ1Cc"] |= changes or {}
    write_scripted(folder / "sm_videoxum.h5", videos, XUM_SPLIT)
    return folder
