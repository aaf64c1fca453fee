"""QVHighlights: each query is a video; features as released; every way in which a file can be wrong is one line."""

from __future__ import annotations

import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.highlights.qvhighlights_files import PARTS, lines, record, write, write_features

from vsumdata.datasets import partition
from vsumdata.datasets.benchmarks.highlights import qvhighlights
from vsumdata.datasets.benchmarks.highlights.clip_features import EPS
from vsumdata.datasets.benchmarks.registry import data_set
from vsumdata.datasets.splits import sources
from vsumdata.manifests.errors import UsageError

VID = "bP5KfdFJzC4_660.0_810.0"


def of(tmp_path: Path, **changes: Any) -> Any:
    """The one video of a file."""
    path = tmp_path / "highlight_val_release.jsonl"
    path.write_text(lines([record(8737, VID) | changes]))
    (video,) = qvhighlights.load(path)
    return video


def test_a_query_is_a_video_of_two_second_clips(tmp_path: Path) -> None:
    video = of(tmp_path)
    assert video.video_id == f"{VID}/8737"
    assert (video.query, video.split, video.duration_s) == ("Somebody does thing 8737.", "val", 20)
    assert video.url == "https://www.youtube.com/watch?v=bP5KfdFJzC4"
    assert (video.offset_s, video.title, video.task) == (660, VID, "bP5KfdFJzC4")
    assert video.frame_time_s.tolist() == list(range(0, 20, 2))
    assert video.frame_feature.shape == (10, 0)
    assert video.user_score.tolist() == [
        [0, 0, 2, 4, 0, 0, 0, 3, 0, 0],
        [0, 0, 3, 4, 1, 0, 0, 3, 0, 0],
        [0, 0, 4, 4, 2, 0, 0, 1, 0, 0],
    ]
    np.testing.assert_allclose(video.gt_score, video.user_score.mean(0) / 4, atol=1e-7)
    assert np.flatnonzero(video.gt_summary).tolist() == [2, 3, 4, 7]
    assert video.moment.tolist() == [[4, 10], [14, 16]]
    assert of(tmp_path, duration=21).frame_time_s.shape == (10,)  # a rest is no clip


def test_the_parts_are_the_files(tmp_path: Path) -> None:
    videos = qvhighlights.load(write(tmp_path))
    assert [video.split for video in videos] == [part for part, vids in PARTS.items() for _ in vids]
    assert [video.video_id for video in videos] == videos.video_ids
    assert len(set(videos.video_ids)) == len(videos), "two queries about one cut are two videos"
    test = videos[-1]
    assert test.user_score is test.gt_score is test.gt_summary is test.moment is None
    assert [video.split for video in qvhighlights.load(tmp_path / "highlight_train_release.jsonl")] == ["train"] * 4
    assert data_set("qvhighlights") is qvhighlights
    assert sources("qvhighlights") == []


def test_the_test_part_with_labels_counts_where_it_is_there(tmp_path: Path) -> None:
    videos = qvhighlights.load(write(tmp_path, labelled_test=True))
    assert len(videos) == 8
    assert all(video.moment is not None for video in videos)
    parts = partition.own_parts(videos)
    assert parts is not None
    assert {name: len(ids) for name, ids in parts.items()} == {"train": 4, "val": 2, "test": 2}
    assert not parts.tests_val
    on_val = partition.own_parts(videos, "val")
    assert on_val is not None
    assert on_val["test"] == parts["val"]
    assert (on_val["val"], on_val.label) == ([], "as published, tested on its val part")


def test_without_labels_of_the_test_part_the_val_part_is_tested(tmp_path: Path) -> None:
    videos = qvhighlights.load(write(tmp_path))
    for known in (videos, list(videos)):
        parts = partition.own_parts(known)
        assert parts is not None
        assert parts["test"] == videos.video_ids[4:6]
        assert parts["val"] == []
        assert parts.tests_val
    own: Any = partition.own_parts(videos)
    fold = partition.nested(partition.given(own, {}, seeds=1).folds[0][0], partition.tasks(videos), 0)
    youtube = {"train": {each.partition("_0")[0] for each in fold.train}}
    assert not youtube["train"] & {each.partition("_0")[0] for each in fold.val}, "cuts of one video stay together"


