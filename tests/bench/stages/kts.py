"""Kernel temporal segmentation: seconds and peak memory, one process a reading, with one thread as a Ray worker has.

    python tests/bench/stages/kts.py [--repeat N] [--json]

The features resemble CLIP's of one video: 512 wide, unit length, mean cosine near 0.7. Shots have 5 frames on average
(many) or 200 (few); pure noise is the worst case, in which every frame is a shot. The first call in a process is shown
apart from the median of the next ones. At 800 frames two others are measured beside ours: ruptures, which is told the
number of changes, and the usual numpy dynamic programme over every number up to N/10. All must find the same change
points.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from machine import report, timed

from vsumdata.stages.pictures.shots import change_points

FRAMES_PER_SHOT = {"many shots": 5, "few shots": 200, "noise": 0}
SIZES = [1_000, 3_600, 10_000]
REFERENCE_SIZE = 800


def features(case: str, num_frames: int) -> np.ndarray:
    """Float32 [num_frames, 512], rows of unit length."""
    rng = np.random.default_rng(num_frames)
    x = rng.standard_normal((num_frames, 512), np.float32)
    if FRAMES_PER_SHOT[case]:
        lengths = rng.geometric(1 / FRAMES_PER_SHOT[case], num_frames)
        shot = np.repeat(np.arange(num_frames), lengths)[:num_frames]
        # A direction common to the whole video, one of the shot and one of the frame give the mean cosine of 0.7.
        x *= 0.5
        x += 1.5 * rng.standard_normal(512) + rng.standard_normal((num_frames, 512), np.float32)[shot]
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_numpy(x: np.ndarray, most: int) -> list[int]:
    """Run the dynamic programme over every number of changes up to `most`, as the field's code does."""
    n = len(x)
    gram = x.astype(np.float64) @ x.T.astype(np.float64)
    block = np.zeros((n + 1, n + 1))
    block[1:, 1:] = gram.cumsum(0).cumsum(1)
    on_diagonal = np.concatenate(([0], gram.diagonal().cumsum()))
    between = block.diagonal()[:, None] + block.diagonal() - block - block.T
    start, stop = np.indices((n + 1, n + 1))
    scatter = on_diagonal - on_diagonal[:, None] - between / np.maximum(stop - start, 1)
    scatter[start >= stop] = np.inf
    row, last_cuts, costs = scatter[0], [np.zeros(n + 1, np.int64)], [scatter[0, n] / n]
    for m in range(1, most + 1):
        last_cuts.append(np.zeros(n + 1, np.int64))
        previous, row = row, np.full(n + 1, np.inf)
        for end in range(m + 1, n + 1):
            total = previous[m:end] + scatter[m:end, end]
            last_cuts[m][end] = m + total.argmin()
            row[end] = total.min()
        costs.append(row[n] / n + m / (2 * n) * (np.log(n / m) + 1))
    points = [n]
    for m in range(int(np.argmin(costs)), 0, -1):
        points.append(int(last_cuts[m][points[-1]]))
    return points[:0:-1]


def by_ruptures(x: np.ndarray, num_changes: int) -> list[int]:
    import ruptures

    search = ruptures.KernelCPD(kernel="linear", min_size=1, jump=1).fit(x.astype(np.float64))
    return list(search.predict(n_bkps=num_changes)[:-1])


def one(case: str, num_frames: int, repeat: int) -> dict[str, Any]:
    """Take one reading, in the process made for it."""
    x, seconds = features(case, num_frames), []
    for _ in range(repeat + 1):
        begun = time.perf_counter()
        found = change_points(x)
        seconds.append(time.perf_counter() - begun)
    return {"shots": len(found) + 1, "first_s": seconds[0], "median_s": statistics.median(seconds[1:])}


def beside_others(case: str, repeat: int) -> dict[str, Any]:
    x = features(case, REFERENCE_SIZE)
    ours = change_points(x).tolist()
    ways = {
        "ours": lambda: change_points(x).tolist(),
        "ruptures": lambda: by_ruptures(x, len(ours)),
        # With many shots the best number lies above N/10, the usual limit.
        "numpy": lambda: by_numpy(x, max(REFERENCE_SIZE // 10, len(ours))),
    }
    figures: dict[str, Any] = {"shots": len(ours) + 1}
    for name, way in ways.items():
        seconds = []
        for _ in range(repeat):
            begun = time.perf_counter()
            found = way()
            seconds.append(time.perf_counter() - begun)
            if found != ours:
                raise SystemExit(f"{name} found {found}\nwhere ours found {ours}")
        figures[f"{name}_s"] = statistics.median(seconds)
    return figures


def in_own_process(case: str, num_frames: int, repeat: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--repeat", str(repeat), "--here", case, str(num_frames)]
    cost = timed(command, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    figures = json.loads(cost.out.splitlines()[-1])
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    return rounded | {"peak_mb": round(cost.peak_mb)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--here", nargs=2, metavar=("CASE", "FRAMES"), help="one reading, in this process")
    arguments = parser.parse_args()
    repeat = arguments.repeat
    if arguments.here:
        case, num_frames = arguments.here[0], int(arguments.here[1])
        figures = beside_others(case, repeat) if num_frames == REFERENCE_SIZE else one(case, num_frames, repeat)
        print(json.dumps(figures))
        return
    sizes = {f"{case}, {n}": in_own_process(case, n, repeat) for case in FRAMES_PER_SHOT for n in SIZES}
    others = {case: in_own_process(case, REFERENCE_SIZE, repeat) for case in ("many shots", "few shots")}
    if arguments.json:
        figures = {"repeat": repeat, "sizes": sizes, f"beside others, {REFERENCE_SIZE}": others}
        print(json.dumps(report("kts", figures), indent=1))
        return
    show("frames", sizes)
    show(f"{REFERENCE_SIZE} frames", others)


def show(what: str, rows: dict[str, dict[str, Any]]) -> None:
    table = Table(what, *next(iter(rows.values())), box=None, pad_edge=False)
    for name, figures in rows.items():
        table.add_row(name, *map(str, figures.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
