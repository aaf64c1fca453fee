"""A benchmark's video that is cut out of a longer one takes the part of ours that it shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.highlights.qvhighlights_files import lines, record
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row

from vsumdata.datasets.benchmarks.highlights import qvhighlights
from vsumdata.datasets.join import cut_out, join_features
from vsumdata.datasets.shards import open_shards
from vsumdata.manifests import rows
from vsumdata.manifests.store import Store

SENTENCES = [(0.0, 28.0), (28.0, 32.0), (35.0, 36.5), (48.0, 60.0), (50.0, 70.0), (80.0, 85.0)]


def write_root(path: Path, **videos: Any) -> Path:
    """Videos by id, a frame each second, whose feature starts with 4 times its number; and six sentences."""
    found = []
    for video_id, seconds in videos.items():
        content = payload(seconds, "train", text=True)
        spoken = [{"start_s": start, "end_s": end, "text": str(start)} for start, end in SENTENCES]
        features = np.arange(len(spoken) * 3, dtype=np.float16).reshape(-1, 3)
        found.append(row(video_id, content | {"sentence": spoken, "sentence_feature": features}))
    store = Store(path)
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    return path


def queries(folder: Path, *vids: str) -> Any:
    (folder / "highlight_val_release.jsonl").write_text(lines(record(qid, vid) for qid, vid in enumerate(vids)))
    return qvhighlights.load(folder)


def test_a_cut_takes_the_frames_and_sentences_of_its_seconds(tmp_path: Path) -> None:
    root = write_root(tmp_path / "root", yt_long=90)
    videos = queries(tmp_path, "yt_long_30.0_50.0", "yt_long_60.5_80.5")
    (first, second), report = join_features(videos, root)
    assert (first.frame_feature[:, 0] / 4).tolist() == list(range(30, 50, 2))
    assert (second.frame_feature[:, 0] / 4 - 60.5 - second.frame_time_s).tolist() == [-0.5] * 10
    assert first.frame_time_s.tolist() == list(range(0, 20, 2)), "times, and annotations, stay those of the cut"
    assert (first.duration_s, second.duration_s) == (20, 20)
    spoken = [(its["start_s"], its["end_s"], its["text"]) for its in first.sentence]
    assert spoken == [(0, 2, "28.0"), (5, 6.5, "35.0"), (18, 20, "48.0")]
    assert first.sentence_feature[:, 0].tolist() == [3, 6, 9]
    assert [its["text"] for its in second.sentence] == ["50.0", "80.0"]
    for joined, video in zip((first, second), videos, strict=True):
        for name in ("user_score", "gt_score", "gt_summary", "moment", "query"):
            np.testing.assert_array_equal(getattr(joined, name), getattr(video, name))
    assert report.joined == {video.video_id: "yt_long" for video in videos}
    assert report.farthest_s == 0.5


def test_a_cut_takes_the_times_of_its_steps(tmp_path: Path) -> None:
    (video,) = queries(tmp_path, "yt_long_30.0_50.0")
    span = np.array([[0, 28], [28, 33.5], [np.nan, np.nan], [45, 60], [50, 70]], np.float32)
    (ours,) = open_shards(write_root(tmp_path / "root", yt_long=90))
    step = [{"section": None, "headline": "h", "text": "x"}] * len(span)
    long = replace(ours, step=step, step_feature=np.ones((len(span), 3)), step_span=span)
    expected = [[np.nan, np.nan], [0, 3.5], [np.nan, np.nan], [15, 20], [np.nan, np.nan]]
    np.testing.assert_array_equal(cut_out(video, long).step_span, expected)


def test_a_root_that_holds_the_cut_itself_is_not_cut_again(tmp_path: Path) -> None:
    root = write_root(tmp_path / "root", **{"yt_long_30.0_50.0": 20})
    ((joined,), _) = join_features(queries(tmp_path, "yt_long_30.0_50.0"), root)
    assert (joined.frame_feature[:, 0] / 4).tolist() == list(range(0, 20, 2))
    assert [its["text"] for its in joined.sentence] == [str(start) for start, _ in SENTENCES]


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        (40, "lasts 20.0 s, ours 10.0 s: another cut"),
        (30, "our video ends before the cut begins"),
        (20, "our video ends before the cut begins"),
    ],
)
def test_a_video_of_ours_that_ends_before_the_cut_does_is_left_out(tmp_path: Path, seconds: int, why: str) -> None:
    videos = queries(tmp_path, "yt_long_30.0_50.0", "yt_gone_0.0_20.0")
    root = write_root(tmp_path / "root", yt_long=seconds)
    found, report = join_features(videos, root)
    assert found == []
    assert report.left_out["yt_long_30.0_50.0/0"] == why
    assert report.left_out["yt_gone_0.0_20.0/1"].startswith("not in the root (yt_gone or yt_gone_0.0_20.0/1 or yt_go")


def test_texts_alone_are_of_the_cuts_seconds_too(tmp_path: Path) -> None:
    root = write_root(tmp_path / "root", yt_long=90)
    found, _ = join_features(queries(tmp_path, "yt_long_30.0_50.0"), f"text:{root}")
    assert [its["text"] for its in found[0].sentence] == ["28.0", "35.0", "48.0"]
    assert found[0].frame_feature.shape == (10, 0)
