"""What the answers of a web site mean for a video, where they are not the page."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from vsumdata.pipeline.errors import RetryVideo, SkipVideo, ThrottledError

FORBIDDEN_AFTER_S = 3600.0  # a 403 is often a ban of minutes
LONGEST_RETRY_AFTER_S = 86_400.0
WALL_SIZE_BYTES = 100_000
# A bot wall is a page with the mark-up of a captcha, under a title that no article begins with.
WALL_TITLE = re.compile(
    rb"<title[^>]*>\s*(just a moment|attention required|access (to this page has been )?denied|security check|"
    rb"(please )?verify (that )?you are|are you (a )?(human|robot)|(robot or )?human verification|robot or human)",
    re.IGNORECASE,
)
CAPTCHA = re.compile(
    rb"cf[-_]chl|challenge-(form|platform)|cf-turnstile|g-recaptcha|h-captcha|px-captcha|captcha-delivery\.com",
    re.IGNORECASE,
)


class PassingError(RetryVideo):
    """Worth another try at once."""


def refuse_wall(body: bytes, url: str) -> None:
    """Raise `ThrottledError` for a page that asks whether one is human."""
    head = body[:WALL_SIZE_BYTES]
    if WALL_TITLE.search(head) and CAPTCHA.search(head):
        raise ThrottledError(urlsplit(url).hostname or "", f"{url} answered with a bot wall")


def raise_for_status(response: requests.Response, url: str) -> None:
    status, detail = response.status_code, f"{url} answered {response.status_code}"
    after_s = retry_after_s(response.headers.get("Retry-After"))
    # The headers in which Cloudflare and AWS say that the answer is a challenge instead of the page.
    challenge = response.headers.get("cf-mitigated") or response.headers.get("x-amzn-waf-action")
    if status == 429 or challenge in ("challenge", "captcha"):
        raise ThrottledError(urlsplit(url).hostname or "", detail, after_s)
    if status == 403:
        raise RetryVideo("transient", after_s or FORBIDDEN_AFTER_S, detail)
    if 400 <= status < 500 and status not in (408, 425):
        raise SkipVideo("article_gone", detail)
    if status not in (200, 203, 304):
        if after_s is not None:
            raise RetryVideo("transient", after_s, detail)
        raise PassingError("transient", detail=detail)


def retry_after_s(value: str | None) -> float | None:
    """Seconds from now of a Retry-After header, a number of seconds or a date; None where it says nothing."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+\s*", value, re.ASCII):
        return min(float(value), LONGEST_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):  # OverflowError: a time zone of years
        return None
    left_s = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, left_s), LONGEST_RETRY_AFTER_S)
