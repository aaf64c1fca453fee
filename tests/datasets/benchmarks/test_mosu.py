"""MoSu, KoSum and Mr. HiSum with text and audio, from files in TripleSumm's layout."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.datasets.benchmarks.replayed_files import FEATURES, MOSU_SPLIT, SECONDS, mosu_video, write_mosu
from tests.datasets.publish.test_mosu_h5 import video as our_video

from vsumdata.datasets.benchmarks import mosu
from vsumdata.datasets.partition import own_parts, tasks
from vsumdata.datasets.publish.mosu_h5 import export, spoken
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.bench import Request, bench


def test_what_a_video_has(tmp_path: Path) -> None:
    videos = mosu.load(write_mosu(tmp_path))
    assert [(each.video_id, each.split, each.n_frames) for each in videos] == [
        ("b", "train", 23),
        ("video_1", "train", 21),
        ("video_2", "val", 22),
        ("c-4", "test", 30),
    ]
    video, made = videos[0], mosu_video("b", 23)
    np.testing.assert_array_equal(video.frame_feature, made["visual_clip"])
    np.testing.assert_array_equal(video.audio_feature, made["audio_ast"])
    np.testing.assert_array_equal(video.sentence_feature, made["text_roberta"])
    np.testing.assert_array_equal(video.gt_score, made["gt_score"])
    assert video.sentence[2] == {"start_s": 2.0, "end_s": 3.0, "text": ""}
    assert video.sentence_span.tolist() == [[at, at + 1] for at in range(23)]
    assert video.frame_time_s.tolist() == list(range(23))
    assert video.user_summary.tolist() == [[True] * 3 + [False] * 20]
    assert video.change_points.tolist() == [[0, 2], [3, 9], [10, 22]]
    assert (video.title, video.duration_s, video.url) == (
        "Title 0, é",
        23,
        "https://www.youtube.com/watch?v=youtube0000",
    )
    assert [each.video_id for each in videos.of_split("train")] == ["b", "video_1"]
    assert [each.video_id for each in videos[1:3]] == ["video_1", "video_2"]
    assert pickle.loads(pickle.dumps(videos))[-1].video_id == "c-4"
    with pytest.raises(IndexError):
        videos[4]


@pytest.mark.parametrize("prefix", ["mosu", "kosum", "mrhisum", "my.own [set]"])
def test_any_prefix(tmp_path: Path, prefix: str) -> None:
    assert len(mosu.load(write_mosu(tmp_path, prefix))) == 4
    assert mosu.load(tmp_path / f"{prefix}_gt.h5")[3].audio_feature.shape == (30, 5)


def test_one_of_several_prefixes_is_named_by_its_file(tmp_path: Path) -> None:
    write_mosu(write_mosu(tmp_path), "kosum", split={"train_keys": ["k"], "val_keys": [], "test_keys": []})
    with pytest.raises(UsageError, match=r"holds kosum and mosu: name the file of one, e\.g\. .*kosum_gt\.h5"):
        mosu.load(tmp_path)
    assert mosu.load(tmp_path / "kosum_gt.h5").video_ids == ["k"]
    assert len(mosu.load(tmp_path / "mosu_gt.h5")) == 4


@pytest.mark.parametrize("kind", FEATURES)
def test_without_a_kind_of_features(tmp_path: Path, kind: str) -> None:
    video = mosu.load(write_mosu(tmp_path, without=(kind,)))[0]
    assert video.frame_feature.shape == (23, 0 if kind == "visual_clip" else 8)
    assert (video.audio_feature is None) == (kind == "audio_ast")
    assert (video.sentence_feature is None) == (kind == "text_roberta") == (not video.sentence)


def test_annotations_alone_can_be_benched_and_only_tested_videos_are_read(tmp_path: Path) -> None:
    write_mosu(tmp_path, changes={"b": {"gt_score": np.full(23, np.nan)}})
    for table in ("mosu_metadata.csv", *(f"mosu_feat_{kind}.h5" for kind in FEATURES)):
        (tmp_path / table).unlink()
    assert mosu.load(tmp_path)[1].url is None
    assert own_parts(mosu.load(tmp_path)) == {"train": ["b", "video_1"], "val": ["video_2"], "test": ["c-4"]}
    assert tasks(mosu.load(tmp_path)) == {}


def test_bench_shows_the_rows_without_training(tmp_path: Path) -> None:
    table = bench(Request(on="mosu", data=str(write_mosu(tmp_path)), seeds=2))
    assert (table.protocol, table.split) == ("mosu", "as published")
    found = {(row.method, row.metric): row for row in table.rows}
    assert found["mean-user", "tau"].mean == found["mean-user", "map50"].mean == 1
    assert all(found[method, "map15"].n == 1 for method in ("random", "uniform"))
    assert abs(found["random", "rho"].mean) < 1
    assert any("mean of the means of batches" in remark for remark in table.remarks)


@pytest.mark.parametrize(
    ("shots", "closed"),
    [
        ([[0, 3], [3, 10], [10, 23]], [[0, 2], [3, 9], [10, 22]]),  # half-open, as Mr. HiSum's own file has them
        ([[0, 3], [3, 10], [10, 10], [10, 23], [23, 23]], [[0, 2], [3, 9], [10, 22]]),
        ([[0, 3], [3, 10], [10, 22]], [[0, 2], [3, 9], [10, 22]]),  # half-open, but for the end
        ([[0, 2], [3, 9], [10, 23]], [[0, 2], [3, 9], [10, 22]]),  # closed, but for the end
        ([[0, 0], [1, 1], [2, 22]], [[0, 0], [1, 1], [2, 22]]),
        ([[0, 22]], [[0, 22]]),
        ([[0, 23]], [[0, 22]]),
    ],
)
@pytest.mark.parametrize("kind", [np.int32, np.float64])
def test_closed_and_half_open_shots(tmp_path: Path, shots: list, closed: list, kind: type) -> None:
    video = mosu.load(write_mosu(tmp_path, changes={"b": {"change_points": np.array(shots, kind)}}))[0]
    assert video.change_points.tolist() == closed


LACKS_B: dict[str, Any] = {"train_keys": ["video_1"], "val_keys": ["video_2"], "test_keys": ["c-4"]}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("gt_score", None, "gt.h5: b has no gt_score; it has change_points, gt_summary"),
        ("change_points", None, "b has no change_points"),
        ("gt_score", np.full(23, np.nan), "gt_score holds values that are not finite"),
        ("gt_score", np.zeros((23, 1)), r"gt_score is \[23, 1\], gt_summary \[23\]; expected \[T\] of one length"),
        ("gt_score", np.float32(0.5), r"gt_score is \[\], gt_summary \[23\]"),
        ("gt_score", np.zeros(0), r"gt_score is \[0\], gt_summary \[23\]"),
        ("gt_score", np.bytes_(b"x"), r"gt_score is \[\]"),
        ("gt_summary", np.zeros(22), r"gt_score is \[23\], gt_summary \[22\]"),
        ("change_points", np.array([[0, 2], [3, 21]]), "do not cut frames 0 to 22 without gap or overlap"),
        ("change_points", np.array([[0, 2], [4, 22]]), "do not cut frames 0 to 22"),
        ("change_points", np.array([[0, 3], [3, 21]]), "do not cut frames 0 to 22"),
        ("change_points", np.array([[5, 5]]), "do not cut frames 0 to 22"),
        ("change_points", np.array([[0, 24]]), "do not cut frames 0 to 22"),
        ("change_points", np.zeros(4), r"change_points is \[4\]; expected \[shots, 2\]"),
        ("change_points", np.array([[0, 22.5]]), "values that are not whole frame numbers"),
        ("change_points", np.zeros((0, 2)), r"change_points is \[0, 2\]"),
        ("visual_clip", np.zeros((22, 8)), r"feat_visual_clip.h5: b is \[22, 8\]; expected \[23, any\]"),
        ("text_roberta", np.zeros((24, 6)), r"feat_text_roberta.h5: b is \[24, 6\]; expected \[23, any\]"),
        ("audio_ast", np.zeros(23), r"feat_audio_ast.h5: b is \[23\]; expected \[23, any\]"),
        ("audio_ast", np.zeros((23, 0)), r"b is \[23, 0\]; expected \[23, any\]"),
        ("audio_ast", np.full((23, 5), np.inf), "audio holds values that are not finite"),
        ("visual_clip", np.full((23, 8), b"x"), "visual holds values that are not finite numbers"),
    ],
)
def test_what_is_wrong_in_a_video(tmp_path: Path, key: str, value: Any, message: str) -> None:
    videos = mosu.load(write_mosu(tmp_path, changes={"b": {key: value}}))
    assert videos[1].video_id == "video_1", "the others are still read"
    with pytest.raises(UsageError, match=message) as caught:
        list(videos)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=message):
        videos[0]


def test_a_group_in_the_place_of_features(tmp_path: Path) -> None:
    with h5py.File(write_mosu(tmp_path) / "mosu_feat_audio_ast.h5", "r+") as file:
        del file["b"]
        file["b/features"] = np.zeros((23, 5))
    with pytest.raises(UsageError, match="feat_audio_ast.h5: b is no array of features"):
        mosu.load(tmp_path)[0]


def test_damage_names_the_file_that_has_it(tmp_path: Path) -> None:
    path = write_mosu(tmp_path) / "mosu_feat_visual_clip.h5"
    with h5py.File(path, "r+") as file:
        del file["b"]
        file.create_dataset("b", data=np.ones((23, 8), "f4"), chunks=(23, 8), compression="gzip", fletcher32=True)
        at = file["b"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[at + 4] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"mosu_feat_visual_clip.h5 cannot be read"):
        list(mosu.load(tmp_path))


@pytest.mark.parametrize("kind", ["gt", *(f"feat_{kind}" for kind in FEATURES)])
def test_a_file_without_a_video_of_the_split(tmp_path: Path, kind: str) -> None:
    with h5py.File(write_mosu(tmp_path) / f"mosu_{kind}.h5", "r+") as file:
        del file["c-4"]
    with pytest.raises(UsageError, match=rf"mosu_{kind}.h5 lacks 1 of the 4 videos of the split \(first: c-4\)"):
        mosu.load(tmp_path)


@pytest.mark.parametrize("kind", ["gt", *(f"feat_{kind}" for kind in FEATURES)])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>Login</title>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a git-lfs pointer"),
        (b"PK\x03\x04 and so on", "is a ZIP archive"),
        (b"hello", "is not an HDF5 file"),
    ],
)
def test_what_is_not_the_file(tmp_path: Path, kind: str, content: bytes, message: str) -> None:
    path = write_mosu(tmp_path) / f"mosu_{kind}.h5"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"mosu_{kind}.h5 {message}"):
        mosu.load(tmp_path)


def test_a_download_that_stopped_early(tmp_path: Path) -> None:
    path = write_mosu(tmp_path) / "mosu_feat_text_roberta.h5"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UsageError, match=r"mosu_feat_text_roberta.h5 is cut off: the download stopped early"):
        mosu.load(tmp_path)


def test_what_is_wrong_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone is not there; get it from hminjeong"):
        mosu.load(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"holds no X_gt.h5"):
        mosu.load(tmp_path)
    write_mosu(tmp_path)
    with pytest.raises(UsageError, match=r"mosu_feat_visual_clip.h5 is not a file X_gt.h5"):
        mosu.load(tmp_path / "mosu_feat_visual_clip.h5")
    shutil.copy(tmp_path / "mosu_feat_visual_clip.h5", tmp_path / "mosu_feat_visual_dino.h5")
    with pytest.raises(UsageError, match=r"feat_visual_clip.h5 and mosu_feat_visual_dino.h5: visual features of sev"):
        mosu.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there"),
        ("", "is empty"),
        ('{"train_keys": ["b"', "is not JSON, or is cut off"),
        ('{"train": ["b"], "val": [], "test": []}', "has no lists train_keys, val_keys and test_keys"),
        ('{"train_keys": [1], "val_keys": [], "test_keys": []}', "has no lists train_keys, val_keys and test_keys"),
        ('{"train_keys": [], "val_keys": [], "test_keys": []}', "names no videos"),
        ('{"train_keys": ["b"], "val_keys": ["b"], "test_keys": []}', "has videos in two splits"),
        ('{"train_keys": ["x"], "val_keys": ["b"], "test_keys": []}', r"lacks 1 of the 2 videos .*first: x"),
    ],
)
def test_what_is_wrong_with_the_split(tmp_path: Path, content: str | None, message: str) -> None:
    path = write_mosu(tmp_path) / "mosu_split.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UsageError, match=message):
        mosu.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"video_id,duration\nb,3\n", "has no column youtube_id"),
        (b"video_id,youtube_id\nb,youtube0000\n", r"does not list 3 videos of the split \(first: video_1\)"),
        (b"video_id,youtube_id\nb,\xff\xfe\n", "is not a CSV file"),
        (b"", "is empty"),
        (b"video_id,youtube_id,duration\nb,x,two\nvideo_1,x,1\nvideo_2,x,1\nc-4,x,1\n", "b: duration is 'two'"),
        (b"video_id,youtube_id,duration\nb,x,nan\nvideo_1,x,1\nvideo_2,x,1\nc-4,x,1\n", "b: duration is 'nan'"),
    ],
)
def test_what_is_wrong_with_the_metadata(tmp_path: Path, content: bytes, message: str) -> None:
    (write_mosu(tmp_path) / "mosu_metadata.csv").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        mosu.load(tmp_path)


def test_our_export_is_read_as_it_was(tmp_path: Path) -> None:
    ours = [our_video("x/1"), our_video("abcdefghijk", 23, "val"), our_video("x3", 31), our_video("é 4", 25, "test")]
    export(ours, tmp_path / "mine", "hub/all-MiniLM-L6-v2")
    found = {each.video_id: each for each in mosu.load(tmp_path / "mine")}
    assert [found[f"video_{at}"].split for at in range(1, 5)] == ["train", "val", "train", "test"]
    for at, video in enumerate(ours, 1):
        theirs = found[f"video_{at}"]
        np.testing.assert_array_equal(theirs.frame_feature, video.frame_feature.astype(np.float32))
        np.testing.assert_array_equal(theirs.gt_score, video.replay_score)
        np.testing.assert_array_equal(theirs.sentence_feature, spoken(video))
        assert video.shot_start is not None
        assert video.shot_stop is not None
        shots = np.stack([video.shot_start, video.shot_stop - 1], axis=1)
        np.testing.assert_array_equal(theirs.change_points, shots)
        assert (theirs.audio_feature, theirs.license) == (None, video.license)
    assert found["video_2"].url == "https://www.youtube.com/watch?v=abcdefghijk"
    assert found["video_1"].url is None, "not every id of ours is YouTube's"


def test_what_was_read_is_written_as_it_was(tmp_path: Path) -> None:
    first = mosu.load(write_mosu(tmp_path / "mosu"))
    # The export asks for shots in the form of our own videos.
    videos = [
        replace(each, shot_start=each.change_points[:, 0], shot_stop=each.change_points[:, 1] + 1) for each in first
    ]
    export(videos, tmp_path / "again", "roberta")
    for before, after in zip(first, mosu.load(tmp_path / "again"), strict=True):
        for name in ("frame_feature", "sentence_feature", "gt_score", "gt_summary", "change_points", "user_summary"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        assert (after.split, after.duration_s) == (before.split, before.duration_s)


def test_ten_thousand_videos_are_not_held_in_memory(tmp_path: Path) -> None:
    names = [f"video_{number}" for number in range(10_000)]
    truth = {"gt_score": np.array([0.1, 0.2, 0.3], np.float32), "gt_summary": np.array([0, 1, 0], np.uint8)}
    truth["change_points"] = np.array([[0, 1], [2, 2]], np.int32)
    # A link for each video makes 10,000 videos of 2 MB, 20 GB, from one.
    for kind, value in (("gt", truth), ("feat_visual_clip", np.ones((3, 175_000), np.float32))):
        with h5py.File(tmp_path / f"mosu_{kind}.h5", "w", libver="latest") as file:
            for key, array in value.items() if isinstance(value, dict) else [("", value)]:
                file[f"video_0/{key}".rstrip("/")] = array
            for name in names[1:]:
                file[name] = h5py.SoftLink("/video_0")
    split = {"train_keys": names[:-2], "val_keys": names[-2:-1], "test_keys": names[-1:]}
    (tmp_path / "mosu_split.json").write_text(json.dumps(split))
    tracemalloc.start()
    try:
        videos = mosu.load(tmp_path)
        assert sum(len(video.frame_time_s) for video in videos[::100]) == 300
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A hundred videos that were kept would be 210 MB.
    assert peak < 50 << 20
    assert len(videos) == 10_000
    assert own_parts(videos)["test"] == ["video_9999"]


def test_the_split_of_a_video_is_kept_by_every_part(tmp_path: Path) -> None:
    videos = mosu.load(write_mosu(tmp_path))
    described = {each.video_id: (each.split, each.duration_s, len(each.frame_time_s)) for each in videos.described}
    assert described == {
        name: (part.removesuffix("_keys"), SECONDS[name], 0) for part, names in MOSU_SPLIT.items() for name in names
    }
