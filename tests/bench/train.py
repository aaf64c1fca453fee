"""Training: steps and frames a second, hours of an epoch, peak memory; one process for each reading, no Ray.

    python tests/bench/train.py [--device auto|cpu|cuda] [--steps N] [--only NAME …] [--sizes NAME …] [--json]

Each turn takes one step of our loop on a batch of videos of about one length (in bfloat16 where the loop uses it). Then
it trains up to four videos of that batch the official way: one video a step, in float32 and with torch's usual Adam, as
the code of VASNet, CSTA and DSNet does. The ratio of their frames a second is the median over the turns; padding does
not count. The videos are made up and held in memory. An epoch is 30,000 videos, extrapolated from the measured steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import report, timed
from rich.console import Console
from rich.table import Table

from vsumdata.datasets.video import Batch, Video, collate

EPOCH_VIDEOS = 30_000
TEXT_DIM, POSITIVE_RATE = 768, 0.15
# Turns that do not count.
WARM_UP = 2
# Videos trained the official way, at most, in each turn.
OFFICIAL_VIDEOS = 4
# A reading ends after this time, with fewer steps than asked for: some sizes need minutes a step on two cores.
LONGEST_S = 900


@dataclass(frozen=True)
class Size:
    """The sizes of the videos and of a batch; `frames` is the range of a video's length."""

    frames: tuple[int, int]
    frames_per_sentence: float
    frame_dim: int
    batch_size: int
    videos: int


SIZES = {
    "TVSum-like": Size((200, 400), 7.5, 1024, 4, 48),
    "shard-like": Size((60, 600), 10, 512, 32, 256),
}
# CSTA would download GoogLeNet's ImageNet weights; random ones cost the same.
METHODS: dict[str, tuple[str, list[str]]] = {
    "HierSum 128/2": ("hiersum", ["model.hidden=128", "model.layers=2"]),
    "HierSum 512/6": ("hiersum", ["model.hidden=512", "model.layers=6"]),
    "VASNet": ("vasnet", []),
    "PGL-SUM": ("pglsum", []),
    "CSTA": ("csta", ["model.weights=none"]),
}


