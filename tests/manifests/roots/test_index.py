"""The index of a table is only a cache: with it, without it, stale or damaged, the rows are the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.manifests.object_kit import FlakyProxy, root_url
from tests.manifests.test_store import commit, row

from vsumdata.manifests import upkeep
from vsumdata.manifests.roots import index
from vsumdata.manifests.store import Store

COLUMNS = ["digest.frame_feature", "upstream.videos"]


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "root")
    else:
        port, bucket = request.getfixturevalue("s3_port"), request.getfixturevalue("bucket")
        yield root_url(port, bucket)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of few parts is worth an index here."""
    monkeypatch.setattr(index, "AFTER_A_SCAN", 5)
    monkeypatch.setattr(index, "AT_THE_END", 2)


def rows_of(store: Store, columns: list[str] = COLUMNS) -> list[dict]:
    return store.latest("frames", "f00", columns).sort_by("video_id").to_pylist()


def indexed(location: str) -> Store:
    """A root of eight parts with an index, as a run leaves it."""
    store = Store(location)
    for number in range(8):
        commit(store, row(f"v{number}"), row("again", "retry", version=number + 1))
    run = Store(location)
    run.keeps_index = True
    rows_of(run)
    assert len(run.indexes("frames", "f00")) == 1
    return store


def test_readers_take_the_index_and_scan_only_newer_parts(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = indexed(location)
    scanned: list[str] = []
    scan = Store.scan

    def counted(self: Store, folder: str, parts: list, columns: list) -> object:
        scanned.extend(name for name, _ in parts)
        return scan(self, folder, parts, columns)

    whole = rows_of(store)
    monkeypatch.setattr(Store, "scan", counted)
    assert rows_of(Store(location)) == whole
    assert scanned == []
    newest = commit(store, row("v3", version=2, minutes=5), row("new"))
    found = {found["video_id"]: found for found in rows_of(Store(location))}
    assert scanned == [newest]
    assert (found["v3"]["version"], found["v3"]["part"], len(found)) == (2, newest, 10)
    assert found["again"]["version"] == 8
    del scanned[:]
    assert len(Store(location).latest("frames", "f00", ["width"])) == 10
    assert len(scanned) == 9, "an index without the column serves nobody"


def test_a_reader_writes_nothing(location: str) -> None:
    store = Store(location)
    for number in range(8):
        commit(store, row(f"v{number}"))
    rows_of(store)
    store.keeps_index = False
    assert store.indexes("frames", "f00") == []
    store.keeps_index = True
    store.write_indexes()
    assert len(store.indexes("frames", "f00")) == 1
    store.write_indexes()
    commit(store, row("one more"))
    rows_of(store)
    store.write_indexes()
    assert len(store.indexes("frames", "f00")) == 1, "one more part is not worth another one"
    for number in range(3):
        commit(store, row(f"more{number}"))
    rows_of(store)
    store.write_indexes()
    assert len(store.indexes("frames", "f00")) == 1, "a new one takes the place of the old one"
    assert rows_of(Store(location)) == rows_of(store)


@pytest.mark.parametrize("harm", ["deleted", "empty", "flipped", "of other parts", "renamed"])
def test_whatever_happens_to_an_index_the_rows_are_the_same(location: str, harm: str) -> None:
    store = indexed(location)
    whole = rows_of(store)
    (info,) = store.indexes("frames", "f00")
    content = store.content(info.path)
    if harm == "deleted":
        store.delete([info.path])
    elif harm == "empty":
        store.put(info.path, b"")
    elif harm == "flipped":
        for at in random.Random(1).sample(range(len(content)), 5):
            store.put(info.path, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert rows_of(Store(location)) == whole
            assert [said for said in upkeep.verify(store).problems if "index" in said]
    elif harm == "of other parts":
        gone = min(store.parts("frames", "f00"), key=lambda part: part.base_name)
        store.delete([gone.path])
        whole = [found for found in whole if found["part"] != gone.base_name]
    else:
        store.delete([info.path])
        store.put(info.path.replace("index-", "index-9"), content)
    assert rows_of(Store(location)) == whole


def test_compaction_removes_it_and_verify_knows_it(location: str) -> None:
    store = indexed(location)
    before = [{**found, "part": ""} for found in rows_of(Store(location))]
    assert upkeep.verify(store).problems == []
    assert upkeep.compact(store, {"frames": "f00"}) == {"frames": (8, 1)}
    assert store.indexes("frames", "f00") == []
    assert [{**found, "part": ""} for found in rows_of(Store(location))] == before
    assert [{**found, "part": ""} for found in rows_of(store)] == before
    assert [gone[:2] for gone in upkeep.prune(store, {"frames": "other"}, dry_run=False)] == [("frames", "f00")]
    assert store.files("frames", "f00") == []


def test_a_snapshot_lists_once_and_a_small_part_is_one_request(s3_port: int, bucket: str) -> None:
    with FlakyProxy(s3_port) as proxy:
        url = root_url(proxy.port, bucket)
        indexed(url)
        store = Store(url)
        commit(store, row("new"))
        del proxy.requests[:]
        with store.snapshot():
            for _ in range(3):
                assert len(rows_of(store)) == 10
                assert len(store.parts("frames", "f00")) == 9
        assert len(proxy.requests) == 3, "the listing, the index, the part that it does not name"
        commit(store, row("newer"))
        assert len(rows_of(store)) == 11, "seen after the snapshot"
