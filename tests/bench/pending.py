"""Time and memory to find that nothing is pending among 100,000 settled videos.

    python tests/bench/pending.py [--videos N] [--json]

Makes a root whose five tables are settled, in 500 parts each and then compacted. Measures planning of all stages in a
fresh process, then a whole `vsumdata run` and `vsumdata status`. Payloads that planning does not read are small; the
heatmaps have their 100 bins.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from machine import OFFLINE_MODELS, PROGRAM, report, timed
from rich.console import Console
from rich.table import Table

from vsumdata.manifests import tables
from vsumdata.manifests.manifest import load
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.recipe import parse_stages
from vsumdata.pipeline.state.listing import list_records
from vsumdata.pipeline.state.plan import Task, fingerprint, payload_schema, table_schema
from vsumdata.stages.stage import Stage

# As many parts as a table may have before a run compacts it.
PARTS = 500
HEATMAP_BINS, OTHER_ITEMS = 100, 3
SETTINGS = f"name: many\nsources: [{{ids: ids.jsonl}}]\n{OFFLINE_MODELS}"
rng = np.random.default_rng(0)


def open_run(folder: Path) -> Run:
    loaded, store = load(str(folder / "many.yaml")), Store(folder / "root")
    run = Run(loaded, store, parse_stages("crawl,asr,features"), Console(quiet=True))
    run.prepare(dry_run=False)
    run.records = list_records(store, loaded, None, run.say)
    return run


def build(folder: Path, num_videos: int) -> None:
    """Write all tables of `num_videos` videos, each kept by `select` and done in every table."""
    (folder / "many.yaml").write_text(SETTINGS)
    (folder / "ids.jsonl").write_text("".join(f'{{"video_id": "v{n:010d}"}}\n' for n in range(num_videos)))
    run = open_run(folder)
    run.write_dataset({"tables": {}})
    for name, stage in run.stages.items():
        tasks = run.plan(name).tasks
        per_part = -(-len(tasks) // PARTS)
        for at in range(0, len(tasks), per_part):
            run.store.write(name, fingerprint(run.stages, name), settled(stage, tasks[at : at + per_part]))


def settled(stage: Stage, tasks: Sequence[Task]) -> pa.Table:
    """Make the rows that a worker would commit for these tasks, with made-up values and digests."""
    num, payload = len(tasks), payload_schema(stage)
    hex_digits = rng.bytes(8 * num * len(payload)).hex()
    hashes = [hex_digits[at : at + 16] for at in range(0, len(hex_digits), 16)]
    same = {"outcome": tables.DONE, "reason": "", "detail": "", "version": 1, "tries": 0, "seconds": 1.0}
    same |= {"committed_at": datetime.now(UTC), "retry_after": None}
    columns = {
        "video_id": [task.video_id for task in tasks],
        "upstream": [dict(task.upstream) for task in tasks],
        "digest": [dict(zip(payload.names, hashes[i::num], strict=True)) for i in range(num)],
        **{name: [value] * num for name, value in same.items()},
        **{field.name: values(field.type, num) for field in payload},
    }
    return pa.table(columns, schema=table_schema(stage))


def values(kind: pa.DataType, num: int) -> pa.Array:
    """Make values of any Arrow type."""
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays([values(field.type, num) for field in kind], fields=list(kind))
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(num * kind.list_size, np.float16)), type=kind)
    if pa.types.is_list(kind):
        items = HEATMAP_BINS if kind.value_type == tables.SPAN else OTHER_ITEMS
        offsets = pa.array(np.arange(0, (num + 1) * items, items, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, values(kind.value_type, num * items), type=kind)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.array([f"some words, number {number}" for number in range(num)]).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(rng.uniform(20, 3600, num)).cast(kind)
    # View counts must pass `min_views`, or the other tables would be empty.
    numbers = pa.array(rng.integers(60_000, 1_000_000, num))
    return numbers.cast(pa.int32()).cast(kind) if pa.types.is_date32(kind) else numbers.cast(kind)


def measure(folder: Path) -> dict[str, float]:
    """Measure the seconds to list and to plan, and this process's peak memory."""
    begun = time.perf_counter()
    run = open_run(folder)
    figures = {"listing_s": time.perf_counter() - begun}
    begun = time.perf_counter()
    for name in run.stages:
        plan = run.plan(name)
        assert not plan.tasks, f"{name} has pending videos"
        assert plan.outcomes.total() == len(run.records), name
    figures["planning_s"] = time.perf_counter() - begun
    return figures | {"planning_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def costs(folder: Path) -> dict[str, float]:
    """Measure planning alone, `run` and `status`, each in a fresh process."""
    root = ["--root", str(folder / "root")]
    figures = json.loads(timed([sys.executable, __file__, "--measure", str(folder)]).out)
    for command in (["run", "--manifest", str(folder / "many.yaml"), *root], ["status", *root]):
        cost = timed([*PROGRAM, *command])
        figures |= {f"{command[0]}_s": cost.wall_s, f"{command[0]}_peak_mb": cost.peak_mb}
    return {name: round(value, 2) for name, value in figures.items()}


def both_layouts(num_videos: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        # Built in a process of its own: on Linux a child's peak memory is at least what its parent holds, so building
        # here would show up in every reading below.
        timed([sys.executable, __file__, "--build", name, "--videos", str(num_videos)])
        figures = {f"{PARTS} parts": costs(Path(name))}
        timed([*PROGRAM, "compact", "--root", f"{name}/root"])
        return figures | {"compacted": costs(Path(name))}


def show(figures: dict[str, dict[str, float]], num_videos: int, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report("pending", {"videos": num_videos, **figures}), indent=1))
        return
    table = Table(f"{num_videos} settled videos", *figures, box=None, pad_edge=False)
    for row in figures["compacted"]:
        table.add_row(row, *(f"{layout[row]:.2f}" for layout in figures.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=100_000, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.build, arguments.videos)
    elif arguments.measure:
        print(json.dumps(measure(arguments.measure)))
    else:
        show(both_layouts(arguments.videos), arguments.videos, as_json=arguments.json)


if __name__ == "__main__":
    main()
