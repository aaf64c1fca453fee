"""What a root says of itself, for whoever reads the published data; and what was counted while it was written."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One table of the funnel: how many videos had which outcome there, and why not `done`."""

    table: str
    outcomes: Mapping[str, int]
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class About:
    """A root's own account. No path of a machine and no key is in it."""

    name: str
    sources: Sequence[str]  # channel:@wikihow, ids:list.jsonl
    filters: Mapping[str, str]  # the manifest's `select`
    funnel: Sequence[Step]
    settings: Mapping[str, str]  # what the rows were made with, for a person
    models: Mapping[str, str]  # the lock file: what each model's name means
    versions: Mapping[str, str]
    is_random: bool  # the picture model has random weights
    published: datetime.date

    @property
    def pending(self) -> str:
        """How many videos wait for which table, in words; empty if none does."""
        found = [(step.table, step.outcomes.get("pending", 0)) for step in self.funnel]
        return ", ".join(f"{number:,} for {table}" for table, number in found if number)


@dataclass
class Tally:
    """What was counted over the published rows."""

    videos: int = 0
    seconds: float = 0.0
    frames: int = 0
    with_replay: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    speech: Counter[str] = field(default_factory=Counter)  # the kind of the sentences
    video_licences: Counter[str] = field(default_factory=Counter)
    article_licences: Counter[str] = field(default_factory=Counter)
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind of text, licence) -> rows that keep it
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    summaries: Counter[str] = field(default_factory=Counter)  # by method


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split, and what is in them."""

    name: str
    files: Sequence[str]  # relative to the repository
    num_rows: int
    num_bytes: int  # in memory
    size_bytes: int  # on disk
