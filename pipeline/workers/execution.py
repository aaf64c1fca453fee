"""The workers of a lane: started once, given blocks while they run, ended or stopped."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Any

from vsumdata.manifests.errors import ClusterError
from vsumdata.pipeline.state.plan import Stages, Task, fingerprint
from vsumdata.pipeline.workers.cluster import Pool, cause
from vsumdata.pipeline.workers.worker import Job, pack
from vsumdata.stages.stage import COMPUTE, Context, Stage

# One computing worker for so much media: before its first rows it loads modules and models for some 15 s of CPU.
WORKER_MEDIA_S = 300.0
# So many computing workers stay while nothing waits; the others come and go with what does.
FEWEST_WORKERS = 4
# What is made of a block's videos begins once all of them are back.
BLOCK_S = 5.0
# One block is worked on, the next one is there when it ends. More would wait at one worker while another is idle.
BLOCKS_PER_WORKER = 2
# An execution that was shut down is at its end in a fraction of it.
ENDS_WITHIN_S = 10.0


class Execution:
    """A lane's workers on Ray Data, in a thread of its own: they live until it is closed, and are given waves.

    Puts `(self, outcomes)` into `inbox` for each block that is committed, at last `(self, None)`, or `(self, error)`:
    a StorageError, UsageError or ClusterError as a worker raised it. `where` holds Ray's options that say on which
    nodes workers may start.
    """

    def __init__(
        self, jobs: Mapping[str, Job], size: Pool, inbox: SimpleQueue[Any], where: Mapping[str, Any] | None = None
    ) -> None:
        from vsumdata.pipeline.workers.ray_data import endless

        self.jobs, self.size, self.inbox = jobs, size, inbox
        stage = next(iter(jobs.values())).stage
        is_fixed = stage.lane != COMPUTE or stage.workers is not None
        self.fewest = size.workers if is_fixed else min(size.workers, FEWEST_WORKERS)
        self.data, self.feed = endless(jobs, size, self.fewest, where or {})
        # Blocks wait here, and Ray sees two for each worker that they are worth: it starts workers for what it sees.
        self.waiting: deque[tuple[str, Sequence[Task]]] = deque()
        self.waiting_s = 0.0
        self.given = self.away = 0  # blocks
        self.is_closing = self.is_stopping = False
        # The cluster has other nodes now than when it was started: it is to end once it has done its blocks.
        self.is_outdated = False
        self.stuck_since: float | None = None
        # A thread, for the outcomes of all executions meet in the driver.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="+".join(jobs))
        # So that it is there before `start`: Ctrl-C in the middle of a first `submit` may leave a pool with two.
        self.thread.submit(lambda: None)

    def start(self) -> None:
        """Begin; only what the caller has noted before can be stopped if Ctrl-C comes in here."""
        # Whatever the error is, the driver must hear of it, or it would wait for ever.
        self.thread.submit(self.run).add_done_callback(self.ended)

    def give(self, table: str, tasks: Sequence[Task], row_s: float) -> None:
        """Let the workers do these tasks, some `row_s` seconds each, after what they were given before."""
        most = max(1, min(self.jobs[table].stage.batch, int(BLOCK_S / max(row_s, 1e-3))))
        # Few tasks are spread over all workers rather than packed into one full block.
        rows = max(1, min(most, -(-len(tasks) // self.size.workers)))
        self.waiting.extend((table, tasks[at : at + rows]) for at in range(0, len(tasks), rows))
        self.waiting_s += media_s(tasks)
        self.pump()

    def came_back(self) -> None:
        """A block's outcomes were taken from the inbox: the next one goes out."""
        self.away -= 1
        self.pump()

    def pump(self) -> None:
        workers = min(self.size.workers, max(self.fewest, math.ceil(self.waiting_s / WORKER_MEDIA_S)))
        while self.waiting and self.away < BLOCKS_PER_WORKER * workers:
            table, tasks = self.waiting.popleft()
            self.waiting_s -= media_s(tasks)
            self.feed.put(pack(table, tasks))
            self.given += 1
            self.away += 1
        if self.is_closing and not self.waiting:
            self.feed.close()

    @property
    def is_hungry(self) -> bool:
        """Whether its workers will soon have nothing to do."""
        return len(self.waiting) < self.size.workers and not self.is_closing

    def stuck_s(self) -> float:
        """For how long, in seconds, nobody has worked on what it was given, as nodes are gone or too small."""
        from vsumdata.pipeline.workers.ray_data import waits_for_nodes

        executor = self.feed.executor
        if self.away and executor is not None and waits_for_nodes(executor):
            self.stuck_since = self.stuck_since or time.monotonic()
            return time.monotonic() - self.stuck_since
        self.stuck_since = None
        return 0.0

    def close(self) -> None:
        """Let it end once it has done what it was given."""
        self.is_closing = True
        self.pump()

    def run(self) -> None:
        returned = 0
        if self.is_stopping:
            return
        for outcomes in self.data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            returned += 1
            self.inbox.put((self, outcomes))
        # Ray has ended normally with blocks missing (see `max_errored_blocks`). A lost video must not go unseen.
        if returned != self.given and not self.is_stopping:
            raise ClusterError(f"{', '.join(self.jobs)}: {self.given} blocks went in, {returned} came out")

    def ended(self, future: Future[None]) -> None:
        error = future.exception()
        self.inbox.put((self, cause(error) if error is not None else None))

    def stop(self, patience_s: float) -> bool:
        """Wait for a stopping execution, then end it. Workers end by the run's stop mark, see `Worker.is_stopping`.

        Returns whether its thread has ended: Ray must not be shut down under it.
        """
        self.feed.close()
        # Comes after `run` in this thread, also where Ctrl-C came in the middle of `start`.
        end = self.thread.submit(lambda: None)
        wait([end], timeout=patience_s)
        until = time.monotonic() + ENDS_WITHIN_S
        while not end.done() and time.monotonic() < until:
            # While Ray still plans, there is no executor; one that has not started its own thread ignores the call.
            if self.feed.executor is not None:
                self.feed.executor.shutdown(force=True)
            wait([end], timeout=0.2)
        self.thread.shutdown(wait=False)
        return end.done()


def job(stages: Stages, stage: Stage, context: Context, *, max_attempts: int, home: str) -> Job:
    """Return what workers are told of a stage; `home` is the driver's node."""
    return Job(
        stage=stage,
        context=context,
        fingerprint="" if stage.is_visit else fingerprint(stages, stage.name),
        inputs={name: fingerprint(stages, name) for name in stage.inputs()},
        gpus=0.0,
        max_attempts=max_attempts,
        home=home,
    )


def media_s(tasks: Sequence[Task]) -> float:
    """How long these videos are; one of unknown length counts as much as a worker is worth."""
    return sum(WORKER_MEDIA_S if task.duration_s is None else task.duration_s for task in tasks)


def worth(stage: Stage, videos: int, lengths_s: Sequence[float]) -> int:
    """Return how many workers so many videos are worth, if they are as long as those of known length.

    A number that the manifest gives stands.
    """
    if stage.lane != COMPUTE or stage.workers:
        return videos
    mean_s = sum(lengths_s) / len(lengths_s) if lengths_s else WORKER_MEDIA_S
    return min(videos, math.ceil(videos * mean_s / WORKER_MEDIA_S))
