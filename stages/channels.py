"""The videos of a channel, as its pages list them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vsumdata.manifests.sources import Record
from vsumdata.pipeline.stage import Context
from vsumdata.stages.transport import open_ytdlp
from vsumdata.stages.youtube import as_ours, host_of, settings, wait_turn


def channel_url(channel: str, tab: str) -> str:
    """The page of a channel's tab; a URL that is not YouTube's is taken as it is."""
    if "://" not in channel:
        return f"https://www.youtube.com/{channel if channel.startswith('@') else '@' + channel}/{tab}"
    if host_of(channel) == "youtube.com":
        return f"{re.sub(r'/(videos|shorts|streams|featured)/?$', '', channel.rstrip('/'))}/{tab}"
    return channel


def list_channel(channel: str, tabs: list[str], context: Context) -> Iterator[Record]:
    """The videos of a channel as its pages list them, newest first; each of `listed_*` may be missing.

    Raises SkipVideo where the channel does not exist, RetryVideo or ThrottledError where it cannot be read now.
    """
    import yt_dlp

    for url in dict.fromkeys(channel_url(channel, tab) for tab in tabs):
        wait_turn(url, context)
        options = settings(context, extract_flat="in_playlist", skip_download=True, noplaylist=False)
        with open_ytdlp(options, context.transport) as ydl:
            try:
                found = ydl.extract_info(url, download=False) or {}
                for entry in found.get("entries") or ():
                    if entry and entry.get("id"):
                        yield listed(entry, f"channel:{channel}")
            except yt_dlp.utils.YoutubeDLError as error:
                if "does not have a" in str(error) and len(tabs) > 1:
                    continue  # this channel has no such tab
                raise as_ours(error, url) from error


def listed(entry: Mapping[str, Any], source: str) -> Record:
    return Record(
        video_id=str(entry["id"]),
        source=source,
        url=entry.get("webpage_url") or entry.get("url"),
        listed_title=entry.get("title"),
        listed_view_count=entry.get("view_count"),
        listed_duration_s=entry.get("duration"),
    )
