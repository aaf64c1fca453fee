"""The cost of evaluation: one method on all of TVSum, the knapsack on 10,000 shots, growth with the frames.

    python tests/bench/evaluate.py [--json]

On one core. The videos have TVSum's sizes (50 videos of 2,500 to 19,400 frames, 20 users), random annotations and shots
of 2 to 8 s.
"""

from __future__ import annotations

import os

# numpy reads these when it is imported, so they must be set before.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from machine import report

from vsumdata.datasets.knapsack import knapsack
from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.video import Video
from vsumdata.train.scoring.evaluate import evaluate

NUM_SHOTS = 10_000


def random_shots(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    lengths = rng.integers(60, 240, num_frames // 60)
    first = np.concatenate(([0], np.cumsum(lengths)))
    first = first[first < num_frames - 60]
    return np.stack([first, np.append(first[1:], num_frames) - 1], 1)


def a_video(rng: np.random.Generator, num_frames: int) -> Video:
    picks = np.arange(0, num_frames, 15)
    return Video(
        video_id=str(num_frames),
        frame_time_s=picks / 30,
        frame_feature=np.zeros((len(picks), 0), np.float32),
        user_score=rng.integers(1, 6, (20, len(picks))),
        user_summary=(rng.random((20, num_frames)) < 0.15).astype(np.uint8),
        change_points=random_shots(rng, num_frames),
        picks=picks,
        n_frames=num_frames,
    )


def seconds(repeats: int, work: Callable[..., object], *arguments: Any) -> float:
    """Return the median seconds of several runs."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work(*arguments)
        taken.append(time.perf_counter() - begun)
    return round(sorted(taken)[repeats // 2], 4)


def knapsacks(rng: np.random.Generator) -> dict[str, float]:
    """Time the choice of 15 % of the frames from 10,000 shots, for harmless and hostile values and lengths."""
    # One odd length among equal ones: no common divisor makes the table small.
    any_length, equal = rng.integers(30, 300, NUM_SHOTS), np.append(np.full(NUM_SHOTS - 1, 60), 37)
    values = {
        "random": rng.random(NUM_SHOTS),
        "int1000": np.trunc(1000 * rng.random(NUM_SHOTS)),
        "narrow": 0.5 + 0.01 * rng.standard_normal(NUM_SHOTS),
        "decimals .1 to .9": rng.integers(1, 10, NUM_SHOTS) / 10,
        "constant": np.full(NUM_SHOTS, 0.5),
    }
    cases = {
        f"{kind}, {name}": (value, weights)
        for name, weights in (("lengths 30-300", any_length), ("equal lengths", equal))
        for kind, value in values.items()
    }
    # The hardest case: value and length are proportional, so no shot can be settled before the table is filled.
    cases["value = length"] = (any_length / 300, any_length)
    return {name: seconds(3, knapsack, v, w, int(w.sum() * 0.15)) for name, (v, w) in cases.items()}


def measure() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sizes = np.linspace(2500, 19400, 50).astype(int).tolist()
    videos = [a_video(rng, size) for size in sizes]
    scores = [rng.random(len(video.frame_time_s)) for video in videos]

    def all_videos(rules: Protocol) -> None:
        for score, video in zip(scores, videos, strict=True):
            evaluate(score, video, rules)

    whole = {name: seconds(3, all_videos, protocol(name)) for name in ("tvsum", "summe", "dsnet", "ca-sum")}
    growth = {}
    for size in (10_000, 40_000, 160_000, 640_000):
        video = a_video(rng, size)
        score = rng.random(len(video.frame_time_s))
        growth[size] = {name: seconds(3, evaluate, score, video, protocol(name)) for name in ("tvsum", "summe")}
    return {"all of TVSum, s": whole, "knapsack of 10,000 shots, s": knapsacks(rng), "one video by frames, s": growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    answer = report("evaluate", measure())
    if options.json:
        print(json.dumps(answer))
        return
    for title, figures in answer["figures"].items():
        print(title, *(f"  {name}: {value}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
