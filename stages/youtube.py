"""yt-dlp as we use it: its options, its errors as ours, one extraction."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from vsumdata.pipeline.errors import RetryVideo, SkipVideo, ThrottledError
from vsumdata.pipeline.stage import Context
from vsumdata.stages.ffmpeg import ffmpeg_program
from vsumdata.stages.transport import open_ytdlp

log = logging.getLogger("vsumdata.yt_dlp")
SOCKET_TIMEOUT_S = 20
RETRY_AFTER_S = 120.0

# The first class of which a message holds a phrase (phrases as yt-dlp 2026.10 words them, in lower case).
CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "throttled",
        (
            "not a bot",
            "content isn't available, try again later",
            "session has been rate-limited",
            "http error 429",
            "too many requests",
            "ip is likely being blocked",
            "requiring a captcha challenge",
        ),
    ),
    ("private", ("this video is private", "private video")),
    (
        "members_only",
        (
            "available to this channel's members",
            "join this channel to get access",
            "only available to music premium members",
        ),
    ),
    ("age_restricted", ("may be inappropriate for some users", "confirm your age", "age-restricted")),
    ("region", ("not made this video available in your country", "not available in your country")),
    ("upcoming", ("this live event will begin in", "premieres in")),
    ("live", ("the channel is not currently live",)),
    (
        "removed",
        (
            "this video is unavailable",
            "this video is not available",
            "video unavailable",
            "has been removed by the uploader",
            "failed to extract any player response",
            "channel was removed",
            "account has been terminated",
            "this channel does not exist",
            "this channel does not have a",
            "failed to resolve url",
            "http error 404",
            "http error 410",
        ),
    ),
    ("no_formats", ("drm protected", "no video formats found", "requested format is not available")),
    (
        "transient",
        (
            "incomplete data received",
            "timed out",
            "timeout",
            "http error 5",
            "http error 403",
            "connection",
            "unable to download",
            "temporary failure",
            "failed to resolve",
            "transporterror",
            "incompleteread",
            "bytes read",
        ),
    ),
)


def classify(message: str) -> str:
    """The class of a yt-dlp error message: a reason of the tables, `throttled`, `transient` or `unknown`."""
    text = message.lower().replace("’", "'")
    return next((name for name, phrases in CLASSES if any(phrase in text for phrase in phrases)), "unknown")


def settings(context: Context, **more: Any) -> dict[str, Any]:
    """The options of yt-dlp: ours, then those of the manifest."""
    return {
        "quiet": True,
        "noprogress": True,
        "no_color": True,
        "logger": log,
        "cachedir": False,
        "noplaylist": True,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "retries": 2,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "ignore_no_formats_error": True,
        "ffmpeg_location": ffmpeg_program(),
        **more,
        **context.crawl.get("yt_dlp", {}),
    }


def host_of(url: str) -> str:
    """The host whose pace counts: without `www.` and the like."""
    return re.sub(r"^(www|m|music)\.", "", urlsplit(url).hostname or url)


def wait_turn(url: str, context: Context) -> None:
    if context.pace is not None:
        context.pace(host_of(url))


def as_ours(error: Exception, url: str) -> SkipVideo | RetryVideo | ThrottledError:
    """A yt-dlp error as one of ours; its text says what happened, its cause may carry a Retry-After."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
    kind = classify(message)
    if kind == "throttled":
        return ThrottledError(host_of(url), message, retry_after_s(error))
    if kind in {"transient", "unknown"}:
        return RetryVideo(kind, RETRY_AFTER_S, message)
    return SkipVideo(kind, message)


def retry_after_s(error: BaseException | None) -> float | None:
    """The Retry-After header, in seconds, of the HTTP response behind a yt-dlp error."""
    while error is not None:
        response = getattr(error, "response", None)
        value = response.headers.get("Retry-After") if response is not None else None
        if value and value.isdigit():
            return float(value)
        wrapped = getattr(error, "exc_info", None)
        error = wrapped[1] if wrapped and wrapped[1] is not error else error.__cause__
    return None


def extract(url: str, context: Context) -> tuple[dict[str, Any], Any]:
    """One full extraction: yt-dlp's info and the open YoutubeDL (close it). Raises our errors only."""
    import yt_dlp

    wait_turn(url, context)
    ydl = open_ytdlp(settings(context, skip_download=True), context.transport)
    try:
        info = ydl.extract_info(url, download=False)
    except yt_dlp.utils.YoutubeDLError as error:
        ydl.close()
        raise as_ours(error, url) from error
    if not isinstance(info, dict):
        ydl.close()
        raise RetryVideo("transient", RETRY_AFTER_S, "yt-dlp returned nothing")
    return info, ydl
