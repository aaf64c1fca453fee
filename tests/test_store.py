"""The store: parts appear whole, the latest row wins, compaction and leftovers harm nobody."""

from __future__ import annotations

import fcntl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vsumdata.manifests import rows, tables, upkeep
from vsumdata.manifests.store import Store, keep_latest
from vsumdata.pipeline.errors import SchemaError, StorageError, UsageError

SCHEMA = tables.schema("frames", {"frame_dim": 4})
START = datetime(2026, 1, 1, tzinfo=UTC)


def row(video_id: str, outcome: str = "done", attempt: int = 1, minutes: int = 0, **payload: object) -> dict:
    frames = np.arange(8, dtype=np.float16).reshape(2, 4)
    values = dict.fromkeys(tables.payload("frames", {"frame_dim": 4}).names) | {"frame_feature": frames, **payload}
    if outcome != "done":
        values = dict.fromkeys(values)
    return {
        "video_id": video_id,
        "outcome": outcome,
        "reason": "" if outcome == "done" else "unreadable",
        "detail": "",
        "attempt": attempt,
        "committed_at": START + timedelta(minutes=minutes),
        "seconds": 1.0,
        "retry_after": None,
        "upstream": {"videos": "abc"},
        **values,
        "digest": rows.digests(values),
    }


def commit(store: Store, *content: dict) -> str:
    return store.write("frames", "f00", rows.to_table(SCHEMA, content))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


def test_round_trip_keeps_arrays_and_nulls(store: Store) -> None:
    part = commit(store, row("a", frame_time_s=np.array([0.0, 1.04], np.float32)), row("b", "failed"))
    found = store.read("frames", "f00", {"a": part, "b": part}, ["frame_feature", "frame_time_s", "digest"])
    np.testing.assert_array_equal(found["a"]["frame_feature"], np.arange(8, dtype=np.float16).reshape(2, 4))
    assert found["a"]["frame_feature"].dtype == np.float16
    np.testing.assert_allclose(found["a"]["frame_time_s"], [0.0, 1.04])
    assert set(found["a"]["digest"]) == {"frame_feature", "frame_time_s"}
    assert found["b"]["frame_feature"] is None


def test_columns_are_checked() -> None:
    good = row("a")
    good["widht"] = good.pop("width")
    with pytest.raises(SchemaError, match=r"missing columns \['width'\], unknown columns \['widht'\]"):
        rows.to_table(SCHEMA, [good])
    with pytest.raises(SchemaError, match=r"`frame_feature`.*\[n, 4\]"):
        rows.to_table(SCHEMA, [row("a", frame_feature=np.zeros((2, 3)))])


def test_latest_is_highest_attempt_then_done_then_newest(store: Store) -> None:
    commit(store, row("a", "done", attempt=1, minutes=9), row("b", "failed", attempt=2, minutes=9))
    commit(store, row("a", "retry", attempt=2, minutes=1), row("b", "done", attempt=2, minutes=1))
    commit(store, row("c", "done", minutes=1, width=1), row("d"))
    newest = commit(store, row("c", "done", minutes=2, width=2))
    found = {r["video_id"]: r for r in store.latest("frames", "f00").to_pylist()}
    assert {i: r["outcome"] for i, r in found.items()} == {"a": "retry", "b": "done", "c": "done", "d": "done"}
    assert found["c"]["part"] == newest
    assert store.read("frames", "f00", {"c": newest}, ["width"])["c"]["width"] == 2


def test_keep_latest_is_the_rule_on_any_order() -> None:
    content = rows.to_table(
        SCHEMA, [row("a", "failed", attempt=2), row("a", "done", attempt=2), row("a", "done", attempt=1, minutes=5)]
    )
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        kept = keep_latest(content.take(pa.array(order)))
        assert kept.select(["outcome", "attempt"]).to_pylist() == [{"outcome": "done", "attempt": 2}]


