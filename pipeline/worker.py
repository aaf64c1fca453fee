"""What runs inside Ray's workers: read the inputs, do one video at a time, commit part files.

This holds the one broad `except` of the code base: whatever a stage's function raises becomes that video's
outcome. Only outcomes travel to the driver.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import fcntl
import json
import logging
import os
import pickle
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from vsumdata.manifests import rows, tables
from vsumdata.manifests.store import Store
from vsumdata.pipeline.commits import Commits
from vsumdata.pipeline.errors import StorageError, ThrottledError, UsageError, VideoError
from vsumdata.pipeline.guard import Guard
from vsumdata.pipeline.plan import payload_schema, table_schema
from vsumdata.pipeline.secrets import RedactingFormatter, redact, secrets_of
from vsumdata.pipeline.stage import Context, Function, Row, Stage

DETAIL_LENGTH = 2000
MADE_BY = "vsumdata"  # key of the metadata of a part's schema
MAKERS = ("vsumdata", "torch", "open_clip_torch", "sentence-transformers", "faster-whisper", "openai-whisper", "yt-dlp")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
OUTCOME_COLUMNS = ("video_id", "outcome", "reason", "seconds")
log = logging.getLogger("vsumdata.worker")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stage of one run, as the workers get it."""

    stage: Stage
    context: Context
    fingerprint: str
    inputs: Mapping[str, str]  # table -> fingerprint
    gpus: float
    row_timeout_s: float
    max_attempts: int


def pack(tasks: list[Any]) -> pa.Table:
    """One block of tasks: what travels from the driver to a worker."""
    return pa.table({"task": pa.array([pickle.dumps(task) for task in tasks], pa.binary())})


class Worker:
    """What both kinds of workers share: the store, the context and the guard around each row."""

    def __init__(self, job: Job, role: str) -> None:
        self.job = job
        self.store = Store(job.context.root)
        self.guard = Guard(Path(job.context.scratch), f"{job.stage.name}-{role}", job.row_timeout_s)
        device = "cuda" if job.gpus and cuda_works() else "cpu"
        self.context = replace(job.context, device=device, pace=self.paced if job.context.pace else None)
        self.secrets = secrets_of(job.context.crawl.get("yt_dlp") or {})
        name = f"{Path(job.context.scratch).name}-{job.stage.name}-{role}-{os.getpid()}"
        log_to(job.context.root, name, self.secrets)
        # Cleaning another run's scratch folder needs this lock; a worker may outlive its killed driver by seconds.
        self.alive = (Path(job.context.scratch) / "alive").open("a")
        with contextlib.suppress(OSError):
            fcntl.flock(self.alive, fcntl.LOCK_SH)

    def paced(self, host: str) -> None:
        """Wait for the host's turn; the row's time limit begins anew after it."""
        assert self.job.context.pace is not None
        faulthandler.cancel_dump_traceback_later()
        self.job.context.pace(host)
        self.guard.arm()

    def read_rows(self, block: pa.Table) -> list[Row]:
        """The rows of a block with their upstream columns: `{"video_id", "source", TABLE: {...} | None}`."""
        tasks = [pickle.loads(task) for task in block["task"].to_pylist()]
        found = [{"video_id": t.video_id, "source": t.record.as_dict(), "task": t} for t in tasks]
        for table, columns in self.job.stage.inputs().items():
            parts = {task.video_id: task.parts[table] for task in tasks if table in task.parts}
            content = self.store.read(table, self.job.inputs[table], parts, columns) if parts else {}
            for row in found:
                row[table] = content.get(row["video_id"])
        return found

    def attempt(self, function: Function, row: Row) -> Row:
        """Call `function`, turning what it raises into values: `{"outcome", "reason", "detail", …}`."""
        while True:
            try:
                with self.guard.row(row["video_id"]):
                    return {"outcome": tables.DONE, "reason": "", "result": function(row)}
            except ThrottledError as error:
                self.trip(error)  # nobody's fault: wait with everybody else, then the same row again
            except VideoError as error:
                found = {"outcome": error.outcome, "reason": error.reason, "detail": error.detail}
                return found | {"after_s": getattr(error, "after_s", None)}
            except (StorageError, UsageError):
                raise  # no video's fault: a full disk, a model or a program that is not there
            except Exception as error:  # the one broad except: a video's error is its outcome
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    raise StorageError(f"{self.job.context.root}: {error}; make room and run again") from error
                log.warning("%s: %s", row["video_id"], traceback.format_exc())
                detail = f"{type(error).__name__}: {error}"
                return {"outcome": tables.FAILED, "reason": "error", "detail": detail}

    def trip(self, error: ThrottledError) -> None:
        trip = getattr(self.job.context.pace, "trip", None)
        if trip is None:
            time.sleep(min(error.after_s or 60.0, 60.0))
        else:
            trip(error.host, error.after_s, redact(error.detail, self.secrets))


