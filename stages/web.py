"""Polite fetching of web pages: one page per call, all rules on.

Only https, only the sites asked for (redirects are followed by hand, each hop is checked again), never an
address that is not public, robots.txt obeyed, an identifying User-Agent, limits of size and time, a cache on
disk with revalidation. What goes wrong is one of the video errors of `vsumdata.pipeline.errors`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from urllib3.exceptions import HTTPError

from vsumdata.pipeline.errors import FailVideo, SkipVideo, VsumdataError
from vsumdata.pipeline.stage import Context
from vsumdata.stages.robots import Robots, read_robots
from vsumdata.stages.web_answers import WALL_SIZE_BYTES, PassingError, raise_for_status, refuse_wall
from vsumdata.stages.web_cache import Page, WebCache
from vsumdata.stages.web_session import cut_off_after, open_session

AGENT = "vsumdata"
SITES = ("wikihow.com", "ehow.com")
HTML_TYPES = ("text/html", "application/xhtml+xml")
SHORTENERS = frozenset("bit.ly buff.ly goo.gl ift.tt is.gd ow.ly t.co tinyurl.com".split())
LONGEST_CRAWL_DELAY_S = 60.0
ROBOTS_SIZE_BYTES = 500 * 1024  # RFC 9309: what a crawler has to read of it
ROBOTS_AGE_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    size_bytes: int = 10_000_000  # after decompression
    total_s: float = 60.0  # for a page with its redirects, without the waits for a host's turn
    connect_s: float = 10.0
    read_s: float = 20.0  # of silence
    redirects: int = 5
    attempts: int = 3
    backoff_s: float = 2.0
    fresh_s: float = 3600.0  # a cached page is taken without asking the site


@cache
def user_agent() -> str:
    return f"{AGENT}/{version('vsumdata')} (research crawler for how-to articles; obeys robots.txt)"


class Fetcher:
    """Fetches pages of `sites` (with their subdomains) and of the hosts in `context.transport`.

    Not thread-safe: one per worker.
    """

    def __init__(self, context: Context, *, sites: Sequence[str] = SITES, limits: Limits | None = None) -> None:
        self.sites, self.local = tuple(sites), frozenset(context.transport)
        self.limits = limits or Limits()
        self.pace: Callable[[str], Any] = context.pace or (lambda host: None)
        self.cache = WebCache(context.root)
        self.robots: dict[str, tuple[float, Robots]] = {}
        self.asked_at_s: dict[str, float] = {}
        self.session = open_session(context.crawl.get("yt_dlp") or {}, context.transport, user_agent())

    def get(self, url: str) -> Page:
        """Fetch an HTML page, from the cache while it is fresh or the site says that it has not changed.

        Raises `SkipVideo` (article_gone, robots), `FailVideo` (not_allowed, too_large, no_steps for another
        content type), `RetryVideo` (transient) after `Limits.attempts`, at once where the host says when to come
        again, and `ThrottledError` for 429 and for a bot wall, whatever its status.
        """
        cached = self.cache.read(url)
        if cached and (datetime.now(UTC) - cached.retrieved_at).total_seconds() < self.limits.fresh_s:
            return cached
        retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(self.limits.attempts),
            wait=wait_exponential_jitter(multiplier=self.limits.backoff_s, max=30, jitter=self.limits.backoff_s),
            reraise=True,
        )
        page = retrying(self.follow, url, cached)
        self.cache.write(url, page)
        return page

    def follow(self, url: str, cached: Page | None = None) -> Page:
        deadline_s = time.monotonic() + self.limits.total_s
        for _ in range(self.limits.redirects + 1):
            host = self.check(url)
            deadline_s += self.turn(host, url)
            headers = {"Accept": ", ".join(HTML_TYPES)}
            if cached and cached.url == url:
                headers |= cached.validators()
            response, target = self.exchange(url, headers, deadline_s)
            if response.status_code == 304:
                response.close()
                if cached is None:
                    raise PassingError("transient", detail=f"{url} has not changed, it says, since never")
                return cached.seen_again()
            if target is None:
                return self.page(response, url, deadline_s)
            url = target
        raise FailVideo("not_allowed", f"more than {self.limits.redirects} redirects")

    def expand(self, url: str) -> str:
        """Where a short link leads, asking shorteners only; no body is read.

        Raises what `get` does; `SkipVideo` (no_article) for a link that leads nowhere.
        """
        deadline_s = time.monotonic() + self.limits.total_s
        for _ in range(self.limits.redirects):
            host = self.check(url, SHORTENERS)
            deadline_s += self.turn(host, url)
            response, target = self.exchange(url, {}, deadline_s)
            response.close()
            if target is None:
                raise SkipVideo("no_article", f"{url} leads nowhere")
            url = re.sub(r"^http://", "https://", target)
            if not is_short(url):
                return url
        raise SkipVideo("no_article", f"{url} comes after {self.limits.redirects} short links")

    def turn(self, host: str, url: str) -> float:
        """Wait for this host's turn, if its robots.txt allows the page; the seconds that it took.

        Its Crawl-delay is kept by each worker; the rate that all workers share is the pace's.
        """
        started_s = time.monotonic()
        rules = self.rules(host)
        if not rules.allows(url):
            raise SkipVideo("robots", url)
        self.pace(host)
        free_at_s = self.asked_at_s.get(host, -math.inf) + min(rules.delay_s, LONGEST_CRAWL_DELAY_S)
        time.sleep(max(0.0, free_at_s - time.monotonic()))
        self.asked_at_s[host] = time.monotonic()
        return time.monotonic() - started_s

    def check(self, url: str, shorteners: Collection[str] = ()) -> str:
        """The host of an address that may be asked."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise FailVideo("not_allowed", f"{url!r} is no address: {error}") from error
        known = host in self.local or host in shorteners
        known = known or any(host == site or host.endswith(f".{site}") for site in self.sites)
        if parts.scheme != "https" or not known or port not in (None, 443) or "@" in parts.netloc:
            raise FailVideo("not_allowed", f"{url} is not an https address of {', '.join(self.sites)}")
        return host

    def exchange(self, url: str, headers: Mapping[str, str], deadline_s: float) -> tuple[requests.Response, str | None]:
        """One request; the answer, its body not yet read, or where it leads on."""
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise PassingError("transient", detail=f"{url} took longer than {self.limits.total_s:g} s")
        timeout = (min(self.limits.connect_s, left_s), min(self.limits.read_s, left_s))
        fixed: dict[str, Any] = {"stream": True, "allow_redirects": False}
        try:
            response = self.session.get(url, headers=headers, timeout=timeout, **fixed)
        except (requests.exceptions.InvalidURL, UnicodeError) as error:  # UnicodeError: a name that is none
            raise FailVideo("not_allowed", f"{url!r} is no address: {error}") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise PassingError("transient", detail=f"{url}: {error}") from error
        try:
            target = self.session.get_redirect_target(response)
            if target is None:
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
            raise FailVideo("not_allowed", f"{url} leads to no address: {error}") from error

    def page(self, response: requests.Response, url: str, deadline_s: float) -> Page:
        with response:
            content_type = response.headers.get("Content-Type", "")
            if content_type.split(";")[0].strip().lower() not in HTML_TYPES:
                raise FailVideo("no_steps", f"{url} is {content_type or 'of no stated type'}, not HTML")
            body = self.read(response, url, self.limits.size_bytes, deadline_s)
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
        """The decompressed body, or, with `cut`, at least its first `size_bytes`.

        `read1` returns what is there; `iter_content` waits for a full piece.
        """
        stated = response.headers.get("Content-Length", "")
        if stated.isdecimal() and int(stated[:20]) > size_bytes and not cut:
            raise FailVideo("too_large", f"{url} has {stated[:20]} bytes")
        body = bytearray()
        try:
            with cut_off_after(max(0.0, deadline_s - time.monotonic()), response.raw.connection):
                while len(body) <= size_bytes and (piece := response.raw.read1(65_536, decode_content=True)):
                    body += piece
        except (HTTPError, OSError) as error:
            raise PassingError("transient", detail=f"{url}: {error}") from error
        if len(body) > size_bytes and not cut:
            raise FailVideo("too_large", f"{url} has more than {size_bytes} bytes")
        return bytes(body)

    def rules(self, host: str) -> Robots:
        """The host's robots.txt: RFC 9309 allows all where there is none, and nothing while it fails."""
        read_at_s, rules = self.robots.get(host, (0.0, None))
        if rules is None or time.monotonic() - read_at_s > ROBOTS_AGE_S:
            rules = self.fetch_rules(host)
            self.robots[host] = (time.monotonic(), rules)
        return rules

    def fetch_rules(self, host: str) -> Robots:
        url, deadline_s = f"https://{host}/robots.txt", time.monotonic() + self.limits.total_s
        for _ in range(self.limits.redirects + 1):
            self.pace(self.check(url, SHORTENERS))
            try:
                response, target = self.exchange(url, {}, deadline_s)
            except SkipVideo:  # 404 and the like
                return Robots()
            if target is None:
                with response:
                    text = self.read(response, url, ROBOTS_SIZE_BYTES, deadline_s, cut=True)
                return read_robots(text[:ROBOTS_SIZE_BYTES].decode("utf-8", "replace"), AGENT)
            url = target
        return Robots()


def is_short(url: str) -> bool:
    """Whether it is an address of a known shortener."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".") in SHORTENERS
    except ValueError:
        return False
