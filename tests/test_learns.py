"""One seed of the proof that `tests/bench/learn.py` gives for several: methods find what is planted, in their order."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).with_name("bench")


@pytest.fixture(scope="module")
def learn() -> ModuleType:
    sys.path.insert(0, str(BENCH))  # it imports its neighbours
    try:
        spec = importlib.util.spec_from_file_location("learn", BENCH / "learn.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["learn"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCH))
    return module


@pytest.mark.slow
def test_each_method_finds_more_of_what_is_planted(learn: ModuleType, tmp_path: Path) -> None:
    size = learn.Size(train=900, epochs=10, few=16, few_epochs=20, val=40, test=60)
    found = {row: values["tau"] for row, values in learn.bounds(0, size).items()}
    for name in ("mlp", "a2summ", "hiersum g=1"):
        found |= {f"{name} {text}": values["tau"] for text, values in learn.run_case(name, 0, size, tmp_path).items()}
    assert abs(found["random"]) < 0.05
    assert found["mlp own"] > 0.3
    assert found["a2summ own"] > found["mlp own"] + 0.1  # the subtitles' share
    assert found["hiersum g=1 both"] > found["a2summ own"] + 0.02  # the steps' share
    assert found["bayes"] - 0.1 < found["hiersum g=1 both"] < found["bayes"]
