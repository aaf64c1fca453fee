"""Until when a presentation lasts, what is on screen meanwhile, and files whose pictures cannot be seen."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.recordings import RECORDINGS
from tests.stages.pictures.numbered_clips import SIDE, X264, ffmpeg, numbered, read, render, with_sound
from tests.stages.speech.speech_kit import read_audio

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.stages.pictures.decode import AUDIO_RATE, Wanted, probe, read_frames

VP9 = ("-c:v", "libvpx-vp9", "-cpu-used", 8, "-deadline", "realtime")
KEY = "00112233445566778899aabbccddeeff"
CENC = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", KEY, "-encryption_kid", KEY)
CASES = RECORDINGS / "field_cases"


def slides(path: Path, times_s: list[float], *, sound_s: float = 0, args: tuple[object, ...] = ()) -> Path:
    """A screen recording: slide n appears at times_s[n]; with a sound of `sound_s`."""
    # Written by PyAV, since ffmpeg's program gives a picture the length of a frame.
    codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
    pictures = np.frombuffer(numbered(len(times_s)), np.uint8).reshape(-1, SIDE, SIDE)
    silent = path.with_name("silent.mkv")
    with av.open(str(silent), "w") as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for picture, time_s in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    sound = ("-f", "lavfi", "-i", f"sine=d={sound_s}:r=48000", "-map", 0, "-map", 1) if sound_s else ()
    ffmpeg("-copyts", "-i", silent, *sound, "-c:v", "copy", *args, path)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "flv", "ts"])
def test_a_slide_stays_until_the_next(tmp_path, suffix):
    path = slides(tmp_path / f"a.{suffix}", [0, 9.6, 19.6, 33.5], sound_s=59.3)
    times, numbers, reader = read(path)
    assert numbers == [0] * 10 + [1] * 10 + [2] * 14 + [3] * 26
    assert times == pytest.approx([0] * 10 + [9.6] * 10 + [19.6] * 14 + [33.5] * 26, abs=0.05)
    assert reader.note == ""


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=30), st.integers(0, 2500), st.sampled_from([0.5, 1.0, 2.0, 7.0])
)
def test_any_times(tmp_path, gaps_ms, first_ms, fps):
    """For random times the frames are those of the definition."""
    times_s = [t / 1000 for t in np.cumsum([first_ms, *gaps_ms]).tolist()]
    length_s = times_s[-1] + 1.7
    path = slides(tmp_path / "a.mkv", times_s, sound_s=length_s, args=("-y", "-c:a", "pcm_s16le"))
    for sampling in ("exact", "keyframes"):
        _, numbers, reader = read(path, fps=fps, sampling=sampling)
        keys = range(len(times_s)) if sampling == "exact" else [0]
        steps = [Fraction(k) / Fraction(fps) for k in range(10_000) if k / fps < length_s - 1e-3]
        shown = [max((n for n in keys if times_s[n] <= step + 1e-6), default=0) for step in steps]
        assert numbers == shown, (times_s, fps, sampling)
        assert reader.note == ""


@pytest.mark.parametrize(("num_frames", "num_k"), [(1, 1), (10, 1), (25, 1), (26, 2), (51, 3)])
def test_a_short_video(tmp_path, num_frames, num_k):
    assert len(read(render(tmp_path / "a.mp4", num_frames, "N/25", *X264))[0]) == num_k


def test_a_still_picture_with_sound(tmp_path):
    path = slides(tmp_path / "a.mp4", [0], sound_s=30)
    with read_frames(path, Wanted(size=SIDE)) as reader:
        frames = [frame for _, frame in reader]
    assert len(frames) == 30
    assert all(frame is frames[0] for frame in frames)


def test_a_live_recording_without_a_duration(tmp_path):
    whole = slides(tmp_path / "whole.mkv", [0, 4, 9], sound_s=15, args=("-c:a", "libopus"))
    live = tmp_path / "live.webm"
    ffmpeg("-i", whole, "-c", "copy", "-live", 1, "-f", "matroska", live)
    assert probe(live).duration_s is None
    _, numbers, reader = read(live)
    assert numbers in ([0] * 4 + [1] * 5 + [2] * n for n in (6, 7))
    assert reader.note == ""


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_header_that_is_hours_too_long(tmp_path, suffix):
    """The header's duration is written over: ten hours."""
    path = with_sound(tmp_path, seconds=8, suffix=suffix)
    data = bytearray(path.read_bytes())
    if suffix == "mp4":
        place = data.index(b"mvhd") + 4 + 12
        (scale,) = struct.unpack(">I", data[place : place + 4])
        data[place + 4 : place + 8] = struct.pack(">I", 36_000 * scale)
    else:
        place = data.index(b"\x44\x89\x88") + 3
        data[place : place + 8] = struct.pack(">d", 36_000_000.0)
    path.write_bytes(data)
    times, _, reader = read(path)
    assert len(times) in (8, 9)
    # For MP4 ffmpeg goes by the tracks.
    assert suffix == "mp4" or reader.note.startswith("its header says 36000.0 s, its pictures and sound end at 8.")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "flv", "ts", "avi"])
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_nothing_is_made_up_behind_a_break(tmp_path, suffix, share):
    coded = {"webm": VP9, "avi": ("-c:v", "mpeg4", "-bf", 2)}.get(suffix, X264)
    whole = render(tmp_path / "pictures.mkv", 250, "N/25", *X264)
    path = tmp_path / f"a.{suffix}"
    sound = ("-f", "lavfi", "-i", "sine=d=10:r=44100", "-map", 0, "-map", 1)
    ffmpeg("-i", whole, *sound, *coded, "-g", 25, "-movflags", "+faststart", path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    times, numbers, reader = read(path)
    assert 2 <= len(times) < 10
    # Near the break a picture may lack those that it is made of.
    assert numbers[1:-1] == pytest.approx([25 * k for k in range(1, len(times) - 1)], abs=2)
    assert numbers[-1] == pytest.approx(25 * (len(times) - 1), abs=6)
    # Transport streams do not say how long they are, nor does AVI without its index. Others may lack less than counts.
    assert reader.note or suffix in ("ts", "avi") or len(times) > 7


def test_nothing_is_made_up_where_only_pictures_are_lost(tmp_path):
    """The sound goes on behind the last picture that can be decoded, but pictures were there."""
    path = damaged(tmp_path / "pictures.mp4", 50, 100, share=1.0)
    with_sound = tmp_path / "a.mp4"
    ffmpeg("-i", path, "-f", "lavfi", "-i", "sine=d=8:r=44100", "-map", 0, "-map", 1, "-c:v", "copy", with_sound)
    times, _, reader = read(with_sound)
    assert len(times) <= 4
    assert reader.note


def test_pictures_that_avi_leaves_out(tmp_path):
    """AVI keeps a gap as packets without bytes; with B-frames it has no presentation times."""
    path, raw = tmp_path / "a.avi", ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{SIDE}x{SIDE}", "-r", 25, "-i", "-")
    gap = ("-vf", r"setpts=N+gte(N\,17)*8", "-fps_mode", "passthrough")
    ffmpeg(*raw, *gap, "-pix_fmt", "yuv420p", "-c:v", "mpeg4", "-bf", 2, path, feed=numbered(60))
    times, numbers, _ = read(path)
    assert numbers == [0, 17, 42]
    assert times == pytest.approx([0, 1, 2], abs=1e-3)


@pytest.mark.parametrize("sampling", ["exact", "keyframes"])
def test_pictures_that_change_their_size(tmp_path, sampling):
    """As in recordings of calls. ffmpeg builds its filters anew, and loses the pictures inside them."""
    pieces = []
    for number, side in enumerate((64, 96, 64)):
        piece = tmp_path / f"{number}.ts"
        source = f"color=c={('black', 'gray', 'white')[number]}:s={side}x{side}:r=1/4:d=8"
        ffmpeg("-f", "lavfi", "-i", source, *X264, "-g", 1, "-output_ts_offset", 8 * number, "-muxdelay", 0, piece)
        pieces.append(piece.read_bytes())
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(pieces))
    with read_frames(path, Wanted(size=SIDE, sampling=sampling)) as reader:
        light = [float(frame.mean()) for _, frame in reader]
    assert len(light) in (21, 24)
    assert [round(value / 125) for value in light[:21]] == [0] * 8 + [1] * 8 + [2] * 5


