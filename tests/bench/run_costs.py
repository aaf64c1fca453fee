"""The cost of a run beside its work: medians over fresh processes.

    python tests/bench/run_costs.py [--repeat N] [--json]

Measures the sample from nothing and again when it is finished; a run over an empty list (start-up, checks and an empty
plan); one local video through one stage and through two (the difference is one more stage on Ray).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from machine import OFFLINE_MODELS, PROGRAM, report, timed
from rich.console import Console
from rich.table import Table

import vsumdata.datasets.sample.site as sample

SETTINGS = f"name: own\nsources: [{{files: videos.jsonl}}]\n{OFFLINE_MODELS}"


def own_manifest(folder: Path, videos: list[Path]) -> str:
    folder.mkdir()
    (folder / "videos.jsonl").write_text("".join(json.dumps({"video": str(video)}) + "\n" for video in videos))
    (folder / "own.yaml").write_text(SETTINGS)
    return str(folder / "own.yaml")


def costs(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield (what, seconds) of each kind of run, each in a root of its own."""
    video = next(Path(sample.__file__).parent.glob("assets/media/*.mp4"))
    empty, one = own_manifest(folder / "empty", []), own_manifest(folder / "one", [video])

    def run(manifest: str, root: str, *arguments: str) -> float:
        return timed([*PROGRAM, "run", "--manifest", manifest, "--root", str(folder / root), *arguments]).wall_s

    # The order counts: the last run finds the sample finished.
    yield "vsumdata --version", timed([*PROGRAM, "--version"]).wall_s
    yield "empty list", run(empty, "empty-root")
    yield "one video, one stage", run(one, "one-root", "--stage", "videos")
    yield "one video, two stages", run(one, "two-root", "--stage", "crawl")
    yield "sample, from nothing", run("sample", "sample-root")
    yield "sample, finished before", run("sample", "sample-root")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory() as folder:
            for what, wall_s in costs(Path(folder)):
                seconds.setdefault(what, []).append(wall_s)
    medians = {what: statistics.median(measured) for what, measured in seconds.items()}
    medians["one more stage on Ray"] = medians["one video, two stages"] - medians["one video, one stage"]
    if arguments.json:
        figures = {what: round(wall_s, 2) for what, wall_s in medians.items()}
        print(json.dumps(report("run_costs", {"repeat": arguments.repeat, "seconds": figures}), indent=1))
        return
    table = Table(f"median of {arguments.repeat}", "seconds", box=None, pad_edge=False)
    for what, wall_s in medians.items():
        table.add_row(what, f"{wall_s:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
