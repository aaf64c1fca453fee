"""Made files in the layout of QVHighlights and of Moment-DETR's features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FRAME_DIMS, WORD_DIM = {"slowfast_features": 5, "clip_features": 3}, 4
# Queries of each part: two about one cut, and two cuts of one YouTube video.
PARTS = {
    "train": ["yt_train-01_0.0_20.0", "yt_train-01_0.0_20.0", "yt_train-02_60.0_80.0", "yt_train-03_30.5_50.5"],
    "val": ["yt_val__-01_10.0_30.0", "yt_val__-01_60.0_80.0"],
    "test": ["yt_test_-01_0.0_20.0", "yt_test_-02_210.0_230.0"],
}


def record(qid: int, vid: str, duration: int = 20, *, labelled: bool = True, **changes: Any) -> dict[str, Any]:
    """A query answered by clips 2 to 4 and 7 of its video."""
    found: dict[str, Any] = {"qid": qid, "query": f"Somebody does thing {qid}.", "duration": duration, "vid": vid}
    if labelled:
        ratings = [[2, 3, 4], [4, 4, 4], [0, 1, 2], [3, 3, 1]]
        found |= {"relevant_clip_ids": [2, 3, 4, 7], "saliency_scores": ratings}
        found |= {"relevant_windows": [[4, 10], [14, 16]]}
    return found | changes


def lines(records: Any) -> str:
    return "".join(json.dumps(each) + "\n" for each in records)


def write(folder: Path, *, labelled_test: bool = False, features: bool = False) -> Path:
    """The three files; the test part has labels only in a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for part, vids in PARTS.items():
        numbered = list(enumerate(vids, number))
        number += len(vids)
        records = [record(qid, vid, labelled=part != "test") for qid, vid in numbered]
        (folder / f"highlight_{part}_release.jsonl").write_text(lines(records))
        if part == "test" and labelled_test:
            (folder / "highlight_test_with_gt.jsonl").write_text(lines(record(qid, vid) for qid, vid in numbered))
        for qid, vid in numbered if features else ():
            write_features(folder / "features", qid, vid)
    return folder


def write_features(folder: Path, qid: int, vid: str, clips: int = 10, **more: int) -> None:
    """Features of one query and its video; `more` has another number of clips for a folder."""
    rng = np.random.default_rng(qid)
    for name, size in FRAME_DIMS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        np.savez(folder / name / f"{vid}.npz", features=rng.normal(size=(more.get(name, clips), size)).astype("f4"))
    (folder / "clip_text_features").mkdir(exist_ok=True)
    np.savez(
        folder / "clip_text_features" / f"qid{qid}.npz",
        last_hidden_state=rng.normal(size=(40, WORD_DIM)).astype("f4"),
        pooler_output=rng.normal(size=WORD_DIM).astype("f4"),
    )
