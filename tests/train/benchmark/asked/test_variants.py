"""Rows with settings of their own, and trained runs as rows: what words mean, what each row is, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.train.benchmark.bench_kit import noted_fits, value
from tests.train.benchmark.bench_kit import write_root as write_small_root
from tests.train.training_kit import fitted, small, videos

from vsumdata.datasets import synthetic
from vsumdata.datasets.splits import folds
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import table
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.asked.variants import parse, split, variants
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.benchmark.evaluation import Request as EvalRequest
from vsumdata.train.benchmark.evaluation import evaluate_run
from vsumdata.train.loop import runs

DATA = "videos=6,users=2,frames=24"
SMALL = Request(on="synthetic", data=DATA, seeds=1, sets=("epochs=1", "model.hidden=[8]"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of mlp that was trained on other planted videos."""
    out = tmp_path_factory.mktemp("elsewhere") / "run"
    found, origin = videos(8, seed=9), runs.Origin(data_set="synthetic", path="seed=9", split="all")
    fitted(out, small("mlp", "optimizer.lr=0.05", "epochs=8"), found[2:], found[:2], origin=origin)
    return str(out)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("hiersum", "hiersum"),
        (" hiersum[] ", "hiersum"),
        ("hiersum[ objective.w_inter = 0 , preset=paper]", "hiersum[preset=paper,objective.w_inter=0]"),
        ("hiersum[epochs=2,batch_size=3]", "hiersum[batch_size=3,epochs=2]"),
        ("mlp[model.hidden=[8,4],epochs=1]", "mlp[epochs=1,model.hidden=[8,4]]"),
        ("visp+csta[search=5,init=runs/a]", "visp+csta[init=runs/a,search=5]"),
        ("csum+umt[epochs=50,then=umt]", "csum+umt[then=umt,epochs=50]"),
        ("run:runs/howto/", "run:runs/howto"),
        ("run: runs/howto [text=none]", "run:runs/howto[text=none]"),
    ],
)
def test_a_row_has_the_word_as_typed_but_for_spaces_and_order(word: str, name: str) -> None:
    assert parse(word).name == name
    assert parse(name) == parse(word)


def test_commas_in_brackets_divide_no_rows() -> None:
    text = "mlp, hiersum[preset=paper,model.hidden=[8,4]],,run:a[text=none]"
    assert split(text) == ["mlp", "hiersum[preset=paper,model.hidden=[8,4]]", "run:a[text=none]"]


def test_folders_do_not_collide_and_hold_no_brackets() -> None:
    long = "a" * 100
    words = ["mlp", "mlp[init=a/b]", "mlp[init=a-b]", f"mlp[init={long}x]", f"mlp[init={long}y]", "mlp[epochs=1]"]
    found = [each.folder for each in variants(words)]
    assert found[0] == "mlp"
    assert len(set(found)) == len(words)
    assert not any(set("[]/, ") & set(folder) for folder in found)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("hiersum[epochs=1", "a bracket is not closed"),
        ("hiersum]epochs=1[", "a bracket is closed that was not opened"),
        ("hiersum[epochs=1]x", "something follows the bracket"),
        ("[epochs=1]", "no method before the bracket"),
        ("mlp[epochs]", "`epochs` is no setting"),
        ("mlp[epochs=1,epochs=2]", "epochs is given twice"),
        ("mlp,mlp", "mlp is given 2 times"),
        ("mlp[epochs=1,batch_size=2],mlp[batch_size=2, epochs=1]", "batch_size=2,epochs=1. is given 2 times"),
        ("mlp,mlp[batch_size=4]", "mlp and mlp.batch_size=4. have the same settings"),
        ("mlp,mlp[init=nowhere]", "mlp and mlp.init=nowhere. have the same settings"),
        ("mlpp[epochs=1]", "no method `mlpp`; did you mean `mlp`?"),
        ("random[seed=1]", "random is not trained and takes no settings in brackets"),
        ("frame-cm[merge=1]", "frame-cm is not trained .*; give them by --set crossmodal"),
        ("mlp[model.hiden=[8]],hiersum", r"mlp\[model.hiden=\[8\]\]: .* did you mean `hidden`"),
        ("mlp[objective.global_step=1],hiersum", "objective.global_step: no such setting"),
        ("mlp[epochs=0]", r"mlp\[epochs=0\]: --set epochs: "),
        ("mlp[preset=bliss],hiersum", "no preset `bliss` of mlp"),
        ("mlp[seed=1]", "--set seed: use --seeds"),
        ("mlp[search=2]", "mlp has no published ranges"),
        ("visp+mlp[search=0]", "search=0 is no number of trials"),
        ("csum+mlp[then=umt]", r"csum\+mlp\[then=umt\]: then=umt: csum\+mlp trains mlp, so write then=mlp"),
        ("visp+mlp[then=umt]", "so write then=mlp"),
        ("visp+mlp,visp+mlp[then=mlp]", "have the same settings"),
        ("mlp[then=mlp]", "mlp learns with labels already"),
        ("run:", "write run:RUN"),
        ("run:nowhere[epochs=1]", "a run is measured as it is and takes text alone, not epochs"),
    ],
)
def test_a_wrong_word_is_told_before_any_work(words: str, says: str) -> None:
    # Neither the file nor the run is there: whatever reads them first has another error.
    with pytest.raises(UsageError, match=says) as told:
        bench(Request(on="tvsum", data="nowhere.h5", methods=tuple(split(words)), seeds=1, init="nowhere"))
    assert "\n" not in str(told.value)


