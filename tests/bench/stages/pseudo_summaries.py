"""Time and memory of the table `pseudo_summaries` over made-up rows of `features`.

    python tests/bench/stages/pseudo_summaries.py [--videos N] [--frames T] [--json]

Each video has T frames of 512 numbers in runs of 6 alike, and no saliency (CLIP's weights are `seed:0`). A task has
eight videos; half of the tasks are articles, the others are titles, of which each second one is worded in two ways.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))
import pending
from machine import report, timed

from vsumdata.manifests.manifest import load
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine import whole
from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.recipe import parse_stages
from vsumdata.pipeline.state.listing import list_records
from vsumdata.pipeline.state.plan import Task, fingerprint, payload_schema, table_schema
from vsumdata.stages.labels.pseudo_summaries import TABLE
from vsumdata.stages.stage import Context, Stage

PER_PART, ALIKE, DIM, PER_TASK = 250, 6, 512, 8
VERBS = ("make", "clean", "repair", "paint", "build", "cook", "install", "draw", "replace", "choose")
THINGS = ("bread", "a window", "a bicycle", "a chair", "noodles", "a lamp", "a garden", "soap", "a door", "a cake")
rng = np.random.default_rng(0)


class Quiet:
    """A display that shows nothing."""

    def begun(self, table: str, num: int) -> None: ...
    def add(self, table: str, outcomes: pa.Table) -> None: ...
    def ended(self, table: str) -> None: ...


def open_run(folder: Path) -> Run:
    loaded, store = load(str(folder / "many.yaml")), Store(folder / "root")
    run = Run(loaded, store, [*parse_stages("crawl,asr,features"), TABLE], Console(quiet=True))
    run.prepare(dry_run=False)
    run.records = list_records(store, loaded, None, run.say)
    return run


def build(folder: Path, num_videos: int, frames: int) -> None:
    (folder / "many.yaml").write_text(pending.SETTINGS)
    (folder / "ids.jsonl").write_text("".join(f'{{"video_id": "v{n:010d}"}}\n' for n in range(num_videos)))
    run = open_run(folder)
    run.write_dataset({"tables": {}})
    for name, stage in run.stages.items():
        if name in ("videos", "articles", "transcripts", "frames", "features", "quality"):
            tasks = run.plan(name).tasks
            for at in range(0, len(tasks), PER_PART):
                content = pending.settled(stage, tasks[at : at + PER_PART])
                if name == "features":
                    content = featured(stage, content, tasks[at : at + PER_PART], at, frames)
                run.store.write(name, fingerprint(run.stages, name), content)


def featured(stage: Stage, content: pa.Table, tasks: Sequence[Task], first: int, frames: int) -> pa.Table:
    """The columns that the pass reads, as a real table has them."""
    num = len(tasks)
    task = (np.arange(first, first + num)) // PER_TASK
    names = [f"{VERBS[t % 10]} {THINGS[t // 10 % 10]} of kind {t}" for t in task]
    again = [n for n, t in enumerate(task) if t % 4 == 3 and n % 2]
    for n in again:
        names[n] = f"{names[n]} easily"
    centre = rng.standard_normal((num, -(-frames // ALIKE), DIM)).repeat(ALIKE, axis=1)[:, :frames]
    feature = (centre + 0.3 * rng.standard_normal(centre.shape)).astype(np.float32)
    feature /= np.linalg.norm(feature, axis=2, keepdims=True)
    kind = payload_schema(stage).field("frame_feature").type
    items = pa.FixedSizeListArray.from_arrays(pa.array(feature.astype(np.float16).ravel()), type=kind.value_type)
    offsets = pa.array(np.arange(0, (num + 1) * frames, frames, dtype=np.int32))
    addresses = [f"https://www.wikihow.com/{t}" if t % 2 == 0 else None for t in task]
    made = {
        "title": pa.array(names),
        "task": pa.array(names),
        "article_url": pa.array(addresses, pa.string()),
        "frame_feature": pa.ListArray.from_arrays(offsets, items, type=kind),
    }
    for name, column in made.items():
        at = content.schema.get_field_index(name)
        content = content.set_column(at, content.schema.field(at), column)
    return content.cast(table_schema(stage))


def measure(folder: Path) -> dict[str, float]:
    """Seconds of the whole table with its models, rows and commits; this process's peak memory before and after."""
    run = open_run(folder)
    tasks = run.plan(TABLE).tasks
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(root=run.store.location, scratch=scratch)
        outcomes = whole.make(run.stages, TABLE, context, tasks, cast(Any, Quiet()))
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - used
    assert set(outcomes) == {"done"}, outcomes
    found = run.store.latest(TABLE, fingerprint(run.stages, TABLE), columns=["num_alike", "pseudo_task"])
    return {
        "videos": len(tasks),
        "seconds": round(seconds, 1),
        "cpu_s": round(cpu_s, 1),
        "peak_mb_before": round(before),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "tasks": len(set(found["pseudo_task"].to_pylist())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100_000, metavar="N")
    parser.add_argument("--frames", type=int, default=60, metavar="T")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.build, arguments.videos, arguments.frames)
        return
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as name:
        # In processes of their own: peak memory never falls.
        size = ["--videos", str(arguments.videos), "--frames", str(arguments.frames)]
        timed([sys.executable, __file__, "--build", name, *size])
        figures = json.loads(timed([sys.executable, __file__, "--measure", name]).out.strip().splitlines()[-1])
    if arguments.json:
        print(json.dumps(report("pseudo_summaries", {"frames": arguments.frames, **figures}), indent=1))
    else:
        print(", ".join(f"{key} {value}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
