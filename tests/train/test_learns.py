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
    monkeypatch.syspath_prepend(BENCH)  # its scripts import each other, and their processes themselves
    return importlib.import_module


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
