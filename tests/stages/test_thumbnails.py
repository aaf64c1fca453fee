"""The `thumbnails` table: pictures of real small films."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.stage import Context
from vsumdata.stages.thumbnails import LONGER_SIDE_PX, NUMBER, load, thumbnails_of

CONTEXT = Context(root="unused", scratch="unused")


def film(path: Path, *, size: str = "320x180", seconds: float = 12, keys: int = 10) -> Path:
    """A film that grows lighter, with a key frame every `keys` pictures."""
    light = f"nullsrc=s={size}:r=10,format=gray,geq=lum='255*T/{seconds}'"
    command = [ffmpeg_program(), "-v", "error", "-f", "lavfi", "-i", light, "-t", f"{seconds}", "-g", f"{keys}"]
    subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def lightness(picture: dict) -> float:
    image = Image.open(io.BytesIO(picture["webp"])).convert("L")
    return float(sum(image.tobytes()) / len(image.tobytes()))


def test_pictures_of_the_middles_of_equal_stretches(tmp_path: Path) -> None:
    found = load({}, CONTEXT)({"media": str(film(tmp_path / "a.mp4")), "videos": {"duration_s": None}})["thumbnail"]
    assert [round(each["time_s"], 2) for each in found] == [at + 0.5 for at in range(NUMBER)]
    expected = [255 * int(each["time_s"]) / 12 for each in found]  # the key frame of that second
    assert [lightness(each) for each in found] == pytest.approx(expected, abs=8)


@pytest.mark.parametrize("size", ["320x180", "90x160", "64x64", "720x48"])
def test_a_picture_has_the_shape_of_its_video_without_margins(tmp_path: Path, size: str) -> None:
    wide, high = map(int, size.split("x"))
    (first, *_) = thumbnails_of(film(tmp_path / "a.mp4", size=size, seconds=2), None, CONTEXT)
    shown = Image.open(io.BytesIO(first["webp"])).size
    assert max(shown) == LONGER_SIDE_PX
    assert shown[0] / shown[1] == pytest.approx(wide / high, rel=0.15)


def test_one_picture_is_enough_and_none_is_a_reason(tmp_path: Path) -> None:
    assert 1 <= len(thumbnails_of(film(tmp_path / "a.mp4", seconds=0.1), None, CONTEXT)) <= NUMBER
    sound = tmp_path / "sound.wav"
    command = [ffmpeg_program(), "-v", "error", "-f", "lavfi", "-i", "sine", "-t", "1", str(sound)]
    subprocess.run(command, check=True)
    with pytest.raises(SkipVideo, match="no_video"):
        thumbnails_of(sound, None, CONTEXT)
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(FailVideo, match="unreadable"):
        thumbnails_of(tmp_path / "text.mp4", None, CONTEXT)
