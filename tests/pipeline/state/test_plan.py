"""What is pending, by the rules: upstream, retries, decisions, fingerprints. No Ray, no model."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from vsumdata.manifests import clock, rows, tables
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Manifest, Select
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine.watches import watches
from vsumdata.pipeline.recipe import GROUPS, parse_stages, recipe
from vsumdata.pipeline.state.plan import (
    Known,
    Plan,
    Stages,
    Task,
    decisions,
    fingerprint,
    payload_schema,
    plan,
    table_schema,
)
from vsumdata.stages.encoders.models import Model, Models
from vsumdata.stages.stage import WHOLE

SOURCES = [{"channel": "@x"}]


def manifest(**changes: Any) -> Manifest:
    return Manifest.model_validate({"sources": SOURCES} | changes)


def models(**changes: str) -> Models:
    made = {}
    for name, dim in (("asr", None), ("clip", 4), ("text", 3)):
        made[name] = Model(name=name, location="/somewhere", identity=changes.get(name, name), dim=dim)
    return Models(**made)


STAGES = recipe(manifest(), models())
OF_ALL = [name for name, stage in STAGES.items() if stage.lane == WHOLE]
OF_SPEECH = {"transcripts", "features", "summaries", "duplicates", "quality", "step_times", "pseudo_summaries"}
OF_SPEECH |= {"segment_features"}
# S3D reads pictures of its own.
LABELS_OF_FRAMES = set(GROUPS["labels"]) - {"segment_features"}
GOOD: dict[str, Any] = {"source": "channel:@x", "view_count": 90_000, "duration_s": 100.0, "fetched": True, "heatmap": [
    {"start_s": 0.0, "end_s": 1.0, "value": 1.0}]}  # fmt: skip


def records(*ids: str, **fields: Any) -> list[Record]:
    return [Record(video_id=i, source="channel:@x", url=f"https://x/{i}", **fields) for i in ids]


class Root:
    """A root whose rows are committed by hand, under the settings and code of `stages`."""

    def __init__(self, folder: Path, stages: Stages = STAGES) -> None:
        self.store, self.stages = Store(folder), stages

    def under(self, stages: Stages) -> Root:
        """The same root, read by a process of its own."""
        return Root(Path(self.store.root), stages)

    def plan(
        self, table: str, of: list[Record], again: tuple[str, ...] = (), in_days: float = 0, **select: Any
    ) -> Plan:
        later = clock.now() + in_days * 86_400
        with mock.patch.object(clock, "now", return_value=later):
            return plan(self.store, self.stages, table, of, manifest(select=select), again)

    def commit(
        self,
        task: Task,
        table: str,
        /,
        outcome: str = "done",
        due_s: float = 0,
        reason: str = "transient",
        **payload: Any,
    ) -> None:
        schema = payload_schema(self.stages[table])
        values = dict.fromkeys(schema.names) | (payload if outcome == "done" else {})
        now = datetime.now(UTC)
        row = {
            "video_id": task.video_id,
            "outcome": outcome,
            "reason": "" if outcome == "done" else reason,
            "detail": "",
            "version": task.version,
            "tries": task.tries + 1 if outcome == "retry" else 0,
            "committed_at": now,
            "seconds": 1.0,
            "retry_after": now + timedelta(seconds=due_s) if outcome == "retry" else None,
            "upstream": dict(task.upstream),
            **values,
            "digest": rows.digests(values),
        }
        content = rows.to_table(table_schema(self.stages[table]), [row])
        self.store.write(table, fingerprint(self.stages, table), content)

    def settle(self, table: str, of: list[Record], **payload: Any) -> list[str]:
        """Do what is pending; returns the videos."""
        tasks = self.plan(table, of).tasks
        for task in tasks:
            self.commit(task, table, **payload)
        return [task.video_id for task in tasks]


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
    assert second.version == 2


def test_a_replaced_file_is_done_again(root: Root, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(b"one")
    listed = [Record(video_id="a", source="files:list", video=str(video))]
    root.settle("videos", listed, **GOOD | {"source": "files:list"})
    root.settle("frames", listed)
    assert ids(root.plan("videos", listed)) == ids(root.plan("frames", listed)) == []
    video.write_bytes(b"another")
    assert ids(root.plan("videos", listed)) == ids(root.plan("frames", listed)) == ["a"]


def test_a_moved_or_touched_file_is_not_done_again(root: Root, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "video.mp4").write_bytes(b"one")
    listed = [Record(video_id="a", source="files:list", video=str(tmp_path / "before" / "video.mp4"))]
    root.settle("videos", listed, **GOOD | {"source": "files:list"})
    root.settle("frames", listed)
    (tmp_path / "before").rename(tmp_path / "after")
    listed = [Record(video_id="a", source="files:list", video=str(tmp_path / "after" / "video.mp4"))]
    for moment_ns in range(3):  # a file whose time of change keeps moving kept a run going for ever
        os.utime(listed[0].video or "", ns=(moment_ns, moment_ns))
        assert ids(root.plan("videos", listed)) == ids(root.plan("frames", listed)) == []


def test_retries_fall_due(root: Root) -> None:
    listed = records("later", "now")
    for task in root.plan("videos", listed).tasks:
        root.commit(task, "videos", "retry", due_s=3600 if task.video_id == "later" else -1)
    found = root.plan("videos", listed)
    assert (ids(found), found.tasks[0].version) == (["now"], 2)
    assert found.outcomes == {"retry": 1}
    assert len(found.due) == 1


def test_only_retries_in_a_row_are_counted(root: Root) -> None:
    def only(listed: list[Record], again: tuple[str, ...] = ()) -> Task:
        (task,) = root.plan("videos", listed, again).tasks
        return task

    listed = records("a")
    for _ in range(5):
        root.commit(only(listed, ("done",)), "videos", **GOOD)
    root.commit(only(listed, ("done",)), "videos", "retry")
    assert (only(listed).version, only(listed).tries) == (7, 1), "five good redos are no failures"
    root.commit(only(listed), "videos", "retry")
    assert only(listed).tries == 2
    assert only(records("a", title="new")).tries == 0, "other inputs start again"
    root.commit(only(listed), "videos", **GOOD)
    root.commit(only(listed, ("done",)), "videos", "retry")
    assert only(listed).tries == 1, "a success in between"
    root.commit(only(listed), "videos", "failed")
    assert (only(listed, ("failed",)).version, only(listed, ("failed",)).tries) == (11, 0), "--retry starts again"


def test_heatmaps_that_stopped_coming_are_no_try_of_the_videos(root: Root) -> None:
    listed = records("a")
    for _ in range(9):
        watching = watches(root.store, STAGES, manifest().crawl)
        root.settle("videos", listed, **GOOD | {"heatmap": None})
        assert watching.put_back(root.store, STAGES, "heatmap") == 1
    (task,) = root.plan("videos", listed).tasks
    assert (task.version, task.tries) == (19, 0)


def test_retry_asks_for_outcomes_again(root: Root) -> None:
    listed = records("good", "bad")
    good, bad = root.plan("videos", listed).tasks
    root.commit(good, "videos", **GOOD)
    root.commit(bad, "videos", "failed")
    assert ids(root.plan("videos", listed)) == []
    assert ids(root.plan("videos", listed, again=("failed", "skipped"))) == ["bad"]


def test_reasons_that_pass_are_looked_at_again(root: Root) -> None:
    listed = records("no_heatmap", "low_views", "upcoming", "removed", "kept")
    for task in root.plan("videos", listed).tasks:
        changes: dict[str, dict[str, Any]] = {"no_heatmap": {"heatmap": None}, "low_views": {"view_count": 3}}
        if task.video_id in ("upcoming", "removed"):
            root.commit(task, "videos", "skipped", reason=task.video_id)
        else:
            root.commit(task, "videos", **GOOD | changes.get(task.video_id, {}))
    assert ids(root.plan("videos", listed)) == []
    for reason in ("no_heatmap", "low_views", "upcoming", "removed"):
        assert ids(root.plan("videos", listed, again=(reason,))) == [reason]
    in_days = {day: ids(root.plan("videos", listed, in_days=day)) for day in (0.9, 1.1, 31, 91)}
    some = ["no_heatmap", "upcoming"]
    assert in_days == {0.9: [], 1.1: ["upcoming"], 31: some, 91: ["no_heatmap", "low_views", "upcoming"]}


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
        ({"features": {"fps": 2}}, {"frames", "features", "frame_captions", "summaries", *LABELS_OF_FRAMES}),
        ({"features": {"precision": "int8"}}, {"frames", "features", *LABELS_OF_FRAMES}),
        ({"features": {"split": {"train": 0.5, "val": 0.4}}}, {"features"}),
        ({"captions": {"languages": ["de"]}}, {"videos", *OF_SPEECH}),
        ({"asr": {"engine": "openai-whisper"}}, OF_SPEECH),
        ({"asr": {"device": "cpu"}}, OF_SPEECH),
        ({"asr": {"device": "cuda"}}, OF_SPEECH),
    ],
)
def test_a_setting_makes_only_what_depends_on_it_again(settings: dict, made_again: set[str]) -> None:
    assert changed(STAGES, recipe(manifest(**settings), models())) == made_again


def test_a_model_makes_only_what_depends_on_it_again() -> None:
    of_frames, of_texts = {"frames", "features", "frame_captions"}, {"features", "summaries"}
    assert changed(STAGES, recipe(manifest(), models(asr="other"))) == OF_SPEECH
    assert changed(STAGES, recipe(manifest(), models(clip="other"))) == of_frames | LABELS_OF_FRAMES
    assert changed(STAGES, recipe(manifest(), models(text="other"))) == of_texts | {"step_times", "pseudo_summaries"}


def newer(table: str) -> Stages:
    """The same settings, with newer code for one table."""
    return {**STAGES, table: replace(STAGES[table], version=STAGES[table].version + 1)}


def test_newer_code_makes_its_own_table_again_and_waits_to_see_what_comes_out() -> None:
    for table in STAGES:
        assert changed(STAGES, newer(table)) == {table}
    frames = STAGES["frames"]
    moved = replace(frames, options={**frames.options, "clip_location": "/elsewhere"})
    assert changed(STAGES, {**STAGES, "frames": moved}) == set(), "where a model lies is not what it is"
    reader = replace(frames, reads={**frames.reads, "videos": ("url",)})
    assert changed(STAGES, {**STAGES, "frames": reader}) == {"frames"}


def finish(root: Root, listed: list[Record], **video: Any) -> dict[str, list[str]]:
    """Do what is pending in all tables; returns table -> the videos that were."""
    payloads: dict[str, dict[str, Any]] = {
        "videos": GOOD | {"url": "https://x", "article_url": "https://a"} | video,
        "articles": {"title": "one"},
        "transcripts": {"sentence": [{"start_s": 0.0, "end_s": 1.0, "text": "x"}]},
        "frames": {"width": 4},
    }
    return {table: root.settle(table, listed, **payloads.get(table, {})) for table in root.stages}


NOTHING: dict[str, list[str]] = {table: [] for table in STAGES if table != "videos"}


def test_equal_rows_of_newer_code_make_nothing_else_again(root: Root) -> None:
    listed = records("a", "b")
    finish(root, listed)
    upgraded = root.under(newer("videos"))
    assert ids(upgraded.plan("videos", listed)) == ["a", "b"]
    for table in NOTHING:
        assert ids(upgraded.plan(table, listed)) == [], "nothing is done before its inputs are known"
    assert finish(upgraded, listed) == {"videos": ["a", "b"]} | NOTHING
    for table in NOTHING:
        assert upgraded.plan(table, listed).outcomes == {"done": 2}


def test_of_newer_code_only_what_came_out_otherwise_goes_on(root: Root) -> None:
    listed = records("a", "b")
    finish(root, listed)
    upgraded = root.under(newer("videos"))
    first, second = upgraded.plan("videos", listed).tasks
    same = GOOD | {"article_url": "https://a"}
    upgraded.commit(first, "videos", **same, url="https://x")
    # Of one video alone, what is made of all videos is another table.
    assert finish(upgraded, [first.record]) == {"videos": []} | NOTHING | {table: ["a"] for table in OF_ALL}
    upgraded.commit(second, "videos", **same, url="https://moved")
    again = finish(upgraded, listed)
    of_media = ("transcripts", "frames", "features", "frame_captions", "audio", "thumbnails", "segment_features")
    moved = {table: ["b"] for table in of_media}
    # b's row of `pseudo_summaries` is that of before, of both; but of a alone no pass is made.
    assert again == {"videos": []} | NOTHING | moved | {table: ["a", "b"] for table in OF_ALL}


@pytest.mark.parametrize("table", OF_ALL)
def test_what_is_made_of_all_videos_is_made_of_all_or_none(root: Root, table: str) -> None:
    listed = records("a", "b", "c")
    finish(root, listed)
    root = root.under(newer(table))
    first, *rest = root.plan(table, listed).tasks
    root.commit(first, table)
    assert ids(root.plan(table, listed)) == ["a", "b", "c"], "a pass was killed after its first part file"
    known = Known()
    known.busy[table] = {"a"}
    found = plan(root.store, root.stages, table, listed, manifest(), (), known)
    assert (found.tasks, found.ready, found.busy) == ([], 0, 3), "another run makes a part of them"
    for task in rest:
        root.commit(task, table, "skipped", reason="no_frames")
    assert ids(root.plan(table, listed)) == []
    assert ids(root.plan(table, listed, ("skipped",))) == ["a", "b", "c"]


def test_features_wait_for_frames_of_newer_code(root: Root) -> None:
    listed = records("a")
    finish(root, listed)
    upgraded = root.under(newer("frames"))
    found = upgraded.plan("features", listed)
    assert (found.tasks, found.waiting, found.outcomes) == ([], 1, {})
    upgraded.commit(upgraded.plan("frames", listed).tasks[0], "frames", "failed")
    assert ids(upgraded.plan("features", listed)) == ["a"], "its frames are gone: the row must say so"


def test_a_retry_under_newer_code_holds_the_next_tables_back(root: Root) -> None:
    listed = records("a")
    finish(root, listed)
    upgraded = root.under(newer("videos"))
    upgraded.commit(upgraded.plan("videos", listed).tasks[0], "videos", "retry", due_s=3600)
    for table in NOTHING:
        assert ids(upgraded.plan(table, listed)) == []


def test_two_manifests_in_turn_on_one_root(root: Root) -> None:
    """Captions of another language: other videos, transcripts and features; articles and frames are shared."""
    german = root.under(recipe(manifest(captions={"languages": ["de"]}), models()))
    listed = records("a", "b")
    finish(root, listed)
    assert finish(german, listed) == {"videos": ["a", "b"]} | NOTHING | {table: ["a", "b"] for table in OF_SPEECH}
    for turn in (root, german, root):
        assert finish(turn, listed) == {"videos": []} | NOTHING


def test_two_manifests_that_saw_a_video_differently_never_take_the_others_row(root: Root) -> None:
    german = root.under(recipe(manifest(captions={"languages": ["de"]}), models()))
    listed = records("a")
    finish(root, listed)
    finish(german, listed, duration_s=50.0)
    for turn in (root, german, root):
        assert ids(turn.plan("frames", listed)) == ["a"], "its latest row was made of what the other one saw"
        assert finish(turn, listed)["frames"] == ["a"]
        assert finish(turn, listed)["frames"] == []
        latest = turn.store.latest("frames", fingerprint(turn.stages, "frames"), ["upstream.videos"])
        (mark,) = latest["upstream.videos"].to_pylist()
        turn_marks = turn.plan("frames", listed, again=("done",)).tasks[0].upstream
        assert mark == turn_marks["videos"]


@pytest.mark.parametrize(
    ("device", "asked", "gpus"), [("auto", "auto", -1), ("auto", 0.5, 0.5), ("cpu", "auto", 0), ("cuda", "auto", 1)]
)
def test_the_device_of_speech_decides_over_its_gpus(device: str, asked: Any, gpus: float) -> None:
    """1 and not -1 (as many as there are) for `cuda`: a cluster without GPUs is then an error before any work."""
    made = recipe(manifest(asr={"device": device}, resources={"transcripts": {"gpus": asked}}), models())
    assert made["transcripts"].gpus == gpus
    assert made["frames"].gpus == -1


def test_every_table_has_the_common_columns() -> None:
    for stage in STAGES.values():
        schema = table_schema(stage)
        assert schema.names == [*dict(tables.HEAD), "upstream", *payload_schema(stage).names, "digest"]
        assert [field.name for field in schema.field("upstream").type] == list(stage.reads)
        assert [field.name for field in schema.field("digest").type] == payload_schema(stage).names


def test_stage_names() -> None:
    assert parse_stages("features,crawl") == ["videos", "articles", "frames", "features"]
    assert parse_stages("transcripts") == ["transcripts"]
    with pytest.raises(UsageError, match="did you mean `frames`"):
        parse_stages("crawl,frmaes")


def test_a_rule_that_is_written_differs_from_the_same_default(root: Root) -> None:
    """In one process: what was decided for one manifest must not serve another."""
    listed = [Record(video_id="a", source="files:mine.jsonl", url="https://x/a")]
    (task,) = root.plan("videos", listed).tasks
    root.commit(task, "videos", **GOOD | {"source": "files:mine.jsonl", "view_count": 1})
    usual = Select()
    assert decisions(root.store, root.stages, usual) == {"a": None}
    assert decisions(root.store, root.stages, Select(min_views=usual.min_views)) == {"a": "low_views"}
