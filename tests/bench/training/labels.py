"""HierSum trained on replay, on pseudo-summaries and on steps' frames, of the same planted videos.

    python tests/bench/training/labels.py [--seeds N] [--train N] [--epochs N] [--json]

Each kind of label is a view of the planted importance (datasets/synthetic.py) through noise of its own, of the same
strength, in the form that its table has:

    replay   the heatmap's 100 bins
    pseudo   a score for each segment of 4 s, in a range as narrow as that of cosines; the best 55 % are the summary
    steps    of each step the frames of its best shot, with their confidence; 0 for all others

The videos are a root on disk, and `labels` alone differs. tau and rho compare the scores of the test videos, and the
labels themselves, with the planted importance; means over the test videos, and with several seeds their 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3]))
from learn import STEPS, TRUNK, interval, measured, ranks
from machine import report
from tests.train.training_kit import write_labels, write_root

from vsumdata.datasets.reference import replay_score
from vsumdata.datasets.synthetic import Planted, Spec, heatmap, plant
from vsumdata.datasets.video import Video
from vsumdata.stages.labels.pseudo_summaries import best
from vsumdata.stages.labels.segments import means, segments

FRAMES, NOISE, VAL, TEST = 60, 0.5, 30, 100
SEGMENT_S, SHARE = 4.0, 0.55
KINDS = ("replay", "pseudo", "steps")
Label = tuple[np.ndarray, np.ndarray]


def view(planted: Planted, rng: np.random.Generator) -> np.ndarray:
    """The importance through noise, one draw for each shot: [T] in (0,1)."""
    start = planted.video.shot_start
    assert start is not None
    shot = np.searchsorted(start, np.arange(len(planted.importance)), side="right") - 1
    z = ndtri(np.clip(planted.importance, 1e-9, 1 - 1e-9))
    return np.asarray(ndtr((z + rng.standard_normal(len(start))[shot]) / np.sqrt(2)))


def replayed(seen: np.ndarray) -> np.ndarray:
    found = replay_score(len(seen), heatmap(seen))
    assert found is not None
    return found


def pseudo(planted: Planted, seen: np.ndarray) -> Label:
    place = segments(planted.video.frame_time_s, SEGMENT_S)
    score = 0.6 + 0.15 * means(seen[:, None], place)[:, 0]
    return score[place].astype(np.float32), best(score, np.bincount(place), SHARE)[place].astype(np.int8)


def stepped(planted: Planted, seen: np.ndarray) -> Label:
    chosen = np.zeros(len(seen), bool)
    start, stop = planted.video.shot_start, planted.video.shot_stop
    assert start is not None
    assert stop is not None
    # Steps of the planted videos have no times in the data: parts of as many frames on average.
    num = max(1, round(len(seen) / 21))
    for part in np.array_split(np.arange(len(start)), num):
        if len(part):
            shot = part[np.argmax(seen[start[part]])]
            chosen[start[shot] : stop[shot]] = True
    return (seen * chosen).astype(np.float32), chosen.astype(np.int8)


def build(root: Path, seed: int, num: int) -> tuple[list[Planted], dict[str, dict[str, float]]]:
    """Write a root of videos with all three labels; return its test videos, and how well the labels order frames."""
    planted = plant(Spec(videos=num + VAL + TEST, frames=FRAMES, users=1, noise=NOISE, seed=seed))
    rng = np.random.default_rng([seed, 77])
    videos: list[Video] = []
    tables: dict[str, dict[str, Label]] = {"pseudo": {}, "steps": {}}
    scores: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for each in planted:
        # All three views of a video are independent.
        heat = replayed(view(each, rng))
        videos.append(replace(each.video, replay_score=heat))
        made = {"pseudo": pseudo(each, view(each, rng)), "steps": stepped(each, view(each, rng))}
        scores["replay"].append(heat)
        for kind, label in made.items():
            tables[kind][each.video.video_id] = label
            scores[kind].append(label[0])
    parts = ["train"] * num + ["val"] * VAL + ["test"] * TEST
    write_root(root, videos, parts, per_part=100)
    columns = {
        "pseudo": ("pseudo_summaries", "pseudo_score", "pseudo_summary"),
        "steps": ("step_frames", "gt_confidence", "gt_summary"),
    }
    for kind, (table, score, summary) in columns.items():
        write_labels(root, table, {key: {score: a, summary: b} for key, (a, b) in tables[kind].items()})
    return planted[-TEST:], {kind: ranks(its[-TEST:], planted[-TEST:]) for kind, its in scores.items()}


def trained(root: Path, out: Path, kind: str, seed: int, epochs: int, test: Sequence[Planted]) -> dict[str, float]:
    from vsumdata.train.data.training import Wanted, open_data
    from vsumdata.train.loop.job import fit_fold
    from vsumdata.train.settings import settings_of

    sets = [*TRUNK, *STEPS, f"epochs={epochs}", f"seed={seed}", f"labels={kind}"]
    data = open_data(Wanted(data=str(root), labels=kind), seed)
    return measured(fit_fold(settings_of("hiersum", "default", sets), data, out), test)


def everything(seeds: int, num: int, epochs: int) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}

    def add(row: str, values: Mapping[str, float]) -> None:
        for metric, value in values.items():
            found.setdefault(row, {}).setdefault(metric, []).append(value)

    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "root"
            test, own = build(root, seed, num)
            for kind in KINDS:
                add(f"the labels {kind}", own[kind])
                add(f"hiersum, {kind}", trained(root, Path(folder) / kind, kind, seed, epochs, test))
            add("bayes", ranks([each.bayes for each in test], test))
        # Minutes may pass from one seed to the next.
        taus = ", ".join(f"{row} {values['tau'][-1]:.3f}" for row, values in found.items())
        print(f"seed {seed}: tau: {taus}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=200, metavar="N")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begun = time.perf_counter()
    found = everything(options.seeds, options.train, options.epochs)
    minutes = (time.perf_counter() - begun) / 60
    if options.json:
        figures: dict[str, Any] = {"rows": found, "minutes": round(minutes, 1), "train": options.train}
        print(json.dumps(report("labels", figures), indent=1))
        return
    for row, values in found.items():
        print(row, *("{} {:.3f} ± {:.3f}".format(metric, *interval(values[metric])) for metric in ("tau", "rho")))
    print(f"{minutes:.1f} minutes")


if __name__ == "__main__":
    main()
