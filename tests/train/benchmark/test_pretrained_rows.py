"""Rows that learn without labels: which videos each stage sees, where it begins, and what the table says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.train.benchmark.bench_kit import Given, noted_fits, value
from tests.train.training_kit import fitted, videos, write_root

from vsumdata.datasets import synthetic
from vsumdata.datasets.splits import folds
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import table, trained
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.videos import open_data
from vsumdata.train.loop import runs
from vsumdata.train.settings import settings_of

QUICK = ("epochs=2", "model.hidden=[8]", "pretrain.batch_size=8", "pretrain.epochs=3", "objective.clips=3")
SMALL = Request(
    on="synthetic", data="videos=18,users=2,frames=24", methods=("visp+mlp", "csum+mlp"), seeds=1, sets=QUICK
)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    return noted_fits(monkeypatch)


def line_of(found: table.Table, method: str) -> str:
    (line,) = [line for line in found.remarks if line.startswith(f"{method}: ")]
    return line


def test_each_fold_pretrains_on_its_own_videos_and_is_fine_tuned(tmp_path, given) -> None:
    found = bench(replace(SMALL, runs=str(tmp_path)))
    all_videos = synthetic.load(SMALL.data)
    groups = {video.video_id: str(video.task) for video in all_videos}
    expected = folds("synthetic", list(groups), seed=0, groups=groups)

    first, second, alone = ([each for each in given if each.method == name] for name in ("visp+mlp", "mlp", "csum+mlp"))
    for fold, before, after, csum in zip(expected, first, second, alone, strict=True):
        assert before.train == after.train == csum.train == set(fold.train)
        assert not (before.train | before.val) & set(fold.test)
        assert set(before.origin.test) == set(fold.test), "held out, and said so in run.json"
        assert (before.init, after.init, csum.init) == (None, str(before.out), None)
        assert before.out == tmp_path / "visp+mlp" / "pre-training" / after.out.relative_to(tmp_path / "visp+mlp")
        assert runs.read_info(csum.out).val == ()
    for method in SMALL.methods:
        assert value(found, method, "tau").n == 18
    assert "; then mlp: " in line_of(found, "visp+mlp")
    assert "begins with the weights of its pre-training, a run of visp+mlp" in line_of(found, "visp+mlp")
    for method in SMALL.methods:
        assert "fold-clean: pre-trained without labels on 10 to 12 training videos" in line_of(found, method)
    assert "; then " not in line_of(found, "csum+mlp")
    assert "objective: clips=3" in line_of(found, "csum+mlp")


def test_csum_is_fine_tuned_where_its_row_says_so(tmp_path, given) -> None:
    word = "csum+mlp[then=mlp,epochs=1,pretrain.epochs=2]"
    found = bench(replace(SMALL, methods=(word,), runs=str(tmp_path), sets=("model.hidden=[8]", "objective.clips=3")))
    assert [each.method for each in given] == ["csum+mlp", "mlp"] * 5
    for before, after in zip(given[::2], given[1::2], strict=True):
        assert (before.init, after.init) == (None, str(before.out))
        assert before.train == after.train
        assert runs.read_info(before.out).val == (), "without labels nothing is chosen"
        assert [runs.read_info(each.out).settings.epochs for each in (before, after)] == [2, 1]
    (name,) = [each for each in found.methods if each.startswith("csum")]
    assert "; then mlp: " in line_of(found, name)


def test_a_transductive_run_is_one_for_all_folds_and_says_so(tmp_path, given) -> None:
    found = bench(replace(SMALL, seeds=2, pool="transductive", runs=str(tmp_path)))
    everything = {video.video_id for video in synthetic.load(SMALL.data)}
    for each in given:
        if each.method == "mlp":
            assert not each.train & set(each.origin.test), "labels of test videos are never learnt from"
            assert each.init == str(tmp_path / "visp+mlp" / "pre-training" / each.out.parent.name / "all")
        else:
            assert (each.train, each.val) == (everything, set())
            assert each.origin.pool == "transductive"
    kept = [path.parent.relative_to(tmp_path) for path in tmp_path.glob("**/all/run.json")]
    assert sorted(map(str, kept)) == [
        "csum+mlp/seed-0/all", "csum+mlp/seed-1/all",
        "visp+mlp/pre-training/seed-0/all", "visp+mlp/pre-training/seed-1/all",
    ]  # fmt: skip
    for method in SMALL.methods:
        assert "transductive: pre-trained without labels on all 18 videos, test videos incl" in line_of(found, method)
    assert "test videos were seen, without their labels" in line_of(found, "visp+mlp").partition("then mlp")[2]
    rows = json.loads(table.as_json(found))["rows"]
    assert all(any("transductive" in note for note in row["notes"]) for row in rows)


def test_what_is_kept_is_not_trained_again_and_no_path_is_printed(tmp_path) -> None:
    request = replace(SMALL, runs=str(tmp_path))
    first = bench(request)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/best.safetensors")}
    assert len(before) == 15
    assert table.as_json(bench(request)) == table.as_json(first) == table.as_json(bench(SMALL))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_settings_reach_the_stage_that_they_are_meant_for(tmp_path) -> None:
    bench(replace(SMALL, methods=("visp+mlp",), sets=(*QUICK[:-1], "objective.w_size=3"), runs=str(tmp_path)))
    before, after = (
        runs.read_info(tmp_path / "visp+mlp" / part / "seed-0" / "fold-1").settings for part in ("pre-training", "")
    )
    assert (before.method, before.batch_size, before.epochs) == ("visp+mlp", 8, 3)
    assert (after.method, after.epochs) == ("mlp", 2)
    assert after.batch_size != 8
    assert before.objective.model_dump()["w_size"] == 3
    assert before.model == after.model
    wrong = [
        (("visp+mlp",), ("pretrain.nothing=1",), "no such setting"),
        (("visp+mlp",), ("pretrain.seed=1",), "--set seed: use --seeds"),
        (("visp+mlp",), ("pretrain.batch_size=4",), "--set batch_size: 4 is too small: .* at least 8"),
        (("mlp", "csum+mlp"), ("pretrain.epochs=1",), "no method of --methods is pre-trained"),
    ]
    for methods, sets, says in wrong:
        with pytest.raises(UsageError, match=says):
            bench(replace(SMALL, methods=methods, sets=sets))


def test_labels_that_went_in_before_are_not_tested_on(tmp_path) -> None:
    """A run without labels may have begun with one that had some, or been chosen by some."""
    found = synthetic.load(SMALL.data)
    origin = runs.Origin(data_set="synthetic", path=str(SMALL.data))
    small = ["epochs=1", "model.hidden=[8]", "batch_size=8"]

    def run(name: str, method: str, *sets: str, val: int = 0, init: str | None = None) -> str:
        chosen = settings_of(method, "default", [*small, *sets])
        fitted(tmp_path / name, chosen, found[val:], found[:val], origin=origin, init=init)
        return str(tmp_path / name)

    labelled = run("labelled", "mlp")
    chain = run("chain", "visp+mlp", init=labelled)
    chosen = run("chosen", "visp+mlp", "select_on=tau", val=2)
    fixed = run("fixed", "visp+mlp", "objective.variant=fixed")
    assert any("labels of 18 videos" in note for note in runs.read_info(Path(fixed)).notes)
    for init, num in ((labelled, 18), (chain, 18), (chosen, 2), (fixed, 18)):
        with pytest.raises(UsageError, match=f"was trained or selected on {num} of the 18 test videos"):
            bench(replace(SMALL, methods=("mlp",), sets=QUICK[:2], init=init))
    bench(replace(SMALL, methods=("mlp",), sets=QUICK[:2], init=run("unlabelled", "visp+mlp")))


@pytest.mark.parametrize("methods", [("mlp",), ()])
def test_a_pool_without_a_method_for_it_is_refused(methods) -> None:
    with pytest.raises(UsageError, match="--pool transductive: no method of --methods"):
        bench(replace(SMALL, methods=methods, sets=(), pool="transductive"))


def test_too_few_videos_to_contrast_is_a_reason_and_others_have_their_rows() -> None:
    found = bench(replace(SMALL, data="videos=10,users=2,frames=24"))
    assert any(
        line.startswith("visp+mlp: no row: synthetic/5 parts, seed 0, fold 1 of 5: ")
        and line.endswith(" training videos are too few: visp+mlp contrasts at least 8")
        for line in found.remarks
    )
    assert "visp+mlp" not in found.methods
    assert value(found, "csum+mlp", "tau").n == 10


def test_videos_without_labels_are_learnt_from() -> None:
    """Without any replay score they teach nothing to a method with labels, and all to one without."""
    bare = [replace(video, replay_score=None, gt_score=None, gt_summary=None) for video in videos(3)]
    data = replace(open_data(synthetic, "videos=3,users=2,frames=30"), pool=bare)
    assert trained.teachable(data, None) == ({video.video_id for video in bare}, None)
    usable, why = trained.teachable(data, "replay")
    assert usable == set()
    assert why


def test_a_transductive_run_to_begin_with_is_no_secret(tmp_path) -> None:
    bench(replace(SMALL, methods=("visp+mlp",), sets=QUICK[:-1], pool="transductive", runs=str(tmp_path)))
    init = str(tmp_path / "visp+mlp/pre-training/seed-0/all")
    found = bench(replace(SMALL, methods=("mlp",), sets=QUICK[:2], init=init))
    assert "transductive: " in line_of(found, "mlp")
    assert "test videos were seen, without their labels" in line_of(found, "mlp")


@pytest.mark.parametrize(
    "method", ["visp+csta", "visp+vasnet", "csum+vslstm", "csum+dpplstm", "csum+vasnet", "csum+msva"]
)
def test_every_row_of_the_papers_can_be_had_from_our_own_shards(tmp_path, method) -> None:
    parts = ["train"] * 9 + ["val", "test", "test"]
    root = str(write_root(tmp_path / "root", videos(12, frames=20), parts, per_part=12))
    sets = ["epochs=1", *(["pretrain.batch_size=8"] if method.startswith("visp") else [])]
    if method.endswith("csta"):
        sets.append("model.weights=none")
    found = bench(Request(on="shards", data=root, seeds=1, methods=(method,), sets=tuple(sets)))
    assert value(found, method, "map50").n == 2
    assert "fold-clean: pre-trained without labels on 9 training videos" in line_of(found, method)
