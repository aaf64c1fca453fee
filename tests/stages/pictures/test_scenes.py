"""Shots from the probabilities of their ends, and every picture of a file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.pictures.scenes import scenes, shots_of_frames

PROBABILITIES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=40)


def restated(probability: list[float]) -> list[int]:
    """The first pictures, one picture after another."""
    starts, has_shown = [0], False
    for at, value in enumerate(probability):
        is_end = value > 0.5
        if not is_end and has_shown and probability[at - 1] > 0.5:
            starts.append(at)
        has_shown = has_shown or not is_end
    return starts


@given(PROBABILITIES)
def test_a_shot_begins_after_each_run(probability: list[float]) -> None:
    assert scenes(np.array(probability, np.float32)).tolist() == restated(probability)


def test_the_borders_of_runs() -> None:
    for probability, starts in (
        ([0, 1, 0, 0], [0, 2]),
        ([0, 1, 1, 0, 1, 0], [0, 3, 5]),
        # A run at the very start, or at the very end, parts nothing.
        ([1, 1, 0, 0, 1], [0]),
        ([1, 0, 1, 0], [0, 3]),
        ([1], [0]),
        ([0.5, 0.5], [0]),
    ):
        assert scenes(np.array(probability)).tolist() == starts


@given(PROBABILITIES, st.data())
def test_shots_of_frames_are_a_partition(probability: list[float], data: st.DataObject) -> None:
    """Any clock, any frames: no gap, no empty shot, and frames of two shots of pictures are never in one."""
    num = len(probability)
    time = np.cumsum(data.draw(st.lists(st.sampled_from([0.0, 0.04, 1 / 3]), min_size=num, max_size=num)))
    shown = np.sort(data.draw(st.lists(st.integers(0, num - 1), min_size=1, max_size=20)))
    starts = scenes(np.array(probability))
    start, stop = shots_of_frames(starts, time, time[shown].astype(np.float32))
    assert start.dtype == stop.dtype == np.int32
    assert start[0] == 0
    assert stop[-1] == len(shown)
    assert (start < stop).all()
    assert start[1:].tolist() == stop[:-1].tolist()
    if (np.diff(time) > 0).all():
        of_frame = np.searchsorted(starts, shown, side="right") - 1
        assert start.tolist() == np.unique(of_frame, return_index=True)[1].tolist()


def test_a_shot_without_a_frame_vanishes_and_early_frames_belong_to_the_first() -> None:
    time = np.arange(100) / 25 + 0.5
    start, stop = shots_of_frames(np.array([0, 30, 32, 60]), time, np.array([0.0, 0.5, 1.5, 2.5, 3.5]))
    # Pictures 30 and 32 are shown at 1.7 and 1.78 s, picture 60 at 2.9 s.
    assert (start.tolist(), stop.tolist()) == ([0, 3, 4], [3, 4, 5])


def test_a_clock_that_jumps_back() -> None:
    time = np.array([0.0, 1.0, 2.0, 0.5, 1.5, 2.5])
    start, stop = shots_of_frames(np.array([0, 2, 4]), time, np.array([0.0, 1.0, 2.0, 2.5]))
    assert (start.tolist(), stop.tolist()) == ([0, 2], [2, 4])


def test_every_picture_as_ffmpeg_resizes_it(tmp_path: Path) -> None:
    """The pixels of `ffmpeg -s 48x27`, with which the network was trained, and the time of each picture."""
    path = tmp_path / "film.mkv"
    made = ["-f", "lavfi", "-i", "testsrc=s=160x90:r=10:d=2", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "2"]
    subprocess.run([ffmpeg_program(), "-v", "error", *made, str(path)], check=True)
    args = ["-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "48x27", "pipe:1"]
    raw = subprocess.run([ffmpeg_program(), *args], check=True, capture_output=True).stdout
    with read_frames(path, Wanted(size=224, fps=1, every=(48, 27))) as reader:
        time_s, pictures = zip(*reader, strict=True)
    assert np.allclose(time_s, np.arange(20) / 10, atol=1e-3)
    assert (np.stack(pictures) == np.frombuffer(raw, np.uint8).reshape(-1, 27, 48, 3)).all()
    # A frame's time is that of its picture, to the bit.
    with read_frames(path, Wanted(size=32, fps=3)) as reader:
        assert {when_s for when_s, _ in reader} <= set(time_s)
