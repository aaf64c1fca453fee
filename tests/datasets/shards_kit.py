"""Rows of a small `features` table, written by hand."""

from __future__ import annotations

import datetime

import numpy as np

from vsumdata.manifests import tables

SIZES = {"frame_dim": 4, "text_dim": 3}
SCHEMA = tables.schema(tables.payload("features", SIZES), ("videos", "frames"))
FINGERPRINT = "f00d"


def payload(num_frames: int, split: str, *, text: bool) -> dict:
    count = int(text)
    return {
        **dict.fromkeys(("source", "url", "article_url", "license", "description")),
        "title": f"{num_frames} frames",
        "duration_s": float(num_frames),
        "task": "t",
        "split": split,
        "frame_time_s": np.arange(num_frames, dtype=np.float32),
        "frame_feature": np.arange(num_frames * 4, dtype=np.float16).reshape(num_frames, 4),
        "replay_score": np.linspace(0, 1, num_frames, dtype=np.float32) if text else None,
        "replay_bins": [{"start_s": 0.0, "end_s": 1.0, "value": 1.0}] if text else None,
        "shot_start": np.array([0], np.int32),
        "shot_stop": np.array([num_frames], np.int32),
        "sentence": [{"start_s": 0.0, "end_s": 1.5, "text": "cut"}] * count,
        "sentence_feature": np.ones((count, 3), np.float16),
        "step": [{"section": None, "headline": "h", "text": "x"}] * count,
        "step_feature": np.ones((count, 3), np.float16),
        "description_feature": np.ones(3, np.float16) if text else None,
        "global_text": "x",
        "global_feature": np.ones(3, np.float16),
    }


def row(video_id: str, content: dict | None, *, version: int = 1) -> dict:
    empty = dict.fromkeys(tables.payload("features", SIZES).names)
    head: dict = {
        "video_id": video_id,
        "outcome": "done" if content else "failed",
        "reason": None if content else "error",
        "detail": None,
        "version": version,
        "tries": 0,
        "committed_at": datetime.datetime(2026, 1, version, tzinfo=datetime.UTC),
        "seconds": 0.1,
        "retry_after": None,
        "upstream": {},
    }
    return head | empty | (content or {}) | {"digest": {}}
