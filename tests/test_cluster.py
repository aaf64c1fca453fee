"""The engine on Ray: every video leaves with one outcome, whatever its row does to its worker."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.cloudpickle import register_pickle_by_value
from tests import stage_zoo

from vsumdata.manifests import upkeep
from vsumdata.manifests.store import Store
from vsumdata.pipeline.cluster import FETCHED_AHEAD, Pool, pool, run_blocks
from vsumdata.pipeline.errors import StorageError, UsageError
from vsumdata.pipeline.stage import Context, Stage
from vsumdata.pipeline.worker import Job

pytestmark = pytest.mark.ray
register_pickle_by_value(stage_zoo)  # Ray's workers cannot import the tests


def do(root: Path, stage: Stage, *video_ids: str, limit_s: float = 60, attempt: int = 1) -> dict[str, dict]:
    """Run the tasks; returns video_id -> its latest row."""
    store = Store(root)
    with upkeep.scratch_folder(store) as scratch:
        job = Job(
            stage=stage,
            context=Context(root=store.root, scratch=str(scratch)),
            fingerprint="f",
            inputs={},
            gpus=0,
            row_timeout_s=limit_s,
            max_attempts=5,
        )
        outcomes = [
            row for block in run_blocks(job, stage_zoo.tasks(*video_ids, attempt=attempt)) for row in block.to_pylist()
        ]
        assert not list(scratch.rglob("file")), "what `cleanup` names is removed after the commit"
    assert Counter(row["video_id"] for row in outcomes) == Counter(video_ids)
    parts = dict(zip(*(store.latest("zoo", "f")[c].to_pylist() for c in ("video_id", "part")), strict=True))
    rows = store.read("zoo", "f", parts, ["detail", "note", "gpu_ids", "pid", "seconds", "upstream"])
    assert {row["video_id"]: row["outcome"] for row in outcomes} == {i: row["outcome"] for i, row in rows.items()}
    return rows


def test_every_kind_of_row_leaves_its_outcome(ray_session: None, tmp_path: Path) -> None:
    good = [f"good-{number}" for number in range(12)]
    bad = ["skip-0", "fail-0", "retry-0", "crash-0", "poison-0", "dieonce-0"]
    rows = do(tmp_path, stage_zoo.stage(batch=4), *good[:6], *bad, *good[6:])
    found = {video_id: (row["outcome"], row["reason"]) for video_id, row in rows.items()}
    assert {found[video_id] for video_id in good} == {("done", "")}
    assert {video_id: found[video_id] for video_id in bad} == {
        "skip-0": ("skipped", "no_video"),
        "fail-0": ("failed", "unreadable"),
        "retry-0": ("retry", "transient"),
        "crash-0": ("failed", "error"),
        "poison-0": ("failed", "worker_died"),
        "dieonce-0": ("done", ""),
    }
    assert rows["crash-0"]["detail"] == "ZeroDivisionError: a bug"
    assert rows["retry-0"]["retry_after"] is not None
    assert not (tmp_path / "tmp").exists()


def test_a_row_that_hangs_ends_by_its_time_limit(ray_session: None, tmp_path: Path) -> None:
    rows = do(tmp_path, stage_zoo.stage(), "good-0", "hang-0", "good-1", limit_s=2)
    assert rows["hang-0"]["reason"] == "timeout"
    assert "hang" in rows["hang-0"]["detail"], "the trace says where it hung"
    assert {rows["good-0"]["outcome"], rows["good-1"]["outcome"]} == {"done"}


def test_parts_say_how_they_were_made_also_when_merged(ray_session: None, tmp_path: Path) -> None:
    do(tmp_path, stage_zoo.stage(options={"model": "m", "model_location": "/a/path"}), "ok-0", "ok-1", "ok-2")
    store = Store(tmp_path)
    for _ in range(2):
        for info in store.parts("zoo", "f"):
            made = json.loads(pq.read_schema(info.path).metadata[b"vsumdata"])
            assert (made["stage"], made["options"], made["device"]) == ("zoo", {"model": "m"}, "cpu")
            assert made["packages"]["torch"]
        upkeep.compact_table(store, "zoo", "f")
    assert len(store.parts("zoo", "f")) == 1


def test_downloads_do_not_run_far_ahead_of_the_workers(ray_session: None, tmp_path: Path) -> None:
    stage, ids = stage_zoo.stage(fetch=stage_zoo.fetch, workers=1), [f"slow-{number}" for number in range(16)]
    context = Context(root=str(tmp_path / "root"), scratch=str(tmp_path))
    limits = {"gpus": 0, "row_timeout_s": 60, "max_attempts": 5}
    job = Job(stage=stage, context=context, fingerprint="f", inputs={}, **limits)
    on_disk = [len(list(tmp_path.glob("media/*/file"))) for _ in run_blocks(job, stage_zoo.tasks(*ids))]
    assert len(on_disk) == len(ids)
    assert 1 < max(on_disk) <= FETCHED_AHEAD + 1


def test_the_last_attempt_fails(ray_session: None, tmp_path: Path) -> None:
    row = do(tmp_path, stage_zoo.stage(), "retry-0", attempt=5)["retry-0"]
    assert (row["outcome"], row["reason"], row["detail"]) == ("failed", "transient", "gave up after 5 attempts: later")


def test_a_full_disk_stops_the_run(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no room"):
        do(tmp_path, stage_zoo.stage(), "good-0", "diskfull-0")


def test_gpu_workers_get_gpus_and_their_fetch_does_not(ray_session: None, tmp_path: Path) -> None:
    stage = stage_zoo.stage(fetch=stage_zoo.fetch, gpus=1.0, workers=2)
    rows = do(tmp_path, stage, *(f"meet-{n}" for n in range(6)), "nofetch-0")
    assert (rows["nofetch-0"]["outcome"], rows["nofetch-0"]["detail"]) == ("skipped", "said by fetch")
    done = [row for row in rows.values() if row["outcome"] == "done"]
    assert all(len(row["gpu_ids"]) == 1 for row in done)
    assert {row["note"] for row in done} == {"by a worker with 0 GPUs"}
    assert len({row["pid"] for row in done}) == 2


def test_half_a_gpu_shares_one(ray_session: None, tmp_path: Path) -> None:
    rows = do(tmp_path, stage_zoo.stage(gpus=0.5, workers=2), *(f"good-{n}" for n in range(6)))
    assert all(len(row["gpu_ids"]) == 1 for row in rows.values())


def test_more_gpus_than_there_are_is_an_error_before_any_work(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this cluster has 2"):
        do(tmp_path, stage_zoo.stage(gpus=3.0), "good-0")
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    ("changes", "resources", "has_fetch", "expected"),
    [
        ({}, {"CPU": 2.0}, False, Pool(2, 1, 0, 1)),
        ({}, {"CPU": 2.0}, True, Pool(1, 1, 0, 1)),
        ({"workers": 4}, {"CPU": 2.0}, False, Pool(4, 0.5, 0, 1)),
        ({"gpus": -1}, {"CPU": 16.0}, True, Pool(15, 1, 0, 1)),
        ({"gpus": -1}, {"CPU": 16.0, "GPU": 2.0}, True, Pool(2, 1, 1, 7)),
        ({"gpus": 0.25}, {"CPU": 16.0, "GPU": 1.0}, False, Pool(4, 1, 0.25, 4)),
    ],
)
def test_pools_leave_a_place_for_every_operator(
    changes: dict, resources: dict[str, float], has_fetch: bool, expected: Pool
) -> None:
    assert pool(stage_zoo.stage(**changes), has_fetch, 100, resources) == expected
