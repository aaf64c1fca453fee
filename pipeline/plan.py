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
Verdicts = Mapping[str, str | None]
DECIDED_BY = ("view_count", "duration_s", "live_status", "media_type", "source", "fetched")
HEATMAP = "digest.heatmap"  # whether there is one, without reading it


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

    def count(self, rows: pa.Table, verdicts: Verdicts) -> None:
        """Count rows that are not pending; a video that was read and is not wanted counts as skipped."""
        video_ids, outcomes, reasons = (rows[name].to_pylist() for name in ("video_id", "outcome", "reason"))
        rulings = map(verdicts.get, video_ids)
        for (outcome, reason, ruling), number in Counter(zip(outcomes, reasons, rulings, strict=True)).items():
            if ruling is not None:
                outcome, reason = tables.SKIPPED, "low_views" if ruling == "not_fetched" else ruling
            self.outcomes[outcome] += number
            if reason:
                self.reasons[f"{outcome}: {reason}"] += number
        retries = rows.filter(pc.equal(rows["outcome"], tables.RETRY))
        self.due += retries["retry_after"].drop_null().to_pylist()


def plan(
    store: Store,
    stages: Stages,
    name: str,
    records: Sequence[Record],
    select: Select,
    again: Collection[str] = (),
) -> Plan:
    """What stage `name` has to do for these records; `again` are outcomes to do over (`--retry`)."""
    stage, verdicts = stages[name], decisions(store, stages, select)
    if name != "videos":  # leave out what is not readable, not wanted or not there yet
        records = [record for record in records if verdicts.get(record.video_id, "not_read") is None]
    ids = pa.array([record.video_id for record in records], pa.string())
    # From here on whole columns, one row per record: a listing may have a hundred thousand videos.
    read = {table: aligned(read_rows(store, stages, table, cols), ids) for table, cols in stage.inputs().items()}
    ready = np.ones(len(records), bool)
    for rows in read.values():
        ready &= flags(pc.is_in(rows["outcome"], pa.array(sorted(tables.SETTLED))))
    records = [records[at] for at in np.flatnonzero(ready).tolist()]
    read = {table: rows.filter(pa.array(ready)) for table, rows in read.items()}
    own = aligned(own_rows(store, stages, name), ids.filter(pa.array(ready)))

    upstream = {table: rows["content"] for table, rows in read.items()}
    if "source" in stage.reads:
        upstream["source"] = source_hashes(records, stage.reads["source"])
    pending = is_pending(own, upstream, again)
    if name == "videos":
        pending |= is_worth_fetching(records, verdicts, select)
    result = Plan(waiting=int(np.count_nonzero(~ready)))
    result.tasks = make_tasks(records, own, read, upstream, np.flatnonzero(pending))
    result.count(own.filter(pa.array(~pending)), verdicts)
    return result


def source_hashes(records: Sequence[Record], fields: tuple[str, ...]) -> pa.Array:
    """What `upstream` keeps of each record; most of a long listing give none of the fields."""
    nothing, of_nothing = [None] * len(fields), fields_hash(Record(video_id="", source=""), fields)
    hashes = [
        of_nothing if [vars(record)[name] for name in fields] == nothing else fields_hash(record, fields)
        for record in records
    ]
    return pa.array(hashes, pa.string())


def is_pending(own: pa.Table, upstream: Mapping[str, pa.Array], again: Collection[str]) -> np.ndarray:
    """True where there is no row, or it was made from something else, is to be done over or is a retry now due."""
    is_same = flags(pc.is_valid(own["outcome"]))
    for table, marks in upstream.items():
        is_same &= flags(pc.equal(own[f"upstream.{table}"], marks))
    now = pa.scalar(datetime.now(UTC), tables.UTC_TIME)
    is_due = pc.fill_null(pc.less_equal(own["retry_after"], now), True)
    is_retry = flags(pc.and_(pc.equal(own["outcome"], tables.RETRY), is_due))
    return ~is_same | is_retry | flags(pc.is_in(own["outcome"], pa.array(sorted(again), pa.string())))


