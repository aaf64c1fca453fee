"""Connections to public addresses only, for articles and for yt-dlp; those for articles also limit the total time.

The URLs come from descriptions, pages and redirects that anybody can write. Without these checks one could make a
worker ask the services of its own network, for example a cloud's metadata address.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.web import transport

# RFC 6052: these IPv6 addresses carry an IPv4 address in their last 32 bits.
NAT64 = ipaddress.ip_network("64:ff9b::/96")


@contextlib.contextmanager
def cut_off_after(limit_s: float, connection: Any) -> Iterator[None]:
    """Close the connection and raise TimeoutError if the block takes longer than `limit_s`."""
    # A socket's own timeout measures silence only. A server that sends a byte now and then would hold the worker
    # for ever, in the headers as well as in the body.
    answering, late = getattr(connection, "answering", None), threading.Event()

    def cut_off() -> None:
        late.set()
        if answering is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own shutdown: it removes the TLS session under the thread that is reading.
                socket.socket.shutdown(answering, socket.SHUT_RDWR)

    timer = threading.Timer(limit_s, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError(f"it took longer than {limit_s:.3g} s")


class Timed(HTTPConnection):
    # `sock` cannot serve: http.client sets it to None while it reads an answer with `Connection: close`.
    answering: socket.socket | None = None

    def getresponse(self) -> Any:
        self.answering = self.sock
        with cut_off_after(float(self.timeout or 0), self):
            return super().getresponse()


class TimedSecure(Timed, HTTPSConnection):
    pass


class Public(HTTPConnection):
    """A connection that refuses an address that is not public. Raises FailVideo `not_allowed`."""

    def _new_conn(self) -> socket.socket:
        # Before connecting, so that a private service receives nothing at all. An unknown name is left to urllib3,
        # which says it in its own words.
        with contextlib.suppress(socket.gaierror):
            for *_, address in socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM):
                check_public(self.host, str(address[0]))
        connected = super()._new_conn()
        # And after: urllib3 resolves the name again, and a hostile DNS server can answer differently (DNS rebinding).
        try:
            check_public(self.host, connected.getpeername()[0])
        except FailVideo:
            connected.close()
            raise
        return connected


class PublicSecure(Public, HTTPSConnection):
    pass


class PublicTimed(Public, TimedSecure):
    pass


def check_public(host: str, address: str) -> None:
    """Raise FailVideo `not_allowed` if `address`, to which `host` leads, is not a public one."""
    ip = ipaddress.ip_address(address.split("%")[0])
    inner = ip
    # An IPv6 address can wrap a private IPv4 address in four ways, and `is_global` does not look inside all of them.
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 or int(ip) >> 32 == 0 else None
        inner = ip.ipv4_mapped or ip.sixtofour or inside or ip
    if not inner.is_global or inner.is_multicast or getattr(ip, "is_site_local", False):
        raise FailVideo("not_allowed", f"{host} leads to {ip}, which is not a public address")


def refuse_private(host: str) -> None:
    """Raise FailVideo `not_allowed` if `host` is itself an address that is not public, in any spelling.

    It asks no name server: behind a proxy, names are the proxy's to resolve.
    """
    # RFC 6761: every resolver takes these names for its own machine.
    if host == "localhost" or host.endswith(".localhost"):
        raise FailVideo("not_allowed", f"{host} is this machine")
    # Not `ip_address`: the system also reads 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1.
    with contextlib.suppress(socket.gaierror, UnicodeError):
        for *_, address in socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST):
            check_public(host, str(address[0]))


class TimedPool(HTTPConnectionPool):
    ConnectionCls = Timed


class TimedSecurePool(HTTPSConnectionPool):
    ConnectionCls = TimedSecure


class PublicTimedPool(HTTPSConnectionPool):
    ConnectionCls = PublicTimed


class PublicPool(HTTPConnectionPool):
    ConnectionCls = Public


class PublicSecurePool(HTTPSConnectionPool):
    ConnectionCls = PublicSecure


PUBLIC_POOLS = {"http": PublicPool, "https": PublicSecurePool}


def leaving_from(egress: str | None) -> dict[str, Any]:
    return {"source_address": (egress, 0)} if egress else {}


class PublicAdapter(HTTPAdapter):
    """An adapter for public hosts only. `egress` is the local address to send from (yt-dlp's `source_address`)."""

    def __init__(self, egress: str | None = None) -> None:
        self.egress = leaving_from(egress)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs | self.egress)
        self.poolmanager.pool_classes_by_scheme = {"https": PublicTimedPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Build the pools for a proxy."""
        manager = super().proxy_manager_for(proxy, **kwargs | self.egress)
        # Only the time limit applies here: the proxy resolves names, so only the proxy can refuse addresses. SOCKS
        # proxies need their own connection classes.
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = {"http": TimedPool, "https": TimedSecurePool}
        return manager


class Session(requests.Session):
    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[requests.Response]:  # type: ignore[override]
        """Yield nothing: `Fetcher` follows redirects itself."""
        # psf/requests#4123: even with allow_redirects=False requests computes the next request, and reads the whole
        # body of the redirect for it. That body can be endless.
        yield from ()


def open_session(options: Mapping[str, Any], mapped: transport.Transport, user_agent: str) -> Session:
    """Open a session without cookies and credentials that speaks https only.

    It obeys `proxy` and `source_address` of yt-dlp's `options`, so that articles leave by the same way as videos.
    """
    egress = options.get("source_address") or None
    session = Session()
    session.proxies = {"https": str(options["proxy"])} if options.get("proxy") else {}
    # requests would send passwords from ~/.netrc and use the environment's proxies.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"})
    # Without an adapter for http:// no redirect or mistake can send a request in clear text.
    session.adapters.clear()
    session.mount("https://", PublicAdapter(egress))
    transport.mount(session, mapped)
    for prefix, adapter in session.adapters.items():
        if prefix != "https://":
            adapter.poolmanager.pool_classes_by_scheme = {"http": TimedPool}  # type: ignore[attr-defined]
            adapter.poolmanager.connection_pool_kw |= leaving_from(egress)  # type: ignore[attr-defined]
    return session
