"""The frames stage and CLIP's image tower, with seeded weights; no model hub."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from PIL import Image

from vsumdata.manifests import tables
from vsumdata.pipeline.errors import FailVideo, SkipVideo, UsageError
from vsumdata.pipeline.stage import Context, Function
from vsumdata.stages import frames
from vsumdata.stages.clip import ClipEncoder, choose_precision
from vsumdata.stages.decode import Wanted, read_frames
from vsumdata.stages.ffmpeg import ffmpeg_program
from vsumdata.stages.models import resolve_clip

MEDIA = Path(__file__).parents[1].parent / "shared" / "data" / "media"
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


def pictures(num: int, size: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


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
    assert made["decoder"].endswith(" cpu")
    assert made["device"] == f"cpu {choose_precision('cpu')}"


def test_one_frame_is_one_shot(tmp_path, stage):
    made = stage(row(clip_of(tmp_path / "clip.mp4", "testsrc=s=64x64", "-frames:v", 1)))
    assert made["frame_feature"].shape == (1, 512)
    assert (made["shot_start"].tolist(), made["shot_stop"].tolist()) == ([0], [1])


def test_size_is_what_a_player_shows(tmp_path, stage):
    flat, turned = clip_of(tmp_path / "flat.mp4", "testsrc=s=96x64:d=1"), tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", 90, "-i", flat, "-c", "copy", turned)
    made = stage(row(turned))
    assert (made["width"], made["height"]) == (64, 96)


def test_a_frame_that_serves_many_seconds_is_encoded_once(tmp_path, stage):
    """One picture for 100 seconds, then one more: more seconds than a chunk holds."""
    made = stage(row(clip_of(tmp_path / "clip.mp4", "testsrc=s=64x64:r=1/100:d=200")))
    assert made["frame_time_s"].tolist() == [0] + [100] * 100
    assert (made["frame_feature"][1:] == made["frame_feature"][1]).all()
    assert (made["frame_feature"][0] != made["frame_feature"][1]).any()
    assert frames.CHUNK < 100


def test_longer_than_what_waits_between_decoder_and_model(tmp_path):
    """More chunks than the decoder may run ahead: all arrive, in order."""
    num = frames.CHUNK * (frames.AHEAD + 2)
    path = clip_of(tmp_path / "clip.mp4", f"testsrc=s=64x64:r=25:d={num / 25}")
    with read_frames(path, Wanted(size=224, fps=25)) as reader:
        ahead = [item for chunk in frames._ahead(frames._chunks(reader)) for item in chunk]
    assert [round(time_s * 25) for time_s, _ in ahead] == list(range(num))


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


def test_seeded_weights_are_the_same_in_each_process(encoder):
    code = """
import numpy as np
from vsumdata.stages.clip import ClipEncoder
pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
print(ClipEncoder("ViT-B-32", "seed:0", threads=2).encode(pictures).astype(np.float32).tobytes().hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    other = np.frombuffer(bytes.fromhex(done.stdout), np.float32).reshape(2, 512)
    assert np.abs(other - encoder.encode(pictures(2)).astype(np.float32)).max() < 1e-3
    assert "seed:0: such features mean nothing" in done.stderr


def test_another_seed_is_another_model_and_leaves_torch_alone(encoder):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    other = ClipEncoder("ViT-B-32", "seed:1", threads=2)
    assert torch.equal(torch.rand(3), expected)
    assert cosine(other.encode(pictures(1)), encoder.encode(pictures(1)))[0] < 0.9


def test_encoder_equals_open_clip():
    """Preprocessing and the image tower as `encode_image` has them, here in float32."""
    torch.manual_seed(3)
    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32")
    batch = pictures(3)
    with torch.inference_mode():
        expected = model.eval().encode_image(torch.stack([transform(Image.fromarray(p)) for p in batch]))
    ours = ClipEncoder("ViT-B-32", "seed:3", threads=2, precision="fp32").encode(batch)
    assert cosine(ours, expected.numpy()) == pytest.approx(1, abs=1e-5)


def test_checkpoint_file(tmp_path):
    torch.manual_seed(5)
    model = open_clip.create_model("RN50")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    from_file = ClipEncoder("RN50", str(tmp_path / "weights.pt"), threads=2, precision="fp32")
    seeded = ClipEncoder("RN50", "seed:5", threads=2, precision="fp32")
    assert from_file.dim == seeded.dim == resolve_clip("RN50", "seed:5", tmp_path).dim == 1024
    assert cosine(from_file.encode(pictures(2)), seeded.encode(pictures(2))) == pytest.approx(1, abs=1e-5)


def test_checkpoint_of_something_else(tmp_path):
    (tmp_path / "words.pt").write_text("not weights\n")
    torch.save({"other": torch.zeros(3)}, tmp_path / "other.pt")
    for name in ("words.pt", "other.pt"):
        with pytest.raises(UsageError, match=f"{name} of RN50 cannot be loaded"):
            ClipEncoder("RN50", str(tmp_path / name))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_gives_nearly_the_same(precision):
    batch = pictures(4)
    full = ClipEncoder("ViT-B-32", "seed:0", threads=2, precision="fp32").encode(batch)
    half = ClipEncoder("ViT-B-32", "seed:0", threads=2, precision=precision)
    assert half.device_name == f"cpu {precision}"
    assert (cosine(half.encode(batch), full) > 0.999).all()


def test_full_memory_halves_the_batch_and_goes_on(encoder, monkeypatch):
    """A tower that, like a GPU that others use too, has room for five pictures."""
    expected, tower = encoder.encode(pictures(11)), encoder._tower
    sizes: list[int] = []

    def small(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 5:
            raise torch.cuda.OutOfMemoryError("no room")
        sizes.append(len(x))
        return tower(x)

    monkeypatch.setattr(encoder, "_tower", small)
    monkeypatch.setattr(encoder, "batch", 16)
    assert (cosine(encoder.encode(pictures(11)), expected) > 0.999).all()
    assert sizes == [4, 4, 3]
    assert encoder.batch == 4


def full_frames(path: Path, index: int, times: list[float], shape: tuple[int, int]) -> np.ndarray:
    """The whole frames of a file that are shown at `times`, as ffmpeg turns them into RGB."""
    chosen = "+".join(f"between(t,{t - 1e-4},{t + 1e-4})" for t in times)
    args = ["-i", path, "-map", f"0:{index}", "-vf", f"select='{chosen}'", "-fps_mode", "passthrough"]
    command = [ffmpeg_program(), "-v", "error", *map(str, args), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    width, height = shape
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.recorded
def test_pictures_agree_with_open_clips_own_preprocessing(encoder):
    if not MEDIA.is_dir():
        pytest.skip("the recorded data is not here")
    to_tensor = open_clip.image_transform(224, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))
    for path in sorted(MEDIA.glob("*.mp4")):
        with read_frames(path, Wanted(size=224)) as reader:
            first = list(itertools.islice(reader, 8))
        ours = np.stack([frame for _, frame in first])
        whole = full_frames(path, reader.stream.index, [t for t, _ in first], reader.stream.shown_size)
        assert len(whole) == len(ours)
        tensors = torch.stack([to_tensor(Image.fromarray(picture)) for picture in whole])
        theirs = (tensors.permute(0, 2, 3, 1) * 255).round().byte().numpy()
        assert np.abs(ours.astype(int) - theirs).mean() <= 0.5, path.name
        assert (cosine(encoder.encode(ours), encoder.encode(theirs)) >= 0.999).all(), path.name


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
