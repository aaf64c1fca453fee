"""Random search over the ranges that a method's authors searched: one run a trial, and the best one is the run.

RUN/trial-01, …   the trials, each a run of its own that goes on where it was stopped
RUN/search.json   what each trial was given, how its validation ended, and which of them is the best
RUN/…             the files of the best one
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from vsumdata.pipeline.errors import UsageError
from vsumdata.train import checkpoints, runs
from vsumdata.train.runs import BEST, INFO, LAST, LOG, Trained
from vsumdata.train.settings import class_of, settings_of
from vsumdata.train.train import TrainRequest, train

FOUND = "search.json"


@dataclass(frozen=True, kw_only=True)
class Trial:
    number: int
    sets: tuple[str, ...]
    value: float  # of the validation metric; NaN where the weights have none
    epoch: int

    @property
    def rank(self) -> tuple[float, int]:
        """The higher the better; of equals the earlier."""
        return (-math.inf if math.isnan(self.value) else self.value, -self.number)


def search(request: TrainRequest, num_trials: int, console: Console) -> Trained:
    """Train `num_trials` runs with random settings and return the best; the same call goes on, a larger one adds.

    What is set by hand is not drawn. Raises UsageError for a method without ranges, or without validation videos.
    """
    request = validated(request)
    ranges = ranges_of(request)
    out = Path(request.out)
    if (out / INFO).exists() and not (out / FOUND).exists():
        raise UsageError(f"{out} is a run of its own, no search; give another --out")
    done: list[Trial] = []
    for number in range(1, num_trials + 1):
        sets = drawn(ranges, settings_of(request.method, request.preset, request.sets).seed, number)
        told = f"trial {number} of {num_trials}: {', '.join(sets)}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
        its = replace(request, sets=(*request.sets, *sets), out=str(folder(out, number)))
        done.append(trial_of(train(its, console), number, sets))
        best = max(done, key=lambda trial: trial.rank)
        write(out, done, best, request)
    with runs.locked(out):
        for name in (LOG, LAST, BEST, INFO):  # run.json last: before, the folder is no run
            shutil.copyfile(folder(out, best.number) / name, out / name)
    return runs.load(out)


def validated(request: TrainRequest) -> TrainRequest:
    """The request with a metric to choose by, for the best trial has to be known by something."""
    if settings_of(request.method, request.preset, request.sets).validates:
        return request
    return replace(request, sets=("select_on=tau", *request.sets))


def ranges_of(request: TrainRequest) -> dict[str, tuple[float, float]]:
    """By setting, the least and the largest value; without what was set by hand."""
    by_hand = {override.partition("=")[0].strip() for override in request.sets}
    settings_of(request.method, request.preset, request.sets)
    published = getattr(class_of(request.method, "objective"), "RANGES", {})
    found = {f"objective.{name}": its for name, its in published.items() if f"objective.{name}" not in by_hand}
    if not found:
        raise UsageError(f"--search: {request.method} has no published ranges that are left to search")
    return found


def drawn(ranges: dict[str, tuple[float, float]], seed: int, number: int) -> tuple[str, ...]:
    """The settings of a trial: uniform in their logarithm, for the ranges go over several powers of ten."""
    rng = np.random.default_rng([seed, number])
    return tuple(
        f"{name}={math.exp(rng.uniform(math.log(least), math.log(most))):.4g}" for name, (least, most) in ranges.items()
    )


def folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:02}"


def trial_of(trained: Trained, number: int, sets: tuple[str, ...]) -> Trial:
    at = trained.position
    if not trained.info.val:
        raise UsageError("--search: there are no validation videos to choose a trial by")
    return Trial(number=number, sets=sets, value=math.nan if at.best is None else at.best, epoch=at.epoch)


def write(out: Path, done: list[Trial], best: Trial, request: TrainRequest) -> None:
    trials = [
        {
            "trial": trial.number,
            "sets": trial.sets,
            "value": None if math.isnan(trial.value) else trial.value,
            "epoch": trial.epoch,
        }
        for trial in done
    ]
    metric = runs.load(folder(out, best.number)).position.metric
    record = {"method": request.method, "metric": metric, "best": best.number, "trials": trials}
    checkpoints.put(out / FOUND, (json.dumps(record, indent=1) + "\n").encode())
