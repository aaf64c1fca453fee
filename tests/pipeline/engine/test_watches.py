"""When a site's answers change: what counts, and from when on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from tests.pipeline.state import test_plan as kit

from vsumdata.manifests import clock
from vsumdata.manifests.errors import CollapseError
from vsumdata.pipeline.engine.watches import ENOUGH, WINDOW, Watch, Watches, watches
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages.videos import health


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
