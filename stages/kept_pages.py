"""Pages of a channel's listing on disk, so that an interrupted listing goes on where it stopped.

A listing is a chain: each page holds the token of the next. A page is kept once the next is asked for, which
shows that it was whole; a page that is asked for again was not, and is fetched again.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsumdata.stages.web_cache import Page, WebCache

if TYPE_CHECKING:
    import yt_dlp

SERVES = timedelta(hours=6)  # tokens of next pages do not live for ever
IDENTIFIES = ("continuation", "browseId", "params", "url")  # of a request's body; the rest varies from run to run
NOT_FOREVER = frozenset({403, 408, 429})


class KeptPages:
    """Serves `ydl` the pages that an earlier listing left in `folder`, and keeps the new ones there."""

    def __init__(self, ydl: yt_dlp.YoutubeDL, folder: Path) -> None:
        self.folder, self.cache = folder, WebCache(str(folder))
        self.last: tuple[str, Page] | None = None
        self.fetched: set[str] = set()
        self.served = 0
        self.is_stale = False  # a token from the disk no longer leads on
        install(ydl, self)

    def find(self, key: str) -> Page | None:
        if self.last is not None and self.last[0] != key:
            with contextlib.suppress(OSError):  # without it the next listing only fetches more
                self.cache.write(*self.last)
        self.last = None
        page = None if key in self.fetched else self.cache.read(key)
        if page is None or datetime.now(UTC) - page.retrieved_at > SERVES:
            return None
        self.served += 1
        return page

    def keep(self, key: str, page: Page) -> None:
        self.fetched.add(key)
        self.last = (key, page)

    @property
    def has_come(self) -> bool:
        """Whether any page of the listing did."""
        return bool(self.served or self.fetched)

    def refused(self, status: int) -> None:
        self.is_stale |= bool(self.served) and 400 <= status < 500 and status not in NOT_FOREVER

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def key_of(request: Any) -> str:
    """What a request asks for, whatever session it belongs to."""
    try:
        body = json.loads(request.data or b"")
        asked = {name: body[name] for name in IDENTIFIES if name in body}
    except (ValueError, TypeError):
        asked = {}
    return f"{request.url} {json.dumps(asked, sort_keys=True) if asked else request.data!r}"


def install(ydl: yt_dlp.YoutubeDL, pages: KeptPages) -> None:
    """Put `pages` before all request handlers of `ydl`."""
    from yt_dlp.networking import RequestDirector, RequestHandler, Response
    from yt_dlp.networking.exceptions import HTTPError

    network = ydl._request_director

    class KeptPagesRH(RequestHandler):
        _SUPPORTED_URL_SCHEMES = _SUPPORTED_PROXY_SCHEMES = _SUPPORTED_FEATURES = None

        def _check_extensions(self, extensions: dict[str, Any]) -> None:
            extensions.clear()  # the network's own handlers check them

        def _send(self, request: Any) -> Any:
            key = key_of(request)
            page = pages.find(key)
            if page is None:
                try:
                    response = network.send(request)
                except HTTPError as error:
                    pages.refused(error.status)
                    raise
                if response.status != 200:
                    return response
                with response:
                    body, content_type = response.read(), response.headers.get("Content-Type", "")
                page = Page(url=response.url, body=body, content_type=content_type, retrieved_at=datetime.now(UTC))
                pages.keep(key, page)
            return Response(io.BytesIO(page.body), page.url, {"Content-Type": page.content_type})

        def close(self) -> None:
            network.close()

    director = RequestDirector(logger=network.logger)
    director.add_handler(KeptPagesRH(logger=network.logger))
    ydl._request_director = director
