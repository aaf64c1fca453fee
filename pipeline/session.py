"""What `vsumdata run` does around a run: checks first, the sample's site, logs, the closing table, the exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vsumdata.manifests.manifest import Loaded, load
from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import FAILED, OUTCOMES, SKIPPED
from vsumdata.pipeline.dry_run import forecast
from vsumdata.pipeline.errors import UsageError, VsumdataError
from vsumdata.pipeline.listing import list_records
from vsumdata.pipeline.recipe import parse_stages
from vsumdata.pipeline.run import Run
from vsumdata.pipeline.secrets import RedactingFormatter, redact, secrets_of

SAMPLE_HOST = "sample.invalid"
# Tests lead hosts to their own local sites with it: "HOST=127.0.0.1:PORT,…". A manifest cannot.
TRANSPORT_VARIABLE = "VSUMDATA_TRANSPORT"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line of `run`."""

    manifest: str
    stage: str
    root: str
    limit: int | None = None
    settings: tuple[str, ...] = ()
    retry: str = ""
    address: str | None = None
    dry_run: bool = False
    strict: bool = False


def run(request: Request, console: Console) -> int:
    """Do what was asked; returns the exit code. Raises UsageError before any work where it is wrong."""
    begun = time.monotonic()
    again = parse_retry(request.retry)
    wanted = parse_stages(request.stage)
    loaded = load(request.manifest, request.settings)
    store = Store(request.root)
    with transport(loaded) as hosts:
        job = Run(
            loaded=loaded,
            store=store,
            wanted=wanted,
            console=console,
            limit=request.limit,
            again=again,
            address=request.address,
            transport=hosts,
        )
        job.prepare(dry_run=request.dry_run)
        if request.dry_run:
            job.records = list_records(store, loaded, None, job.say)
            console.print(forecast_table(job))
            if any(s.channel for s in loaded.manifest.sources) and not job.records:
                job.say("the channels have not been listed yet: how many videos they have is not known")
            return 0
        secrets = secrets_of(job.yt_dlp)
        with log_file(store, secrets), no_secrets(secrets):
            summary = job.execute()
    console.print(tables_table({"tables": {table: summary["tables"][table] for table in wanted}}))
    left = sum(summary["tables"][table]["outcomes"]["pending"] for table in wanted)
    note = f", {left} pending" if left else ", nothing pending"
    job.say(f"{job.done_now} rows made in {time.monotonic() - begun:.1f} s{note}; root: {store.root}")
    if request.strict and any(summary["tables"][table]["outcomes"][FAILED] for table in wanted):
        return 1
    return 1 if (job.failed_now or job.retried_now) and not job.done_now else 0


def parse_retry(text: str) -> frozenset[str]:
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    if wrong := sorted(words - {FAILED, SKIPPED}):
        raise UsageError(f"--retry: `{wrong[0]}` is not one of failed, skipped")
    return words


@contextlib.contextmanager
def transport(loaded: Loaded) -> Iterator[Mapping[str, str]]:
    """Which hosts are led to a local port: the sample's, served from here unless a test serves it already."""
    pairs = [pair.partition("=") for pair in os.environ.get(TRANSPORT_VARIABLE, "").split(",") if pair]
    hosts = {host: address for host, _, address in pairs}
    asks_sample = any(SAMPLE_HOST in (source.channel or "") for source in loaded.manifest.sources)
    if asks_sample and SAMPLE_HOST not in hosts:
        from vsumdata.datasets.sample.site import SampleSite

        with SampleSite() as site:
            yield hosts | {SAMPLE_HOST: site.address}
    else:
        yield hosts


@contextlib.contextmanager
def log_file(store: Store, secrets: tuple[str, ...]) -> Iterator[None]:
    """Our own log lines of this process go to `<root>/logs`."""
    if store.local is None:
        yield
        return
    folder = store.local / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"run-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log", delay=True)
    handler.setFormatter(RedactingFormatter(secrets))
    ours = logging.getLogger("vsumdata")
    ours.addHandler(handler)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def no_secrets(secrets: tuple[str, ...]) -> Iterator[None]:
    """An error that ends the run does not repeat what the manifest holds in confidence."""
    try:
        yield
    except VsumdataError as error:
        error.args = tuple(redact(arg, secrets) if isinstance(arg, str) else arg for arg in error.args)
        raise


def tables_table(summary: Mapping[str, Any]) -> Table:
    """Outcomes and reasons of each table, for a person."""
    table = Table("table", *OUTCOMES, "pending", "MB", "reasons", box=None, pad_edge=False, header_style="bold")
    for name, entry in summary["tables"].items():
        counts = [str(entry["outcomes"][outcome]) for outcome in (*OUTCOMES, "pending")]
        reasons = ", ".join(f"{count} {reason}" for reason, count in entry["reasons"].items())
        table.add_row(name, *counts, f"{entry['bytes'] / 1e6:.1f}", escape(reasons))
    return table


def forecast_table(job: Run) -> Table:
    table = Table("table", "to do", "at most", "hours", "GB", "by", box=None, pad_edge=False, header_style="bold")
    for row in forecast(job):
        basis = "this root's mean" if row.measured else "a guess"
        table.add_row(row.table, str(row.ready), str(row.at_most), f"{row.hours:.2f}", f"{row.gigabytes:.3f}", basis)
    return table
