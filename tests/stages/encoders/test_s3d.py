"""S3D of MIL-NCE: values of the public code, windows, words, files of weights."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.stages.encoders.s3d_kit import SENTENCES, WORDS, clips, made_up, write_weights

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.pipeline.recipe import parse_stages, recipe, wanted_tables
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages.encoders.models import Model, Models, model_keys, resolve_models
from vsumdata.stages.encoders.s3d import DICTIONARY, DIM, WEIGHTS, WINDOW, S3DEncoder, Words, resolve, segments
from vsumdata.stages.encoders.s3d_network import S3D

MODELS = Models(asr=Model("w", "", "w"), clip=Model("c", "", "c", dim=4), text=Model("s", "", "s", dim=3))

# Numbers 0, 100, 255 and 511 of each vector, and its norm.
VIDEO = [[-0.003253, 1.162518, 0.546158, 0.788079], [-0.01974, 1.168827, 0.537641, 0.796841]]
VIDEO_NORMS = [14.98886, 14.95268]
TEXT = [
    [5.132749, 2.601496, 2.520975, 5.806508],
    [1.294359, -0.552444, 0.56392, 1.202796],
    [-0.546818, -0.915869, 1.140098, 2.757652],
]
TEXT_NORMS = [74.78444, 61.84974, 34.86727]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("s3d"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> S3DEncoder:
    return S3DEncoder("here", threads=2, location=str(folder))


def manifest(weights: str | None) -> Manifest:
    labels = {"segment_features": {"weights": weights}}
    return Manifest.model_validate({"sources": [{"channel": "@x"}], "labels": labels})


def test_both_towers_give_what_the_public_code_gives(encoder: S3DEncoder) -> None:
    """Values of antoine77340/S3D_HowTo100M@b8cd0bb s3dg.py with the state dict of `made_up`, torch 2, on a CPU."""
    seen = encoder._forward(clips())
    numbers = torch.from_numpy(np.stack([encoder._number.of(text) for text in SENTENCES]))
    said = encoder._network.text_module(numbers).numpy()
    for found, values, norms in ((seen, VIDEO, VIDEO_NORMS), (said, TEXT, TEXT_NORMS)):
        np.testing.assert_allclose(found[:, [0, 100, 255, 511]], values, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64), axis=1), norms, rtol=1e-5)


@pytest.mark.parametrize("num", [1, 5, 16, 17, 31, 32, 33, 63, 64, 70])
def test_a_short_last_segment_is_filled_with_the_last_pictures(num: int) -> None:
    numbered = [np.full((1, 1, 3), number, np.uint8) for number in range(num)]
    found = [window[:, 0, 0, 0].tolist() for window in segments(iter(numbered))]
    assert list(chain(*found))[:num] == list(range(num))
    assert len(found) == -(-num // WINDOW)
    assert {len(window) for window in found} == {WINDOW}
    missing = -num % WINDOW
    if 0 < missing <= num:
        assert found[-1][-missing:] == list(range(num - missing, num))  # as the public code pads
    elif missing:
        assert found[-1] == (list(range(num)) * WINDOW)[:WINDOW]


def test_a_long_video_is_never_in_memory(encoder: S3DEncoder) -> None:
    taken, at_rest = 0, []

    def pictures() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(3 * WINDOW):
            taken += 1
            yield np.zeros((16, 16, 3), np.uint8)

    found = encoder.encode(segments(pictures()), lambda: at_rest.append(taken))
    assert at_rest == [WINDOW * (number + 1) for number in range(3)]
    assert (found.shape, found.dtype) == ((3, DIM), np.float32)
    assert encoder.encode(segments(())).shape == (0, DIM)


def test_the_batch_changes_nothing(encoder: S3DEncoder) -> None:
    windows = np.concatenate([clips(), clips()[:1, ::-1]])
    alone = encoder.encode(windows)
    encoder.batch = 2
    np.testing.assert_allclose(encoder.encode(windows), alone, atol=1e-5)
    encoder.batch = 1
    assert np.abs(alone[0] - alone[2]).max() > 1e-3, "the order of pictures counts"


def test_words_and_the_mean_of_sentences(encoder: S3DEncoder) -> None:
    number = Words(WORDS)
    assert number.of("DON'T add-salt, zzz!")[:4].tolist() == [9, 1, 8, 0]
    assert number.of("zzz " + "egg " * 20).tolist() == [14] * 16
    vectors = encoder._network.text_module(torch.from_numpy(np.stack([number.of(text) for text in SENTENCES[:2]])))
    mean = encoder.mean_of(SENTENCES)
    assert mean is not None
    np.testing.assert_allclose(mean, vectors.mean(0).numpy(), atol=1e-5)  # without the sentence of no known word
    many = encoder.mean_of(SENTENCES * 300)
    assert many is not None
    np.testing.assert_allclose(many, mean, atol=1e-5)
    assert encoder.mean_of(["zzz", ""]) is None
    assert encoder.mean_of([]) is None


def test_random_weights_are_the_same_everywhere_and_see_what_is_shown() -> None:
    first, again, other = (S3DEncoder(f"seed:{seed}").encode(clips()) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, rtol=0.1)
    unit = first / np.linalg.norm(first, axis=1, keepdims=True)
    assert unit[0] @ unit[1] < 0.999
    assert S3DEncoder("seed:0").mean_of(SENTENCES) is None


def test_files_of_weights(folder: Path, tmp_path: Path) -> None:
    """One line, with the remedy, for everything else that a person may give."""
    given = made_up(S3D(len(WORDS) + 1).state_dict())

    def put(name: str, weights: Any = given, words: Any = WORDS) -> str:
        place = tmp_path / name
        place.mkdir()
        torch.save(weights, place / WEIGHTS)
        np.save(place / DICTIONARY, np.array(words))
        return name

    put("bare", {name: value for name, value in given.items() if "num_batches" not in name})
    save_file(given, tmp_path / "bare" / "other.safetensors")
    for name in ("bare", "bare/other.safetensors", str(folder), str(folder / WEIGHTS)):
        loaded = S3DEncoder(name, location=resolve(name, tmp_path)[0])._network.state_dict()
        assert all((loaded[key] == value).all() for key, value in given.items())
    # The official numbers begin at 1, so the last word may have no row: it is not known then.
    one_more = S3DEncoder("x", location=str(tmp_path / put("one more", words=(*WORDS, "zzz"))))
    assert one_more.mean_of(["zzz"]) is None
    put("page")
    (tmp_path / "page" / WEIGHTS).write_text("<!DOCTYPE html><title>404</title>")
    put("cut")
    (tmp_path / "cut" / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1_000_000])
    put("code")
    (tmp_path / "code" / WEIGHTS).write_bytes(pickle.dumps(Path("x"), protocol=2))
    put("cut words")
    (tmp_path / "cut words" / DICTIONARY).write_bytes((folder / DICTIONARY).read_bytes()[:150])
    put("pickled words")
    np.save(tmp_path / "pickled words" / DICTIONARY, np.array(WORDS, object), allow_pickle=True)
    for name, told in (
        ("page", "cannot be read as weights"),
        ("cut", "cannot be read as weights"),
        ("code", "cannot be read as weights"),
        (put("nested", {"state_dict": given}), "does not hold tensors by name"),
        (put("missing", {k: v for k, v in given.items() if k != "fc.bias"}), r"not a state dict .*Missing.*fc\.bias"),
        (put("no text", {k: v for k, v in given.items() if "text" not in k}), r"not a state dict .*word_embd"),
        (put("more", {**given, "gate.bias": torch.zeros(3)}), r"not a state dict .*Unexpected.*gate\.bias"),
        (put("shape", {**given, "fc.bias": torch.zeros(3)}), r"not a state dict .*size mismatch for fc\.bias"),
        (put("nan", {**given, "fc.bias": torch.full((DIM,), torch.nan)}), r"fc\.bias holds values that are not finite"),
        (put("many words", words=[*WORDS, "x", "y"]), "s3d_dict.npy has 21 words, the weights know 19"),
        (put("numbers", words=[1, 2]), "s3d_dict.npy is no list of words"),
        ("cut words", "s3d_dict.npy cannot be read as a list of words"),
        ("pickled words", "s3d_dict.npy cannot be read as a list of words"),
    ):
        with pytest.raises(UsageError, match=told) as error:
            S3DEncoder(name, location=resolve(name, tmp_path)[0])
        assert "\n" not in str(error.value)
        assert f"labels.segment_features.weights={name}" in str(error.value)
        assert str(error.value).endswith("--set labels.segment_features.weights=FOLDER")


def test_weights_are_known_by_the_content_of_both_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / WEIGHTS).write_bytes(b"a")
        (tmp_path / name / DICTIONARY).write_bytes(b"w")
    (tmp_path / "a" / "readme.txt").write_text("no part of the model")
    first = resolve("a", tmp_path)
    assert first[0] == str((tmp_path / "a").resolve())
    assert {resolve(name, tmp_path)[1] for name in ("a", "b", f"a/{WEIGHTS}")} == {first[1]}
    loaded = Loaded(manifest=manifest("a"), folder=tmp_path, file="m.yaml")
    key = model_keys(loaded.manifest)["segments"]
    lock = {key: {"name": "S3D a", "location": "", "identity": first[1], "dim": DIM}}
    assert resolve_models(loaded, lock, {"videos"}).segments == Model("S3D a", first[0], first[1], DIM)
    (tmp_path / "a" / DICTIONARY).write_bytes(b"x")
    assert resolve("a", tmp_path)[1] != first[1]
    with pytest.raises(UsageError, match=r"segments a is not the model that models\.json locks"):
        resolve_models(loaded, lock, {"segment_features"})
    (tmp_path / "b" / DICTIONARY).unlink()
    with pytest.raises(UsageError, match=r"weights: b lacks s3d_dict\.npy; give the folder"):
        resolve("b", tmp_path)
    with pytest.raises(UsageError, match=r"weights: none is neither file nor folder; .* trial seed:0"):
        resolve("none", tmp_path)


def test_only_roots_that_ask_for_it_get_other_fingerprints() -> None:
    plain = recipe(manifest(None), MODELS)
    assert "segments" not in model_keys(manifest(None))
    assert not any(name.startswith("s3d") for name in plain["pseudo_summaries"].options)
    assert set(plain["pseudo_summaries"].reads) == {"features", "quality", "all"}

    def seen(identity: str) -> dict[str, str]:
        models = Models(asr=MODELS.asr, clip=MODELS.clip, text=MODELS.text, segments=Model("s", "/here", identity))
        stages = recipe(manifest("here"), models)
        return {name: fingerprint(stages, name) for name in stages}

    before, one, other = {name: fingerprint(plain, name) for name in plain}, seen("one"), seen("other")
    for made_again in ({name for name in one if before[name] != one[name]}, {n for n in one if one[n] != other[n]}):
        assert made_again == {"segment_features", "pseudo_summaries"}


def test_the_group_labels_makes_the_table_where_weights_are_named() -> None:
    without = [table for table in parse_stages("labels") if table != "segment_features"]
    assert wanted_tables(parse_stages("labels"), manifest(None)) == without
    assert wanted_tables(parse_stages("labels"), manifest("seed:0")) == parse_stages("labels")
    assert parse_stages("labels").index("segment_features") < parse_stages("labels").index("pseudo_summaries")
    with pytest.raises(
        UsageError, match="segment_features needs S3D's weights: --set labels.segment_features.weights="
    ):
        wanted_tables(["segment_features"], manifest(None))
