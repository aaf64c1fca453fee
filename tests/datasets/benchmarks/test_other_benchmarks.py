"""Mr. HiSum, WikiHow Summaries and BLiSS from files in their published layout."""

from __future__ import annotations

import json
import pickle

import h5py
import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import (
    bliss_clip,
    write_bliss,
    write_eccv16,
    write_mrhisum,
    write_wikihow,
)

from vsumdata.datasets.benchmarks import bliss, mrhisum, wikihow_summaries
from vsumdata.datasets.splits import given
from vsumdata.manifests.errors import UsageError


def test_mrhisum(tmp_path):
    videos = mrhisum.load(write_mrhisum(tmp_path))
    assert [(video.video_id, video.split) for video in videos] == [
        ("video_3", "train"),
        ("video_1", "train"),
        ("video_2", "val"),
        ("video_4", "test"),
    ]
    video = videos[0]
    assert (video.frame_feature.shape, video.n_frames, video.duration_s) == ((23, 16), 23, 23)
    assert video.url == "https://www.youtube.com/watch?v=hisum000003"
    assert video.change_points.tolist() == [[0, 8], [8, 23]]  # half-open, as the protocol reads them
    assert video.user_summary.shape == (1, 23)
    np.testing.assert_array_equal(video.user_summary[0], np.arange(23) < 8)
    assert given(videos).test == ("video_4",)
    assert len(videos) == 4
    assert [v.video_id for v in videos[1:3]] == ["video_1", "video_2"]
    assert [v.video_id for v in videos.of_split("train")] == ["video_3", "video_1"]
    assert pickle.loads(pickle.dumps(videos))[-1].video_id == "video_4"
    with pytest.raises(IndexError):
        videos[4]


def test_mrhisum_as_downloaded_has_no_features(tmp_path):
    write_mrhisum(tmp_path, features=False, summary="gtsummary")
    (tmp_path / "metadata.csv").unlink()
    video = mrhisum.load(tmp_path / "mr_hisum.h5")[0]
    assert (video.frame_feature.shape, video.url, video.gt_summary.sum()) == ((23, 0), None, 8)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gtscore", None, "video_3 has no gtscore; it has change_points, features, gt_summary"),
        ("gt_summary", None, "video_3 has no gt_summary"),
        ("features", np.zeros((20, 16)), "gtscore 23, gt_summary 23, features 20"),
        ("features", np.zeros((0, 16)), "gtscore 23, gt_summary 23, features 0"),
        ("gt_summary", np.zeros(22), "gtscore 23, gt_summary 22, features 23"),
        ("gtscore", np.full(23, np.nan), "gtscore holds values that are not finite"),
        ("change_points", np.array([[0, 8], [8, 22]]), "do not cut seconds 0 to 23"),
        ("change_points", np.array([[0, 7], [8, 23]]), "do not cut seconds 0 to 23"),
        ("change_points", np.array([[5, 5]]), "do not cut seconds 0 to 23"),
        ("change_points", np.zeros(4), r"change_points is \[4\]"),
    ],
)
def test_what_is_wrong_in_a_video_of_mrhisum(tmp_path, key, value, message):
    with h5py.File(write_mrhisum(tmp_path) / "mr_hisum.h5", "r+") as file:
        del file[f"video_3/{key}"]
        if value is not None:
            file[f"video_3/{key}"] = value
    with pytest.raises(UsageError, match=message) as caught:
        list(mrhisum.load(tmp_path))
    assert "video_3" in str(caught.value)


@pytest.mark.parametrize("seconds", [21, 22, 24, 25])
def test_mrhisum_with_other_features_than_scores_is_cut_to_the_shorter(tmp_path, seconds):
    with h5py.File(write_mrhisum(tmp_path) / "mr_hisum.h5", "r+") as file:
        del file["video_3/features"], file["video_3/change_points"]
        file["video_3/features"] = np.ones((seconds, 16), np.float32)
        file["video_3/change_points"] = np.array([[0, 0], [0, 8], [8, 8], [8, 22], [22, 23], [23, 23]])
    video, kept = mrhisum.load(tmp_path)[0], min(seconds, 23)
    assert (video.n_frames, video.frame_feature.shape, video.gt_score.shape) == (kept, (kept, 16), (kept,))
    assert (video.gt_summary.shape, video.user_summary.shape) == ((kept,), (1, kept))
    assert video.change_points.tolist() == [[0, 8], [8, min(kept, 22)]] + ([[22, 23]] if kept == 23 else [])


def test_byte_order_marks_beside_mrhisum_are_no_part_of_the_first_name(tmp_path):
    """MoSu's metadata.csv has one as it is published, and editors add them."""
    write_mrhisum(tmp_path)
    before = [video.url for video in mrhisum.load(tmp_path)]
    for name in ("metadata.csv", "mr_hisum_split.json"):
        (tmp_path / name).write_text((tmp_path / name).read_text(), encoding="utf-8-sig")
    assert [video.url for video in mrhisum.load(tmp_path)] == before


def test_a_path_that_is_not_mrhisum_is_the_one_that_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere is not there; get it from"):
        mrhisum.load(tmp_path / "nowhere")
    (tmp_path / "other.json.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(UsageError, match=r"other\.json\.gz is a gzip archive"):
        mrhisum.load(tmp_path / "other.json.gz")


def test_what_is_wrong_beside_mrhisum(tmp_path):
    write_mrhisum(tmp_path)
    metadata, split = tmp_path / "metadata.csv", tmp_path / "mr_hisum_split.json"
    whole = metadata.read_text()
    metadata.write_text("".join(whole.splitlines(keepends=True)[:3]))
    with pytest.raises(UsageError, match=r"metadata.csv does not list 2 videos of the split \(first: video_3\)"):
        mrhisum.load(tmp_path)
    metadata.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="has no column duration, video_id, youtube_id"):
        mrhisum.load(tmp_path)
    metadata.write_text(whole)
    split.write_text('{"train_keys": ["video_1"], "val_keys": [], "test_keys": ["video_1"]}')
    with pytest.raises(UsageError, match="has videos in two splits"):
        mrhisum.load(tmp_path)
    split.write_text('{"train": []}')
    with pytest.raises(UsageError, match="has no lists train_keys, val_keys and test_keys"):
        mrhisum.load(tmp_path)


