"""`vsumdata train --search`: random search over the ranges that a method's authors searched (see loop/trials.py)."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.train.loop import runs, trials
from vsumdata.train.loop.checkpoints import Position
from vsumdata.train.loop.runs import INCIDENTAL, Trained
from vsumdata.train.loop.trials import Ranges, Record, Search
from vsumdata.train.settings import settings_of
from vsumdata.train.train import RaySession, TrainRequest, job_of, train


def search(request: TrainRequest, num_trials: int, console: Console, ray_session: RaySession | None = None) -> Trained:
    """Train `num_trials` runs with random settings and return the best one.

    The same call resumes a search; a larger number adds trials. Settings that the user gave are not drawn. A trial that
    diverged is not repeated. Raises UsageError if the method has no ranges, there are no validation videos, the folder
    holds another search, or every trial diverged.
    """
    request = validated(request)
    settings = settings_of(request.method, request.preset, request.sets)
    by_hand = {override.partition("=")[0].strip() for override in request.sets}
    ranges, out = trials.ranges_of(settings, by_hand), Path(request.out)
    begun = Record(asked=asked(request, ranges), metric=metric_of(request))

    def attempt(sets: tuple[str, ...], folder: Path) -> Position:
        return train(replace(request, sets=(*request.sets, *sets), out=str(folder)), console, ray_session).position

    with runs.locked(out):
        wanted = Search(num_trials=num_trials, ranges=ranges)
        trials.search_in(
            out,
            begun,
            wanted,
            settings.seed,
            attempt,
            lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
        )
    return runs.load(out)


def validated(request: TrainRequest) -> TrainRequest:
    """The request with a validation metric."""
    if settings_of(request.method, request.preset, request.sets).validates:
        return request
    # ViSP validates nothing by default and takes the last epoch. Trials need a value to be compared by.
    return replace(request, sets=(*request.sets, "select_on=tau"))


def metric_of(request: TrainRequest) -> str:
    """The metric that selects the trial. Raises UsageError if there are no validation videos."""
    # This opens the data as each trial will, so an error that concerns all trials ends the search before the first.
    validation = job_of(request).validation
    if validation is None:
        raise UsageError("--search: there are no validation videos to choose a trial by; give more videos")
    return validation.metric


def asked(request: TrainRequest, ranges: Ranges) -> dict[str, Any]:
    """What must be the same for a search to resume, as JSON values."""
    settings = settings_of(request.method, request.preset, request.sets)
    return {
        "settings": settings.model_dump(mode="json", exclude=INCIDENTAL["settings"]),
        "data": {
            name: hide_keys(value) if isinstance(value, str) else value
            for name, value in asdict(replace(request.data, labelled=settings.needs_targets)).items()
        },
        "init": request.init,
        "ranges": {name: list(its) for name, its in ranges.items()},
    }
