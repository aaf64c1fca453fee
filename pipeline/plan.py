"""What still needs work: fingerprints, upstream hashes and the pending videos of a stage.

Nothing here starts Ray, loads a model or reads a payload.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vsumdata.manifests import tables
from vsumdata.manifests.manifest import Select
from vsumdata.manifests.rows import combined
from vsumdata.manifests.sources import Record, fields_hash
from vsumdata.manifests.store import Store
from vsumdata.pipeline.stage import Stage
from vsumdata.stages.select import decide, worth_fetching

Stages = Mapping[str, Stage]
DECIDED_BY = ("view_count", "duration_s", "live_status", "media_type", "source", "fetched")


def payload_schema(stage: Stage) -> pa.Schema:
    return stage.payload if stage.payload is not None else tables.payload(stage.name, stage.options)


def table_schema(stage: Stage) -> pa.Schema:
    """All columns of a stage's table."""
    return pa.schema([*tables.HEAD, *payload_schema(stage), tables.DIGEST])


def fingerprint(stages: Stages, name: str, columns: Collection[str] | None = None) -> str:
    """Which settings and code made a table (restricted to some columns, where given)."""
    stage = stages[name]
    fields = [(f.name, str(f.type)) for f in payload_schema(stage) if columns is None or f.name in columns]
    options = {key: value for key, value in stage.options.items() if counts(stage, key, columns)}
    reads = {table: fingerprint(stages, table, read) for table, read in sorted(stage.inputs().items())}
    text = json.dumps([name, stage.version, options, fields, reads], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def counts(stage: Stage, option: str, columns: Collection[str] | None) -> bool:
    """Whether an option may change these columns."""
    if option.endswith("location"):
        return False
    return columns is None or option not in stage.affects or not set(stage.affects[option]).isdisjoint(columns)


@dataclass(frozen=True)
class Task:
    """One video that a stage has to do: what it is made from and where its upstream rows lie."""

    record: Record
    attempt: int
    upstream: Mapping[str, str]
    parts: Mapping[str, str]  # table -> part file of the video's `done` row

    @property
    def video_id(self) -> str:
        return self.record.video_id


@dataclass
class Plan:
    """A stage's table as it stands for the videos of one manifest."""

    tasks: list[Task] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)  # of rows that are not pending
    reasons: Counter[str] = field(default_factory=Counter)  # "skipped: low_views"
    waiting: int = 0  # kept videos whose upstream is not settled yet
    due: list[datetime] = field(default_factory=list)  # when retries fall due

    def count(self, outcome: str, reason: str | None) -> None:
        self.outcomes[outcome] += 1
        if reason:
            self.reasons[f"{outcome}: {reason}"] += 1


@dataclass(frozen=True, slots=True)
class Seen:
    """A video's latest row in one table, as far as planning needs it."""

    outcome: str
    reason: str
    attempt: int
    retry_after: datetime | None
    part: str
    marks: tuple[str | None, ...]  # of a table read: the digests of its columns; of the own: its `upstream`

    def content(self) -> str:
        """What `upstream` keeps of a table read: a row that is not `done` says only that there is nothing."""
        return combined(self.marks) if self.outcome == tables.DONE else "none"


def plan(
    store: Store,
    stages: Stages,
    name: str,
    records: Sequence[Record],
    select: Select,
    again: Collection[str] = (),
) -> Plan:
    """What stage `name` has to do for these records; `again` are outcomes to do over (`--retry`)."""
    stage, result, now = stages[name], Plan(), datetime.now(UTC)
    read = {table: seen(store, stages, table, "digest", cols) for table, cols in stage.inputs().items()}
    own = seen(store, stages, name, "upstream", tuple(sorted(stage.reads)))
    verdicts = decisions(store, stages, select)
    for record in records:
        prior = own.get(record.video_id)
        verdict = verdicts.get(record.video_id, "not_read")
        if name != "videos" and verdict is not None:
            continue  # not readable, not wanted or not there yet
        found = {table: rows.get(record.video_id) for table, rows in read.items()}
        if any(row is None or row.outcome not in tables.SETTLED for row in found.values()):
            result.waiting += 1
            continue
        task = make_task(stage, record, prior, {table: row for table, row in found.items() if row is not None})
        unfetched = verdict == "not_fetched" and worth_fetching(record.listed_view_count, select.min_views)
        if prior is None or unfetched or is_pending(prior, task, again, now):
            result.tasks.append(task)
            continue
        decided = name == "videos" and prior.outcome == tables.DONE and verdict is not None
        if decided:
            result.count(tables.SKIPPED, "low_views" if verdict == "not_fetched" else verdict)
        else:
            result.count(prior.outcome, prior.reason)
        if prior.outcome == tables.RETRY and prior.retry_after is not None:
            result.due.append(prior.retry_after)
    return result


def make_task(stage: Stage, record: Record, prior: Seen | None, found: Mapping[str, Seen]) -> Task:
    upstream = {table: row.content() for table, row in found.items()}
    parts = {table: row.part for table, row in found.items() if row.outcome == tables.DONE}
    if "source" in stage.reads:
        upstream["source"] = fields_hash(record.as_dict(), stage.reads["source"])
    return Task(record, prior.attempt + 1 if prior else 1, upstream, parts)


def is_pending(prior: Seen, task: Task, again: Collection[str], now: datetime) -> bool:
    if prior.marks != tuple(task.upstream[table] for table in sorted(task.upstream)):
        return True
    if prior.outcome in again:
        return True
    return prior.outcome == tables.RETRY and (prior.retry_after is None or prior.retry_after <= now)


def seen(store: Store, stages: Stages, name: str, mapping: str, keys: Sequence[str]) -> dict[str, Seen]:
    """Each video's latest row in a table, with the values that its map column `mapping` has for `keys`."""
    lookups = {f"mark_{i}": pc.map_lookup(pc.field(mapping), pa.scalar(key), "first") for i, key in enumerate(keys)}
    found = store.latest(name, fingerprint(stages, name), **lookups)
    heads = zip(*(found[c].to_pylist() for c in ("outcome", "reason", "attempt", "retry_after", "part")), strict=True)
    marks: Iterator[tuple[Any, ...]] = (
        zip(*(found[c].to_pylist() for c in lookups), strict=True) if lookups else iter([()] * len(found))
    )
    ids = found["video_id"].to_pylist()
    return {i: Seen(*head, marks=mark) for i, head, mark in zip(ids, heads, marks, strict=True)}


def decisions(store: Store, stages: Stages, select: Select) -> dict[str, str | None]:
    """For every readable video: None to keep it, else why not (`not_fetched`: only its listing was read)."""
    found = store.latest("videos", fingerprint(stages, "videos"), DECIDED_BY, heatmap=pc.is_valid(pc.field("heatmap")))
    found = found.filter(pc.equal(found["outcome"], tables.DONE))
    rows = found.select(["video_id", *DECIDED_BY, "heatmap"]).to_pylist()
    return {r["video_id"]: decide(r, select) if r["fetched"] else "not_fetched" for r in rows}
