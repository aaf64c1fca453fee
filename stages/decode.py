"""Frames and sound of a media file, from an ffmpeg child process through a pipe.

Which frames: k = 0, 1, 2 … counts steps of 1/`fps` seconds from the container's start, frame k is the first
frame shown at or after step k, and there are as many k as reach the last frame's time, at least one. ffmpeg's
`select` filter applies the rule, so that only frames that are used are resized and cross the pipe; their own
times come with them as messages of the `showinfo` filter.
"""

from __future__ import annotations

import math
import queue
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from vsumdata.pipeline.errors import FailVideo, SkipVideo
from vsumdata.stages.ffmpeg import INPUT, Child, ffmpeg_program, ffmpeg_version
from vsumdata.stages.probe import MediaInfo, VideoStream, probe

AUDIO_RATE = 16_000
AUDIO_PIECE_BYTES = 1 << 20  # whole samples: a read comes short only at the end
MAX_AUDIO_S = 12 * 3600
MAX_FRAMES = 200_000  # a made-up time stamp must not ask for years of frames
CLOCK_S = 2e-6  # the container's start is printed in microseconds, and frame times are sums of fractions
# Recordings that may be put end to end, so that their clock jumps: ffmpeg's own correction is used there.
JUMPING = frozenset({"mpegts", "mpeg", "flv", "live_flv", "ogg"})
UNTIMED = frozenset({"avi", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "obu"})

_SHOWN = re.compile(r"^\[Parsed_showinfo_\d+ @ [^\]]*\] \[info\] n: *\d+ pts: *(-?\d+|NOPTS) ")
_TIME_BASE = re.compile(r"^\[Parsed_showinfo_\d+ @ [^\]]*\] \[info\] config in time_base: (\d+)/(\d+)")
_PACKET = re.compile(rb"^0, *(-?\d+), *(-?\d+),")
_PACKET_BASE = re.compile(rb"^#tb 0: (\d+)/(\d+)")

Picked = Generator[tuple[float, np.ndarray], None, None]


@dataclass(frozen=True)
class Wanted:
    """What is asked of a video.

    `sampling`: `exact`, or `keyframes` (the key frame nearest to each k: many times faster, save for VP9, AVI and
    MPEG program streams, which are decoded whole). `hwaccel`: ffmpeg's name for it (`cuda`), with fall-back to the
    CPU. `resize` as in open_clip: `shortest` (the shorter side to `size`, then the centre) or `squash`;
    `interpolation` too: `bicubic` or `bilinear`.
    """

    size: int
    fps: float = 1.0
    sampling: str = "exact"
    hwaccel: str = "none"
    resize: str = "shortest"
    interpolation: str = "bicubic"
    timeout_s: float = 1700.0
    threads: int = 1