def test_text_that_begins_before_pictures_and_sound(tmp_path):
    """Another track defines the container's start; a player's 0:00 is the first picture or sound."""
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nhello\n")
    pictures = render(tmp_path / "pictures.mkv", 100, "N/25+5", *X264)
    sound = ("-itsoffset", 5, "-f", "lavfi", "-i", "sine=d=4:r=48000")
    path = tmp_path / "a.mkv"
    ffmpeg("-copyts", "-i", tmp_path / "a.srt", "-i", pictures, *sound, "-map", 0, "-map", 1, "-map", 2,
           "-c:v", "copy", "-c:a", "flac", path)  # fmt: skip
    times, numbers, _ = read(path)
    assert numbers == [0, 25, 50, 75]
    assert times == pytest.approx([0, 1, 2, 3], abs=0.03)
    assert len(read_audio(path)) / AUDIO_RATE == pytest.approx(4, abs=0.1)


# ---- what cannot be seen or heard ---------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [X264, ("-c:v", "libx265", "-preset", "ultrafast"), ("-c:v", "libsvtav1")])
def test_encrypted_mp4(tmp_path, codec):
    """AV1's decoder makes noise of it without a word."""
    path = tmp_path / "a.mp4"
    inputs = ("-f", "lavfi", "-i", "testsrc=s=96x64:r=5:d=3", "-f", "lavfi", "-i", "sine=d=3")
    ffmpeg(*inputs, "-pix_fmt", "yuv420p", *codec, *CENC, path)
    with pytest.raises(FailVideo, match="15 of its 15 pictures are encrypted") as caught:
        read(path)
    assert caught.value.reason == "encrypted"
    with pytest.raises(FailVideo, match="its sound is encrypted"):
        read_audio(path)


