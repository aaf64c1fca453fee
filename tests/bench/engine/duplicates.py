"""Find duplicates among many made-up videos, of which some are planted: time, memory, recall and precision.

    python tests/bench/engine/duplicates.py [--videos N] [--json]

A video is two minutes of scenes of 3 to 9 s;
features have the spectrum of CLIP's (a few components hold most of what differs).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import report

from vsumdata.manifests.sections.labels import Duplicates
from vsumdata.stages.labels.duplicates import load
from vsumdata.stages.stage import Context

DIM, SECONDS, PLANTED = 512, 120, 0.02
# The spectrum of ViT-B/32's frame features: the n-th component's deviation falls as a power of n.
SPECTRUM = np.arange(1, DIM + 1) ** -0.7
COMMON = np.random.default_rng(0).normal(size=DIM) * 3
WORDS = np.array([f"w{at}" for at in range(20_000)])
ODDS = 1 / np.arange(1, len(WORDS) + 1)


class Rows:
    """Made-up rows, made anew each time somebody goes through them; every fiftieth video is of the one before it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def is_planted(self, at: int) -> bool:
        return at % round(1 / PLANTED) == 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for at in range(self.number):
            of = at - 1 if self.is_planted(at) else at
            rng = np.random.default_rng(of)
            changes = np.cumsum(rng.uniform(3, 9, size=SECONDS // 3))
            scenes = rng.normal(size=(len(changes) + 1, DIM)) * SPECTRUM
            said = rng.choice(WORDS, 250, p=ODDS / ODDS.sum())
            second = np.arange(SECONDS, dtype=float)
            own = np.random.default_rng((at, 1))
            if at != of:
                # A re-upload that is faster by 8 %, or half of the video, with a logo.
                second = second[: int(SECONDS / 1.08)] * 1.08 if at % 3 else second[20 : 20 + SECONDS // 2]
            feature = scenes[np.searchsorted(changes, second)] + own.normal(size=(len(second), DIM)) * SPECTRUM * 0.15
            feature = feature + COMMON + (own.normal(size=DIM) * SPECTRUM * 0.5 if at != of else 0)
            feature /= np.linalg.norm(feature, axis=1, keepdims=True)
            video = {"source_id": f"{at:06d}", "url": None, "title": f"t{at}", "duration_s": float(len(second))}
            yield {
                "video_id": f"{at:06d}",
                "videos": video | {"heatmap": None, "view_count": at},
                "frames": {"frame_feature": feature.astype(np.float16)},
                # Spoken words tell nothing of the planted ones here: these are found by their pictures.
                "transcripts": {"sentence": [{"text": " ".join(said if at == of else own.permutation(said))}]},
            }


def peak_gb() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = Rows(arguments.videos)
    begun = time.perf_counter()
    for _ in rows:
        pass
    making_s = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as scratch:
        find = load(Duplicates().model_dump() | {"fps": 1.0}, Context(root="", scratch=scratch, threads=2))
        begun = time.perf_counter()
        groups = {video_id: made["group"] for video_id, made in find(rows)}
        seconds = time.perf_counter() - begun - making_s
    ids = sorted(groups)
    true = {(ids[at - 1], ids[at]) for at in range(len(ids)) if rows.is_planted(at)}
    members: dict[str, list[str]] = {}
    for video_id in ids:
        if groups[video_id] is not None:
            members.setdefault(groups[video_id], []).append(video_id)
    found = {(one, other) for each in members.values() for one in each for other in each if one < other}
    figures = {
        "videos": len(ids),
        "seconds": round(seconds, 1),
        "seconds_of_making_the_rows_twice_left_out": round(making_s, 1),
        "peak_gb": round(peak_gb(), 2),
        "planted": len(true),
        "recall": round(len(found & true) / len(true), 4),
        "precision": round(len(found & true) / max(1, len(found)), 4),
    }
    if arguments.json:
        print(json.dumps(report("duplicates", figures), indent=1))
    else:
        print(*(f"{name} {value}" for name, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
