"""Fetch web pages, and pictures that they name, politely, one per call.

Rules: https only; only the given sites (redirects are followed here, and each hop is checked); public addresses
only; robots.txt is obeyed; the User-Agent says who we are; size and time are limited; pages are cached on disk and
revalidated, pictures are not. Every failure is one of the video errors of `vsumdata.manifests.errors`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import version
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from protego import Protego
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from urllib3.exceptions import HTTPError

from vsumdata.manifests.errors import FailVideo, SkipVideo, VsumdataError
from vsumdata.manifests.roots.folder import folder_at
from vsumdata.stages.stage import Context
from vsumdata.stages.web.answers import WALL_SIZE_BYTES, PassingError, raise_for_status, refuse_wall
from vsumdata.stages.web.cache import Page, WebCache
from vsumdata.stages.web.connections import cut_off_after, open_session
from vsumdata.stages.web.sites import SHORTENERS, SITES, is_of, is_short

AGENT = "vsumdata"
HTML_TYPES = ("text/html", "application/xhtml+xml")
PICTURE_TYPES = ("image/*", "video/*")
# A file may ask for any delay, and a longer one would hold the worker past its time limit for a video.
LONGEST_CRAWL_DELAY_S = 60.0
# RFC 9309, 2.5: a crawler must read at least 500 kibibytes.
ROBOTS_SIZE_BYTES = 500 * 1024
# RFC 9309, 2.4: a crawler should not use a cached file for more than 24 hours.
ROBOTS_AGE_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one `Fetcher`."""

    size_bytes: int = 10_000_000  # after decompression
    total_s: float = 60.0  # for a page with its redirects; waits for a host's turn do not count
    connect_s: float = 10.0
    read_s: float = 20.0  # of silence
    redirects: int = 5
    attempts: int = 3
    backoff_s: float = 2.0
    fresh_s: float = 3600.0  # for how long a cached page is used without asking the site


@cache
def user_agent() -> str:
    """The User-Agent header of all requests for articles."""
    return f"{AGENT}/{version('vsumdata')} (research crawler for how-to articles; obeys robots.txt)"