def video(size: Size, number: int) -> Video:
    """Make a video with unit-length features, sentences end to end and runs of positive frames."""
    rng = np.random.default_rng(number)
    num_frames = int(rng.integers(size.frames[0], size.frames[1] + 1))
    num_sentences = max(1, round(num_frames / size.frames_per_sentence))
    cuts = np.linspace(0, num_frames, num_sentences + 1)
    score = np.repeat(rng.random(-(-num_frames // 10)), 10)[:num_frames].astype(np.float32)
    label = score >= np.quantile(score, 1 - POSITIVE_RATE)
    of_sentence = np.minimum(np.searchsorted(cuts, np.arange(num_frames), side="right") - 1, num_sentences - 1)
    return Video(
        video_id=f"video{number:04}",
        frame_time_s=np.arange(num_frames, dtype=np.float32),
        frame_feature=directions(rng, num_frames, size.frame_dim),
        sentence=[{"start_s": a, "end_s": b, "text": ""} for a, b in itertools.pairwise(cuts)],
        sentence_feature=directions(rng, num_sentences, TEXT_DIM),
        sentence_label=(np.bincount(of_sentence, label, num_sentences) > 0).astype(np.float32),
        global_feature=directions(rng, 1, TEXT_DIM)[0],
        gt_score=score,
        gt_summary=label.astype(np.float32),
    )


def directions(rng: np.random.Generator, number: int, dim: int) -> np.ndarray:
    x = rng.standard_normal((number, dim), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def loop(case: str, size: Size, videos: Sequence[Video], device: str, out: Path, *sets: str) -> Any:
    """Set up the trainer's own loop over `videos`; `sets` are more settings."""
    import torch

    from vsumdata.train.data.batches import Batches
    from vsumdata.train.data.origin import Origin
    from vsumdata.train.loop.fit import Fit, Learner, Team
    from vsumdata.train.loop.runs import Info
    from vsumdata.train.settings import class_of, settings_of

    method, own = METHODS[case]
    settings = settings_of(method, sets=[*own, f"batch_size={size.batch_size}", *sets])
    torch.manual_seed(0)
    model = class_of(method, "model")(settings.model, size.frame_dim, TEXT_DIM)
    learner = Learner(model, class_of(method, "objective")(settings.objective))
    info = Info(
        settings=settings,
        protocol="",
        origin=Origin(),
        train=tuple(each.video_id for each in videos),
        val=(),
        frame_dim=size.frame_dim,
        text_dim=TEXT_DIM,
    )
    batches = Batches(videos, batch_size=settings.batch_size, seed=0)
    fit = Fit(out, info, learner, batches, None, Team(device=torch.device(device)))
    fit.learner.train()
    return fit


def full_batches(fit: Any) -> Iterator[Batch]:
    """Yield batches epoch after epoch, without the smaller one at an epoch's end."""
    # A step over half a batch would count as a whole one.
    for number in itertools.count():
        for batch in fit.train.epoch(number):
            if len(batch.video_id) == fit.train.batch_size:
                yield batch


class Clock:
    """Returns the seconds since its last call, once the device has done all its work."""

    def __init__(self, device: str) -> None:
        self.is_gpu, self.last = device == "cuda", time.perf_counter()

    def __call__(self) -> float:
        # A CUDA call returns before its work is done.
        if self.is_gpu:
            import torch

            torch.cuda.synchronize()
        before, self.last = self.last, time.perf_counter()
        return self.last - before


@dataclass(frozen=True)
class Turn:
    """One step of ours and the official steps after it."""

    ours_s: float
    ours_frames: int
    official_s: float
    official_frames: int

    @property
    def ours_rate(self) -> float:
        return self.ours_frames / self.ours_s

    @property
    def official_rate(self) -> float:
        return self.official_frames / self.official_s


def turns(ours: Any, official: Any, videos: Sequence[Video], device: str) -> Iterator[Turn]:
    by_id = {each.video_id: each for each in videos}
    batches, clock = full_batches(ours), Clock(device)
    while True:
        clock()
        # Waiting for the batch counts as part of our step.
        batch = next(batches)
        ours.step(batch)
        ours_s = clock()
        some = [by_id[name] for name in batch.video_id[:OFFICIAL_VIDEOS]]
        for each in some:
            official.step(collate([each]))
        yield Turn(ours_s, int(batch.frame_mask.sum()), clock(), sum(len(each.frame_time_s) for each in some))


def one(case: str, size: Size, steps: int, device: str) -> dict[str, Any]:
    """Take one reading, in the process made for it."""
    import torch

    from vsumdata.train.loop.fit import is_bfloat16

    # The trainer does so too. Without it PGL-SUM trains 2 to 7 times slower, and the official way would look worse than
    # it is.
    torch.set_flush_denormal(True)
    videos = [video(size, number) for number in range(size.videos)]
    with tempfile.TemporaryDirectory() as folder:
        ours = loop(case, size, videos, device, Path(folder) / "ours")
        official = loop(case, size, videos, device, Path(folder) / "official", "batch_size=1", "precision=float32")
        # The official code uses torch's usual Adam; ours is fused.
        for group in official.optimizer.param_groups:
            group["fused"] = False
        going = itertools.islice(turns(ours, official, videos, device), WARM_UP, WARM_UP + steps)
        until = time.perf_counter() + LONGEST_S
        measured = [next(going), *itertools.takewhile(lambda _: time.perf_counter() < until, going)]
    step_s = [turn.ours_s for turn in measured]
    figures: dict[str, Any] = {
        "steps/s": 1 / statistics.median(step_s),
        "frames/s": statistics.median(turn.ours_rate for turn in measured),
        "official frames/s": statistics.median(turn.official_rate for turn in measured),
        "ratio": statistics.median(turn.ours_rate / turn.official_rate for turn in measured),
        "epoch_h, extrapolated": statistics.mean(step_s) * EPOCH_VIDEOS / size.batch_size / 3600,
        "from steps": len(measured),
        "precision": "bfloat16" if is_bfloat16(ours.settings, torch.device(device)) else "float32",
        "note": getattr(ours.learner.model, "remark", ""),
    }
    # The peak holds both ways' weights and the larger of their activations, which is ours.
    if device == "cuda":
        figures["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return figures


def in_own_process(case: str, size: str, steps: int, device: str) -> dict[str, Any]:
    try:
        cost = timed([sys.executable, __file__, "--steps", str(steps), "--device", device, "--here", case, size])
    except SystemExit as failed:
        # A process that ran out of memory is a result too: CSTA on shard-like batches needs 20 GB.
        return {"size": size, "failed": str(failed).splitlines()[-1]}
    figures = json.loads(cost.out.splitlines()[-1])
    rounded = {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in figures.items()}
    return {"size": size, **rounded, "peak_mb": round(cost.peak_mb)}


def the_device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--steps", type=int, default=30, metavar="N", help="measured for each reading")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--here", nargs=2, metavar=("METHOD", "SIZE"), help="one reading, in this process")
    arguments = parser.parse_args()
    device = the_device(arguments.device)
    if arguments.here:
        case, size = arguments.here
        print(json.dumps(one(case, SIZES[size], arguments.steps, device)))
        return
    readings = {
        f"{case}, {size}": in_own_process(case, size, arguments.steps, device)
        for size in arguments.sizes
        for case in arguments.only
    }
    if arguments.json:
        shapes = {name: asdict(SIZES[name]) for name in arguments.sizes}
        figures = {"device": device_name(device), "epoch of videos": EPOCH_VIDEOS, "sizes": shapes, **readings}
        print(json.dumps(report("train", figures), indent=1))
        return
    show(device_name(device), readings)


def device_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def show(what: str, rows: dict[str, dict[str, Any]]) -> None:
    table = Table(what, *next(iter(rows.values())), box=None, pad_edge=False)
    for name, figures in rows.items():
        table.add_row(name, *map(str, figures.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
