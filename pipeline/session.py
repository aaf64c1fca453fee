"""`vsumdata run` around the run itself: checks, the sample's site, logs, the closing table, the exit code."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from vsumdata.manifests.errors import UsageError, VsumdataError
from vsumdata.manifests.manifest import Loaded, load
from vsumdata.manifests.roots.logs import log_handler
from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import DONE, FAILED, REASONS, RETRY, SKIPPED
from vsumdata.manifests.terminal import clock
from vsumdata.pipeline.engine.run import Run
from vsumdata.pipeline.recipe import parse_stages, wanted_tables
from vsumdata.pipeline.reports.dry_run import forecast_table
from vsumdata.pipeline.reports.metrics import with_metrics
from vsumdata.pipeline.reports.progress import RunProgress
from vsumdata.pipeline.reports.status import tables_table
from vsumdata.pipeline.state.listing import list_records
from vsumdata.pipeline.state.secrets import RedactingFormatter, redact
from vsumdata.pipeline.workers.address import ray_address
from vsumdata.stages.youtube.options import browser_cookies

SAMPLE_HOST = "sample.invalid"
# Tests redirect hosts to sites on this machine with it: "HOST=127.0.0.1:PORT,…". A manifest cannot, and all other rules
# of fetching stay on.
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
    cookies_from_browser: str | None = None
    dry_run: bool = False
    strict: bool = False


def run(request: Request, console: Console) -> int:
    """Do what was asked and return the exit code. Raises UsageError before any work starts."""
    begun = time.monotonic()
    again = parse_retry(request.retry)
    tables = parse_stages(request.stage)
    address = ray_address(request.address)
    loaded = load(request.manifest, request.settings)
    wanted = wanted_tables(tables, loaded.manifest)
    store = Store(request.root)
    counted = Counter[str]()
    # Nobody reads the metrics of a Ray that this run starts for itself.
    displayed = with_metrics(RunProgress, store.location, counted) if address else RunProgress
    with transport(loaded) as hosts:
        job = Run(
            loaded=loaded,
            store=store,
            wanted=wanted,
            console=console,
            displayed=displayed,
            limit=request.limit,
            again=again,
            address=address,
            transport=hosts,
            visits=counted,
        )
        job.prepare(dry_run=request.dry_run)
        job.yt_dlp |= browser_cookies(request.cookies_from_browser)
        if request.dry_run:
            job.records = list_records(store, loaded, None, job.say)
            console.print(forecast_table(job))
            return 0
        secrets = job.secrets()
        with log_file(store, secrets), no_secrets(secrets):
            summary = job.execute()
    console.print(tables_table({"tables": {table: summary["tables"][table] for table in wanted}}))
    visits = "".join(f", {number} visits to {host}" for host, number in sorted(job.visits.items()))
    took = clock(time.monotonic() - begun)
    job.say(f"{job.outcomes[DONE]} rows made in {took}{visits}, {what_is_left(summary, wanted)}; root: {store.root}")
    if request.strict and any(summary["tables"][table]["outcomes"][FAILED] for table in wanted):
        return 1
    # A crawler's videos fail now and then, which is normal; a run in which none succeeded is not.
    return 1 if (job.outcomes[FAILED] or job.outcomes[RETRY]) and not job.outcomes[DONE] else 0


def what_is_left(summary: Mapping[str, Any], wanted: Sequence[str]) -> str:
    """Say how many videos are pending, and when the first of the retries falls due."""
    found = [summary["tables"][table] for table in wanted]
    left = sum(table["outcomes"]["pending"] for table in found)
    retries = [table["retries"] for table in found]
    to_retry = sum(each["now"] + each["later"] for each in retries)
    following = min((each["next"] for each in retries if each["next"]), default=None)
    when = f", the next at {following}" if following else ""
    return f"{left} pending" + (f" ({to_retry} to retry{when})" if to_retry else "") if left else "nothing pending"


def parse_retry(text: str) -> frozenset[str]:
    """Read `--retry`: outcomes and reasons to do over. Raises UsageError."""
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    known = {FAILED, SKIPPED, *REASONS}
    if wrong := sorted(words - known):
        near = difflib.get_close_matches(wrong[0], known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise UsageError(f"--retry: `{wrong[0]}` is neither failed, skipped nor a reason{hint}")
    return words


@contextlib.contextmanager
def transport(loaded: Loaded) -> Iterator[Mapping[str, str]]:
    """Yield the hosts that are redirected to a local port; serve the sample's site if the manifest needs it."""
    pairs = [pair.partition("=") for pair in os.environ.get(TRANSPORT_VARIABLE, "").split(",") if pair]
    hosts = {host: address for host, _, address in pairs}
    asks_sample = any(SAMPLE_HOST in (source.channel or "") for source in loaded.manifest.sources)
    # A test may serve the sample's host itself.
    if asks_sample and SAMPLE_HOST not in hosts:
        from vsumdata.datasets.sample.site import SampleSite

        with SampleSite() as site:
            yield hosts | {SAMPLE_HOST: site.address}
    else:
        yield hosts


@contextlib.contextmanager
def log_file(store: Store, secrets: tuple[str, ...]) -> Iterator[None]:
    """Send this process's log lines to `<root>/logs`, with secrets hidden."""
    handler = log_handler(store.inside("logs"), f"run-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    handler.setFormatter(RedactingFormatter(secrets))
    ours = logging.getLogger("vsumdata")
    ours.addHandler(handler)
    # Else the handler of the command line would print each line on the terminal too, with its secrets.
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def no_secrets(secrets: tuple[str, ...]) -> Iterator[None]:
    """Hide secrets in the message of an error that ends the run."""
    try:
        yield
    except VsumdataError as error:
        error.args = tuple(redact(arg, secrets) if isinstance(arg, str) else arg for arg in error.args)
        raise
