"""Rows that need training: what each run was given, what is kept, what is said, and what cannot be trained."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.datasets.benchmarks.benchmark_files import write_bliss, write_eccv16, write_mrhisum
from tests.train.benchmark.bench_kit import Given, noted_fits, value, write_root

from vsumdata.datasets import partition, splits, synthetic
from vsumdata.datasets.splits import Fold
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import table, trained
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.loop import runs

QUICK = ("epochs=2", "model.hidden=[8]")
SMALL = Request(
    on="synthetic", data="videos=8,users=2,frames=24", methods=("mlp",), seeds=2, sets=QUICK, baseline="uniform"
)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    return noted_fits(monkeypatch)


def test_no_run_is_given_its_test_videos(given) -> None:
    found = bench(SMALL)
    videos = synthetic.load(SMALL.data)
    groups = {video.video_id: str(video.task) for video in videos}
    expected = [
        (seed, fold) for seed in range(2) for fold in splits.folds("synthetic", list(groups), seed=seed, groups=groups)
    ]
    assert [(its.seed, its.train, its.val, set(its.origin.test)) for its in given] == [
        (seed, set(fold.train), set(fold.val), set(fold.test)) for seed, fold in expected
    ]
    for its in given:
        assert its.train
        assert its.val
        assert not set(its.origin.test) & (its.train | its.val)
        tasks = [{groups[video_id] for video_id in part} for part in (its.train, its.val, set(its.origin.test))]
        assert sum(map(len, tasks)) == len(set().union(*tasks)), "a task crosses"
    assert value(found, "mlp", "tau").n == 8
    assert not any("crossings" in line for line in found.remarks)


def test_selection_on_the_test_videos_is_asked_for_and_labelled(given) -> None:
    found = bench(replace(SMALL, seeds=1, legacy=True))
    assert found.split == "synthetic/5 parts, legacy: selected on the test videos"
    assert any(
        line.startswith("legacy: trained methods chose their epoch on the test videos") for line in found.remarks
    )
    assert all(its.val and not its.val & its.train and its.origin.test == () for its in given)
    everything = {video.video_id for video in synthetic.load(SMALL.data)}
    assert all(its.train | its.val == everything for its in given), "what selects is what is tested"
    assert "legacy" not in bench(replace(SMALL, seeds=1)).split


def test_every_seed_trains_anew_and_the_whole_is_deterministic() -> None:
    first, again = bench(SMALL), bench(SMALL)
    assert table.as_json(first) == table.as_json(again)
    one = bench(replace(SMALL, seeds=1))
    assert value(one, "mlp", "tau").mean != value(first, "mlp", "tau").mean


def test_runs_are_kept_and_an_interrupted_bench_goes_on(tmp_path, given, monkeypatch) -> None:
    request = replace(SMALL, seeds=1, runs=str(tmp_path / "runs"))
    whole = bench(replace(request, runs=str(tmp_path / "whole")))
    given.clear()
    noted, calls = trained.fit_fold, 0

    def interrupted(*arguments: Any, **more: Any) -> runs.Trained:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return noted(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(trained, "fit_fold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench(request)
    done = sorted(tmp_path.glob("runs/mlp/seed-0/fold-*/best.safetensors"))
    assert [path.parent.name for path in done] == ["fold-1", "fold-2"]
    before = [path.stat().st_mtime_ns for path in done]
    found = bench(request)
    assert [path.stat().st_mtime_ns for path in done] == before, "what was complete is not trained again"
    assert table.as_json(found) == table.as_json(whole)
    assert len(list(tmp_path.glob("runs/mlp/seed-0/fold-*"))) == len(list(tmp_path.glob("whole/mlp/seed-0/fold-*")))
    with pytest.raises(UsageError, match="other settings"):
        bench(replace(request, sets=("epochs=3", "model.hidden=[8]")))


def test_a_random_draw_tests_a_video_in_several_runs(tmp_path, given) -> None:
    """PGL-SUM's five published draws test 34 of 50 videos, some of them up to three times."""
    path = write_eccv16(tmp_path / "eccv16_dataset_tvsum_google_pool5.h5", 50)
    found = bench(Request(on="tvsum", data=str(path), split="pgl-sum", methods=("mlp",), seeds=1, sets=("epochs=1",)))
    assert [len(its.origin.test) for its in given] == [10] * 5
    row = value(found, "mlp", "f1")
    assert row.n == value(found, "random", "f1").n == 34


def test_what_was_chosen_is_printed() -> None:
    request = replace(SMALL, seeds=1, methods=("hiersum",), sets=("epochs=1", "model.hidden=8", "model.text=both"))
    (line,) = [line for line in bench(request).remarks if line.startswith("hiersum: ")]
    for part in (
        "preset synthetic",
        "frame features of size 32",
        "text at inference: both",
        "text features of size 24",
        "init: none",
    ):
        assert part in line
    found = json.loads(table.as_json(bench(request)))
    assert list(found) == ["protocol", "split", "seeds", "rows", "made"]
    assert all(line in its["notes"] for its in found["rows"])


