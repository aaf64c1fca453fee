"""The sample's site with media that misbehave, and rows that ask for them as a run does."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import Any

from vsumdata.datasets.sample.site import ASSETS, HOST, Answer, Handler, SampleSite, json_answer
from vsumdata.stages import media
from vsumdata.stages.stage import Context, Row
from vsumdata.stages.youtube.session import Session

VIDEO_ID = "pancakes_01"
MEDIA = (ASSETS / "media" / f"{VIDEO_ID}.mp4").read_bytes()  # 426 x 240 with sound
MP4 = {"Content-Type": "video/mp4", "Accept-Ranges": "bytes"}
VALID = MP4 | {"ETag": f'"{hashlib.sha256(MEDIA).hexdigest()[:16]}"'}  # as the sample's site gives
Pieces = Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Stream(Answer):
    """A body in pieces. Its length is stated, missing or wrong; `resets` cuts off the connection after it."""

    pieces: Pieces = lambda: iter(())
    length: int | None = None
    resets: bool = False


def stream(body: bytes | Pieces, headers: Mapping[str, str] = VALID, **about: Any) -> Stream:
    pieces = (lambda: iter([body])) if isinstance(body, bytes) else body
    return Stream(HTTPStatus.OK, headers=headers, pieces=pieces, **about)


class FaultyHandler(Handler):
    def do_GET(self) -> None:  # noqa: N802
        answer = self.server.answer(self.path, self.headers)
        if not isinstance(answer, Stream):
            self.server = Once(answer)  # type: ignore[assignment]
            super().do_GET()
            return
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length is not None:
            self.send_header("Content-Length", str(answer.length))
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in answer.pieces():
            self.wfile.write(piece)
        if answer.resets:  # no lingering: the client sees a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


@dataclass
class Once:
    """A server that has its answer already."""

    given: Answer

    def answer(self, target: str, headers: Message) -> Answer:
        return self.given


Fault = Callable[[int, Message], Answer | None]


@dataclass
class Asked:
    """What the site was asked: the videos' pages, and the Range (or None) of each request for media."""

    pages: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)


class MediaSite(SampleSite):
    """`fault(n, headers)` answers the n-th request for media (from 0), None leaves it to the sample's site."""

    def __init__(self) -> None:
        super().__init__()
        self.server.RequestHandlerClass = FaultyHandler
        self.asked = Asked()
        self.fault: Fault = lambda n, headers: None
        self.changes: dict[str, Any] = {}  # of the video's page
        self.extra: dict[str, Answer] = {}

    def answer(self, target: str, headers: Message) -> Answer:
        if target in self.extra:
            return self.extra[target]
        if target.startswith("/media/"):
            number = len(self.asked.ranges)
            self.asked.ranges.append(headers.get("Range"))
            return self.fault(number, headers) or super().answer(target, headers)
        if target.startswith("/api/videos/"):
            self.asked.pages.append(target)
        if target == f"/api/videos/{VIDEO_ID}":
            return json_answer(self.page())
        return super().answer(target, headers)

    def page(self) -> dict[str, Any]:
        page = json.loads((ASSETS / "videos" / f"{VIDEO_ID}.json").read_bytes())
        return page | self.changes | {"format": page["format"] | self.changes.get("format", {})}

    def context(self, folder: Path, *, keep: bool = False, max_mb: float = 500, **options: Any) -> Context:
        """A run's context; `options` are yt-dlp's."""
        (folder / "scratch").mkdir(parents=True, exist_ok=True)
        return Context(
            root=str(folder / "root"),
            scratch=str(folder / "scratch"),
            crawl={"keep_media": keep, "max_media_mb": max_mb, "yt_dlp": options},
            transport={HOST: self.address},
        )


def row(url: str = f"https://{HOST}/watch?v={VIDEO_ID}") -> Row:
    return {
        "video_id": VIDEO_ID,
        "source": {"video": None},
        "videos": {"url": url, "caption": None, "language": "en"},
    }


def obtain(row: Row, what: str, context: Context) -> Row:
    """Fetch as a worker that has fetched nothing before."""
    session = Session(context)
    try:
        return media.obtain(row, what, session)
    finally:
        session.close()


def files(folder: Path) -> list[str]:
    """Everything below a folder, folders too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