def test_settings_in_brackets_are_those_of_one_row(tmp_path) -> None:
    words = ("mlp", "mlp[model.hidden=[4],optimizer.lr=0.01]", "hiersum[model.layers=1,model.hidden=16,model.heads=2]")
    request = replace(SMALL, methods=words, baseline="mlp[optimizer.lr=0.01, model.hidden=[4]]", runs=str(tmp_path))
    request = replace(request, sets=("epochs=1",))
    found = bench(request)
    # `--baseline` names the second row, so it makes no other one.
    assert found.methods[2:5] == ["mlp", "mlp[model.hidden=[4],optimizer.lr=0.01]", parse(words[2]).name]
    kept = {path.relative_to(tmp_path).parts[0]: path.parent for path in sorted(tmp_path.glob("*/*/fold-1/run.json"))}
    settings = {folder: runs.read_info(path).settings for folder, path in kept.items()}
    assert set(settings) == {parse(word).folder for word in words}
    assert {each.epochs for each in settings.values()} == {1}
    assert settings[parse(words[1]).folder].model.model_dump()["hidden"] == (4,)
    assert settings["mlp"].model.model_dump()["hidden"] != (4,)

    told = json.loads(table.as_json(found))
    overrides = {name: made[0]["overrides"] for name, made in told["made"].items()}
    assert overrides[found.methods[3]] == {"epochs": 1, "model.hidden": [4], "optimizer.lr": 0.01}
    assert overrides["mlp"] == {"epochs": 1}
    assert any(line.startswith(f"{found.methods[3]}: preset synthetic with model.hidden=[4]") for line in found.remarks)
    against = {row["method"] for row in told["rows"] if any(f"against {found.methods[3]}" in n for n in row["notes"])}
    assert "mlp" in against
    assert found.methods[3] not in against
    assert table.as_json(bench(request)) == table.as_json(found), "kept runs are read again"


def test_scratch_fine_tuned_and_zero_shot_stand_side_by_side(elsewhere, monkeypatch) -> None:
    given = noted_fits(monkeypatch)
    words = ("mlp", f"mlp[init={elsewhere}]", f"run:{elsewhere}")
    found = bench(replace(SMALL, methods=words, seeds=2))
    assert found.methods[2:5] == list(words)
    assert {each.init for each in given[:6]} == {None}
    assert {each.init for each in given[6:]} == {elsewhere}
    assert len(given) == 12, "nothing is trained for the run"
    # The same run, the same videos, the same protocol: `eval` has the same numbers.
    alone = evaluate_run(EvalRequest(run=elsewhere, on="synthetic", data=DATA))
    for metric in ("f1", "tau", "rho"):
        ours, theirs = value(found, words[2], metric), value(alone, "mlp", metric)
        assert (ours.n, ours.mean) == (6, pytest.approx(theirs.mean))
    assert value(found, words[2], "tau").mean > 0.1
    (line,) = [line for line in found.remarks if line.startswith(f"{words[2]}: ")]
    assert "measured as it is, one run of seed 0: trained on synthetic seed=9 (all), epoch " in line
    assert found.made[words[2]][0]["trained_on"] == "synthetic seed=9"
    assert found.made[words[1]][0]["init"] == elsewhere


def test_a_run_alone_needs_no_training(elsewhere) -> None:
    found = bench(replace(SMALL, methods=(f"run:{elsewhere}",), sets=()))
    assert value(found, f"run:{elsewhere}", "tau").n == 6
    with pytest.raises(UsageError, match="--set epochs=1: no method of --methods is trained"):
        bench(replace(SMALL, methods=(f"run:{elsewhere}",)))


