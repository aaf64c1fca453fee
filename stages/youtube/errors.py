"""Turn the errors of yt-dlp into ours.

yt-dlp raises one class, `DownloadError`, for nearly everything and carries the cause in `exc_info`. Only the
message tells a private video from a bot wall, so messages are classified by phrases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from vsumdata.manifests.errors import FailVideo, RetryVideo, SkipVideo, ThrottledError, VideoError
from vsumdata.stages.web import answers

RETRY_AFTER_S = 120.0
NO_ANSWER = "failed to extract any player response"

# The first class with a phrase in the message wins. Phrases are in lower case, as yt-dlp 2026.10 words them.
CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # First, because such a message also contains phrases of later classes: "Unable to download API page: HTTP Error
    # 429". They are nobody's fault: counted as the video's failure, one ban would mark a whole channel as removed.
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
    # A Music Premium video needs a paid account, as a members-only video does.
    (
        "members_only",
        (
            "available to this channel's members",
            "join this channel to get access",
            "only available to music premium members",
        ),
    ),
    ("age_restricted", ("may be inappropriate for some users", "confirm your age", "age-restricted")),
    # By its words: yt-dlp does not always raise GeoRestrictedError for it. Before `removed`, because the same
    # message begins with "Video unavailable".
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
            # yt-dlp says this of an id that does not exist, but also when every request failed; `Session.told`
            # looks at the warnings to tell the two apart.
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
    # Last, because these phrases are parts of more telling messages. yt-dlp itself does not repeat a 403.
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
    """Classify a yt-dlp error message: a reason of the tables, `throttled`, `transient` or `unknown`."""
    # YouTube writes the bot wall with a curly apostrophe ("you’re not a bot").
    text = message.lower().replace("’", "'")
    return next((name for name, phrases in CLASSES if any(phrase in text for phrase in phrases)), "unknown")


def host_of(url: str) -> str:
    """The host whose pace counts. `www.youtube.com` and `m.youtube.com` share one limit."""
    return re.sub(r"^(www|m|music)\.", "", urlsplit(url).hostname or url)


def as_ours(error: Exception, url: str) -> VideoError | ThrottledError:
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
    if kind in {"transient", "unknown"}:
        return RetryVideo(kind, RETRY_AFTER_S, message)
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
