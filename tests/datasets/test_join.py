"""Our features under a benchmark's annotations: found by name, placed by time, nothing dropped silently."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row

from vsumdata.datasets.join import join_features
from vsumdata.datasets.video import Video
from vsumdata.manifests import rows
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store


@pytest.fixture
def root(tmp_path):
    """Videos of 10 s, 20 s and none; a frame each second, whose feature starts with 4 times its number."""
    store = Store(tmp_path)
    found = [row("AwmHb44_ouw", payload(10, "train", text=True)), row("Air_Force_One", payload(20, "test", text=False))]
    found.append(row("video_3", payload(10, "test", text=False) | {"duration_s": 11.0}))
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    return tmp_path


def benchmark(video_id: str, **values) -> Video:
    """300 frames at 2 picks a second, 30 fps."""
    picks = np.arange(0, 300, 15)
    rng = np.random.default_rng(0)
    known: dict = {
        "frame_time_s": (picks / 30).astype(np.float32),
        "frame_feature": rng.random((20, 7), np.float32),
        "user_score": rng.integers(1, 6, (3, 20)),
        "user_summary": rng.random((3, 300)) < 0.15,
        "change_points": np.array([[0, 99], [100, 299]]),
        "picks": picks,
        "n_frames": 300,
    }
    return Video(video_id=video_id, **(known | values))


def test_each_pick_gets_the_frame_nearest_in_time(root):
    video = benchmark("video_1", url="https://www.youtube.com/watch?v=AwmHb44_ouw", duration_s=10.0)
    (joined,), report = join_features([video], root)
    assert joined.video_id == "video_1"
    nearest = joined.frame_feature[:, 0] / 4
    assert nearest[::2].tolist() == list(range(10))  # 0.0, 1.0, 2.0 … s are there
    assert np.abs(nearest - joined.frame_time_s).max() == 0.5  # 0.5, 1.5 … lie between two
    for name in ("user_score", "user_summary", "change_points", "picks", "n_frames"):
        assert getattr(joined, name) is getattr(video, name), "the benchmark's grid and annotations stay"
    assert len(joined.sentence) == 1
    assert joined.sentence_feature.shape == (1, 3)
    assert joined.task == "t"
    assert report.joined == {"video_1": "AwmHb44_ouw"}
    assert report.farthest_s == 0.5


def test_a_length_that_the_benchmark_does_not_tell_is_ours(root):
    (joined,), _ = join_features([benchmark("video_2", title="Air_Force_One")], root)
    np.testing.assert_allclose(joined.frame_time_s, np.arange(20), atol=1e-5)  # 300 frames in 20 s, not in 10
    assert (joined.frame_feature[:, 0] / 4).tolist() == list(range(20))


def test_what_cannot_be_joined_is_reported(root):
    videos = [
        benchmark("video_1", url="https://www.youtube.com/watch?v=AwmHb44_ouw", duration_s=12.0),
        benchmark("video_2", url="https://www.youtube.com/watch?v=gone", title="A title"),
        benchmark("video_3", duration_s=10.9),
    ]
    found, report = join_features(videos, root)
    assert [video.video_id for video in found] == ["video_3"]
    assert report.left_out == {
        "video_1": "lasts 12.0 s, ours 10.0 s: another cut",
        "video_2": "not in the root (gone or video_2 or A title)",
    }
    assert str(report).startswith("1 of 3 videos have our features (at most 0.5 s away")
    assert "video_2: not in the root" in str(report)


def test_annotations_alone_can_be_joined(root):
    bare = replace(benchmark("video_3"), frame_feature=np.zeros((20, 0), np.float32))
    (joined,), _ = join_features([bare], root)
    assert joined.frame_feature.shape == (20, 4)


def test_what_is_no_root(tmp_path):
    with pytest.raises(UsageError, match="no vsumdata root"):
        join_features([benchmark("a")], tmp_path / "nowhere")
