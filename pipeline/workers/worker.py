"""Code that runs inside Ray's workers: read the inputs, do one video at a time, commit part files.

It holds the one broad `except` of the code base: an error of a stage's function becomes that video's outcome. Only
outcomes travel to the driver.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import gc
import json
import logging
import os
import pickle
import shutil
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from vsumdata.manifests import clock, rows, tables, upkeep
from vsumdata.manifests.errors import ClusterError, SetupError, StorageError, ThrottledError, UsageError, VideoError
from vsumdata.manifests.roots.logs import log_handler
from vsumdata.manifests.store import MADE_BY, Store
from vsumdata.pipeline.state.pace import Pace, site
from vsumdata.pipeline.state.plan import Task, payload_schema, table_schema
from vsumdata.pipeline.state.secrets import RedactingFormatter, redact, secrets_of_run
from vsumdata.pipeline.workers import meters
from vsumdata.pipeline.workers.commits import Commits
from vsumdata.pipeline.workers.guard import Guard
from vsumdata.pipeline.workers.keeper import STOP, Lost, ask, bring_over
from vsumdata.pipeline.workers.retries import backoff_s, put_off, sent_back
from vsumdata.stages.stage import Context, Function, Row, Stage

DETAIL_LENGTH = 2000
MAKERS = ("vsumdata", "torch", "open_clip_torch", "sentence-transformers", "faster-whisper", "openai-whisper", "yt-dlp")
# Errors of the disk, not of a video: no space, quota, file size limit, read-only.
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
OUTCOME_COLUMNS = ("video_id", "outcome", "reason", "seconds")
# A row that meets a refusal this often goes back, so that others go on.
MAX_TRIPS = 3
log = logging.getLogger("vsumdata.worker")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stage of one run, as sent to the workers."""

    stage: Stage
    context: Context
    fingerprint: str
    # Table -> fingerprint of the tables that the stage reads.
    inputs: Mapping[str, str]
    gpus: float
    max_attempts: int
    # The driver's node on a cluster; "" where Ray has this machine alone.
    home: str = ""


def pack(table: str, tasks: Sequence[Task]) -> pa.Table:
    """Pack tasks of a table into one block of one row, which travels from the driver to a worker."""
    return pa.table({"tasks": pa.array([pickle.dumps((table, list(tasks)))], pa.binary())})


class Stopping(BaseException):
    """Raised in the middle of a row that a run's end leaves undone. No outcome: no `except Exception` sees it."""


class LaneWorker:
    """What runs in a process of Ray's: a worker of each of the lane's tables, made when the first row needs it.

    So a process imports torch once and loads each model once, however the tables take turns.
    """

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        first = next(iter(jobs.values()))
        scratch = Path(first.context.scratch)
        name = f"{scratch.name}-{first.stage.lane}-{os.getpid()}"
        if first.home:
            # The same folder of the run as the driver's, but where this machine has its temporary files.
            scratch = upkeep.scratch_parent(Store(first.context.root)) / scratch.name
            # In containers each process may have the same id.
            name += f"-{this_node()[:8]}"
        self.jobs = {
            table: replace(job, context=replace(job.context, scratch=str(scratch))) for table, job in jobs.items()
        }
        self.workers: dict[str, StageWorker | VisitWorker] = {}
        log_to(Store(first.context.root), name, secrets_of_run(first.context))

    def __call__(self, block: pa.Table) -> pa.Table:
        [packed] = block["tasks"].to_pylist()
        table, tasks = pickle.loads(packed)
        if table not in self.workers:
            job = self.jobs[table]
            self.workers[table] = VisitWorker(job) if job.stage.is_visit else StageWorker(job)
        return self.workers[table](tasks)


