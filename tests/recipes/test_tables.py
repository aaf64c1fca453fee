"""The recipes that state papers' tables: each is made on planted videos, in its smallest form, and beside its paper."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.train.training_kit import fitted, videos

from vsumdata.datasets.benchmarks.registry import DATASETS
from vsumdata.datasets.partition import TESTABLE
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.splits import ONE_OUT, sources
from vsumdata.manifests.errors import UsageError
from vsumdata.pipeline.commands import main as cli
from vsumdata.train.benchmark import published
from vsumdata.train.benchmark.asked import recipes
from vsumdata.train.benchmark.asked.choices import entries_of
from vsumdata.train.benchmark.asked.variants import variants
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.loop import runs
from vsumdata.train.methods import METHODS
from vsumdata.train.settings import settings_of

SMALLEST = ("epochs=1", "model.hidden=16", "model.heads=2", "model.layers=1")
UMT = ("epochs=1", "model.hidden=16", "model.heads=2", "model.position_rows=64")
PLANTED = {"on": "synthetic", "data": "videos=8,users=2,frames=20", "seeds": 1}
SETS = {
    "hiersum": SMALLEST,
    "csum": ("epochs=1", "objective.clips=3"),
    "visp": ("epochs=1", "model.hidden=16", "model.regressor=8"),
    "mosu": (*SMALLEST, "model.weights=none"),
    "qvhighlights": ("epochs=1", "model.hidden=16", "model.heads=2"),
    "youtube": UMT,
    "csum-highlights": (*UMT, "objective.clips=3"),
    "qfvs": ("epochs=1", "model.hidden=16", "model.regressor=8"),
    "transfer": ("epochs=1", "model.hidden=16", "model.regressor=8"),
}
OF_THE_TEST = {"backbone": "vasnet", "method": "vasnet", "search": "2", "small": "8", "large": "16"}
OF_THE_TEST |= {"pretrained_epochs": "1", "tuned_epochs": "1"}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run of each method that some recipe begins with, of other planted videos."""
    settings = {
        "hiersum": settings_of("hiersum", "wikihow", [*SMALLEST, "batch_size=4"]),
        "vasnet": settings_of("vasnet", "default", SETS["transfer"]),
    }
    made = {method: tmp_path_factory.mktemp("pretrained") / method for method in settings}
    origin = runs.Origin(data_set="synthetic", path="seed=9", split="all")
    for method, out in made.items():
        fitted(out, settings[method], videos(6, seed=9), origin=origin)
    return {method: str(out) for method, out in made.items()}


def params_of(name: str, values: dict[str, str]) -> list[str]:
    """Those of the values that the recipe has a parameter for."""
    return [f"{each}={values[each]}" for each in recipes.read(name).parameters if each in values]


@pytest.mark.parametrize("name", recipes.known())
def test_each_is_made_on_planted_videos(name: str, pretrained: dict[str, str]) -> None:
    recipe = recipes.read(name)
    given: dict[str, Any] = PLANTED | {"sets": SETS.get(name) or SETS[name.partition("-")[0]]}
    if recipe.train_on:
        given["train_on"] = "synthetic:videos=6,users=2,frames=20,seed=3"
    values = OF_THE_TEST | {"pretrained": pretrained["vasnet" if name == "transfer" else "hiersum"], "root": "ROOT"}
    request = recipes.request_of(name, params_of(name, values), given)
    found = bench(request)
    assert found.failed == {}
    for each in variants(request.methods):
        # Planted frames and sentences have features of two sizes.
        if each.method not in ("frame-cm", "step-cm"):
            assert each.name in found.methods, found.remarks
    stated = f"{recipe.source}, {recipe.table}" if recipe.source else recipe.table
    assert found.remarks[0] == f"recipe {name}: {stated}"
    (changed,) = [line for line in found.remarks if line.startswith("not as the recipe states it: ")]
    assert "on synthetic instead of " in changed
    assert "--set epochs=1" in changed


@pytest.mark.parametrize("name", recipes.known())
def test_each_states_what_is_known_and_stands_beside_its_paper(name: str) -> None:
    recipe = recipes.read(name)
    for on, place in recipe.data_sets.items():
        assert on in DATASETS
        if place.protocol:
            protocol(place.protocol)
        assert place.split is None or place.split in (*sources(on), *TESTABLE, ONE_OUT)
        request = recipes.request_of(name, params_of(name, {"pretrained": "RUN", "root": "ROOT"}), {"on": on})
        rows = variants(request.methods)
        entries_of([each for each in rows if each.method in METHODS], on, request.preset, request.sets)
        assert request.baseline == "random" or variants([request.baseline])[0].name in {each.name for each in rows}
        beside = published.beside(on, [each.method for each in rows], request.papers)
        printed = {row.method for table in beside for row in table.rows}
        if recipe.source is None:
            assert request.papers == ()
            continue
        assert {table.short_source for table in beside} == set(request.papers)
        assert {each.method for each in rows if each.method} <= printed