class FrameReader:
    """Iterates once over `(time_s, frame)` for k = 0, 1, 2 …; `frame` is uint8 [size, size, 3].

    Times are the frames' own, from the container's start. A frame that serves several k is the same array
    object each time. After the last one `note` says where and why the file broke off, "" for a sound file.
    `close`, the end of a `with` block and the end of the iteration all end the child process.

    Iterating raises FailVideo (`unreadable`, `timeout`, `too_big`) and RetryVideo.
    """

    def __init__(self, path: str | Path, info: MediaInfo, stream: VideoStream, wanted: Wanted) -> None:
        self.path = path
        self.info = info
        self.stream = stream
        self.wanted = wanted
        self.note = ""
        self.decoder = ""
        self._frames = self._read()

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        return self

    def __next__(self) -> tuple[float, np.ndarray]:
        return next(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._frames.close()

    def _read(self) -> Picked:
        if self.wanted.hwaccel != "none":
            num_read = yield from self._decode(self.wanted.hwaccel)
            if num_read:
                return
            refused = f"no frame came with hwaccel {self.wanted.hwaccel}, decoded on the CPU: {self.note}"
            yield from self._decode("none")
            self.note = f"{refused} · {self.note}" if self.note else refused
        else:
            yield from self._decode("none")

    def _decode(self, hwaccel: str) -> Generator[tuple[float, np.ndarray], None, int]:
        """Decode and pick; returns how many frames were decoded, 0 only with a hwaccel."""
        wanted, last_s, num_read = self.wanted, 0.0, 0
        self.decoder = f"ffmpeg {ffmpeg_version(ffmpeg_program())} {'cpu' if hwaccel == 'none' else hwaccel}"
        end_s = self._last_packet_s() if wanted.sampling == "keyframes" else None
        clock = _Clock(self._origin_s)
        with Child(self._frame_args(hwaccel), wanted.timeout_s, clock.read_line) as child:

            def decoded() -> Iterator[tuple[float, np.ndarray]]:
                nonlocal last_s, num_read
                while (frame := _read_frame(child, wanted.size)) is not None:
                    last_s = clock.times.get(timeout=60)
                    num_read += 1
                    yield last_s, frame

            if end_s is None:
                yield from _first_at_or_after(decoded(), wanted.fps)
            else:
                yield from _nearest(decoded(), wanted.fps, end_s)
            said = child.finish()
        if num_read == 0 and hwaccel == "none":
            raise FailVideo("unreadable", said or "no frame in it can be decoded")
        broken_s = last_s if end_s is None else min(end_s, last_s)
        self.note = self._broken(broken_s, said) if said and num_read else said
        return num_read

    def _broken(self, last_s: float, said: str) -> str:
        duration_s = self.info.duration_s
        if duration_s and duration_s - last_s > 1 + 1 / self.wanted.fps:
            return f"decoded up to {last_s:.1f} s of {duration_s:.1f} s: {said}"
        return f"decoded to the end with complaints: {said}"

    @property
    def _jumps(self) -> bool:
        return not JUMPING.isdisjoint(self._formats)

    @property
    def _formats(self) -> list[str]:
        return self.info.format.split(",")

    @property
    def _origin_s(self) -> float:
        """The time stamp, as ffmpeg gives it with our arguments, of the container's start."""
        return 0.0 if self._jumps else self.info.start_s

    def _input_args(self) -> list[str]:
        keep_clock = [] if self._jumps else ["-copyts"]
        return [*keep_clock, *INPUT, "-threads", str(self.wanted.threads), "-i", f"file:{self.path}"]

    def _clock_args(self) -> list[str]:
        """ffmpeg starts such a format's clock at the first stream that it uses: let it use the sound too."""
        return ["-map", "0:a", "-c", "copy", "-f", "null", "-"] if self._jumps and self.info.audio else []

    def _frame_args(self, hwaccel: str) -> list[str]:
        wanted = self.wanted
        filters = [*resize_filters(wanted.size, wanted.resize, wanted.interpolation), "showinfo=checksum=0"]
        before: list[str] = [] if hwaccel == "none" else ["-hwaccel", hwaccel]
        if wanted.sampling == "keyframes":
            filters.insert(0, "select=key")  # not all decoders (VP9) skip what they are asked to
            # Where no or few packets carry times of their own, only decoding them all gives the frames theirs.
            before += ["-skip_frame", "nokey"] if UNTIMED.isdisjoint(self._formats) else []
        else:
            step = f"floor(({{}}-{self._origin_s:.6f}+{CLOCK_S})*{wanted.fps})"
            now, before_t = step.format("t"), step.format("prev_selected_t")
            filters.insert(0, f"select='isnan(prev_selected_t)+gt({now},{before_t})'")
        output = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        return [
            *before, *self._input_args(), "-map", f"0:{self.stream.index}", "-vf", ",".join(filters), *output,
            *self._clock_args(),
        ]  # fmt: skip

    def _last_packet_s(self) -> float:
        """When the last frame is shown, read from the packets without decoding them."""
        copy = ["-map", f"0:{self.stream.index}", "-c", "copy", "-f", "framecrc", "pipe:1"]
        base, last = 1.0, 0
        with Child([*self._input_args(), *copy, *self._clock_args()], self.wanted.timeout_s) as child:
            for line in child.stdout:
                if found := _PACKET.match(line):
                    last = max(last, int(found[1]), int(found[2]))  # AVI has no pts
                elif found := _PACKET_BASE.match(line):
                    base = int(found[1]) / int(found[2])
            child.finish()
        return last * base - self._origin_s


class _Clock:
    """Collects the frames' times, seconds from the container's start, from the messages of `showinfo`."""

    def __init__(self, origin_s: float) -> None:
        self.times: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._origin_s = origin_s
        self._num, self._den = 1, 1

    def read_line(self, line: str) -> None:
        if found := _SHOWN.match(line):
            known = found[1] != "NOPTS"
            self.times.put(int(found[1]) * self._num / self._den - self._origin_s if known else 0.0)
        elif found := _TIME_BASE.match(line):
            self._num, self._den = int(found[1]), int(found[2])


def resize_filters(size: int, resize: str, interpolation: str) -> list[str]:
    """ffmpeg's filters for open_clip's resize and crop: square pixels, rounding included.

    The picture becomes RGB before it is resized, as there: with chroma resized on its own the mean difference
    is ten times as large (1.2 against 0.1 of 255). param1 = 0.5 is PIL's bicubic.
    """
    width, height = str(size), str(size)
    if resize == "shortest":
        width = f"'if(gte(iw*sar,ih),trunc({size}*iw*sar/ih+1e-9),{size})'"
        height = f"'if(gte(iw*sar,ih),{size},trunc({size}*ih/(iw*sar)+1e-9))'"
    scale = f"scale=w={width}:h={height}:flags={interpolation}+accurate_rnd:param0=0:param1=0.5"
    # Python's round(), half to even, of the margin.
    x, y = (f"floor({d}/2)+mod({d},2)*mod(floor({d}/2),2)" for d in ("(iw-ow)", "(ih-oh)"))
    return ["sidedata=mode=delete", "format=rgb24", scale, f"crop={size}:{size}:'{x}':'{y}'"]


def _read_frame(child: Child, size: int) -> np.ndarray | None:
    frame = np.empty((size, size, 3), np.uint8)
    return frame if child.stdout.readinto(frame.reshape(-1)) == frame.size else None  # type: ignore[attr-defined]


def _first_at_or_after(decoded: Iterator[tuple[float, np.ndarray]], fps: float) -> Picked:
    k, last = 0, None
    for last in decoded:
        stop = math.floor((last[0] + CLOCK_S) * fps) + 1
        _check_count(stop)
        while k < stop:
            k += 1
            yield last
    if k == 0 and last is not None:  # every frame lies before the container's start
        yield last


def _nearest(decoded: Iterator[tuple[float, np.ndarray]], fps: float, end_s: float) -> Picked:
    stop = max(1, math.floor((end_s + CLOCK_S) * fps) + 1)
    _check_count(stop)
    k, last = 0, None
    for now in decoded:
        while last is not None and k < stop and k / fps - last[0] <= now[0] - k / fps:
            k += 1
            yield last
        last = now
    if last is not None:
        for _ in range(k, stop):
            yield last


def _check_count(num_frames: int) -> None:
    if num_frames > MAX_FRAMES:
        raise FailVideo("too_big", f"its time stamps ask for {num_frames} frames; the limit is {MAX_FRAMES}")


def read_frames(path: str | Path, wanted: Wanted) -> FrameReader:
    """Open a video for its frames.

    Raises FailVideo as `probe` does, and SkipVideo `no_video` for sound only.
    """
    info = probe(path)
    if info.best_video is None:
        if info.has_broken_video:
            raise FailVideo("unreadable", "the size of its pictures cannot be found out")
        raise SkipVideo("no_video", "sound only")
    return FrameReader(path, info, info.best_video, wanted)


def stream_audio(path: str | Path, *, timeout_s: float = 1700.0) -> Generator[np.ndarray]:
    """The sound of the best audio stream in pieces, float32 mono at `AUDIO_RATE`, from the container's start.

    Gaps are silence; no audio stream gives nothing. Raises FailVideo as `probe` does.
    """
    info = probe(path)
    if info.best_audio is None:
        return
    # Without it, sound that starts late would be early by as much.
    in_time = f"aresample={AUDIO_RATE}:async=1:first_pts=0"
    args = [*INPUT, "-i", f"file:{path}", "-map", f"0:{info.best_audio.index}", "-af", in_time, "-ac", "1"]
    args += ["-f", "f32le", "pipe:1"]
    if info.video and not JUMPING.isdisjoint(info.format.split(",")):
        args += ["-map", "0:v", "-c", "copy", "-f", "null", "-"]
    num_bytes = 0
    with Child(args, timeout_s) as child:
        while piece := child.stdout.read(AUDIO_PIECE_BYTES):
            num_bytes += len(piece)
            if num_bytes > MAX_AUDIO_S * AUDIO_RATE * 4:
                raise FailVideo("too_big", f"more than {MAX_AUDIO_S // 3600} hours of sound")
            yield np.frombuffer(piece, np.float32, len(piece) // 4)
        said = child.finish()
    if not num_bytes and said:
        raise FailVideo("unreadable", said)
