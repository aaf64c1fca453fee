"""Broken files, sound, streams and processes: what decoding does beyond the rule of frames."""

from __future__ import annotations

import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.numbered_clips import X264, ffmpeg, read, render, with_sound
from tests.speech_kit import read_audio

from vsumdata.pipeline.errors import FailVideo, RetryVideo, SkipVideo, UsageError
from vsumdata.stages.decode import AUDIO_RATE, Wanted, probe, read_frames

MEDIA = Path(__file__).parents[1].parent / "shared" / "data" / "media"


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


def test_file_that_may_not_be_read(tmp_path):
    """As root, who may read everything, under another uid."""
    path = render(tmp_path / "clip.mp4", 30, "N/25", *X264)
    path.chmod(0)
    became = os.geteuid() == 0
    if became:
        for folder in (tmp_path, *list(tmp_path.parents)[:2]):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(FailVideo) as caught:
            probe(path)
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
    tasks = Path("/proc/self/task")
    return {pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()}


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


def test_time_limit(tmp_path):
    clip = with_sound(tmp_path)
    with read_frames(clip, Wanted(size=224, fps=25, timeout_s=0.2)) as reader:
        next(reader)
        threading.Event().wait(0.5)
        with pytest.raises(FailVideo) as caught:
            list(reader)
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_decoder_that_is_killed_is_another_try(tmp_path, how):
    """The kernel's memory killer, or a shutdown, must not pass as a short video."""
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
    """Without a driver ffmpeg ends with 255 for cuda, as it does on a signal."""
    if hwaccel == "cuda" and Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    clip = render(tmp_path / "clip.mp4", 60, "N/25", *X264)
    _, numbers, reader = read(clip, hwaccel=hwaccel)
    assert numbers == [0, 25, 50]
    assert reader.decoder.endswith(" cpu")
    assert reader.note.startswith(f"no frame came with hwaccel {hwaccel}, decoded on the CPU: ")


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
        assert all(k <= time_s < k + 0.1 for k, time_s in enumerate(times)), path.name
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
