"""Features of sound: what a second's vector is made of, and the `audio` table of small real sounds."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from vsumdata.datasets.shards import heard
from vsumdata.manifests.errors import SkipVideo, UsageError
from vsumdata.manifests.manifest import load
from vsumdata.pipeline.recipe import parse_stages, wanted_tables
from vsumdata.stages import audio
from vsumdata.stages.encoders.audio import RATE_HZ, SEEDED_DIM, AudioEncoder
from vsumdata.stages.encoders.models import resolve_audio
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context

CONTEXT = Context(root="unused", scratch="unused")


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)


def pieces(sound: np.ndarray, size: int = 7001) -> list[np.ndarray]:
    return [sound[at : at + size] for at in range(0, len(sound), size)]


@pytest.fixture(scope="module")
def ast() -> AudioEncoder:
    return AudioEncoder("seed:0")


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny wav2vec 2.0 in the layout of the hub."""
    folder = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = Wav2Vec2Config(**shape, conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("seconds", "rows"), [(0.01, 1), (1.0, 1), (1.01, 2), (10.1, 11), (10.24, 11), (33.5, 34)])
def test_a_row_for_each_second_begun(ast: AudioEncoder, wav2vec2: Path, seconds: float, rows: int) -> None:
    for encoder in (ast, AudioEncoder(str(wav2vec2))):
        found = encoder.encode(pieces(noise(seconds)))
        assert found.shape == (rows, encoder.dim)
        assert found.dtype == np.float16


def test_no_sound_has_no_rows(ast: AudioEncoder) -> None:
    assert ast.encode([]).shape == (0, SEEDED_DIM)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
def test_a_second_is_the_mean_of_its_patches(ast: AudioEncoder) -> None:
    sound = noise(23.4)
    found = ast.encode(pieces(sound))
    # The second window holds s 10 to 20.24; patches begin every 100 ms, and there are 12 of them in frequency.
    spectrogram = ASTFeatureExtractor()(sound[160_000 : 160_000 + 163_840], sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.no_grad():
        hidden = ast.model(spectrogram["input_values"]).last_hidden_state[0, 2:]
    patches = hidden.reshape(12, 101, SEEDED_DIM)
    for second in (0, 4, 9):
        expected = patches[:, 10 * second : 10 * second + 10].mean((0, 1)).numpy()
        np.testing.assert_allclose(found[10 + second], expected, atol=2e-3)


def test_features_depend_on_the_sound_and_not_on_how_it_comes(ast: AudioEncoder) -> None:
    sound = noise(45)
    found = ast.encode(pieces(sound))
    np.testing.assert_array_equal(found, ast.encode([sound]))
    np.testing.assert_array_equal(found, AudioEncoder("seed:0").encode([sound]))
    assert not np.allclose(found, AudioEncoder("seed:1").encode([sound]), atol=1e-2)
    sound[25 * RATE_HZ :] = 0
    changed = ast.encode([sound])
    np.testing.assert_allclose(changed[:20], found[:20], atol=2e-3)
    assert np.abs(changed[30:] - found[30:]).max() > 0.05


def test_models_of_other_kinds_are_refused(tmp_path: Path, wav2vec2: Path) -> None:
    assert resolve_audio(str(wav2vec2), tmp_path).dim == 16
    assert resolve_audio("seed:3", tmp_path).dim == SEEDED_DIM
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    with pytest.raises(UsageError, match="bert; known are audio-spectrogram-transformer"):
        resolve_audio("bert", tmp_path)
    with pytest.raises(UsageError, match="known are"):
        AudioEncoder(str(tmp_path / "bert"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("no model")
    with pytest.raises(UsageError, match="no encoder of sound"):
        AudioEncoder(str(tmp_path / "empty"))


def test_the_table_of_a_film_and_of_one_without_sound(tmp_path: Path) -> None:
    for name, source in (("sound.wav", "sine"), ("silent.mp4", "nullsrc=s=64x64")):
        command = [ffmpeg_program(), "-v", "error", "-f", "lavfi", "-i", source, "-t", "3.5", str(tmp_path / name)]
        subprocess.run(command, check=True)
    options = {"audio_model": "seed:0", "audio_location": "seed:0", "audio_dim": SEEDED_DIM}
    listen = audio.load(options, CONTEXT)
    found = listen({"media": str(tmp_path / "sound.wav")})
    assert found["audio_feature"].shape == (4, SEEDED_DIM)
    assert found["audio_model"] == "seed:0"
    with pytest.raises(SkipVideo, match="no_sound"):
        listen({"media": str(tmp_path / "silent.mp4")})
    with pytest.raises(UsageError, match="192 numbers a second, not 5"):
        audio.load(options | {"audio_dim": 5}, CONTEXT)


def test_the_table_is_made_only_where_an_encoder_is_named() -> None:
    manifest = load("sample").manifest
    assert wanted_tables(parse_stages("audio"), manifest) == ["audio"]
    features = manifest.features.model_copy(update={"audio_model": None})
    with pytest.raises(UsageError, match=r"features\.audio_model=MIT/ast"):
        wanted_tables(["audio"], manifest.model_copy(update={"features": features}))


def test_frames_get_the_sound_of_their_second() -> None:
    rows = np.arange(1, 4, dtype=np.float16)[:, None]
    found = heard(rows, 10, 2.0)
    assert found[:, 0].tolist() == [1, 1, 2, 2, 3, 3, 0, 0, 0, 0]
