"""Polite fetching of web pages: one page per call, all rules on.

Only https, only the sites asked for (redirects are followed by hand, each hop is checked again), never an
address that is not public, robots.txt obeyed, an identifying User-Agent, limits of size and time, a cache on
disk with revalidation. What goes wrong is one of the video errors of `vsumdata.pipeline.errors`.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from vsumdata.pipeline.errors import FailVideo, RetryVideo, SkipVideo, ThrottledError, VsumdataError
from vsumdata.pipeline.stage import Context
from vsumdata.stages import transport
from vsumdata.stages.robots import Robots, read_robots
from vsumdata.stages.web_cache import Page, WebCache

AGENT = "vsumdata"
SITES = ("wikihow.com", "ehow.com")
HTML_TYPES = ("text/html", "application/xhtml+xml")
FORBIDDEN_AFTER_S = 3600.0  # a 403 is often a ban of minutes
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


class PublicConnection(HTTPSConnection):
    """Refuses an address that is not public, before connecting and, should the name change, after it."""

    def _new_conn(self) -> socket.socket:
        for *_, address in socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM):
            check_public(self.host, str(address[0]))
        connected = super()._new_conn()
        try:
            check_public(self.host, connected.getpeername()[0])
        except FailVideo:
            connected.close()
            raise
        return connected


class PublicPool(HTTPSConnectionPool):
    ConnectionCls = PublicConnection


class PublicAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"https": PublicPool}


def check_public(host: str, address: str) -> None:
    ip = ipaddress.ip_address(address.split("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if not ip.is_global or ip.is_multicast:
        raise FailVideo("not_allowed", f"{host} leads to {ip}, which is not a public address")


class Session(requests.Session):
    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[requests.Response]:  # type: ignore[override]
        """None: they are followed by hand. Even unfollowed ones have their whole body read by requests."""
        yield from ()


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
        proxy = (context.crawl.get("yt_dlp") or {}).get("proxy")
        self.proxies = {"https": str(proxy)} if proxy else {}
        self.session = Session()
        self.session.trust_env = False  # no credentials of this machine's user
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.session.headers.update({"User-Agent": user_agent(), "Accept-Encoding": "gzip, deflate"})
        self.session.mount("https://", PublicAdapter())
        transport.mount(self.session, context.transport)

    def get(self, url: str) -> Page:
        """Fetch an HTML page, from the cache while it is fresh or the site says that it has not changed.

        Raises `SkipVideo` (article_gone, robots), `FailVideo` (not_allowed, too_large, no_steps for another
        content type), `RetryVideo` (transient) after `Limits.attempts`, and `ThrottledError`.
        """
        cached = self.cache.read(url)
        if cached and (datetime.now(UTC) - cached.retrieved_at).total_seconds() < self.limits.fresh_s:
            return cached
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, RetryVideo) and error.after_s <= 300),
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
            started_s = time.monotonic()
            if not self.rules(host).allows(url):
                raise SkipVideo("robots", url)
            self.pace(host)
            deadline_s += time.monotonic() - started_s
            headers = {"Accept": ", ".join(HTML_TYPES)}
            if cached and cached.url == url:
                headers |= cached.validators()
            response, target = self.exchange(url, headers, deadline_s)
            if response.status_code == 304 and cached:
                return cached.seen_again()
            if target is None:
                return self.page(response, url, deadline_s)
            url = target
        raise FailVideo("not_allowed", f"more than {self.limits.redirects} redirects")

    def check(self, url: str) -> str:
        """The host of an address that may be asked."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise FailVideo("not_allowed", f"{url!r} is no address: {error}") from error
        known = host in self.local or any(host == site or host.endswith(f".{site}") for site in self.sites)
        if parts.scheme != "https" or not known or port not in (None, 443) or "@" in parts.netloc:
            raise FailVideo("not_allowed", f"{url} is not an https address of {', '.join(self.sites)}")
        return host

    def exchange(self, url: str, headers: Mapping[str, str], deadline_s: float) -> tuple[requests.Response, str | None]:
        """One request; the answer, its body not yet read, or where it leads on."""
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise RetryVideo("transient", detail=f"{url} took longer than {self.limits.total_s:g} s")
        timeout = (min(self.limits.connect_s, left_s), min(self.limits.read_s, left_s))
        fixed: dict[str, Any] = {"stream": True, "allow_redirects": False, "proxies": self.proxies}
        try:
            response = self.session.get(url, headers=headers, timeout=timeout, **fixed)
        except requests.exceptions.InvalidURL as error:
            raise FailVideo("not_allowed", f"{url!r} is no address: {error}") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            raise RetryVideo("transient", detail=f"{url}: {error}") from error
        try:
            target = self.session.get_redirect_target(response)
            if target is None:
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
        return Page(
            url=url,
            body=body,
            content_type=content_type,
            retrieved_at=datetime.now(UTC),
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
        )

    def read(self, response: requests.Response, url: str, size_bytes: int, deadline_s: float) -> bytes:
        """The decompressed body. `read1` returns what is there; `iter_content` waits for a full piece."""
        stated = response.headers.get("Content-Length", "")
        if stated.isdecimal() and int(stated) > size_bytes:
            raise FailVideo("too_large", f"{url} has {stated} bytes")
        body = bytearray()
        try:
            while piece := response.raw.read1(65_536, decode_content=True):
                body += piece
                if len(body) > size_bytes:
                    raise FailVideo("too_large", f"{url} has more than {size_bytes} bytes")
                if time.monotonic() > deadline_s:
                    raise RetryVideo("transient", detail=f"{url} took longer than {self.limits.total_s:g} s")
        except (HTTPError, OSError) as error:
            raise RetryVideo("transient", detail=f"{url}: {error}") from error
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
            self.pace(self.check(url))
            try:
                response, target = self.exchange(url, {}, deadline_s)
            except SkipVideo:  # 404 and the like
                return Robots()
            if target is None:
                with response:
                    text = self.read(response, url, ROBOTS_SIZE_BYTES, deadline_s)
                return read_robots(text.decode("utf-8", "replace"), AGENT)
            url = target
        return Robots()


def raise_for_status(response: requests.Response, url: str) -> None:
    status, detail = response.status_code, f"{url} answered {response.status_code}"
    after_s = retry_after_s(response.headers.get("Retry-After"))
    if status == 429:
        raise ThrottledError(urlsplit(url).hostname or "", detail, after_s)
    if status == 403:
        raise RetryVideo("transient", after_s or FORBIDDEN_AFTER_S, detail)
    if status >= 500 or status in (408, 425):
        raise RetryVideo("transient", after_s or 300.0, detail)
    if status not in (200, 203, 304):
        raise SkipVideo("article_gone", detail)


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which may also be a date; None where it says nothing."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a time zone
        return None
