"""Every table opens in what people read Parquet with, and its bookkeeping columns hold the same there."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vsumdata.manifests import rows, upkeep
from vsumdata.manifests.manifest import Manifest
from vsumdata.manifests.store import Store
from vsumdata.pipeline.recipe import recipe
from vsumdata.pipeline.state.plan import payload_schema, table_schema
from vsumdata.stages.encoders.models import Model, Models

MODELS = Models(asr=Model("w", "", "w"), clip=Model("c", "", "c", dim=4), text=Model("s", "", "s", dim=3))
STAGES = recipe(Manifest.model_validate({"sources": [{"channel": "@x"}]}), MODELS)
NOW = datetime.datetime(2026, 11, 29, 12, 30, 15, 250_000, tzinfo=datetime.UTC)
# In a process of its own, and not in this repository: its folder `datasets` would hide Hugging Face's.
HUGGING_FACE = """
import json, sys, datasets
found = datasets.Dataset.from_parquet(sys.argv[1], cache_dir=sys.argv[2])
print(json.dumps([row for row in found], default=str))
"""


def value(kind: pa.DataType) -> Any:
    """A value of any type that a table has."""
    if pa.types.is_struct(kind):
        return {field.name: value(field.type) for field in kind}
    if pa.types.is_fixed_size_list(kind):
        return np.linspace(0, 1, kind.list_size, dtype=np.float16)
    if pa.types.is_list(kind):
        inner = [value(kind.value_type)] * 2
        return np.array(inner) if pa.types.is_fixed_size_list(kind.value_type) else inner
    known = {pa.string(): "déjà vu", pa.binary(): b"\x00\xff", pa.bool_(): True, pa.date32(): NOW.date()}
    return NOW if pa.types.is_timestamp(kind) else known.get(kind, 7)


def commit(store: Store, table: str, video_id: str, outcome: str, **head: Any) -> None:
    stage = STAGES[table]
    payload = {field.name: value(field.type) if outcome == "done" else None for field in payload_schema(stage)}
    made: dict[str, Any] = {
        "video_id": video_id,
        "outcome": outcome,
        "reason": "" if outcome == "done" else "transient",
        "detail": "",
        "version": 1,
        "tries": 0,
        "committed_at": NOW,
        "seconds": 0.5,
        "retry_after": None,
        "upstream": {name: f"hash of {name}" for name in stage.reads},
        **payload,
        "digest": rows.digests(payload),
    }
    store.write(table, "f00", rows.to_table(table_schema(stage), [made | head]))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Table -> its one file: a video that was done, one to be tried again, and a row that was replaced."""
    store = Store(tmp_path_factory.mktemp("readers") / "root")
    for table in STAGES:
        commit(store, table, "good", "retry", tries=1, retry_after=NOW)
        commit(store, table, "good", "done", version=2)
        commit(store, table, "later", "retry", version=4, tries=3, retry_after=NOW)
    upkeep.compact(store, dict.fromkeys(STAGES, "f00"))
    files = {table: store.parts(table, "f00") for table in STAGES}
    assert all(len(parts) == 1 for parts in files.values())
    return {table: Path(parts[0].path) for table, parts in files.items()}


def with_hugging_face(path: Path) -> list[dict[str, Any]]:
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    cache = path.parents[2] / "cache"
    cache.mkdir(exist_ok=True)
    answer = subprocess.run(
        [sys.executable, "-c", HUGGING_FACE, path, cache], cwd=cache, env=offline, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    for row in found:
        for column in ("committed_at", "retry_after"):
            row[column] = row[column] and datetime.datetime.fromisoformat(row[column])
    return found


def with_pandas(path: Path) -> list[dict[str, Any]]:
    found = pandas.read_parquet(path)
    records = found.astype(object).where(found.notna(), None).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "pyarrow": lambda path: pq.read_table(path).to_pylist(),
    "pandas": with_pandas,
    "polars": lambda path: polars.read_parquet(path).to_dicts(),
    "duckdb": lambda path: duckdb.from_parquet(str(path)).to_arrow_table().to_pylist(),
    "datasets": with_hugging_face,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("table", STAGES)
def test_a_table_opens(shards: dict[str, Path], table: str, reader: str) -> None:
    stage, found = STAGES[table], {row["video_id"]: row for row in READERS[reader](shards[table])}
    assert set(found) == {"good", "later"}
    assert list(found["good"]) == table_schema(stage).names
    head = ("outcome", "version", "tries", "seconds", "retry_after")
    assert [found["good"][name] for name in head] == ["done", 2, 0, 0.5, None]
    assert [found["later"][name] for name in head] == ["retry", 4, 3, 0.5, NOW]
    payload = payload_schema(stage)
    for row in found.values():
        assert row["committed_at"] == NOW
        assert row["upstream"] == {name: f"hash of {name}" for name in stage.reads}
    digests = rows.digests({field.name: value(field.type) for field in payload})
    assert found["good"]["digest"] == digests
    assert found["later"]["digest"] in (dict.fromkeys(digests), None)
    strings = [field.name for field in payload if field.type == pa.string()]
    assert {found["good"][name] for name in strings} <= {"déjà vu"}
    assert {found["later"][name] for name in strings} <= {None}
    for field in payload:
        if pa.types.is_fixed_size_list(field.type):
            np.testing.assert_array_equal(np.array(found["good"][field.name], np.float16), value(field.type))


def test_sql_reads_single_fields(shards: dict[str, Path]) -> None:
    query = f"select upstream.videos, digest.width from '{shards['frames']}' where version = 2"
    assert duckdb.sql(query).fetchall() == [("hash of videos", rows.digest(7))]