def element(name: bytes, *parts: bytes) -> bytes:
    """An EBML element with a size of eight bytes."""
    body = b"".join(parts)
    return name + struct.pack(">Q", len(body) | 1 << 56) + body


def test_encrypted_webm(tmp_path):
    """ContentEncodings written into the first track, as WebM's encryption has them."""
    path = tmp_path / "a.webm"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=96x64:r=5:d=2", *VP9, "-live", 1, path)
    data = path.read_bytes()
    encryption = element(b"\x50\x35", element(b"\x47\xe1", b"\x05"), element(b"\x47\xe2", bytes(range(16))))
    encodings = element(b"\x6d\x80", element(b"\x62\x40", element(b"\x50\x33", b"\x01"), encryption))
    tracks = data.rindex(b"\x16\x54\xae\x6b")
    size, width = vint(data, tracks + 4)
    entry = data.index(b"\xae", tracks + 4 + width)
    entry_size, entry_width = vint(data, entry + 1)
    body = data[entry + 1 + entry_width :][:entry_size] + encodings
    rest = data[tracks + 4 + width + size :]
    path.write_bytes(data[:tracks] + element(b"\x16\x54\xae\x6b", element(b"\xae", body)) + rest)
    with pytest.raises(FailVideo) as caught:
        read(path)
    assert caught.value.reason == "encrypted"


def vint(data: bytes, at: int) -> tuple[int, int]:
    """A size of EBML, and how many bytes it takes."""
    width = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1), width


def damaged(path: Path, first: int, stop: int, share: float = 0.5) -> Path:
    """Noise in the last `share` of the packets [first, stop) of a clip."""
    whole = render(path.with_name("whole.mp4"), 100, "N/25", *X264, "-g", 5, "-slices", 4)
    rng = np.random.default_rng(0)
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packets = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    for pos, size in packets[first:stop]:
        # The size of the unit stays as it is.
        spoilt = min(int(size * share), size - 4)
        data[pos + size - spoilt : pos + size] = rng.bytes(spoilt)
    path.write_bytes(data)
    return path


def test_some_damaged_pictures_are_said(tmp_path):
    times, _, reader = read(damaged(tmp_path / "a.mp4", 30, 60))
    assert len(times) == 4
    assert " of 100 decoded pictures are damaged" in reader.note or "complaints" in reader.note


def test_a_file_of_damaged_pictures_is_none(tmp_path):
    with pytest.raises(FailVideo) as caught:
        read(damaged(tmp_path / "a.mp4", 0, 100))
    assert caught.value.reason == "unreadable"


@pytest.mark.recorded
def test_recorded_cases():
    if not CASES.is_dir():
        pytest.skip("the recorded data is not here")
    with pytest.raises(FailVideo) as caught:
        read(CASES / "encrypted_mp4/cenc_grey.mp4")
    assert caught.value.reason == "encrypted"
    assert len(read(CASES / "vfr_slides/slides.mp4")[0]) == 60
    with pytest.raises(SkipVideo, match="sound only"):
        read_frames(CASES / "iamf_audio/sound.mp4", Wanted(size=SIDE))
    for name in ("sound", "video_and_sound"):
        assert len(read_audio(CASES / f"iamf_audio/{name}.mp4")) / AUDIO_RATE == pytest.approx(2, abs=0.05)