def test_packed_files(tmp_path: Path) -> None:
    plain = qvhighlights.load(write(tmp_path / "a"))
    for path in (tmp_path / "a").iterdir():
        (tmp_path / "a" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert qvhighlights.load(tmp_path / "a").video_ids == plain.video_ids, "one of both is read"
    for path in (tmp_path / "a").glob("*.jsonl"):
        path.unlink()
    assert qvhighlights.load(tmp_path / "a").video_ids == plain.video_ids


def test_features_as_moment_detr_reads_them(tmp_path: Path) -> None:
    videos = qvhighlights.load(write(tmp_path, features=True))
    video: Any = videos[2]
    folder = tmp_path / "features"
    expected = []
    for name in ("slowfast_features", "clip_features"):
        rows = np.load(folder / name / f"{video.title}.npz")["features"]
        expected.append(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + EPS))
    np.testing.assert_allclose(video.frame_feature, np.concatenate(expected, 1), atol=1e-6)
    words = np.load(folder / "clip_text_features" / "qid2.npz")["last_hidden_state"][:32]
    np.testing.assert_allclose(video.query_feature, words / np.linalg.norm(words, axis=1, keepdims=True), atol=1e-4)
    assert video.query_feature.shape == (32, 4)
    one, other = (each.query_feature for each in videos[:2])
    assert one is not None
    assert other is not None
    assert not np.allclose(one, other), "one cut, two queries"
    np.testing.assert_array_equal(videos[0].frame_feature, videos[1].frame_feature)
    again = pickle.loads(pickle.dumps(videos[2:4]))
    np.testing.assert_array_equal(again[0].frame_feature, video.frame_feature)
    assert [each.frame_feature.shape for each in videos.described] == [(10, 0)] * len(videos)
    for folder_name in ("slowfast_features", "clip_text_features"):
        for file in (folder / folder_name).iterdir():
            file.unlink()
        (folder / folder_name).rmdir()
    alone = qvhighlights.load(tmp_path)[0]
    assert (alone.frame_feature.shape, alone.query_feature) == ((10, 3), None)


def test_a_clip_or_two_without_features_have_those_of_the_last(tmp_path: Path) -> None:
    vid = PARTS["train"][2]
    write(tmp_path, features=True)
    write_features(tmp_path / "features", 2, vid, 9, clip_features=12)
    feature = qvhighlights.load(tmp_path)[2].frame_feature
    np.testing.assert_array_equal(feature[9], feature[8])
    assert np.abs(feature[8] - feature[7]).max() > 0.1
    write_features(tmp_path / "features", 2, vid, 7)
    with pytest.raises(UsageError, match=r"slowfast_features/.*npz has 7 clips, the annotation 10: features of anothe"):
        qvhighlights.load(tmp_path)[2]


HTML = b"\n<!DOCTYPE html><html><title>Sign in</title>"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (HTML, "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "is a git-lfs pointer"),
        (b"PK\x03\x04 and so on", "is a ZIP archive; unpack it"),
        (b"\x1f\x8b\x08 no gzip", "is a gzip archive; unpack it"),
        (b"\xff\xfe\x00binary", "is not a text in UTF-8"),
        (lines([record(1, VID)]).encode()[:-30], "line 1 is not JSON, or is cut off"),
        (b"[1, 2]\n", "line 1 has no qid, query, duration, vid: this is not QVHighlights's annotation"),
        (b"\n \n", "is empty"),
        (lines([{"video_id": "v_1", "duration": 3}]).encode(), "has no qid, query, vid: this is not"),
        (lines([record(1, VID), record(1, VID)]).encode(), "qid 1 is there twice"),
        (lines([record(1, VID, labelled=False)]).encode(), "qid 1 has no relevant_clip_ids, saliency_scores"),
    ],
)
def test_what_is_not_the_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "highlight_val_release.jsonl"
    path.write_bytes(content)
    for where in (path, tmp_path):
        with pytest.raises(UsageError, match=said) as caught:
            qvhighlights.load(where)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"qid": None}, "qid is None"),
        ({"qid": True}, "qid is True"),
        ({"query": " "}, "query is ' '; expected a sentence"),
        ({"vid": "abc"}, "vid is 'abc'; expected YOUTUBE_START_END"),
        ({"vid": "bP5KfdFJzC4_810.0_660.0"}, "vid is 'bP5KfdFJzC4_810"),
        ({"vid": 7}, "vid is 7"),
        ({"duration": "long"}, "duration does not hold numbers"),
        ({"duration": 1}, "duration is 1 s, which is shorter than a clip"),
        ({"duration": float("nan")}, "duration holds values that are not finite"),
        ({"relevant_clip_ids": [2, 3, 4, 10]}, "relevant_clip_ids are .* expected different numbers of its 10 clips"),
        ({"relevant_clip_ids": [2, 3, 4, -1]}, "relevant_clip_ids"),
        ({"relevant_clip_ids": [2, 3, 3, 4]}, "relevant_clip_ids"),
        ({"relevant_clip_ids": [2, 3, 4, 4.5]}, "relevant_clip_ids"),
        ({"relevant_clip_ids": []}, "relevant_clip_ids"),
        ({"relevant_clip_ids": None}, "has no relevant_clip_ids, which the other parts"),
        ({"saliency_scores": [[1, 2, 3]] * 3}, r"saliency_scores is \[3, 3\]; expected \[4, any\]"),
        ({"saliency_scores": [[1, 2, 3]] * 3 + [[1, 2]]}, "saliency_scores does not hold numbers"),
        ({"saliency_scores": [[1, 2, 5]] * 4}, "not users' ratings from 0 to 4"),
        ({"saliency_scores": [[1, 2, float("nan")]] * 4}, "not finite"),
        ({"relevant_windows": [[4, 10, 3]]}, r"relevant_windows is \[1, 3\]"),
        ({"relevant_windows": [[10, 4]]}, "relevant_windows are"),
        ({"relevant_windows": [[10, 24]]}, "expected starts and ends in seconds of its 20 s"),
        ({"relevant_windows": []}, "relevant_windows"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        of(tmp_path, **changes)
    assert "highlight_val_release.jsonl: qid" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_other_files_and_two_files_of_a_part(tmp_path: Path) -> None:
    (tmp_path / "video.json").write_text("{}")
    with pytest.raises(UsageError, match=r"holds no highlight_train_release\.jsonl, nor another part's; get it from"):
        qvhighlights.load(tmp_path)
    with pytest.raises(UsageError, match=r"nothing\.jsonl is not there; get it from"):
        qvhighlights.load(tmp_path / "nothing.jsonl")
    write(tmp_path)
    (tmp_path / "highlight_val_mine.jsonl").write_text(lines([record(99, VID)]))
    with pytest.raises(UsageError, match=r"has highlight_val_mine\.jsonl and highlight_val_release\.jsonl: leave one"):
        qvhighlights.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"slowfast_features lacks 1 of \d files \(first: yt_val__-01_10\.0_30\.0\.npz\): unpack all"),
        (b"", "is empty"),
        (HTML, "is a web page"),
        (b"hello", r"is not a \.npz file"),
        (b"PK\x03\x04 cut", "is damaged or cut off"),
        ({"video": np.zeros((10, 5), "f4")}, "has no features .it has video.: not Moment-DETR's"),
        ({"features": np.zeros((10, 5, 1), "f4")}, r"features is float32 \[10, 5, 1\]; expected floats"),
        ({"features": np.zeros((0, 5), "f4")}, r"features is float32 \[0, 5\]"),
        ({"features": np.full((10, 5), np.nan, "f4")}, "not finite"),
        ({"features": np.array([["a"]])}, "expected floats"),
        ({"features": np.array([{}], dtype=object)}, "is damaged or cut off"),
    ],
)
def test_what_are_no_features(tmp_path: Path, content: Any, said: str) -> None:
    write(tmp_path, features=True)
    path = tmp_path / "features" / "slowfast_features" / "yt_val__-01_10.0_30.0.npz"
    path.unlink()
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        qvhighlights.load(tmp_path)[4]
    assert "\n" not in str(caught.value)
    assert "slowfast_features" in str(caught.value)


