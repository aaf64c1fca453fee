"""What still needs work: fingerprints, upstream hashes and the pending videos of a stage.

Nothing here starts Ray, loads a model or reads a payload.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

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


class Seen(NamedTuple):
    """A video's latest row in a stage's own table."""

    outcome: str
    reason: str
    attempt: int
    retry_after: datetime | None
    upstream: tuple[str | None, ...]  # in the order of the tables' names


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
    order = sorted(stage.reads)
    inputs = [read_rows(store, stages, table, stage.reads[table]) if table != "source" else None for table in order]
    own = own_rows(store, stages, name)
    verdicts = decisions(store, stages, select)
    for record in records:
        video_id = record.video_id
        prior, verdict = own.get(video_id), verdicts.get(video_id, "not_read")
        if name != "videos" and verdict is not None:
            continue  # not readable, not wanted or not there yet
        found = [
            (fields_hash(record, stage.reads["source"]), None) if rows is None else rows.get(video_id)
            for rows in inputs
        ]
        if None in found:
            result.waiting += 1
            continue
        marks = tuple(mark for mark, _ in found)  # type: ignore[misc]
        unfetched = verdict == "not_fetched" and worth_fetching(record.listed_view_count, select.min_views)
        if prior is None or unfetched or is_pending(prior, marks, again, now):
            parts = {table: row[1] for table, row in zip(order, found, strict=True) if row and row[1]}
            attempt = prior.attempt + 1 if prior else 1
            result.tasks.append(Task(record, attempt, dict(zip(order, marks, strict=True)), parts))
        elif name == "videos" and prior.outcome == tables.DONE and verdict is not None:
            result.count(tables.SKIPPED, "low_views" if verdict == "not_fetched" else verdict)
        else:
            result.count(prior.outcome, prior.reason)
            if prior.outcome == tables.RETRY and prior.retry_after is not None:
                result.due.append(prior.retry_after)
    return result


def is_pending(prior: Seen, marks: tuple[str | None, ...], again: Collection[str], now: datetime) -> bool:
    if prior.upstream != marks or prior.outcome in again:
        return True
    return prior.outcome == tables.RETRY and (prior.retry_after is None or prior.retry_after <= now)


def own_rows(store: Store, stages: Stages, name: str) -> dict[str, Seen]:
    """Each video's latest row in a stage's own table."""
    found = store.latest(name, fingerprint(stages, name), planning_columns(name))
    hashes = [lookup(found, "upstream", table).to_pylist() for table in sorted(stages[name].reads)]
    upstream = zip(*hashes, strict=True) if hashes else itertools.repeat((), len(found))
    heads = (found[column].to_pylist() for column in ("outcome", "reason", "attempt", "retry_after"))
    return dict(zip(found["video_id"].to_pylist(), map(Seen, *heads, upstream), strict=True))


def read_rows(store: Store, stages: Stages, name: str, columns: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """For each settled video of a table that is read: the hash of the columns read and, where `done`, the part.

    A row that is not `done` says only that there is nothing.
    """
    found = store.latest(name, fingerprint(stages, name), planning_columns(name))
    found = found.filter(pc.is_in(found["outcome"], value_set=pa.array(sorted(tables.SETTLED))))
    is_done = pc.equal(found["outcome"], tables.DONE)
    digests = [pc.fill_null(lookup(found, "digest", column), "-") for column in columns]
    joined = pc.if_else(is_done, pc.binary_join_element_wise(*digests, ""), None).to_pylist()
    marks = ("none" if text is None else combined(text) for text in joined)
    parts = pc.if_else(is_done, pc.cast(found["part"], pa.string()), None).to_pylist()
    return dict(zip(found["video_id"].to_pylist(), zip(marks, parts, strict=True), strict=True))


def lookup(found: pa.Table, mapping: str, key: str) -> pa.ChunkedArray:
    """The value that a map column has for a key, row by row."""
    return pc.map_lookup(found[mapping], pa.scalar(key), "first")


def planning_columns(name: str) -> tuple[str, ...]:
    """The same for all uses of a table, so that its parts are read once."""
    return ("upstream", "digest", *(DECIDED_BY if name == "videos" else ()))


def decisions(store: Store, stages: Stages, select: Select) -> dict[str, str | None]:
    """For every readable video: None to keep it, else why not (`not_fetched`: only its listing was read)."""
    found = store.latest("videos", fingerprint(stages, "videos"), planning_columns("videos"))
    rules = select.model_dump_json(exclude_unset=True)
    known = store.memo.get("decisions")
    if known is not None and known[0] is found and known[1] == rules:
        return known[2]
    done = found.filter(pc.equal(found["outcome"], tables.DONE))
    # A null has no digest: so the heatmaps themselves need not be read.
    heatmap = pc.is_valid(lookup(done, "digest", "heatmap"))
    rows = done.select(["video_id", *DECIDED_BY]).append_column("heatmap", heatmap).to_pylist()
    verdicts = {r["video_id"]: decide(r, select) if r["fetched"] else "not_fetched" for r in rows}
    store.memo["decisions"] = (found, rules, verdicts)
    return verdicts
