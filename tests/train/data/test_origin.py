"""Where a run's videos come from: what a root says of the summaries that a language model learns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.datasets.shards_kit import row
from tests.train.training_kit import videos, write_root

from vsumdata.manifests import rows, tables, upkeep
from vsumdata.manifests.store import MADE_BY, Store
from vsumdata.train.benchmark.asked.request import Request
from vsumdata.train.benchmark.bench import bench
from vsumdata.train.data.training import Wanted, open_data
from vsumdata.train.loop import runs

OPTIONS = {
    "method": "llm",
    "model": "Qwen/Qwen3-4B",
    "chat_identity": "Qwen/Qwen3-4B@0a1b, prompts 1",
    "chat_location": "/models/qwen",
    "prompts": 1,
    "frame_captions": {"same": 0.98},
}


def with_summaries(root: Path, made_by: dict[str, Any] | None, outcome: str = "done") -> Path:
    """The root with a summary of its first video."""
    store, (first, *_) = Store(root), videos()
    schema = tables.schema(tables.payload("summaries", {}), ("videos", "features"))
    if made_by is not None:
        schema = schema.with_metadata({MADE_BY: json.dumps(made_by)})
    head = {name: value for name, value in row(first.video_id, None).items() if name in schema.names}
    its = head | dict.fromkeys(tables.payload("summaries", {}).names) | {"outcome": outcome, "digest": {}}
    store.write("summaries", "5a", rows.to_table(schema, [its | {"summary": [{"text": "Cut.", "time_s": [0.0]}]}]))
    described = store.dataset()
    described["tables"]["summaries"] = {"fingerprint": "5a"}
    store.write_json("dataset.json", described)
    return root


@pytest.mark.parametrize(
    ("made_by", "outcome", "expected"),
    [
        (
            {"stage": "summaries", "options": OPTIONS},
            "done",
            {
                "fingerprint": "5a",
                **{name: OPTIONS[name] for name in ("method", "model", "chat_identity", "prompts")},
            },
        ),
        (None, "done", {"fingerprint": "5a"}),
        ({"stage": "summaries", "options": OPTIONS}, "skipped", None),
    ],
)
def test_a_root_says_how_its_summaries_were_made(
    tmp_path: Path, made_by: dict[str, Any] | None, outcome: str, expected: dict[str, Any] | None
) -> None:
    root = write_root(tmp_path / "root", videos(), ("train", "train", "val", "test"))
    assert open_data(Wanted(data=str(root)), 0).texts is None
    with_summaries(root, made_by, outcome)
    assert open_data(Wanted(data=str(root)), 0).texts == expected
    with_summaries(root, made_by, outcome)
    assert upkeep.compact(Store(root), {"summaries": "5a"}) == {"summaries": (2, 1)}
    assert open_data(Wanted(data=str(root)), 0).texts == expected


def test_a_bench_keeps_it_where_a_method_learns_them(tmp_path: Path) -> None:
    root = write_root(tmp_path / "root", videos(), ("train", "train", "val", "test"))
    with_summaries(root, {"stage": "summaries", "options": OPTIONS})
    sets = ("epochs=1", "model.frames=10", "model.samples=1", "model.text_tokens=12")
    request = Request(on="shards", data=str(root), methods=("v2xum",), preset="tiny", sets=sets, seeds=1)
    bench(replace(request, runs=str(tmp_path / "runs")))
    bench(replace(request, methods=("mlp",), preset="default", sets=("epochs=1",), runs=str(tmp_path / "runs")))
    texts = {name: runs.read_info(tmp_path / "runs" / name / "seed-0" / "fold-1").texts for name in ("v2xum", "mlp")}
    assert texts["mlp"] is None
    assert texts["v2xum"] is not None
    assert texts["v2xum"]["chat_identity"] == "Qwen/Qwen3-4B@0a1b, prompts 1"
