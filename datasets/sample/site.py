"""The web site of the embedded corpus, on a local port.

`python -m vsumdata.datasets.sample.site [--port N]` serves it in the foreground. The real fetching code reads it as
https://sample.invalid/… through a transport map (`vsumdata.stages.web.transport`).

/api/channels/NAME?page=N        a page of a channel's listing        /captions/ID.en.vtt    /robots.txt
/api/videos/ID                   the metadata of a video              /media/ID.mp4          (Range, ETag)
/wikihow/TITLE · /ehow/TITLE     how-to articles, some of them moved  /images/NAME           (their pictures and clips)
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

# Names under .invalid never resolve (RFC 2606): without the transport map no request reaches any host.
HOST = "sample.invalid"
ASSETS = Path(__file__).with_name("assets")
# Entries on a page of a listing: so few that the sample's channels have several pages.
PAGE_SIZE = 4
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".json3": "application/json",
    ".mp4": "video/mp4",
    ".srt": "application/x-subrip; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer with its whole body; see `partial`."""

    status: HTTPStatus
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """An answer whose body is `content` as JSON."""
    return Answer(status, json.dumps(content).encode(), {"Content-Type": CONTENT_TYPES[".json"]})


NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, b"not found\n", {"Content-Type": CONTENT_TYPES[".txt"]})


def index_files(assets: Path) -> dict[str, Path]:
    """URL path -> file, for all files that the site serves."""
    # A request is looked up here and never joined to a folder, so `/media/../../corpus.yaml` leads nowhere.
    files = {"/robots.txt": assets / "robots.txt"}
    for folder, prefix in (("captions", "/captions/"), ("media", "/media/"), ("images", "/images/")):
        files |= {prefix + path.name: path for path in (assets / folder).iterdir()}
    files |= {f"/api/videos/{path.stem}": path for path in (assets / "videos").iterdir()}
    articles = assets / "articles"
    files |= {f"/{path.relative_to(articles).with_suffix('')}": path for path in articles.glob("*/*.html")}
    return files


def partial(answer: Answer, range_header: str | None) -> Answer:
    """The part of a whole answer that a Range header asks for. A header with several ranges gets the whole."""
    size = len(answer.body)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", (range_header or "").strip())
    if not asked or not any(asked.groups()):
        return answer
    first, last = asked.groups()
    # `bytes=-5` asks for the last five bytes, not for those up to 5.
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        return Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{size}"})
    headers = {**answer.headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    return Answer(HTTPStatus.PARTIAL_CONTENT, answer.body[start:stop], headers)


class SampleSite:
    """The site on 127.0.0.1 for the length of a `with` block. Port 0 takes any free port."""

    def __init__(self, port: int = 0, assets: Path = ASSETS) -> None:
        self.files = index_files(assets)
        self.channels = {path.stem: json.loads(path.read_bytes()) for path in (assets / "channels").iterdir()}
        self.moved = json.loads((assets / "articles" / "moved.json").read_bytes())
        self.server = Server(port, self.answer)
        # It looks for the shutdown every 0.02 s; by default (0.5 s) each test would wait for it.
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`"""
        return f"127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, target: str, headers: Message) -> Answer:
        """The answer to a GET of `target`, a path with its query."""
        url = urlsplit(target)
        query = parse_qs(url.query)
        if url.path in self.moved:
            return Answer(HTTPStatus.MOVED_PERMANENTLY, b"", {"Location": self.moved[url.path]})
        if url.path.startswith("/api/channels/"):
            page = query.get("page", ["0"])[0]
            return self.listing(url.path.removeprefix("/api/channels/"), int(page) if page.isdecimal() else 0)
        # YouTube answers 429 to those who ask for machine-translated captions.
        if "tlang" in query:
            return Answer(HTTPStatus.TOO_MANY_REQUESTS, b"", {"Retry-After": "900"})
        if url.path in self.files:
            return self.file(self.files[url.path], headers)
        if url.path.startswith("/api/videos/"):
            return json_answer({"unavailable": "This video is unavailable"}, HTTPStatus.NOT_FOUND)
        return NOT_FOUND

    def listing(self, name: str, page: int) -> Answer:
        """One page of a channel's listing."""
        channel = self.channels.get(name)
        if channel is None:
            return json_answer({"unavailable": "This channel does not exist."}, HTTPStatus.NOT_FOUND)
        start = page * PAGE_SIZE
        return json_answer({**channel, "entries": channel["entries"][start : start + PAGE_SIZE]})

    def file(self, path: Path, headers: Message) -> Answer:
        """A file: whole, in part (Range), or unchanged (ETag)."""
        body = path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if headers.get("If-None-Match") == etag:
            return Answer(HTTPStatus.NOT_MODIFIED, b"", {"ETag": etag})
        content_type = CONTENT_TYPES[path.suffix]
        whole = Answer(HTTPStatus.OK, body, {"Content-Type": content_type, "ETag": etag, "Accept-Ranges": "bytes"})
        # The client has the start of another file. A part of this one would be joined to it, so it gets the whole.
        if headers.get("If-Range", etag) != etag:
            return whole
        return partial(whole, headers.get("Range"))


class Server(ThreadingHTTPServer):
    """The HTTP server behind SampleSite, one thread for each connection."""

    # The default of 5 resets connections when many workers connect at once (werkzeug#47).
    request_queue_size = 64

    def __init__(self, port: int, answer: Callable[[str, Message], Answer]) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer = answer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent if a client went away in the middle, report any other error."""
        # A killed run and a cancelled download are normal here; a traceback on the terminal is not.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: Server
    protocol_version = "HTTP/1.1"
    # Seconds. A client that connects and stays silent would hold its thread for ever.
    timeout = 10

    def do_GET(self) -> None:
        answer = self.server.answer(self.path, self.headers)
        # HTTP/1.1 keeps connections open by default, and an idle one would keep the site from ending at once.
        self.close_connection = True
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing: the terminal shows the run, not its requests."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the embedded corpus on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="port to serve on; 0, the default, takes any free port")
    with SampleSite(parser.parse_args().port) as site:
        print(site.address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            site.thread.join()


if __name__ == "__main__":
    main()
