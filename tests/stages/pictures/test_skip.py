"""Frames read without decoding what they do not depend on are those of full decoding: times, pixels and notes."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recordings import RECORDINGS, ROOT
from tests.stages.pictures.numbered_clips import SIDE, ffmpeg, render
from tests.stages.pictures.test_frame_times import FRAGMENTS, VP9, cut, plain, with_sound

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.stages.pictures.av1 import References, Unusual
from vsumdata.stages.pictures.clock import CLOCK_S, Clock, Unplanned
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.ffmpeg import ffmpeg_program
from vsumdata.stages.pictures.packets import Packets
from vsumdata.stages.pictures.skip import plan_for

Make = Callable[[Path], Path]
# Bits enough that B-frames are coded as they are in films, not left empty.
PYRAMID = ("-c:v", "libx264", "-preset", "fast", "-bf", 5, "-g", 60, "-crf", 12)
SVT = ("-c:v", "libsvtav1", "-preset", 12, "-g", 45, "-svtav1-params", "scd=0")
AOM = ("-c:v", "libaom-av1", "-cpu-used", 8, "-lag-in-frames", 19, "-g", 60, "-crf", 40)


def x264(parameters: str) -> Make:
    return lambda p: render(p / "a.mp4", 120, "N/25", *PYRAMID, "-x264-params", parameters)


def svt_cut(path: Path) -> Path:
    """An edit list hides the pictures from the key frame to 0.9 s."""
    whole = render(path.with_name("whole.mp4"), 120, "N/25", *SVT)
    ffmpeg("-ss", 0.9, "-i", whole, "-c", "copy", path)
    return path


LAYOUTS: dict[str, Make] = {
    "B-pyramid": lambda p: render(p / "a.mp4", 120, "N/25", *PYRAMID),
    "B-pyramid, Matroska": lambda p: render(p / "a.mkv", 120, "N/25+7.04", *PYRAMID),
    "strict pyramid": x264("b-pyramid=strict"),
    "open GOP": x264("open-gop=1:keyint=25"),
    "intra refresh": x264("intra-refresh=1:keyint=30"),
    "slices, many references": x264("slices=4:ref=8"),
    "fields": x264("tff=1"),
    "no reference is a B-frame": x264("b-pyramid=none:weightp=0"),
    "only key frames": x264("keyint=1"),
    "gaps of all sizes": lambda p: render(p / "a.mp4", 120, "N*N*0.0015", *PYRAMID),
    "a gap of an hour": lambda p: render(p / "a.mp4", 120, "N/25+gt(N,50)*3900", *PYRAMID),
    "a hair before each step": lambda p: render(p / "a.mp4", 60, "N*0.1-gt(N,0)/50000", *PYRAMID),
    "edit list": lambda p: cut(p / "a.mp4"),
    "no edit list": lambda p: cut(p / "a.mp4", "-avoid_negative_ts", "disabled", "-use_editlist", 0),
    "fragments": lambda p: render(p / "a.mp4", 120, "N/25", *PYRAMID, *FRAGMENTS),
    "pictures late": lambda p: with_sound(p / "a.mp4", picture_s=1.3),
    "VP9": lambda p: render(p / "a.webm", 90, "N/25", *VP9, "-g", 40),
    "VP9, hidden frames": lambda p: plain(p / "a.webm", "-c:v", "libvpx-vp9", "-cpu-used", 5, "-g", 40),
    "SVT-AV1": lambda p: render(p / "a.mp4", 120, "N/25", *SVT),
    "SVT-AV1, WebM, gaps": lambda p: render(p / "a.webm", 120, "N*N*0.0015", *SVT),
    "SVT-AV1, edit list": lambda p: svt_cut(p / "a.mp4"),
    "libaom": lambda p: render(p / "a.mp4", 80, "N/25", *AOM),
}
# Seldom a picture: `stream.fps` is the mean.
WHOLE = {"a gap of an hour"}

Read = tuple[list[float], list[np.ndarray], str, str]


def read(path: Path, *, skip: bool, fps: float, size: int = SIDE) -> tuple[Read | str, int]:
    """Times, frames, note and decoder, or what is raised; and how many packets were not decoded."""
    try:
        with read_frames(path, Wanted(size=size, fps=fps, skip=skip)) as reader:
            found = list(reader)
    except (FailVideo, SkipVideo) as error:
        return repr(error), 0
    return ([at for at, _ in found], [frame for _, frame in found], reader.note, reader.decoder), reader.num_skipped


def assert_same(path: Path, fps: float, size: int = SIDE) -> int:
    skipping, num_skipped = read(path, skip=True, fps=fps, size=size)
    whole, none_skipped = read(path, skip=False, fps=fps, size=size)
    assert none_skipped == 0
    if isinstance(skipping, str) or isinstance(whole, str):
        assert skipping == whole
        return 0
    assert skipping[0] == whole[0]
    assert skipping[2:] == whole[2:]
    for ours, theirs in zip(skipping[1], whole[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # A frame that serves several steps is one object, so that it is encoded once.
    ours_again, theirs_again = ([a is b for a, b in itertools.pairwise(found[1])] for found in (skipping, whole))
    assert ours_again == theirs_again
    return num_skipped


@pytest.mark.parametrize("name", LAYOUTS)
def test_equals_full_decoding_for(tmp_path, name):
    clip = LAYOUTS[name](tmp_path)
    skipped = [assert_same(clip, fps) for fps in (0.5, 1.0, 2.0)]
    assert name in WHOLE or all(skipped)


@pytest.mark.parametrize("fps", [0.1, 3.0, 7.5, 29.97])
@pytest.mark.parametrize("name", ["B-pyramid", "gaps of all sizes", "SVT-AV1, WebM, gaps"])
def test_equals_full_decoding_at(tmp_path, name, fps):
    assert_same(LAYOUTS[name](tmp_path), fps)


def damage(path: Path, pick: Callable[[int, av.Packet], bool]) -> Path:
    """Overwrite the second half of packets of an MP4: `pick` gets each packet and its number."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        places = [(p.pos or 0, p.size) for n, p in enumerate(packets) if pick(n, p)]
    assert places
    data = bytearray(path.read_bytes())
    for start, size in places:
        data[start + size // 2 : start + size] = np.random.default_rng(start).bytes(size - size // 2)
    path.write_bytes(data)
    return path


def test_a_damaged_reference_is_noted_as_in_full_decoding(tmp_path):
    clip = damage(render(tmp_path / "a.mp4", 120, "N/25", *PYRAMID), lambda number, _: number in (65, 66, 67, 68))
    (found, num_skipped), (whole, _) = (read(clip, skip=skip, fps=1.0) for skip in (True, False))
    assert num_skipped == 0
    assert found[0] == whole[0]
    # Where exactly in the picture is not the same twice.
    assert re.sub(r"\d+", "", found[2]) == re.sub(r"\d+", "", whole[2])
    assert "complaints" in found[2]


def test_damage_in_what_no_frame_depends_on_is_not_seen(tmp_path):
    def is_no_reference_between_steps(_: int, packet: av.Packet) -> bool:
        assert packet.pts is not None
        picture = round(packet.pts * packet.time_base * 25) % 25
        # A packet of one slice: the first byte behind its length has `nal_ref_idc`.
        return packet.size > 50 and not bytes(packet)[4] >> 5 & 3 and 5 < picture < 20

    clip = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={SIDE}x{SIDE}:r=25:d=5", *PYRAMID, "-b_strategy", 0, clip)
    damage(clip, is_no_reference_between_steps)
    (found, num_skipped), (whole, _) = (read(clip, skip=skip, fps=1.0) for skip in (True, False))
    assert num_skipped > 0
    assert found[2] == ""
    assert whole[2] != ""
    assert found[0] == whole[0]
    for ours, theirs in zip(found[1], whole[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_warning_of_the_decoder_has_all_decoded():
    ways = {
        "[h264 @ 0x55] [warning] Increasing reorder buffer to 2\n": False,
        "[h264 @ 0x55] [info] Increasing reorder buffer to 2\n": False,
        "[vist#0:0/h264 @ 0x55] [warning] corrupt decoded frame\n": False,
        "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55] [error] stream 0, offset 0x30: partial file\n": False,
        "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55] [warning] Missing key frame while searching for timestamp: 0\n": True,
        "[swscaler @ 0x55] [warning] deprecated pixel format used\n": True,
        "Stream mapping:\n": True,
    }
    for line, is_planned in ways.items():
        clock = Clock(lambda first_s: 0.0, 1.0, awaited_us=())
        clock.read_line(line)
        with contextlib.nullcontext() if is_planned else pytest.raises(Unplanned):
            clock.end("")


def test_an_ffmpeg_that_cannot_filter_its_input_decodes_all(tmp_path, monkeypatch):
    clip = render(tmp_path / "a.mp4", 120, "N/25", *PYRAMID)
    older = tmp_path / "ffmpeg"
    refusal = "echo '[fatal] Unrecognized option' >&2; exit 1"
    older.write_text(f'#!/bin/sh\ncase "$*" in */bsf:*) {refusal};; esac\nexec {ffmpeg_program()} "$@"\n')
    older.chmod(0o755)
    monkeypatch.setenv("VSUMDATA_FFMPEG", str(older))
    assert assert_same(clip, 1.0) == 0
    assert len(read(clip, skip=True, fps=1.0)[0][0]) == 5


def test_a_file_that_breaks_off_is_decoded_whole(tmp_path):
    clip = render(tmp_path / "a.mkv", 120, "N/25", *PYRAMID)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    assert_same(clip, 1.0)


def test_key_frames_alone_are_read_as_before(tmp_path):
    clip = render(tmp_path / "a.mp4", 120, "N/25", *PYRAMID)
    with read_frames(clip, Wanted(size=SIDE, sampling="keyframes")) as reader:
        assert len(list(reader)) == 5
    assert reader.num_skipped == 0


@given(
    st.lists(st.integers(-40, 4000), min_size=1, unique=True), st.sampled_from([0.1, 0.5, 1.0, 2.0, 29.97]), st.data()
)
def test_the_picture_on_screen_never_depends_on_what_is_left_out(times_ms, fps, data):
    shown = data.draw(st.lists(st.booleans(), min_size=len(times_ms), max_size=len(times_ms)))
    numbers = [n for n, is_shown in enumerate(shown) if is_shown] or [0]
    hidden = set(range(len(times_ms))) - set(numbers)
    packets = Packets(pts=times_ms, hidden=hidden, time_base=Fraction(1, 1000))
    found = plan_for(packets, lambda wanted: wanted, 0.0, fps)
    stamps = sorted(times_ms[n] * 1000 for n in numbers)
    if found is None:
        return

    def on_screen(us: list[int]) -> list[int]:
        steps = range(math.ceil(max(stamps[-1], 0) * fps / 1e6) + 2)
        return [max((t for t in us if t * 1e-6 <= k / fps + CLOCK_S), default=us[0]) for k in steps]

    assert set(found.awaited_us) <= set(stamps)
    assert on_screen(list(found.awaited_us)) == on_screen(stamps)
    kept = {pts for pts in times_ms if not evaluated(found.dropped, pts)}
    assert kept == {us // 1000 for us in found.awaited_us}
    assert found.num_dropped == len(times_ms) - len(kept)


def evaluated(expression: str, pts: int) -> int:
    names = {"pts": pts, "lt": lambda a, b: a < b, "choose": lambda test, yes, no: yes if test else no}
    return int(eval(expression.replace("if(", "choose("), {"__builtins__": {}}, names))


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_bytes_that_are_no_av1_are_unusual_or_have_no_frame(packets):
    references = References()
    try:
        for packet in packets:
            references.add(packet)
    except Unusual:
        pass
    assert all(need < number for number, needs in enumerate(references.needs) for need in needs)


@pytest.mark.recorded
@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0])
def test_equals_full_decoding_of_the_recordings(fps):
    files = [*(RECORDINGS / "media").iterdir(), *(RECORDINGS / "field_cases").rglob("*.mp4")]
    files += (ROOT / "datasets" / "sample" / "assets").rglob("*.mp4")
    assert sum(assert_same(path, fps, 224) > 0 for path in files) >= 12
