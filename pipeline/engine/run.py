"""One run: check what it needs, list the videos, do what is pending. Safe to kill and to start again."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import CollapseError, UsageError, VsumdataError
from vsumdata.manifests.leases import Leases, shared
from vsumdata.manifests.manifest import ChatModel, Loaded, Manifest
from vsumdata.manifests.sources import Record, read_lists
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine.flow import Display, Flow
from vsumdata.pipeline.engine.watches import Watches, watches
from vsumdata.pipeline.recipe import GROUPS, recipe
from vsumdata.pipeline.state import dataset
from vsumdata.pipeline.state.listing import hosts_of, list_records
from vsumdata.pipeline.state.pace import Pace, egress_of
from vsumdata.pipeline.state.plan import Plan, Stages, fingerprint, plan, retries_due
from vsumdata.pipeline.state.secrets import redact, secrets_of
from vsumdata.pipeline.workers.cluster import check_gpus, cluster
from vsumdata.pipeline.workers.nodes import Nodes
from vsumdata.stages.audio import TABLE as AUDIO
from vsumdata.stages.curation.endpoint import check
from vsumdata.stages.encoders.models import UNRESOLVED, Models, model_keys, resolve_models
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program, ffmpeg_version
from vsumdata.stages.stage import Context, Endpoint
from vsumdata.stages.summaries import LLM
from vsumdata.stages.youtube.options import portable, read_files, resolve_options
from vsumdata.stages.youtube.runtime import check_runtime
from vsumdata.stages.youtube.session import YOUTUBE

USES_FFMPEG = frozenset({"videos", "transcripts", "frames", "frame_captions", AUDIO, "thumbnails", "segment_features"})
# Tables that ask the hosts of the sources.
VISITING = USES_FFMPEG
# Tables that ask a language model, and the setting of `summaries` that names it.
CHATS = {"frame_captions": "captioner", "summaries": "writer"}
# Folders of the user's own videos in which each node of a cluster must see a file.
MOST_FOLDERS = 50


class Unseen:
    """A display that shows nothing."""

    def left(self, table: str, number: int) -> None:
        pass

    def begun(self, table: str, number: int) -> None:
        pass

    def add(self, table: str, outcomes: pa.Table) -> None:
        pass

    def ended(self, table: str) -> None:
        pass


# Takes the console, the tables, the least seconds between visits, and a function that names the hosts that pause.
Displayed = Callable[[Console, Sequence[str], float, Callable[[], str]], contextlib.AbstractContextManager[Display]]


@contextlib.contextmanager
def unseen(console: Console, tables: Sequence[str], interval_s: float, notice: Callable[[], str]) -> Iterator[Display]:
    """Show nothing."""
    yield Unseen()


@dataclass
class Run:
    """One call of `run`: its settings and its state.

    `wanted` holds tables in the recipe's order, `again` the outcomes to do over, `yt_dlp` its checked options.
    `outcomes` counts those of this call, `visits` its requests by host.
    """

    loaded: Loaded
    store: Store
    wanted: Sequence[str]
    console: Console
    limit: int | None = None
    again: frozenset[str] = frozenset()
    address: str | None = None
    displayed: Displayed = unseen
    transport: Mapping[str, str] = field(default_factory=dict)
    yt_dlp: dict[str, Any] = field(default_factory=dict)
    own_files: Sequence[str] = ()
    visits_youtube: bool = False
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    stages: Stages = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    visits: Counter[str] = field(default_factory=Counter)
    watches: Watches = field(default_factory=lambda: Watches({}))

    def secrets(self) -> tuple[str, ...]:
        """All that must not be shown or logged."""
        keys = (endpoint.key for endpoint in self.endpoints.values() if endpoint.key)
        return (*self.store.secrets, *secrets_of(self.yt_dlp), *keys)

    def say(self, text: str) -> None:
        """Print a line for the user, with secrets hidden."""
        self.console.print(redact(text, self.secrets()), highlight=False, markup=False)

    def prepare(self, *, dry_run: bool) -> None:
        """Claim the root, find ffmpeg, the JavaScript runtime and the models, build the stages.

        Raises UsageError before any work starts. A dry run reports a missing program or model and goes on.
        """
        manifest = self.loaded.manifest
        # Read here only to check the lists: a wrong one must raise before the root is claimed.
        records, _ = read_lists(self.loaded)
        # One of each folder: enough to tell whether another machine has the same mounts.
        folders = {os.path.dirname(record.video): record.video for record in records if record.video}
        self.own_files = [path for path in list(folders.values())[:MOST_FOLDERS] if os.path.exists(path)]
        self.yt_dlp = resolve_options(self.loaded)
        self.visits_youtube = not VISITING.isdisjoint(self.wanted) and not YOUTUBE.isdisjoint(
            hosts_of(self.loaded, records)
        )
        self.store.claim()
        known = self.store.read_json("models.json") or {}
        try:
            if not USES_FFMPEG.isdisjoint(self.wanted):
                ffmpeg_version(ffmpeg_program())
            if self.visits_youtube:
                check_runtime()
            for table, asked in asked_endpoints(manifest, self.wanted).items():
                self.endpoints[table] = endpoint_of(asked, table)
            models = resolve_models(self.loaded, known, self.wanted)
        except UsageError as error:
            if not dry_run:
                raise
            self.say(f"a run would stop here: {error}")
            models = resolve_models(self.loaded, known, ())
        if not dry_run:
            models = self.locked(models, known)
        self.stages = recipe(manifest, models)
        if dry_run:
            return
        if manifest.features.clip.weights.startswith("seed:"):
            self.say("WARNING: CLIP has seeded random weights: the features test the pipeline and mean nothing")

    def locked(self, models: Models, known: Mapping[str, Any]) -> Models:
        """Lock what was resolved in the root's models.json; return the models as they are locked."""
        with self.store.lock("models.lock"):
            now = self.store.read_json("models.json") or {}
            if now != known:
                # Another run has locked models meanwhile, perhaps other revisions of ours.
                models = resolve_models(self.loaded, now, self.wanted)
            resolved = {
                key: asdict(model)
                for name, key in model_keys(self.loaded.manifest).items()
                if (model := getattr(models, name)).identity != UNRESOLVED["identity"]
            }
            if now | resolved != now:
                self.store.write_json("models.json", now | resolved)
        return models

    def context(self, scratch: Path) -> Context:
        """Make the context that the workers get."""
        manifest = self.loaded.manifest
        yt_dlp, files = portable(self.yt_dlp, scratch) if self.address else (self.yt_dlp, read_files(self.yt_dlp))
        crawl = manifest.crawl.model_dump() | {"yt_dlp": yt_dlp}
        return Context(
            root=self.store.location,
            scratch=str(scratch),
            crawl=crawl,
            files=files,
            endpoints=dict(self.endpoints),
            transport=dict(self.transport),
            select=manifest.select,
            captions=manifest.captions,
            row_timeout_s=manifest.limits.row_timeout_s,
            media=frozenset(need for table in self.wanted if (need := self.stages[table].needs)),
            hears_all=AUDIO in self.wanted,
            pace=Pace(self.store.location, manifest.crawl.seconds_between_requests, egress_of(self.yt_dlp)),
        )

    def plan(self, table: str, again: frozenset[str] = frozenset()) -> Plan:
        """Plan one table for this run's records; `again` names outcomes to do over."""
        return plan(self.store, self.stages, table, self.records, self.loaded.manifest, again)

    def execute(self) -> dict[str, Any]:
        """Do all wanted stages; return the summary of the tables, which `dataset.json` keeps.

        Raises CollapseError, StorageError, ClusterError, or VsumdataError if an upstream table is empty.
        """
        leases = Leases(self.store)
        self.store.keeps_index = True
        with shared(self.store, leases):
            # Before the first row: `prune` takes what this file does not name for superseded, also after a kill.
            tables = {name: {"fingerprint": fingerprint(self.stages, name)} for name in self.stages}
            self.write_dataset({"tables": tables})
            try:
                self.do_stages(leases)
                self.put_back_streaks()
            except CollapseError as error:
                # The last videos are stored as having no heatmap, or as removed, and would be lost for good.
                self.watches.put_back(self.store, self.stages, error.kind)
                self.put_back_streaks()
                raise
            except KeyboardInterrupt:
                self.put_back_streaks()
                raise
            finally:
                # Also after an error or Ctrl-C: dataset.json then describes what was committed.
                summary = dataset.summary(self.store, self.loaded, self.stages, self.records, wanted=self.wanted)
                if self.records:
                    self.write_dataset(summary)
                self.store.write_indexes()
        return summary

    def put_back_streaks(self) -> None:
        """Have the next run visit again what was visited in a short moment of bad answers; settle what is sure now."""
        if number := self.watches.put_back_streaks(self.store, self.stages):
            self.say(f"{number} videos were visited while the site's answers may have been wrong: run again to be sure")
        self.watches.settle(self.store, self.stages)

    def write_dataset(self, summary: Mapping[str, Any]) -> None:
        """Write dataset.json."""
        head = {"root": self.store.root, "manifest": dataset.stored_manifest(self.loaded)}
        self.store.write_json("dataset.json", head | dict(summary))

    def do_stages(self, leases: Leases) -> None:
        """List the videos and do the wanted tables."""
        with upkeep.scratch_folder(self.store) as scratch, contextlib.ExitStack() as ray_session:
            context = self.context(scratch)
            nodes = self.nodes(scratch.name, ray_session)
            # A stage that asks for GPUs is checked before any work, and only Ray knows how many there are. Without such
            # a stage Ray starts with the first pending video: its start takes 3 to 4 s.
            if asking := [self.stages[table] for table in self.wanted if self.stages[table].gpus > 0]:
                ray_session.enter_context(cluster(self.address))
                limit_s = self.loaded.manifest.limits.wait_for_gpus_s
                check_gpus(asking, self.address is not None, limit_s, self.say)
            assert isinstance(context.pace, Pace)
            if paused := context.pace.notice():
                self.say(paused)
            # Only a run that fetches videos lists channels anew; the others use the stored listing.
            if "videos" in self.wanted:
                self.records = list_records(self.store, self.loaded, context, self.say)
                self.watches = watches(self.store, self.stages, self.loaded.manifest.crawl)
            else:
                self.records = list_records(self.store, self.loaded, None, self.say)
            self.visits.update(context.pace.visits)
            for table in self.wanted:
                self.check_upstream(table)
            self.check_endpoints()
            interval_s = self.loaded.manifest.crawl.seconds_between_requests
            with self.displayed(self.console, self.wanted, interval_s, context.pace.notice) as display:
                flow = Flow(
                    store=self.store,
                    loaded=self.loaded,
                    stages=self.stages,
                    wanted=self.wanted,
                    records=self.records,
                    context=context,
                    leases=leases,
                    display=display,
                    say=self.say,
                    ray_session=ray_session,
                    nodes=nodes,
                    watches=self.watches,
                    limit=self.limit,
                    again=self.again,
                    address=self.address,
                    outcomes=self.outcomes,
                    visits=self.visits,
                )
                flow.do()
            for table in self.wanted:
                if left := retries_due(flow.plans[table]):
                    self.say(f"{table}: {left}")

    def nodes(self, run: str, ray_session: contextlib.ExitStack) -> Nodes:
        """Connect to the cluster that was asked for, if any, and have its nodes show that they are fit.

        Raises ClusterError.
        """
        models = {
            str(value)
            for table in self.wanted
            for name, value in self.stages[table].options.items()
            if name.endswith("location") and value
        }
        nodes = Nodes(
            store=self.store,
            run=run,
            say=self.say,
            is_cluster=self.address is not None,
            files=self.own_files,
            models=sorted(models),
            needs_ffmpeg=not USES_FFMPEG.isdisjoint(self.wanted),
            needs_runtime=self.visits_youtube,
        )
        if self.address is not None:
            ray_session.enter_context(cluster(self.address))
            ray_session.callback(nodes.leave)
            nodes.prove()
        return nodes

    def check_upstream(self, table: str) -> None:
        """Raise VsumdataError if a table that this one reads is empty and will not be made by this run."""
        if table == "videos":
            return
        for upstream in self.stages[table].inputs():
            is_empty = not self.store.parts(upstream, fingerprint(self.stages, upstream))
            if is_empty and upstream not in self.wanted:
                group = next(name for name, tables in GROUPS.items() if upstream in tables)
                raise VsumdataError(
                    f"{table} needs the table `{upstream}`, which is empty here: run `--stage {group}` first"
                )

    def check_endpoints(self) -> None:
        """Raise UsageError if nobody answers at an endpoint that this run has to ask."""
        for table, endpoint in self.endpoints.items():
            # On a cluster only the workers may be able to reach it.
            if self.address is None and self.plan(table, self.again).pending:
                check(endpoint, f"summaries.{CHATS[table]}")


def asked_endpoints(manifest: Manifest, tables: Collection[str]) -> dict[str, ChatModel]:
    """The models at endpoints that these tables ask."""
    found = {table: getattr(manifest.summaries, name) for table, name in CHATS.items() if table in tables}
    if manifest.summaries.method != LLM:
        found.pop("summaries", None)
    return {table: asked for table, asked in found.items() if asked.endpoint is not None}


def endpoint_of(asked: ChatModel, table: str) -> Endpoint:
    """The endpoint with its key. Raises UsageError if the environment has no such variable."""
    assert asked.endpoint is not None
    key = os.environ.get(asked.key_variable, "") if asked.key_variable else ""
    if asked.key_variable and not key:
        raise UsageError(
            f"summaries.{CHATS[table]}.key_variable: the environment variable {asked.key_variable} is not set"
        )
    return Endpoint(
        url=asked.endpoint,
        key=key.strip(),
        timeout_s=asked.timeout_s,
        seconds_between_requests=asked.seconds_between_requests,
        requests_at_once=asked.requests_at_once,
    )
