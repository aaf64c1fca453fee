"""Find what still needs work: fingerprints, upstream hashes and the pending videos of a stage.

Nothing here starts Ray, loads a model or reads a payload.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsumdata.manifests import clock, tables
from vsumdata.manifests.manifest import Manifest, Select
from vsumdata.manifests.roots.parts import content_of
from vsumdata.manifests.rows import combined
from vsumdata.manifests.select import decide, worth_fetching
from vsumdata.manifests.sources import Record, fields_hash
from vsumdata.manifests.store import Store
from vsumdata.manifests.terminal import clock as shown
from vsumdata.stages.stage import ALL, Stage

Stages = Mapping[str, Stage]
Verdicts = Mapping[str, str | None]
# The columns of `videos` that `decisions` reads.
DECIDED_BY = ("view_count", "duration_s", "live_status", "media_type", "source", "fetched")
# Null where a video has no heatmap. Reading the heatmaps themselves to see which are there helped to make the first
# planner take 12 s for 10,000 videos.
HEATMAP = "digest.heatmap"
# The columns that planning a table asks of its own rows, and those that are counted.
OWN = ("video_id", "outcome", "reason", "version", "tries", "committed_at", "retry_after")
COUNTED = ("video_id", "outcome", "reason", "retry_after")
PUBLISHED = "published"  # for the run's watches, which would scan the table once more


def payload_schema(stage: Stage) -> pa.Schema:
    """Return the columns that the stage's function fills."""
    return stage.payload if stage.payload is not None else tables.payload(stage.name, stage.options)


def table_schema(stage: Stage) -> pa.Schema:
    """Return all columns of a stage's table: the head of every row, the payload, the digest."""
    return tables.schema(payload_schema(stage), stage.reads)


