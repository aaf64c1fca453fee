"""Cutting: which pictures and which sound come out of clips whose frames carry their number (modulo 256)."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.media_kit import lavfi, rotated, spoken_sound, truncated
from tests.stages.pictures.numbered_clips import X264, ffmpeg, number_of, read_by_pyav, render

from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import FailVideo, UsageError, VsumdataError
from vsumdata.stages.pictures.decode import AUDIO_RATE, stream_audio
from vsumdata.stages.pictures.probe import probe
from vsumdata.train.summarize import clips
from vsumdata.train.summarize.clips import cut, open_media, picture_rate, thumbnail
from vsumdata.train.summarize.summary import Segment, Sentence, Shot, choose, rule_of, segments_of
from vsumdata.train.summarize.vtt import cue_of

PARTS = [(30, 60), (300, 330), (620, 700)]
BEEPS = "aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.2)':s=44100:d=28"


def numbers(path: Path) -> list[int]:
    return [number_of(frame) for _, _, frame in read_by_pyav(path, 0)]


def cut_to(folder: Path, source: Path, parts: list[tuple[int, int]]) -> Path:
    target = folder / "cut.mp4"
    cut(open_media(source), parts, target)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
    return target


@pytest.mark.parametrize(
    ("suffix", "setpts", "args"),
    [
        ("mp4", "N/25", (*X264, "-bf", 5, "-g", 250)),
        ("mkv", "N/25+5.3", X264),
        ("ts", "N/25", X264),
        ("flv", "N/25", ("-c:v", "flv1")),
        ("webm", "N/25", ("-c:v", "libvpx", "-deadline", "realtime")),
    ],
)
def test_every_picture_of_the_parts_and_no_other(tmp_path, suffix, setpts, args):
    """Parts behind, before and across key frames, with and without seeking."""
    source = render(tmp_path / f"source.{suffix}", 700, setpts, *args)
    assert open_media(source).rate == 25
    made = cut_to(tmp_path, source, PARTS)
    assert numbers(made) == [n % 256 for start, stop in PARTS for n in range(start, stop)]
    assert probe(made).duration_s == pytest.approx(140 / 25, abs=1 / 25)


def test_ntsc_keeps_its_rate(tmp_path):
    source = render(tmp_path / "source.mp4", 700, "N*1001/30000", *X264)
    assert open_media(source).rate == Fraction(30000, 1001)
    assert numbers(cut_to(tmp_path, source, PARTS)) == [n % 256 for start, stop in PARTS for n in range(start, stop)]


def test_a_variable_rate_shows_what_was_shown_then(tmp_path):
    """Frame n of the source is shown from 0.002·n² s on."""
    source = render(tmp_path / "source.mkv", 110, "N*N*0.002", *X264)
    rate = open_media(source).rate
    first, stop = int(8 * rate), int(14 * rate)
    made = numbers(cut_to(tmp_path, source, [(first, stop)]))
    for at, number in zip(range(first, stop), made, strict=True):
        shown = math.sqrt(float(at / rate) / 0.002)
        assert abs(number - shown) <= 1 + (1 / float(rate)) / (0.004 * shown)  # within one picture of the summary


def test_a_picture_that_stays_for_seconds_is_there_from_the_cut_on(tmp_path):
    source = render(tmp_path / "source.mkv", 10, "N*4", *X264)
    rate = open_media(source).rate
    made = numbers(cut_to(tmp_path, source, [(int(30 * rate), int(34 * rate))]))
    assert made == [7] * int(2 * rate) + [8] * int(2 * rate)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_the_sound_stays_with_the_pictures(tmp_path, suffix):
    source = tmp_path / f"source.{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=28", "-f", "lavfi", "-i", BEEPS, *X264, "-c:a", "aac", source)
    at_s, _ = beeps(source)  # a transport stream tells nothing of what an encoder put before the sound
    late_s = at_s[0] - 1
    found_s, length_s = beeps(cut_to(tmp_path, source, PARTS))
    wanted, before_s = [], 0.0
    for start, stop in PARTS:
        wanted += [before_s + s + late_s - start / 25 for s in range(29) if start <= s * 25 < stop]
        before_s += (stop - start) / 25
    assert len(wanted) == 6
    assert found_s == pytest.approx(wanted, abs=0.002)
    assert length_s == pytest.approx(140 / 25, abs=0.03)


def beeps(path: Path) -> tuple[list[float], float]:
    """When loud sound begins after a silence, and how long the sound is: seconds."""
    sound = np.concatenate(list(stream_audio(path)))
    loud = np.abs(sound) > 0.1
    begins = [float(at) / AUDIO_RATE for at in np.flatnonzero(loud) if at > 800 and not loud[at - 800 : at].any()]
    return begins, len(sound) / AUDIO_RATE


def test_a_hundred_parts_do_not_drift(tmp_path):
    source = render(tmp_path / "source.mp4", 700, "N*1001/30000", *X264)
    with_sound = tmp_path / "with.mp4"
    ffmpeg("-i", source, "-f", "lavfi", "-i", BEEPS, "-c:v", "copy", "-c:a", "aac", "-shortest", with_sound)
    media = open_media(with_sound)
    pieces = list(clips.samples(media, [(7 * n, 7 * n + 3) for n in range(90)]))
    exact = 270 / media.rate * clips.SOUND_RATE
    assert sum(map(len, pieces)) // clips.SAMPLE_BYTES == round(exact)


def test_no_sound_track_gives_none(tmp_path):
    made = cut_to(tmp_path, lavfi(tmp_path / "source.mp4", "testsrc=s=64x64:r=25:d=4"), [(25, 50)])
    assert probe(made).audio == ()
    assert len(numbers(made)) == 25


def test_sound_in_a_file_of_its_own(tmp_path):
    pictures = lavfi(tmp_path / "picture.mp4", "testsrc=s=64x64:r=25:d=4")
    sound = tmp_path / "sound.m4a"
    ffmpeg("-f", "lavfi", "-i", BEEPS, "-t", 4, "-c:a", "aac", sound)
    cut(open_media(pictures, sound), [(25, 75)], tmp_path / "cut.mp4")
    assert len(probe(tmp_path / "cut.mp4").audio) == 1


def test_rotated_and_odd_sizes(tmp_path):
    made = cut_to(tmp_path, rotated(tmp_path / "turned.mp4"), [(0, 25)])
    stream = probe(made).best_video
    assert (stream.shown_size, stream.rotation_deg) == ((64, 96), 0)
    odd = tmp_path / "odd.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=63x101:r=25:d=1", "-c:v", "ffv1", odd)
    assert probe(cut_to(tmp_path, odd, [(0, 5)])).best_video.shown_size == (62, 100)


def test_one_frame_and_what_lies_behind_the_end(tmp_path):
    one = render(tmp_path / "one.mp4", 1, "N/25", *X264)
    assert numbers(cut_to(tmp_path, one, [(0, 1)])) == [0]
    short = render(tmp_path / "short.mp4", 50, "N/25", *X264)
    assert numbers(cut_to(tmp_path, short, [(40, 55)])) == [*range(40, 50), *[49] * 5]


def test_a_truncated_file_is_cut_as_far_as_it_goes(tmp_path):
    made = cut_to(tmp_path, truncated(tmp_path / "broken.mp4"), [(0, 50)])
    assert probe(made).duration_s == pytest.approx(2, abs=0.05)


def test_sound_only_and_missing(tmp_path):
    with pytest.raises(FailVideo, match="no_video"):
        open_media(spoken_sound(tmp_path / "talk.m4a"))
    with pytest.raises(FailVideo, match="file_missing"):
        open_media(tmp_path / "nothing.mp4")


def test_the_rate_of_a_summary():
    assert picture_rate(None) == picture_rate(1000) == 25
    assert picture_rate(23.98) == Fraction(24000, 1001)
    assert picture_rate(0.01) == 10
    assert picture_rate(6) == 12
    assert picture_rate(120) == 60
    assert picture_rate(12.5) == Fraction(25, 2)


def test_a_thumbnail_is_the_picture_at_that_time(tmp_path):
    source = render(tmp_path / "source.mp4", 700, "N/25", *X264)
    image = thumbnail(open_media(source), 20.0, 64)
    assert image is not None
    assert image.shape == (64, 64, 3)
    assert number_of(image) == 500 % 256
    assert thumbnail(open_media(source), 27.99, 64) is not None


def test_an_ffmpeg_that_cannot_encode_is_named(tmp_path, monkeypatch):
    source = lavfi(tmp_path / "source.mp4", "testsrc=s=64x64:r=25:d=2")
    monkeypatch.setattr(clips, "X264", ("-c:v", "libnothing"))
    with pytest.raises(UsageError, match=r"libnothing.*VSUMDATA_FFMPEG"):
        cut_to(tmp_path, source, [(0, 25)])


def test_a_full_disk_is_an_error(tmp_path):
    source = lavfi(tmp_path / "source.mp4", "testsrc=s=64x64:r=25:d=2")
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    (tmp_path / "cut.mp4").symlink_to("/dev/full")
    with pytest.raises(VsumdataError, match="cannot be written"):
        cut(open_media(source), [(0, 25)], tmp_path / "cut.mp4")


def test_segments_follow_each_other_on_the_summarys_clock() -> None:
    given = ((0, 2, False), (2, 5, True), (5, 6, True), (6, 9, False), (9, 10, True))
    shots = [Shot(start_s=start_s, end_s=end_s, score=0.5, chosen=chosen) for start_s, end_s, chosen in given]
    assert [(each.start_s, each.end_s, each.at_s) for each in segments_of(shots)] == [(2, 6, 0), (9, 10, 4)]


def test_a_cue_moves_with_its_segment() -> None:
    sentence = Sentence(start_s=10, end_s=12, text="Cut it.", score=0.5, chosen=False)
    assert cue_of(sentence, Segment(start_s=9, end_s=20, at_s=4)).startswith("00:00:05.000 --> 00:00:07.000\n")


def test_a_shot_of_exactly_the_budget_fits() -> None:
    video = Video(
        video_id="v",
        frame_time_s=np.arange(20, dtype=np.float32),
        frame_feature=np.zeros((20, 1), np.float32),
        shot_start=np.array([0, 4, 14, 17]),
        shot_stop=np.array([4, 14, 17, 20]),
    )
    score = np.zeros(20)
    score[14:17] = 1
    chosen, how = choose(score, video, rule_of(0.15))
    assert (how, np.flatnonzero(chosen).tolist()) == ("keyshots", [14, 15, 16])
