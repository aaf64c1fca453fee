"""The rows of all videos: how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from vsumdata.manifests.sources import Record
from vsumdata.pipeline.engine.whole import READ_AT_ONCE, Rows
from vsumdata.pipeline.state.plan import Task
from vsumdata.pipeline.workers.worker import StageWorker


class Reader:
    """Stands for a worker's store: counts the parts that each read opens."""

    def __init__(self) -> None:
        self.opened: list[int] = []

    def read_rows(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        self.opened.append(len({task.parts["frames"] for task in tasks if task.parts}))
        return [{"video_id": task.video_id} for task in tasks]


def test_a_part_is_opened_once_or_twice_however_its_videos_are_called() -> None:
    num_parts, of_each = 40, 16
    tasks = [
        # Videos were committed in any order, so neighbours by id lie in different parts.
        Task(Record(video_id=f"v{at:04d}", source="x"), 1, 0, {}, {"frames": f"p{at % num_parts:02d}", "videos": "q"})
        for at in range(num_parts * of_each)
    ]
    bare = Task(Record(video_id="a", source="x"), 1, 0, {}, {})
    reader = Reader()
    rows = Rows(cast(StageWorker, reader), [*tasks[::-1], bare])
    first = [row["video_id"] for row in rows]
    assert sorted(first) == ["a", *(task.video_id for task in tasks)]
    assert first == [row["video_id"] for row in rows]
    assert max(reader.opened) <= READ_AT_ONCE // of_each + 1