def fingerprint(stages: Stages, name: str) -> str:
    """Hash what makes a table: the stage's name, version and settings, what it reads, its schema. 12 hex digits."""
    # Not the fingerprints of what it reads: a new version of `videos` would then decode every video again, even where
    # its rows came out equal. Each row's `upstream` tells whether what it was made of has changed.
    stage = stages[name]
    fields = [(field.name, str(field.type)) for field in table_schema(stage)]
    text = json.dumps([name, stage.version, stage.settings(), stage.reads, fields], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@dataclass(frozen=True)
class Task:
    """One video that a stage has to do: its record, the hashes of its inputs and where its upstream rows lie.

    `version` is that of the row to be made. `tries` counts the tries before this one that ended in `retry`.
    """

    record: Record
    version: int
    tries: int
    upstream: Mapping[str, str]
    # Table -> part file of the video's `done` row.
    parts: Mapping[str, str]
    # What a visit is to bring for later stages.
    media: frozenset[str] = frozenset()
    # False where a later stage of this run needs the same files.
    frees_media: bool = True
    duration_s: float | None = None
    # The node where a visit left the video's files.
    media_at: str = ""
    # Nodes where it failed, uncommitted. Until another one confirms that, the node may be at fault.
    failed_on: frozenset[str] = frozenset()
    may_be_node: bool = False

    @property
    def video_id(self) -> str:
        return self.record.video_id


@dataclass
class Known:
    """What a run knows beside its tables, by table and video_id."""

    # Done in this run: never planned again in it, or a file that keeps changing would be done for ever.
    finished: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    # Being worked on by this run or, by its leases, by another one; or held back until a host answers again.
    busy: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    # The videos of tables that the run makes which are pending, waiting or busy: what is made of them waits.
    unsettled: dict[str, pa.Array] = field(default_factory=dict)
    # Videos whose media a visit has brought, or tried to. None: nobody waits for visits.
    visited: set[str] | None = None


@dataclass
class Plan:
    """The state of a stage's table for the videos of one manifest.

    `tasks` are the first of `ready` videos, `unvisited` the first of `to_visit` videos, whose media is missing.
    `outcomes` and `reasons` ("skipped: low_views") count the rows that are not pending. `busy` counts pending videos
    that somebody works on, `waiting` kept videos whose upstream is not settled yet. `due` says when the retries fall
    due; `due_now` counts those among the pending. `seen` are the videos that were planned, `unsettled` those of
    them that are pending or waiting.
    """

    tasks: list[Task] = field(default_factory=list)
    unvisited: list[Task] = field(default_factory=list)
    ready: int = 0
    to_visit: int = 0
    busy: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    due: list[datetime] = field(default_factory=list)
    due_now: int = 0
    seen: pa.Array | None = None
    unsettled: pa.Array | None = None

    @property
    def pending(self) -> int:
        """How many videos have work left, without the retries that are not due."""
        return self.ready + self.to_visit + self.busy + self.waiting

    def count(self, rows: pa.Table, verdicts: Verdicts) -> None:
        """Count rows that are not pending; a video that `select` rules out counts as skipped."""
        video_ids, outcomes, reasons = (rows[name].to_pylist() for name in ("video_id", "outcome", "reason"))
        rulings = map(verdicts.get, video_ids)
        for (outcome, reason, ruling), number in Counter(zip(outcomes, reasons, rulings, strict=True)).items():
            # `not_fetched`: the listing shows far too few views, so the video itself was never read.
            if ruling is not None:
                outcome, reason = tables.SKIPPED, "low_views" if ruling == "not_fetched" else ruling
            self.outcomes[outcome] += number
            if reason:
                self.reasons[f"{outcome}: {reason}"] += number
        retries = rows.filter(pc.equal(rows["outcome"], tables.RETRY))
        self.due += retries["retry_after"].drop_null().to_pylist()


def settled(plan: Plan) -> set[str]:
    """The videos that a table has its row of. One that came after its last plan is none of them yet."""
    return set(plan.seen.to_pylist() if plan.seen is not None else ()) - unsettled(plan)


def unsettled(plan: Plan) -> set[str]:
    return set(plan.unsettled.to_pylist()) if plan.unsettled is not None else set()


def visits(unvisited: Iterable[tuple[str, Sequence[Task]]], busy: Collection[str]) -> Plan:
    """Plan the visits of videos whose media is missing, given with what they need; one visit brings all."""
    found: dict[str, Task] = {}
    for need, tasks in unvisited:
        for task in tasks:
            media = found[task.video_id].media if task.video_id in found else frozenset()
            parts = {"videos": task.parts["videos"]}
            found[task.video_id] = replace(task, upstream={}, parts=parts, media=media | {need})
    tasks = [task for video_id, task in found.items() if video_id not in busy]
    return Plan(tasks=tasks, ready=len(tasks))


def retries_due(plan: Plan) -> str:
    """Say how many retries wait and when the first falls due; "" if none does."""
    if not plan.due:
        return ""
    seconds = (min(plan.due) - clock.utc_now()).total_seconds()
    return f"{len(plan.due)} videos to retry, the first in {shown(seconds)}: run again then"


def plan(
    store: Store,
    stages: Stages,
    name: str,
    records: Sequence[Record],
    manifest: Manifest,
    again: Collection[str] = (),
    known: Known | None = None,
    limit: int | None = None,
) -> Plan:
    """Plan stage `name` for these records.

    `again` names outcomes and reasons to do over (`--retry`), `limit` bounds the tasks.
    """
    select = manifest.select
    stage, verdicts, known = stages[name], decisions(store, stages, select), known or Known()
    # Later stages see only videos that could be read and that `select` keeps.
    if name != "videos":
        records = [record for record in records if verdicts.get(record.video_id, "not_read") is None]
    ids = pa.array([record.video_id for record in records], pa.string())
    # From here on whole columns, one row per record: a listing may have a hundred thousand videos.
    read = {table: aligned(read_rows(store, stages, table, cols), ids) for table, cols in stage.inputs().items()}
    ready = np.ones(len(records), bool)
    for table, rows in read.items():
        ready &= flags(pc.is_in(rows["outcome"], pa.array(sorted(tables.SETTLED))))
        if table in known.unsettled:
            ready &= ~flags(pc.is_in(ids, known.unsettled[table]))
    seen, waiting = ids, ids.filter(pa.array(~ready))
    records = [records[at] for at in np.flatnonzero(ready).tolist()]
    read = {table: rows.filter(pa.array(ready)) for table, rows in read.items()}
    ids = ids.filter(pa.array(ready))
    own = own_rows(store, stages, name)
    # Only what is asked of a row of its own: with the digests each copy would take twice the memory.
    own = aligned(own.select([*OWN, *(f"upstream.{table}" for table in stage.reads)]), ids)

    duration_s = None
    if "videos" in read:
        lengths = own_rows(store, stages, "videos").select(["video_id", "duration_s"])
        duration_s = aligned(lengths, ids)["duration_s"]
    upstream = {table: rows["content"] for table, rows in read.items()}
    if "source" in stage.reads:
        upstream["source"] = source_hashes(records, stage.reads["source"])
    if ALL in stage.reads:
        # Another video, or another row of one, may change the rows of all.
        upstream[ALL] = pa.repeat(hash_of_all(ids, upstream), len(ids))
    is_same = is_unchanged(own, upstream)
    chosen = pa.array(sorted(again), pa.string())
    pending = ~is_same | is_due(own)
    pending |= flags(pc.is_in(own["outcome"], chosen)) | flags(pc.is_in(own["reason"], chosen))
    if name == "videos":
        pending |= is_worth_fetching(records, verdicts, select)
        pending |= is_worth_visiting(own, verdicts, manifest.refresh.ages_s(), again)
    pending &= ~are_among(ids, known.finished[name])
    busy = are_among(ids, known.busy[name])
    if ALL in stage.reads:
        # All or none: a killed pass or two lists in turn leave some rows that are of now, `--retry` asks for some, and
        # another run may have some. But a pass over these alone would make other rows.
        pending, busy = pending | pending.any(), busy | busy.any()
    free = pending & ~busy
    result = Plan(seen=seen, waiting=len(waiting), busy=int(np.count_nonzero(pending & ~free)))
    result.unsettled = pa.concat_arrays([waiting, ids.filter(pa.array(pending))])
    # Any other row starts again: its inputs are new, or `--retry` asks for it.
    is_retry = is_same & flags(pc.equal(own["outcome"], tables.RETRY))
    own = own.set_column(own.column_names.index("tries"), "tries", pc.if_else(pa.array(is_retry), own["tries"], 0))
    if stage.needs and known.visited is not None:
        visited = np.array([record.video is not None or record.video_id in known.visited for record in records], bool)
        result.unvisited = make_tasks(records, own, read, upstream, np.flatnonzero(free & ~visited)[:limit])
        result.to_visit = int(np.count_nonzero(free & ~visited))
        free &= visited
    result.ready = int(np.count_nonzero(free))
    result.tasks = make_tasks(records, own, read, upstream, np.flatnonzero(free)[:limit], duration_s)
    result.count(own.select(COUNTED).filter(pa.array(~pending)), verdicts)
    result.due_now = int(np.count_nonzero(pending & flags(pc.equal(own["outcome"], tables.RETRY))))
    return result


def are_among(ids: pa.Array, few: Collection[str]) -> np.ndarray:
    """True where an id is one of `few`."""
    return flags(pc.is_in(ids, pa.array(list(few), pa.string()))) if few else np.zeros(len(ids), bool)


def source_hashes(records: Sequence[Record], fields: tuple[str, ...]) -> pa.Array:
    """Hash the `fields` of each record, as `upstream` keeps them."""
    # Most records of a long listing give none of the fields: their hash is computed once.
    nothing, of_nothing = [None] * len(fields), fields_hash(Record(video_id="", source=""), fields)
    hashes = [
        of_nothing if [getattr(record, name) for name in fields] == nothing else fields_hash(record, fields)
        for record in records
    ]
    return pa.array(hashes, pa.string())


def hash_of_all(ids: pa.Array, upstream: Mapping[str, pa.Array]) -> str:
    """Hash which videos there are and what a stage reads of them, in whatever order they are listed."""
    columns = [ids, *(upstream[name] for name in sorted(upstream))]
    lines = sorted(map(repr, zip(*(column.to_pylist() for column in columns), strict=True)))
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def is_unchanged(own: pa.Table, upstream: Mapping[str, pa.Array]) -> np.ndarray:
    """True where a video has a row that was made of these inputs."""
    is_same = flags(pc.is_valid(own["outcome"]))
    for table, marks in upstream.items():
        is_same &= flags(pc.equal(own[f"upstream.{table}"], marks))
    return is_same


def is_due(own: pa.Table) -> np.ndarray:
    """True where a video is to be tried again by now."""
    now = pa.scalar(clock.utc_now(), tables.UTC_TIME)
    # A retry without a time is due at once.
    has_waited = pc.fill_null(pc.less_equal(own["retry_after"], now), True)
    return flags(pc.and_(pc.equal(own["outcome"], tables.RETRY), has_waited))


def is_worth_fetching(records: Sequence[Record], verdicts: Verdicts, select: Select) -> np.ndarray:
    """True where only the listing was read, but `min_views` now lets the video pass."""
    return np.array(
        [
            verdicts.get(record.video_id) == "not_fetched"
            and worth_fetching(record.listed_view_count, select.min_views)
            for record in records
        ],
        bool,
    )


def is_worth_visiting(
    own: pa.Table, verdicts: Verdicts, ages_s: Mapping[str, float], again: Collection[str]
) -> np.ndarray:
    """True where a video was left out for a reason that passes, and its row is old or the reason is asked for."""
    passing = {video_id: reason for video_id, reason in verdicts.items() if reason in ages_s or reason in again}
    ids, stored = own["video_id"].to_pylist(), own["reason"].to_pylist()
    reasons = [passing.get(video_id) or reason for video_id, reason in zip(ids, stored, strict=True)]
    age_s = clock.now() - pc.cast(own["committed_at"], pa.int64()).to_numpy() / 1e6
    longest_s = np.array([0.0 if reason in again else ages_s.get(reason or "", np.inf) for reason in reasons])
    return np.nan_to_num(age_s, nan=0.0) >= longest_s


def make_tasks(
    records: Sequence[Record],
    own: pa.Table,
    read: Mapping[str, pa.Table],
    upstream: Mapping[str, pa.Array],
    pending: np.ndarray,
    duration_s: pa.ChunkedArray | None = None,
) -> list[Task]:
    """Make the tasks of the records at the indices `pending`."""
    lengths = [None] * len(pending) if duration_s is None else duration_s.take(pending).to_pylist()
    versions = pc.add(pc.fill_null(own["version"], 0), 1).take(pending).to_pylist()
    tries = own["tries"].take(pending).to_pylist()
    marks = {table: column.take(pending).to_pylist() for table, column in upstream.items()}
    parts = {table: rows["part"].take(pending).to_pylist() for table, rows in read.items()}
    is_done = {table: rows["outcome"].take(pending).to_pylist() for table, rows in read.items()}
    return [
        Task(
            records[at],
            versions[i],
            tries[i],
            {table: column[i] for table, column in marks.items()},
            {table: column[i] for table, column in parts.items() if is_done[table][i] == tables.DONE},
            duration_s=lengths[i],
        )
        for i, at in enumerate(pending.tolist())
    ]


def own_rows(store: Store, stages: Stages, name: str) -> pa.Table:
    """Read each video's latest row in a table: its digests and hashes, no payload."""
    # What any stage needs: then one scan serves the plans of all stages.
    read = {stage.inputs()[name] for stage in stages.values() if stage.inputs().get(name)}
    columns = [*sorted(map(content_of, read)), *(f"upstream.{table}" for table in stages[name].reads)]
    if name == "videos":
        columns += [*DECIDED_BY, HEATMAP, PUBLISHED]
    return store.latest(name, fingerprint(stages, name), columns)


def read_rows(store: Store, stages: Stages, name: str, columns: Sequence[str]) -> pa.Table:
    """Return the rows of a table that a stage reads, with `content`, the hash of those columns."""
    derived = store.known(name, fingerprint(stages, name)).derived
    if ("content", columns) not in derived:
        rows = own_rows(store, stages, name)
        hashes = rows[content_of(columns)] if columns else combined([], len(rows))
        # Whatever a row that is not `done` says, its readers see only that there is nothing.
        content = pc.if_else(pc.equal(rows["outcome"], tables.DONE), hashes, "none")
        derived["content", columns] = rows.select(["video_id", "outcome", "part"]).append_column("content", content)
    return derived["content", columns]


def aligned(rows: pa.Table, ids: pa.Array) -> pa.Table:
    """Take the rows of these videos in the order of `ids`; nulls where a video has none."""
    return rows.take(pc.index_in(ids, value_set=rows["video_id"]))


def flags(values: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Turn Arrow booleans into a mask; null becomes False."""
    # A chunked array copies by itself, a plain one must be asked to: Arrow keeps eight booleans in a byte.
    known = pc.fill_null(values, False)
    return known.to_numpy() if isinstance(known, pa.ChunkedArray) else known.to_numpy(zero_copy_only=False)


def decisions(store: Store, stages: Stages, select: Select) -> Verdicts:
    """Decide for every readable video: None keeps it, else the reason (`not_fetched`: only its listing was read)."""
    # Decisions are never stored in a table, so a changed `min_views` fetches nothing again.
    derived = store.known("videos", fingerprint(stages, "videos")).derived
    rules = f"{select!r} {sorted(select.model_fields_set)}"
    if rules not in derived:
        rows = own_rows(store, stages, "videos").select(["video_id", "outcome", *DECIDED_BY, HEATMAP])
        rows = rows.filter(pc.equal(rows["outcome"], tables.DONE))
        facts = rows.select([*DECIDED_BY, HEATMAP]).rename_columns([*DECIDED_BY, "heatmap"])
        # Not all at once: the values of a row take 800 bytes as Python's.
        known = (row for batch in facts.to_batches(max_chunksize=10_000) for row in batch.to_pylist())
        verdicts = (decide(row, select) if row["fetched"] else "not_fetched" for row in known)
        derived[rules] = dict(zip(rows["video_id"].to_pylist(), verdicts, strict=True))
    return derived[rules]
