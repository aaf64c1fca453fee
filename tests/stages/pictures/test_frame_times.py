"""The rule of frames on all kinds of containers, compared with another program's reading of the same file (PyAV)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest
from tests.stages.pictures.numbered_clips import SIDE, X264, ffmpeg, number_of, numbered, read, read_by_pyav, render

from vsumdata.stages.pictures.decode import CLOCK_S, Wanted, probe, read_frames

Make = Callable[[Path], Path]
VP9 = ("-c:v", "libvpx-vp9", "-cpu-used", 8, "-deadline", "realtime")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none")
FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")


@dataclass(frozen=True)
class Shown:
    """A frame as PyAV reads it; `time_s` counts from the container's start."""

    time_s: Fraction
    number: int
    is_key: bool


def shown_frames(path: Path) -> list[Shown]:
    stream = probe(path).best_video
    assert stream is not None
    found = [Shown(time_s, number_of(picture), is_key) for time_s, is_key, picture in read_by_pyav(path, stream.index)]
    # AVI has no presentation times, and the libraries date its first picture by the packet that completes it.
    late_s = found[0].time_s if path.suffix == ".avi" else Fraction(0)
    return [Shown(frame.time_s - late_s, frame.number, frame.is_key) for frame in found]


def by_the_rule(frames: list[Shown], fps: float, end_s: Fraction = Fraction(0)) -> list[Shown]:
    """For each k before `end_s`, at least up to the last frame, the last one shown at or before k / fps."""
    step, slack = 1 / Fraction(str(fps)), Fraction(str(CLOCK_S))
    num_k = max(1, math.floor((frames[-1].time_s + slack) / step) + 1, math.ceil((end_s - Fraction(1, 1000)) / step))
    return [[f for f in frames if f.time_s <= k * step + slack or f is frames[0]][-1] for k in range(num_k)]


def presentation_end_s(path: Path) -> Fraction:
    """When pictures and sound end, in s from the start: the container's duration, not long after the last packet."""
    stream = probe(path).best_video
    assert stream is not None
    with av.open(str(path)) as container:
        start, end = Fraction(container.start_time or 0, av.time_base), Fraction(0)
        for packet in container.demux(container.streams[stream.index], *container.streams.audio):
            at = packet.dts if packet.pts is None else packet.pts
            if at is not None:
                end = max(end, (at + (packet.duration or 0)) * packet.time_base - start)
        if container.duration is None:
            return end
        # Matroska's counts from the time stamp 0.
        zero = start if "matroska" in container.format.name else 0
        return min(end + Fraction(1, 5), Fraction(container.duration, av.time_base) - zero)


def plain(path: Path, *args: object, rate: object = 25, num: int = 80) -> Path:
    """A clip whose times the container derives from its rate."""
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIDE}x{SIDE}", "-r", rate, "-i", "-")
    ffmpeg(*raw, "-pix_fmt", "yuv420p", *args, path, feed=numbered(num))
    return path


def with_sound(
    path: Path, *, picture_s: float = 0, sound_s: float = 0, length_s: float = 4, codec: str = "aac"
) -> Path:
    """Pictures of 3.6 s from `picture_s` on, and a sound of `length_s` from `sound_s` on."""
    args = VP9 if path.suffix == ".webm" else (*X264, "-bf", 2)
    pictures = render(path.with_name("pictures.mkv"), 90, "N/25", *args)
    sound = ("-itsoffset", sound_s, "-f", "lavfi", "-i", f"sine=d={length_s}:r=48000")
    ffmpeg(*sound, "-itsoffset", picture_s, "-i", pictures, "-map", 0, "-map", 1, "-c:v", "copy", "-c:a", codec, path)
    return path


def cut(path: Path, *args: object) -> Path:
    """Cut at 1.2 s without encoding again: the key frame before it is hidden, or shown before the start."""
    whole = render(path.with_name("whole.mp4"), 150, "N/25", *X264, "-g", 100, "-bf", 3)
    ffmpeg("-ss", 1.2, "-i", whole, "-c", "copy", *args, path)
    return path


def joined_late(path: Path) -> Path:
    """A recording that begins between two key frames. Frames before the first key frame cannot be shown."""
    data = render(path.with_name("whole.ts"), 150, "N/25", *X264, "-g", 50, "-bf", 2).read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 5) :])
    return path


def shifted(path: Path, offset_s: float) -> Path:
    ffmpeg("-i", plain(path.with_name("a.mp4"), *X264), "-c", "copy", "-output_ts_offset", offset_s, path)
    return path


