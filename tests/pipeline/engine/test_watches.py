"""When a site's answers change: what counts, and from when on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from tests.pipeline.state import test_plan as kit

from vsumdata.manifests import clock
from vsumdata.manifests.errors import CollapseError
from vsumdata.manifests.sources import Record
from vsumdata.pipeline.engine.watches import (
    ALIKE_REFUSALS,
    ALIKE_TROUBLE,
    ENOUGH,
    TOLD_AGAIN_AFTER,
    WINDOW,
    Alike,
    Watch,
    Watches,
    watches,
)
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages import videos
from vsumdata.stages.videos import health, mood


def visited_until_it_stops(watch: Watch, signals: Sequence[bool | None]) -> int | None:
    watches = Watches({watch.kind: watch})
    for number, signal in enumerate(signals, 1):
        try:
            watches.add([(str(number), {} if signal is None else {watch.kind: signal})])
        except CollapseError:
            return number
    return None


def test_fifty_videos_with_less_than_a_third_of_the_earlier_share_stop_the_run() -> None:
    # Of 100 earlier videos 60 have one: 10 of 50 are a third of that share, 9 are less.
    assert visited_until_it_stops(Watch("heatmap", 60, 100), [True] * 10 + [False] * 40) is None
    assert visited_until_it_stops(Watch("heatmap", 60, 100), [True] * 9 + [False] * 41) == WINDOW


def test_earlier_runs_count_and_the_window_begins_with_this_one() -> None:
    assert visited_until_it_stops(Watch("heatmap", 500, 1000), [False] * 60) == WINDOW
    assert visited_until_it_stops(Watch("heatmap", 500, 1000), [False] * (WINDOW - 1)) is None


def test_a_channel_without_heatmaps_and_a_short_past_say_nothing() -> None:
    assert visited_until_it_stops(Watch("heatmap"), [False] * 500) is None
    assert visited_until_it_stops(Watch("heatmap"), [True] * (ENOUGH - 1) + [False] * WINDOW) is None
    assert visited_until_it_stops(Watch("heatmap"), [True] * ENOUGH + [False] * WINDOW) is not None


def test_videos_that_say_nothing_do_not_count() -> None:
    assert visited_until_it_stops(Watch("heatmap", 30, 30), [None] * 500) is None
    assert visited_until_it_stops(Watch("heatmap", 30, 30), [False, None] * WINDOW) == 2 * WINDOW - 1


@pytest.mark.parametrize(
    ("kind", "says", "setting"),
    [
        ("heatmap", "of the last 50 videos 5 have a heatmap, of the 400 before them 300", "stop_without_heatmaps"),
        ("readable", "of the last 50 videos 5 could be read, of the 400 before them 300", "stop_when_refused"),
    ],
)
def test_the_explanation_gives_the_numbers_and_the_way_out(kind: str, says: str, setting: str) -> None:
    with pytest.raises(CollapseError) as caught:
        Watch(kind, 300, 400).add([(str(number), number < 5) for number in range(50)])
    assert says in str(caught.value)
    assert f"crawl.{setting}=false" in str(caught.value)


def test_young_and_unpopular_videos_say_nothing_of_heatmaps() -> None:
    """Each monthly crawl finds new videos, which have none yet."""
    today = clock.utc_now().date()
    video = {"fetched": True, "source": "channel:@x", "heatmap": None, "view_count": 90_000, "published": None}

    def said(**changes: object) -> dict[str, bool]:
        return health({"outcome": "done", "reason": "", "result": video | changes})

    assert said() == said(published=today - timedelta(days=31)) == {"readable": True, "heatmap": False}
    assert said(published=today - timedelta(days=3)) == said(view_count=400) == {"readable": True}
    assert said(source="files:own.jsonl") == said(fetched=False) == {}
    assert health({"outcome": "skipped", "reason": "removed"}) == {"readable": False}
    assert health({"outcome": "retry", "reason": "transient"}) == {}


def test_rows_of_earlier_runs_are_not_put_back(tmp_path: Path) -> None:
    root = kit.Root(tmp_path / "root")
    (task,) = root.plan("videos", kit.records("a")).tasks
    root.commit(task, "videos", **kit.GOOD | {"heatmap": None})
    made = watches(root.store, root.stages, kit.manifest().crawl)
    made.since = clock.utc_now() + timedelta(seconds=1)
    assert made.put_back(root.store, root.stages, "heatmap") == 0
    made.since = clock.utc_now() - timedelta(hours=1)
    assert made.put_back(root.store, root.stages, "heatmap") == 1


def test_videos_that_were_not_watched_are_put_back_from_the_first_doubtful_one_on(tmp_path: Path) -> None:
    """Hardly seen videos too: whoever lowers `min_views` later would find them without a heatmap, for good."""
    root = kit.Root(tmp_path / "root")
    for video_id, changes in {"seldom-1": {"view_count": 9}, "often": {}, "seldom-2": {"view_count": 9}}.items():
        (task,) = root.plan("videos", kit.records(video_id)).tasks
        root.commit(task, "videos", **kit.GOOD | {"heatmap": None} | changes)
    made = watches(root.store, root.stages, kit.manifest().crawl)
    made.since = clock.utc_now() - timedelta(hours=1)
    made.watched["heatmap"].add([("often", False)])
    assert made.put_back(root.store, root.stages, "heatmap") == 2
    latest = root.store.latest("videos", fingerprint(root.stages, "videos"))
    outcomes = dict(zip(latest["video_id"].to_pylist(), latest["outcome"].to_pylist(), strict=True))
    assert outcomes == {"seldom-1": "done", "often": "retry", "seldom-2": "retry"}


def test_a_short_row_of_bad_answers_is_doubtful_where_the_share_hardly_explains_it() -> None:
    watch = Watch("heatmap", good=90, total=100)
    watch.add([("a", False), ("b", False), ("c", False), ("d", True)])
    assert watch.doubtful == set(), "three in a row come once in a thousand"
    watch.add([(name, False) for name in "efghi"])
    watch.add([("j", True), ("k", False)])
    assert watch.doubtful == set("efghi")
    assert visited_until_it_stops(seldom := Watch("heatmap", good=30, total=100), [False] * 20 + [True]) is None
    assert not seldom.doubtful, "where seven in ten have none, twenty in a row are nothing rare"
    assert not Watch("heatmap", good=ENOUGH - 1, total=ENOUGH - 1).doubtful


def test_an_outage_of_minutes_has_its_videos_visited_once_more(tmp_path: Path) -> None:
    root = kit.Root(tmp_path / "root")
    listed = kit.records(*(f"good-{n}" for n in range(40)), *(f"bad-{n}" for n in range(5)))
    for task in root.plan("videos", listed).tasks:
        root.commit(task, "videos", **kit.GOOD | ({"heatmap": None} if "bad" in task.video_id else {}))

    def again() -> set[str]:
        made = watches(root.store, root.stages, kit.manifest().crawl)
        made.since = clock.utc_now() - timedelta(hours=1)
        made.add((f"bad-{n}", {"heatmap": False}) for n in range(5))
        made.put_back_streaks(root.store, root.stages)
        return {task.video_id for task in root.plan("videos", listed).tasks}

    assert again() == {f"bad-{n}" for n in range(5)}
    for task in root.plan("videos", listed).tasks:
        root.commit(task, "videos", **kit.GOOD | {"heatmap": None})
    assert again() == set(), "they have none: they are not visited for ever"


GOOD_VIDEO = {"fetched": True, "source": "channel:@x", "heatmap": None, "view_count": 400, "published": None}


def met(outcome: str, reason: str = "", detail: str = "") -> dict[str, object]:
    """What a visit with this outcome tells the watches."""
    answer = {"outcome": outcome, "reason": reason, "detail": detail}
    return videos.signal(answer | ({"result": GOOD_VIDEO} if outcome == "done" else {}))


def stops_at(alike: Alike, visits: Sequence[dict[str, object]]) -> int | None:
    watching = Watches({}, alike=alike)
    for number, said in enumerate(visits, 1):
        try:
            watching.add([(str(number), said)])
        except CollapseError as error:
            assert error.kind == "alike"
            assert "\n" not in str(error)
            return number
    return None


def test_what_a_visit_met() -> None:
    assert mood({"outcome": "done", "reason": "", "result": GOOD_VIDEO}) == {}
    assert met("retry", "transient", "timed out") == met("retry", "throttled") == {}, "the breaker's affair"
    assert met("skipped", "private", "x")["met"] == "private"
    troubles = [("retry", "unavailable"), ("retry", "unknown"), ("failed", "error"), ("retry", "heatmap_not_fetched")]
    assert {met(*trouble)["met"] for trouble in troubles} == {"trouble"}


def test_a_row_of_trouble_in_whatever_words_stops_the_run() -> None:
    trouble = [met("retry", "unavailable", "The page needs to be reloaded."), met("retry", "unknown", "new words")]
    assert stops_at(Alike(), trouble * 30) == ALIKE_TROUBLE
    assert stops_at(Alike(), [met("done"), *trouble * 30]) == ALIKE_TROUBLE + 1
    assert stops_at(Alike(is_watching=False), trouble * 30) is None
    # A video that is read, or one of a state of its own, says that the site tells videos apart.
    assert stops_at(Alike(), ([met("done")] + trouble * 9) * 9) is None
    assert stops_at(Alike(), ([met("skipped", "private")] + trouble * 9) * 9) is None
    # A host that does not answer now and then says nothing.
    assert stops_at(Alike(), [trouble[0], met("retry", "transient")] * 30) == 2 * ALIKE_TROUBLE - 1


def test_refusals_take_a_longer_row() -> None:
    assert stops_at(Alike(), [met("skipped", "removed")] * 60) == ALIKE_REFUSALS
    assert stops_at(Alike(), [met("skipped", "removed")] * 49 + [met("done")] + [met("skipped", "region")] * 49) is None


def test_one_video_that_comes_again_and_again_is_no_row() -> None:
    watching = Watches({})
    for _ in range(3 * ALIKE_TROUBLE):
        watching.add([("one", met("retry", "unavailable"))])


def test_the_last_words_and_the_way_out_are_told() -> None:
    watching = Watches({})
    with pytest.raises(CollapseError, match="page needs to be reloaded") as caught:
        watching.add(
            (str(number), met("retry", "unavailable", "The page needs to be reloaded.")) for number in range(30)
        )
    assert "20 videos in a row met trouble" in str(caught.value)
    assert "--set crawl.stop_when_alike=false" in str(caught.value)


def stored(root: kit.Root) -> dict[str, str]:
    latest = root.store.latest("videos", fingerprint(root.stages, "videos"))
    rows = (latest[name].to_pylist() for name in ("video_id", "outcome", "reason"))
    return {video_id: f"{outcome} {reason}".strip() for video_id, outcome, reason in zip(*rows, strict=True)}


def visit(root: kit.Root, made: Watches, listed: list[Record], outcome: str = "done", reason: str = "") -> int:
    """Commit what is pending and tell the watches of it; returns how many were visited until the run stopped."""
    for number, task in enumerate(root.plan("videos", listed).tasks, 1):
        root.commit(task, "videos", outcome, reason=reason or "transient", **kit.GOOD)
        try:
            made.add([(task.video_id, met(outcome, reason))])
        except CollapseError as error:
            made.put_back(root.store, root.stages, error.kind)
            return number
    return len(listed)


def begun(root: kit.Root, in_hours: float = 0) -> Watches:
    """The watches of a run that begins so much later."""
    with mock.patch.object(clock, "utc_now", return_value=clock.utc_now() + timedelta(hours=in_hours)):
        made = watches(root.store, root.stages, kit.manifest().crawl)
    made.since = clock.utc_now()
    return made


def test_what_was_booked_in_a_pile_up_is_put_back_and_nothing_else(tmp_path: Path) -> None:
    root = kit.Root(tmp_path / "root")
    made = begun(root)
    early = [kit.records(f"gone-{n}")[0] for n in range(3)]
    assert visit(root, made, early, "skipped", "removed") == 3
    assert visit(root, made, kit.records("good"), "done") == 1
    assert visit(root, made, kit.records(*(f"v{n:02}" for n in range(80))), "skipped", "removed") == ALIKE_REFUSALS
    found = stored(root)
    assert {name for name, told in found.items() if told == "skipped removed"} == {"gone-0", "gone-1", "gone-2"}
    assert [told for name, told in found.items() if name.startswith("v")] == ["retry unknown"] * ALIKE_REFUSALS
    # The site is well again: all are read, and no try was counted.
    assert visit(root, begun(root), kit.records(*(f"v{n:02}" for n in range(80)))) == 80


def test_answers_of_several_workers_come_back_mixed(tmp_path: Path) -> None:
    """A good one that was visited before the pile-up may be heard of in the middle of it."""
    root = kit.Root(tmp_path / "root")
    made = begun(root)
    assert visit(root, made, kit.records(*(f"a{n}" for n in range(8))), "failed", "error") == 8
    assert visit(root, made, kit.records("good")) == 1
    assert visit(root, made, kit.records(*(f"b{n:02}" for n in range(80))), "failed", "error") == ALIKE_TROUBLE
    assert sorted(stored(root).values()) == ["done"] + ["retry unknown"] * (8 + ALIKE_TROUBLE)


def test_a_channel_whose_videos_are_really_gone_is_believed_the_second_time(tmp_path: Path) -> None:
    root, gone = kit.Root(tmp_path / "root"), kit.records(*(f"v{n:02}" for n in range(ALIKE_REFUSALS)))
    assert visit(root, begun(root), gone, "skipped", "private") == ALIKE_REFUSALS
    # Soon after, it may still be the site's mood.
    assert visit(root, begun(root), gone, "skipped", "private") == ALIKE_REFUSALS
    assert set(stored(root).values()) == {"retry unknown"}
    later = begun(root, in_hours=TOLD_AGAIN_AFTER / timedelta(hours=1) + 0.1)
    assert visit(root, later, gone, "skipped", "private") == len(gone)
    assert set(stored(root).values()) == {"skipped private"}
    assert root.plan("videos", gone).tasks == []


def test_a_mood_of_days_is_not_believed_where_new_videos_meet_it_too(tmp_path: Path) -> None:
    root, all_of = kit.Root(tmp_path / "root"), kit.records(*(f"v{n:03}" for n in range(3 * ALIKE_REFUSALS)))
    assert visit(root, begun(root), all_of, "skipped", "removed") == ALIKE_REFUSALS
    later = begun(root, in_hours=30)
    assert visit(root, later, all_of, "skipped", "removed") == 2 * ALIKE_REFUSALS
    assert set(stored(root).values()) == {"retry unknown"}


def test_many_ids_without_an_answer_are_removed_the_second_time_only() -> None:
    silent = met("retry", "unavailable", "Failed to extract any player response")
    for retried, settled in ((frozenset[str](), set[str]()), (frozenset("bc"), set("bc"))):
        watching = Watches({}, alike=Alike(retried=retried))
        watching.add([("a", met("done")), *((name, silent) for name in "bcdef"), ("g", met("done"))])
        assert watching.alike.settled == settled


def test_an_id_without_an_answer_is_removed_where_others_are_read_before_and_after(tmp_path: Path) -> None:
    root, words = kit.Root(tmp_path / "root"), "[youtube] x: Failed to extract any player response"
    listed = kit.records("none-0", "good-1", "none-1", "good-2", "none-2")
    made = begun(root)
    for task in root.plan("videos", listed).tasks:
        is_good = task.video_id.startswith("good")
        outcome, reason = ("done", "") if is_good else ("retry", "unavailable")
        root.commit(task, "videos", outcome, reason=reason, due_s=600, **kit.GOOD)
        made.add([(task.video_id, met(outcome, reason, "" if is_good else words))])
    assert made.settle(root.store, root.stages) == 1
    assert {name: told for name, told in stored(root).items() if name.startswith("none")} == {
        "none-0": "retry unavailable",
        "none-1": "skipped removed",
        "none-2": "retry unavailable",
    }
