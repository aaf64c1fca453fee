"""TVSum's annotations in the order of the original file, as the packs count videos."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


@functools.cache
def user_scores(path: Path) -> dict[str, np.ndarray]:
    """Return each video's scores, int64 [20,n]."""
    # A dict keeps the file's order, by which the packs seed their noise.
    rows = pq.read_table(path, columns=["video_id", "scores"])
    videos: dict[str, list[np.ndarray]] = {}
    for video_id, scores in zip(rows["video_id"].to_pylist(), rows["scores"], strict=True):
        videos.setdefault(video_id, []).append(scores.values.to_numpy().astype(np.int64))
    return {video_id: np.stack(users) for video_id, users in videos.items()}