MANY = 10_000
# Not `ru_maxrss`: Linux hands a process that is started on the peak of the one that started it, here of all tests.
LOOK = """
import re, sys
from vsumdata.datasets.benchmarks.highlights import qvhighlights
videos = qvhighlights.load(sys.argv[1])
assert videos[-1].frame_feature.shape[0] == 75
with open("/proc/self/status") as status:
    print(len(videos), len(videos.video_ids), re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])
"""


def test_ten_thousand_queries_are_opened_in_a_gigabyte(tmp_path: Path) -> None:
    many = list(range(75))
    full: dict[str, Any] = {
        "relevant_clip_ids": many,
        "saliency_scores": [[1, 2, 3]] * 75,
        "relevant_windows": [[0, 150]],
    }
    text = [json.dumps(record(at, f"youtube{at:05}_0.0_150.0", 150, **full)) for at in range(MANY)]
    (tmp_path / "highlight_train_release.jsonl").write_text("\n".join(text))
    answer = subprocess.run([sys.executable, "-c", LOOK, str(tmp_path)], capture_output=True, text=True, check=True)
    count, ids, kilobytes = map(int, answer.stdout.split())
    assert (count, ids) == (MANY, MANY)
    assert kilobytes < 1e6


@pytest.mark.recorded
def test_the_published_parts(recordings: Path) -> None:
    videos = qvhighlights.load(recordings / "benchmarks" / "QVHighlights")
    queries = videos.queries
    counts = {part: sum(query.split == part for query in queries) for part in ("train", "val", "test")}
    assert counts["train"] == 7218
    assert counts["val"] == 1550
    youtube = {part: {query.youtube_id for query in queries if query.split == part} for part in counts}
    assert not youtube["train"] & youtube["val"], "no YouTube video is in two parts"
    for query in queries:
        if query.relevant is not None and query.rating is not None and query.moment is not None:
            # The clips are those of the windows, without exception.
            covered = np.zeros(query.num_clips, bool)
            for start, end in query.moment.astype(int) // qvhighlights.CLIP_S:
                covered[start:end] = True
            np.testing.assert_array_equal(covered, query.relevant)
            assert not query.rating[:, ~query.relevant].any()
            assert len(query.rating) == 3
    parts = partition.own_parts(videos)
    assert parts is not None
    assert len(parts["train"]) == 7218
    assert len(parts["test"]) in (1550, 1542)
