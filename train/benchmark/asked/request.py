"""The options of `vsumdata bench`."""

from __future__ import annotations

from dataclasses import dataclass

from vsumdata.datasets.partition import Pool


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `vsumdata bench`. Protocol, split and preset default to the data set's own.

    `features` is a root of ours whose features replace the benchmark's. `sets` are overrides a.b=c for the methods that
    have a setting a.b. `runs` is a folder that keeps the trained runs, `init` a run whose weights the trained methods
    start from. `legacy` selects epochs on the test videos. `save_scores` is a folder for the scores of each video.
    `train_on` is another data set to train on, and `remarks` are told with the table.
    """

    on: str
    data: str = ""
    methods: tuple[str, ...] = ()
    protocol: str | None = None
    seeds: int = 3
    features: str | None = None
    split: str | None = None
    baseline: str = "random"
    preset: str | None = None
    sets: tuple[str, ...] = ()
    runs: str | None = None
    init: str | None = None
    legacy: bool = False
    pool: Pool = "fold"
    save_scores: str | None = None
    train_on: str | None = None
    remarks: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()  # papers whose numbers stand beside; empty: all