def test_four_videos_are_enough_for_visps_pre_training_on_qfvs() -> None:
    given = PLANTED | {"data": "videos=4,users=2,frames=16", "split": ONE_OUT, "sets": SETS["qfvs"]}
    found = bench(recipes.request_of("qfvs", ["backbone=vasnet"], given))
    assert found.failed == {}
    (pre_trained,) = [row for row in found.rows if row.method.startswith("visp+") and row.metric == "tau"]
    assert pre_trained.n == 4
    assert any("transductive: pre-trained without labels on all 4 videos" in line for line in found.remarks)


OWN = """
source: HierSum (arXiv 2504.18689)
table: mine
data_sets: {synthetic: {protocol: synthetic}}
rows: ["mlp[model.hidden=[8],epochs=${epochs}]", mlp]
baseline: mlp
seeds: 1
sets: [epochs=1]
parameters:
  epochs: {description: how long, default: "2"}
"""


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["vsumdata", "bench", *words])
    return cli.guarded(cli.app)


def test_a_recipe_is_found_by_its_number_too() -> None:
    assert recipes.read("hiersum-table4") == recipes.read("hiersum-mrhisum")
    numbers = [name for each in recipes.known() for name in recipes.read(each).also]
    assert sorted(numbers) == [f"hiersum-table{number}" for number in range(2, 8)]


def test_a_file_of_ones_own_is_made_with_all_that_a_table_has(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    files = [word for form in ("json", "markdown", "csv") for word in (f"--{form}", str(tmp_path / form))]
    more = ["--data", "videos=4,users=2,frames=16", "--runs", str(tmp_path / "runs"), "--param", "epochs=3"]
    assert call(monkeypatch, "--recipe", str(tmp_path / "mine.yaml"), *more, *files) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "json").read_text())
    assert found["seeds"] == 1
    assert {name: made[0]["overrides"]["epochs"] for name, made in found["made"].items()} == {
        "mlp[epochs=3,model.hidden=[8]]": 3,
        "mlp": 1,
    }
    assert any("against mlp" in note for note in found["rows"][-1]["notes"])
    assert "HierSum (arXiv 2504.18689), mine" in (tmp_path / "markdown").read_text()
    assert "mlp[epochs=3,model.hidden=[8]]" in (tmp_path / "csv").read_text()
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert "not as the recipe" not in capsys.readouterr().out


def test_the_help_shows_brackets_as_they_are_to_be_typed(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert call(monkeypatch, "--help") == 0
    assert "'hiersum[preset=paper,epochs=50]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--recipe", "hiersum-tvsun"],
            "no recipe `hiersum-tvsun`; did you mean `hiersum-tvsum`? known are: csum-highlights",
        ),
        (["--recipe", "kuberay"], "no recipe `kuberay`"),
        (["--recipe", "hiersum-tabel7"], "did you mean `hiersum-table7`? known are: csum-highlights"),
        (["--recipe", "hiersum-tables"], ", hiersum-table2, "),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml: No such file or directory; by name there are: csum-highlights"),
        (["--recipe", "hiersum-tvsum"], "tvsum needs --data PATH"),
        (["--recipe", "hiersum-tvsum", "--methods", "mlp"], "--methods with --recipe hiersum-tvsum: the recipe states"),
        (["--recipe", "hiersum-tvsum", "--init", "run"], "--init with --recipe hiersum-tvsum: the recipe's rows"),
        (["--recipe", "hiersum-tvsum", "--param", "a=1"], "--param a=1: this recipe has no parameters"),
        (
            ["--recipe", "hiersum-transfer"],
            "the recipe needs --param pretrained=VALUE: a run that was trained on how-to",
        ),
        (["--recipe", "hiersum-transfer", "--param", "pretraned=a"], "did you mean `pretrained`?"),
        (["--recipe", "hiersum-transfer", "--param", "pretrained"], "write it as NAME=VALUE"),
        (["--on", "synthetic", "--param", "a=1"], "only a recipe has parameters"),
        ([], "give --on NAME, or --recipe NAME; recipes are: csum-highlights"),
        (["--on", "synthetic", "--methods", "mlp[epochs=1"], "mlp[epochs=1: a bracket is not closed"),
    ],
)
def test_a_wrong_request_is_one_line(words: list[str], says: str, monkeypatch, capsys) -> None:
    assert call(monkeypatch, *words) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("table: mine", "tabel: mine", "mine.yaml:3: tabel: unknown key; a recipe has: source, "),
        ("seeds: 1", "seeds: 0", "mine.yaml:7: seeds: Input should be greater than or equal to 1"),
        ("{synthetic:", "{synthetik:", "no data set `synthetik`"),
        ("${epochs}", "${epoch}", "${epoch} is used and is none of its parameters"),
        ("rows: [", "rows: [[", "not valid YAML"),
        (OWN, "", "recipe: Input should be"),
        (OWN, "\x00", "not valid YAML"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(UsageError) as told:
        recipes.read(str(path))
    assert says in str(told.value)
    assert "\n" not in str(told.value)
