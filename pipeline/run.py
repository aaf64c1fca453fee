"""One run: list, plan, and do stage after stage what still needs it. Safe to kill and to start again."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from vsumdata.manifests import upkeep
from vsumdata.manifests.manifest import Loaded
from vsumdata.manifests.sources import Record, read_lists
from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import DONE, FAILED, RETRY
from vsumdata.pipeline import status
from vsumdata.pipeline.cluster import check_gpus, cluster, run_blocks
from vsumdata.pipeline.collapse import HeatmapWatch, earlier_heatmaps, put_back
from vsumdata.pipeline.errors import HeatmapCollapseError, UsageError, VsumdataError
from vsumdata.pipeline.listing import list_records
from vsumdata.pipeline.pace import Pace, egress_of
from vsumdata.pipeline.plan import Plan, Stages, fingerprint, plan
from vsumdata.pipeline.progress import StageProgress
from vsumdata.pipeline.recipe import GROUPS, UNRESOLVED, model_keys, recipe, resolve_models
from vsumdata.pipeline.secrets import redact, secrets_of
from vsumdata.pipeline.stage import Context
from vsumdata.pipeline.worker import Job
from vsumdata.stages.ffmpeg import ffmpeg_program, ffmpeg_version
from vsumdata.stages.ytdlp_options import resolve_options

WAIT_FOR_RETRIES_S = 60.0
MANY_PARTS = 500
USES_FFMPEG = frozenset({"videos", "transcripts", "frames"})


@dataclass
class Run:
    """One call of `run`: its settings and what it has found out so far."""

    loaded: Loaded
    store: Store
    wanted: Sequence[str]  # tables, in the recipe's order
    console: Console
    limit: int | None = None
    again: frozenset[str] = frozenset()
    address: str | None = None
    transport: Mapping[str, str] = field(default_factory=dict)
    yt_dlp: dict[str, Any] = field(default_factory=dict)  # its options, checked
    stages: Stages = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    settled: dict[str, Plan] = field(default_factory=dict)  # tables with nothing left to do
    heatmaps: HeatmapWatch = field(default_factory=lambda: HeatmapWatch(0, 0))
    done_now: int = 0
    failed_now: int = 0
    retried_now: int = 0

    def say(self, text: str) -> None:
        self.console.print(redact(text, secrets_of(self.yt_dlp)), highlight=False, markup=False)

    def prepare(self, *, dry_run: bool) -> None:
        """Claim the root, find ffmpeg and the models, name the stages; what is wrong raises before any work."""
        manifest = self.loaded.manifest
        read_lists(self.loaded)
        self.yt_dlp = resolve_options(self.loaded)
        self.store.claim()
        known = self.store.read_json("models.json") or {}
        try:
            if not USES_FFMPEG.isdisjoint(self.wanted):
                ffmpeg_version(ffmpeg_program())
            models = resolve_models(self.loaded, known, self.wanted)
        except UsageError as error:
            if not dry_run:
                raise
            self.say(f"a run would stop here: {error}")
            models = resolve_models(self.loaded, known, ())
        self.stages = recipe(manifest, models)
        if dry_run:
            return
        resolved = {
            key: asdict(model)
            for name, key in model_keys(manifest).items()
            if (model := getattr(models, name)).identity != UNRESOLVED["identity"]
        }
        if known | resolved != known:
            self.store.write_json("models.json", known | resolved)
        if manifest.features.clip.weights.startswith("seed:"):
            self.say("WARNING: CLIP has seeded random weights: its features show that all works and mean nothing")

    def context(self, scratch: Path) -> Context:
        manifest = self.loaded.manifest
        crawl = manifest.crawl.model_dump() | {"yt_dlp": self.yt_dlp}
        return Context(
            root=self.store.root,
            scratch=str(scratch),
            crawl=crawl,
            transport=dict(self.transport),
            min_views=manifest.select.min_views,
            pace=Pace(self.store.root, manifest.crawl.seconds_between_requests, egress_of(self.yt_dlp)),
        )

    def plan(self, table: str, again: frozenset[str] = frozenset()) -> Plan:
        return plan(self.store, self.stages, table, self.records, self.loaded.manifest.select, again)

    def execute(self) -> dict[str, Any]:
        """All wanted stages; returns the summary of the tables, which `dataset.json` keeps.

        Ray starts with the first video that needs work and not before.
        """
        if self.store.read_json("dataset.json") is None:  # from now on the root is known as ours
            tables = {name: {"fingerprint": fingerprint(self.stages, name)} for name in self.stages}
            self.write_dataset({"tables": tables})
        try:
            self.do_stages()
        except HeatmapCollapseError:
            put_back(self.store, self.stages, self.heatmaps.since())
            self.settled.clear()
            raise
        finally:
            summary = status.summary(self.store, self.loaded, self.stages, self.records, self.settled)
            if self.records:
                self.write_dataset(summary)
        return summary

    def write_dataset(self, summary: Mapping[str, Any]) -> None:
        head = {"root": self.store.root, "manifest": status.stored_manifest(self.loaded)}
        self.store.write_json("dataset.json", head | dict(summary))

    def do_stages(self) -> None:
        with upkeep.scratch_folder(self.store) as scratch, contextlib.ExitStack() as ray_session:
            context = self.context(scratch)
            if asking := [self.stages[table] for table in self.wanted if self.stages[table].gpus > 0]:
                ray_session.enter_context(cluster(self.address))
                check_gpus(asking)
            assert isinstance(context.pace, Pace)
            if paused := context.pace.notice():
                self.say(paused)
            if "videos" in self.wanted:
                self.records = list_records(self.store, self.loaded, context, self.say)
            else:
                self.records = list_records(self.store, self.loaded, None, self.say)
            for table in self.wanted:
                self.check_upstream(table)
                self.stage(table, context, ray_session)
                upkeep.compact_if_many(self.store, table, fingerprint(self.stages, table), MANY_PARTS)

    def check_upstream(self, table: str) -> None:
        """An upstream table without a row is a mistake of the command, named with its remedy."""
        if table == "videos":
            return
        for upstream in self.stages[table].inputs():
            is_empty = not self.store.parts(upstream, fingerprint(self.stages, upstream))
            if is_empty and upstream not in self.wanted:
                group = next(name for name, tables in GROUPS.items() if upstream in tables)
                raise VsumdataError(
                    f"{table} needs the table `{upstream}`, which is empty here: run `--stage {group}` first"
                )

    def stage(self, table: str, context: Context, ray_session: contextlib.ExitStack) -> None:
        """One table, again and again while retries fall due within a minute."""
        if table == "videos":
            self.heatmaps = earlier_heatmaps(self.store, self.stages)
        again, budget = self.again, self.limit
        started = False
        while True:
            found = self.plan(table, again)
            again = frozenset()  # what `--retry` asked for is asked for once
            tasks = found.tasks if budget is None else found.tasks[:budget]
            if tasks:
                if not started:
                    ray_session.enter_context(cluster(self.address))
                    started = True
                budget = None if budget is None else budget - len(tasks)
                self.run_tasks(table, tasks, context)
                continue
            if not found.tasks:
                self.settled[table] = found
            due_s = min(((due - datetime.now(UTC)).total_seconds() for due in found.due), default=None)
            if budget == 0 or due_s is None:
                return
            if due_s > WAIT_FOR_RETRIES_S:
                self.say(f"{table}: {len(found.due)} to be tried again, the first in {due_s:.0f} s: run again then")
                return
            self.say(f"{table}: {len(found.due)} to be tried again, waiting {max(due_s, 0):.0f} s")
            time.sleep(max(due_s, 0) + 0.1)

    def run_tasks(self, table: str, tasks: Sequence[object], context: Context) -> None:
        limits = self.loaded.manifest.limits
        job = Job(
            stage=self.stages[table],
            context=context,
            fingerprint=fingerprint(self.stages, table),
            inputs={name: fingerprint(self.stages, name) for name in self.stages[table].inputs()},
            gpus=0.0,
            row_timeout_s=limits.row_timeout_s,
            max_attempts=limits.max_attempts,
        )
        assert isinstance(context.pace, Pace)
        with (
            StageProgress(self.console, table, len(tasks), context.pace.notice) as progress,
            contextlib.closing(run_blocks(job, tasks)) as blocks,  # type: ignore[arg-type]
        ):
            for outcomes in blocks:
                progress.add(outcomes)
                now = Counter(outcomes["outcome"].to_pylist())
                self.done_now += now[DONE]
                self.failed_now += now[FAILED]
                self.retried_now += now[RETRY]
                if table == "videos" and self.loaded.manifest.crawl.stop_without_heatmaps:
                    self.heatmaps.add(outcomes["signal"].to_pylist())
