"""Shards read what the store wrote."""

from __future__ import annotations

import datetime
import pickle

import numpy as np
import pytest

from vsumdata.datasets.shards import open_shards
from vsumdata.datasets.video import Video, collate
from vsumdata.manifests import rows, tables
from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import UsageError

SIZES = {"frame_dim": 4, "text_dim": 3}
SCHEMA = tables.schema("features", SIZES)
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


def row(video_id: str, content: dict | None, *, attempt: int = 1) -> dict:
    empty = dict.fromkeys(tables.payload("features", SIZES).names)
    head: dict = {
        "video_id": video_id,
        "outcome": "done" if content else "failed",
        "reason": None if content else "error",
        "detail": None,
        "attempt": attempt,
        "committed_at": datetime.datetime(2026, 1, attempt, tzinfo=datetime.UTC),
        "seconds": 0.1,
        "retry_after": None,
        "upstream": {},
    }
    return head | empty | (content or {}) | {"digest": {}}


@pytest.fixture
def root(tmp_path):
    store = Store(tmp_path)
    parts = [
        [row("c", payload(7, "train", text=True)), row("a", payload(5, "val", text=False))],
        [row("b", payload(3, "train", text=False)), row("broken", None), row("late", None)],
        [
            row("c", payload(2, "train", text=True), attempt=2),
            row("late", payload(1, "test", text=True), attempt=2),
        ],
    ]
    for part in parts:
        store.write("features", FINGERPRINT, rows.to_table(SCHEMA, part))
    tables_of_root = {"features": {"fingerprint": FINGERPRINT}}
    store.write_json("dataset.json", {"manifest": {}, "tables": tables_of_root})
    return tmp_path


def test_done_videos_by_id_from_their_latest_rows(root):
    shards = open_shards(root)
    assert shards.video_ids == [video.video_id for video in shards] == ["a", "b", "c", "late"]
    assert [len(video.frame_time_s) for video in shards] == [5, 3, 2, 1]
    video = shards[2]
    assert isinstance(video, Video)
    np.testing.assert_array_equal(video.frame_feature, payload(2, "", text=True)["frame_feature"])
    assert video.frame_feature.dtype == np.float16
    assert video.sentence == [{"start_s": 0.0, "end_s": 1.5, "text": "cut"}]
    assert video.replay_score.tolist() == [0, 1]
    assert shards[0].replay_score is None
    assert shards[0].sentence_feature.shape == (0, 3)
    assert shards[0].description_feature is None


def test_it_is_a_sequence(root):
    shards = open_shards(str(root))
    assert len(shards) == 4
    assert shards[-1].video_id == "late"
    assert shards[1:3].video_ids == ["b", "c"]
    with pytest.raises(IndexError):
        shards[4]
    assert pickle.loads(pickle.dumps(shards))[0].video_id == "a"


def test_one_split(root):
    assert open_shards(root, split="train").video_ids == ["b", "c"]
    assert open_shards(root, split="nothing").video_ids == []


def test_videos_of_a_root_make_a_batch(root):
    batch = collate(list(open_shards(root)))
    assert batch.frame_feature.shape == (4, 5, 4)
    assert batch.sentence_mask.sum(1).tolist() == [0, 0, 1, 1]


def test_what_is_no_root_is_a_clear_error(root, tmp_path):
    with pytest.raises(UsageError, match="no vsumdata root"):
        open_shards(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="no table 'frames'; it has features"):
        open_shards(root, table="frames")
