"""Pre-training without labels: steps a second and peak memory, and the cost of choosing the k best clips.

    python tests/bench/training/pretrain.py [--device auto|cpu|cuda] [--steps N] [--only NAME …] [--json]

Each reading is a process of its own. ViSP's memory holds the summarizer and the second network, both CSTA with random
weights. "plain" is float32 with all videos of a batch at once; "lean" uses gradient checkpointing in the second
network, and bfloat16 where the device has it. The paper states some 30 GB, and 30 minutes for 200 epochs of 75 videos.
The choice takes N clips of 128 components, forward and backward: by successive halving, and by SoftSort (Prillo and
Eisenschlos 2020), a relaxed sort of all N scores of which the first k rows are used.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import report, timed

from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.video import Video

if TYPE_CHECKING:
    from torch import Tensor

FEATURE, WARM_UP = 1024, 1
PAPER_EPOCHS, PAPER_VIDEOS = 200, 75
# SoftSort's temperature; the cost does not depend on it.
TEMPERATURE = 0.01


@dataclass(frozen=True)
class Size:
    """The size of a batch, and the range of a video's length in frames."""

    batch_size: int
    frames: tuple[int, int]


# The paper trains with a batch of 32 and about 300 frames a video; a CPU takes less.
SIZES = {"cpu": Size(8, (100, 100)), "cuda": Size(32, (250, 350))}
# CSTA would download GoogLeNet's ImageNet weights; random ones cost the same.
STEPS: dict[str, tuple[str, list[str]]] = {
    "ViSP+CSTA, plain": ("visp+csta", ["model.weights=none", "precision=float32"]),
    "ViSP+CSTA, lean": ("visp+csta", ["model.weights=none", "objective.checkpoint=true"]),
    "CSUM+VASNet": ("csum+vasnet", []),
}
CLIPS, CHOSEN = 10_000, 1_500
CHOICES = ("successive halving", "SoftSort, k rows", "SoftSort, all rows")


def videos(size: Size) -> list[Video]:
    """Two batches of random features of length 1."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(2 * size.batch_size):
        feature = rng.standard_normal((int(rng.integers(size.frames[0], size.frames[1] + 1)), FEATURE), np.float32)
        feature /= np.linalg.norm(feature, axis=1, keepdims=True)
        time_s = np.arange(len(feature), dtype=np.float32)
        found.append(Video(video_id=f"video{number:03}", frame_time_s=time_s, frame_feature=feature))
    return found


def steps_of(case: str, number: int, device: str) -> dict[str, Any]:
    """Measure steps of the trainer's own loop."""
    import torch

    from vsumdata.train.data.origin import Origin
    from vsumdata.train.data.training import Data
    from vsumdata.train.loop.fit import Fit, Team, is_bfloat16
    from vsumdata.train.loop.job import learner_of, prepared
    from vsumdata.train.settings import settings_of

    method, sets = STEPS[case]
    size = SIZES[device]
    settings = settings_of(method, sets=[*sets, f"batch_size={size.batch_size}"])
    data = Data(train=videos(size), val=(), protocol=PROTOCOLS["synthetic"], origin=Origin(), checked=True)
    with tempfile.TemporaryDirectory() as folder:
        job = prepared(settings, data, Path(folder), None)
        fit = Fit(job.out, job.info, learner_of(job), job.train, None, Team(device=torch.device(device)))
        fit.learner.train()
        batches = itertools.chain.from_iterable(map(fit.train.epoch, itertools.count()))
        seconds = list(itertools.islice(clocked(lambda: fit.step(next(batches)), device), WARM_UP + number))[WARM_UP:]
    per_epoch = math.ceil(PAPER_VIDEOS / size.batch_size)
    return {
        "steps/s": 1 / statistics.median(seconds),
        "paper's run_min, extrapolated": statistics.mean(seconds) * PAPER_EPOCHS * per_epoch / 60,
        "precision": "bfloat16" if is_bfloat16(settings, torch.device(device)) else "float32",
        "from steps": len(seconds),
        **peak(device),
    }


def choice_of(case: str, number: int, device: str) -> dict[str, Any]:
    """Measure one choice and its gradients."""
    import torch

    generator = torch.Generator(device).manual_seed(0)
    feature = torch.randn(1, CLIPS, 128, generator=generator, device=device, requires_grad=True)
    score = torch.rand(1, CLIPS, generator=generator, device=device, requires_grad=True)

    # The backward pass counts too, and gradients that are all zero would mean that it was cut short.
    def once() -> None:
        chosen(case, feature, score).square().sum().backward()
        assert score.grad is not None
        assert bool(score.grad.any())

    seconds = list(itertools.islice(clocked(once, device), WARM_UP + number))[WARM_UP:]
    return {"ms": 1000 * statistics.median(seconds), "from": len(seconds), **peak(device)}


def chosen(case: str, feature: Tensor, score: Tensor) -> Tensor:
    """The k mixtures of clips [1,k,D]."""
    import torch

    from vsumdata.train.objectives.topk import successive_halving

    if case == "successive halving":
        mask = torch.ones_like(score, dtype=torch.bool)
        k = torch.tensor([CHOSEN], device=score.device)
        return successive_halving(feature, score, mask, k).feature
    ranked = score.sort(dim=1, descending=True).values
    rows = ranked if case == "SoftSort, all rows" else ranked[:, :CHOSEN]
    weight = torch.softmax(-(rows[..., None] - score[:, None]).abs() / TEMPERATURE, dim=-1)
    return (weight @ feature)[:, :CHOSEN]


def clocked(work: Callable[[], object], device: str) -> Iterator[float]:
    """Yield the seconds of one call after another, each with all the work that it gave the device."""
    import torch

    while True:
        begun = time.perf_counter()
        work()
        # A CUDA call returns before its work is done.
        if device == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter() - begun


def peak(device: str) -> dict[str, int]:
    import torch

    if device == "cuda":
        return {"peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 2**20)}
    return {"peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}


def in_own_process(case: str, number: int, device: str) -> dict[str, Any]:
    try:
        cost = timed([sys.executable, __file__, "--steps", str(number), "--device", device, "--here", case])
    except SystemExit as failed:
        # A process that ran out of memory is a result too.
        return {"failed": str(failed).splitlines()[-1]}
    figures = json.loads(cost.out.splitlines()[-1])
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="measured for each reading")
    parser.add_argument("--only", nargs="+", choices=[*STEPS, *CHOICES], default=[*STEPS, *CHOICES], metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--here", metavar="NAME", help="one reading, in this process")
    options = parser.parse_args()
    device = the_device(options.device)
    if options.here:
        measure = steps_of if options.here in STEPS else choice_of
        print(json.dumps(measure(options.here, options.steps, device)))
        return
    readings = {case: in_own_process(case, options.steps, device) for case in options.only}
    if options.json:
        choice = {"clips": CLIPS, "chosen": CHOSEN}
        what = {"device": device, "size": asdict(SIZES[device]), "feature": FEATURE, "choice": choice}
        print(json.dumps(report("pretrain", {**what, **readings}), indent=1))
        return
    table = Table(device, "figures", box=None, pad_edge=False)
    for name, figures in readings.items():
        table.add_row(name, ", ".join(f"{what} {figure}" for what, figure in figures.items()))
    Console().print(table)


def the_device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


if __name__ == "__main__":
    main()
