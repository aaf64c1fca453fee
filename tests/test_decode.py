"""Which frames and which sound come out of files that are rendered here.

The clips' frames carry their own number as eight bands, light or dark; the test knows when each is shown.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.numbered_clips import X264, Time, ffmpeg, read, render

from vsumdata.stages.decode import Wanted, read_frames


def by_the_rule(num_frames: int, shown_at: Time, fps: float = 1.0) -> list[int]:
    """The rule in its plainest form: for each k the first frame shown at or after k / fps."""
    times = [round(shown_at(n), 6) for n in range(num_frames)]
    num_k = max(1, math.floor(times[-1] * fps + 1e-5) + 1)
    return [next((n for n, t in enumerate(times) if t >= k / fps - 1e-5), num_frames - 1) for k in range(num_k)]


CLIPS: dict[str, tuple[int, str, Time, str, tuple[object, ...]]] = {
    "constant": (130, "N/25", lambda n: n / 25, "mp4", X264),
    "ntsc": (200, "N*1001/30000", lambda n: n * 1001 / 30000, "mp4", X264),
    "b-frames": (150, "N/30", lambda n: n / 30, "mp4", (*X264, "-bf", 7, "-g", 60)),
    "variable": (80, "N*N*0.002", lambda n: n * n * 0.002, "mp4", X264),
    "slower than the grid": (6, "N*2.5", lambda n: n * 2.5, "mp4", X264),
    "matroska": (100, "N/24", lambda n: round(n / 24, 3), "mkv", X264),
    "starts at 5.3 s": (90, "N/25+5.3", lambda n: n / 25, "mkv", X264),
    "transport stream": (90, "N/25", lambda n: n / 25, "ts", X264),
    "key frames only": (60, "N/10", lambda n: n / 10, "mkv", ("-c:v", "mjpeg")),
    "one frame": (1, "N/25", lambda n: n / 25, "mp4", X264),
    "two frames": (2, "N*1.5", lambda n: n * 1.5, "mp4", X264),
}


@pytest.mark.parametrize("name", CLIPS)
def test_frame_k_is_the_first_shown_at_or_after_k(tmp_path, name):
    num_frames, setpts, shown_at, suffix, args = CLIPS[name]
    clip = render(tmp_path / f"clip.{suffix}", num_frames, setpts, *args)
    times, numbers, reader = read(clip)
    assert numbers == by_the_rule(num_frames, shown_at)
    assert times == pytest.approx([shown_at(n) for n in numbers], abs=1e-3)
    assert reader.note == ""


@pytest.mark.parametrize("fps", [0.5, 2.0, 12.5])
def test_other_rates(tmp_path, fps):
    clip = render(tmp_path / "clip.mp4", 130, "N/25", *X264)
    assert read(clip, fps=fps)[1] == by_the_rule(130, lambda n: n / 25, fps)


def test_time_counts_from_the_containers_start_not_the_pictures(tmp_path):
    pictures = render(tmp_path / "pictures.mkv", 75, "N/25+1.4", *X264)
    clip = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=4", "-copyts", "-i", pictures, "-c:v", "copy", "-c:a", "flac", clip)
    times, numbers, _ = read(clip)
    # Frame 0 is the first shown at or after 0 s and after 1 s.
    assert numbers == [0, 0, 15, 40, 65]
    assert times == pytest.approx([1.4, 1.4, 2.0, 3.0, 4.0], abs=1e-3)


def test_edit_list(tmp_path):
    whole = render(tmp_path / "whole.mp4", 150, "N/25", *X264, "-g", 100)
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", 1.2, "-i", whole, "-c", "copy", cut)
    # An edit list hides the 30 frames before the cut, which decoding needs from the key frame on.
    assert read(cut)[1] == [30, 55, 80, 105, 130]


def test_recordings_put_end_to_end(tmp_path):
    one = render(tmp_path / "one.ts", 75, "N/25", *X264)
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() * 2)
    times, numbers, _ = read(both)
    # ffmpeg guesses when the second one begins, to within a frame.
    assert numbers == pytest.approx([0, 25, 50, 0, 25, 50], abs=1)
    assert times == pytest.approx(range(6), abs=0.05)


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_key_frames(tmp_path, suffix):
    clip = render(tmp_path / f"clip.{suffix}", 125, "N/25", *X264, "-g", 50, "-bf", 0, "-sc_threshold", 0)
    times, numbers, _ = read(clip, sampling="keyframes")
    assert numbers == [0, 0, 50, 50, 100]
    assert times == pytest.approx([0, 0, 2, 2, 4], abs=1e-3)


@pytest.mark.parametrize(("turn", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (270, (0, 1))])
def test_rotation(tmp_path, turn, corner):
    """A light top left corner goes where a player shows it; the size is the one that is seen."""
    flat, turned = tmp_path / "flat.mp4", tmp_path / "turned.mp4"
    picture = "color=black:s=96x64:d=1,drawbox=0:0:48:32:white:fill"
    ffmpeg("-f", "lavfi", "-i", picture, *X264, "-pix_fmt", "yuv420p", flat)
    ffmpeg("-display_rotation", turn, "-i", flat, "-c", "copy", turned)
    with read_frames(turned, Wanted(size=64, resize="squash")) as reader:
        _, frame = next(reader)
        assert reader.stream.shown_size == ((96, 64) if turn % 180 == 0 else (64, 96))
    quarters = frame.reshape(2, 32, 2, 32, 3).mean((1, 3, 4))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == corner
    assert (quarters > 100).sum() == 1


def test_wide_pixels_are_made_square(tmp_path):
    """A circle that is stored half as wide comes out round."""
    clip = tmp_path / "clip.mp4"
    ellipse = "nullsrc=s=100x100:d=1,geq=lum='255*lt(hypot((X-50)*2,Y-50),40)':cb=128:cr=128,setsar=2"
    ffmpeg("-f", "lavfi", "-i", ellipse, *X264, "-pix_fmt", "yuv420p", clip)
    with read_frames(clip, Wanted(size=100)) as reader:
        _, frame = next(reader)
        assert reader.stream.shown_size == (200, 100)
    light = frame.mean(2) > 128
    width, height = light.any(0).sum(), light.any(1).sum()
    assert height == pytest.approx(80, abs=2)
    assert width == pytest.approx(height, abs=2)


def test_portrait_keeps_the_middle(tmp_path):
    clip = tmp_path / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=black:s=64x160:d=1,drawbox=0:48:64:64:white:fill", *X264, clip)
    with read_frames(clip, Wanted(size=32)) as reader:
        _, frame = next(reader)
    assert frame.shape == (32, 32, 3)
    assert frame[2:-2].min() > 200