class Fetcher:
    """Fetch pages of `sites` (with their subdomains) and of the hosts in `context.transport`.

    Not thread-safe: use one per worker.
    """

    def __init__(self, context: Context, *, sites: Sequence[str] = SITES, limits: Limits | None = None) -> None:
        self.sites, self.local = tuple(sites), frozenset(context.transport)
        self.limits = limits or Limits()
        self.pace: Callable[[str], Any] = context.pace or (lambda host: None)
        self.cache = WebCache(folder_at(context.root))
        self.robots: dict[str, tuple[float, Protego]] = {}
        self.asked_at_s: dict[str, float] = {}
        self.session = open_session(context.crawl.get("yt_dlp") or {}, context.transport, user_agent())

    def get(self, url: str) -> Page:
        """Fetch an HTML page. The cache serves it while it is fresh or the site says that it has not changed.

        Raises `SkipVideo` (article_gone, robots), `FailVideo` (not_allowed, too_large, no_steps for another
        content type), `ThrottledError` for 429 and for a bot wall of any status, and `RetryVideo` (transient) after
        `Limits.attempts`, or at once if the host says when to come again.
        """
        cached = self.cache.read(url)
        if cached and (datetime.now(UTC) - cached.retrieved_at).total_seconds() < self.limits.fresh_s:
            return cached
        page = self.retrying()(self.follow, url, cached)
        self.cache.write(url, page)
        return page

    def get_picture(self, url: str) -> Page:
        """Fetch a picture or a clip. It is not cached.

        Raises what `get` does, with `unreadable` for another content type.
        """
        return self.retrying()(self.follow, url, None, PICTURE_TYPES)

    def retrying(self) -> Retrying:
        """What calls a function again after a `PassingError`."""
        return Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(self.limits.attempts),
            wait=wait_exponential_jitter(multiplier=self.limits.backoff_s, max=30, jitter=self.limits.backoff_s),
            reraise=True,
        )

    def follow(self, url: str, cached: Page | None = None, types: Sequence[str] = HTML_TYPES) -> Page:
        """Fetch a page once, through its redirects; `cached` is an older copy to revalidate. Raises what `get` does."""
        deadline_s = time.monotonic() + self.limits.total_s
        for _ in range(self.limits.redirects + 1):
            host = self.check(url)
            # The pace may hold a request for minutes. That is not the site's slowness.
            deadline_s += self.turn(host, url)
            headers = {"Accept": ", ".join(types)}
            if cached and cached.url == url:
                headers |= cached.validators()
            response, target = self.exchange(url, headers, deadline_s)
            if response.status_code == 304:
                response.close()
                if cached is None:
                    raise PassingError("transient", detail=f"{url} answered 304 although no older copy was named")
                return cached.seen_again()
            if target is None:
                return self.page(response, url, deadline_s, types)
            url = target
        raise FailVideo("not_allowed", f"more than {self.limits.redirects} redirects")

    def expand(self, url: str) -> str:
        """Return the address behind a short link. Only shorteners are asked, and no body is read.

        Raises what `get` does, and `SkipVideo` (no_article) for a link without a target.
        """
        deadline_s = time.monotonic() + self.limits.total_s
        for _ in range(self.limits.redirects):
            host = self.check(url, SHORTENERS)
            deadline_s += self.turn(host, url)
            response, target = self.exchange(url, {}, deadline_s)
            response.close()
            if target is None:
                raise SkipVideo("no_article", f"{url} does not redirect")
            # Old short links still name http addresses, and only https is fetched.
            url = re.sub(r"^http://", "https://", target)
            if not is_short(url):
                return url
        raise SkipVideo("no_article", f"{url} is still a short link after {self.limits.redirects} redirects")

    def turn(self, host: str, url: str) -> float:
        """Wait for this host's turn; return the seconds waited. Raises `SkipVideo` if robots.txt forbids the page.

        Each worker keeps the Crawl-delay by itself; all workers share the rate of the pace.
        """
        started_s = time.monotonic()
        rules = self.rules(host)
        if not rules.can_fetch(url, AGENT):
            raise SkipVideo("robots", url)
        self.pace(host)
        free_at_s = self.asked_at_s.get(host, -math.inf) + min(rules.crawl_delay(AGENT) or 0.0, LONGEST_CRAWL_DELAY_S)
        time.sleep(max(0.0, free_at_s - time.monotonic()))
        self.asked_at_s[host] = time.monotonic()
        return time.monotonic() - started_s

    def check(self, url: str, shorteners: Collection[str] = ()) -> str:
        """Return the host of a URL. Raises `FailVideo` `not_allowed` if it must not be asked."""
        try:
            parts = urlsplit(url)
            # A final dot makes the same host ("wikihow.com."), and would slip past a comparison of names.
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise FailVideo("not_allowed", f"{url!r} is not a URL: {error}") from error
        known = host in self.local or host in shorteners
        known = known or is_of(host, self.sites)
        # "@": https://wikihow.com@evil.example/ looks like one host and is another. Credentials are never ours either.
        if parts.scheme != "https" or not known or port not in (None, 443) or "@" in parts.netloc:
            raise FailVideo("not_allowed", f"{url} is not an https address of {', '.join(self.sites)}")
        return host

    def exchange(self, url: str, headers: Mapping[str, str], deadline_s: float) -> tuple[requests.Response, str | None]:
        """Send one request; return the response with its body unread, and the target if it is a redirect."""
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise PassingError("transient", detail=f"{url} took longer than {self.limits.total_s:g} s")
        timeout = (min(self.limits.connect_s, left_s), min(self.limits.read_s, left_s))
        fixed: dict[str, Any] = {"stream": True, "allow_redirects": False}
        try:
            response = self.session.get(url, headers=headers, timeout=timeout, **fixed)
        # UnicodeError: a label of the host name is empty or longer than 63 letters.
        except (requests.exceptions.InvalidURL, UnicodeError) as error:
            raise FailVideo("not_allowed", f"{url!r} is not a URL: {error}") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise PassingError("transient", detail=f"{url}: {error}") from error
        try:
            target = self.session.get_redirect_target(response)
            if target is None:
                # Bot walls come with these statuses. As a plain 403 or 503 they would count as the video's failure.
                if response.status_code in (403, 503):
                    refuse_wall(self.read(response, url, WALL_SIZE_BYTES, deadline_s, cut=True), url)
                raise_for_status(response, url)
                return response, None
            response.close()
            return response, urljoin(url, target)
        except VsumdataError:
            response.close()
            raise
        except ValueError as error:
            raise FailVideo("not_allowed", f"{url} redirects to an invalid URL: {error}") from error

    def page(self, response: requests.Response, url: str, deadline_s: float, types: Sequence[str]) -> Page:
        """Read a successful response. Raises `FailVideo` (no_steps, unreadable, too_large), `ThrottledError`."""
        with response:
            content_type = response.headers.get("Content-Type", "")
            kind = content_type.split(";")[0].strip().lower()
            if not any(fnmatchcase(kind, known) for known in types):
                # Instead of a picture, too.
                if kind in HTML_TYPES:
                    refuse_wall(self.read(response, url, WALL_SIZE_BYTES, deadline_s, cut=True), url)
                reason, wanted = ("no_steps", "HTML") if types is HTML_TYPES else ("unreadable", "a picture")
                raise FailVideo(reason, f"{url} is {content_type or 'of unknown type'}, not {wanted}")
            body = self.read(response, url, self.limits.size_bytes, deadline_s)
        # Some walls answer 200. Stored as the article, one would be served from the cache for an hour.
        refuse_wall(body, url)
        return Page(
            url=url,
            body=body,
            content_type=content_type,
            retrieved_at=datetime.now(UTC),
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
        )

    def read(
        self, response: requests.Response, url: str, size_bytes: int, deadline_s: float, cut: bool = False
    ) -> bytes:
        """Return the decompressed body, or with `cut` at least its first `size_bytes`.

        Raises `FailVideo` `too_large` without `cut`, and `PassingError` for a body that breaks off or takes too long.
        """
        # A number of 5,000 digits is no size, and Python refuses to convert it.
        stated = response.headers.get("Content-Length", "")
        if stated.isdecimal() and int(stated[:20]) > size_bytes and not cut:
            raise FailVideo("too_large", f"{url} has {stated[:20]} bytes")
        body = bytearray()
        try:
            with cut_off_after(max(0.0, deadline_s - time.monotonic()), response.raw.connection):
                # `read1` returns what has arrived, while `iter_content` waits for a full piece. The size is checked
                # after decompression: 50 KB of gzip can hold 50 MB.
                while len(body) <= size_bytes and (piece := response.raw.read1(65_536, decode_content=True)):
                    body += piece
        except (HTTPError, OSError) as error:
            raise PassingError("transient", detail=f"{url}: {error}") from error
        if len(body) > size_bytes and not cut:
            raise FailVideo("too_large", f"{url} has more than {size_bytes} bytes")
        return bytes(body)

    def rules(self, host: str) -> Protego:
        """Return the rules of the host's robots.txt. Raises what `exchange` does while the file cannot be read."""
        # RFC 9309, 2.3.1: a file that does not exist allows everything; one that fails (5xx) forbids everything.
        read_at_s, rules = self.robots.get(host, (0.0, None))
        if rules is None or time.monotonic() - read_at_s > ROBOTS_AGE_S:
            rules = self.fetch_rules(host)
            self.robots[host] = (time.monotonic(), rules)
        return rules

    def fetch_rules(self, host: str) -> Protego:
        url, deadline_s = f"https://{host}/robots.txt", time.monotonic() + self.limits.total_s
        for _ in range(self.limits.redirects + 1):
            self.pace(self.check(url, SHORTENERS))
            try:
                response, target = self.exchange(url, {}, deadline_s)
            # A 4xx: there is no such file.
            except SkipVideo:
                return read_robots("")
            if target is None:
                with response:
                    text = self.read(response, url, ROBOTS_SIZE_BYTES, deadline_s, cut=True)
                return read_robots(text[:ROBOTS_SIZE_BYTES].decode("utf-8", "replace"))
            url = target
        # RFC 9309, 2.3.1.2: after five redirects a crawler may treat the file as missing.
        return read_robots("")


def read_robots(text: str) -> Protego:
    """Read a robots.txt by RFC 9309."""
    # Protego reads neither a byte order mark before the first line nor a version behind our name, and the rules for us
    # would be lost.
    return Protego.parse(re.sub(rf"(?im)^(\s*user-agent\s*:\s*{AGENT})/.*$", r"\1", text.removeprefix("\ufeff")))
