"""Time and memory of `vsumdata report` over 10,000 made-up videos, and the size of its page.

    python tests/bench/engine/look.py [--videos N] [--json]

Each video has 240 frames, 60 sentences, 12 steps, 30 shots and 12 pictures. `view` is timed for its first page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))
import pending
from machine import PROGRAM, report, timed

from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.recipe import GROUPS
from vsumdata.pipeline.state.plan import Task, fingerprint, payload_schema, table_schema
from vsumdata.stages.stage import Stage

PER_PART = 250
FRAMES, SENTENCES, STEPS, SHOTS = 240, 60, 12, 30
# As large as a real one: pictures of a flat colour would take a hundred bytes.
WEBP_BYTES = 1_500
rng = np.random.default_rng(0)


def build(folder: Path, num_videos: int) -> None:
    """Write all tables of `num_videos` videos, the vectors as zeros."""
    (folder / "many.yaml").write_text(pending.SETTINGS)
    (folder / "ids.jsonl").write_text("".join(f'{{"video_id": "v{n:010d}"}}\n' for n in range(num_videos)))
    run = pending.open_run(folder)
    run.write_dataset({"tables": {}})
    for name, stage in run.stages.items():
        if name not in GROUPS["summaries"]:
            write(run, name, stage)


def write(run: Run, name: str, stage: Stage) -> None:
    tasks = run.plan(name).tasks
    for at in range(0, len(tasks), PER_PART):
        content = rows(stage, tasks[at : at + PER_PART])
        run.store.write(name, fingerprint(run.stages, name), content)


def rows(stage: Stage, tasks: Sequence[Task]) -> pa.Table:
    """The rows of `pending`, with lists of the lengths that a page shows."""
    found = pending.settled(stage, tasks)
    for field in payload_schema(stage):
        if (made := values(field, len(tasks))) is not None:
            found = found.set_column(found.schema.get_field_index(field.name), field, made)
    return found.cast(table_schema(stage))


def values(field: pa.Field, num: int) -> pa.Array | None:
    lengths = {"frame_time_s": FRAMES, "frame_feature": FRAMES, "replay_score": FRAMES}
    lengths |= {"sentence": SENTENCES, "sentence_feature": SENTENCES, "step": STEPS, "step_feature": STEPS}
    lengths |= {"shot_start": SHOTS, "shot_stop": SHOTS, "thumbnail": 12}
    if field.name not in lengths:
        return None
    length = lengths[field.name]
    offsets = pa.array(np.arange(0, (num + 1) * length, length, dtype=np.int32))
    at = np.tile(np.arange(length), num)
    if field.name in ("shot_start", "shot_stop"):
        items = pa.array((at + (field.name == "shot_stop")) * (FRAMES // SHOTS), pa.int32())
    elif field.name == "frame_time_s":
        items = pa.array(at, pa.float32())
    elif field.name == "replay_score":
        items = pa.array(rng.random(len(at)), pa.float32())
    elif field.name == "sentence":
        starts = pa.array(at * 4.0)
        words = pa.array(["and then put the second piece on top of the first one and press"] * len(at))
        items = pa.StructArray.from_arrays(
            [starts, pa.array(at * 4.0 + 3.5), words], fields=list(field.type.value_type)
        )
    elif field.name == "thumbnail":
        pictures = pa.array([rng.bytes(WEBP_BYTES) for _ in at], pa.binary())
        items = pa.StructArray.from_arrays(
            [pa.array(at * 20.0, pa.float32()), pictures], fields=list(field.type.value_type)
        )
    else:
        items = pending.values(field.type.value_type, len(at))
    return pa.ListArray.from_arrays(offsets, items, type=field.type)


def first_page_s(root: Path) -> float:
    """Seconds from the start of `view` to its first whole page."""
    begun = time.perf_counter()
    with subprocess.Popen([*PROGRAM, "view", "--root", str(root)], stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        address = served.stderr.readline().split()[-1]
        with urllib.request.urlopen(address) as answer:
            answer.read()
        taken = time.perf_counter() - begun
        served.terminate()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000, metavar="N")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.build, arguments.videos)
        return
    with tempfile.TemporaryDirectory() as name:
        # In a process of its own: a child's peak memory is at least what its parent holds.
        timed([sys.executable, __file__, "--build", name, "--videos", str(arguments.videos)])
        root, output = Path(name) / "root", Path(name) / "report.html"
        cost = timed([*PROGRAM, "report", "--root", str(root), "-o", str(output)])
        figures = {
            "videos": arguments.videos,
            "report_s": round(cost.wall_s, 1),
            "report_peak_mb": round(cost.peak_mb),
            "page_mb": round(output.stat().st_size / 1e6, 1),
            "view_first_page_s": round(first_page_s(root), 1),
        }
    print(json.dumps(report("look", figures), indent=1) if arguments.json else figures)


if __name__ == "__main__":
    main()