LAYOUTS: dict[str, Make] = {
    "HEVC, B-frames": lambda p: render(p / "a.mp4", 80, "N/25", *X265, "-bf", 4),
    "interlaced": lambda p: render(p / "a.mp4", 100, "N/25", *X264, "-flags", "+ilme+ildct"),
    "WebM": lambda p: render(p / "a.webm", 60, "N/25", *VP9),
    "WebM with hidden frames": lambda p: render(p / "a.webm", 60, "N/25", "-c:v", "libvpx", "-auto-alt-ref", 1),
    "WebM, Opus": lambda p: with_sound(p / "a.webm", codec="libopus"),
    "WebM, pictures late": lambda p: with_sound(p / "a.webm", picture_s=0.7, codec="libopus"),
    "transport stream, sound first": lambda p: with_sound(p / "a.ts", picture_s=0.7),
    "transport stream, pictures first": lambda p: with_sound(p / "a.ts", sound_s=0.7),
    "transport stream, clock runs over": lambda p: shifted(p / "a.ts", 95440),
    "transport stream, key frame late": lambda p: joined_late(p / "a.ts"),
    "MP4, pictures late": lambda p: with_sound(p / "a.mp4", picture_s=1.3),
    "MP4, sound late": lambda p: with_sound(p / "a.mp4", sound_s=0.7),
    "MP4, sound longer": lambda p: with_sound(p / "a.mp4", length_s=9),
    "MP4, sound shorter": lambda p: with_sound(p / "a.mp4", length_s=1),
    "MP4, edit list": lambda p: cut(p / "a.mp4"),
    "MP4, no edit list": lambda p: cut(p / "a.mp4", "-avoid_negative_ts", "disabled", "-use_editlist", 0),
    "MP4, fragments": lambda p: render(p / "a.mp4", 130, "N/25", *X264, "-bf", 3, *FRAGMENTS),
    "MP4, a gap of an hour": lambda p: render(p / "a.mp4", 100, "N/25+gt(N,50)*3900", *X264),
    "MOV, pictures late": lambda p: with_sound(p / "a.mov", picture_s=2.3),
    "MOV, time code": lambda p: render(p / "a.mov", 60, "N/25", *X264, "-timecode", "01:00:00:00"),
    "Matroska, starts at two hours": lambda p: render(p / "a.mkv", 100, "N/25+7200.04", *X264),
    "Matroska, cut": lambda p: cut(p / "a.mkv"),
    "Flash, sound first": lambda p: with_sound(p / "a.flv", picture_s=0.7),
    "AVI": lambda p: plain(p / "a.avi", "-c:v", "mpeg4", "-bf", 2),
    "Windows Media": lambda p: plain(p / "a.wmv", "-c:v", "wmv2"),
    "program stream": lambda p: plain(p / "a.mpg", "-c:v", "mpeg2video", "-bf", 2),
    "Theora": lambda p: plain(p / "a.ogv", "-c:v", "libtheora"),
    "GIF": lambda p: render(p / "a.gif", 30, "N*N*0.01", "-pix_fmt", "gray"),
    "0.2 frames a second": lambda p: plain(p / "a.mp4", *X264, rate="1/5", num=6),
    "0.2 frames a second, transport stream": lambda p: plain(p / "a.ts", *X264, rate="1/5", num=6),
    "240 frames a second": lambda p: render(p / "a.mp4", 250, "N/240", *X264),
    "one frame, late": lambda p: render(p / "a.mkv", 1, "N/25+3.7", *X264),
    "a hair before each step": lambda p: render(p / "a.mp4", 60, "N*0.1-gt(N,0)/50000", *X264),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_rule_holds_for(tmp_path, name):
    clip = LAYOUTS[name](tmp_path)
    expected = by_the_rule(shown_frames(clip), 1, presentation_end_s(clip))
    times, numbers, reader = read(clip)
    assert numbers == [frame.number for frame in expected]
    assert times == pytest.approx([float(frame.time_s) for frame in expected], abs=1e-3)
    assert "header" not in reader.note


@pytest.mark.parametrize("fps", [0.1, 0.5, 2.0, 29.97, 100.0])
@pytest.mark.parametrize("name", ["N*1001/30000", "N*N*0.0003"])
def test_the_rule_holds_at_other_rates(tmp_path, name, fps):
    clip = render(tmp_path / "clip.mp4", 150, name, *X264, "-video_track_timescale", 90000)
    expected = by_the_rule(shown_frames(clip), fps, presentation_end_s(clip))
    times, numbers, _ = read(clip, fps=fps)
    assert numbers == [frame.number for frame in expected]
    assert times == pytest.approx([float(frame.time_s) for frame in expected], abs=1e-4)


KEYED = [
    *("MP4, edit list", "MP4, no edit list", "MP4, pictures late", "MP4, fragments", "HEVC, B-frames"),
    *("transport stream, sound first", "Flash, sound first", "WebM", "GIF", "Windows Media", "Theora"),
    *("AVI", "program stream"),
]


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("fps", [1, 3])
def test_the_rule_holds_for_key_frames_alone(tmp_path, name, fps):
    """The traps of VP9, GIF, AVI and program streams: decoders that skip no frame, packets without times."""
    clip = LAYOUTS[name](tmp_path)
    frames, end_s = shown_frames(clip), presentation_end_s(clip)
    num_k = len(by_the_rule(frames, fps, end_s))
    keys = [frame for frame in frames if frame.is_key]
    expected = by_the_rule(keys, fps, Fraction(num_k, fps))
    times, numbers, _ = read(clip, sampling="keyframes", fps=fps)
    assert numbers == [frame.number for frame in expected]
    assert times == pytest.approx([float(frame.time_s) for frame in expected], abs=1e-3)


@pytest.mark.parametrize(("flip", "corner"), [("-display_hflip", (0, 1)), ("-display_vflip", (1, 0))])
def test_mirrored(tmp_path, flip, corner):
    """A light top left corner appears where a player shows it."""
    flat, mirrored = tmp_path / "flat.mp4", tmp_path / "mirrored.mp4"
    picture = "color=black:s=96x64:d=1,drawbox=0:0:48:32:white:fill"
    ffmpeg("-f", "lavfi", "-i", picture, *X264, "-pix_fmt", "yuv420p", flat)
    ffmpeg(flip, "-i", flat, "-c", "copy", mirrored)
    with read_frames(mirrored, Wanted(size=64, resize="squash")) as reader:
        _, frame = next(reader)
        assert reader.stream.shown_size == (96, 64)
    assert frame.reshape(2, 32, 2, 32, 3).mean((1, 3, 4))[corner] > 100
