"""A server of chat completions on this machine: real HTTP, made-up answers, and a record of what was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Reply = tuple[int, dict[str, str], bytes]


def said(text: Any) -> Reply:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return 200, {"Content-Type": "application/json"}, json.dumps({"choices": [choice]}).encode()


def text_of(body: Body) -> str:
    """The text of the last message, without pictures."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")


class Model:
    """Answers by `reply`; `raw` instead writes whatever it likes, status line included."""

    def __init__(self) -> None:
        self.reply: Callable[[Body], Reply] = lambda body: said("A word.")
        self.raw: Callable[[Any], None] | None = None
        self.asked: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.most_at_once = self.now = 0
        self.lock = threading.Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with model.lock:
                    model.now += 1
                    model.most_at_once = max(model.most_at_once, model.now)
                    model.asked.append(body)
                    model.headers.append(dict(self.headers.items()))
                    model.paths.append(self.path)
                try:
                    if model.raw is not None:
                        model.raw(self.wfile)
                        return
                    status, headers, content = model.reply(body)
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(content)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:
                    pass
                finally:
                    with model.lock:
                        model.now -= 1

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@contextlib.contextmanager
def serving() -> Iterator[Model]:
    model = Model()
    thread = threading.Thread(target=model.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.server.shutdown()
        model.server.server_close()
        thread.join()
