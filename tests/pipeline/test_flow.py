"""How a run works through its videos: one visit each, nobody stalls the others, and it always ends."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from tests.pipeline.crawl_kit import API_VIDEO, MadeUpSite, crawl, outcomes, refuse, rows, video_id, write_manifest
from tests.pipeline.media_kit import lavfi, read_tables
from tests.pipeline.media_kit import write_manifest as write_own
from tests.pipeline.sample_kit import assert_same, contents, here, sample_run, start, vsumdata

from vsumdata.manifests import clock
from vsumdata.manifests.clock import SPEED_VARIABLE
from vsumdata.pipeline import recipe
from vsumdata.pipeline.engine import flow, waves
from vsumdata.pipeline.state.plan import Plan
from vsumdata.pipeline.workers import execution

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def site() -> Iterator[MadeUpSite]:
    with MadeUpSite(num_videos=24) as made_up:
        yield made_up


def visits(site: MadeUpSite) -> Counter[str]:
    """How often each video's page was asked for."""
    return Counter(target.rpartition("/")[2] for target in site.asked if target.startswith("/api/videos/"))


# With the second the two tables cannot share their workers, and these take turns.
@pytest.mark.parametrize("changes", [[], ["--set", "resources.frames.workers=1"]], ids=["alike", "in turn"])
def test_a_video_costs_one_visit_its_download_included(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str]
) -> None:
    left, stop = list[str](), flow.Flow.stop

    def look_and_stop(self: flow.Flow) -> None:
        left.extend(str(path) for path in Path(self.context.scratch, "media").rglob("*") if path.is_file())
        stop(self)

    monkeypatch.setattr(flow.Flow, "stop", look_and_stop)
    take = flow.Flow.take

    def plan_and_take(self: flow.Flow, *said: Any) -> None:
        # The rows of a block are there before it comes back, and the run may plan in between.
        self.looked_at, self.is_stale = 0.0, True
        self.look()
        for lane in self.lanes:
            self.start(lane)
        take(self, *said)

    monkeypatch.setattr(flow.Flow, "take", plan_and_take)
    command = [*sample_run(tmp_path / "root"), "--stage", "crawl,transcripts,frames", *changes]
    with MadeUpSite(num_videos=0) as site:
        answer = here(*command, site=site.address)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        asked = visits(site)
        media = Counter(target for target in site.asked if target.startswith("/media/"))
    assert set(asked.values()) == {1}
    assert len(asked) == 11, "all but one that is listed with far too few views, and one listed as private"
    assert set(media.values()) == {1}, "one file serves for sound and picture"
    assert left == [], "the last table that needs a file removes it"
    assert f"{state(tmp_path / 'root')['visits']} visits to sample.invalid" in answer.stdout


def state(root: Path) -> dict[str, int]:
    """What the root's pace file says of the sample's host."""
    ((_, entry),) = json.loads((root / "pace.json").read_text()).items()
    return entry


def test_media_of_videos_that_were_read_before_cost_one_more_visit(
    ray_session: None, finished: Path, tmp_path: Path
) -> None:
    kinds = {video_id: row["kind"] for video_id, row in contents(finished)["transcripts"].items()}
    heard = {video_id for video_id, kind in kinds.items() if kind not in {"manual", "automatic"}}
    with MadeUpSite(num_videos=0) as site:
        for stages in ("crawl", "transcripts"):
            site.asked = []
            answer = here(*sample_run(tmp_path / "root"), "--stage", stages, site=site.address)
            assert answer.returncode == 0, answer.stdout + answer.stderr
        assert visits(site) == dict.fromkeys(heard, 1), "captions came with the first visit"


def test_newer_code_reads_the_kept_answers_and_visits_nobody(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*sample_run(tmp_path / "root"), "--stage", "crawl"]
    with MadeUpSite(num_videos=0) as site:
        assert here(*command, site=site.address).returncode == 0
        before = contents(tmp_path / "root")
        for name in ("videos_stage", "articles_stage"):
            made = getattr(recipe, name)
            monkeypatch.setattr(
                recipe, name, lambda *args, made=made: replace(made(*args), version=made(*args).version + 1)
            )
        site.asked = []
        # Waves of four, and new workers for each.
        for name, value in (("FIRST", 4), ("FEWEST", 1), ("MOST_VISITS", 4), ("BLOCKS_OF_A_LIFE", 0)):
            monkeypatch.setattr(waves, name, value)
        answer = here(*command, site=site.address)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert answer.stdout.count("videos: 4 to do") == 3
        assert set(visits(site)) == set(), "all that could be read were read from the kept answers"
        assert site.asked == []
    assert_same(before, contents(tmp_path / "root"))


