"""Learning without labels: ViSP and CSUM on planted videos (datasets/synthetic.py with theme=1).

    python tests/bench/unlabelled.py [--seeds N] [--jobs N] [--only SECTION,…] [--plot FILE.png] [--json]

tau compares a test video's scores with its planted importance; F1 is that of the protocol `synthetic`. Both are means
over the test videos. A row gives their mean over the seeds with its 95 % interval (Student's t). All rows of a seed use
the same videos; no test video is used in training. The models read frames, no text.

    found       no labels at all, by shipped defaults and by the preset `paper`, beside chance and beside a model with
                all labels
    nothing     the same with theme=0, where the features alone do not tell what is important: tau must come to 0
    csum        CSUM's ablations, on vsLSTM
    visp        ViSP's variants, before and after fine-tuning with few labels; `fixed` (FSA) learns the summaries of
                other videos of the same kind, as many as SumMe has
    labels      VASNet from scratch and from ViSP's weights, over the number of labelled videos
    nothing-labels   the same with theme=0
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from learn import Values, add, interval, ranks
from machine import report
from rich.console import Console
from rich.table import Table

from vsumdata.datasets.synthetic import PROTOCOL, Planted, Spec, plant

POOL, TEST, FRAMES = 300, 100, 60
# FSA learns the fixed summaries of OTHERS other videos; OTHER_SEED keeps them apart from the pool's.
OTHERS, OTHER_SEED = 25, 1000
LABELS = (1, 2, 4, 8, 16, 32, 64, 256)
FEW = 16
RATE = "optimizer.lr=0.001"
VASNET = ["model.width=32", "model.hidden=32", "model.regressor=32", "model.dropout=0.1", RATE]
VISP = [*VASNET, "batch_size=32", "epochs=40"]
CSUM = [RATE, "batch_size=16", "epochs=10"]
VSLSTM = ["model.hidden=16", *CSUM]
# Fine-tuning aims at this many optimizer steps, within 20 to 60 epochs.
TUNING_STEPS = 240
BACKBONES = {
    "csum+vslstm": VSLSTM,
    "csum+msva": ["model.sources=1", "model.regressor=[32,32,32]", *CSUM],
    "csum+vasnet": [*VASNET, *CSUM],
    "csum+mlp": ["model.hidden=[32]", *CSUM],
}
# Shipped defaults, and the preset `paper`: its α = 400 makes the choice so sharp that little gradient is left, and its
# embeddings are mixed by attention before clips are compared, so that any choice tells the video.
METHODS = {"visp+vasnet": VISP, **BACKBONES}
CSUM_WAYS = {
    "windows": "draw=windows",
    "subsets": "draw=subsets",
    "alpha 400": "alpha=400",
    "embeddings": "compared=embeddings",
    "sinkhorn": "choice=sinkhorn",
    "perturbed": "choice=perturbed",
    "printed denominator": "literal_denominator=true",
}
VARIANTS = ("concrete", "none", "gumbel", "gumbel-hard", "straight-through", "marginal", "hard-negative", "fixed")


def videos(seed: int, theme: float, perspectives: int = 1) -> tuple[list[Planted], list[Planted]]:
    """Make the training pool and the test videos."""
    spec = Spec(videos=POOL + TEST, frames=FRAMES, theme=theme, perspectives=perspectives, seed=seed)
    planted = plant(spec)
    return planted[:POOL], planted[POOL:]


def trained(
    method: str,
    planted: Sequence[Planted],
    sets: Sequence[str],
    seed: int,
    out: Path,
    init: str = "",
    preset: str = "default",
) -> Any:
    """Train and return the last weights."""
    # Without validation videos: choosing the best epoch would need labels.
    from vsumdata.train.data.origin import Origin
    from vsumdata.train.data.training import Data
    from vsumdata.train.loop.job import fit_fold
    from vsumdata.train.settings import settings_of

    settings = settings_of(method, preset, [*sets, f"seed={seed}"])
    data = Data(train=[each.video for each in planted], val=(), protocol=PROTOCOL, origin=Origin())
    return fit_fold(settings, data, out, init=init or None)


def measured(trained: Any, test: Sequence[Planted]) -> dict[str, float]:
    from vsumdata.train.loop.predict import predict

    return values([found.frame_score for found in predict(trained, [each.video for each in test])], test)


def values(scores: Sequence[np.ndarray], test: Sequence[Planted]) -> dict[str, float]:
    from vsumdata.train.scoring.evaluate import evaluate

    f1 = [evaluate(score, each.video, PROTOCOL).values["f1"] for score, each in zip(scores, test, strict=True)]
    return {**ranks(scores, test), "f1": float(np.mean(f1))}


Rows = dict[str, dict[str, float]]


def found(seed: int, folder: Path, theme: float = 1.0) -> Rows:
    pool, test = videos(seed, theme)
    rows = {name: chance(name, seed, test) for name in ("random", "uniform")}
    for method, sets in METHODS.items():
        for preset in ("default", "paper"):
            out = folder / f"{method}-{preset}"
            rows[f"{method}, {preset}"] = measured(trained(method, pool, sets, seed, out, preset=preset), test)
    rows["mlp, all labels"] = measured(
        trained("mlp", pool, ["model.hidden=[64]", RATE, "epochs=20"], seed, folder / "mlp"), test
    )
    return rows


def chance(name: str, seed: int, test: Sequence[Planted]) -> dict[str, float]:
    from vsumdata.train.scoring import baselines

    scores = [next(getattr(baselines, name)(each.video, PROTOCOL, seed)).frame_score for each in test]
    return values(scores, test)


def csum(seed: int, folder: Path) -> Rows:
    pool, test = videos(seed, 1.0)
    return {
        name: measured(
            trained("csum+vslstm", pool, [*VSLSTM, f"objective.{option}"], seed, folder / name.replace(" ", "-")), test
        )
        for name, option in CSUM_WAYS.items()
    }


def visp(seed: int, folder: Path, variants: Sequence[str] = VARIANTS) -> Rows:
    pool, test = videos(seed, 1.0)
    rows = {}
    for variant in variants:
        its = pool
        if variant == "fixed":
            its = plant(Spec(videos=OTHERS, frames=FRAMES, theme=1.0, seed=OTHER_SEED + seed))
        before = trained("visp+vasnet", its, [*VISP, f"objective.variant={variant}"], seed, folder / variant)
        after = trained("vasnet", pool[:FEW], tuning(FEW), seed, folder / f"{variant}-tuned", str(folder / variant))
        rows[variant] = measured(before, test)
        rows[f"{variant}, {FEW} labels"] = measured(after, test)
    return rows


def tuning(labels: int) -> list[str]:
    """Return the settings of fine-tuning, the same for both starts."""
    # They suit the start from scratch best; after ViSP less training would do better. So the comparison is not tilted
    # towards ViSP.
    batch = min(labels, 4)
    return [*VASNET, f"batch_size={batch}", f"epochs={min(60, max(20, TUNING_STEPS * batch // labels))}"]


def labels(seed: int, folder: Path, theme: float = 1.0, numbers: Sequence[int] = LABELS) -> Rows:
    pool, test = videos(seed, theme)
    before = trained("visp+vasnet", pool, VISP, seed, folder / "visp")
    rows = {"0, visp": measured(before, test)}
    for number in numbers:
        for name, init in (("scratch", ""), ("visp", str(folder / "visp"))):
            out = folder / f"{name}-{number}"
            rows[f"{number}, {name}"] = measured(
                trained("vasnet", pool[:number], tuning(number), seed, out, init), test
            )
    return rows


SECTIONS: Mapping[str, Callable[[int, Path], Rows]] = {
    "found": found,
    "nothing": partial(found, theme=0.0),
    "csum": csum,
    "visp": visp,
    "labels": labels,
    "nothing-labels": partial(labels, theme=0.0, numbers=(FEW,)),
}


def one(section: str, seed: int) -> Rows:
    import torch

    # One thread a process: the processes of all jobs share the cores.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return SECTIONS[section](seed, Path(folder))


def everything(seeds: int, jobs: int, sections: Sequence[str]) -> dict[str, Values]:
    """Compute the rows of each section on `jobs` processes."""
    tables: dict[str, Values] = {section: {} for section in sections}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {(section, seed): pool.submit(one, section, seed) for section in sections for seed in range(seeds)}
        for (section, _), future in waiting.items():
            for row, numbers in future.result().items():
                add(tables[section], row, numbers)
    return tables


def plot(table: Values, file: Path) -> None:
    """Draw tau over the number of labelled videos."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, label in (("scratch", "from nothing"), ("visp", "after ViSP on 300 videos without labels")):
        mean, width = zip(*(interval(table[f"{number}, {name}"]["tau"]) for number in LABELS), strict=True)
        axes.errorbar(LABELS, mean, np.nan_to_num(width), marker="o", capsize=3, label=label)
    axes.axhline(interval(table["0, visp"]["tau"])[0], color="grey", linestyle=":", label="ViSP without any label")
    axes.set_xscale("log", base=2)
    axes.set_xticks(LABELS, [str(number) for number in LABELS])
    axes.set_xlabel("videos with labels")
    axes.set_ylabel("Kendall's tau to the planted importance")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTION,…", help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begun = time.perf_counter()
    tables = everything(options.seeds, options.jobs, options.only.split(","))
    minutes = (time.perf_counter() - begun) / 60
    if options.plot:
        plot(tables["labels"], options.plot)
    if options.json:
        print(json.dumps(report("unlabelled", {"tables": tables, "minutes": round(minutes, 1)}), indent=1))
        return 0
    console = Console()
    for section, rows in tables.items():
        table = Table("row", "tau", "f1", title=f"{section}: {options.seeds} seeds")
        for row, numbers in rows.items():
            table.add_row(row, *("{:.3f} ± {:.3f}".format(*interval(numbers[metric])) for metric in ("tau", "f1")))
        console.print(table)
    console.print(f"{minutes:.0f} minutes", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
