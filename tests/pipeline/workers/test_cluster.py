"""The engine on Ray: every video leaves with one outcome, whatever its row does to its worker."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.cloudpickle import register_pickle_by_value
from tests.pipeline.workers import stage_zoo

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import StorageError, UsageError
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.plan import Task
from vsumdata.pipeline.workers.cluster import Pool, check_gpus, pool, there
from vsumdata.pipeline.workers.execution import Execution, worth
from vsumdata.pipeline.workers.keeper import is_seen
from vsumdata.pipeline.workers.worker import STOP, Job
from vsumdata.stages.stage import Context, Stage

pytestmark = pytest.mark.ray
register_pickle_by_value(stage_zoo)  # Ray's workers cannot import the tests


def run_blocks(job: Job, tasks: list[Task]) -> Iterator[pa.Table]:
    """The outcomes of an execution, block by block."""
    inbox: SimpleQueue[Any] = SimpleQueue()
    execution = Execution({"zoo": job}, pool(job.stage, len(tasks), there()), inbox)
    execution.start()
    execution.give("zoo", tasks, 0.0)
    execution.close()
    while True:
        _, said = inbox.get(timeout=120)
        if not isinstance(said, pa.Table):
            break
        execution.came_back()
        yield said
    if said is not None:
        raise said


def do(root: Path, stage: Stage, *video_ids: str, limit_s: float = 60, tries: int = 0) -> dict[str, dict]:
    """Run the tasks; returns video_id -> its latest row."""
    store = Store(root)
    with upkeep.scratch_folder(store) as scratch:
        job = Job(
            stage=stage,
            context=Context(root=store.root, scratch=str(scratch), row_timeout_s=limit_s),
            fingerprint="f",
            inputs={},
            gpus=0,
            max_attempts=5,
        )
        outcomes = [
            row for block in run_blocks(job, stage_zoo.tasks(*video_ids, tries=tries)) for row in block.to_pylist()
        ]
        assert not list(scratch.rglob("file")), "the files that a stage needs are removed after the commit"
    assert Counter(row["video_id"] for row in outcomes) == Counter(video_ids)
    parts = dict(zip(*(store.latest("zoo", "f")[c].to_pylist() for c in ("video_id", "part")), strict=True))
    rows = store.read("zoo", "f", parts, ["detail", "note", "gpu_ids", "pid", "seconds", "upstream"])
    assert {row["video_id"]: row["outcome"] for row in outcomes} == {i: row["outcome"] for i, row in rows.items()}
    return rows


def test_every_kind_of_row_leaves_its_outcome(ray_with_gpus: None, tmp_path: Path) -> None:
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
    assert not upkeep.scratch_parent(Store(tmp_path)).exists()


def test_a_row_that_hangs_ends_by_its_time_limit(ray_with_gpus: None, tmp_path: Path) -> None:
    rows = do(tmp_path, stage_zoo.stage(), "good-0", "hang-0", "good-1", limit_s=2)
    assert rows["hang-0"]["reason"] == "timeout"
    assert "hang" in rows["hang-0"]["detail"], "the trace says where it hung"
    assert {rows["good-0"]["outcome"], rows["good-1"]["outcome"]} == {"done"}


def test_parts_say_how_they_were_made_also_when_merged(ray_with_gpus: None, tmp_path: Path) -> None:
    do(tmp_path, stage_zoo.stage(options={"model": "m", "model_location": "/a/path"}), "ok-0", "ok-1", "ok-2")
    store = Store(tmp_path)
    for _ in range(2):
        for info in store.parts("zoo", "f"):
            made = json.loads(pq.read_schema(info.path).metadata[b"vsumdata"])
            assert (made["stage"], made["options"], made["device"]) == ("zoo", {"model": "m"}, "cpu")
            assert made["packages"]["torch"]
        upkeep.compact_table(store, "zoo", "f")
    assert len(store.parts("zoo", "f")) == 1


def test_the_last_try_fails(ray_with_gpus: None, tmp_path: Path) -> None:
    row = do(tmp_path, stage_zoo.stage(), "retry-0", tries=4)["retry-0"]
    assert (row["outcome"], row["reason"], row["detail"]) == ("failed", "transient", "gave up after 5 tries: later")
    assert (row["version"], row["tries"]) == (5, 5)


def test_a_full_disk_stops_the_run(ray_with_gpus: None, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no room"):
        do(tmp_path, stage_zoo.stage(), "good-0", "diskfull-0")


def test_each_gpu_worker_gets_a_gpu_and_brings_its_files(ray_with_gpus: None, tmp_path: Path) -> None:
    stage = stage_zoo.stage(fetch=stage_zoo.fetch, needs="picture", gpus=1.0, workers=2)
    rows = do(tmp_path, stage, *(f"meet-{n}" for n in range(6)), "nofetch-0")
    assert (rows["nofetch-0"]["outcome"], rows["nofetch-0"]["detail"]) == ("skipped", "said by fetch")
    done = [row for row in rows.values() if row["outcome"] == "done"]
    assert all(len(row["gpu_ids"]) == 1 for row in done)
    assert {row["note"] for row in done} == {"by a worker with 1 GPUs"}
    assert len({row["pid"] for row in done}) == 2


@pytest.mark.parametrize("moment", ["begins", "works on its first row", "works"])
def test_a_stopped_execution_is_over_when_stop_returns(ray_with_gpus: None, tmp_path: Path, moment: str) -> None:
    store, stage, inbox = Store(tmp_path), stage_zoo.stage(), SimpleQueue[Any]()
    with upkeep.scratch_folder(store) as scratch:
        context = Context(root=store.root, scratch=str(scratch), row_timeout_s=60)
        job = Job(stage=stage, context=context, fingerprint="f", inputs={}, gpus=0, max_attempts=5)
        execution = Execution({"zoo": job}, pool(stage, 5, there()), inbox)
        execution.start()
        if moment == "works":
            execution.give("zoo", stage_zoo.tasks("good-0"), 0.0)
            assert isinstance(inbox.get(timeout=60)[1], pa.Table)
        # Only now: a worker does what it was sent in any order, and might begin with one that hangs.
        execution.give("zoo", stage_zoo.tasks(*(f"hang-{n}" for n in range(4))), 0.0)
        until = time.monotonic() + 60
        while moment != "begins" and not list(scratch.glob("rows/zoo/*.trace")) and time.monotonic() < until:
            time.sleep(0.05)
        execution.is_stopping = True
        (scratch / STOP).touch()
        assert execution.stop(0.1)
        executors = [thread.name for thread in threading.enumerate() if thread.name.startswith("StreamingExecutor")]
        assert executors == []


def test_half_a_gpu_shares_one(ray_with_gpus: None, tmp_path: Path) -> None:
    rows = do(tmp_path, stage_zoo.stage(gpus=0.5, workers=2), *(f"good-{n}" for n in range(6)))
    assert all(len(row["gpu_ids"]) == 1 for row in rows.values())


def test_more_gpus_than_there_are_is_an_error_before_any_work(ray_with_gpus: None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this cluster has 2"):
        do(tmp_path, stage_zoo.stage(gpus=3.0), "good-0")
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    ("changes", "resources", "kept_free", "expected"),
    [
        ({}, {"CPU": 2.0}, 0.0, Pool(2, 1, 0, 1)),
        ({}, {"CPU": 2.0}, 0.5, Pool(2, 0.75, 0, 1)),
        ({"workers": 4}, {"CPU": 2.0}, 0.0, Pool(4, 0.5, 0, 1)),
        ({"gpus": -1}, {"CPU": 16.0}, 0.5, Pool(16, 15.5 / 16, 0, 1)),
        ({"gpus": -1}, {"CPU": 16.0, "GPU": 2.0}, 0.5, Pool(2, 1, 1, 7)),
        ({"gpus": 0.25}, {"CPU": 16.0, "GPU": 1.0}, 0.0, Pool(4, 1, 0.25, 4)),
        ({"lane": "visits"}, {"CPU": 96.0}, 0.5, Pool(2, 0.125, 0, 1)),
        ({"lane": "visits", "workers": 50}, {"CPU": 2.0}, 0.5, Pool(50, 0.005, 0, 1)),
    ],
)
def test_pools_leave_a_place_for_every_lane(
    changes: dict, resources: dict[str, float], kept_free: float, expected: Pool
) -> None:
    assert pool(stage_zoo.stage(**changes), 100, [resources], kept_free) == expected


@pytest.mark.parametrize(
    ("changes", "nodes", "kept_free", "expected"),
    [
        ({}, [{"CPU": 4.0}, {"CPU": 4.0}], 0.0, Pool(8, 1, 0, 1)),
        # A worker must fit into one node: with a whole CPU none would, beside the visitors.
        ({}, [{"CPU": 1.0}] * 3, 0.5, Pool(3, 0.5, 0, 1)),
        ({}, [{"CPU": 64.0}, {"CPU": 0.5}], 0.0, Pool(65, 64 / 65, 0, 1)),
        ({}, [{"CPU": 64.0}, {"CPU": 0.25}], 0.0, Pool(64, 1, 0, 1)),
        ({"gpus": -1}, [{"CPU": 64.0}, {"CPU": 8.0, "GPU": 2.0}], 0.0, Pool(2, 1, 1, 4)),
        ({"gpus": 0.5}, [{"CPU": 4.0, "GPU": 1.0}] * 2, 0.0, Pool(4, 1, 0.5, 2)),
        ({"memory_gb": 4.0}, [{"CPU": 8.0, "memory": 9e9}, {"CPU": 8.0, "memory": 5e9}], 0.0, Pool(3, 1, 0, 5, 4e9)),
    ],
)
def test_a_worker_fits_into_one_node(changes: dict, nodes: list[dict], kept_free: float, expected: Pool) -> None:
    assert pool(stage_zoo.stage(**changes), 100, nodes, kept_free) == expected


def test_gpus_of_two_nodes_do_not_make_one_worker() -> None:
    with pytest.raises(UsageError, match=r"2 GPU\(s\) each, but this cluster has 2"):
        pool(stage_zoo.stage(gpus=2.0), 1, [{"CPU": 4.0, "GPU": 1.0}] * 2)


def test_short_work_starts_few_workers_unless_the_manifest_gives_their_number() -> None:
    assert worth(stage_zoo.stage(), 40, [10.0, 30.0]) == 3, "800 s of media"
    assert worth(stage_zoo.stage(), 2, []) == 2
    assert worth(stage_zoo.stage(), 2, [9000.0]) == 2, "never more workers than videos"
    assert worth(stage_zoo.stage(workers=8), 40, [1.0]) == worth(stage_zoo.stage(lane="visits"), 40, [1.0]) == 40


def test_a_cluster_that_may_grow_is_asked_and_gets_its_time(ray_with_gpus: None) -> None:
    said: list[str] = []
    with pytest.raises(UsageError, match="this cluster has 2"):
        check_gpus([stage_zoo.stage(gpus=3.0)], True, 0.5, said.append)
    assert said == ["waiting up to 0:00 for the cluster to start machines with GPUs"]
    check_gpus([stage_zoo.stage(gpus=2.0)], True, 0.5, said.append)
    assert len(said) == 1


def test_no_worker_asks_for_more_memory_than_there_is() -> None:
    stage = stage_zoo.stage(memory_gb=4.0)
    assert pool(stage, 100, [{"CPU": 8.0, "memory": 9e9}]) == Pool(2, 1, 0, 4, memory_bytes=4e9)
    assert pool(stage, 100, [{"CPU": 8.0, "memory": 3e9}]) == Pool(8, 1, 0, 1), "it is not asked for, or it would wait"


def test_a_node_without_the_root_is_seen(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    assert is_seen(str(tmp_path / "mark"))
    assert not is_seen(str(tmp_path / "other" / "mark"))
    assert not is_seen(str(tmp_path / "elsewhere"))


def test_ray_starts_where_tmpdir_is_longer_than_a_sockets_path_and_never_again(tmp_path: Path) -> None:
    """A thread that calls Ray after its shutdown must not start another one."""
    folder = tmp_path / f"one {'long' * 10}" / f"two {'long' * 10}"
    folder.mkdir(parents=True)
    code = """if True:
        from vsumdata.pipeline.workers.cluster import cluster
        with cluster(None):
            import ray
            print(ray.nodes()[0]["ObjectStoreSocketName"])
        try:
            ray.put(1)
        except Exception as error:
            print(type(error).__name__, ray.is_initialized())
    """
    environment = {name: value for name, value in os.environ.items() if name != "RAY_TMPDIR"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"TMPDIR": str(folder)}, capture_output=True, text=True
    )
    own = Path(f"/tmp/vsumdata-{os.geteuid()}")
    assert answer.stdout.startswith(f"{own}/ray/session_"), answer.stderr
    assert answer.stdout.endswith("RaySystemError False\n"), answer.stdout
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
