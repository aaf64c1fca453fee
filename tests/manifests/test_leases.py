"""Who works on a root: two runs divide the videos, and nobody prunes under a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.leases import Leases, alone, is_working, shared
from vsumdata.manifests.store import Store

# Takes a lease, says so, and waits to be killed.
OTHER_RUN = """
import sys, time
from vsumdata.manifests.leases import Leases
from vsumdata.manifests.store import Store
held = Leases(Store(sys.argv[1]))
print(held.take("videos", ["a", "b"]), flush=True)
time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "root").mkdir()
    return Store(tmp_path / "root")


def test_two_runs_divide_the_videos(store: Store) -> None:
    one, other = Leases(store), Leases(store)
    name, taken = one.take("videos", ["a", "b"])
    assert taken == {"a", "b"}
    assert other.others("videos") == {"a", "b"}
    assert other.others("frames") == set(), "each table by itself"
    assert other.take("videos", ["b", "c"])[1] == {"c"}
    assert one.others("videos") == {"c"}, "a run's own leases do not count"
    one.release(name)
    assert other.take("videos", ["a", "b"])[1] == {"a", "b"}
    one.release_all()
    other.release_all()
    assert not list(Path(store.root, "leases").iterdir())


def test_a_killed_run_holds_nothing(store: Store) -> None:
    other = subprocess.Popen([sys.executable, "-c", OTHER_RUN, store.root], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    ours = Leases(store)
    assert ours.others("videos") == {"a", "b"}
    other.kill()
    other.communicate()
    assert ours.others("videos") == set()
    assert ours.take("videos", ["a"])[1] == {"a"}


def test_nobody_prunes_under_a_run(store: Store) -> None:
    says = "a run is working here; prune when it has ended"
    with shared(store, Leases(store)), shared(store, Leases(store)), pytest.raises(UsageError, match=says):
        alone(store, "prune").__enter__()
    with alone(store, "prune"):
        pass


def test_whoever_reads_can_ask_for_runs(store: Store) -> None:
    assert not is_working(store), "no run was ever here"
    with shared(store, Leases(store)):
        assert is_working(store)
    before = sorted(Path(store.root).rglob("*"))
    assert not is_working(store)
    assert sorted(Path(store.root).rglob("*")) == before, "asking writes nothing"