class Worker:
    """Both kinds of workers: the store, the context and the guard around each row."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.store = Store(job.context.root)
        self.guard = Guard(Path(job.context.scratch), job.stage.name, job.context.row_timeout_s)
        self.stop_mark = Path(job.context.scratch) / STOP
        self.node = this_node()
        # Visits of the row in progress, by host; the host that was visited last, and its rate if it has its own.
        self.visits: Counter[str] = Counter()
        self.host = ""
        self.interval_s: float | None = None
        device = "cuda" if job.gpus and cuda_works() else "cpu"
        pace = self.paced if job.context.pace else None
        self.context = replace(job.context, device=device, pace=pace, progress=self.guard.arm)
        self.secrets = (*self.store.secrets, *secrets_of_run(job.context))

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the lock that tells that somebody works for this run."""
        # A worker outlives its killed driver by seconds, and Ray keeps the idle workers of a failed execution. The
        # scratch folder may be removed, and an ended run may put its last rows back, only once nobody is at work.
        with upkeep.enter_scratch(Path(self.job.context.scratch)):
            yield

    def is_stopping(self) -> bool:
        """Whether the run ends: then finished rows are committed at once and no other row is begun."""
        return self.stop_mark.exists()

    def pace(self) -> Pace | None:
        """The run's pace, at the rate of the host visited last. None without a run, as in tests."""
        found = self.job.context.pace
        if not isinstance(found, Pace):
            return None
        return found if self.interval_s is None else replace(found, seconds_between_requests=self.interval_s)

    def paced(self, host: str, interval_s: float | None = None) -> None:
        """Wait for the host's turn and count the visit; then the row's time limit starts anew."""
        assert self.job.context.pace is not None
        self.interval_s = interval_s
        # A closed breaker may hold a row for hours, which is not the row's fault.
        faulthandler.cancel_dump_traceback_later()
        (self.pace() or self.job.context.pace)(host, self.check_stopping)
        self.host = host
        self.visits[site(host)] += 1
        self.guard.arm()

    def check_stopping(self) -> None:
        if self.is_stopping():
            raise Stopping

    def read_rows(self, tasks: Sequence[Task]) -> list[Row]:
        """Read the tasks' rows with their upstream columns: `{"video_id", "source", TABLE: {...} | None}`."""
        found: list[Row] = [{"video_id": t.video_id, "source": t.record.as_dict(), "task": t} for t in tasks]
        for table, columns in self.job.stage.inputs().items():
            parts = {task.video_id: task.parts[table] for task in tasks if table in task.parts}
            content = self.store.read(table, self.job.inputs[table], parts, columns) if parts else {}
            for row in found:
                row[table] = content.get(row["video_id"])
        if self.job.stage.keeps:
            self.add_kept(found)
        return found

    def add_kept(self, found: list[Row]) -> None:
        """Give rows that older code has made the raw answers of then, as `kept`, if their inputs are still the same."""
        # A first row only: whatever is asked for again is to be asked again.
        new = {row["video_id"]: row for row in found if row["task"].version == 1}
        name, reads = self.job.stage.name, [f"upstream.{table}" for table in self.job.stage.reads]
        for at in self.store.older(name, self.job.fingerprint) if new else ():
            try:
                latest = self.store.latest(name, at, reads)
                parts = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
                parts = {video_id: part for video_id, part in parts.items() if video_id in new}
                stored = self.store.read(name, at, parts, ["upstream", *self.job.stage.keeps]) if parts else {}
            except (StorageError, pa.ArrowException, KeyError):
                # A folder of a version that had other columns.
                continue
            for video_id, old in stored.items():
                if old["outcome"] == tables.DONE and old["upstream"] == dict(new[video_id]["task"].upstream):
                    new.pop(video_id)["kept"] = {column: old.get(column) for column in self.job.stage.keeps}

    def attempt(self, function: Function, row: Row) -> Row:
        """Call `function` and return its outcome: `{"outcome", "reason", "detail", …}`, with `result` if `done`.

        `is_free` says that nobody is at fault: then the try is not counted and nothing is stored. A video's error is a
        value, because Ray drops the whole block of a row that raises. Raises StorageError or UsageError, which stop
        the run, and Stopping.
        """
        self.visits, self.host, self.interval_s = Counter(), "", None
        trips = 0
        while True:
            try:
                with self.guard.row(row["video_id"]):
                    result = function(row)
                self.answered(None)
                return {"outcome": tables.DONE, "reason": "", "result": result}
            except ThrottledError as error:
                # Nobody's fault: wait with all other workers, then try the same row again. But it may be the row that
                # sets the host off each time, and others must go on.
                pause_s, trips = self.trip(error), trips + 1
                if trips == MAX_TRIPS:
                    found = {"outcome": tables.RETRY, "reason": "throttled", "detail": error.detail}
                    return found | {"after_s": pause_s, "is_free": True}
            except VideoError as error:
                found = {"outcome": error.outcome, "reason": error.reason, "detail": error.detail}
                after_s = getattr(error, "after_s", None)
                if error.reason == "file_missing" and self.is_nodes_fault(row):
                    return found | {"is_free": True, "unfit": f"does not see {error.detail}"}
                more = {"is_noted": error.is_noted, "is_counted": getattr(error, "is_counted", True)}
                return found | more | {"after_s": after_s, "is_free": self.answered(error)}
            except Lost as error:
                return {"outcome": tables.RETRY, "reason": "", "detail": str(error), "is_free": True, "is_lost": True}
            except ClusterError as error:
                # Ray's fault, as of an actor that paces the visits and cannot be started: no video is to blame.
                return sent_back(error)
            except (StorageError, UsageError):
                # The disk is full, or a model or program is missing: the next video would fail the same way.
                raise
            except Exception as error:
                # Any error of a library counts for the one video that caused it. A library may also meet the full disk
                # first: that one stops the run.
                if isinstance(error, OSError) and error.errno in NO_ROOM:
                    where = f"the root {self.store.root} or the temporary folder {self.job.context.scratch}"
                    raise StorageError(f"{error}: make room for {where}, and run again") from error
                log.warning("%s: %s", row["video_id"], rows.clean_text(traceback.format_exc()))
                detail = f"{type(error).__name__}: {error}"
                return {"outcome": tables.FAILED, "reason": "error", "detail": detail}

    def is_nodes_fault(self, row: Row) -> bool:
        """Whether the driver's machine has the user's file that this one does not see."""
        own = row["source"]["video"]
        return bool(own and self.job.home and self.job.home != self.node and ask_home(self.job, own))

    def trip(self, error: ThrottledError) -> float:
        """Open the host's breaker for all workers; return how many seconds it stays open."""
        # Without a run's pace, as in tests, there is no breaker to open.
        if (pace := self.pace()) is None:
            time.sleep(min(error.after_s or 60.0, 60.0))
            return 0.0
        return pace.trip(error.host, error.after_s, redact(error.detail, self.secrets))

    def answered(self, error: VideoError | None) -> bool:
        """Tell the pace how the row's host answered; True if the host fails for everybody, so no row is at fault."""
        if not self.host or (pace := self.pace()) is None:
            return False
        failed = error is not None and error.reason == "transient"
        why = redact(error.detail, self.secrets) if failed and error is not None else ""
        return pace.answered(self.host, failed, why)

    def meter(self, row: Row, answer: Row, seconds: float) -> None:
        """Count a row for the metrics."""
        media = self.context.media_path(row["video_id"]) if self.visits else None
        meters.note(self.job.stage.name, answer, seconds, media)

    def told(self, answers: list[Row]) -> pa.Table:
        """Make the block that travels to the driver: outcomes only."""
        outcomes = {name: [answer[name] for answer in answers] for name in OUTCOME_COLUMNS}
        due = [clock.now() + (answer.get("after_s") or 0.0) if answer.get("is_free") else None for answer in answers]
        return pa.table(
            outcomes
            | {"node": pa.array([self.node] * len(answers), pa.string())}
            | {"unfit": pa.array([answer.get("unfit", "") for answer in answers], pa.string())}
            | {"is_doubted": pa.array([bool(answer.get("is_doubted")) for answer in answers], pa.bool_())}
            | {"is_lost": pa.array([bool(answer.get("is_lost")) for answer in answers], pa.bool_())}
            | {"table": pa.array([self.job.stage.name] * len(answers), pa.string())}
            | {"free_until": pa.array(due, pa.float64())}
            | {"visits": pa.array([json.dumps(answer.get("visits", {})) for answer in answers], pa.string())}
            | {"signal": pa.array([json.dumps(answer.get("signal", {})) for answer in answers], pa.string())}
        )


