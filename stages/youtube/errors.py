"""Turn the errors of yt-dlp into ours.

yt-dlp raises one class, `DownloadError`, for nearly everything and carries the cause in `exc_info`. Only the
message tells a private video from a bot wall, so messages are classified by their words (`messages`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from vsumdata.manifests.errors import FailVideo, RetryVideo, SetupError, SkipVideo, ThrottledError, VideoError
from vsumdata.stages.web import answers
from vsumdata.stages.youtube.messages import NO_ANSWER, REMEDIES, UNAVAILABLE, classify

Ours = VideoError | ThrottledError | SetupError

RETRY_AFTER_S = 120.0
# What no row of the table knows is more often new trouble than a video's own state: five tries then take 15 hours.
UNKNOWN_AFTER_S = 3600.0
# A video that met trouble of the client's is not the first that the next run visits.
SETUP_AFTER_S = 3600.0


def host_of(url: str) -> str:
    """The host whose pace counts. `www.youtube.com` and `m.youtube.com` share one limit."""
    return re.sub(r"^(www|m|music)\.", "", urlsplit(url).hostname or url)


def as_ours(error: Exception, url: str) -> Ours:
    """Turn a yt-dlp error into one of ours: its text decides the class, its cause may carry a Retry-After.

    A request that `network` refused is the FailVideo that it raised.
    """
    if (refused := next((cause for cause in causes(error) if isinstance(cause, FailVideo)), None)) is not None:
        return refused
    # yt-dlp colours its messages on a terminal, and appends its bug-report advice to the unexpected ones.
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).removeprefix("ERROR: ")
    message = message.split("; please report this issue")[0]
    kind = classify(message)
    if kind == "throttled":
        return ThrottledError(host_of(url), message, retry_after_s(error))
    if kind in REMEDIES:
        return SetupError(f"{' '.join(message.split())}: {REMEDIES[kind]}")
    if kind in {NO_ANSWER, UNAVAILABLE}:
        return RetryVideo(UNAVAILABLE, RETRY_AFTER_S, message, is_counted=False)
    if kind == "transient":
        return RetryVideo(kind, RETRY_AFTER_S, message)
    if kind == "unknown":
        return RetryVideo(kind, UNKNOWN_AFTER_S, message)
    return SkipVideo(kind, message)


def retry_after_s(error: BaseException) -> float | None:
    """The Retry-After of the HTTP response behind a yt-dlp error, in seconds from now; None without one."""
    for cause in causes(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return answers.retry_after_s(response.headers.get("Retry-After"))
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield a yt-dlp error and what is behind it, the outermost first."""
    # yt-dlp hides causes in three places (`exc_info`, `cause`, `__cause__`), and the chain can contain a loop.
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        behind = getattr(error, "exc_info", None) or (None, None, None)
        error = next((one for one in (behind[1], getattr(error, "cause", None), error.__cause__) if one), None)
