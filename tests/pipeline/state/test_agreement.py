"""How well labels agree: planted ones, written as tables of a root."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from vsumdata.manifests import rows
from vsumdata.manifests.manifest import load
from vsumdata.manifests.store import Store
from vsumdata.pipeline.recipe import recipe
from vsumdata.pipeline.reports.status import labels_part
from vsumdata.pipeline.state.agreement import Label, Pair, agreement
from vsumdata.pipeline.state.plan import fingerprint, payload_schema, table_schema
from vsumdata.stages.encoders.models import known_models

MANIFEST = load("sample").manifest
STAGES = recipe(MANIFEST, known_models(MANIFEST, {}))
HEAD = {
    **dict.fromkeys(("reason", "detail", "retry_after")),
    **{"outcome": "done", "version": 1, "tries": 0, "seconds": 0.1, "upstream": {}, "digest": {}},
    "committed_at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
}


def write(store: Store, table: str, content: dict[str, dict[str, Any]]) -> None:
    stage = STAGES[table]
    empty = dict.fromkeys(payload_schema(stage).names)
    made = [HEAD | {"video_id": video_id} | empty | columns for video_id, columns in content.items()]
    store.write(table, fingerprint(STAGES, table), rows.to_table(table_schema(stage), made))


def test_a_video_that_shows_none_of_its_articles_pictures_lowers_no_mean() -> None:
    score, none = np.arange(4.0), np.zeros(4, bool)
    pair = Pair(("pseudo", "steps"))
    pair.add(Label(score, score > 1), Label(np.zeros(4), none))
    pair.add(Label(score, score > 1), Label(score, score > 1))
    assert pair.told() == {"kinds": ["pseudo", "steps"], "videos": 1, "tau": 1.0, "f1": 1.0, "chance": 0.5}


def test_labels_that_are_alike_agree_and_strangers_do_as_chance_has_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    store, replay, pseudo, steps = Store(tmp_path), {}, {}, {}
    for at in range(40):
        score = rng.random(100)
        replay[f"v{at:02d}"] = {"replay_score": score.astype(np.float32) if at else None}
        # The same ranks, and the 20 best chosen.
        chosen = (score >= np.sort(score)[-20]).astype(np.int8)
        pseudo[f"v{at:02d}"] = {"pseudo_score": (score**2).astype(np.float32), "pseudo_summary": chosen}
        if at % 2:
            other = rng.random(100) * (rng.random(100) < 0.3)
            confidence = {"gt_confidence": other.astype(np.float32), "gt_summary": (other > 0).astype(np.int8)}
            steps[f"v{at:02d}"] = confidence
    # Made of other frames: not compared.
    pseudo["v39"] = {"pseudo_score": np.ones(7, np.float32), "pseudo_summary": np.ones(7, np.int8)}
    for table, content in (("features", replay), ("pseudo_summaries", pseudo), ("step_frames", steps)):
        write(store, table, content)

    found = agreement(store, STAGES).told()
    assert found["videos"] == 40
    assert found["labelled"] == {"replay": 38, "pseudo": 39, "steps": 19}
    alike, stranger, other = found["agreement"]
    assert (alike["kinds"], alike["videos"]) == (["replay", "pseudo"], 38)
    assert alike["tau"] == pytest.approx(1.0)
    assert alike["f1"] == pytest.approx(1.0)
    assert alike["chance"] == pytest.approx(0.2)
    assert (stranger["videos"], other["videos"]) == (19, 19)
    assert abs(stranger["tau"]) < 0.1
    assert stranger["f1"] == pytest.approx(stranger["chance"], abs=0.1)
    console = Console(width=100, record=True, file=(tmp_path / "shown").open("w"))
    console.print(*labels_part(found))
    text = console.export_text()
    assert "replay 38; pseudo 39, 20% of their frames; steps 19" in text
    assert "replay – pseudo  38      1.000  1.000  0.200" in text
