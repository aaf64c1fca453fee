"""Which frames and which sound come out of files that are rendered here, whole and broken.

The frames carry their own number as eight bands, light or dark; the test knows when each is shown.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.recordings import RECORDINGS
from tests.stages.pictures.numbered_clips import X264, Time, ffmpeg, read, render, with_sound
from tests.stages.speech.speech_kit import read_audio

from vsumdata.manifests.errors import FailVideo, RetryVideo, SkipVideo, UsageError
from vsumdata.stages.pictures import clock
from vsumdata.stages.pictures.decode import AUDIO_RATE, Wanted, probe, read_frames
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program


def by_the_rule(num_frames: int, shown_at: Time, end_s: float, fps: float = 1.0) -> list[int]:
    """The rule in its simplest form: for each k before the end the last frame shown at or before k / fps."""
    times = [round(shown_at(n), 6) for n in range(num_frames)]
    num_k = max(1, math.floor(times[-1] * fps + 1e-5) + 1, math.ceil((end_s - 1e-3) * fps))
    return [max((n for n, t in enumerate(times) if t <= k / fps + 1e-5), default=0) for k in range(num_k)]


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
def test_frame_k_is_on_screen_at_k(tmp_path, name):
    num_frames, setpts, shown_at, suffix, args = CLIPS[name]
    clip = render(tmp_path / f"clip.{suffix}", num_frames, setpts, *args)
    times, numbers, reader = read(clip)
    assert numbers == by_the_rule(num_frames, shown_at, shown_at(num_frames - 1) + 0.04)
    assert times == pytest.approx([shown_at(n) for n in numbers], abs=1e-3)
    assert reader.note == ""


@pytest.mark.parametrize("fps", [0.5, 2.0, 12.5])
def test_other_rates(tmp_path, fps):
    clip = render(tmp_path / "clip.mp4", 130, "N/25", *X264)
    assert read(clip, fps=fps)[1] == by_the_rule(130, lambda n: n / 25, 5.2, fps)


def test_time_counts_from_the_containers_start_not_the_pictures(tmp_path):
    pictures = render(tmp_path / "pictures.mkv", 75, "N/25+1.4", *X264)
    clip = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=4", "-copyts", "-i", pictures, "-c:v", "copy", "-c:a", "flac", clip)
    times, numbers, _ = read(clip)
    # Frame 0 stands for all the time before it.
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
    """A light top left corner appears where a player shows it, and the size is the one that a viewer sees."""
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


# ---- broken files, sound, streams and processes -------------------------------------------------------------


MEDIA = RECORDINGS / "media"


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_truncated_file_gives_frames_up_to_the_break(tmp_path, suffix):
    whole = with_sound(tmp_path, suffix=suffix)
    short = tmp_path / f"short.{suffix}"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    times, _, reader = read(short)
    assert 2 <= len(times) < 8
    assert reader.note.startswith(f"decoded up to {times[-1]:.1f} s of 8.0 s: ")


def test_truncated_before_its_index_is_unreadable(tmp_path):
    whole = render(tmp_path / "whole.mp4", 100, "N/25", *X264)
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(FailVideo) as caught:
        read_frames(short, Wanted(size=32))
    assert caught.value.reason == "unreadable"
    assert "Invalid data" in caught.value.detail


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just some words\n" * 50,
        b"#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile clip.mp4\n",
    ],
    ids=["zero bytes", "text", "playlist", "concat script"],
)
def test_what_is_no_media_is_unreadable(tmp_path, content):
    render(tmp_path / "clip.mp4", 30, "N/25", *X264)
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    for call in (probe, read_audio, lambda p: read_frames(p, Wanted(size=32))):
        with pytest.raises(FailVideo) as caught:
            call(path)
        assert caught.value.reason == "unreadable"
        assert caught.value.detail


def test_garbage_is_unreadable_or_gives_frames(tmp_path):
    """Noise, alone and written over a sound file: never another error, never a hang."""
    rng = np.random.default_rng(0)
    whole = with_sound(tmp_path).read_bytes()
    path = tmp_path / "damaged.mp4"
    outcomes = set()
    for trial in range(6):
        data = bytearray(rng.bytes(20_000) if trial == 0 else whole)
        for place in rng.integers(0, len(data) - 64, 20 * trial):
            data[place : place + 64] = rng.bytes(64)
        path.write_bytes(data)
        try:
            times, _, reader = read(path)
        except FailVideo as error:
            outcomes.add(error.reason)
        else:
            assert times
            outcomes.add("noted" if reader.note else "sound")
    assert "unreadable" in outcomes
    assert outcomes <= {"unreadable", "noted", "sound"}


def test_missing_file():
    with pytest.raises(FailVideo) as caught:
        probe("/nonexistent/clip.mp4")
    assert caught.value.reason == "file_missing"


def test_folder_and_pipe_are_unreadable(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path, tmp_path / "pipe.mp4"):
        with pytest.raises(FailVideo, match="not a regular file"):
            probe(path)


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    """Root may read everything, so it takes another uid. That user may not enter the folders above."""
    render(tmp_path / "clip.mp4", 30, "N/25", *X264).chmod(0)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    became = os.geteuid() == 0
    if became:
        os.seteuid(65534)
    try:
        with pytest.raises(FailVideo) as caught:
            probe(Path("clip.mp4"))
    finally:
        if became:
            os.seteuid(0)
    assert (caught.value.reason, caught.value.detail) == ("unreadable", "Permission denied")


def test_sound_only(tmp_path):
    path = tmp_path / "sound.mp3"
    cover = tmp_path / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=600x600:d=1", "-frames:v", 1, cover)
    sound = ["-f", "lavfi", "-i", "sine=d=2", "-i", cover, "-map", 0, "-map", 1]
    ffmpeg(*sound, "-c:v", "copy", "-disposition:v", "attached_pic", path)
    with pytest.raises(SkipVideo) as caught:
        read_frames(path, Wanted(size=32))
    assert caught.value.reason == "no_video"
    assert len(read_audio(path)) / AUDIO_RATE == pytest.approx(2, abs=0.1)


def test_picture_only_has_no_sound(tmp_path):
    sound = read_audio(render(tmp_path / "clip.mp4", 30, "N/25", *X264))
    assert (sound.shape, sound.dtype) == ((0,), np.float32)


def test_best_streams(tmp_path):
    path = tmp_path / "many.mkv"
    inputs = ["testsrc=s=64x64:d=1", "testsrc=s=128x96:d=1", "sine=d=1:r=8000", "sine=d=1:r=44100"]
    maps = [word for n in range(4) for word in ("-map", n)]
    ffmpeg(*(word for source in inputs for word in ("-f", "lavfi", "-i", source)), *maps, *X264, "-c:a", "flac", path)
    info = probe(path)
    assert info.best_video is not None
    assert info.best_audio is not None
    assert (info.best_video.index, info.best_video.shown_size) == (1, (128, 96))
    assert (info.best_audio.index, info.best_audio.sample_rate) == (3, 44100)
    assert info.duration_s == pytest.approx(1, abs=0.1)


def test_sound_is_mono_and_in_time(tmp_path):
    """Two tones with silence between; the sound track starts 0.5 s after the pictures."""
    path = tmp_path / "clip.mkv"
    sound = "sine=f=440:d=1,apad=pad_dur=1,aformat=channel_layouts=stereo"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=s=64x64:d=3", "-itsoffset", 0.5, "-f", "lavfi", "-i", sound),
        *("-t", 2.5, *X264, "-c:a", "flac", path),
    )
    heard = read_audio(path)
    assert heard.dtype == np.float32
    loud = [float(np.abs(heard[round(s * AUDIO_RATE) :][:800]).max()) > 0.01 for s in (0.2, 0.7, 1.3, 1.8)]
    assert loud == [False, True, True, False]


def test_a_tone_keeps_its_pitch(tmp_path):
    path = tmp_path / "tone.wav"
    ffmpeg("-f", "lavfi", "-i", "sine=f=1000:d=2:r=48000", path)
    heard = read_audio(path)
    assert np.abs(np.fft.rfft(heard)).argmax() * AUDIO_RATE / len(heard) == pytest.approx(1000, abs=1)


def children() -> set[str]:
    """The process ids of this thread's and its siblings' children."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found.update((task / "children").read_text().split())
    return found


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
def test_stopping_early_leaves_no_process(tmp_path):
    clip = with_sound(tmp_path)
    before, threads = children(), threading.active_count()
    reader = read_frames(clip, Wanted(size=224, fps=25))
    next(reader)
    assert children() > before
    reader.close()
    assert children() == before
    assert threading.active_count() <= threads
    assert next(reader, None) is None


