"""A video's row through its life: planned, made by a worker, planned again. No Ray, no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vsumdata.manifests import clock
from vsumdata.manifests.errors import ClusterError, FailVideo, RetryVideo, SetupError, SkipVideo, ThrottledError
from vsumdata.manifests.manifest import Manifest
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.recipe import videos_stage
from vsumdata.pipeline.state.pace import Pace
from vsumdata.pipeline.state.plan import fingerprint, payload_schema, plan
from vsumdata.pipeline.workers.retries import backoff_s
from vsumdata.pipeline.workers.worker import Job, StageWorker
from vsumdata.stages.stage import Context, Function, Row, Stage

MANIFEST = Manifest.model_validate({"sources": [{"channel": "@x"}]})
LISTED = [Record(video_id="a", source="channel:@x", url="https://x/a")]
MAX_ATTEMPTS = 3


def scripted(outcomes: Iterator[str]) -> Callable[[Mapping[str, Any], Context], Function]:
    """A stage's `load`: its function ends as the next of the `outcomes` says."""
    errors = {
        "retry": RetryVideo("transient", 0, "a blip"),
        "mood": RetryVideo("unavailable", 0, "This content isn't available", is_counted=False),
        "skipped": SkipVideo("private"),
        "failed": FailVideo("unknown", "broken"),
    }

    def load(options: Mapping[str, Any], context: Context) -> Function:
        def behave(row: Row) -> Row:
            if error := errors.get(next(outcomes)):
                raise error
            return dict.fromkeys(payload_schema(STAGE).names) | {"title": "a title", "fetched": True}

        return behave

    return load


STAGE = videos_stage(MANIFEST)


@pytest.fixture
def do(tmp_path: Path) -> Callable[..., list[tuple[str, int, int]]]:
    """do("done", "retry", …): make the row so often; returns (outcome, version, tries) of each time."""

    def each(*outcomes: str, again: tuple[str, ...] = ()) -> list[tuple[str, int, int]]:
        stage: Stage = replace(STAGE, load=scripted(iter(outcomes)))
        stages, store, found = {"videos": stage}, Store(tmp_path / "root"), []
        at = fingerprint(stages, "videos")
        context = Context(root=store.root, scratch=str(tmp_path))
        job = Job(
            stage=stage,
            context=context,
            fingerprint=at,
            inputs={},
            gpus=0,
            max_attempts=MAX_ATTEMPTS,
        )
        worker = StageWorker(job)
        for _ in outcomes:
            (task,) = plan(store, stages, "videos", LISTED, MANIFEST, again).tasks
            worker([task])
            (row,) = store.latest("videos", at).to_pylist()
            found.append((row["outcome"], row["version"], row["tries"]))
        assert len(store.parts("videos", at)) == found[-1][1]
        return found

    return each


def test_good_redos_do_not_use_up_the_tries(do: Callable[..., list[tuple[str, int, int]]]) -> None:
    assert do("done", "done", "done", "done", "done", again=("done",))[-1] == ("done", 5, 0)
    assert do("retry", again=("done",)) == [("retry", 6, 1)]
    assert do("retry", "done") == [("retry", 7, 2), ("done", 8, 0)]


def test_tries_in_a_row_end_in_failure_and_retry_gives_as_many_again(
    do: Callable[..., list[tuple[str, int, int]]],
) -> None:
    assert do("retry", "retry", "retry") == [("retry", 1, 1), ("retry", 2, 2), ("failed", 3, 3)]
    assert do("retry", again=("failed",)) == [("retry", 4, 1)]
    assert do("retry", "retry") == [("retry", 5, 2), ("failed", 6, 3)]
    assert do("failed", again=("failed",)) == [("failed", 7, 0)], "not for want of tries"
    assert do("skipped", again=("failed",)) == [("skipped", 8, 0)]


def test_a_mood_of_the_site_is_no_try(do: Callable[..., list[tuple[str, int, int]]]) -> None:
    assert do(*["mood"] * 12) == [("retry", number, 0) for number in range(1, 13)]
    assert do("retry", "mood", "retry", "mood", "retry")[-3:] == [("retry", 15, 2), ("retry", 16, 2), ("failed", 17, 3)]


def test_what_is_not_counted_is_asked_ever_more_seldom() -> None:
    waits_s = [backoff_s(120.0, times) for times in (1, 2, 5, 12, 2000)]
    assert [90 <= waits_s[0] <= 150, 180 <= waits_s[1] <= 300, 1440 <= waits_s[2] <= 2400] == [True] * 3
    assert all(0.75 * 86_400 <= wait_s <= 1.25 * 86_400 for wait_s in waits_s[3:])


