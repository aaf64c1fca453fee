"""What is pending, by the rules: upstream, retries, decisions, fingerprints. No Ray, no model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vsumdata.manifests import rows, tables
from vsumdata.manifests.manifest import Manifest
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import UsageError
from vsumdata.pipeline.plan import Plan, Task, fingerprint, payload_schema, plan, table_schema
from vsumdata.pipeline.recipe import Models, parse_stages, recipe
from vsumdata.stages.models import Model

SOURCES = [{"channel": "@x"}]


def manifest(**changes: Any) -> Manifest:
    return Manifest.model_validate({"sources": SOURCES} | changes)


def models(**changes: str) -> Models:
    made = {}
    for name, dim in (("asr", None), ("clip", 4), ("text", 3)):
        made[name] = Model(name=name, location="/somewhere", identity=changes.get(name, name), dim=dim)
    return Models(**made)


STAGES = recipe(manifest(), models())
GOOD: dict[str, Any] = {"source": "channel:@x", "view_count": 90_000, "duration_s": 100.0, "fetched": True, "heatmap": [
    {"start_s": 0.0, "end_s": 1.0, "value": 1.0}]}  # fmt: skip


def records(*ids: str, **fields: Any) -> list[Record]:
    return [Record(video_id=i, source="channel:@x", url=f"https://x/{i}", **fields) for i in ids]


class Root:
    """A root whose rows are committed by hand."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)

    def plan(self, table: str, of: list[Record], again: tuple[str, ...] = (), **select: Any) -> Plan:
        return plan(self.store, STAGES, table, of, manifest(select=select).select, again)

    def commit(self, task: Task, table: str, outcome: str = "done", due_s: float = 0, **payload: Any) -> None:
        schema = payload_schema(STAGES[table])
        values = dict.fromkeys(schema.names) | (payload if outcome == "done" else {})
        now = datetime.now(UTC)
        row = {
            "video_id": task.video_id,
            "outcome": outcome,
            "reason": "" if outcome == "done" else "transient",
            "detail": "",
            "attempt": task.attempt,
            "committed_at": now,
            "seconds": 1.0,
            "retry_after": now + timedelta(seconds=due_s) if outcome == "retry" else None,
            "upstream": dict(task.upstream),
            **values,
            "digest": rows.digests(values),
        }
        content = rows.to_table(table_schema(STAGES[table]), [row])
        self.store.write(table, fingerprint(STAGES, table), content)

    def settle(self, table: str, of: list[Record], **payload: Any) -> None:
        for task in self.plan(table, of).tasks:
            self.commit(task, table, **payload)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def ids(found: Plan) -> list[str]:
    return [task.video_id for task in found.tasks]


def test_everything_is_pending_in_listing_order_and_then_nothing(root: Root) -> None:
    listed = records("b", "a", "c")
    assert ids(root.plan("videos", listed)) == ["b", "a", "c"]
    assert ids(root.plan("frames", listed)) == [], "frames wait for videos"
    root.settle("videos", listed, **GOOD)
    assert ids(root.plan("videos", listed)) == []
    assert ids(root.plan("frames", listed)) == ["b", "a", "c"]
    assert ids(root.plan("frames", records("a"))) == ["a"], "only this manifest's videos"
    assert root.plan("features", listed).waiting == 3


def test_a_settled_upstream_of_any_outcome_lets_features_begin(root: Root) -> None:
    listed = records("a")
    root.settle("videos", listed, **GOOD)
    root.settle("frames", listed, frame_feature=[[0, 0, 0, 1]])
    root.settle("articles", listed, outcome="failed")
    assert root.plan("features", listed).waiting == 1
    root.settle("transcripts", listed, outcome="skipped")
    (task,) = root.plan("features", listed).tasks
    assert set(task.parts) == {"videos", "frames"}, "only what is done is read"


def test_a_changed_upstream_is_done_again_and_an_equal_one_is_not(root: Root) -> None:
    listed = records("a")
    root.settle("videos", listed, **GOOD)
    root.settle("articles", listed, title="one")
    (first,) = root.plan("frames", listed).tasks
    root.commit(first, "frames")
    (task,) = root.plan("videos", listed, again=("done",)).tasks
    root.commit(task, "videos", **GOOD, retrieved_at=datetime.now(UTC), title="another title")
    assert ids(root.plan("frames", listed)) == [], "frames do not read the title or the time"
    (task,) = root.plan("videos", listed, again=("done",)).tasks
    root.commit(task, "videos", **GOOD | {"duration_s": 50.0})
    (second,) = root.plan("frames", listed).tasks
    assert second.attempt == 2


