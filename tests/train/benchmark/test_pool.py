"""Benchmarks and runs on several data sets: who sees which videos, and what rows and runs say of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import eccv16_video, write_eccv16
from tests.train.benchmark.bench_kit import Given, noted_fits

from vsumdata.datasets.benchmarks import summe, tvsum
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import evaluation, held_out, table, trained
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.videos import open_data
from vsumdata.train.data.training import Wanted
from vsumdata.train.data.training import open_data as open_training
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import fit_fold
from vsumdata.train.settings import settings_of

QUICK = ("epochs=1", "model.hidden=[8]")
SUMME = {f"summe/video_{i}" for i in range(1, 26)}
YOUTUBE = {f"youtube/video_{i}" for i in range(11, 51) if i != 22}
NOTHING = dict.fromkeys(("user_summary", "change_points", "n_frame_per_seg", "n_frames", "picks", "n_steps"))


def fresh(number: int, seed: int) -> dict:
    """Features of its own, so that equal numbers of two data sets are no near-duplicates; scores in two shots."""
    shape = eccv16_video(number)["features"].shape
    rng = np.random.default_rng([seed, number])
    return {"features": rng.standard_normal(shape).astype(np.float32)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    sets = {"tvsum": (50, 1, {}), "summe": (25, 1, {}), "youtube": (40, 11, NOTHING)}
    fold = {"train_keys": [f"video_{i}" for i in range(11, 51)], "test_keys": [f"video_{i}" for i in range(1, 11)]}
    (folder / "one.json").write_text(json.dumps([fold]))
    return {"split": folder / "one.json"} | {
        name: write_eccv16(
            folder / f"eccv16_dataset_{name}_google_pool5.h5",
            size,
            {f"video_{i}": fresh(i, at) | more for i in range(first, first + size)},
            first=first,
        )
        for at, (name, (size, first, more)) in enumerate(sets.items())
    }


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    return noted_fits(monkeypatch)


def pooled(files: dict[str, Path], *names: str) -> str:
    return "+".join(f"{name}:{files[name]}" for name in names)


def request(files: dict[str, Path], *names: str, **more: Any) -> Request:
    its = Request(
        on="tvsum", data=pooled(files, *names), methods=("mlp",), seeds=1, sets=QUICK, protocol="scores-vs-mean"
    )
    return replace(its, **more)


def test_the_others_are_trained_on_and_the_row_says_so(files, given) -> None:
    found = bench(request(files, "summe", "tvsum", "youtube", split=f"{files['split']}/augmented"))
    (each,) = given
    assert each.train >= SUMME | YOUTUBE
    assert each.train | each.val == {f"video_{i}" for i in range(11, 51)} | SUMME | YOUTUBE
    assert len(each.val & {f"video_{i}" for i in range(1, 51)}) == len(each.val) == 8
    (made,) = found.made["mlp"]
    assert made["pool"] == ["tvsum", "summe", "youtube"]
    assert made["runs"][0]["num_train_of"] == {"tvsum": 32, "summe": 25, "youtube": 39}
    assert found.split == "tvsum/one.json, augmented"
    said = " ".join(found.remarks)
    assert "pool: 50 videos of tvsum, 25 videos of summe, 39 videos of youtube; tvsum's alone are tested" in said
    assert "trained on 32 videos of tvsum, 25 videos of summe, 39 videos of youtube" in said
    assert "crossings" not in said
    assert {row.n for row in found.rows if row.method == "mlp"} == {10}
    json.loads(table.as_json(found))


@pytest.mark.parametrize(
    ("pool", "setting"),
    [("fold", "canonical"), ("fold", "transfer"), ("transductive", "canonical"), ("transductive", "augmented")],
)
def test_without_labels_the_whole_pool_is_seen(files, given, tmp_path, pool, setting) -> None:
    split = setting if setting == "transfer" else f"{files['split']}/{setting}"
    sets = (*QUICK, "pretrain.batch_size=8", "pretrain.epochs=1")
    more = {"methods": ("visp+mlp",), "sets": sets, "pool": pool, "split": split, "runs": str(tmp_path)}
    found = bench(request(files, "tvsum", "summe", **more))
    own = {f"video_{i}" for i in range(1, 51)}
    # Fine-tuned with labels by the setting, from what saw the fold or all.
    first, second = given
    test = set(second.origin.test)
    assert len(test) == (50 if setting == "transfer" else 10)
    assert not (second.train | second.val) & test
    assert (second.train | second.val >= SUMME) == (setting != "canonical")
    if pool == "transductive":
        assert first.train == own | SUMME
    else:
        assert first.train == (own - test - second.val) | (SUMME - second.val)
    assert {each.data_set for each in runs.read_info(second.out).before} == {"tvsum", "summe"}
    line = next(line for line in found.remarks if line.startswith("visp+mlp: "))
    told = "transductive: pre-trained without labels on all 75 videos" if pool == "transductive" else "fold-clean: "
    assert told in line


def test_a_data_set_that_nothing_would_train_on_is_refused(files, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"nothing is trained on summe, for tvsum/csta, canonical does not name it"):
        bench(request(files, "tvsum", "summe", split="canonical"))
    with pytest.raises(UsageError, match="--data tvsum:.*: no method of --methods is trained"):
        bench(request(files, "tvsum", "summe", methods=("uniform",), sets=()))
    wanted = Wanted(data=pooled(files, "tvsum", "summe"), split="canonical")
    with pytest.raises(UsageError, match=r"nothing is trained on summe, .*; leave it out, or give --split augmented"):
        open_training(wanted, 0)
    assert len(open_training(replace(wanted, labelled=False), 0).train) == 32 + 25
    everything = open_training(replace(wanted, labelled=False, pool="transductive"), 0)
    assert len(everything.train) == 75


def test_the_list_of_a_file_is_kept(files, given, tmp_path) -> None:
    file = "../datasets/eccv16_dataset_{}_google_pool5.h5/video_{}"
    split = tmp_path / "tvsum_aug.yml"
    own = [file.format("tvsum", i) for i in range(1, 51)]
    fold = {"train_keys": [*own[10:], file.format("summe", 4), file.format("youtube", 50)], "test_keys": own[:10]}
    split.write_text(json.dumps([fold]))
    bench(request(files, "tvsum", "summe", "youtube", split=str(split)))
    assert {v for v in given[0].train if "/" in v} == {"summe/video_4", "youtube/video_50"}
    with pytest.raises(UsageError, match=r"trains on videos of youtube too, which --data does not name"):
        bench(request(files, "tvsum", "summe", split=str(split)))
    with pytest.raises(UsageError, match=r"trains on videos of summe, youtube too, which --data does not name"):
        bench(request(files, "tvsum", data=str(files["tvsum"]), split=str(split)))


def test_each_data_set_has_its_own_rule(files) -> None:
    """TVSum's shots are chosen by a knapsack. YouTube's file has none, and its key frames are the summary."""
    data = open_data(tvsum, pooled(files, "tvsum", "youtube"))
    rule = trained.rule_of(settings_of("mlp", "default"), data)
    usable, why = trained.teachable(data, rule)
    assert (len(usable), why) == (89, None)
    assert str(rule) == "keyshots, given (youtube)"
    usable, why = trained.teachable(data, "keyshots")
    assert (len(usable), why) == (50, "youtube/video_11 has no shots")


def test_a_run_knows_what_it_saw_of_each_data_set(files, tmp_path) -> None:
    """Ids such as video_1 are in both data sets, so a run on SumMe's must not count as one on TVSum's."""
    data = open_training(Wanted(data=pooled(files, "summe", "tvsum"), split="transfer"), 0)
    settings = settings_of("mlp", "default", QUICK)
    run = fit_fold(settings, data, tmp_path / "run")
    assert len(data.val) == 10
    assert all(v.startswith("tvsum/") for v in (*run.info.train, *run.info.val))
    seen = {(each.data_set, len(each.video_ids)) for each in run.info.seen}
    assert seen == {("summe", 0), ("tvsum", 40), ("tvsum", 10)}
    ours, theirs = tvsum.load(files["tvsum"]), summe.load(files["summe"])
    assert held_out.seen_by(run.info, "tvsum", ours) == {f"video_{i}" for i in range(1, 51)}
    assert held_out.seen_by(run.info, "summe", theirs) == set()
    with pytest.raises(UsageError, match=r"was trained or selected on 50 of the 50 test videos"):
        held_out.check_unseen("it", str(tmp_path / "run"), open_data(tvsum, str(files["tvsum"])))
    held_out.check_unseen("it", str(tmp_path / "run"), open_data(summe, str(files["summe"])))
    its = evaluation.Request(
        run=str(tmp_path / "run"), on="summe", data=f"summe:{files['summe']}", protocol="scores-vs-mean"
    )
    told = " ".join(evaluation.evaluate_run(its).remarks)
    assert f"40 videos of summe {files['summe']} + tvsum {files['tvsum']} (summe/csta, transfer" in told
    with pytest.raises(UsageError, match="no test videos of tvsum .* are left to measure"):
        evaluation.evaluate_run(replace(its, on="tvsum", data=str(files["tvsum"])))
    with pytest.raises(UsageError, match="eval measures one data set"):
        evaluation.evaluate_run(replace(its, data=pooled(files, "summe", "tvsum")))


def test_validation_asks_what_all_data_sets_have(files, tmp_path) -> None:
    """SumMe's own ranks are against the users' mean summary; YouTube's file has no users, so gtscore chooses."""
    data = open_training(Wanted(data=pooled(files, "summe", "tvsum", "youtube"), split="transfer"), 0)
    assert {v.video_id.partition("/")[0] for v in data.val} == {"tvsum", "youtube"}
    run = fit_fold(settings_of("mlp", "default", QUICK), data, tmp_path / "a")
    assert "against the mean score" in " ".join(run.info.notes)
    settings = settings_of("mlp", "default", [*QUICK, "select_on=f1"])
    with pytest.raises(UsageError, match="select_on: validation has no `f1`; it has tau, rho"):
        fit_fold(settings, data, tmp_path / "b")