def is_worth_fetching(records: Sequence[Record], verdicts: Verdicts, select: Select) -> np.ndarray:
    """True where only the listing was read, and its view count does not rule the video out any more."""
    return np.array(
        [
            verdicts.get(record.video_id) == "not_fetched"
            and worth_fetching(record.listed_view_count, select.min_views)
            for record in records
        ],
        bool,
    )


def make_tasks(
    records: Sequence[Record],
    own: pa.Table,
    read: Mapping[str, pa.Table],
    upstream: Mapping[str, pa.Array],
    pending: np.ndarray,
) -> list[Task]:
    """The tasks of the records at the indices `pending`."""
    attempts = pc.add(pc.fill_null(own["attempt"], 0), 1).take(pending).to_pylist()
    marks = {table: column.take(pending).to_pylist() for table, column in upstream.items()}
    parts = {table: rows["part"].take(pending).to_pylist() for table, rows in read.items()}
    is_done = {table: rows["outcome"].take(pending).to_pylist() for table, rows in read.items()}
    return [
        Task(
            records[at],
            attempts[i],
            {table: column[i] for table, column in marks.items()},
            {table: column[i] for table, column in parts.items() if is_done[table][i] == tables.DONE},
        )
        for i, at in enumerate(pending.tolist())
    ]


def own_rows(store: Store, stages: Stages, name: str) -> pa.Table:
    """Each video's latest row in a table, as far as planning any stage needs it: one scan serves all plans."""
    read = sorted({column for stage in stages.values() for column in stage.inputs().get(name, ())})
    columns = [f"digest.{column}" for column in read] + [f"upstream.{table}" for table in stages[name].reads]
    if name == "videos":
        columns += [*DECIDED_BY, HEATMAP]
    return store.latest(name, fingerprint(stages, name), columns)


def read_rows(store: Store, stages: Stages, name: str, columns: Sequence[str]) -> pa.Table:
    """The rows of a table that a stage reads, with `content`, what `upstream` keeps of those columns.

    A row that is not `done` says only that there is nothing.
    """
    derived = store.known(name, fingerprint(stages, name)).derived
    if ("content", columns) not in derived:
        rows = own_rows(store, stages, name)
        hashes = combined([rows[f"digest.{column}"] for column in columns], len(rows))
        content = pc.if_else(pc.equal(rows["outcome"], tables.DONE), hashes, "none")
        derived["content", columns] = rows.select(["video_id", "outcome", "part"]).append_column("content", content)
    return derived["content", columns]


def aligned(rows: pa.Table, ids: pa.Array) -> pa.Table:
    """The rows of these videos, in their order; nulls where a video has none."""
    return rows.take(pc.index_in(ids, value_set=rows["video_id"]))


def flags(values: pa.ChunkedArray) -> np.ndarray:
    """Booleans as a mask; a null is False."""
    return pc.fill_null(values, False).to_numpy()


def decisions(store: Store, stages: Stages, select: Select) -> Verdicts:
    """For every readable video: None to keep it, else why not (`not_fetched`: only its listing was read)."""
    derived = store.known("videos", fingerprint(stages, "videos")).derived
    rules = f"{select!r} {sorted(select.model_fields_set)}"
    if rules not in derived:
        rows = own_rows(store, stages, "videos")
        rows = rows.filter(pc.equal(rows["outcome"], tables.DONE))
        facts = zip(*(rows[column].to_pylist() for column in (*DECIDED_BY, HEATMAP)), strict=True)
        known = (dict(zip((*DECIDED_BY, "heatmap"), values, strict=True)) for values in facts)
        verdicts = (decide(row, select) if row["fetched"] else "not_fetched" for row in known)
        derived[rules] = dict(zip(rows["video_id"].to_pylist(), verdicts, strict=True))
    return derived[rules]