def test_the_video_that_ends_a_run_is_not_the_first_of_the_next(tmp_path: Path) -> None:
    def load(options: Mapping[str, Any], context: Context) -> Function:
        def behave(row: Row) -> Row:
            raise SetupError("no JavaScript runtime: pip install deno")

        return behave

    store, stages = Store(tmp_path / "root"), {"videos": replace(STAGE, load=load)}
    listed = [*LISTED, replace(LISTED[0], video_id="b")]
    with pytest.raises(SetupError, match="pip install deno"):
        do_first(store, stages, Context(root=store.root, scratch=str(tmp_path)), listed)
    (row,) = store.latest("videos", fingerprint(stages, "videos"), ["detail"]).to_pylist()
    assert (row["outcome"], row["reason"], row["tries"]) == ("retry", "unavailable", 0)
    assert "pip install deno" in row["detail"]
    assert [task.video_id for task in plan(store, stages, "videos", listed, MANIFEST).tasks] == ["b"]


def test_a_secret_in_an_error_is_not_stored(tmp_path: Path) -> None:
    def load(options: Mapping[str, Any], context: Context) -> Function:
        def behave(row: Row) -> Row:
            raise FailVideo("unknown", "refused for opensesame")

        return behave

    store, stages = Store(tmp_path / "root"), {"videos": replace(STAGE, load=load)}
    context = Context(root=store.root, scratch=str(tmp_path), crawl={"yt_dlp": {"password": "opensesame"}})
    do_first(store, stages, context, LISTED)
    (row,) = store.latest("videos", fingerprint(stages, "videos"), ["detail"]).to_pylist()
    assert row["detail"] == "refused for (hidden)"


def test_kept_answers_serve_only_while_the_inputs_are_the_same(tmp_path: Path) -> None:
    seen: list[bool] = []

    def load(options: Mapping[str, Any], context: Context) -> Function:
        def behave(row: Row) -> Row:
            seen.append("kept" in row)
            return dict.fromkeys(payload_schema(STAGE).names) | {"title": "t", "fetched": True}

        return behave

    store = Store(tmp_path / "root")
    context = Context(root=store.root, scratch=str(tmp_path))
    for version, article in ((1, None), (2, None), (3, "another")):
        stages = {"videos": replace(STAGE, load=load, version=version)}
        do_first(store, stages, context, [replace(LISTED[0], article_url=article)])
    assert seen == [False, True, False]


def do_first(store: Store, stages: Mapping[str, Stage], context: Context, listed: list[Record]) -> None:
    """What a worker does of the first video that is pending."""
    at = fingerprint(stages, "videos")
    job = Job(stage=stages["videos"], context=context, fingerprint=at, inputs={}, gpus=0, max_attempts=3)
    task, *_ = plan(store, stages, "videos", listed, MANIFEST).tasks
    StageWorker(job)([task])


def test_a_host_with_a_rate_of_its_own_keeps_it_and_its_breaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint on this machine is not asked as rarely as a video site, and pauses as long as it says."""
    slept: list[float] = []
    monkeypatch.setattr(clock, "sleep", slept.append)
    monkeypatch.setattr(clock, "now", lambda: 1000.0 + sum(slept))
    trips = iter([True, False])
    hosts = iter(["llm:8000"] * 6)

    def load(options: Mapping[str, Any], context: Context) -> Function:
        def ask(row: Row) -> Row:
            for _ in range(3):
                context.pace(next(hosts), 0.5)  # type: ignore[misc]
            if next(trips):
                raise ThrottledError("llm:8000", "busy", after_s=7.0)
            return dict.fromkeys(payload_schema(STAGE).names) | {"title": "a title", "fetched": True}

        return ask

    stage = replace(STAGE, load=load)
    stages, store = {"videos": stage}, Store(tmp_path / "root")
    pace = Pace(store.location, seconds_between_requests=3600.0)
    context = Context(root=store.root, scratch=str(tmp_path), pace=pace)
    at = fingerprint(stages, "videos")
    job = Job(stage=stage, context=context, fingerprint=at, inputs={}, gpus=0, max_attempts=MAX_ATTEMPTS)
    StageWorker(job)(plan(store, stages, "videos", LISTED, MANIFEST).tasks)
    (row,) = store.latest("videos", at).to_pylist()
    assert row["outcome"] == "done"
    # Three turns, the pause, three turns at half the rate.
    assert 8.0 <= sum(slept) < 13.0


def test_a_row_that_the_cluster_fails_goes_back_and_no_video_is_blamed(tmp_path: Path) -> None:
    """A node had died with the actor that paces the visits: the rows that asked it just then were stored as failed."""

    def load(options: Mapping[str, Any], context: Context) -> Function:
        def behave(row: Row) -> Row:
            raise ClusterError("the actor that paces the requests cannot be started")

        return behave

    stage: Stage = replace(STAGE, load=load)
    stages, store = {"videos": stage}, Store(tmp_path / "root")
    at = fingerprint(stages, "videos")
    context = Context(root=store.root, scratch=str(tmp_path))
    worker = StageWorker(Job(stage=stage, context=context, fingerprint=at, inputs={}, gpus=0, max_attempts=3))
    (told,) = worker(plan(store, stages, "videos", LISTED, MANIFEST).tasks).to_pylist()
    assert told["free_until"] > clock.now()
    assert store.parts("videos", at) == []
    assert len(plan(store, stages, "videos", LISTED, MANIFEST).tasks) == 1
