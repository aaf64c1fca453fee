"""What still needs work: fingerprints, upstream hashes and the pending videos of a stage.

Nothing here starts Ray, loads a model or reads a payload.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
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

    def count(self, outcome: str, reason: str | None, times: int = 1) -> None:
        self.outcomes[outcome] += times
        if reason:
            self.reasons[f"{outcome}: {reason}"] += times


@dataclass(frozen=True)
class Seen:
    """A video's latest row in a stage's own table; all None where there is none."""

    outcome: str | None
    reason: str | None
    attempt: int | None
    retry_after: datetime | None
    upstream: str | None


def plan(
    store: Store,
    stages: Stages,
    name: str,
    records: Sequence[Record],
    select: Select,
    again: Collection[str] = (),
) -> Plan:
    """What stage `name` has to do for these records; `again` are outcomes to do over (`--retry`).

    All records are looked at in columns; only those with something to do, or decided, one by one.
    """
    stage, now = stages[name], datetime.now(UTC)
    verdicts = decisions(store, stages, select)
    if name != "videos":
        records = [record for record in records if verdicts.get(record.video_id, "not_read") is None]
    ids = pa.array([record.video_id for record in records], pa.string())
    own = own_rows(store, stages, name, ids)
    read = {table: read_rows(store, stages, table, columns, ids) for table, columns in stage.inputs().items()}
    marks = {table: rows["mark"] for table, rows in read.items()}
    if "source" in stage.reads:
        marks["source"] = pa.array([fields_hash(record, stage.reads["source"]) for record in records], pa.string())
    expected = joined([marks[table] for table in sorted(marks)], len(records))
    is_ready, is_same = pc.is_valid(expected), pc.fill_null(pc.equal(expected, own["upstream"]), False)
    reasons = [verdicts.get(record.video_id) if name == "videos" else None for record in records]
    is_rest = pc.and_(is_same, pc.is_in(own["outcome"], value_set=pa.array(sorted(tables.SETTLED - set(again)))))
    is_rest = pc.and_(is_rest, pc.is_null(pa.array(reasons, pa.string())))
    result = Plan(waiting=len(records) - (pc.sum(is_ready).as_py() or 0))
    for same in own.filter(is_rest).group_by(["outcome", "reason"]).aggregate([([], "count_all")]).to_pylist():
        result.count(same["outcome"], same["reason"], same["count_all"])
    for at in np.flatnonzero(pc.and_not(is_ready, is_rest)).tolist():
        prior = Seen(**own.slice(at, 1).to_pylist()[0])
        unfetched = reasons[at] == "not_fetched" and worth_fetching(records[at].listed_view_count, select.min_views)
        if not is_same[at].as_py() or unfetched or is_pending(prior, again, now):
            parts = {table: part for table, rows in read.items() if (part := rows["part"][at].as_py())}
            upstream = {table: mark[at].as_py() for table, mark in marks.items()}
            result.tasks.append(Task(records[at], (prior.attempt or 0) + 1, upstream, parts))
        elif prior.outcome == tables.DONE and reasons[at] is not None:
            result.count(tables.SKIPPED, "low_views" if reasons[at] == "not_fetched" else reasons[at])
        else:
            result.count(str(prior.outcome), prior.reason)
            if prior.outcome == tables.RETRY and prior.retry_after is not None:
                result.due.append(prior.retry_after)
    return result


def is_pending(prior: Seen, again: Collection[str], now: datetime) -> bool:
    """Whether a row that was made of the same things is to be made again."""
    if prior.outcome in again:
        return True
    return prior.outcome == tables.RETRY and (prior.retry_after is None or prior.retry_after <= now)


def own_rows(store: Store, stages: Stages, name: str, ids: pa.Array) -> pa.Table:
    """For each id its latest row in a stage's own table (the fields of `Seen`), nulls where there is none."""
    found = store.latest(name, fingerprint(stages, name), planning_columns(name))
    hashes = [lookup(found, "upstream", table) for table in sorted(stages[name].reads)]
    columns = {column: found[column] for column in ("outcome", "reason", "attempt", "retry_after")}
    return rows_of(found, pa.table(columns | {"upstream": joined(hashes, len(found))}), ids)


def read_rows(store: Store, stages: Stages, name: str, columns: Sequence[str], ids: pa.Array) -> pa.Table:
    """For each id in a table that is read: `mark`, the hash of the columns read and, where `done`, the `part`.

    Null where the video is not settled there; a row that is not `done` says only that there is nothing.
    """
    found = store.latest(name, fingerprint(stages, name), planning_columns(name))
    found = found.filter(pc.is_in(found["outcome"], value_set=pa.array(sorted(tables.SETTLED))))
    is_done = pc.equal(found["outcome"], tables.DONE)
    digests = joined([pc.fill_null(lookup(found, "digest", column), "-") for column in columns], len(found))
    texts = pc.if_else(is_done, digests, None).to_pylist()
    marks = pa.array(["none" if text is None else combined(text) for text in texts], pa.string())
    parts = pc.if_else(is_done, pc.cast(found["part"], pa.string()), None)
    return rows_of(found, pa.table({"mark": marks, "part": parts}), ids)


def rows_of(found: pa.Table, columns: pa.Table, ids: pa.Array) -> pa.Table:
    """The row of `columns` for each id, nulls where `found` has no such id."""
    return columns.take(pc.index_in(ids, value_set=found["video_id"])).combine_chunks()


def joined(columns: Sequence[pa.Array], length: int) -> pa.Array:
    """Several text columns as one; null where any is null."""
    return pc.binary_join_element_wise(*columns, " ") if columns else pa.array([""] * length)


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