def test_a_replaced_file_is_done_again(root: Root, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(b"one")
    listed = [Record(video_id="a", source="files:list", video=str(video))]
    root.settle("videos", listed, **GOOD | {"source": "files:list"})
    root.settle("frames", listed)
    assert ids(root.plan("videos", listed)) == ids(root.plan("frames", listed)) == []
    video.write_bytes(b"another")
    assert ids(root.plan("videos", listed)) == ids(root.plan("frames", listed)) == ["a"]


def test_retries_fall_due(root: Root) -> None:
    listed = records("later", "now")
    for task in root.plan("videos", listed).tasks:
        root.commit(task, "videos", "retry", due_s=3600 if task.video_id == "later" else -1)
    found = root.plan("videos", listed)
    assert (ids(found), found.tasks[0].attempt) == (["now"], 2)
    assert found.outcomes == {"retry": 1}
    assert len(found.due) == 1


def test_retry_asks_for_outcomes_again(root: Root) -> None:
    listed = records("good", "bad")
    good, bad = root.plan("videos", listed).tasks
    root.commit(good, "videos", **GOOD)
    root.commit(bad, "videos", "failed")
    assert ids(root.plan("videos", listed)) == []
    assert ids(root.plan("videos", listed, again=("failed", "skipped"))) == ["bad"]


def test_decisions_are_made_anew(root: Root) -> None:
    listed = records("a", "b")
    first, second = root.plan("videos", listed).tasks
    root.commit(first, "videos", **GOOD)
    root.commit(second, "videos", **GOOD | {"heatmap": None})
    found = root.plan("videos", listed)
    assert (found.outcomes, found.reasons) == ({"done": 1, "skipped": 1}, {"skipped: no_heatmap": 1})
    assert ids(root.plan("frames", listed)) == ["a"]
    assert ids(root.plan("frames", listed, require_heatmap=False)) == ["a", "b"]
    assert ids(root.plan("frames", listed, min_views=90_000)) == [], "the limit is strict"


def test_a_video_read_only_from_its_listing_is_fetched_when_the_limit_falls(root: Root) -> None:
    listed = records("a", listed_view_count=12_000)
    root.settle("videos", listed, source="channel:@x", view_count=12_000, fetched=False)
    assert root.plan("videos", listed).reasons == {"skipped: low_views": 1}
    assert ids(root.plan("videos", listed, min_views=20_000)) == ["a"]
    assert ids(root.plan("frames", listed, min_views=10_000, require_heatmap=False)) == []


def changed(before: Any, after: Any) -> set[str]:
    return {name for name in before if fingerprint(before, name) != fingerprint(after, name)}


@pytest.mark.parametrize(
    ("settings", "made_again"),
    [
        ({"select": {"min_views": 1}, "crawl": {"seconds_between_requests": 3}}, set()),
        ({"resources": {"frames": {"gpus": 0.5}}, "limits": {"max_attempts": 2}}, set()),
        ({"sources": [{"channel": "@y"}], "name": "other"}, set()),
        ({"features": {"fps": 2}}, {"frames", "features"}),
        ({"features": {"split": {"train": 0.5, "val": 0.4}}}, {"features"}),
        ({"captions": {"languages": ["de"]}}, {"videos", "transcripts", "features"}),
    ],
)
def test_a_setting_makes_only_what_depends_on_it_again(settings: dict, made_again: set[str]) -> None:
    assert changed(STAGES, recipe(manifest(**settings), models())) == made_again


def test_a_model_makes_only_what_depends_on_it_again() -> None:
    assert changed(STAGES, recipe(manifest(), models(asr="other"))) == {"transcripts", "features"}
    assert changed(STAGES, recipe(manifest(), models(clip="other"))) == {"frames", "features"}
    assert changed(STAGES, recipe(manifest(), models(text="other"))) == {"features"}


def test_every_table_has_the_common_columns() -> None:
    for stage in STAGES.values():
        assert table_schema(stage).names[: len(tables.HEAD)] == [name for name, _ in tables.HEAD]


def test_stage_names() -> None:
    assert parse_stages("features,crawl") == ["videos", "articles", "frames", "features"]
    assert parse_stages("transcripts") == ["transcripts"]
    with pytest.raises(UsageError, match="did you mean `frames`"):
        parse_stages("crawl,frmaes")
