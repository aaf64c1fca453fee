"""Turn a web site's answer that is not the page into one of the video errors."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from vsumdata.manifests.errors import RetryVideo, SkipVideo, ThrottledError

# A 403 is often a ban that lasts minutes. Another request meanwhile would prolong it.
FORBIDDEN_AFTER_S = 3600.0
# A mistaken header (a date in 9999) would put a video off for ever.
LONGEST_RETRY_AFTER_S = 86_400.0
WALL_SIZE_BYTES = 100_000
# Both must match: the page of an article may load a captcha script, and an article may be about robots.
WALL_TITLE = re.compile(
    rb"<title[^<>]*>\s*(just a moment|attention required|access (to this page has been )?denied|security check|"
    rb"(please )?verify (that )?you are|are you (a )?(human|robot)|(robot or )?human verification|robot or human)",
    re.IGNORECASE,
)
CAPTCHA = re.compile(
    rb"cf[-_]chl|challenge-(form|platform)|cf-turnstile|g-recaptcha|h-captcha|px-captcha|captcha-delivery\.com",
    re.IGNORECASE,
)


class PassingError(RetryVideo):
    """A failure that may be over in seconds, so the fetcher tries again at once."""


def refuse_wall(body: bytes, url: str) -> None:
    """Raise `ThrottledError` if the page asks the visitor to prove that they are human."""
    head = body[:WALL_SIZE_BYTES]
    if WALL_TITLE.search(head) and CAPTCHA.search(head):
        raise ThrottledError(urlsplit(url).hostname or "", f"{url} answered with a bot wall")


def raise_for_status(response: requests.Response, url: str) -> None:
    """Raise the video error of a status other than success.

    `ThrottledError` for 429 and a challenge, `SkipVideo` `article_gone` for other 4xx, `RetryVideo` for the rest.
    """
    status, detail = response.status_code, f"{url} answered {response.status_code}"
    after_s = retry_after_s(response.headers.get("Retry-After"))
    # Cloudflare and AWS send a challenge with 403, 202 or 405. These headers say that it is one.
    challenge = response.headers.get("cf-mitigated") or response.headers.get("x-amzn-waf-action")
    if status == 429 or challenge in ("challenge", "captcha"):
        raise ThrottledError(urlsplit(url).hostname or "", detail, after_s)
    # Amazon's storage answers 403 for what is not there, unless the asker may list the bucket. It is no ban.
    if status == 403 and response.headers.get("Server") == "AmazonS3":
        raise SkipVideo("article_gone", detail)
    if status == 403:
        raise RetryVideo("transient", after_s or FORBIDDEN_AFTER_S, detail)
    # 408 Request Timeout and 425 Too Early pass with time. All other client errors are lasting.
    if 400 <= status < 500 and status not in (408, 425):
        raise SkipVideo("article_gone", detail)
    if status not in (200, 203, 304):
        if after_s is not None:
            raise RetryVideo("transient", after_s, detail)
        raise PassingError("transient", detail=detail)


def retry_after_s(value: str | None) -> float | None:
    """Seconds from now of a Retry-After header, which is a number of seconds or a date; None if it is neither."""
    if value is None:
        return None
    # Not `isdigit`, which is true for "²", where `float` raises.
    if re.fullmatch(r"\s*\d+\s*", value, re.ASCII):
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(value)
    # OverflowError: a time zone of many years. It once ended a whole run.
    except (ValueError, TypeError, OverflowError):
        return None
    # HTTP dates are GMT. Some servers leave the zone out, and Python cannot subtract a date without one.
    left_s = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, left_s), LONGEST_RETRY_AFTER_S)