def test_random_backbones_are_said_with_the_numbers() -> None:
    request = replace(
        SMALL, data="videos=4,users=2,frames=16", seeds=1, methods=("csta",), sets=("epochs=1", "model.weights=none")
    )
    (line,) = [line for line in bench(request).remarks if line.startswith("csta: ")]
    assert "weights: none" in line
    assert "too few training videos to select by, the last epoch counts" in line


def test_settings_reach_the_methods_that_know_them(tmp_path) -> None:
    sets = ("epochs=1", "model.hidden=[8]", "model.heads=2")
    bench(replace(SMALL, seeds=1, methods=("mlp", "slmodule"), sets=sets, runs=str(tmp_path)))
    kept = {name: runs.read_info(tmp_path / name / "seed-0" / "fold-1").settings for name in ("mlp", "slmodule")}
    assert {settings.epochs for settings in kept.values()} == {1}
    assert kept["mlp"].model.model_dump()["hidden"] == (8,)
    assert kept["slmodule"].model.model_dump()["heads"] == 2
    wrong: list[tuple[tuple[str, ...], str | None, str]] = [
        (("model.hiden=8",), None, "did you mean `hidden`"),
        (("nothing=8",), None, "no such setting"),
        (("seed=8",), None, "--set seed: use --seeds"),
        ((), "bliss", "no preset `bliss` of mlp; known are: default"),
    ]
    for sets_, preset, says in wrong:
        with pytest.raises(UsageError, match=says):
            bench(replace(SMALL, sets=sets_, preset=preset))


def test_our_own_parts_train_select_and_measure(tmp_path, given) -> None:
    root = write_root(tmp_path / "root", "train", "val", "test", "train", "test")
    found = bench(Request(on="shards", data=str(root), seeds=2, methods=("mlp",), sets=("epochs=2",)))
    assert found.split == "as published"
    assert [(its.seed, its.train, its.val, its.origin.test) for its in given] == [
        (seed, {"a", "d"}, {"b"}, ("c", "e")) for seed in range(2)
    ]
    assert value(found, "mlp", "map50").n == 2


def test_without_a_val_part_it_is_cut_out_of_train(tmp_path, given) -> None:
    root = write_root(tmp_path / "root", "train", "train", "train", "test")
    bench(Request(on="shards", data=str(root), seeds=1, methods=("mlp",), sets=("epochs=1",)))
    (its,) = given
    assert (its.train | its.val, len(its.val), its.origin.test) == ({"a", "b", "c"}, 1, ("d",))


def test_a_root_without_parts_for_it_gives_a_reason(tmp_path) -> None:
    root = write_root(tmp_path / "root", "test", "test")
    found = bench(Request(on="shards", data=str(root), seeds=1, methods=("mlp",)))
    assert "mlp: no row: as published has no training videos" in found.remarks
    assert "mlp" not in found.methods


def test_what_nothing_can_be_learnt_from_gives_a_reason(tmp_path) -> None:
    write_mrhisum(tmp_path, features=False)
    found = bench(Request(on="mrhisum", data=str(tmp_path), seeds=1, methods=("mlp", "hiersum")))
    (line,) = [line for line in found.remarks if line.startswith("mlp, hiersum: no row: ")]
    assert "no frame features; --features ROOT joins some" in line


def test_a_model_that_scores_no_sentences_has_no_rouge(tmp_path) -> None:
    data = str(write_bliss(tmp_path / "BLiSS"))
    found = bench(Request(on="bliss", data=data, seeds=1, methods=("mlp", "a2summ"), sets=("epochs=1",)))
    seen = {name: {row.metric for row in found.rows if row.method == name and row.n} for name in ("mlp", "a2summ")}
    assert seen == {"mlp": {"cosine"}, "a2summ": {"rouge1", "rouge2", "rougeL", "cosine"}}
    assert "mlp: no rouge1, rouge2, rougeL: it scores no sentences" in found.remarks


def test_a_run_to_begin_with_must_not_have_seen_the_test_videos(tmp_path) -> None:
    request = replace(SMALL, seeds=1, runs=str(tmp_path / "runs"))
    bench(request)
    init = str(tmp_path / "runs/mlp/seed-0/fold-1")
    with pytest.raises(
        UsageError, match="was trained or selected on .* of the 8 test videos .*; pre-train without them"
    ):
        bench(replace(request, init=init, runs=None))
    found = bench(replace(request, data="videos=8,users=2,frames=24,seed=1", init=init, runs=None))
    assert any(f"init: {init}" in line for line in found.remarks)


def test_what_crosses_is_said() -> None:
    videos = synthetic.load("videos=4,users=0,frames=20")
    one = replace(videos[2], task=videos[0].task)
    fold = Fold((videos[0].video_id,), (videos[1].video_id,), (one.video_id, "not joined"), "x")
    found = partition.what_crosses(partition.Partition("x", ((fold,), (fold,))), [videos[0], videos[1], one])
    assert (
        found
        == [
            "2 crossings between training, validation and test videos: "
            f"task {videos[0].video_id} and {videos[1].video_id}; task {videos[0].video_id} and {one.video_id}"
        ]
        or len(found) == 1
    )
