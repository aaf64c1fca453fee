"""The commands as functions: `vsumdata.run`, `vsumdata.fit`, …

They take what the commands take, return what one goes on with, and print progress on stderr unless `quiet`. All raise
UsageError, with the remedy, for a request that cannot be fulfilled. `settings` are changes `{"a.b": value}` as with
`--set`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from rich.console import Console

from vsumdata.datasets.shards import open_shards
from vsumdata.manifests.store import Store

if TYPE_CHECKING:
    from vsumdata.train.benchmark.table import Table
    from vsumdata.train.loop.runs import Trained
    from vsumdata.train.summarize.summary import Summary

__all__ = ["bench", "evaluate", "fit", "open_shards", "report", "run", "status", "summarize"]

Settings = Mapping[str, Any]


def run(
    manifest: str | Path = "wikihow_ehow",
    *,
    root: str | Path,
    stage: str = "crawl,asr,features",
    settings: Settings | None = None,
    limit: int | None = None,
    address: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run the stages over the videos that still need them, as `vsumdata run`; return the `status` of the root.

    Videos that fail do not raise: their outcomes are in the status.
    """
    from vsumdata.pipeline import session

    request = session.Request(
        manifest=str(manifest), stage=stage, root=str(root), limit=limit, settings=_sets(settings), address=address
    )
    session.run(request, _console(quiet))
    return status(root)


def status(root: str | Path) -> dict[str, Any]:
    """Return what `vsumdata status --json` prints: outcomes, reasons, bytes and paths of each table."""
    from vsumdata.pipeline.state import dataset

    store = Store(root)
    loaded, stages, records, _ = dataset.open_root(store)
    return dataset.summary(store, loaded, stages, records)


def report(
    root: str | Path, output: str | Path = "report.html", *, videos: int | None = 200, checkpoint: str | None = None
) -> Path:
    """Write the page of a root, as `vsumdata report`; return its path. `videos`: None for all."""
    from vsumdata.pipeline.reports.page import page

    return page.report(root, output, videos=videos, checkpoint=checkpoint)


class FitOptions(TypedDict, total=False):
    """Options of `fit`: as the flags of `vsumdata train`. `init` is the folder of a run."""

    preset: str
    settings: Settings
    split: str
    fold: int
    init: str | Path
    track: str
    quiet: bool


def fit(method: str, *, data: str | Path, out: str | Path, **options: Unpack[FitOptions]) -> Trained:
    """Train a summarizer in the folder `out`, or go on with it, as `vsumdata train`; return the trained run.

    `data` is a root, or NAME:PATH of a benchmark. Raises KeyboardInterrupt after a request to stop; the run is saved.
    """
    from vsumdata.train.data.training import Wanted
    from vsumdata.train.train import TrainRequest, train

    init = options.get("init")
    request = TrainRequest(
        method=method,
        data=Wanted(data=str(data), split=options.get("split"), fold=options.get("fold", 1)),
        out=str(out),
        preset=options.get("preset", "default"),
        sets=_sets(options.get("settings")),
        init=None if init is None else str(init),
        track=options.get("track"),
    )
    return train(request, _console(options.get("quiet", False)))


def evaluate(run: str | Path, *, on: str, data: str | Path = "", protocol: str | None = None) -> Table:
    """Measure a trained run on videos that it has not seen, as `vsumdata eval`."""
    from vsumdata.train.benchmark import evaluation

    return evaluation.evaluate_run(evaluation.Request(run=str(run), on=on, data=str(data), protocol=protocol))


class BenchOptions(TypedDict, total=False):
    """Options of `bench`: as the flags of `vsumdata bench`. `runs` is a folder that keeps the trained runs."""

    seeds: int
    protocol: str
    split: str
    settings: Settings
    runs: str | Path
    quiet: bool


def bench(on: str, *, data: str | Path = "", methods: Iterable[str] = (), **options: Unpack[BenchOptions]) -> Table:
    """Make a benchmark table, as `vsumdata bench`. A method that fails is a row that says so.

    `methods` may have settings in brackets: `hiersum[preset=paper]`. `table.to_pandas()` is a line for each method and
    metric; `table.failed` names what failed.
    """
    from vsumdata.train.benchmark.asked.request import Request
    from vsumdata.train.benchmark.bench import bench as make

    runs = options.get("runs")
    request = Request(
        on=on,
        data=str(data),
        methods=tuple(methods),
        seeds=options.get("seeds", 3),
        protocol=options.get("protocol"),
        split=options.get("split"),
        sets=_sets(options.get("settings")),
        runs=None if runs is None else str(runs),
    )
    return make(request, _console(options.get("quiet", False)))


def summarize(
    video: str | Path,
    *,
    checkpoint: str | Path | None = None,
    method: str | None = None,
    output: str | Path = "out",
    root: str | Path | None = None,
    budget: float = 0.15,
    captions: str | Path | None = None,
) -> Summary:
    """Summarize a media file, or a video id of `root`, into the folder `output`; return the content of summary.json.

    Without a `checkpoint`, `method` is replay, step-cm, frame-cm or uniform; None: the best that is possible here.
    """
    from vsumdata.pipeline.recipe import recipe
    from vsumdata.train.summarize.summarize import Request
    from vsumdata.train.summarize.summarize import summarize as make

    request = Request(
        video=str(video),
        checkpoint=None if checkpoint is None else str(checkpoint),
        method=method,
        output=str(output),
        root=None if root is None else str(root),
        budget=budget,
        captions=None if captions is None else str(captions),
    )
    return make(request, recipe)


def _sets(settings: Settings | None) -> tuple[str, ...]:
    """`--set` words of a mapping; the program reads their values as YAML, of which JSON is a part."""
    return tuple(f"{name}={json.dumps(value, default=str)}" for name, value in (settings or {}).items())


def _console(quiet: bool) -> Console:
    return Console(stderr=True, quiet=quiet)