def test_compaction_keeps_every_latest_row(store: Store) -> None:
    for number in range(7):
        commit(store, row(f"v{number}", width=number), row("again", "retry", attempt=number + 1))
    before = store.latest("frames", "f00").sort_by("video_id").drop(["part"]).to_pylist()
    stale = {"v3": store.locate("frames", "f00", ["v3"])["v3"]}
    assert upkeep.compact(store, {"frames": "f00"}) == {"frames": (7, 1)}
    assert store.latest("frames", "f00").sort_by("video_id").drop(["part"]).to_pylist() == before
    assert store.read("frames", "f00", stale, ["width"])["v3"]["width"] == 3, "a reader lists again"
    assert upkeep.verify(store).problems == []


def test_a_kill_between_shard_and_removal_shows_no_duplicate(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        commit(store, row(f"v{number}"))
    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "write_shard", lambda s, t, f, pieces, merged: s.write(t, f, pa.concat_tables(pieces)))
        upkeep.compact(store, {"frames": "f00"})
    assert len(store.parts("frames", "f00")) == 4
    assert sorted(store.latest("frames", "f00")["video_id"].to_pylist()) == ["v0", "v1", "v2"]
    assert upkeep.verify(store).superseded == 3


def test_cleaning_removes_only_what_nobody_holds(store: Store) -> None:
    commit(store, row("a"))
    folder = Path(store.folder("frames", "f00"))
    dead, alive = folder / ".part-1.parquet.x.tmp", folder / ".part-2.parquet.y.tmp"
    dead.write_bytes(b"half")
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert [Path(p.split(":")[0]) for p in upkeep.verify(store).problems or ()] == [dead]
        with upkeep.scratch_folder(store) as scratch:
            assert scratch.is_dir()
            assert not dead.exists()
            assert alive.exists()
    assert not (store.local / "tmp").exists()  # type: ignore[operator]


def test_scratch_of_a_dead_run_goes_and_of_a_living_one_stays(store: Store) -> None:
    dead = store.local / "tmp" / "run-dead"  # type: ignore[operator]
    dead.mkdir(parents=True)
    (dead / "alive").touch()
    with upkeep.scratch_folder(store) as first, upkeep.scratch_folder(store) as second:
        assert not dead.exists()
        assert first.is_dir()
        assert second.is_dir()


def test_verify_names_a_broken_part_and_readers_point_to_it(store: Store) -> None:
    part = commit(store, *(row(f"v{i}", frame_feature=np.random.default_rng(i).random((50, 4))) for i in range(20)))
    path = Path(store.folder("frames", "f00")) / part
    data = bytearray(path.read_bytes())
    data[300] ^= 0xFF
    path.write_bytes(data)
    assert part in (upkeep.verify(store).problems or [""])[0]
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="verify --root"):
        store.latest("frames", "f00")


def test_prune_removes_superseded_fingerprints_only(store: Store) -> None:
    commit(store, row("a"))
    store.write("frames", "old", rows.to_table(SCHEMA, [row("a")]))
    assert [gone[:2] for gone in upkeep.prune(store, {"frames": "f00"}, dry_run=True)] == [("frames", "old")]
    assert store.parts("frames", "old")
    upkeep.prune(store, {"frames": "f00"}, dry_run=False)
    assert upkeep.all_tables(store) == [("frames", "f00")]


def test_foreign_root_is_refused_and_unknown_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match=r"not empty \(it has `thesis.tex`\)"):
        Store(tmp_path).claim()
    Store(tmp_path / "new").claim()
    with pytest.raises(UsageError, match="no vsumdata root"):
        Store(tmp_path / "new").dataset()


def test_a_root_by_url_is_the_same_root(tmp_path: Path) -> None:
    by_path, by_url = Store(tmp_path), Store(f"file://{tmp_path}")
    commit(by_path, row("a"))
    assert by_url.latest("frames", "f00")["video_id"].to_pylist() == ["a"]
    with pytest.raises(UsageError, match="--root nonsense://x"):
        Store("nonsense://x")
