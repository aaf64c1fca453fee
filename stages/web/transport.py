"""Send requests for chosen hosts to a local port, so that the sample and the tests run the real fetching code.

A transport maps a host to "127.0.0.1:PORT", where its pages are served as plain http. Requests keep their
https URL and Host header, so every rule of fetching (https only, allowed hosts, …) still applies. Other hosts are
not affected. Only a runner sets a transport, never a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

Transport = Mapping[str, str]


class LocalAdapter(HTTPAdapter):
    """Send requests for an https host to a local port, as plain http and without a proxy.

    The response keeps the caller's `url` and `request`.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self.poolmanager.connection_from_host(self.host, self.port, scheme="http")

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        local = request.copy()
        # On a copy: requests carries the headers of a request over to the next host of a redirect.
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
