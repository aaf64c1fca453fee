"""Annotations of highlights in the forms that are published, but small: for tests of the loaders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Of UMT's split: one of dog's training and one of its test videos, and one of skating's test videos.
DOG, DOG_TEST, SKATING_TEST = "BsjTtq337mM", "a2nj7XCo2Rk", "2oOe2_Ew6Ao"
DOMAINS = {DOG: "dog", DOG_TEST: "dog", SKATING_TEST: "skating", "unlisted-id": "surfing"}
CLIPS = [[0.0, 100.0], [50.0, 150.0], [100.0, 200.0], [150.0, 260.0]]
MATCH = [-1, 0, 1, 1]
USERS = np.random.default_rng(0).integers(1, 6, (7, 20))


def record(domain: str = "dog", **changes: Any) -> dict[str, Any]:
    """A video of UMT's annotation: 4 clips at 25 frames a second, of which two are highlights."""
    info = ["dog", None, ["abc"], 32, "UC", "A dog runs", "text", None]
    return {
        "fps": 25.0, "frames": "260", "domain": domain, "info": info, "clip": CLIPS, "match": MATCH,
        "mturk": [0.0, 1.5, 2, 0],
    } | changes  # fmt: skip


def write_umt(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """`youtube_anno.json`; `changes` replace or add records."""
    path = folder / "youtube_anno.json"
    path.write_text(json.dumps({name: record(domain) for name, domain in DOMAINS.items()} | dict(changes or {})))
    return path


def line(name: str, **changes: Any) -> dict[str, Any]:
    """A video of lighthouse's annotation."""
    its = record(DOMAINS[name], frames=260.0)
    return {
        "qid": name, "query": its["domain"], "duration": 10.4, "vid": name, "relevant_clip_ids": None,
        "relevant_windows": None, "label": [[int(value > 0)] for value in MATCH],
    } | {key: its[key] for key in ("domain", "frames", "fps", "clip", "match")} | changes  # fmt: skip


def write_lines(path: Path, *records: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def write_authors(folder: Path) -> Path:
    """The folder of a domain for each video, without frame rates."""
    for name, domain in DOMAINS.items():
        place = folder / domain / name
        place.mkdir(parents=True)
        (place / "clip.json").write_text(json.dumps(CLIPS))
        (place / "match_label.json").write_text(json.dumps([CLIPS, MATCH]))
        (place / "info.json").write_text(json.dumps(record()["info"]))
        (folder / domain / "vlist.json").write_text("[]")
    return folder


def tvsum_line(name: str, domain: str, **changes: Any) -> dict[str, Any]:
    """A video of TVSum in lighthouse's form: 7 clips, 20 users."""
    return {
        "qid": name, "query": "A train crash", "duration": len(USERS), "vid": name, "relevant_clip_ids": None,
        "relevant_windows": None, "label": USERS.astype(float).tolist(), "domain": domain,
    } | changes  # fmt: skip


def write_features(folder: Path, clips: Mapping[str, int], *, audio: bool = True, query: bool = False) -> None:
    """UMT's features beside an annotation: `clips` says of how many clips of each video."""
    for name in ("video_features", *["audio_features"] * audio, *["query_features"] * query):
        (folder / name).mkdir(exist_ok=True)
    for name, count in clips.items():
        rng = np.random.default_rng(count)
        np.save(folder / "video_features" / f"{name}_rgb.npy", rng.random((count, 3), np.float32))
        np.save(folder / "video_features" / f"{name}_opt.npy", rng.random((count, 3), np.float32))
        if audio:
            np.save(folder / "audio_features" / f"{name}.npy", rng.random((count, 2)))
        if query:
            np.savez(folder / "query_features" / f"{name}.npz", token=rng.random((5, 4), np.float32))
