"""Check whether one job can run: its lists, cookies and models, its root, its Ray. Nothing is listed or fetched."""

from __future__ import annotations

import http.cookiejar
import shutil
import tempfile
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import getproxies

from vsumdata.manifests import upkeep
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded, load
from vsumdata.manifests.roots import objects
from vsumdata.manifests.roots.local import TEMPORARY
from vsumdata.manifests.roots.objects import StoreRefused
from vsumdata.manifests.sources import Record, read_lists
from vsumdata.manifests.store import Store
from vsumdata.pipeline.engine.run import USES_FFMPEG, VISITING, asked_endpoints, endpoint_of
from vsumdata.pipeline.recipe import parse_stages, recipe, wanted_tables
from vsumdata.pipeline.reports.doctor import Check, ffmpeg, javascript, network
from vsumdata.pipeline.state.listing import hosts_of
from vsumdata.pipeline.workers.address import ray_address
from vsumdata.pipeline.workers.asked import REACHED_S, asked
from vsumdata.pipeline.workers.cluster import answer_ray, pool, visitors_cpus
from vsumdata.stages.curation import endpoint
from vsumdata.stages.encoders.models import resolve_models
from vsumdata.stages.youtube.options import resolve_options
from vsumdata.stages.youtube.session import YOUTUBE

STARTED_S = 120.0  # for a Ray of this machine to start
MIN_FREE_BYTES = 1_000_000_000
ANY_NUMBER = 1_000_000  # of videos
# Errors of a root that say themselves what to do.
REFUSALS = {UsageError.__name__, StoreRefused.__name__}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The command line of the `run` that is to be checked."""

    manifest: str
    stage: str
    root: str
    settings: Sequence[str] = ()
    address: str | None = None


def examine(wanted: Wanted) -> list[Check]:
    """Check all that this job needs, and nothing else; takes some seconds, since Ray is asked."""
    try:
        tables = parse_stages(wanted.stage)
        loaded = load(wanted.manifest, wanted.settings)
        tables = wanted_tables(tables, loaded.manifest)
    except UsageError as error:
        return [Check("manifest", False, one_line(error))]
    checks = [Check("manifest", True, loaded.file), *sources(loaded, tables)]
    if not USES_FFMPEG.isdisjoint(tables):
        checks.append(ffmpeg())
    on_disk = root(wanted.root)
    checks += on_disk
    known: Mapping[str, Any] = {}
    if all(check.ok for check in on_disk):
        known = Store(wanted.root).read_json("models.json") or {}
    checks += [models(loaded, known, tables), *endpoints(loaded, tables)]
    return [*checks, *ray(wanted.address, loaded, known, tables)]


def one_line(error: Exception) -> str:
    return "; ".join(str(error).splitlines())


def sources(loaded: Loaded, tables: Collection[str]) -> list[Check]:
    """Check the lists, yt-dlp's options and cookies, and what the hosts of the sources need."""
    checks, records, options = [], list[Record](), dict[str, Any]()
    channels = [source.channel for source in loaded.manifest.sources if source.channel]
    if len(channels) < len(loaded.manifest.sources):
        try:
            records, remarks = read_lists(loaded)
        except UsageError as error:
            checks.append(Check("lists", False, one_line(error)))
        else:
            remarked = f", {len(remarks):,} remarks" if remarks else ""
            checks.append(Check("lists", True, f"{len(records):,} videos{remarked}"))
    try:
        options = resolve_options(loaded)
    except UsageError as error:
        checks.append(Check("crawl.yt_dlp", False, one_line(error)))
    if given := options.get("cookiefile"):
        checks.append(cookies(given))
    hosts = hosts_of(loaded, records)
    if VISITING.isdisjoint(tables):
        return checks
    if hosts & YOUTUBE:
        checks.append(replace(javascript(), optional=False))
    # Such a host exists nowhere: the program itself serves the sample's.
    outside = sorted(host for host in hosts if not host.endswith(".invalid"))
    # Through a proxy, a connection of our own says nothing.
    if not options.get("proxy") and not getproxies().keys() & {"https", "all"}:
        checks += [replace(check, optional=False) for check in network(outside)]
    return checks


def cookies(given: str) -> Check:
    """Check the cookies file as yt-dlp reads it."""
    from yt_dlp.cookies import YoutubeDLCookieJar

    try:
        jar = YoutubeDLCookieJar(given)
        jar.load()
    except (OSError, UnicodeDecodeError, http.cookiejar.LoadError) as error:
        what = getattr(error, "strerror", None) or "not in the Netscape format"
        return Check("cookies", False, f"{given}: {what}; export the cookies again")
    # yt-dlp loads expired cookies too.
    valid = [cookie for cookie in jar if not cookie.is_expired()]
    if not valid:
        return Check("cookies", False, f"{given}: no cookie that is still valid; export the cookies again")
    return Check("cookies", True, f"{len(valid)} in {given}")


