"""Random search: each trial is a run, and the best one becomes the run of the folder.

RUN/trial-01, …   the trials; each is a run of its own and resumes where it was stopped
RUN/search.json   the request, the settings and the result of each trial, and the number of the best one
RUN/…             the files of the best trial, with a note that it is the best of N
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from vsumdata.manifests.errors import Diverged, UsageError
from vsumdata.manifests.manifest import apply_override
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.checkpoints import Position
from vsumdata.train.loop.runs import BEST, BEST_OF, INFO, LAST, LOG
from vsumdata.train.settings import Section, Settings, class_of

FOUND = "search.json"
Ranges = dict[str, tuple[float, float]]  # by setting, the least and the largest value
# Trains a trial, or reads it if it is complete: its settings (`key=value`) and its folder -> the weights' position.
Attempt = Callable[[tuple[str, ...], Path], Position]


class Trial(Section):
    """One trial in search.json."""

    number: int = Field(description="number of the trial, from 1")
    sets: tuple[str, ...] = Field(description="the settings that were drawn, as key=value")
    value: float | None = Field(description="best value of the validation metric; null if it is undefined")
    epoch: int | None = Field(description="the epoch that validation selected; null if the trial diverged")
    diverged: str | None = Field(None, description="the error of a trial that diverged")

    @property
    def rank(self) -> tuple[float, int]:
        """A key to sort by: the higher value is better, and of equal values the earlier trial."""
        return (-math.inf if self.value is None else self.value, -self.number)


class Record(Section):
    """search.json."""

    asked: dict[str, Any] = Field(description="the request; a search resumes only if it is the same")
    metric: str = Field(description="the validation metric that selects the trial")
    best: int | None = Field(None, description="number of the trial whose files are the run's")
    trials: tuple[Trial, ...] = Field((), description="the trials, in the order of their numbers")

    def added(self, trial: Trial) -> Record:
        """A record with one more trial, or with `trial` in place of the one that has its number."""
        trials = (*self.trials[: trial.number - 1], trial, *self.trials[trial.number :])
        best = max((each for each in trials if each.diverged is None), key=lambda each: each.rank, default=None)
        return self.model_copy(update={"trials": trials, "best": best and best.number})


@dataclass(frozen=True, kw_only=True)
class Search:
    """How many trials to make, and the ranges to draw from."""

    num_trials: int
    ranges: Ranges


def search_in(
    out: Path,
    begun: Record,
    wanted: Search,
    seed: int,
    attempt: Attempt,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Make the trials of `wanted` in the folder `out` and keep the best one there.

    The same call resumes a search; a larger number adds trials. A trial that diverged is not repeated. Raises
    UsageError if the folder holds another search, or if every trial diverged.
    """
    record = opened(out, begun)
    # A smaller number than before must not drop trials: "the best of N" has to count every one that was trained.
    num_trials = max(wanted.num_trials, len(record.trials))
    for number in range(1, num_trials + 1):
        sets = drawn(wanted.ranges, seed, number)
        say(f"trial {number} of {num_trials}: {', '.join(sets)}")
        before = next((trial for trial in record.trials if trial.sets == sets), None)
        # `tried` only reads a complete trial. One that diverged is never complete, and would diverge again.
        trial = before if before and before.diverged else tried(attempt, out, number, sets)
        if trial.diverged:
            say(f"trial {number} diverged: {trial.diverged}")
        record = record.added(trial)
        # After every trial, so that a killed search knows which trials diverged.
        write(out, record)
    say(keep(out, record))


def ranges_of(settings: Settings, by_hand: Collection[str]) -> Ranges:
    """The ranges to draw from: those of the method, without the settings `by_hand` that the user gave.

    Raises UsageError if none is left, or if the settings have no effect on the method's objective.
    """
    method = settings.method
    published = getattr(class_of(method, "objective"), "RANGES", {})
    if published and settings.needs_targets:
        raise UsageError(
            f"--search: with objective.variant=fixed {method} learns from labels, and {', '.join(published)} "
            "have no effect; leave out --search"
        )
    found = {f"objective.{name}": its for name, its in published.items() if f"objective.{name}" not in by_hand}
    if not found:
        raise UsageError(f"--search: {method} has no published ranges that are left to search")
    return found


def changed(settings: Settings, sets: Collection[str]) -> Settings:
    """The settings with the changes `sets`, each as `key=value`."""
    values = settings.model_dump()
    for override in sets:
        apply_override(values, override)
    return Settings.model_validate(values)


def opened(out: Path, begun: Record) -> Record:
    """The record in search.json, or `begun`, which is then written. Raises UsageError if they do not agree."""
    if (out / FOUND).exists():
        try:
            there = Record.model_validate_json((out / FOUND).read_bytes())
        except ValidationError:
            raise UsageError(f"{out / FOUND}: this version cannot read this search; give another --out") from None
        if different := runs.difference(there.asked, begun.asked):
            raise UsageError(f"{out} is a search with other settings ({different}); give another --out")
        return there
    # At its end a search copies its best trial over run.json and the weights: a finished run would be lost.
    if (out / INFO).exists():
        raise UsageError(f"{out} is a run of its own, no search; give another --out")
    write(out, begun)
    return begun


def write(out: Path, record: Record) -> None:
    """Write search.json atomically."""
    checkpoints.put(out / FOUND, (record.model_dump_json(indent=1) + "\n").encode())


def drawn(ranges: Ranges, seed: int, number: int) -> tuple[str, ...]:
    """The random settings of a trial."""
    # Seed and number alone determine a trial, so a resumed or a longer search draws the same ones again.
    rng = np.random.default_rng([seed, number])
    # Uniform in the logarithm: the ranges span several powers of ten.
    return tuple(
        f"{name}={math.exp(rng.uniform(math.log(least), math.log(most))):.4g}" for name, (least, most) in ranges.items()
    )


def folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:02}"


def tried(attempt: Attempt, out: Path, number: int, sets: tuple[str, ...]) -> Trial:
    """Train one trial, or read it if it is complete. A trial that diverges is a result, not an error."""
    try:
        at = attempt(sets, folder(out, number))
    # The published ranges reach weights that no run survives. Such a trial must not end the search.
    except Diverged as error:
        return Trial(number=number, sets=sets, value=None, epoch=None, diverged=str(error))
    return Trial(number=number, sets=sets, value=at.best, epoch=at.epoch)


def keep(out: Path, record: Record) -> str:
    """Copy the files of the best trial and add a note. Returns what to print; raises UsageError if all diverged."""
    if record.best is None:
        first = record.trials[0].diverged
        raise UsageError(f"--search: each of {len(record.trials)} trials diverged; the first: {first}")
    winner = folder(out, record.best)
    info = runs.read_info(winner)
    note = f"{BEST_OF}{len(record.trials)} trials by {record.metric} on the validation videos"
    for name in (LOG, LAST, BEST):
        checkpoints.put(out / name, (winner / name).read_bytes())
    noted = info.model_copy(update={"notes": (*info.notes, note)})
    # run.json comes last: without it the folder is no run, so a kill in between leaves no run of mixed files.
    checkpoints.put(out / INFO, (noted.model_dump_json(indent=1) + "\n").encode())
    return f"trial {record.best} is {note}"
