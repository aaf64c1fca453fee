"""Shards read what the store wrote."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row
from tests.train.training_kit import videos, write_root

from vsumdata.datasets import partition, shards
from vsumdata.datasets.shards import open_shards
from vsumdata.datasets.video import Video, collate
from vsumdata.manifests import rows, tables
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.train.data import training


@pytest.fixture
def root(tmp_path):
    store = Store(tmp_path)
    parts = [
        [row("c", payload(7, "train", text=True)), row("a", payload(5, "val", text=False))],
        [row("b", payload(3, "train", text=False)), row("broken", None), row("late", None)],
        [
            row("c", payload(2, "train", text=True), version=2),
            row("late", payload(1, "test", text=True), version=2),
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


def test_the_benchmark_measures_on_the_test_split(tmp_path: Path) -> None:
    found = sorted(videos(6), key=lambda video: video.video_id)
    write_root(tmp_path / "root", found, ["test", "train", "train"])
    assert [video.video_id for video in shards.load(tmp_path / "root")] == [found[0].video_id, found[3].video_id]


def test_summaries_come_where_the_root_has_them(root):
    """Those of done rows; a later skip counts."""
    assert all(video.summary is None for video in open_shards(root))
    store = Store(root)
    schema = tables.schema(tables.payload("summaries", {}), ("videos", "features"))
    empty = dict.fromkeys(tables.payload("summaries", {}).names)
    summary: list[dict] = [{"text": "cut it", "time_s": [0.0, 2.0]}]

    def made(video_id: str, content: list[dict] | None, version: int = 1) -> dict:
        found = row(video_id, None, version=version)
        head = {name: value for name, value in found.items() if name in schema.names} | empty
        return head | ({"outcome": "done", "summary": content} if content else {}) | {"upstream": {}, "digest": {}}

    store.write("summaries", "5a", rows.to_table(schema, [made("a", summary), made("b", summary), made("c", None)]))
    store.write("summaries", "5a", rows.to_table(schema, [made("b", None, version=2)]))
    described = store.dataset()
    described["tables"]["summaries"] = {"fingerprint": "5a"}
    store.write_json("dataset.json", described)
    found = open_shards(root)
    assert {video.video_id: video.summary for video in found} == {"a": summary, "b": None, "c": None, "late": None}
    picked = [pickle.loads(pickle.dumps(found)), found[:1], partition.pick(found, ["a"]), training.only(found, ["a"])]
    assert [its[0].summary for its in picked] == [summary] * 4


def test_captions_of_frames_come_where_they_are_asked_for(root):
    """Those that were copied are moments of the one before; without a word there is no caption."""
    store = Store(root)
    schema = tables.schema(tables.payload("frame_captions", {}), ("videos", "frames"))
    rows_of = [("A pan.", False), ("A pan.", True), ("", False), ("", True), ("A «plate».", False)]
    caption = [{"time_s": float(at), "text": text, "copied": copied} for at, (text, copied) in enumerate(rows_of)]

    def made(video_id: str, content: list[dict]) -> dict:
        head = {name: value for name, value in row(video_id, None).items() if name in schema.names}
        more = {"outcome": "done", "caption": content, "caption_model": "m", "upstream": {}, "digest": {}}
        return head | more

    silent = [{"time_s": 0.0, "text": "", "copied": False}]
    store.write("frame_captions", "ca", rows.to_table(schema, [made("a", caption), made("b", silent)]))
    described = store.dataset()
    described["tables"]["frame_captions"] = {"fingerprint": "ca"}
    store.write_json("dataset.json", described)
    assert all(video.caption is None for video in open_shards(root))
    found = pickle.loads(pickle.dumps(open_shards(root, captions=True)))[:]
    expected = ({"text": "A pan.", "time_s": [0.0, 1.0]}, {"text": "A «plate».", "time_s": [4.0]})
    assert {video.video_id: video.caption for video in found} == {"a": expected, "b": None, "c": None, "late": None}


def test_splits_never_cross_a_group_of_duplicates(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tasks = {"a": ("boil eggs", "train"), "b": ("eggs", "test"), "c": ("eggs", "test"), "d": ("tea", "val")}
    content = [
        row(video_id, payload(3, split, text=True) | {"task": task}) for video_id, (task, split) in tasks.items()
    ]
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, content))
    fingerprints = {"features": {"fingerprint": FINGERPRINT}}
    store.write_json("dataset.json", {"manifest": {}, "tables": fingerprints})
    assert open_shards(tmp_path, split="test").video_ids == ["b", "c"]
    schema = tables.schema(tables.payload("duplicates", {}), ("videos",))
    empty = dict.fromkeys(tables.payload("duplicates", {}).names)
    alike = [row(video_id, None) | empty | {"outcome": "done", "group": "a"} for video_id in ("a", "b", "not made")]
    store.write(
        "duplicates", FINGERPRINT, rows.to_table(schema, [{k: each[k] for k in schema.names} for each in alike])
    )
    store.write_json(
        "dataset.json", {"manifest": {}, "tables": fingerprints | {"duplicates": {"fingerprint": FINGERPRINT}}}
    )
    shards = open_shards(tmp_path)
    assert [(video.video_id, video.split, video.task) for video in shards[:3]] == [
        ("a", "train", "boil eggs"), ("b", "train", "boil eggs"), ("c", "train", "boil eggs"),
    ]  # fmt: skip
    assert open_shards(tmp_path, split="test").video_ids == []
    assert partition.tasks_of_root(str(tmp_path)) == dict.fromkeys("abc", "boil eggs") | {"d": "tea"}


def test_times_of_steps_come_where_the_root_has_them(root):
    """Those of another number of steps are of an older row of `features`."""
    store = Store(root)
    schema = tables.schema(tables.payload("step_times", {}), ("features",))

    def made(video_id: str, *start_s: float) -> dict:
        head = {name: value for name, value in row(video_id, None).items() if name in schema.names}
        times = {"step_start_s": list(start_s), "step_stop_s": [at + 2 for at in start_s], "step_confidence": start_s}
        return head | times | {"outcome": "done", "upstream": {}, "digest": {}}

    found = [made("c", 1.0), made("late", np.nan, 3.0), made("a")]
    store.write("step_times", "5e", rows.to_table(schema, found))
    assert all(video.step_span is None for video in open_shards(root))
    described = store.dataset()
    described["tables"]["step_times"] = {"fingerprint": "5e"}
    store.write_json("dataset.json", described)
    shards = pickle.loads(pickle.dumps(open_shards(root)))
    spans = {video.video_id: None if video.step_span is None else video.step_span.tolist() for video in shards}
    assert spans == {"a": [], "b": None, "c": [[1, 3]], "late": None}
    batch = collate(list(shards))
    assert batch.step_span.shape == (4, 1, 2)
    assert batch.step_span[2].tolist() == [[1, 3]]
    assert batch.step_span[3].isnan().all()
    assert batch.rows([2, 3]).step_span.shape == (2, 1, 2)
