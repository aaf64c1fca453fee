"""What ffmpeg says of a file, as it may say it: in numbers that are none, and in titles that pretend to be streams."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stages.fuzz_kit import limited
from tests.stages.pictures.numbered_clips import X264, ffmpeg, render

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.pictures.ffmpeg import own_words
from vsumdata.stages.pictures.probe import probe, read_messages

SAID = """Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/tmp/a.mp4':
  Metadata:
    title           : {title}
  Duration: 00:01:24.03, start: {start}, bitrate: 50 kb/s
  Stream #0:0[0x1](und): Video: h264 (High), yuv420p(progressive), {size}, 40 kb/s, {fps} fps, 10 tbr (default)
    Side data:
        displaymatrix: rotation of {turn} degrees
  Stream #0:1[0x2](und): Audio: aac (LC), {rate} Hz, mono, fltp, 31 kb/s (default)
"""
USUAL = {"title": "x", "start": "0.500000", "size": "426x240 [SAR 1:1 DAR 71:40]", "fps": "29.97", "turn": "-90.00"}
USUAL |= {"rate": "22050"}


def test_what_is_said_is_read() -> None:
    info = read_messages(SAID.format(**USUAL))
    assert (info.duration_s, info.start_s) == (84.03, 0.5)
    assert info.best_video is not None
    assert (info.best_video.shown_size, info.best_video.fps, info.best_video.rotation_deg) == ((240, 426), 29.97, -90)
    assert info.best_audio is not None
    assert info.best_audio.sample_rate == 22050


@pytest.mark.parametrize("name", ["start", "fps", "turn", "rate"])
@pytest.mark.parametrize("value", ["1.2.3", ".", "-", "9" * 5000, "nan", "1e999", "٣"])
def test_a_number_that_is_none_is_passed_over(name: str, value: str) -> None:
    info = read_messages(SAID.format(**USUAL | {name: value}))
    assert info.best_video is not None
    assert abs(info.start_s) < 1e12


@pytest.mark.parametrize("size", ["0x0", "426x0", "99999999x1", f"{'9' * 5000}x1", "none"])
def test_a_picture_of_no_size_is_a_broken_one(size: str) -> None:
    info = read_messages(SAID.format(**USUAL | {"size": size}))
    assert (info.video, info.has_broken_video) == ((), True)


@pytest.mark.parametrize("shape", ["2147483647:1", "1:2147483647", "0:1", "1:0"])
def test_pixels_of_an_impossible_shape_are_square(shape: str) -> None:
    """Else the width would not fit into its column, which stopped the run."""
    info = read_messages(SAID.format(**USUAL | {"size": f"426x240 [SAR {shape} DAR 71:40]", "turn": "0.00"}))
    assert info.best_video is not None
    assert info.best_video.shown_size == (426, 240)


@pytest.mark.parametrize("line_end", ["\u2028", "\x85", "\x1e", "\x0b"])
def test_a_title_is_no_stream(tmp_path: Path, line_end: str) -> None:
    """`str.splitlines` knows more line ends than ffmpeg, which writes these into its messages as they are."""
    title = f"x{line_end}  Stream #0:7: Video: h264, yuv420p, 4000x4000, 25 fps"
    plain = render(tmp_path / "plain.mkv", 10, "N/25", *X264)
    ffmpeg("-i", plain, "-c", "copy", "-metadata", f"title={title}", tmp_path / "titled.mkv")
    assert probe(tmp_path / "titled.mkv") == probe(plain)


@pytest.mark.parametrize("text", ["[" * 200_000, "https://[" * 50_000, "[a @ " * 50_000, "[a @ 0x1" * 50_000])
def test_long_messages_take_no_time(text: str) -> None:
    """A bracket searched for its end up to the end of the line: 64 kB took seconds, 500 kB minutes."""
    with limited(5), pytest.raises(FailVideo, match="unreadable"):
        read_messages(text)


def test_own_words() -> None:
    assert own_words("[mov,mp4,m4a @ 0x55d0c0] [error] moov atom not found\n") == "moov atom not found"
    assert own_words("[in#0/mov @ 0x5583] [fatal] no [x] y\n") == "no [x] y"
