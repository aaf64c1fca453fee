"""A model hub on this machine: as much of its protocol as a look at a repository needs."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORIES: dict[str, dict[str, bytes]] = {
    "sentence-transformers/tiny-bert": {
        "config.json": b'{"hidden_size": 24}',
        "modules.json": b'[{"type": "sentence_transformers.models.Transformer", "path": ""}]',
        "model.safetensors": b"weights",
    },
    "someone/only-a-page": {"README.md": b"nothing"},
    "Systran/faster-whisper-small": {"model.bin": b"weights", "config.json": b"{}"},
    "timm/vit_base_patch32_clip_224.openai": {"open_clip_model.safetensors": b"weights"},
}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a look at a repository needs."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            files = REPOSITORIES.get("/".join(path.split("/")[2:4]))
            listed = [{"rfilename": name} for name in files or ()]
            answer = json.dumps({"id": path, "sha": REVISION, "siblings": listed}).encode() if files else None
        else:
            repository, _, inside = path.partition("/resolve/")
            answer = REPOSITORIES.get(repository, {}).get(inside.removeprefix(f"{REVISION}/"))
        self.send_response(404 if answer is None else 200)
        if answer is None and not path.startswith("api/"):
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("ETag", f'"{hashlib.sha1(answer or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass
