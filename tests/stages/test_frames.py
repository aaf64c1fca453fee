"""The frames stage, with seeded weights; no model hub."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.recordings import RECORDINGS

from vsumdata.manifests import tables
from vsumdata.manifests.errors import FailVideo, SkipVideo, UsageError
from vsumdata.stages import frames
from vsumdata.stages.encoders.clip import ClipEncoder, choose_precision
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context, Function

MEDIA = RECORDINGS / "media"
OPTIONS = {
    "fps": 1,
    "sampling": "exact",
    "hwaccel": "none",
    "precision": "auto",
    "clip_model": "ViT-B-32",
    "clip_weights": "seed:0",
    "frame_dim": 512,
}


def ffmpeg(*args: object) -> None:
    subprocess.run([ffmpeg_program(), "-v", "error", "-nostdin", "-y", *map(str, args)], check=True)


def clip_of(path: Path, picture: str, *args: object) -> Path:
    ffmpeg("-f", "lavfi", "-i", picture, "-pix_fmt", "yuv420p", "-c:v", "libx264", *args, path)
    return path


@pytest.fixture(scope="module")
def encoder() -> ClipEncoder:
    return ClipEncoder("ViT-B-32", "seed:0", threads=2)


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Function:
    folder = str(tmp_path_factory.mktemp("root"))
    return frames.load(OPTIONS, Context(root=folder, scratch=folder, threads=2))


def row(path: Path) -> dict[str, object]:
    return {"video_id": path.stem, "media": str(path), "videos": {"duration_s": None}}


def test_the_payload_is_the_table(tmp_path, stage):
    made = stage(row(clip_of(tmp_path / "clip.mp4", "testsrc=s=160x90:r=25:d=3.5")))
    schema = tables.payload("frames", OPTIONS)
    assert set(made) == set(schema.names)
    for field in schema:
        value = made[field.name]
        stored = pa.array([list(value) if isinstance(value, np.ndarray) else value], field.type)
        assert stored.null_count == 0
    assert made["frame_time_s"].tolist() == [0, 1, 2, 3]
    assert made["frame_time_s"].dtype == np.float32
    assert (made["frame_feature"].dtype, made["frame_feature"].shape) == (np.float16, (4, 512))
    assert np.linalg.norm(made["frame_feature"].astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
    assert made["shot_start"][0] == 0
    assert made["shot_stop"][-1] == 4
    assert made["shot_start"][1:].tolist() == made["shot_stop"][:-1].tolist()
    assert (made["width"], made["height"]) == (160, 90)
    assert (made["clip_model"], made["clip_weights"], made["sampling"]) == ("ViT-B-32", "seed:0", "exact")
    assert made["decoder"].startswith("ffmpeg ")
    way = "224 px shortest bicubic, mean 0.48145466 0.4578275 0.40821073, std 0.26862954 0.26130258 0.27577711"
    assert made["decoder"].endswith(f" cpu, {way}")
    versions = f"torch {torch.__version__}, open_clip {metadata.version('open_clip_torch')}"
    assert made["device"] == f"cpu {choose_precision('cpu')}, {versions}"


def test_one_frame_is_one_shot(tmp_path, stage):
    made = stage(row(clip_of(tmp_path / "clip.mp4", "testsrc=s=64x64", "-frames:v", 1)))
    assert made["frame_feature"].shape == (1, 512)
    assert (made["shot_start"].tolist(), made["shot_stop"].tolist()) == ([0], [1])


def test_size_is_what_a_player_shows(tmp_path, stage):
    flat, turned = clip_of(tmp_path / "flat.mp4", "testsrc=s=96x64:d=1"), tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", 90, "-i", flat, "-c", "copy", turned)
    made = stage(row(turned))
    assert (made["width"], made["height"]) == (64, 96)


def test_a_frame_that_serves_many_seconds_is_encoded_once(tmp_path, encoder, monkeypatch):
    """Three pictures of 100 seconds each: more seconds than a chunk holds, but one batch for the model."""
    path = clip_of(tmp_path / "clip.mp4", "testsrc=s=64x64:r=1/100:d=300")
    sizes: list[int] = []
    forward = encoder._forward

    def counted(x: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return forward(x)

    monkeypatch.setattr(encoder, "_forward", counted)
    with read_frames(path, Wanted(size=224)) as reader:
        time_s, feature = frames.encode_frames(reader, encoder)
    assert time_s.tolist() == [0] * 100 + [100] * 100 + [200] * 100
    assert (feature[:100] == feature[0]).all()
    assert (feature[100:200] == feature[100]).all()
    assert (feature[200:] == feature[200]).all()
    assert len({row.tobytes() for row in feature}) == 3
    assert sizes == [3]
    assert encoder.batch < 100


@pytest.mark.parametrize("batch", [7, 32, 256])
def test_batches_are_full(encoder, monkeypatch, batch):
    """The device gets as many frames at once as it can take, however the decoder delivers them."""
    sizes: list[int] = []

    def counted(x: np.ndarray) -> np.ndarray:
        sizes.append(len(x))
        return x.reshape(len(x), -1)[:, :4]

    def shown() -> Iterator[tuple[float, np.ndarray]]:
        """Each frame serves two seconds."""
        for number in range(600):
            frame = np.full((2, 2, 3), number % 251, np.uint8)
            yield from ((2.0 * number, frame), (2.0 * number + 1, frame))

    monkeypatch.setattr(encoder, "batch", batch)
    monkeypatch.setattr(encoder, "_forward", counted)
    time_s, feature = frames.encode_frames(shown(), encoder)
    assert sizes == [batch] * (600 // batch) + [600 % batch]
    assert time_s.tolist() == list(range(1200))
    assert feature[:, 0].tolist() == [k // 2 % 251 for k in range(1200)]


def test_decoding_does_not_run_far_ahead(encoder, monkeypatch):
    """While the model works on a batch, only a limited number of frames wait in memory."""
    decoded, most = 0, 0
    done = 0

    def shown() -> Iterator[tuple[float, np.ndarray]]:
        nonlocal decoded
        for decoded in range(1, 81):
            yield float(decoded), np.zeros((2, 2, 3), np.uint8)

    def slow(x: np.ndarray) -> np.ndarray:
        nonlocal done, most
        time.sleep(0.02)
        most = max(most, decoded - done)
        done += len(x)
        return x.reshape(len(x), -1)[:, :4]

    monkeypatch.setattr(encoder, "batch", 4)
    monkeypatch.setattr(encoder, "_forward", slow)
    frames.encode_frames(shown(), encoder)
    assert 4 < most <= 4 * (frames.AHEAD + 2) + 1


def test_hwaccel_that_is_not_there_is_noted_in_the_row(tmp_path):
    """`cuda` where there is none: the row is done on the CPU and says so."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    context = Context(root=str(tmp_path), scratch=str(tmp_path), threads=2)
    cuda = frames.load(dict(OPTIONS, clip_model="ViT-S-32-alt", frame_dim=256, hwaccel="cuda"), context)
    made = cuda(row(clip_of(tmp_path / "clip.mp4", "testsrc=s=64x64:r=5:d=3")))
    assert made["frame_time_s"].tolist() == [0, 1, 2]
    assert " cpu, 224 px" in made["decoder"]
    assert made["detail"].startswith("no frame came with hwaccel cuda, decoded on the CPU: ")