def test_a_run_that_has_seen_test_videos_or_other_features_is_refused(tmp_path, elsewhere, monkeypatch) -> None:
    given = noted_fits(monkeypatch)
    bench(replace(SMALL, methods=("mlp",), runs=str(tmp_path / "runs")))
    seen = str(tmp_path / "runs/mlp/seed-0/fold-1")
    given.clear()
    for word in (f"run:{seen}", f"mlp[init={seen}]"):
        with pytest.raises(UsageError, match="was trained or selected on .* of the 6 test videos"):
            bench(replace(SMALL, methods=("vslstm", word), sets=("epochs=1",)))
    root = write_small_root(tmp_path / "root", "train", "val", "test", "test")
    with pytest.raises(UsageError, match=r"run:.*: c has frame features of size 4, the model takes 32"):
        bench(Request(on="shards", data=str(root), methods=("mlp", f"run:{elsewhere}"), seeds=1))
    with pytest.raises(UsageError, match="run:nowhere: nowhere is no training run"):
        bench(replace(SMALL, methods=("mlp", "run:nowhere")))
    with pytest.raises(UsageError, match=r"text=glob.*: --text glob: it is one of"):
        bench(replace(SMALL, methods=(f"run:{elsewhere}[text=glob]",), sets=()))
    assert given == [], "all of it is found before any training"


SEARCHED = "visp+mlp[search=2,objective.w_size=3]"
SEARCH = Request(
    on="synthetic",
    data="videos=18,users=2,frames=20",
    methods=(SEARCHED,),
    seeds=1,
    sets=("epochs=1", "model.hidden=[8]", "pretrain.batch_size=8"),
)


def test_a_search_chooses_within_each_fold_on_its_validation_videos(tmp_path, monkeypatch) -> None:
    given = noted_fits(monkeypatch)
    found = bench(replace(SEARCH, runs=str(tmp_path)))
    name = parse(SEARCHED).name
    groups = {video.video_id: str(video.task) for video in synthetic.load(SEARCH.data)}
    expected = folds("synthetic", list(groups), seed=0, groups=groups)
    trials = [each for each in given if each.method == "visp+mlp"]
    assert len(trials) == 2 * len(expected)
    for at, each in enumerate(trials):
        fold = expected[at // 2]
        assert (each.train, each.val) == (set(fold.train), set(fold.val))
        assert not (each.train | each.val) & set(fold.test)
    place = tmp_path / parse(SEARCHED).folder
    drawn = set()
    for number in range(1, len(expected) + 1):
        out = place / "pre-training" / "seed-0" / f"fold-{number}"
        record = json.loads((out / "search.json").read_text())
        assert [each.partition("=")[0] for each in record["trials"][0]["sets"]] == [
            "objective.temperature", "objective.w_binary",
        ], "what brackets give is not drawn"  # fmt: skip
        best = max(record["trials"], key=lambda each: each["value"])
        assert record["best"] == best["number"]
        chosen = runs.read_info(out).settings.objective.model_dump()
        assert f"objective.temperature={chosen['temperature']:.4g}" in best["sets"]
        assert chosen["w_size"] == 3
        drawn.add(chosen["temperature"])
        assert runs.read_info(place / "seed-0" / f"fold-{number}").init == str(out)
    (line,) = [line for line in found.remarks if line.startswith(f"{name}: ")]
    assert "chosen by search in each run: objective.temperature, objective.w_binary" in line
    assert "the best of 2 trials by tau on the validation videos" in line.partition("then mlp")[0]
    made = json.loads(table.as_json(found))["made"][name][0]
    told = {run.get("overrides", made["overrides"])["objective.temperature"] for run in made["runs"]}
    assert told == drawn
    given.clear()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("**/trial-*/best.safetensors")}
    again = bench(replace(SEARCH, runs=str(tmp_path)))
    assert table.as_json(again) == table.as_json(found)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(UsageError, match="search with other settings"):
        bench(replace(SEARCH, runs=str(tmp_path), sets=(*SEARCH.sets, "pretrain.epochs=2")))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"legacy": True}, "a search never chooses on test videos; leave out --legacy"),
        (
            {"data": "videos=4,users=2,frames=20", "sets": ("objective.least_batch=2",)},
            "no validation videos to choose",
        ),
    ],
)
def test_a_search_without_videos_for_it_is_refused(change, says) -> None:
    with pytest.raises(UsageError, match=says):
        bench(replace(SEARCH, **change))


def test_the_folder_of_a_variant_is_not_that_of_another_setting(tmp_path: Path) -> None:
    """A run of before is read again for the same word alone."""
    bench(replace(SMALL, methods=("mlp[optimizer.lr=0.01]",), runs=str(tmp_path)))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.iterdir())
    bench(replace(SMALL, methods=("mlp[optimizer.lr=0.02]",), runs=str(tmp_path)))
    assert len(list(tmp_path.iterdir())) == 2
    assert before[0] in {path.relative_to(tmp_path) for path in tmp_path.iterdir()}
