"""Stages whose rows misbehave, for the tests of the engine. Their functions must be importable by Ray's workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from vsumdata.manifests.errors import FailVideo, RetryVideo, SkipVideo, StorageError
from vsumdata.manifests.sources import Record
from vsumdata.pipeline.state.plan import Task
from vsumdata.stages.stage import Context, Function, Row, Stage

PAYLOAD = pa.schema([("note", pa.string()), ("gpu_ids", pa.list_(pa.int64())), ("pid", pa.int64())])


def load(options: Mapping[str, Any], context: Context) -> Function:
    import ray

    def behave(row: Row) -> Row:
        kind = row["video_id"].partition("-")[0]
        behaviour = BEHAVIOURS.get(kind)
        if behaviour is not None:
            behaviour(row, context)
        gpus = [int(gpu) for gpu in ray.get_gpu_ids()]
        return {"note": row.get("fetched", kind), "gpu_ids": gpus, "pid": os.getpid()}

    return behave


def fetch(options: Mapping[str, Any], context: Context) -> Function:
    import ray

    def bring(row: Row) -> Row:
        if row["video_id"].startswith("nofetch"):
            raise SkipVideo("too_big", "said by fetch")
        path = context.media_dir(row["video_id"]) / "file"
        path.write_text("media")
        return row | {"fetched": f"by a worker with {len(ray.get_gpu_ids())} GPUs"}

    return bring


def skip(row: Row, context: Context) -> None:
    raise SkipVideo("no_video", "nothing to see")


def fail(row: Row, context: Context) -> None:
    raise FailVideo("unreadable", "broken")


def retry(row: Row, context: Context) -> None:
    raise RetryVideo("transient", 3600, "later")


def crash(row: Row, context: Context) -> None:
    raise ZeroDivisionError("a bug")


def poison(row: Row, context: Context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(row: Row, context: Context) -> None:
    time.sleep(3600)


def slow(row: Row, context: Context) -> None:
    time.sleep(0.4)


def meet(row: Row, context: Context) -> None:
    """Wait until two workers are at it."""
    folder = Path(context.root) / "met"
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + 50
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)


def die_once(row: Row, context: Context) -> None:
    """A worker killed from outside, once: the row is innocent."""
    marker = Path(context.root) / f"{row['video_id']}.died"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def disk_full(row: Row, context: Context) -> None:
    raise StorageError("no room")


BEHAVIOURS = {
    "skip": skip,
    "fail": fail,
    "retry": retry,
    "crash": crash,
    "poison": poison,
    "hang": hang,
    "slow": slow,
    "meet": meet,
    "dieonce": die_once,
    "diskfull": disk_full,
}


def stage(**changes: Any) -> Stage:
    return Stage(**{"name": "zoo", "reads": {}, "load": load, "payload": PAYLOAD} | changes)


def tasks(*video_ids: str, tries: int = 0) -> list[Task]:
    return [Task(Record(video_id=i, source="ids:test"), 1 + tries, tries, {}, {}) for i in video_ids]
