"""One seed of the proof that `tests/bench/learn.py` gives for several: methods find what is planted, in their order."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).with_name("bench")


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)  # its neighbours are imported from there, and itself by its processes
    return importlib.import_module("learn")


@pytest.mark.slow
def test_each_method_finds_more_of_what_is_planted(learn: ModuleType) -> None:
    rows = learn.everything(1, 2, learn.FULL, ["mlp", "a2summ", "hiersum g=1"])
    found = {row: values["tau"][0] for row, values in rows.items()}
    assert abs(found["random"]) < 0.05
    assert found["mlp"] > 0.3
    assert found["a2summ"] > found["mlp"] + 0.1  # the subtitles' share
    assert found["hiersum g=1, both"] > found["a2summ"] + 0.02  # the steps' share
    assert found["bayes"] - 0.1 < found["hiersum g=1, both"] < found["bayes"]
