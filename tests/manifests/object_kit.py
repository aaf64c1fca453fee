"""An S3 server on this machine (moto), and a proxy before it that fails a share of the requests."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import quote
from urllib.request import urlopen

KEY, SECRET = "AKIAnobody", "s3cret/with+signs"
# In a process of its own: in this one it would share the interpreter's lock with what is measured.
SERVER = """
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
REFUSALS = {"503": (503, "SlowDown"), "403": (403, "InvalidAccessKeyId"), "expired": (400, "ExpiredToken")}
FAULTS = ("503", "reset", "lost", "cut", "stall")


@contextlib.contextmanager
def s3_server() -> Iterator[int]:
    """An S3 server in memory; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        # "Starting a new Thread …" comes first.
        port = next(int(line) for line in process.stdout if line.strip().isdigit())
        yield port
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def make_bucket(port: int, bucket: str) -> None:
    """Make a bucket on the server at a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("PUT", f"/{bucket}")
    assert connection.getresponse().status == 200
    connection.close()


def root_url(port: int, bucket: str, path: str = "root", *, keys: bool = False) -> str:
    """The address of a root, with keys in it if asked for."""
    userinfo = f"{KEY}:{quote(SECRET, safe='')}@" if keys else ""
    return f"s3://{userinfo}{bucket}/{path}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"


def keys_of(port: int, bucket: str) -> list[str]:
    """The keys of all objects in a bucket."""
    from xml.etree import ElementTree

    found, token = [], ""
    while True:
        with urlopen(f"http://127.0.0.1:{port}/{bucket}?list-type=2{token}") as answer:
            tree = ElementTree.fromstring(answer.read())
        space = {"s3": tree.tag.partition("}")[0].strip("{")}
        found += [key.text or "" for key in tree.findall("s3:Contents/s3:Key", space)]
        following = tree.find("s3:NextContinuationToken", space)
        if following is None:
            return found
        token = f"&continuation-token={quote(following.text or '')}"


def uploads_of(port: int, bucket: str) -> int:
    """How many multipart uploads were begun in a bucket and not ended."""
    with urlopen(f"http://127.0.0.1:{port}/{bucket}?uploads") as answer:
        return int(answer.read().count(b"<Upload>"))


class FlakyProxy:
    """A context manager: a proxy before the server at `port`, which counts the requests and fails a share of them.

    A fault is drawn for each request by a seed: a 503, a connection reset before the request is passed on, one after it
    (so that it was done, and nobody hears of it), an answer cut short, or a stall of `stall_s`. `faults` narrows them,
    `is_down` refuses all.
    """

    def __init__(
        self, port: int, share: float = 0.0, stall_s: float = 5.0, seed: int = 1, faults: tuple[str, ...] = FAULTS
    ) -> None:
        self.upstream, self.share, self.stall_s, self.faults = port, share, stall_s, faults
        self.chance = random.Random(seed)
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()  # by method
        self.done: Counter[str] = Counter()  # by fault
        self.requests: list[str] = []
        self.is_down = False
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                # A client that goes away in the middle is part of the game.
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def pass_on(self) -> None:
                proxy.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815 - http.server's names

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self.server.server_address[1]

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fault(self, method: str, target: str) -> str:
        with self.lock:
            self.asked[method] += 1
            self.requests.append(f"{method} {target}")
            chosen = self.chance.choice(self.faults) if self.chance.random() < self.share else ""
            chosen = "down" if self.is_down else chosen
            self.done[chosen] += 1
            return chosen

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Pass one request on, or fail it."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self.fault(handler.command, handler.path)
        if fault in REFUSALS:
            status, code = REFUSALS[fault]
            return self.send(handler, status, [], f"<Error><Code>{code}</Code></Error>".encode())
        if fault in ("reset", "down"):
            return self.reset(handler)
        if fault == "stall":
            time.sleep(self.stall_s)
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        try:
            upstream.request(handler.command, handler.path, body, dict(handler.headers.items()))
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if fault == "lost":
            return self.reset(handler)
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP]
        return self.send(handler, answer.status, headers, content, is_cut=fault == "cut")

    def send(
        self, handler: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], content: bytes,
        *, is_cut: bool = False,
    ) -> None:  # fmt: skip
        handler.send_response_only(status)
        length = next((value for name, value in headers if name.lower() == "content-length"), None)
        for name, value in headers:
            if name.lower() != "content-length":
                handler.send_header(name, value)
        # The answer to HEAD has a length and no content.
        handler.send_header("Content-Length", length if handler.command == "HEAD" and length else str(len(content)))
        handler.end_headers()
        if is_cut:
            handler.wfile.write(content[: len(content) // 2])
            return self.reset(handler)
        handler.wfile.write(content)
        return None

    def reset(self, handler: BaseHTTPRequestHandler) -> None:
        """End the connection so that the client reads an error, not an end."""
        handler.close_connection = True
        with contextlib.suppress(OSError):
            # Linger for no time: the kernel sends RST.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            handler.connection.shutdown(socket.SHUT_RD)
            handler.connection.close()


HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
