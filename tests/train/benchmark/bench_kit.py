"""Roots of ours and small requests for the tests of benchmark and evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.shards_kit import FINGERPRINT, SCHEMA, payload, row

from vsumdata.manifests import rows
from vsumdata.manifests.store import Store
from vsumdata.train.benchmark import trained
from vsumdata.train.benchmark.table import Row, Table
from vsumdata.train.data.training import Data
from vsumdata.train.loop import runs


@dataclass(frozen=True)
class Given:
    """What one call of `fit_fold` got."""

    method: str
    seed: int
    train: set[str]
    val: set[str]
    origin: runs.Origin
    init: str | None
    out: Path


def noted_fits(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    """Notes what every run of a bench is trained and selected on, and lets it train."""
    found: list[Given] = []
    real = trained.fit_fold

    def noted(settings: Any, data: Data, out: Path, **more: Any) -> runs.Trained:
        ids, val_ids = ({video.video_id for video in part} for part in (data.train, data.val))
        found.append(Given(settings.method, settings.seed, ids, val_ids, data.origin, more["init"], out))
        return real(settings, data, out, **more)

    monkeypatch.setattr(trained, "fit_fold", noted)
    return found


def write_root(path: Path, *splits: str, replay: bool = True) -> Path:
    """A root of four videos (a to d), or as many as `splits`, each of a task of its own."""
    parts = splits if len(splits) > 1 else splits * 4
    rng = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for number, split in enumerate(parts):
        size = 12 + 3 * number
        content = payload(size, split, text=True) | {
            "task": f"task {number}",
            "frame_feature": rng.standard_normal((size, 4)).astype(np.float16),
            "replay_score": rng.random(size).astype(np.float32) if replay else None,
            "shot_start": np.arange(0, size, 3, dtype=np.int32),
            "shot_stop": np.append(np.arange(3, size, 3), size).astype(np.int32),
        }
        found.append(row("abcdefgh"[number], content))
    store = Store(path)
    store.write("features", FINGERPRINT, rows.to_table(SCHEMA, found))
    store.write_json("dataset.json", {"manifest": {}, "tables": {"features": {"fingerprint": FINGERPRINT}}})
    return path


def value(found: Table, method: str, metric: str) -> Row:
    (its,) = [its for its in found.rows if (its.method, its.metric) == (method, metric)]
    return its
