"""The connections of the article fetcher: to public addresses only, and never longer than they may take."""

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

from vsumdata.pipeline.errors import FailVideo
from vsumdata.stages import transport

NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address in its last 32 bits


@contextlib.contextmanager
def cut_off_after(limit_s: float, connection: Any) -> Iterator[None]:
    """Break a connection off, and raise TimeoutError, when the block takes longer than `limit_s`.

    A socket's own timeout is one of silence: a byte now and then would keep it waiting for ever.
    """
    answering, late = getattr(connection, "answering", None), threading.Event()

    def cut_off() -> None:
        late.set()
        if answering is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own shutdown, which takes the session away from the thread that reads.
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
    answering: socket.socket | None = None  # `sock` is None while an answer that closes it is being read

    def getresponse(self) -> Any:
        self.answering = self.sock
        with cut_off_after(float(self.timeout or 0), self):
            return super().getresponse()


class TimedSecure(Timed, HTTPSConnection):
    pass


class PublicConnection(TimedSecure):
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


def check_public(host: str, address: str) -> None:
    ip = ipaddress.ip_address(address.split("%")[0])
    inner = ip
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 or int(ip) >> 32 == 0 else None
        inner = ip.ipv4_mapped or ip.sixtofour or inside or ip
    if not inner.is_global or inner.is_multicast or getattr(ip, "is_site_local", False):
        raise FailVideo("not_allowed", f"{host} leads to {ip}, which is not a public address")


class TimedPool(HTTPConnectionPool):
    ConnectionCls = Timed


class TimedSecurePool(HTTPSConnectionPool):
    ConnectionCls = TimedSecure


class PublicPool(HTTPSConnectionPool):
    ConnectionCls = PublicConnection


def leaving_from(egress: str | None) -> dict[str, Any]:
    return {"source_address": (egress, 0)} if egress else {}


class PublicAdapter(HTTPAdapter):
    """`egress` is the local address that connections leave from (yt-dlp's `source_address`)."""

    def __init__(self, egress: str | None = None) -> None:
        self.egress = leaving_from(egress)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs | self.egress)
        self.poolmanager.pool_classes_by_scheme = {"https": PublicPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The proxy resolves names, so it alone can refuse addresses."""
        manager = super().proxy_manager_for(proxy, **kwargs | self.egress)
        if not proxy.lower().startswith("socks"):  # those have connections of their own
            manager.pool_classes_by_scheme = {"http": TimedPool, "https": TimedSecurePool}
        return manager


class Session(requests.Session):
    def resolve_redirects(self, *args: Any, **kwargs: Any) -> Iterator[requests.Response]:  # type: ignore[override]
        """None: they are followed by hand. Even unfollowed ones have their whole body read by requests."""
        yield from ()


def open_session(options: Mapping[str, Any], mapped: transport.Transport, user_agent: str) -> Session:
    """A session without cookies and credentials that speaks https only.

    Of yt-dlp's `options` the `proxy` and the `source_address` hold for it too: articles leave as the videos do.
    """
    egress = options.get("source_address") or None
    session = Session()
    session.proxies = {"https": str(options["proxy"])} if options.get("proxy") else {}
    session.trust_env = False  # no credentials of this machine's user
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"})
    session.adapters.clear()
    session.mount("https://", PublicAdapter(egress))
    transport.mount(session, mapped)
    for prefix, adapter in session.adapters.items():
        if prefix != "https://":
            adapter.poolmanager.pool_classes_by_scheme = {"http": TimedPool}  # type: ignore[attr-defined]
            adapter.poolmanager.connection_pool_kw |= leaving_from(egress)  # type: ignore[attr-defined]
    return session
