"""The videos that a manifest's sources list: lists read anew at each run, channels kept under `<root>/listings`."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from vsumdata.manifests.manifest import Loaded, line_of
from vsumdata.manifests.sources import Record, label, read_lists
from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import ClusterError, ManifestError, RetryVideo, SkipVideo, ThrottledError
from vsumdata.pipeline.pace import Pace
from vsumdata.pipeline.secrets import redact, secrets_of
from vsumdata.pipeline.stage import Context
from vsumdata.stages.channels import list_channel

LISTING_SERVES_S = 24 * 3600.0
ATTEMPTS = 3
SHOWN_REMARKS = 40  # while a run goes on


def list_records(store: Store, loaded: Loaded, context: Context | None, say: Callable[[str], None]) -> list[Record]:
    """All records in listing order, each video once; `context` None means: do not use the network.

    Raises ManifestError (a list is wrong, a channel does not exist) or ClusterError (a channel cannot be read).
    """
    own, remarks = read_lists(loaded)
    shown = remarks if context is None else remarks[:SHOWN_REMARKS]
    for remark in shown:
        say(remark)
    if len(remarks) > len(shown):
        say(f"… and {len(remarks) - len(shown)} more: `vsumdata status --root {store.root}` has all remarks")
    by_source: dict[str, list[Record]] = {}
    for record in own:
        by_source.setdefault(record.source, []).append(record)
    found: dict[str, Record] = {}
    for number, source in enumerate(loaded.manifest.sources):
        if source.channel is not None:
            listed = channel_records(store, loaded, number, context, say)
        else:
            listed = by_source.get(label(source), [])
        for record in listed:
            kept = found.setdefault(record.video_id, record)
            if kept is not record and source.channel is None:
                say(f"{label(source)}: {record.video_id} is listed by {kept.source} already: that record counts")
    return list(found.values())


def channel_records(
    store: Store, loaded: Loaded, number: int, context: Context | None, say: Callable[[str], None]
) -> list[Record]:
    channel = loaded.manifest.sources[number].channel
    assert channel is not None
    tabs = loaded.manifest.select.tabs
    key = hashlib.blake2b(f"{channel} {sorted(tabs)}".encode(), digest_size=6).hexdigest()
    name = f"listings/{key}.json"
    kept = store.read_json(name)
    fresh = kept is not None and time.time() - kept["listed_at"] < LISTING_SERVES_S
    if kept is not None and (fresh or context is None):
        return [Record(**values) for values in kept["records"]]
    if context is None:
        return []
    pages = store.local / f"listings/{key}.pages" if store.local else None
    try:
        records = list(dict.fromkeys(patiently(channel, list(tabs), context, pages, say)))
    except SkipVideo as error:
        raise ManifestError(
            f"{loaded.file}:{line(loaded, number)}: sources.{number}.channel: "
            f"{channel} cannot be listed: {error.detail}"
        ) from error
    except RetryVideo as error:
        if kept is None:
            raise ClusterError(f"{channel} cannot be listed now: {error.detail}; run again later") from error
        say(f"{channel} cannot be listed now ({error.detail}): the listing of the last run serves")
        return [Record(**values) for values in kept["records"]]
    if not records:
        say(f"{channel}: its listing is empty (an age-restricted channel lists nothing without cookies)")
        if pages is not None:  # else the same empty pages would serve for hours
            shutil.rmtree(pages, ignore_errors=True)
        if kept is not None and kept["records"]:
            say(f"{channel}: the listing of the last run serves")
            return [Record(**values) for values in kept["records"]]
        return []  # not stored: the next run lists again
    store.write_json(name, {"channel": channel, "listed_at": time.time(), "records": [r.as_dict() for r in records]})
    if pages is not None:
        shutil.rmtree(pages, ignore_errors=True)
    return records


def patiently(
    channel: str, tabs: list[str], context: Context, pages: Path | None, say: Callable[[str], None]
) -> Sequence[Record]:
    """List a channel; wait where the host asks to, try again where the network fails."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return list(list_channel(channel, tabs, context, pages, say))
        except ThrottledError as error:
            attempt = 0
            assert isinstance(context.pace, Pace)
            detail = redact(error.detail, secrets_of(context.crawl.get("yt_dlp") or {}))
            context.pace.trip(error.host, error.after_s, detail)
            say(context.pace.notice())
        except RetryVideo:
            if attempt >= ATTEMPTS:
                raise
            time.sleep(2.0**attempt)


def line(loaded: Loaded, number: int) -> int:
    with open(loaded.file, encoding="utf-8") as file:
        return line_of(yaml.compose(file, Loader=yaml.SafeLoader), ["sources", number])
