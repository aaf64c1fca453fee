"""Pictures agree with open_clip's own preprocessing of frames that another program decoded (PyAV).

Pixels are compared, not features: with seeded weights even different pictures have a cosine of 0.94 and more.
"""

from __future__ import annotations

import io
import itertools
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.stages.pictures.numbered_clips import X264, ffmpeg, read_by_pyav

from vsumdata.stages.encoders.clip import ClipEncoder, _picture
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.pictures.stills import read_still

Way = tuple[int, str, str]  # size, resize mode, interpolation
VIT_B_32: Way = (224, "shortest", "bicubic")
VIT_L_14_336: Way = (336, "shortest", "bicubic")
SIGLIP: Way = (256, "squash", "bicubic")
MOBILECLIP: Way = (256, "shortest", "bilinear")
PE_CORE: Way = (384, "squash", "bilinear")
WAYS = [VIT_B_32, VIT_L_14_336, SIGLIP, MOBILECLIP, PE_CORE]
SOURCE = "testsrc2=s=640x360:r=5:d=0.2"
# How a player turns the numbers of a file into colours: matrix, range and pixel format.
COLOURS = {
    "SD": ("smpte170m", "tv", "yuv420p"),
    "HD": ("bt709", "tv", "yuv420p"),
    "full range": ("smpte170m", "pc", "yuvj420p"),
    "HD full range": ("bt709", "pc", "yuv420p"),
    "ten bits": ("bt709", "tv", "yuv420p10le"),
    "UHD": ("bt2020nc", "tv", "yuv420p10le"),
    "4:2:2": ("smpte170m", "tv", "yuv422p"),
    "4:4:4": ("bt709", "tv", "yuv444p"),
}


def wanted(way: Way) -> Wanted:
    return Wanted(size=way[0], resize=way[1], interpolation=way[2])


def prepared(picture: np.ndarray, way: Way) -> np.ndarray:
    """A whole RGB picture after open_clip's preprocessing, before mean and deviation."""
    import open_clip  # takes four seconds, which every collection of the tests would pay

    size, resize, interpolation = way
    transform: Callable[[Image.Image], torch.Tensor] = open_clip.image_transform(
        size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode=resize, interpolation=interpolation
    )
    return (transform(Image.fromarray(picture)).permute(1, 2, 0) * 255).round().byte().numpy()


def whole_frames(path: Path, index: int, times: Sequence[float]) -> list[np.ndarray]:
    """The frames of a file that are shown at `times`, decoded by PyAV at full size."""
    found: list[np.ndarray] = []
    for time_s, _, picture in read_by_pyav(path, index):
        if abs(float(time_s) - times[len(found)]) < 1e-4:
            found.append(picture)
            if len(found) == len(times):
                break
    return found


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours.astype(int) - theirs).mean())


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float64) * b.astype(np.float64)).sum(1)  # features are of unit norm


def test_the_ways_are_those_of_open_clips_weights():
    """Each pair of resize mode and interpolation that a pretrained tag of open_clip asks for is tested here."""
    import open_clip

    configs = [open_clip.get_pretrained_cfg(arch, tag) for arch, tag in open_clip.list_pretrained()]
    asked = {_picture("", {"size": 224} | config)[1:] for config in configs}
    assert asked == {way[1:] for way in WAYS}


@pytest.mark.recorded
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_recorded_clips(recordings, way):
    for path in sorted((recordings / "media").glob("*.mp4")):
        with read_frames(path, wanted(way)) as reader:
            first = list(itertools.islice(reader, 6))
        whole = whole_frames(path, reader.stream.index, [time_s for time_s, _ in first])
        assert len(whole) == len(first) == 6
        for (time_s, ours), picture in zip(first, whole, strict=True):
            assert difference(ours, prepared(picture, way)) <= 0.5, (path.name, time_s)


@pytest.mark.recorded
@pytest.mark.parametrize(("model", "way"), [("ViT-B-32", VIT_B_32), ("ViT-B-32-256", SIGLIP), ("RN50", VIT_B_32)])
def test_features_of_recorded_clips(recordings, model, way):
    encoder = ClipEncoder(model, "seed:0", threads=2)
    assert encoder.size == way[0]
    for path in sorted((recordings / "media").glob("*.mp4")):
        with read_frames(path, wanted(way)) as reader:
            first = list(itertools.islice(reader, 4))
        whole = whole_frames(path, reader.stream.index, [time_s for time_s, _ in first])
        ours = encoder.encode(np.stack([frame for _, frame in first]))
        theirs = encoder.encode(np.stack([prepared(picture, way) for picture in whole]))
        assert (cosine(ours, theirs) >= 0.999).all(), path.name


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    command = [ffmpeg_program(), "-v", "error", "-f", "lavfi", "-i", SOURCE, "-frames:v", "1"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return np.frombuffer(raw.stdout, np.uint8).reshape(360, 640, 3)


def stored(path: Path, source: np.ndarray, matrix: str, color_range: str, pixels: str) -> Path:
    """Store the picture in a file, nearly without loss. The file's tags say how its colours are stored."""
    asked = matrix.removesuffix("nc")
    scale = f"scale=out_color_matrix={asked}:out_range={color_range}:flags=accurate_rnd+full_chroma_int"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "640x360", "-r", 5, "-i", "-")
    tags = ("-colorspace", matrix, "-color_range", color_range)
    ffmpeg(*raw, "-vf", f"{scale},format={pixels}", *X264, "-qp", 1, *tags, path, feed=source.tobytes())
    return path


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_those_that_were_stored(tmp_path, source, name):
    """Measured differences: 0.5 to 1.1 of 255. With another matrix in the tags 2.9 and more, with another range 15."""
    clip = stored(tmp_path / "clip.mp4", source, *COLOURS[name])
    with read_frames(clip, wanted(VIT_B_32)) as reader:
        _, ours = next(reader)
    assert difference(ours, prepared(source, VIT_B_32)) <= 2


@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_bilinear_is_not_bicubic(tmp_path, source, resize):
    clip = stored(tmp_path / "clip.mp4", source, *COLOURS["4:4:4"])
    for interpolation, other in (("bilinear", "bicubic"), ("bicubic", "bilinear")):
        with read_frames(clip, wanted((96, resize, interpolation))) as reader:
            _, ours = next(reader)
        same, wrong = (difference(ours, prepared(source, (96, resize, way))) for way in (interpolation, other))
        assert same < 0.7 < wrong, interpolation


@pytest.mark.parametrize("size", [(641, 359), (97, 211), (64, 64), (50, 1000)])
@pytest.mark.parametrize("way", [VIT_B_32, SIGLIP, MOBILECLIP], ids=str)
def test_odd_sizes(tmp_path, size, way):
    """Also for pictures that are enlarged. The margins of the crop are rounded as by Python."""
    clip = tmp_path / "clip.mkv"
    picture = f"testsrc2=s={size[0]}x{size[1]}:r=5:d=0.2"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "ffv1", "-pix_fmt", "bgr0", clip)
    with read_frames(clip, wanted(way)) as reader:
        time_s, ours = next(reader)
    (whole,) = whole_frames(clip, 0, [time_s])
    assert difference(ours, prepared(whole, way)) <= 0.5


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("size", [(460, 345), (97, 301), (31, 31)])
def test_stills_are_those_of_open_clip(way, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    body = io.BytesIO()
    Image.fromarray(picture).save(body, "PNG")
    found = read_still(body.getvalue(), *way)
    assert (found.shape, found.dtype) == ((way[0], way[0], 3), np.uint8)
    assert np.array_equal(found, prepared(picture, way))
