"""Pacing: one rate for everybody, a breaker that outlives a run, slower after a wall and faster by and by."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.manifests.object_kit import SECRET, FlakyProxy, root_url

from vsumdata.manifests.errors import StorageError
from vsumdata.manifests.roots import objects
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state import pace as pacing
from vsumdata.pipeline.state.pace import Pace, Turns, egress_of

HOST = "youtube.com"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in a list's only place."""
    now = [1_000_000.0]
    monkeypatch.setattr(pacing.time, "time", lambda: now[0])
    return now


def test_turns_come_one_interval_apart(tmp_path: Path, clock: list[float]) -> None:
    turns = Turns(str(tmp_path))
    assert turns.reserve(HOST, 12) == 0
    assert turns.reserve(HOST, 12) == 12
    clock[0] += 11
    assert Turns(str(tmp_path)).reserve(HOST, 12) == pytest.approx(1)
    assert turns.reserve("wikihow.com", 12) == 0
    clock[0] += 1
    assert turns.reserve(HOST, 12) == 0


def test_a_wall_halves_the_rate_and_turns_bring_it_back_never_above_the_manifests(
    tmp_path: Path, clock: list[float]
) -> None:
    turns = Turns(str(tmp_path))
    turns.reserve(HOST, 12)
    turns.trip(HOST, 12, None, "wall")
    intervals = []
    for _ in range(40):
        while wait_s := turns.reserve(HOST, 12):
            clock[0] += wait_s
        intervals.append(turns.reserve(HOST, 12))
    assert intervals[0] == pytest.approx(12 / (0.5 + pacing.SPEED_UP))
    assert intervals == sorted(intervals, reverse=True)
    assert intervals[-1] == 12
    speeds = [12 / interval_s for interval_s in intervals[:10]]
    assert [b - a for a, b in itertools.pairwise(speeds)] == pytest.approx([pacing.SPEED_UP] * 9)


def test_pauses_double_up_to_a_limit_and_are_forgiven(tmp_path: Path, clock: list[float]) -> None:
    turns, pauses = Turns(str(tmp_path)), []
    for _ in range(12):
        pauses.append(turns.trip(HOST, 12, None, "bot wall"))
        clock[0] += pauses[-1] + 1
    assert pauses[:3] == pytest.approx([60, 120, 240])
    assert pauses[-1] == pytest.approx(pacing.LONGEST_PAUSE_S)
    clock[0] += pacing.FORGIVEN_AFTER_S
    assert turns.trip(HOST, 12, None, "bot wall") == pytest.approx(60)


def test_requests_under_way_when_the_breaker_opened_do_not_open_it_wider(tmp_path: Path, clock: list[float]) -> None:
    turns = Turns(str(tmp_path))
    first_s = turns.trip(HOST, 12, None, "wall")
    clock[0] += 5
    assert turns.trip(HOST, 12, None, "wall") == pytest.approx(first_s - 5)
    assert turns.trip(HOST, 12, 300, "429") == pytest.approx(300)
    assert turns.trip(HOST, 12, 10, "429") == pytest.approx(300)


def test_a_hosts_own_retry_after_counts(tmp_path: Path, clock: list[float]) -> None:
    turns = Turns(str(tmp_path))
    assert turns.trip(HOST, 12, 900, "429") == pytest.approx(900)
    clock[0] += 899
    assert turns.reserve(HOST, 12) == pytest.approx(1)
    clock[0] += 1
    assert turns.reserve(HOST, 12) == 0
    assert turns.trip("absurd.example", 12, 1e9, "429") == pytest.approx(pacing.LONGEST_RETRY_AFTER_S)


