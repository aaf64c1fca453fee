"""Keep the pages of a channel's listing under the root, so that an interrupted listing resumes where it stopped.

A listing is a chain: each page holds the token of the next. A page is stored when the next one is requested,
which shows that it was complete. A page that is requested twice was damaged, and is fetched again.
"""

from __future__ import annotations

import contextlib
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vsumdata.manifests.roots.folder import Folder
from vsumdata.stages.web.cache import Page, WebCache

if TYPE_CHECKING:
    import yt_dlp

# A page holds the token of the next page, and such tokens expire.
SERVES = timedelta(hours=6)
# The fields of a request's body that name the page. The others (client version, visitor id) change from run to run.
IDENTIFIES = ("continuation", "browseId", "params", "url")
# These statuses pass with time, so they do not show that a token has expired.
NOT_FOREVER = frozenset({403, 408, 429})


class KeptPages:
    """Serve `ydl` the pages that an earlier listing left in `folder`, and store new pages there."""

    def __init__(self, ydl: yt_dlp.YoutubeDL, folder: Folder) -> None:
        self.folder, self.cache = folder, WebCache(folder)
        self.last: tuple[str, Page] | None = None
        self.fetched: set[str] = set()
        self.served = 0
        self.is_stale = False  # a token from the disk has expired
        install(ydl, self)

    def find(self, key: str) -> Page | None:
        if self.last is not None and self.last[0] != key:
            # A full disk must not stop a listing. Without this page the next listing only fetches more.
            with contextlib.suppress(OSError):
                self.cache.write(*self.last)
        self.last = None
        # yt-dlp requests a page again if it could not use it: then it needs a new copy, not the one from the disk.
        page = None if key in self.fetched else self.cache.read(key)
        # A time that lies ahead is of a clock that was wrong.
        if page is None or not timedelta(0) <= datetime.now(UTC) - page.retrieved_at <= SERVES:
            return None
        self.served += 1
        return page

    def keep(self, key: str, page: Page) -> None:
        self.fetched.add(key)
        self.last = (key, page)

    @property
    def any_arrived(self) -> bool:
        """Whether at least one page of the listing was received."""
        return bool(self.served or self.fetched)

    def refused(self, status: int) -> None:
        # A client error after a page from the disk means that the stored token leads nowhere any more.
        self.is_stale |= bool(self.served) and 400 <= status < 500 and status not in NOT_FOREVER

    def forget(self) -> None:
        self.folder.remove()


def key_of(request: Any) -> str:
    """Name what a request asks for, independent of the session that sent it."""
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
            # The handlers behind this one check the extensions; left here, yt-dlp would refuse the request.
            extensions.clear()

        def _send(self, request: Any) -> Any:
            key = key_of(request)
            page = pages.find(key)
            if page is None:
                try:
                    response = network.send(request)
                except HTTPError as error:
                    pages.refused(error.status)
                    raise
                # Anything else is not a page of the listing.
                if response.status != 200:
                    return response
                with response:
                    body, content_type = response.read(), response.headers.get("Content-Type", "")
                page = Page(url=response.url, body=body, content_type=content_type, retrieved_at=datetime.now(UTC))
                pages.keep(key, page)
            return Response(io.BytesIO(page.body), page.url, {"Content-Type": page.content_type})

        def close(self) -> None:
            network.close()

    # A director of its own, because the handlers of yt-dlp's director must stay reachable as `network`.
    director = RequestDirector(logger=network.logger)
    director.add_handler(KeptPagesRH(logger=network.logger))
    ydl._request_director = director