def test_a_decoder_that_stands_still_is_ended(tmp_path):
    clip = with_sound(tmp_path)
    before = children()
    with read_frames(clip, Wanted(size=224, fps=25, idle_s=0.2)) as reader:
        next(reader)
        for pid in children() - before:
            os.kill(int(pid), signal.SIGSTOP)
        with pytest.raises(FailVideo) as caught:
            list(reader)
    assert caught.value.reason == "timeout"


def test_a_slow_reader_is_no_fault_of_the_file(tmp_path):
    """Whisper on a CPU takes longer for an hour's talk than any limit on ffmpeg."""
    clip = with_sound(tmp_path)
    with read_frames(clip, Wanted(size=224, fps=25, idle_s=0.2)) as reader:
        next(reader)
        threading.Event().wait(0.6)
        assert len(list(reader)) > 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_decoder_that_is_killed_is_another_try(tmp_path, how):
    """A kill by the kernel or a shutdown must not pass for a short video."""
    clip = with_sound(tmp_path)
    before = children()
    with read_frames(clip, Wanted(size=224, fps=25)) as reader:
        next(reader)
        for pid in children() - before:
            os.kill(int(pid), how)
        with pytest.raises(RetryVideo, match="ended from outside"):
            list(reader)


def test_a_made_up_time_stamp_does_not_ask_for_years_of_frames(tmp_path):
    clip = render(tmp_path / "clip.mkv", 3, "N*200000", *X264)
    with pytest.raises(FailVideo) as caught:
        read(clip)
    assert caught.value.reason == "too_big"


