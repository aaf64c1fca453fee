"""Diversity of the summaries that a model without labels draws, on planted videos with several subjects each.

    python tests/bench/perspectives.py [--seeds N] [--jobs N] [--json]

Every shot of a video shows one of its SUBJECTS subjects (datasets/synthetic.py, `perspectives`), important shots more
clearly. A subject's summary holds its frames of more than median clearness. The pseudo-summary of a training video is
the summary of one subject, drawn at random: one valid summary among several, as one annotator makes it. The rows:

    fixed N          the best summary by a network that learnt the pseudo-summaries of N videos (FSA)
    fixed N, drawn   summaries drawn from that network's distribution
    visp, drawn      summaries drawn from ViSP's distribution, learnt without labels (binary Concrete: P(frame) = σ(α))
    random, drawn    random frames
    each subject     the subjects' own summaries in turn

A summary has 15 % of the frames: those with the highest logit(ε) + α are drawn. `right` is the share of its frames that
belong to any subject's summary. `coverage K` takes for each subject the best F1 that one of K drawn summaries has with
the subject's, and averages over the subjects. `apart` is the mean Jaccard distance between two drawn summaries.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from learn import Values, add, interval
from machine import report
from rich.console import Console
from rich.table import Table
from scipy.special import logit
from unlabelled import VISP, trained, videos

from vsumdata.datasets.synthetic import Planted
from vsumdata.train.loop.predict import predict

SUBJECTS, BUDGET = 3, 0.15
# The numbers of pseudo-summaries: as many videos as SumMe has, and all.
FIXED = (25, 300)
DRAWS = (1, 5, 20)
Score = dict[str, float]


def subjects(each: Planted) -> np.ndarray:
    """Return the summary of every subject that has one: bool [P,T]."""
    clear = each.clearness > np.median(each.clearness)
    found = np.stack([clear & (each.perspective == subject) for subject in range(SUBJECTS)])
    return np.asarray(found[found.any(axis=1)])


def annotated(each: Planted, rng: np.random.Generator) -> Planted:
    """Label the video with the summary of one of its subjects, drawn at random."""
    chosen = rng.choice(subjects(each))
    return replace(each, video=replace(each.video, gt_summary=chosen.astype(np.int8)))


def drawn(alpha: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `num` summaries from a distribution: bool [num,T], each of the budget's size."""
    noisy = alpha + logit(rng.uniform(1e-9, 1 - 1e-9, size=(num, len(alpha))))
    return top(noisy, size_of(len(alpha)))


def top(scores: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros(scores.shape, bool)
    np.put_along_axis(found, np.argsort(-scores, axis=-1)[..., :size], True, axis=-1)
    return found


def judged(summaries: np.ndarray, wanted: np.ndarray) -> Score:
    """Score summaries [K,T] against those of the subjects [P,T]."""
    both = (summaries[:, None] & wanted[None]).sum(-1)
    f1 = 2 * both / (summaries.sum(-1)[:, None] + wanted.sum(-1)[None])
    # 45 pairs of the first ten are enough for a mean.
    pairs = list(combinations(summaries[:10], 2))
    apart = [1 - (a & b).sum() / (a | b).sum() for a, b in pairs]
    coverage = {f"coverage {num}": float(f1[:num].max(axis=0).mean()) for num in DRAWS}
    right = float((summaries & wanted.any(axis=0)).sum() / summaries.sum())
    return {"right": right, **coverage, "apart": float(np.mean(apart)) if pairs else 0.0}


def one(seed: int) -> dict[str, Score]:
    import torch

    # One thread a process: the processes of all jobs share the cores.
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    pool, test = videos(seed, 1.0, SUBJECTS)
    labelled = [annotated(each, rng) for each in pool]
    with tempfile.TemporaryDirectory() as folder:
        learnt = {"visp": alphas(trained("visp+vasnet", pool, VISP, seed, Path(folder) / "visp"), test)}
        for num in FIXED:
            sets = [*VISP, "objective.variant=fixed"]
            model = trained("visp+vasnet", labelled[:num], sets, seed, Path(folder) / f"fixed-{num}")
            learnt[f"fixed {num}"] = alphas(model, test)
    found: dict[str, list[Score]] = {}
    for at, each in enumerate(test):
        wanted = subjects(each)
        for name, summaries in candidates(each, {name: its[at] for name, its in learnt.items()}, rng).items():
            found.setdefault(name, []).append(judged(summaries, wanted))
    return {
        name: {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
        for name, scores in found.items()
    }


def candidates(each: Planted, learnt: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the summaries [K,T] of one video, by row of the table."""
    wanted, num_frames, draws = subjects(each), len(each.clearness), max(DRAWS)
    found = {}
    for name, alpha in learnt.items():
        if name != "visp":
            found[name] = top(alpha, size_of(num_frames))[None]
        found[f"{name}, drawn"] = drawn(alpha, draws, rng)
    found["random, drawn"] = drawn(np.zeros(num_frames), draws, rng)
    # Frames of the subject first, then, if it has too few for the budget, frames of any subject.
    best = top(wanted + 0.5 * wanted.any(axis=0), size_of(num_frames))
    return {**found, "each subject": best[np.arange(draws) % len(best)]}


def size_of(num_frames: int) -> int:
    return max(1, round(BUDGET * num_frames))


def alphas(model: Any, test: Sequence[Planted]) -> list[np.ndarray]:
    """Return the logits of the test videos' frames."""
    scores = [found.frame_score for found in predict(model, [each.video for each in test])]
    # A score of exactly 0 or 1 has no finite logit.
    return [logit(np.clip(score, 1e-9, 1 - 1e-9)) for score in scores]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begun, found = time.perf_counter(), Values()
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for rows in pool.map(one, range(options.seeds)):
            for row, values in rows.items():
                add(found, row, values)
    minutes = (time.perf_counter() - begun) / 60
    if options.json:
        print(json.dumps(report("perspectives", {"rows": found, "minutes": round(minutes, 1)}), indent=1))
        return 0
    columns = list(next(iter(found.values())))
    table = Table("row", *columns, title=f"{options.seeds} seeds")
    for row, values in found.items():
        table.add_row(row, *("{:.3f} ± {:.3f}".format(*interval(values[column])) for column in columns))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
