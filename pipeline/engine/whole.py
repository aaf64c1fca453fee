"""Tables that are made of all videos at once: by the run's own process, once nothing else can become ready."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from vsumdata.manifests import tables
from vsumdata.manifests.errors import VideoError
from vsumdata.pipeline.engine.waves import Display
from vsumdata.pipeline.state.plan import Stages, Task
from vsumdata.pipeline.workers.commits import Commits
from vsumdata.pipeline.workers.execution import job
from vsumdata.pipeline.workers.worker import OUTCOME_COLUMNS, StageWorker
from vsumdata.stages.stage import Context, Row

# Rows that are in memory at once while a table goes through all of them: a video's frames take half a megabyte.
READ_AT_ONCE = 64
# The rows of one part file.
COMMITTED_AT_ONCE = 2000


class Rows:
    """The rows of all videos, read anew each time somebody goes through them, always in one order."""

    def __init__(self, worker: StageWorker, tasks: Sequence[Task]) -> None:
        self.worker = worker
        # Neighbours of one part, which is then opened once. By their ids alone, each video of a large root would cost a
        # row group of a part of its own. `frames` and `features`, which are large, come first of what is read.
        self.tasks = sorted(tasks, key=lambda task: (sorted(task.parts.items()), task.video_id))

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Row]:
        for first in range(0, len(self.tasks), READ_AT_ONCE):
            yield from self.worker.read_rows(self.tasks[first : first + READ_AT_ONCE])


class WholeWorker(StageWorker):
    """Make a table of the lane WHOLE. A kill leaves rows of two passes, and all of them are made again: see ALL."""

    def __call__(self, tasks: Sequence[Task]) -> pa.Table:
        """Make and commit the rows of these tasks, which are those of all videos; return their outcomes."""
        of = {task.video_id: task for task in tasks}
        answers: list[Row] = []
        begun = time.monotonic()
        with self.at_work(), Commits(self.commit) as commits:
            for video_id, made in self.function(Rows(self, tasks)):
                seconds = (time.monotonic() - begun) / max(1, len(tasks))
                row = self.storable({"video_id": video_id, "task": of.pop(video_id)}, answer_of(made), seconds)
                commits.add(row)
                if len(commits.waiting) >= COMMITTED_AT_ONCE:
                    commits.flush()
                answers.append({name: row[name] for name in OUTCOME_COLUMNS})
        assert not of, f"{self.job.stage.name} says nothing of {sorted(of)[:3]}"
        return self.told(answers)


def answer_of(made: Row | VideoError) -> Row:
    """What `Worker.attempt` answers of a row."""
    if isinstance(made, VideoError):
        return {"outcome": made.outcome, "reason": made.reason, "detail": made.detail}
    return {"outcome": tables.DONE, "reason": "", "result": made}


def make(stages: Stages, name: str, context: Context, tasks: Sequence[Task], display: Display) -> Counter[str]:
    """Make the table `name` of the rows of all videos; count its outcomes."""
    display.begun(name, len(tasks))
    context = replace(context, threads=os.cpu_count() or 1)
    outcomes = WholeWorker(job(stages, stages[name], context, max_attempts=1, home=""))(tasks)
    display.add(name, outcomes)
    display.ended(name)
    return Counter(outcomes["outcome"].to_pylist())