class FetchWorker(Worker):
    """Runs a stage's `fetch` ahead of the stage, on CPUs; what goes wrong travels on as the row's outcome."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, "fetch")
        assert job.stage.fetch is not None
        self.function = job.stage.fetch(job.stage.options, self.context)

    def __call__(self, block: pa.Table) -> pa.Table:
        found = []
        for row in self.read_rows(block):
            begun = time.monotonic()
            answer = self.attempt(self.function, row)
            row = answer.pop("result", row) | {"fetched_in_s": time.monotonic() - begun}
            found.append(row if answer["outcome"] == tables.DONE else row | {"fetch_outcome": answer})
        return pa.table({"row": pa.array([pickle.dumps(row) for row in found], pa.binary())})


class StageWorker(Worker):
    """Runs a stage's function and commits its table."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, "work")
        with self.guard.loading():
            self.function = job.stage.load(job.stage.options, self.context)
        fetch = job.stage.fetch
        self.fetch = fetch(job.stage.options, self.context) if fetch is not None else None
        self.schema = table_schema(job.stage).with_metadata({MADE_BY: json.dumps(made_by(job, self.context.device))})
        self.empty = dict.fromkeys(payload_schema(job.stage).names)

    def __call__(self, block: pa.Table) -> pa.Table:
        is_fetched = "row" in block.column_names
        todo = [pickle.loads(row) for row in block["row"].to_pylist()] if is_fetched else self.read_rows(block)
        answers: list[Row] = []
        with Commits(self.commit) as commits:
            for row in todo:
                begun = time.monotonic()
                answer = row.get("fetch_outcome") or self.attempt(self.work, row)
                seconds = time.monotonic() - begun + row.get("fetched_in_s", 0.0)
                answers.append(self.finished(row, answer, seconds))
                commits.add(answers[-1])
        for row in todo:
            for path in row.get("cleanup", ()):
                remove(Path(path))
        outcomes = {name: [answer[name] for answer in answers] for name in OUTCOME_COLUMNS}
        return pa.table(outcomes | {"signal": pa.array(map(self.signal, answers), pa.bool_())})

    def signal(self, answer: Row) -> bool | None:
        ask = self.job.stage.signal
        return ask(answer) if ask is not None and answer["outcome"] == tables.DONE else None

    def work(self, row: Row) -> Row:
        """The stage's function; what `fetch` brought is brought again where it is gone (another machine, a restart)."""
        brought = [*row.get("cleanup", ()), *filter(None, [row.get("media")])]
        if self.fetch is not None and not all(Path(path).exists() for path in brought):
            row |= self.fetch(row)
        return self.function(row)

    def finished(self, row: Row, answer: Row, seconds: float) -> Row:
        """The row of the table: the payload where the outcome is `done`, else nulls."""
        task = row["task"]
        outcome, detail, payload = answer["outcome"], answer.get("detail") or "", dict(self.empty)
        if outcome == tables.DONE:
            result = dict(answer["result"])
            detail = result.pop("detail", None) or ""
            payload = result
        retry_after = None
        if outcome == tables.RETRY and task.attempt >= self.job.max_attempts:
            outcome, detail = tables.FAILED, f"gave up after {task.attempt} attempts: {detail}"
        elif outcome == tables.RETRY:
            retry_after = datetime.now(UTC) + timedelta(seconds=answer["after_s"])
        if answer["reason"] and answer["reason"] not in tables.REASONS:
            outcome, detail = tables.FAILED, f"unknown reason `{answer['reason']}`: {detail}"
            answer = answer | {"reason": "error"}
        return {
            "video_id": row["video_id"],
            "outcome": outcome,
            "reason": answer["reason"],
            "detail": redact(detail, self.secrets)[:DETAIL_LENGTH],
            "attempt": task.attempt,
            "committed_at": datetime.now(UTC),
            "seconds": seconds,
            "retry_after": retry_after,
            "upstream": dict(task.upstream),
            **payload,
            "digest": rows.digests(payload),
        }

    def commit(self, finished: list[Row]) -> None:
        now = datetime.now(UTC)
        content = rows.to_table(self.schema, [row | {"committed_at": now} for row in finished])
        self.store.write(self.job.stage.name, self.job.fingerprint, content)


def log_to(root: str, name: str, secrets: tuple[str, ...]) -> None:
    """What a worker has to say goes to `<root>/logs`; no file is made where it says nothing."""
    if "://" in root:
        return
    folder = Path(root) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"{name}.log", delay=True)
    handler.setFormatter(RedactingFormatter(secrets))
    logging.getLogger("vsumdata").addHandler(handler)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def made_by(job: Job, device: str) -> dict[str, Any]:
    """What a part file says of its making, for who holds nothing but the file."""
    options = {name: value for name, value in job.stage.options.items() if not name.endswith("location")}
    return {
        "stage": job.stage.name,
        "version": job.stage.version,
        "options": json.loads(json.dumps(options, default=str)),
        "device": device,
        "packages": {name: version(name) for name in MAKERS},
    }


def cuda_works() -> bool:
    import torch

    return torch.cuda.is_available()