@pytest.mark.parametrize("hwaccel", ["vdpau", "cuda", "no-such"])
def test_hwaccel_that_is_not_there_falls_back(tmp_path, hwaccel):
    """Without a driver ffmpeg exits with 255 for cuda, as it does on a signal."""
    if hwaccel == "cuda" and Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    clip = render(tmp_path / "clip.mp4", 60, "N/25", *X264)
    _, numbers, reader = read(clip, hwaccel=hwaccel)
    assert numbers == [0, 25, 50]
    assert reader.decoder.endswith(" cpu")
    assert reader.note.startswith(f"no frame came with hwaccel {hwaccel}, decoded on the CPU: ")


def test_a_frame_whose_time_never_comes_fails_the_video(tmp_path, monkeypatch):
    """Another message of ffmpeg, printed without a line break, spoils the line with the time."""
    clip = render(tmp_path / "clip.mp4", 3, "N/25", *X264)
    spoils = tmp_path / "ffmpeg"
    spoils.write_text(f'#!/bin/bash\nexec {ffmpeg_program()} "$@" 2> >(sed "s/^.showinfo/odd words &/" >&2)\n')
    spoils.chmod(0o755)
    monkeypatch.setenv("VSUMDATA_FFMPEG", str(spoils))
    monkeypatch.setattr(clock, "LATEST_TIME_S", 0.5)
    with read_frames(clip, Wanted(size=32)) as reader, pytest.raises(FailVideo, match="when a frame is shown"):
        list(reader)


def test_missing_ffmpeg_names_the_remedy(tmp_path, monkeypatch):
    clip = render(tmp_path / "clip.mp4", 3, "N/25", *X264)
    monkeypatch.setenv("VSUMDATA_FFMPEG", str(tmp_path / "no-ffmpeg"))
    with pytest.raises(UsageError, match="VSUMDATA_FFMPEG"):
        read_frames(clip, Wanted(size=32))


@pytest.mark.recorded
def test_recorded_clips_have_a_frame_per_second():
    if not MEDIA.is_dir():
        pytest.skip("the recorded data is not here")
    for path in sorted(MEDIA.glob("*.mp4")):
        with read_frames(path, Wanted(size=224)) as reader:
            times = [time_s for time_s, _ in reader]
        assert reader.info.duration_s is not None
        assert abs(len(times) - math.ceil(reader.info.duration_s)) <= 1, path.name
        assert all(k - 0.1 < time_s <= k + 1e-5 or k == 0 for k, time_s in enumerate(times)), path.name
        assert reader.note == ""


@pytest.mark.recorded
def test_recorded_two_picture_and_two_sound_streams():
    if not MEDIA.is_dir():
        pytest.skip("the recorded data is not here")
    info = probe(MEDIA / "nasa_13013.mp4")
    assert (len(info.video), len(info.audio)) == (2, 2)
    assert info.best_video is not None
    assert info.best_audio is not None
    assert info.best_video.shown_size == (480, 270)
    assert info.best_audio.sample_rate == 16_000
