"""Our features under a benchmark's annotations: found by name, placed by time, nothing dropped silently."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_mrhisum
from tests.datasets.benchmarks.replayed_files import write_mosu
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row

from vsumdata.datasets.benchmarks import mosu, mrhisum
from vsumdata.datasets.join import join_features
from vsumdata.datasets.partition import ids_of, pick
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


def test_texts_alone_stand_beside_the_benchmarks_own_features(root):
    videos = [
        benchmark("video_1", url="https://www.youtube.com/watch?v=AwmHb44_ouw", duration_s=10.0),
        benchmark("video_2", url="https://www.youtube.com/watch?v=gone"),
        benchmark("video_4", url="https://www.youtube.com/watch?v=AwmHb44_ouw", duration_s=12.0),
    ]
    found, report = join_features(videos, f"text:{root}")
    assert [video.video_id for video in found] == ["video_1", "video_2", "video_4"]  # none is left out
    assert found[0].frame_feature is videos[0].frame_feature
    assert found[0].sentence_feature.shape == (1, 3)
    assert found[0].global_feature is not None
    assert found[1] is videos[1]
    assert found[2].sentence_feature is None  # another cut: its times are not these
    assert str(report) == "2 of 3 videos have our texts, unless their lengths differ; the first without: video_2"
    unsure = benchmark("video_2", title="Air_Force_One")
    (joined,), _ = join_features([unsure], f"text:{root}")
    np.testing.assert_allclose(joined.frame_time_s, np.arange(20), atol=1e-5)  # our length, as with our features


def test_mrhisums_own_frames_and_a_roots_texts_are_read_when_asked_for(tmp_path):
    store, part = Store(tmp_path / "root"), payload(23, "train", text=True)
    found = [row("hisum000003", part | {"duration_s": 23.0})]
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    (tmp_path / "hisum").mkdir()
    videos, report = join_features(mrhisum.load(write_mrhisum(tmp_path / "hisum")), f"text:{tmp_path / 'root'}")
    assert report.joined == {"video_3": "hisum000003"}
    assert ids_of(videos) == ["video_3", "video_1", "video_2", "video_4"]
    with_text, without = pick(pickle.loads(pickle.dumps(videos)), ["video_3", "video_1"])
    assert (with_text.frame_feature.shape, with_text.sentence_feature.shape) == ((23, 16), (1, 3))
    assert with_text.gt_score is not None
    assert without.sentence_feature is None
    assert [video.video_id for video in videos[1:3]] == ["video_1", "video_2"]


def test_mosus_seconds_give_way_to_a_roots_texts_and_its_sound_stays(tmp_path):
    store, part = Store(tmp_path / "root"), payload(23, "train", text=True)
    found = [row("youtube0000", part | {"duration_s": 23.0})]
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    data = mosu.load(write_mosu(tmp_path / "mosu"))
    videos, report = join_features(data, f"text:{tmp_path / 'root'}")
    assert report.joined == {"b": "youtube0000"}
    joined, alone = pick(videos, ["b", "video_1"])
    assert (joined.sentence_feature.shape, joined.audio_feature.shape) == ((1, 3), (23, 5))
    np.testing.assert_array_equal(joined.frame_feature, data[0].frame_feature)
    assert alone.sentence_feature.shape == (21, 6)
    (ours,), _ = join_features(data, tmp_path / "root")
    assert (ours.frame_feature.shape[0], ours.audio_feature.shape, ours.gt_score.shape) == (23, (23, 5), (23,))


def test_annotations_alone_can_be_joined(root):
    bare = replace(benchmark("video_3"), frame_feature=np.zeros((20, 0), np.float32))
    (joined,), _ = join_features([bare], root)
    assert joined.frame_feature.shape == (20, 4)


@pytest.mark.parametrize("seconds", [9, 10, 11])
def test_annotations_of_seconds_and_our_frames_are_cut_to_the_shorter(root, seconds):
    """The root's video has 10 frames, as VideoXum's official code cuts it; with picks the benchmark keeps its grid."""
    chosen = np.arange(2 * seconds).reshape(2, seconds) % 3 == 0
    second = np.arange(seconds)
    video = Video(
        video_id="v_AwmHb44_ouw",
        url="https://www.youtube.com/watch?v=AwmHb44_ouw",
        frame_time_s=second.astype(np.float32),
        frame_feature=np.zeros((seconds, 0), np.float32),
        user_summary=chosen,
        gt_score=chosen.mean(0),
        summary=({"text": "All.", "time_s": second.tolist()},),
    )
    (joined,), report = join_features([video], root)
    num = min(seconds, 10)
    assert (joined.frame_feature[:, 0] / 4).tolist() == joined.frame_time_s.tolist() == list(range(num))
    np.testing.assert_array_equal(joined.user_summary, chosen[:, :num])
    np.testing.assert_array_equal(joined.gt_score, chosen.mean(0)[:num])
    assert joined.summary == ({"text": "All.", "time_s": list(range(num))},)
    assert report.farthest_s == 0
    assert report.cut == ({"v_AwmHb44_ouw": 1} if seconds == 11 else {})
    assert ("; 1 end before the annotations, which are cut by up to 1 frames" in str(report)) == (seconds == 11)
    on_a_grid = replace(video, picks=second, n_frames=seconds)
    (kept,), report = join_features([on_a_grid], root)
    assert (len(kept.frame_time_s), report.cut) == (seconds, {})


def test_what_is_no_root(tmp_path):
    with pytest.raises(UsageError, match="no vsumdata root"):
        join_features([benchmark("a")], tmp_path / "nowhere")
