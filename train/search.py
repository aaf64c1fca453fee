"""Random search over the ranges that a method's authors searched: one run a trial, and the best one is the run.

RUN/trial-01, …   the trials, each a run of its own that goes on where it was stopped
RUN/search.json   what was asked for, what each trial was given, how it ended, and which of them is the best
RUN/…             the files of the best one, with a note that it is the best of so many
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError
from rich.console import Console

from vsumdata.pipeline.errors import Diverged, UsageError
from vsumdata.train import checkpoints, runs
from vsumdata.train.runs import BEST, BEST_OF, INCIDENTAL, INFO, LAST, LOG, Trained
from vsumdata.train.settings import Section, class_of, settings_of
from vsumdata.train.train import TrainRequest, job_of, train

FOUND = "search.json"
Ranges = dict[str, tuple[float, float]]  # by setting, the least and the largest value


class Trial(Section):
    number: int
    sets: tuple[str, ...] = Field(description="what was drawn for it")
    value: float | None = Field(description="of the validation metric; null where the weights have none")
    epoch: int | None = Field(description="that validation chose; null where it diverged")
    diverged: str | None = Field(None, description="how its training failed")

    @property
    def rank(self) -> tuple[float, int]:
        """The higher the better; of equals the earlier."""
        return (-math.inf if self.value is None else self.value, -self.number)


class Record(Section):
    """search.json."""

    asked: dict[str, Any] = Field(description="what must be the same for a search to go on")
    metric: str = Field(description="of the validation videos, that chooses the trial")
    best: int | None = Field(None, description="number of the trial whose files are the run's")
    trials: tuple[Trial, ...] = Field((), description="numbered from 1")

    def added(self, trial: Trial) -> Record:
        """With one more trial, or with `trial` instead of the one of its number."""
        trials = (*self.trials[: trial.number - 1], trial, *self.trials[trial.number :])
        best = max((each for each in trials if each.diverged is None), key=lambda each: each.rank, default=None)
        return self.model_copy(update={"trials": trials, "best": best and best.number})


def search(request: TrainRequest, num_trials: int, console: Console) -> Trained:
    """Train `num_trials` runs with random settings and return the best; the same call goes on, a larger one adds.

    What is set by hand is not drawn, and a trial that diverged is not tried again. Raises UsageError for a method
    without ranges, without validation videos, for a folder with another search, or if every trial diverged.
    """
    request = validated(request)
    ranges = ranges_of(request)
    seed, out = settings_of(request.method, request.preset, request.sets).seed, Path(request.out)
    begun = Record(asked=asked(request, ranges), metric=metric_of(request))
    with runs.locked(out):
        record = opened(out, begun)
        num_trials = max(num_trials, len(record.trials))
        for number in range(1, num_trials + 1):
            sets = drawn(ranges, seed, number)
            say(console, f"trial {number} of {num_trials}: {', '.join(sets)}")
            before = next((trial for trial in record.trials if trial.sets == sets), None)
            its = replace(request, sets=(*request.sets, *sets), out=str(folder(out, number)))
            trial = before if before and before.diverged else tried(its, number, sets, console)
            if trial.diverged:
                say(console, f"trial {number} diverged: {trial.diverged}")
            record = record.added(trial)
            write(out, record)
        keep(out, record, console)
    return runs.load(out)


def validated(request: TrainRequest) -> TrainRequest:
    """The request with a metric to choose by, for the best trial has to be known by something."""
    if settings_of(request.method, request.preset, request.sets).validates:
        return request
    return replace(request, sets=(*request.sets, "select_on=tau"))


def ranges_of(request: TrainRequest) -> Ranges:
    """Without what was set by hand."""
    by_hand = {override.partition("=")[0].strip() for override in request.sets}
    settings = settings_of(request.method, request.preset, request.sets)
    published = getattr(class_of(request.method, "objective"), "RANGES", {})
    if published and settings.needs_targets:
        raise UsageError(
            f"--search: with objective.variant=fixed {request.method} learns from labels, and {', '.join(published)} "
            "have no effect; leave out --search"
        )
    found = {f"objective.{name}": its for name, its in published.items() if f"objective.{name}" not in by_hand}
    if not found:
        raise UsageError(f"--search: {request.method} has no published ranges that are left to search")
    return found


def metric_of(request: TrainRequest) -> str:
    """What the trials are chosen by; what is wrong with the data or the settings of all trials is raised here."""
    validation = job_of(request).validation
    if validation is None:
        raise UsageError("--search: there are no validation videos to choose a trial by; give more videos")
    return validation.metric


def asked(request: TrainRequest, ranges: Ranges) -> dict[str, Any]:
    settings = settings_of(request.method, request.preset, request.sets)
    return {
        "settings": settings.model_dump(mode="json", exclude=INCIDENTAL["settings"]),
        "data": asdict(replace(request.data, labelled=settings.needs_targets)),
        "init": request.init,
        "ranges": {name: list(its) for name, its in ranges.items()},
    }


def opened(out: Path, begun: Record) -> Record:
    """What search.json says already, or `begun`, with which it is written."""
    if (out / FOUND).exists():
        try:
            there = Record.model_validate_json((out / FOUND).read_bytes())
        except ValidationError:
            raise UsageError(f"{out / FOUND} is not of a search that this version reads; give another --out") from None
        if different := runs.difference(there.asked, begun.asked):
            raise UsageError(f"{out} is a search with other settings ({different}); give another --out")
        return there
    if (out / INFO).exists():
        raise UsageError(f"{out} is a run of its own, no search; give another --out")
    write(out, begun)
    return begun


def write(out: Path, record: Record) -> None:
    checkpoints.put(out / FOUND, (record.model_dump_json(indent=1) + "\n").encode())


def drawn(ranges: Ranges, seed: int, number: int) -> tuple[str, ...]:
    """The settings of a trial: uniform in their logarithm, for the ranges go over several powers of ten."""
    rng = np.random.default_rng([seed, number])
    return tuple(
        f"{name}={math.exp(rng.uniform(math.log(least), math.log(most))):.4g}" for name, (least, most) in ranges.items()
    )


def folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:02}"


def tried(request: TrainRequest, number: int, sets: tuple[str, ...], console: Console) -> Trial:
    try:
        at = train(request, console).position
    except Diverged as error:
        return Trial(number=number, sets=sets, value=None, epoch=None, diverged=str(error))
    return Trial(number=number, sets=sets, value=at.best, epoch=at.epoch)


def keep(out: Path, record: Record, console: Console) -> None:
    """Copy the files of the best trial, and say among its notes what it is; UsageError where every trial diverged."""
    if record.best is None:
        first = record.trials[0].diverged
        raise UsageError(f"--search: each of {len(record.trials)} trials diverged; the first: {first}")
    winner = folder(out, record.best)
    info = runs.read_info(winner)
    note = f"{BEST_OF}{len(record.trials)} trials by {record.metric} on the validation videos"
    for name in (LOG, LAST, BEST):
        checkpoints.put(out / name, (winner / name).read_bytes())
    noted = info.model_copy(update={"notes": (*info.notes, note)})
    checkpoints.put(out / INFO, (noted.model_dump_json(indent=1) + "\n").encode())  # last: before, the folder is no run
    say(console, f"trial {record.best} is {note}")


def say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
