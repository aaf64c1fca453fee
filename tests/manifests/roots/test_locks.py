"""Locks and leases on an object store: nobody has what another one holds, and the dead hold nothing after a term."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from tests.manifests.object_kit import FlakyProxy, root_url

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.leases import Leases, alone, shared
from vsumdata.manifests.roots import locks
from vsumdata.manifests.roots.locks import ObjectLock, locked
from vsumdata.manifests.store import Store


@pytest.fixture
def store(s3_port: int, bucket: str) -> Store:
    return Store(root_url(s3_port, bucket))


def at_once(number: int, do: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=do, args=(each,)) for each in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lock_of(store: Store) -> ObjectLock:
    assert store.objects is not None
    return ObjectLock(store.objects, f"{store.base}/a.lock")


def test_a_lock_has_one_holder(store: Store) -> None:
    with store.lock() as first, store.lock(wait=False) as second, store.lock("other", wait=False) as other:
        assert (first, second, other) == (True, False, True)
    with store.lock(wait=False) as third:
        assert third


def test_holders_take_turns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOOK_EVERY_S", 0.02)
    inside, most, turns = [0], [0], [0]

    def work(_: int) -> None:
        for _ in range(2):
            with store.lock():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.01)
                turns[0] += 1
                inside[0] -= 1

    at_once(4, work)
    assert (most[0], turns[0]) == (1, 8)


def test_a_dead_holders_lock_is_stolen_after_its_term(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_TERM_S", 0.4)
    monkeypatch.setattr(locks, "LOOK_EVERY_S", 0.05)
    dead, thief, third = lock_of(store), lock_of(store), lock_of(store)
    assert dead.take(0)
    assert not thief.take(0), "not before it was seen unchanged for a term"
    assert thief.take(10)
    dead.renew()
    dead.release()
    assert not third.take(0), "who was robbed takes nothing back"


def test_a_living_holder_is_not_robbed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCK_TERM_S", 0.8)
    monkeypatch.setattr(locks, "LOOK_EVERY_S", 0.05)
    assert store.objects is not None
    with locked(store.objects, f"{store.base}/a.lock", 0) as taken:
        assert taken
        assert not lock_of(store).take(2.0)
    assert lock_of(store).take(0)


def test_runs_at_once_divide_the_videos(s3_port: int, bucket: str) -> None:
    """Through a proxy that fails: an answer that was lost must not make a run believe that it has nothing."""
    taken: list[set[str]] = [set() for _ in range(4)]
    with FlakyProxy(s3_port, share=0.1, stall_s=0.1) as proxy:
        stores = [Store(root_url(proxy.port, bucket)) for _ in taken]

        def work(number: int) -> None:
            leases, chance = Leases(stores[number]), random.Random(number)
            for _ in range(3):
                wanted = {f"v{chance.randrange(30)}" for _ in range(10)}
                _, got = leases.take("videos/f00", wanted)
                assert got <= wanted
                assert not got & leases.others("videos/f00")
                taken[number] |= got
                leases.take("frames/f00", {f"v{number}"})

        at_once(len(taken), work)
    assert sum(map(len, taken)) == len(set().union(*taken)), "no video twice"
    assert len(set().union(*taken)) > 20


def test_what_is_given_back_can_be_taken(store: Store) -> None:
    one, other = Leases(store), Leases(store)
    with shared(store, one):
        name, taken = one.take("videos", ["a", "b"])
        assert taken == {"a", "b"}
        assert other.others("videos") == {"a", "b"}
        assert other.others("frames") == set(), "each table by itself"
        assert other.take("videos", ["b", "c"])[1] == {"c"}
        assert one.others("videos") == {"c"}, "a run's own leases do not count"
        one.release(name)
        assert other.take("videos", ["a", "b"])[1] == {"a", "b"}
        other.release_all()
        one.take("videos", ["x"])
    assert other.others("videos") == set()


def test_a_dead_run_holds_nothing_after_its_term(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, other = Leases(store), Leases(store)
    dead.take("videos", ["a"])
    # Nobody asks the clock of this machine.
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert other.take("videos", ["a", "b"])[1] == {"b"}
    monkeypatch.setattr(locks, "RUN_TERM_S", 2.0)
    for _ in range(5):
        time.sleep(0.7)
        assert other.claims is not None
        other.claims.beat()
    assert other.others("videos") == set()
    assert other.take("videos", ["a"])[1] == {"a"}
    with pytest.raises(StorageError, match="has lost its videos; what is committed is kept"):
        dead.take("videos", ["c"])


def test_a_killed_run_of_this_machine_holds_nothing(store: Store) -> None:
    script = f"""
import time
from vsumdata.manifests.leases import Leases
from vsumdata.manifests.store import Store
store = Store({store.location!r})
with store.lock():
    print(Leases(store).take("videos", ["a"])[1], flush=True)
    time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "{'a'}\n"
    ours = Leases(store)
    assert ours.others("videos") == {"a"}
    with store.lock(wait=False) as taken:
        assert not taken
    other.kill()
    other.communicate()
    assert ours.others("videos") == set()
    assert ours.take("videos", ["a"])[1] == {"a"}
    with store.lock(wait=False) as taken:
        assert taken


def test_nobody_prunes_under_a_run(store: Store) -> None:
    with (
        shared(store, Leases(store)),
        shared(store, Leases(store)),
        pytest.raises(UsageError, match="a run is working here; prune when it has ended"),
        alone(store, "prune"),
    ):
        pass
    with alone(store, "prune"):
        assert upkeep.prune(store, {}, dry_run=True) == []


def test_a_run_waits_for_whoever_has_the_root_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOOK_EVERY_S", 0.05)
    said: list[str] = []

    def run() -> None:
        with shared(store, Leases(store)):
            said.append("run")

    with alone(store, "compact"):
        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.4)
        said.append("compacted")
    thread.join()
    assert said == ["compacted", "run"]
