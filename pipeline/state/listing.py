"""List the videos of a manifest's sources. Lists are read at each run; channels are kept under `<root>/listings`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from vsumdata.manifests import clock
from vsumdata.manifests.errors import ClusterError, FailVideo, ManifestError, RetryVideo, SkipVideo, ThrottledError
from vsumdata.manifests.manifest import Loaded, line_of
from vsumdata.manifests.roots.folder import Folder
from vsumdata.manifests.sources import Record, label, read_lists
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state.pace import Pace
from vsumdata.pipeline.state.secrets import redact, secrets_of
from vsumdata.stages.stage import Context

# A stored listing of a channel is used for this long before the channel is listed again.
LISTING_SERVES_S = 24 * 3600.0
ATTEMPTS = 3
# Remarks that a run prints; a long list may have thousands.
SHOWN_REMARKS = 40


def list_records(store: Store, loaded: Loaded, context: Context | None, say: Callable[[str], None]) -> list[Record]:
    """Return all records in listing order, each video once; without `context` the network is not used.

    A channel that cannot be listed any more keeps its stored listing. Raises ManifestError if a list is wrong or a
    channel without a stored listing does not exist, ClusterError if a channel cannot be read now.
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
                say(f"{label(source)}: {record.video_id} is also listed by {kept.source}, whose record counts")
    return list(found.values())


def hosts_of(loaded: Loaded, records: Sequence[Record]) -> set[str]:
    """The hosts of a manifest's channels and of the videos in its lists."""
    # On demand, here and below: the libraries that visit sites are slow to import, and `status` visits none.
    from vsumdata.stages.youtube.channels import channel_url
    from vsumdata.stages.youtube.errors import host_of

    channels = [source.channel for source in loaded.manifest.sources if source.channel]
    found = {host_of(channel_url(channel, tab)) for channel in channels for tab in loaded.manifest.select.tabs}
    return found | {host_of(record.url) for record in records if record.url}


def channel_records(
    store: Store, loaded: Loaded, number: int, context: Context | None, say: Callable[[str], None]
) -> list[Record]:
    """Return the records of the channel in source `number`, from the stored listing while it is fresh."""
    channel = loaded.manifest.sources[number].channel
    assert channel is not None
    tabs = loaded.manifest.select.tabs
    key, kept = kept_listing(store, channel, tabs)
    name = f"listings/{key}.json"
    if kept is not None and (is_fresh(kept) or context is None):
        return [Record(**values) for values in kept["records"]]
    if context is None:
        return []
    pages = store.inside(f"listings/{key}.pages")
    try:
        records = list(dict.fromkeys(patiently(channel, list(tabs), context, pages, say)))
    except (SkipVideo, FailVideo) as error:
        # A channel that was terminated after a crawl began: its videos are still known, and most are made already.
        if kept is not None and isinstance(error, SkipVideo):
            say(f"{channel} cannot be listed any more ({error.detail}): the listing of the last run serves")
            return [Record(**values) for values in kept["records"]]
        # The channel was never there, or is on a private address: the line of the manifest is wrong.
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
        # Not an error to yt-dlp, but an empty listing must never take the place of a good one.
        say(f"{channel}: its listing is empty (an age-restricted channel lists nothing without cookies)")
        # Kept pages would give the same empty listing for hours.
        pages.remove()
        if kept is not None and kept["records"]:
            say(f"{channel}: the listing of the last run serves")
            return [Record(**values) for values in kept["records"]]
        # Not stored, so that the next run lists again.
        return []
    store.write_json(name, {"channel": channel, "listed_at": clock.now(), "records": [r.as_dict() for r in records]})
    pages.remove()
    return records


def kept_listing(store: Store, channel: str, tabs: Sequence[str]) -> tuple[str, dict[str, Any] | None]:
    """(key, content) of a channel's stored listing: `channel`, `listed_at`, `records`; None if it was never listed."""
    key = hashlib.blake2b(f"{channel} {sorted(tabs)}".encode(), digest_size=6).hexdigest()
    return key, store.read_json(f"listings/{key}.json")


def is_fresh(kept: Mapping[str, Any]) -> bool:
    """Whether a run uses this stored listing without asking the site."""
    # A time that lies ahead is of a clock that was wrong: such a listing would serve until then.
    return bool(0 <= clock.now() - kept["listed_at"] < LISTING_SERVES_S)


def patiently(
    channel: str, tabs: list[str], context: Context, pages: Folder, say: Callable[[str], None]
) -> Sequence[Record]:
    """List a channel; wait as long as the host asks, try again if the network fails."""
    from vsumdata.stages.youtube.channels import list_channel

    attempt = 0
    while True:
        attempt += 1
        try:
            return list(list_channel(channel, tabs, context, pages, say))
        except ThrottledError as error:
            # Throttling is nobody's fault and no failed attempt.
            attempt = 0
            assert isinstance(context.pace, Pace)
            detail = redact(error.detail, secrets_of(context.crawl.get("yt_dlp") or {}))
            context.pace.trip(error.host, error.after_s, detail)
            say(context.pace.notice())
        except RetryVideo:
            if attempt >= ATTEMPTS:
                raise
            clock.sleep(2.0**attempt)


def line(loaded: Loaded, number: int) -> int:
    """Return the line of source `number` in the manifest."""
    with open(loaded.file, encoding="utf-8") as file:
        return line_of(yaml.compose(file, Loader=yaml.SafeLoader), ["sources", number])