def models(loaded: Loaded, known: Mapping[str, Any], tables: Collection[str]) -> Check:
    """Check the models that the wanted tables need."""
    try:
        found = resolve_models(loaded, known, tables)
    except UsageError as error:
        return Check("models", False, one_line(error))
    return Check("models", True, found.names())


def endpoints(loaded: Loaded, tables: Collection[str]) -> list[Check]:
    """Check that the key of each endpoint is there, and that somebody answers."""
    checks = []
    for table, model in asked_endpoints(loaded.manifest, tables).items():
        try:
            endpoint.check(endpoint_of(model, table), f"endpoint of {table}")
        except UsageError as error:
            checks.append(Check(f"endpoint of {table}", False, one_line(error)))
        else:
            checks.append(Check(f"endpoint of {table}", True, f"{model.endpoint} is reached"))
    return checks


def root(where: str) -> list[Check]:
    """Check that a run may claim the root and write there, and that there is room for it and for temporary files."""
    try:
        store = Store(where)
        if store.objects is not None:
            answer = asked(answer_root, where, REACHED_S)
            error = answer.get("error", "")
            remedy = "" if answer.get("kind") in REFUSALS else "; check the address, the credentials and the network"
            return [Check("root", not error, f"{error}{remedy}" if error else f"{store.root} can be written")]
        store.claim()
        temporary = upkeep.scratch_parent(store).parent
    except UsageError as error:
        return [Check("root", False, one_line(error))]
    assert store.local is not None
    # The root itself may be made by the run; then the folder counts in which it would be made.
    folder = next(path for path in (store.local, *store.local.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        what = f"--root {where}: cannot write to {folder}: {error.strerror}; fix the permissions or give another --root"
        return [Check("root", False, what)]
    return [
        Check("root", True, f"{store.local} can be written"),
        room("room for the root", folder, "give another --root"),
        room("room for temporary files", temporary, f"name another place in {upkeep.TMPDIR_VARIABLE}"),
    ]


def room(name: str, folder: Path, remedy: str) -> Check:
    free_bytes = shutil.disk_usage(folder).free
    found = f"{free_bytes / 1e9:,.1f} GB free in {folder}"
    is_enough = free_bytes >= MIN_FREE_BYTES
    return Check(name, is_enough, found if is_enough else f"{found}: make room or {remedy}")


def ray(address: str | None, loaded: Loaded, known: Mapping[str, Any], tables: Collection[str]) -> list[Check]:
    """Check that Ray answers, and that it has what the manifest's `resources` ask for."""
    try:
        address = ray_address(address)
    except UsageError as error:
        return [Check("Ray", False, one_line(error))]
    answer = asked(answer_ray, address or "", REACHED_S if address else STARTED_S)
    if "error" in answer:
        remedy = f"is a Ray running at {address}, of the same version as here?" if address else "see `vsumdata doctor`"
        return [Check("Ray", False, f"{answer['error']}; {remedy}")]
    there = answer["nodes"]
    has = {name: sum(node.get(name, 0.0) for node in there) for name in ("CPU", "GPU")}
    found = f"{answer['version']}, {has['CPU']:g} CPUs, {has['GPU']:g} GPUs"
    stages = recipe(loaded.manifest, resolve_models(loaded, known, ()))
    sizes = []
    try:
        wanted = [stages[table] for table in tables]
        for stage in wanted:
            size = pool(stage, ANY_NUMBER, there, visitors_cpus(wanted, there))
            sizes.append(f"{stage.name} {size.workers} × ({size.cpus:.3g} CPUs, {size.gpus:g} GPUs)")
    except UsageError as error:
        return [Check("Ray", True, found), Check("resources", False, one_line(error))]
    return [Check("Ray", True, found), Check("resources", True, ", ".join(sizes))]


def answer_root(where: str) -> dict[str, Any]:
    """Claim a root on an object store; write and remove a file there."""
    print("asking", flush=True)
    # A person waits.
    objects.GIVES_UP_AFTER_S = REACHED_S / 2
    store = Store(where)
    store.claim()
    path = f"{store.base}/.{uuid.uuid4().hex}{TEMPORARY}"
    store.put(path, b"vsumdata doctor")
    store.delete([path])
    return {}