def test_the_state_survives_damage(tmp_path: Path) -> None:
    turns, file = Turns(str(tmp_path)), tmp_path / "pace.json"
    turns.trip(HOST, 12, 900, "wall")
    whole = file.read_text()
    file.write_text(whole + "tail of a longer one that a kill left}")
    assert turns.reserve(HOST, 12) > 800
    odd = [{HOST: 3}, {HOST: {"open_until": None}}, {HOST: {"next_at": time.time() + 1e9}}]
    for damaged in ("", whole[: len(whole) // 2], "[1]", *map(json.dumps, odd)):
        file.write_text(damaged)
        assert Pace(str(tmp_path), 12).notice() == ""
        assert turns.reserve(HOST, 12) == 0
        assert json.loads(file.read_text())[HOST]["next_at"] > time.time()


def take_turns(root: str, interval_s: float, num: int, together: Any, times: Any) -> None:
    pace = Pace(root, interval_s)
    together.wait()
    times.put(time.time())
    for _ in range(num):
        pace(HOST)
    times.put(time.time())


def test_processes_share_one_rate(tmp_path: Path) -> None:
    """Three processes that start together take three turns each, at one rate, however slow the machine is."""
    spawn, num, interval_s = multiprocessing.get_context("spawn"), 3, 0.4
    together, times = spawn.Barrier(num), spawn.Queue()
    arguments = (str(tmp_path), interval_s, num, together, times)
    processes = [spawn.Process(target=take_turns, args=arguments) for _ in range(num)]
    for process in processes:
        process.start()
    taken = [times.get(timeout=120) for _ in range(2 * num)]
    for process in processes:
        process.join()
    assert max(taken) - min(taken) > (num * num - 1) * interval_s * 0.95


def test_the_notice_names_host_reason_and_remedy(tmp_path: Path) -> None:
    pace = Pace(str(tmp_path), 12)
    assert pace.notice() == ""
    pace.trip("www.youtube.com", 600, "Sign in to confirm you’re not a bot")
    said = pace.notice()
    assert said.startswith("youtube.com asked to slow down: paused ")
    assert all(word in said for word in ("not a bot", "cookiefile", "proxy", "wait"))


@pytest.mark.parametrize(
    ("options", "egress"),
    [
        ({}, ""),
        ({"proxy": "http://user:secret@proxy.example:3128"}, "proxy.example:3128"),
        ({"proxy": "socks5://10.0.0.1"}, "10.0.0.1"),
        ({"proxy": "user:secret@proxy.example:99"}, "proxy.example:99"),
        ({"proxy": "http://user:secret@proxy.example:no-port"}, "proxy"),
        ({"source_address": "192.0.2.7"}, "192.0.2.7"),
    ],
)
def test_each_egress_address_has_a_pace_of_its_own(options: dict[str, str], egress: str, tmp_path: Path) -> None:
    assert egress_of(options) == egress
    pace = Pace(str(tmp_path), 12, egress_of(options))
    pace.trip(HOST, 600, "wall")
    assert list(Turns(str(tmp_path)).read()) == [f"{HOST} via {egress}" if egress else HOST]
    other = Pace(str(tmp_path), 12, "198.51.100.1")
    assert other.ask("reserve", other.key(HOST), 12) == 0


def test_clusters_share_one_rate_on_an_object_store(s3_port: int, bucket: str) -> None:
    """Through a proxy that fails and loses answers: each turn is granted once, and counted once."""
    granted: list[float] = []
    with FlakyProxy(s3_port, share=0.1, stall_s=0.05) as proxy:

        def take() -> None:
            turns = Turns(root_url(proxy.port, bucket))
            for _ in range(3):
                while (wait_s := turns.reserve(HOST, 0.2)) > 0:
                    time.sleep(wait_s)
                granted.append(time.time())

        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = Turns(root_url(proxy.port, bucket)).read()
    assert len(granted) == state[HOST]["visits"] == 9
    assert max(granted) - min(granted) > 8 * 0.2 * 0.75, "an answer may be late, and never early"


def test_a_root_that_is_away_ends_no_display(s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "GIVES_UP_AFTER_S", 0.2)
    with FlakyProxy(s3_port) as proxy:
        pace = Pace(root_url(proxy.port, bucket, keys=True), 12)
        # Not through `pace`: where Ray is up it asks an actor, in a process that gives up later.
        turns = Turns(pace.root)
        turns.trip(HOST, 12, 600, "wall")
        assert HOST in pace.notice()
        proxy.is_down = True
        assert pace.notice() == ""
        with pytest.raises(StorageError, match="does not answer"):
            turns.answered(HOST, 12, True, "502")
    assert SECRET not in f"{pace!r}{Turns(pace.root)!r}"


@pytest.mark.ray
def test_on_an_object_store_nobody_depends_on_an_actor(
    ray_session: None, s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stood still for ever: the actor had died with its node, and no other one could be started."""
    import ray

    monkeypatch.setattr(pacing, "is_one_node", lambda: False)
    missing = root_url(s3_port, "no-such-bucket", keys=True)
    with pytest.raises(StorageError, match="does not exist: create it") as caught:
        Pace(missing, 12).trip(HOST, 600, "wall")
    assert SECRET not in str(caught.value.__cause__)
    pace = Pace(root_url(s3_port, bucket, keys=True), 12)
    pace(HOST)
    assert pace.ask("reserve", pace.key(HOST), 12) > 0
    for url in (missing, pace.root):
        with pytest.raises(ValueError, match="Failed to look up actor"):
            ray.get_actor(f"pace of {Store(url).root}", pacing.NAMESPACE)


@pytest.mark.ray
def test_the_actor_raises_our_errors(ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(pacing, "is_one_node", lambda: False)
    (tmp_path / "pace.json").mkdir()
    with pytest.raises(StorageError, match=r"cannot write to .*pace\.json"):
        Pace(str(tmp_path), 12).trip(HOST, 600, "wall")
    ray.kill(ray.get_actor(f"pace of {tmp_path}", pacing.NAMESPACE))


@pytest.mark.ray
def test_workers_ask_one_named_actor_and_the_state_outlives_it(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    # On one node they would lock the file themselves.
    monkeypatch.setattr(pacing, "is_one_node", lambda: False)

    pace = Pace(str(tmp_path), 0.5)

    @ray.remote(num_cpus=0.5)
    def turn(pace: Pace) -> float:
        pacing.is_one_node = lambda: False  # in the worker, too
        pace(HOST)
        return time.time()

    times = sorted(ray.get([turn.remote(pace) for _ in range(4)]))
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.4
    actor = ray.get_actor(f"pace of {tmp_path}", pacing.NAMESPACE)
    pace.trip(HOST, 900, "wall")
    ray.kill(actor)
    # Its name goes first; for a moment it still answers those who hold it.
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            ray.get(actor.open_breakers.remote())
        except ray.exceptions.RayActorError:
            break
    assert pace.ask("reserve", HOST, 0.5) > 800
    assert ray.get_actor(f"pace of {tmp_path}", pacing.NAMESPACE) != actor
    # The rest of what Ray says while a node dies; which of it comes is a matter of moments.
    errors = ray.exceptions
    said = [
        errors.ActorUnavailableError("unavailable", None),
        errors.ActorUnschedulableError("its node is gone"),
        errors.NodeDiedError("dead"),
        errors.OwnerDiedError("", None, ""),
        errors.RaySystemError("lost"),
        ValueError("Failed to look up actor"),
    ]
    real, left = pacing.actor, iter(said)

    def dying(root: str) -> Any:
        if error := next(left, None):
            raise error
        return real(root)

    dying.cache_clear = real.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(pacing, "actor", dying)
    monkeypatch.setattr(pacing, "ACTOR_AGAIN_S", 0.0)
    assert pace.ask("reserve", HOST, 0.5) > 800
    assert next(left, None) is None


@pytest.mark.ray
def test_a_dead_actor_loses_the_name_that_ray_keeps_for_it(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen twice in five deaths of a node: `get_actor` gave everybody the dead actor, until it was killed once more."""
    import ray

    monkeypatch.setattr(pacing, "is_one_node", lambda: False)
    monkeypatch.setattr(pacing, "ACTOR_WITHIN_S", 20.0)
    real, kill = pacing.actor, ray.kill
    pace, dead = Pace(str(tmp_path), 12), real(str(tmp_path))
    kill(dead)
    killed: list[Any] = []
    monkeypatch.setattr(ray, "kill", lambda actor: killed.append(actor))

    def kept(root: str) -> Any:
        return real(root) if killed else dead

    kept.cache_clear = real.cache_clear  # type: ignore[attr-defined]
    monkeypatch.setattr(pacing, "actor", kept)
    assert pace.ask("reserve", HOST, 12) == 0
    assert killed[0] == dead
    kill(real(str(tmp_path)))


def test_a_host_is_down_after_so_many_failures(tmp_path: Path) -> None:
    turns = Turns(str(tmp_path))
    found = [turns.answered("h", 1, True, "502") for _ in range(pacing.OUTAGE_AFTER)]
    assert found == [False] * (pacing.OUTAGE_AFTER - 1) + [True]
    assert "h" in turns.open_breakers()
