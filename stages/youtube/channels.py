"""List the videos of a channel from its pages."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vsumdata.manifests.errors import RetryVideo, SkipVideo
from vsumdata.manifests.roots.folder import Folder
from vsumdata.manifests.rows import clean_text, count_or_none, number_or_none, text_or_none
from vsumdata.manifests.sources import Record
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube.errors import RETRY_AFTER_S, UNKNOWN_AFTER_S, as_ours, host_of
from vsumdata.stages.youtube.kept_pages import KeptPages
from vsumdata.stages.youtube.network import open_ytdlp
from vsumdata.stages.youtube.options import settings
from vsumdata.stages.youtube.session import PARSING_ERRORS, heed, wait_turn

CHANNEL_ID = re.compile(r"UC[\w-]{22}")
TAB = re.compile(r"/(videos|shorts|streams|featured|live)/?$")
NO_TAB = "does not have a"
GONE = ("HTTP Error 404", "HTTP Error 410")


def channel_url(channel: str, tab: str) -> str:
    """Return the URL of a channel's tab. `channel` is a handle, a channel id or a URL; a URL without tabs stays."""
    if CHANNEL_ID.fullmatch(channel):
        return f"https://www.youtube.com/channel/{channel}/{tab}"
    if "/" not in channel:
        return f"https://www.youtube.com/{channel if channel.startswith('@') else '@' + channel}/{tab}"
    url = channel if "://" in channel else f"https://{channel}"
    # A playlist, or a page of another site, has no tabs to append.
    if host_of(url) == "youtube.com" and "list=" not in url:
        return f"{TAB.sub('', url.split('?')[0].rstrip('/'))}/{tab}"
    return url


def list_channel(
    channel: str,
    tabs: list[str],
    context: Context,
    kept: Folder | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Record]:
    """Yield the videos of a channel, newest first. Each of `listed_*` may be missing.

    The folder `kept` stores the pages received, and an interrupted listing resumes after them. `say` receives
    remarks for the user. Raises SkipVideo if the channel does not exist, FailVideo if it leads to
    a private address, RetryVideo or ThrottledError if it cannot be read now.
    """
    import yt_dlp

    # Without duplicates: where `channel_url` appends no tab, every tab gives the same URL.
    for url in dict.fromkeys(channel_url(channel, tab) for tab in tabs):
        wait_turn(url, context)
        options = settings(context, extract_flat="in_playlist", skip_download=True, noplaylist=False)
        with open_ytdlp(options, context.transport) as ydl, in_linear_time():
            heed(ydl, url)
            pages = KeptPages(ydl, kept) if kept is not None else None
            try:
                found = ydl.extract_info(url, download=False) or {}
            except PARSING_ERRORS as error:
                raise RetryVideo("unknown", UNKNOWN_AFTER_S, f"{type(error).__name__} in yt-dlp: {error}") from error
            except yt_dlp.utils.YoutubeDLError as error:
                ours = as_ours(error, url)
                # Many channels have no shorts or no live videos; the other tabs still count.
                if isinstance(ours, SkipVideo) and NO_TAB in ours.detail:
                    say(f"{channel}: {ours.detail}")
                    continue
                # Otherwise each further run would fail on the same expired token.
                if pages is not None and pages.is_stale:
                    pages.forget()
                # Earlier pages arrived, so the 404 or 410 is about one page. The channel itself exists.
                if isinstance(ours, SkipVideo) and pages is not None and pages.any_arrived and is_status(ours):
                    raise RetryVideo("transient", RETRY_AFTER_S, ours.detail) from error
                raise ours from error
            for entry in found.get("entries") or ():
                if entry and entry.get("id"):
                    yield listed(entry, f"channel:{channel}")


@contextlib.contextmanager
def in_linear_time() -> Iterator[None]:
    """Have yt-dlp remove duplicates by the entries' numbers in their list.

    Its own way compares each (number, entry) with all before it: more than ten minutes for 100,000 videos.
    """
    import yt_dlp

    module = sys.modules[yt_dlp.YoutubeDL.__module__]
    its_own = module.orderedSet  # type: ignore[attr-defined]
    module.orderedSet = unique  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.orderedSet = its_own  # type: ignore[attr-defined]


def unique(items: Iterable[Any], *, lazy: bool = False) -> Iterator[Any] | list[Any]:
    """Leave out what came before; of two items with a number in front the number tells."""

    def each() -> Iterator[Any]:
        seen = set()
        for item in items:
            key = item[0] if isinstance(item, tuple) else item
            if key not in seen:
                seen.add(key)
                yield item

    return each() if lazy else list(each())


def is_status(error: SkipVideo) -> bool:
    """Whether the error is the HTTP status of one request, not YouTube's statement about the channel."""
    return any(status in error.detail for status in GONE)


def listed(entry: Mapping[str, Any], source: str) -> Record:
    """The record of an entry. A value that no column could hold counts as not given."""
    return Record(
        video_id=clean_text(str(entry["id"])),
        source=source,
        url=text_or_none(entry.get("webpage_url")) or text_or_none(entry.get("url")),
        listed_title=text_or_none(entry.get("title")),
        listed_view_count=count_or_none(entry.get("view_count")),
        listed_duration_s=number_or_none(entry.get("duration")),
    )
