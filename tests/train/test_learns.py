"""One seed of what `tests/bench/` proves with several: methods find what is planted, with labels and without."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(BENCH / "training")
    monkeypatch.syspath_prepend(BENCH)  # its scripts import each other, and their processes themselves
    return importlib.import_module


def test_the_best_g_is_reported_on_other_seeds_than_chose_it(bench: Callable[[str], ModuleType]) -> None:
    learn = bench("learn")
    # g = 2 is best on the first two seeds, g = 10 on the other two.
    values = {1: [0.1] * 4, 2: [0.5, 0.5, 0.2, 0.4], 5: [0.3] * 4, 10: [0.4, 0.4, 0.9, 0.9]}
    found = {f"both g={g}, both": {"tau": its} for g, its in values.items()} | {"a2summ": {"tau": [0.2] * 4}}
    best = learn.best_g(found)
    assert (best["g"], best["chosen on"]) == (2, 2)
    assert best["value"][0] == pytest.approx(0.3)
    assert best["gain over a2summ"][0] == pytest.approx(0.1)
    assert learn.best_g({row: {"tau": its["tau"][:1]} for row, its in found.items()}) is None
    assert learn.best_g({"a2summ": found["a2summ"]}) is None


def test_the_rows_differ_by_what_their_names_say(bench: Callable[[str], ModuleType]) -> None:
    learn = bench("learn")
    cases = learn.cases(learn.FULL)
    assert cases["a2summ, no contrast"].sets == [*cases["a2summ"].sets, "objective.w_inter=0", "objective.w_intra=0"]
    # The paper's schedule never shows both texts, neither in training nor when it scores.
    assert not any("both" in word for word in cases["paper"].sets)
    assert cases["both g=1"].sets[-2:] == ["objective.global_step=1", "objective.parent_text=both"]
    train, _, _ = learn.parts(0, learn.Size(train=4, epochs=1, few=1, few_epochs=1, val=1, test=1))
    other = learn.shuffled(train)
    for at, each in enumerate(other):
        rows = min(len(each.video.sentence), len(train[(at + 1) % 4].video.sentence))
        theirs = train[(at + 1) % 4].video.sentence_feature
        assert (each.video.sentence_feature[:rows] == theirs[:rows]).all()
        assert each.importance is train[at].importance
    silent = learn.speechless(train[0]).video
    assert silent.sentence_feature is None
    assert silent.step_feature is not None


@pytest.mark.slow
def test_each_method_finds_more_of_what_is_planted(
    bench: Callable[[str], ModuleType], request: pytest.FixtureRequest
) -> None:
    """The subtitles' share alone (A2Summ) shows at the full size only: with half of the videos it learns none of it."""
    learn, is_full = bench("learn"), request.config.getoption("--full")
    size = learn.FULL if is_full else learn.Size(train=600, epochs=14, few=16, few_epochs=60, val=40, test=60)
    rows = learn.everything(1, 2, size, ["mlp", *(["a2summ"] if is_full else []), "both g=1"])
    found = {row: values["tau"][0] for row, values in rows.items()}
    assert abs(found["random"]) < 0.05
    assert found["mlp"] > 0.3
    if is_full:
        assert found["a2summ"] > found["mlp"] + 0.1  # the subtitles' share
        assert found["both g=1, both"] > found["a2summ"] + 0.02  # the steps' share
        assert found["bayes"] - 0.1 < found["both g=1, both"]
    assert found["both g=1, both"] > found["mlp"] + 0.05  # what is said, in subtitles and steps
    assert found["both g=1, both"] < found["bayes"]


@pytest.mark.slow
def test_what_is_planted_is_found_without_labels(
    bench: Callable[[str], ModuleType], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    unlabelled = bench("unlabelled")
    pool, test = unlabelled.videos(0, 1.0)
    csum = unlabelled.trained("csum+vslstm", pool, unlabelled.VSLSTM, 0, tmp_path / "csum")
    found = unlabelled.measured(csum, test)
    for name in ("random", "uniform"):
        chance = unlabelled.chance(name, 0, test)
        assert found["tau"] > abs(chance["tau"]) + 0.2
        assert found["f1"] > chance["f1"] + 0.05
    numbers = (4, 16) if request.config.getoption("--full") else (4,)
    rows = unlabelled.labels(0, tmp_path, numbers=numbers)
    assert rows["0, visp"]["tau"] > 0.2
    for number in numbers:  # labelled videos
        assert rows[f"{number}, visp"]["tau"] > rows[f"{number}, scratch"]["tau"] + 0.03
    nothing = unlabelled.videos(0, 0.0)
    visp = unlabelled.trained("visp+vasnet", nothing[0], unlabelled.VISP, 0, tmp_path / "nothing")
    assert abs(unlabelled.measured(visp, nothing[1])["tau"]) < 0.15  # of what no video shows, nothing is found


@pytest.mark.slow
def test_summaries_drawn_by_visp_cover_more_subjects(
    bench: Callable[[str], ModuleType],
) -> None:
    rows = bench("perspectives").one(0)
    visp = rows["visp, drawn"]
    assert visp["right"] > rows["random, drawn"]["right"] + 0.1
    for name in ("random, drawn", "fixed 25", "fixed 300"):
        assert visp["coverage 20"] > rows[name]["coverage 20"] + 0.02


@pytest.mark.slow
def test_a_language_model_learns_to_choose_frames_and_its_adapter_to_read_others(
    bench: Callable[[str], ModuleType], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A random choice has an F1 of .30."""
    steps, more, least = (600, 150, 0.65) if request.config.getoption("--full") else (224, 96, 0.45)
    found = bench("language").turned(tmp_path, steps, more)
    assert found["own"] > least
    assert found["turned"] < 0.4  # the language model's frames show nothing through an adapter of other features
    assert found["adapter alone"] > found["turned"] + 0.1
