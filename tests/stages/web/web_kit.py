"""A site of made-up answers. The transport map shows it as https://site.invalid, so that all rules apply."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from vsumdata.stages.stage import Context
from vsumdata.stages.web.fetch import Limits

HOST = "site.invalid"
HTML = {"Content-Type": "text/html; charset=utf-8"}
QUICK = Limits(connect_s=2, read_s=2, total_s=3, attempts=3, backoff_s=0.01, size_bytes=100_000)


class Site:
    """Answers each path from `pages`: (status, headers, body), one after another, and the last one for ever."""

    def __init__(self) -> None:
        self.pages: dict[str, list[tuple[int, dict[str, str], bytes | Callable]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.came: list[tuple[float, str]] = []  # (time.monotonic(), the address that it came from)
        self.raw: dict[str, Callable[[BufferedIOBase], None]] = {}  # writes the whole answer, its status line too
        site = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                site.asked.append((self.path, dict(self.headers.items())))
                site.came.append((time.monotonic(), self.client_address[0]))
                if raw := site.raw.get(self.path):
                    with contextlib.suppress(ConnectionError):
                        raw(self.wfile)
                    return
                answers = site.pages.get(self.path, [(404, HTML, b"")])
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if isinstance(body, bytes) and "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    if isinstance(body, bytes):
                        self.wfile.write(body)
                    else:
                        body(self.wfile)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def context(self, root: Path, **more: Any) -> Context:
        return Context(root=str(root), scratch=str(root), transport={HOST: self.address}, **more)

    def add(self, path: str, *answers: tuple[int, dict[str, str], bytes | Callable]) -> str:
        self.pages[path] = list(answers)
        return f"https://{HOST}{path}"

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@contextlib.contextmanager
def serving() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def endless(file) -> None:
    while True:
        file.write(b"<p>more</p>" * 1000)


def drip(file: BufferedIOBase) -> None:
    for _ in range(400):
        file.write(b"x")
        file.flush()
        time.sleep(0.05)
