"""The waves of a run: visits, pages and computing go on at the same time until nothing can become ready.

Each lane (`Stage.lane`) has workers of its own, a Ray Data execution that goes on until the run ends, and is given
bounded waves: some videos of one table. Before each wave the tables are planned anew, so what one lane has committed
is ready for the others. One thread, the driver's own, decides; the executions only send it their outcomes.
"""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vsumdata.manifests import clock, upkeep
from vsumdata.manifests.leases import Leases
from vsumdata.manifests.manifest import Loaded
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import RETRY
from vsumdata.manifests.terminal import clock as shown
from vsumdata.pipeline.engine import waves, whole
from vsumdata.pipeline.engine.places import Places
from vsumdata.pipeline.engine.watches import Watches
from vsumdata.pipeline.engine.waves import MEDIA, Display, Wave
from vsumdata.pipeline.recipe import media_stage
from vsumdata.pipeline.state.plan import Known, Plan, Stages, Task, fingerprint, plan, settled, unsettled, visits
from vsumdata.pipeline.workers.cluster import Gpus, NoRoom, cluster, needed, pool, visitors_cpus
from vsumdata.pipeline.workers.execution import Execution, job, worth
from vsumdata.pipeline.workers.keeper import STOP
from vsumdata.pipeline.workers.nodes import Nodes
from vsumdata.stages.stage import COMPUTE, WHOLE, Context, Stage


