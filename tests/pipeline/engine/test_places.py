"""Whose fault a failure is, on a cluster: what a node's failures in a row lead to, and what other nodes say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vsumdata.manifests.errors import ClusterError
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine.places import FEW, MANY, MOST_DOUBTS, Places
from vsumdata.pipeline.state.plan import Task
from vsumdata.pipeline.workers.cluster import Gpus
from vsumdata.pipeline.workers.keeper import Fitness
from vsumdata.pipeline.workers.nodes import Nodes
from vsumdata.stages.stage import VISITS, Stage

FRAMES = Stage(name="frames", reads={}, load=lambda *_: dict)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    said: list[str] = []
    nodes = Nodes(store=Store(tmp_path), run="run-1", say=said.append, is_cluster=True)
    for node, egress in (("a", ""), ("b", "8.8.8.8"), ("c", "")):
        nodes.fit[node] = Fitness(problems=(), egress=egress, now=0.0)
        nodes.names[node], nodes.resources_of[node] = node, {"CPU": 4.0}
    nodes.looked_at = float("inf")  # there is no Ray to ask
    return Places(nodes, Gpus(True, 0.0, said.append))


def row(node: str, video_id: str = "v", outcome: str = "done", **more: Any) -> dict[str, Any]:
    free = {"free_until": 0.0} if more.get("is_doubted") or more.get("unfit") else {"free_until": None}
    nothing = {"unfit": "", "is_doubted": False, "is_lost": False, "reason": "unreadable"}
    return nothing | free | {"node": node, "video_id": video_id, "outcome": outcome} | more


def fail(places: Places, node: str, number: int) -> None:
    for at in range(number):
        assert places.take("frames", row(node, f"{node}-{at}", "failed", is_doubted=True), is_visit=False)


def task(video_id: str) -> Task:
    return Task(Record(video_id=video_id, source="ids:test"), 1, 0, {}, {})


def test_a_node_that_has_done_nothing_is_out_after_a_few_failures_and_one_that_has_later(places: Places) -> None:
    places.take("frames", row("b"), is_visit=False)
    fail(places, "a", FEW - 1)
    fail(places, "b", MANY - 1)
    assert set(places.nodes.fit) == {"a", "b", "c"}
    fail(places, "a", 1)
    assert set(places.nodes.fit) == {"b", "c"}
    assert places.have_changed()
    fail(places, "b", 1)
    assert set(places.nodes.fit) == {"c"}


def test_the_last_node_stays_whatever_it_fails(places: Places) -> None:
    for node in ("a", "b", "c"):
        fail(places, node, FEW)
    assert len(places.nodes.fit) == 1


def test_a_node_whose_failures_others_confirm_gets_work_again(places: Places) -> None:
    fail(places, "a", FEW)
    assert "a" not in places.nodes.fit
    for at in range(FEW):
        places.take("frames", row("b", f"a-{at}", "failed"), is_visit=False)
    assert "a" in places.nodes.fit
    assert places.have_changed()


def test_a_success_elsewhere_does_not_bring_it_back(places: Places) -> None:
    fail(places, "a", FEW)
    for at in range(FEW):
        places.take("frames", row("b", f"a-{at}"), is_visit=False)
    assert "a" not in places.nodes.fit


def test_a_failed_video_may_be_the_nodes_fault_until_it_came_back_too_often(places: Places) -> None:
    assert places.mark(FRAMES, task("v")).may_be_node
    for at in range(MOST_DOUBTS):
        marked = places.mark(FRAMES, task("v"))
        assert (marked.may_be_node, marked.failed_on) == (True, frozenset({"a"} if at else ()))
        places.failed_on["frames", "v"].add("a")
        places.doubts["frames", "v"] += 1
    assert not places.mark(FRAMES, task("v")).may_be_node


def test_a_task_knows_where_its_visit_left_its_files(places: Places) -> None:
    places.take("videos", row("b"), is_visit=True)
    assert places.mark(FRAMES, task("v")).media_at == "b"
    assert places.mark(FRAMES, task("other")).media_at == ""


def test_what_a_node_cannot_see_is_its_own_fault(places: Places) -> None:
    assert places.take("frames", row("a", outcome="failed", unfit="does not see /videos/v.mp4"), is_visit=False)
    assert places.nodes.unfit == {"a": "it does not see /videos/v.mp4"}


def test_each_address_that_sites_see_has_its_visitors(places: Places) -> None:
    videos = Stage(name="videos", reads={}, load=lambda *_: dict, lane=VISITS, workers=3)
    assert places.staffed(videos, "").workers == 6, "two addresses: the public one, and that of all private ones"
    assert places.staffed(videos, "proxy:3128").workers == 3
    assert places.staffed(FRAMES, "").workers is None


def test_no_node_at_all_is_an_error(places: Places) -> None:
    places.nodes.fit.clear()
    with pytest.raises(ClusterError, match="finished work is kept"):
        places.can_start(FRAMES)


def test_a_ray_of_this_machine_alone_has_nothing_to_decide(places: Places) -> None:
    places.nodes.is_cluster = False
    assert places.mark(FRAMES, task("v")) == task("v")
    assert not places.take("frames", row("a", outcome="failed", unfit="does not see it"), is_visit=False)
    assert places.can_start(FRAMES)