class VisitWorker(Worker):
    """Visit videos for their media alone. Makes no table: a stage that misses a file tells why in its own."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.function = job.stage.load(job.stage.options, self.context)

    def __call__(self, tasks: Sequence[Task]) -> pa.Table:
        answers: list[Row] = []
        with self.at_work():
            for row in self.read_rows(tasks):
                try:
                    self.check_stopping()
                    begun = time.monotonic()
                    answer = self.attempt(self.function, row)
                except Stopping:
                    break
                seconds = time.monotonic() - begun
                self.meter(row, answer, seconds)
                more = {"seconds": seconds, "visits": dict(self.visits)}
                answers.append(answer | {"video_id": row["video_id"]} | more)
        return self.told(answers)


class StageWorker(Worker):
    """Run a stage's function and commit its table."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        with self.guard.loading(), no_collection():
            self.function = job.stage.load(job.stage.options, self.context)
        fetch = job.stage.fetch
        self.fetch = fetch(job.stage.options, self.context) if fetch is not None else None
        self.schema = table_schema(job.stage).with_metadata({MADE_BY: json.dumps(made_by(job, self.context.device))})
        self.empty = dict.fromkeys(payload_schema(job.stage).names)

    def __call__(self, tasks: Sequence[Task]) -> pa.Table:
        with self.at_work():
            return self.told(self.do(self.read_rows(tasks)))

    def do(self, todo: list[Row]) -> list[Row]:
        """Do and commit the rows; return what the run hears of each."""
        answers = list[Row]()
        with Commits(self.commit, self.is_stopping) as commits:
            for row in todo:
                try:
                    self.check_stopping()
                    begun = time.monotonic()
                    answer = self.attempt(self.work, row)
                except Stopping:
                    break
                except SetupError as error:
                    commits.add(self.finished(row, put_off(error), time.monotonic() - begun))
                    raise
                if self.is_doubted(row["task"], answer):
                    answer |= {"is_free": True, "is_doubted": True}
                seconds, visits = time.monotonic() - begun, dict(self.visits)
                heard = {"video_id": row["video_id"], "seconds": seconds, "visits": visits}
                self.meter(row, answer, seconds)
                if answer.get("is_free"):
                    answers.append(answer | heard)
                    continue
                made = self.storable(row, answer, seconds)
                commits.add(made)
                heard |= {name: made[name] for name in OUTCOME_COLUMNS}
                answers.append(heard | {"signal": self.signal(answer)})
        # Only after the commit: a worker that dies before it needs the download again.
        if self.job.stage.needs and not self.context.keeps_media:
            # Also those of a row that did not open them, such as a transcript from captions.
            for row, answer in zip(todo, answers, strict=False):
                if row["task"].frees_media and not answer.get("is_free"):
                    self.free(row)
        return answers

    def is_doubted(self, task: Task, answer: Row) -> bool:
        """Whether another node is to try before a failure counts: this one may be at fault."""
        is_own = answer["outcome"] == tables.FAILED and not answer.get("is_noted")
        return is_own and task.may_be_node and task.failed_on <= {self.node}

    def free(self, row: Row) -> None:
        """Remove a video's files, which nobody needs any more, here and where its visit left them."""
        shutil.rmtree(self.context.media_path(row["video_id"]), ignore_errors=True)
        at = row["task"].media_at
        if at and at != self.node:
            with contextlib.suppress(Lost):
                ask(Path(self.context.scratch).name, at, "remove", row["video_id"])

    def signal(self, answer: Row) -> Mapping[str, Any]:
        """Tell the run about the health of the source, for example whether a video has a heatmap."""
        return self.job.stage.signal(answer) if self.job.stage.signal is not None else {}

    def work(self, row: Row) -> Row:
        """Bring the row's file, call the stage's function."""
        if self.fetch is None:
            return self.function(row)
        with self.brought_over(row):
            return self.function(row | self.fetch(row))

    @contextlib.contextmanager
    def brought_over(self, row: Row) -> Iterator[None]:
        """Have here what a visit left on another node, meanwhile. Raises Lost."""
        at, folder = row["task"].media_at, self.context.media_path(row["video_id"])
        # It is here already where nodes share their temporary folder.
        if not at or at == self.node or self.context.keeps_media or folder.exists():
            yield
            return
        try:
            scratch = Path(self.context.scratch)
            bring_over(at, row["video_id"], self.job.stage.needs, scratch, self.context.came_on)
            yield
        finally:
            # The first copy stays, on the visitor's node: the next table may be made on a third one.
            shutil.rmtree(folder, ignore_errors=True)

    def storable(self, row: Row, answer: Row, seconds: float) -> Row:
        """Make the table's row as `finished` does; a value that Arrow or the digest refuses is this video's failure."""

        def build(row: Row) -> Row:
            made = self.finished(row, answer, seconds)
            # Here and not only in `commit`, where one bad value of one video would stop the whole run.
            rows.to_table(self.schema, [made])
            return made

        found = self.attempt(build, row)
        made: Row = found["result"] if found["outcome"] == tables.DONE else self.finished(row, found, seconds)
        return made

    def finished(self, row: Row, answer: Row, seconds: float) -> Row:
        """Make the table's row: the payload if the outcome is `done`, else nulls."""
        task = row["task"]
        outcome, detail, payload = answer["outcome"], answer.get("detail") or "", dict(self.empty)
        is_counted = answer.get("is_counted", True)
        tries = task.tries + is_counted if outcome == tables.RETRY else 0
        if outcome == tables.DONE:
            result = dict(answer["result"])
            detail = result.pop("detail", None) or ""
            payload = result
        retry_after = None
        if outcome == tables.RETRY and is_counted and tries >= self.job.max_attempts:
            outcome, detail = tables.FAILED, f"gave up after {tries} tries: {detail}"
        elif outcome == tables.RETRY:
            # What is not counted would else be asked again every two minutes, for ever.
            times = tries if is_counted else task.version
            retry_after = clock.utc_now() + timedelta(seconds=backoff_s(answer["after_s"], times))
        if outcome == tables.FAILED and self.job.home:
            detail = f"{detail} (on node {socket.gethostname()})"
        # A stage with a reason outside the closed vocabulary has a bug; the row says so and the run goes on.
        if answer["reason"] and answer["reason"] not in tables.REASONS:
            outcome, detail = tables.FAILED, f"unknown reason `{answer['reason']}`: {detail}"
            answer = answer | {"reason": "error"}
        return {
            "video_id": row["video_id"],
            "outcome": outcome,
            "reason": answer["reason"],
            "detail": rows.clean_text(redact(str(detail), self.secrets))[:DETAIL_LENGTH],
            "version": task.version,
            "tries": tries,
            "committed_at": clock.utc_now(),
            "seconds": seconds,
            "retry_after": retry_after,
            "upstream": dict(task.upstream),
            **payload,
            "digest": rows.digests(payload),
        }

    def commit(self, finished: list[Row]) -> None:
        """Write finished rows as one part file."""
        now = clock.utc_now()
        content = rows.to_table(self.schema, [row | {"committed_at": now} for row in finished])
        self.store.write(self.job.stage.name, self.job.fingerprint, content)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Do not look for garbage while modules and a model load: a seventh of the 6 to 9 s, for what loads stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def log_to(store: Store, name: str, secrets: tuple[str, ...]) -> None:
    """Send this worker's log lines to `<root>/logs/<name>.log`, with secrets hidden; a silent worker makes no file."""
    handler = log_handler(store.inside("logs"), name)
    handler.setFormatter(RedactingFormatter((*store.secrets, *secrets)))
    logging.getLogger("vsumdata").addHandler(handler)


def made_by(job: Job, device: str) -> dict[str, Any]:
    """Describe how a part file is made, for a reader who has only the file."""
    return {
        "stage": job.stage.name,
        "version": job.stage.version,
        "options": json.loads(json.dumps(job.stage.settings(), default=str)),
        "device": device,
        "packages": {name: version(name) for name in MAKERS},
    }


def this_node() -> str:
    """Ray's id of this node; "" without Ray, as in tests."""
    ray = sys.modules.get("ray")
    return ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else ""


def ask_home(job: Job, path: str) -> bool:
    """Whether the driver's machine sees a file."""
    try:
        return bool(ask(Path(job.context.scratch).name, job.home, "has", path))
    except Lost:
        return False


def cuda_works() -> bool:
    # Ray's GPUs are only numbers; tests give logical ones to machines without any.
    import torch

    return torch.cuda.is_available()