@dataclass(kw_only=True)
class Flow:
    """A run while it works.

    `wanted` holds tables in the recipe's order, `again` the outcomes to do over. `visits` counts turns by host.
    """

    store: Store
    loaded: Loaded
    stages: Stages
    wanted: Sequence[str]
    records: Sequence[Record]
    context: Context
    leases: Leases
    display: Display
    say: Callable[[str], None]
    ray_session: contextlib.ExitStack
    nodes: Nodes
    watches: Watches
    limit: int | None = None
    again: frozenset[str] = frozenset()
    address: str | None = None

    inbox: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    executions: dict[str, Execution] = field(default_factory=dict)  # by lane
    waves: list[Wave] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    known: Known = field(default_factory=Known)
    # (table, video) -> when a video that was sent back may be tried again; how often it was.
    held: dict[tuple[str, str], float] = field(default_factory=dict)
    returns: Counter[tuple[str, str]] = field(default_factory=Counter)
    budget: dict[str, int] = field(default_factory=dict)  # what --limit leaves of each table
    mean_s: dict[str, float] = field(default_factory=dict)
    ready_since: dict[str, float] = field(default_factory=dict)
    turn: dict[str, str] = field(default_factory=dict)  # lane -> the table of its last wave
    looked_at: float = 0.0
    planned_at: datetime = field(default_factory=clock.utc_now)
    look_took_s: float = 0.0
    is_stale: bool = True
    was_waiting: bool = False
    made: set[str] = field(default_factory=set)  # tables of the lane WHOLE
    media_leases: dict[str, set[str]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    visits: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.doing: dict[str, Stage] = {table: self.stages[table] for table in self.wanted}
        limit_s = self.loaded.manifest.limits.wait_for_gpus_s
        self.places = Places(self.nodes, Gpus(self.nodes.is_cluster, limit_s, self.say))
        self.interval_s = self.loaded.manifest.crawl.seconds_between_requests
        if self.limit is not None:
            self.budget = dict.fromkeys(self.doing, self.limit)
        if self.context.media:
            # Listed after `videos`: what is not read yet comes first.
            self.doing[MEDIA] = media_stage(self.loaded.manifest)
            self.known.visited = set()
        self.lanes: dict[str, list[str]] = defaultdict(list)
        for table in filter(self.is_for_workers, self.doing):
            self.lanes[self.doing[table].lane].append(table)

    def do(self) -> None:
        """Work until nothing can become ready. On an error or Ctrl-C, commit what is finished.

        Raises CollapseError, and StorageError, UsageError or ClusterError of an execution.
        """
        try:
            while True:
                self.watch_nodes()
                self.look()
                for lane in self.lanes:
                    self.start(lane)
                if self.waves or self.is_worth_waiting():
                    self.hear()
                elif not self.make_whole():
                    break
            for execution in self.executions.values():
                execution.close()
            while self.executions:
                self.hear()
        finally:
            self.stop()

    def watch_nodes(self) -> None:
        """See which nodes have come or gone: workers start anew, at once where Ray cannot start the old ones again."""
        if self.places.have_changed():
            for execution in self.executions.values():
                execution.is_outdated = True
        for lane, execution in list(self.executions.items()) if self.nodes.is_cluster else ():
            if execution.is_outdated:
                execution.close()
            if execution.stuck_s() > waves.STUCK_S:
                self.say(f"{lane}: no node has room for the workers of before: they start anew")
                self.give_up(lane, execution)

    def give_up(self, lane: str, execution: Execution) -> None:
        """End a lane's workers at once; what they had not committed is planned anew."""
        del self.executions[lane]
        execution.is_stopping = True
        execution.stop(0.0)
        for wave in [wave for wave in self.waves if wave.lane == lane]:
            self.drop_wave(wave)

    # Planning

    def look(self) -> None:
        """Plan all tables anew if anything may have changed, but never most of the time."""
        age_s = time.monotonic() - self.looked_at
        if age_s < 10 * self.look_took_s and self.waves:
            return
        if not self.is_stale and age_s < waves.LOOK_EVERY_S:
            return
        begun = time.monotonic()
        now, self.planned_at = clock.now(), clock.utc_now()
        self.held = {key: until for key, until in self.held.items() if until > now}
        self.known.unsettled = {}
        with self.store.snapshot():
            for table in self.wanted:
                self.known.busy[table] = self.busy(table)
                if self.doing[table].needs:
                    # Another run has their files.
                    self.known.busy[table] |= self.leases.others(MEDIA)
                self.plans[table] = self.plan(table)
                self.known.unsettled[table] = self.plans[table].unsettled
                if self.plans[table].ready:
                    self.ready_since.setdefault(table, time.monotonic())
                else:
                    self.ready_since.pop(table, None)
                left = self.plans[table].pending + len(self.plans[table].due)
                self.display.left(table, left)
            if MEDIA in self.doing:
                self.plans[MEDIA] = self.plan_visits()
                self.release_media()
        # Of what a plan takes, three quarters would be kept for later.
        pa.default_memory_pool().release_unused()
        self.look_took_s = time.monotonic() - begun
        self.looked_at, self.is_stale = time.monotonic(), False

    def busy(self, table: str) -> set[str]:
        found = self.leases.others(self.lease_key(table))
        found.update(video_id for of, video_id in self.held if of == table)
        for wave in self.waves:
            if wave.table == table:
                found |= wave.left
        return found

    def release_media(self) -> None:
        """Give back the leases of videos whose files nobody needs any more."""
        waiting = set().union(*(unsettled(self.plans[table]) for table in self.needing()))
        for lease, ids in list(self.media_leases.items()):
            under_way = any(wave.media_lease == lease for wave in self.waves)
            if not under_way and waiting.isdisjoint(ids):
                self.leases.release(lease)
                del self.media_leases[lease]

    def lease_key(self, table: str) -> str:
        return f"{table}/{fingerprint(self.stages, table)}" if table in self.stages else table

    def plan(self, table: str) -> Plan:
        manifest, limit = self.loaded.manifest, None if self.doing[table].lane == WHOLE else waves.MOST_VISITS
        return plan(self.store, self.stages, table, self.records, manifest, self.again, self.known, limit)

    def plan_visits(self) -> Plan:
        """Plan the visits that bring media for videos whose metadata was read before this run."""
        # Rows are committed before their block comes back and tells that their media came with them.
        busy = self.busy(MEDIA).union(*(wave.left for wave in self.waves if wave.table == "videos"))
        return visits([(self.doing[table].needs, self.to_visit(table)) for table in self.wanted], busy)

    def to_visit(self, table: str) -> list[Task]:
        """Return the tasks whose media is missing, as far as --limit lets the table have more."""
        found = self.plans[table]
        left = None if table not in self.budget else max(0, self.budget[table] - found.ready)
        return found.unvisited[:left]

    # Waves

    def start(self, lane: str) -> None:
        """Start the lane's next wave if it has work for few moments only, and a wave is worth it."""
        execution = self.executions.get(lane)
        if execution is not None and not execution.is_hungry:
            return
        order = self.lanes[lane]
        # In turn, beginning after the table of the last wave: what it made is most likely ready now.
        at = order.index(self.turn[lane]) + 1 if lane in self.turn and lane == COMPUTE else 0
        for table in order[at:] + order[:at]:
            tasks = self.chosen(table)
            if not tasks:
                continue
            is_old = execution is not None and (execution.given > waves.BLOCKS_OF_A_LIFE or execution.is_outdated)
            if execution is not None and (is_old or not self.is_served(table)):
                # Other workers are needed, and these hold the CPUs and GPUs until they have ended.
                execution.close()
                return
            if execution is None and not self.places.can_start(self.doing[table]):
                continue
            if self.start_wave(table, tasks):
                self.turn[lane] = table
                return

    def chosen(self, table: str) -> list[Task]:
        """Return the tasks of the table's next wave: none if it is better to wait."""
        found, lane = self.plans[table], self.doing[table].lane
        size = self.wave_size(table)
        if not found.tasks or not size:
            return []
        is_early = time.monotonic() - self.ready_since.get(table, 0.0) < waves.PATIENCE_S
        # Where workers of another kind must end first, a few rows are not worth the start of these.
        enough = min(size, self.doing[table].batch) if self.is_served(table) else size
        if found.ready < enough and is_early and self.is_more_coming(table):
            return []
        tasks = found.tasks
        if self.doing[table].needs:
            # One table after the other: else neither would know that it is the last one to need a video's files.
            elsewhere = set().union(*(wave.left for wave in self.waves if wave.table in self.needing()))
            tasks = [task for task in tasks if task.video_id not in elsewhere]
        tasks = tasks[:size]
        for other in self.needing():
            if other != table and self.doing[table].needs:
                there = settled(self.plans[other]) | self.known.finished[other]
                tasks = [replace(t, frees_media=t.frees_media and t.video_id in there) for t in tasks]
        # A long video that comes last would keep all other workers waiting.
        return sorted(tasks, key=lambda task: -(task.duration_s or 0.0)) if lane == COMPUTE else tasks

    def is_more_coming(self, table: str) -> bool:
        """Whether more videos may become ready for this table soon: its upstream is worked on, or can be."""
        for upstream in self.doing[table].inputs():
            if upstream in self.plans and (self.plans[upstream].busy or self.plans[upstream].ready):
                return True
        return bool(self.to_visit(table))

    def wave_size(self, table: str) -> int:
        """Return how many rows the next wave of a table may have."""
        stage = self.doing[table]
        workers = self.num_workers(stage.lane)
        most = waves.MOST * workers if stage.lane == COMPUTE else waves.MOST_VISITS
        takes_turns = not all(self.is_served(other) for other in self.lanes[stage.lane])
        size = min(waves.rows(self.mean_s.get(table), workers, takes_turns), most, self.budget.get(table, most))
        # Their media waits for the computing lane.
        if table in ("videos", MEDIA) and self.context.media:
            size = min(size, waves.FIRST, max(0, waves.AHEAD * self.num_workers(COMPUTE) - self.num_ahead()))
        return size

    def row_s(self, table: str) -> float:
        """How long a row will take: as long as the last ones, or what the pace says of the first."""
        lane = self.doing[table].lane
        paced_s = 0.0 if lane == COMPUTE else self.num_workers(lane) * self.interval_s
        return self.mean_s.get(table, paced_s)

    def is_served(self, table: str) -> bool:
        """Whether its lane's workers can do this table; true of a lane that has none yet."""
        lane = self.doing[table].lane
        return lane not in self.executions or table in self.executions[lane].jobs

    def num_workers(self, lane: str) -> int:
        return self.executions[lane].size.workers if lane in self.executions else 1

    def num_ahead(self) -> int:
        """Count the videos whose media waits, or is being fetched right now."""
        waiting = max((self.plans[table].ready for table in self.needing()), default=0)
        return waiting + sum(len(wave.left) for wave in self.waves if wave.table in self.needing())

    def needing(self) -> list[str]:
        """The tables that need a video's files."""
        return [table for table in self.wanted if self.doing[table].needs]

    def start_wave(self, table: str, tasks: Sequence[Task]) -> bool:
        """Give these tasks to the lane's workers, without those that another run has taken meanwhile."""
        chosen = {task.video_id for task in tasks}
        lease, taken = self.leases.take(self.lease_key(table), [task.video_id for task in tasks])
        tasks = [task for task in tasks if task.video_id in taken]
        # The next plan may be some moments away.
        found = self.plans[table]
        rest = [task for task in found.tasks if task.video_id not in chosen]
        self.plans[table] = replace(found, tasks=rest, ready=found.ready - len(chosen), busy=found.busy + len(chosen))
        if not tasks:
            return False
        stage = self.doing[table]
        if table in self.budget:
            self.budget[table] -= len(tasks)
        media_lease = ""
        if table in ("videos", MEDIA) and self.context.media:
            # From the visit to the last stage that needs the files, which lie on this run's disk.
            media_lease, visiting = (lease, taken) if table == MEDIA else self.leases.take(MEDIA, taken)
            self.media_leases[media_lease] = visiting
        if stage.lane not in self.executions:
            self.start_workers(table, tasks)
        self.display.begun(table, len(tasks))
        self.waves.append(Wave(table, stage.lane, lease, set(taken), media_lease))
        tasks = [self.places.mark(stage, task) for task in tasks]
        self.executions[stage.lane].give(table, tasks, self.row_s(table))
        self.is_stale = True
        return True

    def start_workers(self, table: str, tasks: Sequence[Task]) -> None:
        """Start workers for a table's tasks, and for all tables of its lane that ask for workers of the same kind."""
        self.ray_session.enter_context(cluster(self.address))
        stage, there = self.doing[table], self.nodes.resources()
        max_attempts = self.loaded.manifest.limits.max_attempts
        alike = [self.doing[other] for other in self.lanes[stage.lane]]
        alike = [other for other in alike if needed(other, there) == needed(stage, there)]
        jobs = {
            other.name: job(self.stages, other, self.context, max_attempts=max_attempts, home=self.nodes.home)
            for other in alike
        }
        # A worker keeps the models of all its tables.
        kind = replace(stage, memory_gb=sum(other.memory_gb for other in alike))
        kind = self.places.staffed(kind, getattr(self.context.pace, "egress", ""))
        size = pool(kind, self.num_worth(alike, tasks), there, visitors_cpus(self.doing.values(), there))
        execution = Execution(jobs, size, self.inbox, self.nodes.chosen(stage))
        # Noted before it begins: Ctrl-C may come between the two, and `stop` must know of it.
        self.executions[stage.lane] = execution
        execution.start()

    def num_worth(self, stages: Sequence[Stage], tasks: Sequence[Task]) -> int:
        """How many workers the videos that are left are worth at most, if they are as long as these."""
        # Any of those that were not visited yet may come to these stages.
        coming = self.plans["videos"].pending if "videos" in self.plans else 0
        videos = coming + max(self.plans[stage.name].pending for stage in stages)
        return worth(stages[0], videos, [task.duration_s for task in tasks if task.duration_s is not None])

    # Outcomes

    def hear(self) -> None:
        """Take what the executions send, for at most `waves.LOOK_EVERY_S`."""
        with contextlib.suppress(queue.Empty):
            execution, said = self.inbox.get(timeout=waves.LOOK_EVERY_S)
            while True:
                if isinstance(said, pa.Table):
                    self.take(execution, said)
                else:
                    self.end(execution, said)
                execution, said = self.inbox.get_nowait()

    def take(self, execution: Execution, outcomes: pa.Table) -> None:
        """Count the outcomes of one block. Raises CollapseError."""
        execution.came_back()
        if not outcomes.num_rows:
            return
        self.is_stale = True
        table = outcomes["table"][0].as_py()
        for row in outcomes.drop_columns(["visits", "signal"]).to_pylist():
            self.take_row(table, row)
        ids = outcomes["video_id"].to_pylist()
        said = list(zip(outcomes["signal"].to_pylist(), outcomes["visits"].to_pylist(), strict=True))
        if table in ("videos", MEDIA) and self.known.visited is not None:
            # A row that was read from a kept answer brought no media: a visit of its own does, not the computing lane.
            visited = {
                video_id for video_id, (_, asked) in zip(ids, said, strict=True) if table == MEDIA or asked != "{}"
            }
            self.known.visited |= {video_id for video_id in visited if (table, video_id) not in self.held}
        for _, asked in said:
            self.visits.update(json.loads(asked))
        seconds = sum(outcomes["seconds"].to_pylist()) / max(1, len(ids))
        self.mean_s[table] = seconds if table not in self.mean_s else 0.8 * self.mean_s[table] + 0.2 * seconds
        if table != MEDIA:
            counted = outcomes.filter(pc.invert(pc.or_(outcomes["is_lost"], outcomes["is_doubted"])))
            self.display.add(table, counted)
            self.outcomes.update(counted["outcome"].to_pylist())
        for wave in [wave for wave in self.waves if wave.table == table]:
            wave.left.difference_update(ids)
            if not wave.left:
                self.end_wave(wave)
        if table != MEDIA:
            # What was not visited says nothing of the site.
            signals = (json.loads(signal) if asked != "{}" else {} for signal, asked in said)
            self.watches.add(zip(ids, signals, strict=True))

    def take_row(self, table: str, row: Mapping[str, Any]) -> None:
        """Note one outcome: done in this run, or sent back with nobody at fault."""
        key = (table, row["video_id"])
        is_visit = table in ("videos", MEDIA)
        if row["free_until"] is None and row["outcome"] != RETRY:
            self.known.finished[table].add(row["video_id"])
        if self.places.take(table, row, is_visit=is_visit):
            # The node's fault. If its files went with it, the video is visited again.
            if row["is_lost"] and self.known.visited is not None:
                self.known.visited.discard(row["video_id"])
        elif row["free_until"] is not None:
            self.returns[key] += 1
            self.held[key] = row["free_until"]
            if self.returns[key] >= waves.MOST_RETURNS:
                del self.held[key]
                self.known.finished[table].add(row["video_id"])

    def end_wave(self, wave: Wave) -> None:
        """All videos of a wave have come back: release them, compact their table."""
        self.drop_wave(wave)
        if wave.table != MEDIA:
            self.display.ended(wave.table)
            upkeep.compact_if_many(self.store, wave.table, fingerprint(self.stages, wave.table), waves.MANY_PARTS)

    def drop_wave(self, wave: Wave) -> None:
        """Release the videos of a wave."""
        self.waves.remove(wave)
        if wave.lease not in self.media_leases:
            self.leases.release(wave.lease)
        self.ready_since.pop(wave.table, None)
        self.is_stale, self.looked_at = True, 0.0

    def end(self, execution: Execution, error: BaseException | None) -> None:
        """A lane's workers have ended. Raises the error that ended them."""
        lane = next((lane for lane, other in self.executions.items() if other is execution), None)
        if lane is None:
            # It was given up.
            return
        if isinstance(error, NoRoom) and self.nodes.is_cluster:
            self.give_up(lane, execution)
            return
        del self.executions[lane]
        if error is not None:
            raise error

    def is_worth_waiting(self) -> bool:
        """Whether a retry falls due soon, a host will answer again, or another run works on our videos."""
        at_work = any(plan.ready or plan.busy for table, plan in self.plans.items() if self.is_for_workers(table))
        if at_work or any(self.to_visit(table) for table in self.wanted):
            return True
        for table in filter(self.is_for_workers, self.wanted):
            # One that was due when the tables were planned, and is not ready, was given up for this run.
            due = [at for at in self.plans[table].due if at > self.planned_at]
            due_s = min(((at - clock.utc_now()).total_seconds() for at in due), default=None)
            if due_s is not None and due_s <= waves.WAIT_FOR_RETRIES_S:
                if not self.was_waiting:
                    self.say(f"{table}: {len(due)} videos to retry, waiting {shown(due_s)}")
                self.was_waiting = True
                return True
        return False

    def is_for_workers(self, table: str) -> bool:
        return self.budget.get(table) != 0 and self.doing[table].lane != WHOLE

    def make_whole(self) -> bool:
        """Make the next table of the lane WHOLE that has work; tables after it may then have some, too."""
        left = [table for table in self.wanted if self.doing[table].lane == WHOLE and table not in self.made]
        if not (table := next((table for table in left if self.plans[table].ready), "")):
            return False
        self.made.add(table)
        tasks = self.plans[table].tasks
        lease, taken = self.leases.take(self.lease_key(table), [task.video_id for task in tasks])
        if len(taken) == len(tasks):  # else another run is making it
            self.outcomes += whole.make(self.stages, table, self.context, tasks, self.display)
            self.known.finished[table] |= taken
        self.leases.release(lease)
        self.is_stale, self.looked_at = True, 0.0
        return True

    def stop(self) -> None:
        """End what still runs: finished rows are committed, rows in progress are given up."""
        if not self.executions:
            return
        (Path(self.context.scratch) / STOP).touch()
        self.nodes.stop()
        until = time.monotonic() + waves.STOP_WITHIN_S
        for execution in self.executions.values():
            execution.is_stopping = True
        for execution in self.executions.values():
            execution.stop(max(0.1, until - time.monotonic()))
        self.executions.clear()
