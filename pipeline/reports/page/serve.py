"""`vsumdata view`: the pages of a root from a server on this machine, up to date while a run goes on.

It listens on 127.0.0.1 alone. The address holds a random token, so other users of the machine, and web pages in the
same browser, cannot guess it.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from vsumdata.manifests.errors import UsageError, VsumdataError
from vsumdata.manifests.store import Store
from vsumdata.pipeline.reports.page import page
from vsumdata.pipeline.reports.page.facts import Facts, facts
from vsumdata.pipeline.reports.page.shown import media_of, shown
from vsumdata.pipeline.state.dataset import stages_of
from vsumdata.pipeline.state.plan import fingerprint

if TYPE_CHECKING:
    from aiohttp import web

    from vsumdata.pipeline.reports.page.scored import Scorer

HERE = "127.0.0.1"
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class Root:
    """One root, read again where its tables have changed. Its methods may be called from several threads."""

    def __init__(self, root: str, checkpoint: str | None = None) -> None:
        self.store = Store(root)
        self.lock = threading.Lock()
        self.stamp = ""
        self.facts: Facts | None = None
        # What is no root, or no run for it, must end the command, not answer every page with an error.
        self.store.dataset()
        self.scorer: Scorer | None = None
        if checkpoint:
            from vsumdata.pipeline.reports.page.scored import Scorer

            self.scorer = Scorer(checkpoint, self.store)

    def now(self) -> str:
        """A hash of what the tables hold now."""
        _, stages = stages_of(self.store)
        held = {
            name: [(info.base_name, info.size) for info in self.store.parts(name, fingerprint(stages, name))]
            for name in stages
        }
        return hashlib.blake2b(repr(held).encode(), digest_size=8).hexdigest()

    def read(self) -> tuple[Facts, str]:
        """The facts of the root as it is now, and their stamp."""
        with self.lock:
            stamp = self.now()
            if self.facts is None or stamp != self.stamp:
                self.facts, self.stamp = facts(self.store), stamp
            return self.facts, stamp

    def front(self) -> str:
        """The page of the root."""
        found, stamp = self.read()
        rows = found.videos[: page.MAX_ROWS]
        done = {each.video_id for each in found.videos if each.is_done}
        return page.head(found, rows, done, live=True, stamp=stamp) + page.end(has_sections=False)

    def video(self, video_id: str) -> str | None:
        """The page of a video; None where it has no features."""
        found, _ = self.read()
        wanted = [each for each in found.videos if each.video_id == video_id and each.is_done]
        with self.lock:
            scored = dict(self.scorer.of([video_id])) if self.scorer is not None else {}
            for each in shown(self.store, wanted, scored):
                has_media = media_of(video_id, each.facts.url, self.store) is not None
                return page.video_page(each, with_media=has_media)
        return None

    def media(self, video_id: str) -> str | None:
        """The path of a video's media file; None where there is none here."""
        found, _ = self.read()
        url = next((each.url for each in found.videos if each.video_id == video_id), None)
        path = None if url is None else media_of(video_id, url, self.store)
        return None if path is None else str(path)


def view(
    root: str,
    port: int = 0,
    *,
    checkpoint: str | None = None,
    told: Callable[[str], None] = print,
    ready: Callable[[str], object] = lambda address: None,
) -> None:
    """Serve a root until Ctrl-C. `port`: 0 for any that is free. `ready` gets the address once it answers.

    Raises UsageError if it is no root, or if the port is taken.
    """
    from aiohttp import web

    served = Root(root, checkpoint)
    token = secrets.token_urlsafe(16)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HERE, port))
        # From now on it answers, if a moment later: the address is told before aiohttp listens.
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise UsageError(f"--port {port}: {error}; leave it out for a free one") from error
    address = f"http://{HERE}:{listening.getsockname()[1]}/{token}/"
    app = application(served, token)

    async def started(app: web.Application) -> None:
        told(f"{served.store.root} is shown at {address}")
        ready(address)

    app.on_startup.append(started)
    web.run_app(app, sock=listening, print=None, access_log=None, shutdown_timeout=1)


def application(root: Root, token: str) -> web.Application:
    """The server's routes, all below the token."""
    from aiohttp import web

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        # A web site may give its own name the address 127.0.0.1 (DNS rebinding), and then names itself here.
        if request.url.host not in (HERE, "localhost"):
            raise web.HTTPForbidden(text="this server answers at 127.0.0.1 only\n")
        try:
            answer = await handler(request)
        except (VsumdataError, OSError) as error:
            return web.Response(text=f"{error}\n", status=503, headers=HEADERS)
        answer.headers.update(HEADERS)
        return answer

    async def front(request: web.Request) -> web.Response:
        return html(await asyncio.to_thread(root.front))

    async def video(request: web.Request) -> web.Response:
        found = await asyncio.to_thread(root.video, request.query.get("id", ""))
        if found is None:
            raise web.HTTPNotFound(text="this root has no features of such a video\n")
        return html(found)

    async def media(request: web.Request) -> web.StreamResponse:
        path = await asyncio.to_thread(root.media, request.query.get("id", ""))
        if path is None:
            raise web.HTTPNotFound(text="the media file of this video is not here\n")
        # It answers requests for ranges, by which a player seeks.
        return web.FileResponse(path, headers={"Content-Type": mimetypes.guess_type(path)[0] or "video/mp4"})

    async def state(request: web.Request) -> web.Response:
        return web.Response(text=await asyncio.to_thread(root.now))

    def html(text: str) -> web.Response:
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    app = web.Application(middlewares=[guard])
    for name, handler in (("", front), ("video", video), ("media", media), ("state", state)):
        app.router.add_get(f"/{token}/{name}", handler)
    return app
