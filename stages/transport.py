"""Lead chosen hosts to a local port: how the sample and the tests run the real fetching code.

A transport maps a host to "127.0.0.1:PORT", where its pages are served as plain http. Requests keep their
https URL and Host header, so every rule of fetching (https only, allowed hosts, …) stays on. Hosts that are
not in the map are not touched. Only a runner sets a transport, never a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

from vsumdata.datasets.sample.site import HOST as SAMPLE_HOST

if TYPE_CHECKING:
    import yt_dlp

Transport = Mapping[str, str]


class LocalAdapter(HTTPAdapter):
    """Send what is meant for an https host to a local port, as plain http.

    The response's `url` and `request` are those of the caller; no proxy is used.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self.poolmanager.connection_from_host(self.host, self.port, scheme="http")

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        local = request.copy()
        # Set on a copy: requests carries a request's headers on to the next host of a redirect.
        local.headers.setdefault("Host", urlsplit(str(request.url)).netloc)
        try:
            response = super().send(local, *args, **kwargs | {"proxies": {}})
        except requests.RequestException as error:
            error.request = request
            raise
        response.request = request
        return response


def mount(session: requests.Session, transport: Transport) -> None:
    """Let `session` reach the transport's hosts at their local ports."""
    for host, address in transport.items():
        session.mount(f"https://{host}/", LocalAdapter(address))


def install(ydl: yt_dlp.YoutubeDL, transport: Transport) -> None:
    """Let `ydl` reach the transport's hosts at their local ports; all other hosts keep their handlers."""
    from yt_dlp.networking._requests import RequestsRH
    from yt_dlp.networking.exceptions import UnsupportedRequest

    class TransportRH(RequestsRH):  # its streaming, errors, cookies and headers are those of every other host
        RH_NAME = "transport"

        def _validate(self, request: Any) -> None:
            if urlsplit(request.url).hostname not in transport:
                raise UnsupportedRequest("host is not in the transport map")
            super()._validate(request)

        def _check_extensions(self, extensions: dict[str, Any]) -> None:
            # A page that asks for a browser's likeness would else leave for the network.
            extensions.pop("impersonate", None)
            super()._check_extensions(extensions)

        def _create_instance(self, *args: Any, **kwargs: Any) -> requests.Session:
            session = super()._create_instance(*args, **kwargs)
            mount(session, transport)
            return session

    ours = ydl.build_request_director([TransportRH]).handlers.popitem()[1]
    ydl._request_director.add_handler(ours)
    ydl._request_director.preferences.add(lambda handler, _: 10_000 if handler is ours else 0)


def open_ytdlp(options: Mapping[str, Any], transport: Transport) -> yt_dlp.YoutubeDL:
    """Open yt-dlp with the transport in place, and with the sample's extractors where its host is mapped.

    Close it, or use it as a context manager.
    """
    import yt_dlp

    # Extractors of our own must be added before the default ones: the first that fits a URL wins.
    ydl = yt_dlp.YoutubeDL(dict(options), auto_init=False)
    if SAMPLE_HOST in transport:
        from vsumdata.datasets.sample.extractor import EXTRACTORS

        for extractor in EXTRACTORS:
            ydl.add_info_extractor(extractor())
    ydl.add_default_info_extractors()
    if transport:
        install(ydl, transport)
    return ydl