def test_truncated_says_so(tmp_path, stage):
    whole = clip_of(tmp_path / "whole.mp4", "testsrc=s=160x120:r=25:d=8", "-movflags", "+faststart")
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    made = stage(row(short))
    assert 1 <= len(made["frame_time_s"]) < 8
    assert made["detail"].startswith(f"decoded up to {made['frame_time_s'][-1]:.1f} s of 8.0 s: ")


def test_sound_only_is_skipped(tmp_path, stage):
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "sound.mp3")
    with pytest.raises(SkipVideo) as caught:
        stage(row(tmp_path / "sound.mp3"))
    assert caught.value.reason == "no_video"


def test_what_goes_wrong_while_decoding_reaches_the_stage(tmp_path, stage):
    clip = clip_of(
        tmp_path / "clip.mkv", "testsrc=s=64x64:r=1:d=3", "-vf", "setpts=N*200000/TB", "-fps_mode", "passthrough"
    )
    for _ in range(2):  # and the stage goes on to the next video
        with pytest.raises(FailVideo) as caught:
            stage(row(clip))
        assert caught.value.reason == "too_big"


def test_a_manifest_that_expects_another_dim_is_refused(tmp_path):
    context = Context(root=str(tmp_path), scratch=str(tmp_path))
    with pytest.raises(UsageError, match="512"):
        frames.load(dict(OPTIONS, frame_dim=768), context)


def test_keyframes_keep_their_own_times(tmp_path):
    args = ("-g", 50, "-bf", 0, "-sc_threshold", 0)
    path = clip_of(tmp_path / "clip.mp4", "testsrc=s=64x64:r=25:d=5", *args)
    context = Context(root=str(tmp_path), scratch=str(tmp_path), threads=2)
    made = frames.load(dict(OPTIONS, sampling="keyframes"), context)(row(path))
    assert made["frame_time_s"].tolist() == [0, 0, 2, 2, 4]
    assert made["sampling"] == "keyframes"


@pytest.mark.recorded
def test_recorded_clips(stage):
    if not MEDIA.is_dir():
        pytest.skip("the recorded data is not here")
    for path in sorted(MEDIA.glob("*.mp4")):
        made = stage(row(path))
        with read_frames(path, Wanted(size=224)) as reader:
            duration_s = reader.info.duration_s or 0
        feature = made["frame_feature"].astype(np.float32)
        assert abs(len(feature) - math.ceil(duration_s)) <= 1, path.name
        assert np.isfinite(feature).all()
        assert np.linalg.norm(feature, axis=1) == pytest.approx(1, abs=1e-3)
        assert made["shot_stop"][-1] == len(feature)
        assert "detail" not in made