def test_a_video_that_always_sets_the_host_off_stalls_nobody(
    ray_session: None, site: MadeUpSite, tmp_path: Path
) -> None:
    manifest, root = write_manifest(tmp_path), tmp_path / "root"
    bad = f"/api/videos/{video_id(3)}"
    site.fault = lambda target, _: refuse(HTTPStatus.TOO_MANY_REQUESTS, Retry_After="0") if target == bad else None
    code, shown = crawl(site, manifest, root)
    assert code == 0, shown
    assert outcomes(root) == {video_id(number): ("done", "") for number in range(24) if number != 3}
    assert "1 pending" in shown
    assert visits(site)[video_id(3)] < 12
    site.fault = lambda *_: None
    assert crawl(site, manifest, root)[0] == 0
    assert outcomes(root)[video_id(3)] == ("done", "")
    assert {row["version"] for row in rows(root)} == {1}, "nothing was stored of the refusals"


def test_an_outage_of_hours_condemns_nobody(site: MadeUpSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that runs 2,000 times as fast: three hours without an answer, in the middle of the list."""
    monkeypatch.setenv(SPEED_VARIABLE, "2000")
    down, lifted = threading.Event(), threading.Timer(5.5, lambda: down.clear())

    def fault(target: str, _: object) -> object:
        if API_VIDEO.fullmatch(target) and len(visits(site)) == 8 and not lifted.is_alive() and not down.is_set():
            down.set()
            lifted.start()
        return refuse(HTTPStatus.BAD_GATEWAY) if down.is_set() and "videos/" in target else None

    site.fault = fault  # type: ignore[assignment]
    manifest, root = write_manifest(tmp_path), tmp_path / "root"
    for _ in range(3):
        code, shown = crawl(site, manifest, root, run=vsumdata)
        if "nothing pending" in shown:
            break
    assert code == 0, shown
    assert outcomes(root) == {video_id(number): ("done", "") for number in range(24)}


@pytest.mark.parametrize(("due_s", "waits"), [(-5, False), (20, True), (600, False)])
def test_a_retry_that_was_due_and_is_not_ready_is_not_waited_for(due_s: float, waits: bool) -> None:
    """A host had refused its video three times: the run gave it up, and then waited for it for ever."""
    now = clock.utc_now()
    run = SimpleNamespace(
        plans={"videos": Plan(due=[now + timedelta(seconds=due_s)])},
        planned_at=now,
        wanted=["videos"],
        is_for_workers=lambda table: True,
        was_waiting=False,
        to_visit=lambda table: [],
        say=lambda text: None,
    )
    assert flow.Flow.is_worth_waiting(run) == waits  # type: ignore[arg-type]


def test_ctrl_c_in_the_moment_that_a_wave_begins(
    ray_session: None, site: MadeUpSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came before the run had noted the wave, whose thread then outlived Ray, started another one and went on."""
    pool, begun = execution.ThreadPoolExecutor, list[Thread]()

    class Interrupted(pool):  # type: ignore[valid-type, misc]
        def submit(self, work: Callable[..., None], /, *arguments: object) -> object:
            submitted = super().submit(work, *arguments)
            if work.__name__ == "run":
                begun.extend(self._threads)
                raise KeyboardInterrupt
            return submitted

    monkeypatch.setattr(execution, "ThreadPoolExecutor", Interrupted)
    code, shown = crawl(site, write_manifest(tmp_path), tmp_path / "root")
    assert code == 130, shown
    assert [thread.name for thread in begun] == ["videos_0"]
    assert not begun[0].is_alive()


def test_a_file_that_keeps_changing_is_done_once(ray_session: None, tmp_path: Path) -> None:
    video = lavfi(tmp_path / "clip.mp4", "testsrc=s=96x64:r=25:d=2")
    manifest, ended = write_own(tmp_path, [{"video": "clip.mp4"}]), threading.Event()

    def change() -> None:
        while not ended.wait(0.2):
            with video.open("ab") as file:
                file.write(b"more")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        answer = here("run", "--manifest", str(manifest), "--stage", "videos", "--root", str(tmp_path / "root"))
    finally:
        ended.set()
        thread.join()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert [row["version"] for row in read_tables(tmp_path / "root")["videos"].values()] == [1]


def test_two_runs_divide_the_visits(site: MadeUpSite, tmp_path: Path) -> None:
    manifest, root = write_manifest(tmp_path, seconds_between_requests=0.2), tmp_path / "root"
    command = ["run", "--manifest", str(manifest), "--stage", "videos", "--root", str(root)]
    both = [start(*command, site=site.address) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
        assert "nothing pending" in out
    assert visits(site) == Counter({video_id(number): 1 for number in range(24)})
    assert {row["version"] for row in rows(root)} == {1}
