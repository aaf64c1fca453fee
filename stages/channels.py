"""The videos of a channel, as its pages list them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vsumdata.manifests.sources import Record
from vsumdata.pipeline.errors import RetryVideo, SkipVideo
from vsumdata.pipeline.stage import Context
from vsumdata.stages.extraction import PARSING_ERRORS
from vsumdata.stages.kept_pages import KeptPages
from vsumdata.stages.transport import open_ytdlp
from vsumdata.stages.youtube import RETRY_AFTER_S, as_ours, heed, host_of, settings, wait_turn

CHANNEL_ID = re.compile(r"UC[\w-]{22}")
TAB = re.compile(r"/(videos|shorts|streams|featured|live)/?$")
NO_TAB = "does not have a"
GONE = ("HTTP Error 404", "HTTP Error 410")


def channel_url(channel: str, tab: str) -> str:
    """The page of a channel's tab: of a handle, an id or a URL; one that has no tabs is taken as it is."""
    if CHANNEL_ID.fullmatch(channel):
        return f"https://www.youtube.com/channel/{channel}/{tab}"
    if "/" not in channel:
        return f"https://www.youtube.com/{channel if channel.startswith('@') else '@' + channel}/{tab}"
    url = channel if "://" in channel else f"https://{channel}"
    if host_of(url) == "youtube.com" and "list=" not in url:
        return f"{TAB.sub('', url.split('?')[0].rstrip('/'))}/{tab}"
    return url


def list_channel(
    channel: str,
    tabs: list[str],
    context: Context,
    kept: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Record]:
    """The videos of a channel as its pages list them, newest first; each of `listed_*` may be missing.

    Pages that came are kept in the folder `kept`, and a listing that was interrupted goes on behind them.
    Raises SkipVideo where the channel does not exist, RetryVideo or ThrottledError where it cannot be read now.
    """
    import yt_dlp

    for url in dict.fromkeys(channel_url(channel, tab) for tab in tabs):
        wait_turn(url, context)
        options = settings(context, extract_flat="in_playlist", skip_download=True, noplaylist=False)
        with open_ytdlp(options, context.transport) as ydl:
            heed(ydl, url)
            pages = KeptPages(ydl, kept) if kept is not None else None
            try:
                found = ydl.extract_info(url, download=False) or {}
            except PARSING_ERRORS as error:
                raise RetryVideo("unknown", RETRY_AFTER_S, f"{type(error).__name__} in yt-dlp: {error}") from error
            except yt_dlp.utils.YoutubeDLError as error:
                ours = as_ours(error, url)
                if isinstance(ours, SkipVideo) and NO_TAB in ours.detail:
                    say(f"{channel}: {ours.detail}")
                    continue
                if pages is not None and pages.is_stale:
                    pages.forget()
                if isinstance(ours, SkipVideo) and pages is not None and pages.has_come and is_status(ours):
                    raise RetryVideo(
                        "transient", RETRY_AFTER_S, ours.detail
                    ) from error  # a page of it, not the channel
                raise ours from error
            for entry in found.get("entries") or ():
                if entry and entry.get("id"):
                    yield listed(entry, f"channel:{channel}")


def is_status(error: SkipVideo) -> bool:
    """Whether it is about the answer to one request, not a word of YouTube's on the channel."""
    return any(status in error.detail for status in GONE)


def listed(entry: Mapping[str, Any], source: str) -> Record:
    return Record(
        video_id=str(entry["id"]),
        source=source,
        url=entry.get("webpage_url") or entry.get("url"),
        listed_title=entry.get("title"),
        listed_view_count=entry.get("view_count"),
        listed_duration_s=entry.get("duration"),
    )
