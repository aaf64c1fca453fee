"""A worker without Ray: whatever a stage's function returns or raises, the video leaves one row and the run goes on."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from vsumdata.manifests.errors import FailVideo, RetryVideo, StorageError
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.plan import Task
from vsumdata.pipeline.workers.worker import Job, StageWorker
from vsumdata.stages.stage import Context, Function, Row, Stage

SPAN = pa.struct([("start_s", pa.float64()), ("text", pa.string())])
PAYLOAD = pa.schema(
    {
        "count": pa.int64(),
        "small": pa.int32(),
        "seconds_of": pa.float64(),
        "title": pa.string(),
        "page": pa.binary(),
        "spans": pa.list_(SPAN),
        "vectors": pa.list_(pa.list_(pa.float16(), 4)),
        "vector": pa.list_(pa.float16(), 4),
        "labels": pa.struct([("a", pa.string())]),
    }
)
EMPTY: Row = dict.fromkeys(PAYLOAD.names)


def work(root: Path, answers: Mapping[str, Any]) -> dict[str, Row]:
    """Do one block whose function returns (or raises) each video's answer; return the stored rows."""

    def load(options: Mapping[str, Any], context: Context) -> Function:
        def answer(row: Row) -> Row:
            found = answers[row["video_id"]]
            if isinstance(found, Exception):
                raise found
            return found  # type: ignore[no-any-return]

        return answer

    (root / "scratch").mkdir(parents=True, exist_ok=True)
    job = Job(
        stage=Stage(name="odd", reads={}, load=load, payload=PAYLOAD),
        context=Context(root=str(root), scratch=str(root / "scratch")),
        fingerprint="f",
        inputs={},
        gpus=0,
        max_attempts=5,
    )
    tasks = [
        Task(Record(video_id=name, source="ids:test"), version=1, tries=0, upstream={}, parts={}) for name in answers
    ]
    ours = logging.getLogger("vsumdata")
    before = list(ours.handlers)
    try:
        outcomes = StageWorker(job)(tasks).to_pylist()
    finally:
        for handler in [handler for handler in ours.handlers if handler not in before]:
            ours.removeHandler(handler)
            handler.close()
    store = Store(root)
    latest = store.latest("odd", "f")
    parts = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
    rows = store.read("odd", "f", parts, ["detail", "digest", *PAYLOAD.names])
    assert {row["video_id"]: row["outcome"] for row in outcomes} == {name: row["outcome"] for name, row in rows.items()}
    return rows


def test_a_value_that_no_column_takes_is_its_videos_failure_alone(tmp_path: Path) -> None:
    odd = {
        "too large": ("count", 10_000_000_000_000_000_000),
        "wrong shape": ("vectors", np.zeros((3, 5), np.float16)),
        "no struct": ("labels", "text"),
    }
    answers = {name: EMPTY | {column: value} for name, (column, value) in odd.items()}
    rows = work(tmp_path, {"first": EMPTY | {"count": 1}} | answers | {"last": EMPTY | {"title": "ü"}})
    assert rows["first"]["outcome"] == rows["last"]["outcome"] == "done"
    for name, (column, _) in odd.items():
        row = rows[name]
        assert (row["outcome"], row["reason"]) == ("failed", "error"), name
        assert all(row[other] is None for other in PAYLOAD.names)
        assert column in row["detail"], row["detail"]


def test_half_of_a_character_becomes_a_question_mark(tmp_path: Path) -> None:
    odd = {"title": "\ud800", "spans": [{"start_s": 0.0, "text": "a\udfffb"}]}
    row = work(tmp_path, {"odd": EMPTY | odd})["odd"]
    assert (row["outcome"], row["title"], row["spans"]) == ("done", "?", [{"start_s": 0.0, "text": "a?b"}])


def test_columns_that_the_table_does_not_have_are_a_failure_too(tmp_path: Path) -> None:
    rows = work(tmp_path, {"more": EMPTY | {"titel": "x"}, "fewer": {"count": 1}, "none": None})
    assert {row["outcome"] for row in rows.values()} == {"failed"}
    assert "titel" in rows["more"]["detail"]


def test_details_and_delays_of_any_kind(tmp_path: Path) -> None:
    answers = {
        "surrogate": FailVideo("unreadable", "it says \ud83d"),
        "done": EMPTY | {"detail": "cut at \udfff"},
        "for ever": RetryVideo("transient", math.inf, "later"),
        "nan": RetryVideo("transient", math.nan, "later"),
        "error": ValueError("\ud800"),
    }
    rows = work(tmp_path, answers)
    assert (rows["surrogate"]["outcome"], rows["surrogate"]["detail"]) == ("failed", "it says ?")
    assert (rows["done"]["outcome"], rows["done"]["detail"]) == ("done", "cut at ?")
    assert rows["error"]["detail"] == "ValueError: ?"
    assert rows["for ever"]["outcome"] == "retry"
    assert rows["for ever"]["retry_after"] < datetime.now(UTC) + timedelta(days=2)
    assert rows["nan"]["outcome"] == "failed"


def test_a_full_disk_still_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no room"):
        work(tmp_path, {"a": EMPTY, "b": StorageError("no room")})


TEXTS = st.text(st.characters(codec=None, categories=None, exclude_categories=()), max_size=5)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=5) | st.complex_numbers()
ARRAYS = st.lists(st.integers(0, 5), max_size=3).map(lambda shape: np.zeros(shape, np.float32))
VALUES = st.recursive(
    LEAF | ARRAYS | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS | st.integers(), inner, max_size=3)
        | st.fixed_dictionaries({"start_s": inner, "text": inner})
    ),
    max_leaves=8,
)


@settings(max_examples=60, phases=(Phase.explicit, Phase.generate))
@given(st.fixed_dictionaries(dict.fromkeys(PAYLOAD.names, VALUES)), TEXTS | st.none())
@example(EMPTY | {"count": 2**63}, None)
@example(EMPTY | {"labels": {"\ud800": "x"}}, "\udfff")
def test_no_value_whatever_stops_a_run(payload: Row, detail: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = work(Path(folder), {"good": EMPTY, "odd": payload | {"detail": detail}, "fine": EMPTY | {"count": 3}})
    assert (rows["good"]["outcome"], rows["fine"]["count"]) == ("done", 3)
    assert rows["odd"]["outcome"] in ("done", "failed")
    assert rows["odd"]["reason"] == ("" if rows["odd"]["outcome"] == "done" else "error")
