"""A stand-in for the Hugging Face hub on this machine: a data set repository with LFS, as huggingface_hub asks it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

# Of a data set's header, as the hub's documentation lists them.
KEYS = set(
    "pretty_name license license_name license_link language task_categories tags size_categories configs "
    "dataset_info".split()
)
TOKEN = "hf_madeUpForThisTest"


class Hub:
    """The server, and what it has: repositories, their files at `main`, LFS objects; and how often it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Any]] = {}  # id -> what it was created with
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.puts: Counter[str] = Counter()
        self.putting = threading.Lock()
        self.stall_after: int | None = None  # LFS objects that are taken before the server falls silent
        self.silent = threading.Event()  # set once it is
        self.cas: Path | None = None  # where Xet's storage keeps its chunks
        self.refuses: tuple[int, str] | None = None  # status and words for each commit
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def answer(self, status: int, value: Any) -> None:
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                if status >= 400:
                    self.send_header("X-Error-Message", value["error"])
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.answer(*hub.get(urlsplit(self.path).path))

            def do_POST(self) -> None:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    self.body()
                    self.answer(401, {"error": "Invalid credentials"})
                    return
                self.answer(*hub.post(urlsplit(self.path).path, self.body()))

            def do_PUT(self) -> None:
                oid = self.path.rpartition("/")[2]
                # One after the other: a client sends several at once.
                with hub.putting:
                    is_late = hub.stall_after is not None and len(hub.objects) >= hub.stall_after
                    if not is_late:
                        hub.objects[oid] = self.body()
                        hub.puts[oid] += 1
                if is_late:
                    hub.silent.set()
                    threading.Event().wait()
                self.answer(200, {})

        return Handler

    def get(self, path: str) -> tuple[int, Any]:
        self.asked[f"GET {path}"] += 1
        if path.endswith("/xet-write-token/main"):
            # Instead of a server hf_xet takes a folder.
            return 200, {"accessToken": "x", "exp": int(time.time()) + 3600, "casUrl": f"local://{self.cas}"}
        if "/tree/" in path:
            return 200, [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in sorted(self.files.items())
            ]
        return 200, {"id": "somebody/eggs", "sha": "1" * 40, "siblings": [{"rfilename": name} for name in self.files]}

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        self.asked[f"POST {path}"] += 1
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name in self.repositories:
                return 409, {"error": "You already created this dataset repo", "url": f"{self.address}/datasets/{name}"}
            self.repositories[name] = wanted
            return 200, {"url": f"{self.address}/datasets/{name}"}
        if path == "/api/validate-yaml":
            header = json.loads(body)["content"].split("---\n")[1]
            is_known = set(yaml.safe_load(header)) <= KEYS
            wrong = [] if is_known else [{"message": "unknown key"}]
            return 400 if wrong else 200, {"error": "Invalid metadata", "errors": wrong, "warnings": []}
        if "/preupload/" in path:
            return 200, {"files": [self.mode(each["path"]) for each in json.loads(body)["files"]]}
        if path.endswith("/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self.action(each) for each in json.loads(body)["objects"]]}
        if "/commit/" in path:
            return self.commit([json.loads(line) for line in body.splitlines()])
        return 404, {"error": f"no such place: {path}"}

    def mode(self, path: str) -> dict[str, Any]:
        return {"path": path, "uploadMode": "lfs" if path.endswith(".parquet") else "regular", "shouldIgnore": False}

    def action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        found = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] in self.objects:
            return found
        return found | {"actions": {"upload": {"href": f"{self.address}/lfs/{wanted['oid']}"}}}

    def commit(self, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        if self.refuses:
            return self.refuses[0], {"error": self.refuses[1]}
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                # Of what Xet took only the hash comes here.
                self.files[value["path"]] = self.objects.get(value["oid"], value["oid"].encode())
            elif key == "deletedFile":
                del self.files[value["path"]]
        return 200, {"commitUrl": f"{self.address}/datasets/somebody/eggs/commit/{'1' * 40}", "commitOid": "1" * 40}
