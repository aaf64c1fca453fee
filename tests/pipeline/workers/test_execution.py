"""Workers that are given blocks while they run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pyarrow as pa
import pytest
from ray.cloudpickle import register_pickle_by_value
from tests.pipeline.workers import stage_zoo

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import StorageError
from vsumdata.manifests.store import Store
from vsumdata.pipeline.workers import execution
from vsumdata.pipeline.workers.cluster import Pool, pool, there
from vsumdata.pipeline.workers.execution import Execution
from vsumdata.pipeline.workers.worker import STOP, Job
from vsumdata.stages.stage import Context

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_with_gpus")]
register_pickle_by_value(stage_zoo)  # Ray's workers cannot import the tests


class Lane:
    """An execution and what it sends."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution

    def give(self, table: str, *video_ids: str, duration_s: float = 10.0, row_s: float = 0.0) -> None:
        tasks = [replace(task, duration_s=duration_s) for task in stage_zoo.tasks(*video_ids)]
        self.execution.give(table, tasks, row_s)

    def block(self) -> list[str] | None:
        """The videos of the next block that comes back; None at the end."""
        _, said = self.execution.inbox.get(timeout=60)
        if isinstance(said, pa.Table):
            self.execution.came_back()
            return said["video_id"].to_pylist()
        if said is not None:
            raise said
        return None

    def rest(self) -> list[str]:
        """The videos that come back until the end."""
        return [video_id for block in iter(self.block, None) for video_id in block]


@contextlib.contextmanager
def lane(root: Path, *tables: str, workers: int | None = 1, size: Pool | None = None, batch: int = 1) -> Iterator[Lane]:
    store = Store(root)
    with upkeep.scratch_folder(store) as scratch:
        context = Context(root=store.root, scratch=str(scratch), row_timeout_s=60)
        stages = {table: stage_zoo.stage(name=table, workers=workers, batch=batch) for table in tables}
        jobs = {
            table: Job(stage=stage, context=context, fingerprint="f", inputs={}, gpus=0, max_attempts=5)
            for table, stage in stages.items()
        }
        size = size or pool(stages[tables[0]], 100, there())
        made = Execution(jobs, size, SimpleQueue[Any]())
        made.start()
        try:
            yield Lane(made)
        finally:
            made.is_stopping = True
            (scratch / STOP).touch()
            assert made.stop(1.0)


def processes(root: Path, table: str) -> Mapping[str, int]:
    """Video -> the process that made its row."""
    store = Store(root)
    latest = store.latest(table, "f")
    parts = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
    return {video_id: row["pid"] for video_id, row in store.read(table, "f", parts, ["pid"]).items()}


def test_one_process_does_all_waves_of_all_tables(tmp_path: Path) -> None:
    with lane(tmp_path, "zoo", "bar") as given:
        given.give("zoo", "good-0")
        assert given.block() == ["good-0"]
        given.give("bar", "good-0")
        assert given.block() == ["good-0"]
        given.give("zoo", "good-1")
        given.execution.close()
        assert given.rest() == ["good-1"]
    of_zoo, of_bar = processes(tmp_path, "zoo"), processes(tmp_path, "bar")
    assert (of_zoo.keys(), of_bar.keys()) == ({"good-0", "good-1"}, {"good-0"})
    assert len({*of_zoo.values(), *of_bar.values()}) == 1


def test_what_was_given_is_done_before_it_ends(tmp_path: Path) -> None:
    names = [f"good-{number}" for number in range(12)]
    with lane(tmp_path, "zoo") as given:
        given.give("zoo", *names)
        assert given.execution.waiting, "Ray has no more than two blocks for a worker"
        assert not given.execution.is_hungry
        given.execution.close()
        assert sorted(given.rest()) == sorted(names)
    assert processes(tmp_path, "zoo").keys() == set(names)


def test_an_execution_that_waits_costs_next_to_nothing(tmp_path: Path) -> None:
    """Ray's own loop asks without a pause where no task runs."""
    with lane(tmp_path, "zoo") as given:
        given.give("zoo", "good-0")
        given.block()
        before = time.process_time()
        time.sleep(3)
        assert time.process_time() - before < 1.5, "half of a core"
        given.give("zoo", "good-1")
        assert given.block() == ["good-1"]


def test_an_error_ends_it_while_it_waits_for_more(tmp_path: Path) -> None:
    with lane(tmp_path, "zoo") as given:
        given.give("zoo", "diskfull-0")
        with pytest.raises(StorageError, match="no room"):
            given.rest()


@pytest.mark.parametrize(("duration_s", "grows"), [(10.0, False), (600.0, True)])
def test_workers_come_with_the_media_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duration_s: float, grows: bool
) -> None:
    monkeypatch.setattr(execution, "FEWEST_WORKERS", 1)
    names = [f"slow-{number}" for number in range(20)]
    with lane(tmp_path, "zoo", workers=None, size=Pool(workers=3, cpus=0.5, gpus=0.0, threads=1)) as given:
        given.give("zoo", *names, duration_s=duration_s)
        given.execution.close()
        assert sorted(given.rest()) == sorted(names)
    assert (len(set(processes(tmp_path, "zoo").values())) > 1) == grows


def test_slow_rows_come_back_one_by_one(tmp_path: Path) -> None:
    with lane(tmp_path, "zoo", batch=8) as given:
        given.give("zoo", *(f"good-{number}" for number in range(8)))
        assert len(given.block() or []) == 8
        given.give("zoo", *(f"good-{number}" for number in range(8, 12)), row_s=2.0)
        assert [len(given.block() or []) for _ in range(2)] == [2, 2], "five seconds of work"