def test_another_data_sets_file_is_not_mrhisum(tmp_path):
    write_mrhisum(tmp_path)
    write_eccv16(tmp_path / "mr_hisum.h5", 2)
    with pytest.raises(UsageError, match=r"lacks 2 of the 4 videos of the split \(first: video_3\)"):
        mrhisum.load(tmp_path)


def test_wikihow_summaries(tmp_path):
    videos = {video.video_id: video for video in wikihow_summaries.load(write_wikihow(tmp_path))}
    eggs = videos["Boil-Eggs"]
    assert eggs.n_frames == 80
    assert eggs.picks.tolist() == [0, 32]  # two whole segments; the 16 frames left over are none
    assert eggs.gt_score.tolist() == [0, 24 / 32]
    assert eggs.user_summary.sum() == 40
    assert (eggs.task, eggs.article_url) == ("Boil Eggs", "https://www.wikihow.com/Boil-Eggs")
    assert [step["headline"] for step in eggs.step] == ["Step 1.", "Step 2.", "Step 10."]
    by_youtube_id = videos["abcdefghijk"]
    assert (by_youtube_id.task, by_youtube_id.picks.tolist()) == ("Fold a Map", [0])
    unknown = videos["Tie-a-Tie"]
    assert (unknown.task, unknown.step, unknown.user_summary.any()) == (None, (), False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is not a JSON object, video id -> labels"),
        ("{}", "is not a JSON object, video id -> labels"),
        ('{"a": [0, 1, 2]}', "a is not a list of labels 0 or 1"),
        ('{"a": {"machine_summary": [1]}}', "a is not a list of labels"),
        ('{"a": []}', "a is not a list of labels"),
    ],
)
def test_what_is_not_wikihow_summaries(tmp_path, content, message):
    (tmp_path / "wikihowto_annt.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        wikihow_summaries.load(tmp_path)


def test_wikihow_summaries_without_its_file_or_with_strange_steps(tmp_path):
    with pytest.raises(UsageError, match=r"holds no wikihowto_annt.json"):
        wikihow_summaries.load(tmp_path)
    write_wikihow(tmp_path)
    (tmp_path / "how_to_steps" / "Boil-Eggs.json").write_text("{}")
    with pytest.raises(UsageError, match=r"Boil-Eggs.json has no video_url"):
        wikihow_summaries.load(tmp_path)


def test_bliss(tmp_path):
    first, second = bliss.load(write_bliss(tmp_path / "BLiSS"))
    assert (first.video_id, first.split, first.task) == ("clip_a", "train", "stream of train")
    assert (second.video_id, second.split) == ("clip_b", "test")
    assert (second.frame_feature.shape, second.sentence_feature.shape) == ((6, 5), (3, 7))
    assert second.summary_feature.shape == (2, 5)
    assert second.gt_summary.tolist() == [0, 1, 0, 0, 1, 0]
    assert second.sentence_label.tolist() == [1, 0, 0]
    assert second.sentence[1] == {"start_s": 2.0, "end_s": 4.0, "text": "a brush"}
    assert second.summary_text == "hello there"


def test_bliss_reference_may_be_one_text(tmp_path):
    assert bliss.load(write_bliss(tmp_path, {"highlight": "one text"}))[1].summary_text == "one text"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frame": 7}, "num_frame is 7, but video_label has 6"),
        ({"video_label": [0, 1, 0, 0, 1]}, "num_frame is 6, but video_label has 5"),
        ({"text_label": [1]}, "num_sentence is 3, but text_label has 1"),
        ({"sentence_time": [[0, 2]]}, "num_sentence is 3, but sentence_time has 1"),
        ({"video_label": [1, 1, 1, 0, 0, 0]}, "num_keyframe is 2, but video_label has 3"),
        ({"num_keyframe": 1, "video_label": [1, 0, 0, 0, 0, 0]}, "num_keyframe is 1, but video_summ_clip has 2"),
    ],
)
def test_counts_that_disagree_in_bliss(tmp_path, change, message):
    with pytest.raises(UsageError, match=message) as caught:
        bliss.load(write_bliss(tmp_path, change))
    assert "clip_b" in str(caught.value)


def test_what_is_missing_in_bliss(tmp_path):
    write_bliss(tmp_path)
    path = tmp_path / "annotation" / "test.json"
    entry = bliss_clip()
    del entry["highlight"]
    path.write_text(json.dumps({"clip_b": entry}))
    with pytest.raises(UsageError, match="clip_b has no highlight: this is not BLiSS's annotation"):
        bliss.load(tmp_path)
    path.write_text(json.dumps({"clip_b": bliss_clip(), "clip_c": bliss_clip()}))
    with pytest.raises(UsageError, match=r"video_clip_test.npy lacks 1 clips of test.json \(first: clip_c\)"):
        bliss.load(tmp_path)
    (tmp_path / "feature" / "text_roberta_test.npy").unlink()
    path.write_text(json.dumps({"clip_b": bliss_clip()}))
    with pytest.raises(UsageError, match=r"text_roberta_test.npy is not there"):
        bliss.load(tmp_path)
