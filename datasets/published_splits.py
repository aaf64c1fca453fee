"""Read `published_splits.json`: the folds of published splits, with their sources."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")


@cache
def everything() -> dict[str, dict[str, dict[str, Any]]]:
    """Data set -> source -> {from, and `test` (numbers of videos) of each fold, or `folds` by domain}."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def by_domain(data_set: str, source: str) -> dict[str, dict[str, list[str]]]:
    """The ids of `train` and `test` of each fold of a split by domain, by the domain's name.

    Without `train` a fold trains on all videos of the other domains.
    """
    folds: dict[str, dict[str, list[str]]] = everything()[data_set][source]["folds"]
    return folds
