"""VideoXum and Instruct-V2Xum in a bench: annotations alone, and with a root's features."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import instruct_record, write_instruct_v2xum, write_videoxum
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row
from tests.train.benchmark.bench_kit import value

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests import rows
from vsumdata.manifests.store import Store
from vsumdata.train.benchmark.bench import Request, bench
from vsumdata.train.benchmark.table import Table
from vsumdata.train.scoring.evaluate import Words, evaluate, lacks


def write_features(path: Path, lengths: dict[str, tuple[int, float]]) -> Path:
    """A root with a video for each YouTube id, of so many frames and seconds."""
    store, rng, found = Store(path), np.random.default_rng(0), []
    for name, (num_frames, duration_s) in lengths.items():
        feature = rng.standard_normal((num_frames, 4)).astype(np.float16)
        more = {"frame_feature": feature, "duration_s": duration_s}
        found.append(row(name, payload(num_frames, "train", text=True) | more))
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    return path


def has_values(found: Table, method: str) -> set[str]:
    return {row.metric for row in found.rows if row.method == method and row.n}


def test_videoxums_annotations_alone(tmp_path: Path) -> None:
    request = Request(on="videoxum", data=str(write_videoxum(tmp_path)), seeds=2)
    found = bench(request)
    assert (found.protocol, found.split) == ("videoxum", "as published")
    assert found.methods == ["random", "uniform", "human", "mean-user"]
    assert {row.n for row in found.rows} == {2}
    # Five users choose the same, four the same, and one is alone: each user against the other nine.
    same = (5 * 4 + 4 * 3) / (10 * 9)
    assert value(found, "human", "f1").mean == pytest.approx(same)
    assert value(found, "human", "tau").mean > value(found, "random", "tau").mean


def test_own_set_needs_what_a_method_writes(tmp_path: Path) -> None:
    data = str(write_videoxum(tmp_path))
    default, own = (bench(Request(on="videoxum", data=data, seeds=1, protocol=name)) for name in (None, "own-set"))
    for method in ("random", "uniform", "human"):
        assert has_values(own, method) == {"f1", "tau", "rho"}
        assert value(own, method, "f1").mean == value(default, method, "f1").mean, "scores choose as under videoxum"
    assert any("rouge_l, cider: it writes no text" in line for line in own.remarks)


def test_instruct_v2xums_annotations_alone(tmp_path: Path) -> None:
    found = bench(Request(on="instruct-v2xum", data=str(write_instruct_v2xum(tmp_path)), seeds=1))
    assert (found.protocol, found.split, found.methods) == (
        "instruct-v2xum",
        "as published",
        ["random", "uniform", "mean-user"],
    )
    assert has_values(found, "random") == {"f1"}
    assert value(found, "mean-user", "f1").mean == 1
    assert any("F_CLIP compares features of frames" in line for line in found.remarks)


def test_one_file_without_a_splits_name_is_cut_into_parts(tmp_path: Path) -> None:
    path = tmp_path / "ours.json"
    path.write_text(json.dumps([instruct_record(f"youtube{number:04d}", 14 + number) for number in range(5)]))
    assert bench(Request(on="instruct-v2xum", data=str(path), seeds=1)).split.startswith("instruct-v2xum/5 parts")


INSTRUCT_SECONDS = (14, 20, 15, 16, 17)


def test_without_a_text_tower_a_language_model_has_all_other_metrics(tmp_path: Path) -> None:
    lengths = {f"youtube{number:04d}": (length, float(length)) for number, length in enumerate(INSTRUCT_SECONDS, 1)}
    small = ("epochs=1", "model.frames=10", "model.text_tokens=20", "model.sentence_tokens=8", "model.samples=2")
    request = Request(
        on="instruct-v2xum",
        data=str(write_instruct_v2xum(tmp_path / "data")),
        features=str(write_features(tmp_path / "root", lengths)),
        seeds=1,
        methods=("v2xum",),
        preset="tiny",
        sets=small,
    )
    found = bench(request)
    assert has_values(found, "v2xum") - {"meteor"} == {"f1", "f_clip", "bleu4", "rouge_l", "cider"}
    assert any("no cross_f_clip: there is no text tower" in line for line in found.remarks)


@pytest.mark.parametrize("on", ["videoxum", "instruct-v2xum"])
def test_a_model_learns_from_the_files_and_a_roots_features(tmp_path: Path, on: str) -> None:
    write = {"videoxum": write_videoxum, "instruct-v2xum": write_instruct_v2xum}[on]
    seconds = {"videoxum": (20, 24, 21, 22, 23), "instruct-v2xum": INSTRUCT_SECONDS}[on]
    # Our copy of the last test video is a frame shorter.
    lengths = {
        f"youtube{number:04d}": (length - (number == 5), float(length)) for number, length in enumerate(seconds, 1)
    }
    request = Request(
        on=on,
        data=str(write(tmp_path / "data")),
        features=str(write_features(tmp_path / "root", lengths)),
        seeds=1,
        methods=("mlp",),
        sets=("epochs=1",),
    )
    found = bench(request)
    assert any("5 of 5 videos have our features" in line and "cut by up to 1 frames" in line for line in found.remarks)
    assert value(found, "mlp", "f1").n == 2
    ((made,),) = [stage["runs"] for stage in found.made["mlp"]]
    assert (made["num_train"], made["num_val"], made["num_test"]) == (2, 1, 2)
    if on == "instruct-v2xum":
        assert has_values(found, "mlp") == {"f1", "f_clip"}


def test_a_model_that_chooses_and_writes_has_all_metrics() -> None:
    chosen = np.array([1, 0, 0, 1, 0, 0], np.uint8)
    video = Video(
        video_id="a",
        frame_time_s=np.arange(6, dtype=np.float32),
        frame_feature=np.eye(6, dtype=np.float32),
        gt_summary=chosen,
        summary_text="a man cuts a plank and paints it",
    )
    rules = protocol("instruct-v2xum")
    metrics = [name for name in rules.metrics if lacks(name, video, rules, has_summary=True) is None]
    assert set(rules.metrics) - set(metrics) <= {"meteor"}, "its jar may be missing"
    words = Words(text=str(video.summary_text), feature=np.eye(6)[:1], reference_feature=np.eye(6)[:1])
    found = evaluate(np.zeros(6), video, replace(rules, metrics=tuple(metrics)), summary=chosen > 0, words=words)
    assert (found.values["f1"], found.values["f_clip"], found.values["bleu4"]) == pytest.approx((1, 1, 1))
    bare = replace(video, frame_feature=np.zeros((6, 0), np.float32), summary_text=None)
    assert {name for name in rules.metrics if name != "meteor" and not lacks(name, bare, rules)} == {"f1"}
