"""The overhead of a run: `vsumdata run` against a bare loop over the same stage functions.

    python tests/bench/overhead.py [--videos N] [--json]

It runs over N and over 3N local videos; their difference is the cost of 2N videos without start-up. The loop does 2N
videos in one process on all cores, after its models are loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import OFFLINE_MODELS, PROGRAM, report, timed

import vsumdata.datasets.sample.site as sample
from vsumdata.manifests.errors import VideoError
from vsumdata.manifests.manifest import load
from vsumdata.manifests.sources import read_lists
from vsumdata.pipeline.recipe import recipe
from vsumdata.stages.encoders.models import resolve_models
from vsumdata.stages.pictures.probe import probe
from vsumdata.stages.stage import Context

TABLES = ("videos", "transcripts", "frames", "features")


def is_whole(path: Path) -> bool:
    try:
        return bool(probe(path).video)
    except VideoError:
        return False


def write_list(folder: Path, number: int) -> Path:
    """Write a manifest of `number` videos: the sample's readable ones, again and again."""
    folder.mkdir()
    # The sample also has broken videos. They leave early and would make a run look cheap.
    clips = [path for path in sorted(Path(sample.__file__).parent.glob("assets/media/*.mp4")) if is_whole(path)]
    lines = [{"video": str(clips[at % len(clips)]), "video_id": f"video-{at}"} for at in range(number)]
    (folder / "videos.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "own.yaml").write_text(f"name: own\nsources: [{{files: videos.jsonl}}]\n{OFFLINE_MODELS}")
    return folder / "own.yaml"


def run_s(folder: Path, number: int) -> float:
    manifest = write_list(folder / f"run-{number}", number)
    # `features` reads `articles`, so a run without it would be an error, although no local video has an article.
    stages = ["--stage", ",".join(("articles", *TABLES))]
    return timed(
        [*PROGRAM, "run", "--manifest", str(manifest), "--root", str(folder / f"root-{number}"), *stages]
    ).wall_s


def loop_s(folder: Path, number: int) -> float:
    loaded = load(str(write_list(folder / f"loop-{number}", number)))
    stages = recipe(loaded.manifest, resolve_models(loaded, {}, TABLES))
    context = Context(root=str(folder), scratch=str(folder), threads=len(os.sched_getaffinity(0)))
    steps = {table: [stages[table].load(stages[table].options, context)] for table in TABLES}
    for table in TABLES:
        if fetch := stages[table].fetch:
            steps[table].insert(0, fetch(stages[table].options, context))
    records = read_lists(loaded)[0]
    # The clock starts here: the models above are loaded once, however many videos follow.
    begun = time.perf_counter()
    for record in records:
        row: dict[str, Any] = {"video_id": record.video_id, "source": record.as_dict(), "articles": None}
        for table in TABLES:
            made = dict(row)
            for step in steps[table]:
                made = step(made)
            row[table] = made
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=12, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    few = arguments.videos
    with tempfile.TemporaryDirectory() as folder:
        short_s, long_s = run_s(Path(folder), few), run_s(Path(folder), 3 * few)
        bare_s = loop_s(Path(folder), 2 * few)
    figures = {"videos": few, "run_s": short_s, "run_of_3n_s": long_s, "bare_loop_of_2n_s": bare_s}
    figures |= {"ratio": (long_s - short_s) / bare_s, "start_up_s": short_s - (long_s - short_s) / 2}
    if arguments.json:
        print(json.dumps(report("overhead", figures), indent=1))
    else:
        print(*(f"{name:20} {value:8.2f}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
