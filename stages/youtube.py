"""yt-dlp as we use it: its options, and its errors as ours."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vsumdata.pipeline.errors import RetryVideo, SkipVideo, ThrottledError, UsageError
from vsumdata.pipeline.stage import Context
from vsumdata.stages import web_answers
from vsumdata.stages.ffmpeg import ffmpeg_program

log = logging.getLogger("vsumdata.yt_dlp")
SOCKET_TIMEOUT_S = 20
RETRY_AFTER_S = 120.0
JAVASCRIPT_RUNTIMES = ("deno", "node", "bun", "quickjs")  # by itself yt-dlp would use only the first
NO_ANSWER = "failed to extract any player response"

# The first class of which a message holds a phrase (phrases as yt-dlp 2026.10 words them, in lower case).
CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "throttled",
        (
            "not a bot",
            "content isn't available, try again later",
            "session has been rate-limited",
            "http error 429",
            "http 429",
            "status 429",
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
    ("upcoming", ("this live event will begin in", "premieres in", "premiere will begin")),
    ("live", ("the channel is not currently live",)),
    (
        "removed",
        (
            "this video is unavailable",
            "this video is not available",
            "this live stream recording is not available",
            "video unavailable",
            "has been removed by the uploader",
            "has been removed for violating",
            "associated with this video has been terminated",
            "no longer available due to a copyright claim",
            NO_ANSWER,
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
            "http 5",
            "http error 403",
            "http 403",
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
    """The options of yt-dlp: our defaults, then those of the manifest, then what our code relies on.

    Raises UsageError where the manifest's cookies cannot be read.
    """
    given = context.crawl.get("yt_dlp") or {}
    options = {
        "cachedir": False,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "retries": 2,
        "fragment_retries": 2,
        "extractor_retries": 1,
        "ffmpeg_location": ffmpeg_program(),
        "js_runtimes": {name: {} for name in JAVASCRIPT_RUNTIMES},
        **given,
        "quiet": True,
        "no_warnings": False,
        "noprogress": True,
        "no_color": True,
        "logger": log,
        "noplaylist": True,
        "ignoreerrors": False,
        "ignore_no_formats_error": False,
        "wait_for_video": None,
        **more,
        "extractor_args": extractor_args(given.get("extractor_args"), lists="extract_flat" in more),
    }
    if options.get("cookiefile"):
        options["cookiefile"] = own_cookies(str(options["cookiefile"]), context)
    return options


def extractor_args(given: Any, *, lists: bool) -> dict[str, dict[str, list[str]]]:
    """The manifest's arguments of extractors, in English for `classify` and never without heatmaps.

    A listing that lacks a page raises, else it would pass for a whole one. A video that lacks its page does
    not: its private or removed state is told by other answers, and a missing `heatmap` is found by `describe`.
    """
    found = {
        str(site): {name: value.split(",") if isinstance(value, str) else list(value) for name, value in each.items()}
        for site, each in (given or {}).items()
    }
    youtube = found.setdefault("youtube", {}) | {"lang": ["en"]}
    youtube["player_skip"] = [name for name in youtube.get("player_skip", []) if name != "initial_data"]
    if lists:
        youtube["raise_incomplete_data"] = ["true"]
    return found | {"youtube": youtube}


def own_cookies(given: str, context: Context) -> str:
    """This process's copy of the cookies file: yt-dlp writes its cookies back, and must not spoil the user's."""
    path = Path(context.scratch) / f"cookies-{os.getpid()}.txt"
    try:
        if not path.exists():  # from then on it is yt-dlp's
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(Path(given).expanduser().read_bytes())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UsageError(f"crawl.yt_dlp.cookiefile: {given}: {error.strerror}; export the cookies again") from error
    return str(path)


def host_of(url: str) -> str:
    """The host whose pace counts: without `www.` and the like."""
    return re.sub(r"^(www|m|music)\.", "", urlsplit(url).hostname or url)


def wait_turn(url: str, context: Context) -> None:
    if context.pace is not None:
        context.pace(host_of(url))


def heed(ydl: Any, url: str) -> None:
    """Let a 429 to any of `ydl`'s requests raise ThrottledError for the host of `url` there and then.

    By itself yt-dlp only remarks on most of them, goes on asking, and blames the video in the end.
    """
    from yt_dlp.networking.exceptions import HTTPError

    ask = type(ydl).urlopen

    def urlopen(request: Any) -> Any:
        try:
            return ask(ydl, request)
        except HTTPError as error:
            if error.status != 429:
                raise
            error.close()
            raise ThrottledError(host_of(url), str(error), retry_after_s(error)) from error

    ydl.urlopen = urlopen


def as_ours(error: Exception, url: str) -> SkipVideo | RetryVideo | ThrottledError:
    """A yt-dlp error as one of ours; its text says what happened, its cause may carry a Retry-After."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
    message = message.split("; please report this issue")[0]
    kind = classify(message)
    if kind == "throttled":
        return ThrottledError(host_of(url), message, retry_after_s(error))
    if kind in {"transient", "unknown"}:
        return RetryVideo(kind, RETRY_AFTER_S, message)
    return SkipVideo(kind, message)


def retry_after_s(error: BaseException | None) -> float | None:
    """The Retry-After of the HTTP response behind a yt-dlp error, in seconds from now."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        response = getattr(error, "response", None)
        if response is not None:
            return web_answers.retry_after_s(response.headers.get("Retry-After"))
        seen.append(error)
        behind = getattr(error, "exc_info", None) or (None, None, None)
        error = next((one for one in (behind[1], getattr(error, "cause", None), error.__cause__) if one), None)
    return None
