"""SM-MrHiSum and SM-VideoXum from files in SD-MVSum's layout."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from tests.datasets.benchmarks.replayed_files import (
    SM_SPLIT,
    sm_mrhisum_video,
    sm_videoxum_video,
    write_scripted,
    write_sm_mrhisum,
    write_sm_videoxum,
)

from vsumdata.datasets.benchmarks.forms.replayed_h5 import read_split
from vsumdata.datasets.benchmarks.scripted import sm_mrhisum, sm_videoxum
from vsumdata.datasets.partition import own_parts
from vsumdata.datasets.splits import given
from vsumdata.datasets.video import collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.bench import Request, bench

SETS: dict[str, tuple[Any, Any]] = {
    "sm_mrhisum": (sm_mrhisum, write_sm_mrhisum),
    "sm_videoxum": (sm_videoxum, write_sm_videoxum),
}
XUM = "v_uqiMw7tQ1Cc"


def test_sm_mrhisum(tmp_path: Path) -> None:
    videos = sm_mrhisum.load(write_sm_mrhisum(tmp_path))
    assert [(each.video_id, each.split) for each in videos] == [
        ("video_7", "train"),
        ("video_3", "train"),
        ("video_1", "val"),
        ("video_9", "test"),
    ]
    video, made = videos[1], sm_mrhisum_video("video_3", 25)
    np.testing.assert_array_equal(video.frame_feature, made["video_embeddings"])
    np.testing.assert_array_equal(video.query_feature, made["script_embeddings"])
    np.testing.assert_array_equal(video.sentence_feature, made["transcript_embeddings"])
    np.testing.assert_array_equal(video.gt_score, made["gtscores"])
    assert video.sentence_span.tolist() == [[0.5, 2.0], [2.0, 4.25], [9.0, 12.5]]
    assert video.change_points.tolist() == [[0, 3], [3, 9], [9, 24]]  # as in the file, for its protocol
    assert (video.n_frames, video.user_summary.sum(), video.gt_summary.tolist()) == (25, 3, [1] * 3 + [0] * 22)
    assert given(videos).test == ("video_9",)
    assert pickle.loads(pickle.dumps(videos))[-1].video_id == "video_9"
    batch = collate(list(videos))
    assert (batch.query_feature.shape, batch.sentence_span.shape) == ((4, 4, 8), (4, 3, 2))


def test_sm_videoxum_has_a_video_for_each_script(tmp_path: Path) -> None:
    videos = sm_videoxum.load(write_sm_videoxum(tmp_path))
    assert len(videos) == 30
    assert videos.video_ids[:2] == ["v_QOlSCBRmfWY#1", "v_QOlSCBRmfWY#2"]
    parts = own_parts(videos)
    assert [len(parts[part]) for part in ("train", "val", "test")] == [10, 10, 10]
    assert parts["test"] == [f"{XUM}#{number}" for number in range(1, 11)]
    made = sm_videoxum_video(XUM, 21)
    for number, video in enumerate(videos.of_split("test")):
        assert video.video_id == f"{XUM}#{number + 1}"
        np.testing.assert_array_equal(video.query_feature, made["script_embeddings"][number, : number % 4 + 1])
        np.testing.assert_array_equal(video.gt_score, made["gtscores"][number])
        assert np.flatnonzero(np.asarray(video.gt_summary)).tolist() == [at for at in range(21) if at % 10 == number]
        np.testing.assert_array_equal(video.user_summary, video.gt_summary[None] > 0)
        assert video.url == "https://www.youtube.com/watch?v=uqiMw7tQ1Cc"
    assert pickle.loads(pickle.dumps(videos[3:5])).video_ids == ["v_QOlSCBRmfWY#4", "v_QOlSCBRmfWY#5"]


@pytest.mark.parametrize("name", SETS)
def test_bench_shows_the_rows_without_training(tmp_path: Path, name: str) -> None:
    module, write = SETS[name]
    table = bench(Request(on=module.NAME, data=str(write(tmp_path)), seeds=1))
    found = {(row.method, row.metric): row for row in table.rows}
    assert (table.protocol, table.split) == (module.PROTOCOL.name, "as published")
    assert found["random", "f1"].n == (1 if name == "sm_mrhisum" else 10)
    if name == "sm_mrhisum":
        assert found["mean-user", "tau"].mean == 1


@pytest.mark.parametrize("name", SETS)
def test_videos_without_speech(tmp_path: Path, name: str) -> None:
    module, write = SETS[name]
    changed = {"sm_mrhisum": "video_3", "sm_videoxum": f"{XUM}#1"}[name]
    for folder, pieces, spans in (("none", None, None), ("empty", np.zeros((0, 8)), np.zeros((0, 2)))):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, {"transcript_embeddings": pieces, "transcript_timestamps": spans})
        video = {each.video_id: each for each in module.load(tmp_path / folder)}[changed]
        assert video.sentence == ()
        assert (None if video.sentence_feature is None else video.sentence_feature.shape) == (
            None if pieces is None else (0, 8)
        )


def test_sm_mrhisum_without_scores_keeps_its_summaries(tmp_path: Path) -> None:
    """Its README does not list `gtscores`, which its code reads."""
    videos = {name: sm_mrhisum_video(name) | {"gtscores": None} for its in SM_SPLIT.values() for name in its}
    write_scripted(tmp_path / "sm_mrhisum.h5", videos, SM_SPLIT)
    table = bench(Request(on="sm-mrhisum", data=str(tmp_path), seeds=1))
    found = {(row.method, row.metric): row for row in table.rows}
    assert found["random", "f1"].n == 1
    assert "gt_score" in found["random", "tau"].missing


BOTH: list[tuple[str, Any, str]] = [
    ("video_embeddings", None, "has no video_embeddings"),
    ("script_embeddings", None, "has no script_embeddings"),
    ("aligned_transcripts", None, "has no aligned_transcripts"),
    ("video_embeddings", np.zeros(5), r"video_embeddings is \[5\]; expected \[T, 512\]"),
    ("video_embeddings", np.zeros((0, 8)), r"video_embeddings is \[0, 8\]"),
    ("video_embeddings", np.full((25, 8), np.nan), "video_embeddings holds values that are not finite"),
    ("aligned_transcripts", np.zeros((3, 8)), r"aligned_transcripts is \[3, 8\]; expected \[2\d, 512\]"),
    ("transcript_embeddings", None, "has transcript_timestamps alone; expected transcript_embeddings and"),
    ("transcript_timestamps", None, "has transcript_embeddings alone"),
    ("transcript_embeddings", np.zeros((2, 8)), r"transcript_embeddings is \[2, 8\], transcript_timestamps \[3, 2\]"),
    ("transcript_timestamps", np.zeros((3, 3)), r"transcript_timestamps \[3, 3\]; expected \[N, 512\] and \[N, 2\]"),
    ("transcript_timestamps", np.array([[0, 1], [3, 2], [4, 5]]), r"transcript_timestamps 1 is \[3, 2\]; expected sta"),
    ("transcript_timestamps", np.array([[-1, 1], [1, 2], [4, 5]]), r"transcript_timestamps 0 is \[-1, 1\]"),
]
OWN: dict[str, list[tuple[str, Any, str]]] = {
    "sm_mrhisum": [
        ("gt_summary", None, "has no gt_summary"),
        ("change_points", None, "has no change_points"),
        ("gt_summary", np.zeros(24), r"gt_summary is \[24\]; expected \[25\]"),
        ("gtscores", np.zeros((1, 25)), r"gtscores is \[1, 25\]; expected \[25\]"),
        ("script_embeddings", np.zeros((0, 8)), r"the script is \[0, 8\]; expected \[sentences, 512\]"),
        ("script_embeddings", np.zeros(8), r"the script is \[8\]"),
        ("change_points", np.array([[0, 3], [3, 23]]), "do not cut seconds 0 to 25 without gap or overlap"),
        ("change_points", np.array([[0, 3], [4, 25]]), "do not cut seconds 0 to 25"),
        ("change_points", np.array([[0, 26]]), "do not cut seconds 0 to 25"),
        ("change_points", np.zeros(3), r"change_points is \[3\]"),
    ],
    "sm_videoxum": [
        ("gtscores", None, "has no gtscores"),
        ("gtscores", np.zeros((9, 21)), r"gtscores is \[9, 21\]; expected \[10, 21\]"),
        ("gtscores", np.zeros((10, 20)), r"gtscores is \[10, 20\]; expected \[10, 21\]"),
        ("script_embeddings", np.zeros((10, 8)), r"script_embeddings is \[10, 8\]; expected \[10, any, 512\]"),
        ("script_embeddings", np.zeros((5, 4, 8)), r"script_embeddings is \[5, 4, 8\]"),
        ("script_embeddings", np.zeros((10, 4, 8)), r"the script is \[0, 8\]; expected \[sentences, 512\]"),
    ],
}


@pytest.mark.parametrize(
    ("name", "key", "value", "message"), [(name, *case) for name in SETS for case in BOTH + OWN[name]]
)
def test_what_is_wrong_in_a_video(tmp_path: Path, name: str, key: str, value: Any, message: str) -> None:
    module, write = SETS[name]
    videos = module.load(write(tmp_path, {key: value}))
    assert videos[0].split == "train", "the others are still read"
    with pytest.raises(UsageError, match=message) as caught:
        list(videos)
    assert "\n" not in str(caught.value)
    assert f"{name}.h5" in str(caught.value)


@pytest.mark.parametrize("last", [24, 25])
def test_the_last_shot_ends_at_either_frame(tmp_path: Path, last: int) -> None:
    shots = np.array([[0, 3], [3, 3], [3, 9], [9, last]])
    video = sm_mrhisum.load(write_sm_mrhisum(tmp_path, {"change_points": shots}))[1]
    assert video.change_points.tolist() == [[0, 3], [3, 9], [9, last]]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<html>Sign in</html>", "is a web page"),
        (b"PK\x03\x04zip", "is a ZIP archive; unpack it"),
        (b"hello", "is not an HDF5 file"),
        (None, "is not there; get it from zenodo.org/records/19919955"),
    ],
)
def test_what_is_not_the_file(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    module, write = SETS[name]
    path = write(tmp_path) / f"{name}.h5"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"{name}.h5 {message}"):
        module.load(tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_another_data_sets_file_or_split(tmp_path: Path, name: str) -> None:
    module, write = SETS[name]
    path = write(tmp_path) / f"{name}_split.json"
    path.write_text(json.dumps({"train": ["other"], "val": [], "test": []}))
    with pytest.raises(UsageError, match=rf"{name}.h5 lacks 1 of the 1 videos of the split \(first: other\)"):
        module.load(tmp_path / f"{name}.h5")
    path.write_text(json.dumps({"train_keys": ["video_3"], "val_keys": [], "test_keys": []}))
    with pytest.raises(UsageError, match=f"has no lists train, val and test of videos: it is not {name}_split.json"):
        module.load(tmp_path)
    path.unlink()
    with pytest.raises(UsageError, match=rf"{name}_split.json is not there"):
        module.load(tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_a_download_that_stopped_early(tmp_path: Path, name: str) -> None:
    module, write = SETS[name]
    path = write(tmp_path) / f"{name}.h5"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match=rf"{name}.h5 is cut off: the download stopped early"):
        module.load(tmp_path)


def recorded_split(source: Path, folder: Path, name: str, keys: str) -> dict[str, str]:
    path = folder / name
    path.write_bytes(gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes())
    return read_split(path, name, "there", keys)


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("source", "keys", "counts"),
    [
        ("MrHiSum/mr_hisum_split.json.gz", "{}_keys", (27892, 2000, 2000)),
        ("MrHiSum/mrsum_split_dev.json", "{}_keys", (499, 55, 55)),
        ("MrHiSum/sm_mrhisum_split.json.gz", "{}", (26178, 1875, 1864)),
        ("VideoXum/sm_videoxum_split.json.gz", "{}", (6782, 1707, 3419)),
    ],
)
def test_the_real_splits(recordings: Path, tmp_path: Path, source: str, keys: str, counts: tuple[int, ...]) -> None:
    split = recorded_split(recordings / "benchmarks" / source, tmp_path, "split.json", keys)
    found = list(split.values())
    assert tuple(found.count(part) for part in ("train", "val", "test")) == counts


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "source", "module", "each"),
    [
        ("sm_mrhisum", "MrHiSum/sm_mrhisum_split.json.gz", sm_mrhisum, 1),
        ("sm_videoxum", "VideoXum/sm_videoxum_split.json.gz", sm_videoxum, 10),
    ],
)
def test_the_real_splits_open_a_file_of_all_their_videos(
    recordings: Path, tmp_path: Path, name: str, source: str, module: ModuleType, each: int
) -> None:
    split = recorded_split(recordings / "benchmarks" / source, tmp_path, f"{name}_split.json", "{}")
    first, *others = split
    make = sm_mrhisum_video if name == "sm_mrhisum" else sm_videoxum_video
    with h5py.File(tmp_path / f"{name}.h5", "w", libver="latest") as file:
        for key, value in make(first, 20).items():
            file[f"{first}/{key}"] = value
        for other in others:
            file[other] = h5py.SoftLink(f"/{first}")
    videos = module.load(tmp_path)
    assert len(videos) == each * len(split)
    assert [videos.of_split(part)[-1].split for part in ("train", "val", "test")] == ["train", "val", "test"]
    if name == "sm_videoxum":
        assert all(name.startswith("v_") and len(name) == 13 for name in split)
