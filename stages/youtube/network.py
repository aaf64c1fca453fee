"""Open yt-dlp so that its requests reach public addresses only, and the transport's hosts at their local ports.

A manifest, a page, an entry of a listing or a redirect may name any address. So yt-dlp gets one handler of requests,
whose connections are checked like those for articles. Its other handlers are left out: libcurl (curl_cffi) and ftp
connect by themselves, and nothing here needs websockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from vsumdata.datasets.sample.site import HOST as SAMPLE_HOST
from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.web.connections import PUBLIC_POOLS, refuse_private
from vsumdata.stages.web.transport import Transport, mount

if TYPE_CHECKING:
    import yt_dlp


class PublicOnly(BaseAdapter):
    """yt-dlp's adapter, which refuses addresses that are not public. Raises FailVideo `not_allowed`.

    A proxy of the user is allowed wherever it is: it has pools of its own.
    """

    def __init__(self, adapter: HTTPAdapter) -> None:
        super().__init__()
        self.adapter = adapter
        adapter.poolmanager.pool_classes_by_scheme = PUBLIC_POOLS  # type: ignore[assignment]

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        # requests calls this for every hop of a redirect. A proxy connects by itself, so an address that the URL
        # spells out is refused here: a proxy on this machine would reach this machine.
        refuse_private(urlsplit(str(request.url)).hostname or "")
        return self.adapter.send(request, *args, **kwargs)

    def close(self) -> None:
        self.adapter.close()


def install(ydl: yt_dlp.YoutubeDL, transport: Transport) -> None:
    """Let `ydl` reach public addresses only, and the transport's hosts at their local ports."""
    from yt_dlp.networking._requests import RequestsRH
    from yt_dlp.networking._urllib import UrllibRH
    from yt_dlp.networking.exceptions import TransportError

    # A subclass, so that streaming, errors, cookies, headers and proxies stay yt-dlp's own.
    class PublicRH(RequestsRH):
        RH_NAME = "public"

        def _create_instance(self, *args: Any, **kwargs: Any) -> requests.Session:
            session = super()._create_instance(*args, **kwargs)
            session.adapters = {prefix: PublicOnly(adapter) for prefix, adapter in session.adapters.items()}
            mount(session, transport)
            return session

        def _send(self, request: Any) -> Any:
            try:
                return super()._send(request)
            # Any other error would make yt-dlp try its next handler. As a failed request, it costs the video only
            # what it stands for: captions that lie on a private address are no reason to lose the video.
            # UnicodeError: a label of the host name is empty or longer than 63 letters.
            except (FailVideo, UnicodeError) as error:
                raise TransportError(cause=error) from error

    # `data:` needs no connection. Manifests of streams hold keys and headers in such URLs.
    class DataRH(UrllibRH):
        RH_NAME = "data"
        _SUPPORTED_URL_SCHEMES = ("data",)

    # The director builds the handlers with the cookies, headers and time limits of `ydl`.
    ydl._request_director = ydl.build_request_director([PublicRH, DataRH])


def open_ytdlp(options: Mapping[str, Any], transport: Transport) -> yt_dlp.YoutubeDL:
    """Open yt-dlp for public addresses and `transport`, with the sample's extractors where its host is mapped.

    Close it, or use it as a context manager.
    """
    import yt_dlp

    # `auto_init=False`, because our extractors must come before the default ones: the first that matches a URL wins,
    # and the generic one matches every URL.
    ydl = yt_dlp.YoutubeDL(dict(options), auto_init=False)
    if SAMPLE_HOST in transport:
        from vsumdata.datasets.sample.extractor import EXTRACTORS

        for extractor in EXTRACTORS:
            ydl.add_info_extractor(extractor())
    ydl.add_default_info_extractors()
    install(ydl, transport)
    return ydl
