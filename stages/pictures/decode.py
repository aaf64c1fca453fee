"""Read frames and sound of a media file from an ffmpeg child process through a pipe.

Which frames: k = 0, 1, 2 … counts steps of 1/`fps` seconds from the container's start. Frame k is the first frame
shown at or after step k. k runs up to the last frame's time, and there is at least one. ffmpeg's `select` filter
applies the rule, so that only the frames used are resized and cross the pipe. Their times arrive as messages of the
`showinfo` filter.
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

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.stages.pictures.ffmpeg import INPUT, Child, ffmpeg_program, ffmpeg_version
from vsumdata.stages.pictures.probe import MediaInfo, VideoStream, probe

AUDIO_RATE = 16_000
# A multiple of four, so that a piece holds whole float32 samples. A read is short only at the end.
AUDIO_PIECE_BYTES = 1 << 20
MAX_AUDIO_S = 12 * 3600
IDLE_S = 600.0
# A frame serves every k since the frame before it, so a made-up time stamp would ask for years of copies.
MAX_FRAMES = 200_000
# How long to wait for the time of a frame that has come.
LATEST_TIME_S = 60.0
# ffmpeg prints the container's start in microseconds, and frame times are sums of fractions. Without this tolerance a
# frame at exactly k seconds could count for k + 1.
CLOCK_S = 2e-6
# Recordings in these formats may be joined end to end, so that their clock jumps. ffmpeg's own correction handles that.
JUMPING = frozenset({"mpegts", "mpeg", "flv", "live_flv", "ogg"})
# Few or no packets of these formats have a time.
UNTIMED = frozenset({"avi", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "obu"})

_SHOWN = re.compile(r"^\[Parsed_showinfo_\d+ @ [^\]]*\] \[info\] n: *\d+ pts: *(-?\d+|NOPTS) ")
_TIME_BASE = re.compile(r"^\[Parsed_showinfo_\d+ @ [^\]]*\] \[info\] config in time_base: (\d+)/(\d+)")
_PACKET = re.compile(rb"^0, *(-?\d+), *(-?\d+),")
_PACKET_BASE = re.compile(rb"^#tb 0: (\d+)/(\d+)")

Picked = Generator[tuple[float, np.ndarray], None, None]


@dataclass(frozen=True)
class Wanted:
    """Which frames to read, and how to make them.

    `size`: the side of the square frames in pixels. `sampling`: `exact`, or `keyframes` (the key frame nearest to
    each k: many times faster, except for VP9, AVI and MPEG program streams, which are decoded whole). `hwaccel`:
    ffmpeg's name for it (`cuda`), with a fall-back to the CPU. `resize` and `interpolation` as in open_clip:
    `shortest` (the shorter side to `size`, then the centre) or `squash`; `bicubic` or `bilinear`.
    """

    size: int
    fps: float = 1.0
    sampling: str = "exact"
    hwaccel: str = "none"
    resize: str = "shortest"
    interpolation: str = "bicubic"
    idle_s: float = IDLE_S
    threads: int = 1


class FrameReader:
    """Iterate once over `(time_s, frame)` for k = 0, 1, 2 …; `frame` is uint8 [size, size, 3].

    `time_s` is the frame's own time from the container's start. A frame that serves several k is the same array
    object each time. After the last frame `note` says where and why the file broke off; it is "" for an undamaged
    file. `close`, the end of a `with` block and the end of the iteration all end the child process.

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
            # A missing accelerator gives no frame at all. After a first frame, a second try would repeat it.
            if num_read:
                return
            refused = f"no frame came with hwaccel {self.wanted.hwaccel}, decoded on the CPU: {self.note}"
            yield from self._decode("none")
            self.note = f"{refused} · {self.note}" if self.note else refused
        else:
            yield from self._decode("none")

    def _decode(self, hwaccel: str) -> Generator[tuple[float, np.ndarray], None, int]:
        """Decode and pick frames; return how many were decoded, which is 0 only with a hwaccel."""
        wanted, last_s, num_read = self.wanted, 0.0, 0
        self.decoder = f"ffmpeg {ffmpeg_version(ffmpeg_program())} {'cpu' if hwaccel == 'none' else hwaccel}"
        end_s = self._last_packet_s() if wanted.sampling == "keyframes" else None
        clock = _Clock(self._origin_s)
        with Child(self._frame_args(hwaccel), wanted.idle_s, clock.read_line) as child:

            def decoded() -> Iterator[tuple[float, np.ndarray]]:
                nonlocal last_s, num_read
                while (frame := _read_frame(child, wanted.size)) is not None:
                    last_s = clock.next_s()
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
        # A whole file may also end with complaints. It is cut only if more than a step and a second is missing.
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
        """The time stamp of the container's start, as ffmpeg gives it with our arguments."""
        return 0.0 if self._jumps else self.info.start_s

    def _input_args(self) -> list[str]:
        # -copyts, so that frames keep the times that the container gives them.
        keep_clock = [] if self._jumps else ["-copyts"]
        return [*keep_clock, *INPUT, "-threads", str(self.wanted.threads), "-i", f"file:{self.path}"]

    def _clock_args(self) -> list[str]:
        # For a jumping format ffmpeg starts the clock at the first stream that it uses. A null output of the sound
        # makes that the container's start.
        return ["-map", "0:a", "-c", "copy", "-f", "null", "-"] if self._jumps and self.info.audio else []

    def _frame_args(self, hwaccel: str) -> list[str]:
        wanted = self.wanted
        filters = [*resize_filters(wanted.size, wanted.resize, wanted.interpolation), "showinfo=checksum=0"]
        before: list[str] = [] if hwaccel == "none" else ["-hwaccel", hwaccel]
        if wanted.sampling == "keyframes":
            # Not all decoders (VP9) obey -skip_frame.
            filters.insert(0, "select=key")
            # If few packets have times, only decoding all of them gives the frames theirs.
            before += ["-skip_frame", "nokey"] if UNTIMED.isdisjoint(self._formats) else []
        else:
            # The number of the step that a time lies in. A frame is used if it is the first of its step.
            step = f"floor(({{}}-{self._origin_s:.6f}+{CLOCK_S})*{wanted.fps})"
            now, before_t = step.format("t"), step.format("prev_selected_t")
            filters.insert(0, f"select='isnan(prev_selected_t)+gt({now},{before_t})'")
        # Else ffmpeg doubles and drops frames to reach a constant rate.
        output = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        return [
            *before, *self._input_args(), "-map", f"0:{self.stream.index}", "-vf", ",".join(filters), *output,
            *self._clock_args(),
        ]  # fmt: skip

    def _last_packet_s(self) -> float:
        """When the last frame is shown, in s. Reads the packets without decoding them."""
        # With keyframes alone the end of the video is unknown, and with it the number of k.
        copy = ["-map", f"0:{self.stream.index}", "-c", "copy", "-f", "framecrc", "pipe:1"]
        base, last = 1.0, 0
        with Child([*self._input_args(), *copy, *self._clock_args()], self.wanted.idle_s) as child:
            for line in child.lines():
                if found := _PACKET.match(line):
                    # The presentation or the decoding time: AVI has only the second.
                    last = max(last, int(found[1]), int(found[2]))
                elif found := _PACKET_BASE.match(line):
                    base = int(found[1]) / int(found[2])
            child.finish()
        return last * base - self._origin_s


class _Clock:
    """Collect the frames' times (seconds from the container's start) from the messages of `showinfo`."""

    def __init__(self, origin_s: float) -> None:
        self.times: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._origin_s = origin_s
        self._num, self._den = 1, 1

    def next_s(self) -> float:
        """Return the time of the next frame. Raises FailVideo `unreadable` if none arrives."""
        # The time arrives through stderr and may come after its frame. It never comes if another message spoilt its
        # line, or the thread that reads stderr crashed.
        try:
            return self.times.get(timeout=LATEST_TIME_S)
        except queue.Empty as error:
            raise FailVideo("unreadable", "ffmpeg did not say when a frame is shown") from error

    def read_line(self, line: str) -> None:
        if found := _SHOWN.match(line):
            known = found[1] != "NOPTS"
            self.times.put(int(found[1]) * self._num / self._den - self._origin_s if known else 0.0)
        elif found := _TIME_BASE.match(line):
            self._num, self._den = int(found[1]), int(found[2])


def resize_filters(size: int, resize: str, interpolation: str) -> list[str]:
    """ffmpeg's filters for open_clip's resize and crop, from square pixels and with the same rounding."""
    width, height = str(size), str(size)
    # `sar` makes pixels square. 1e-9: torchvision truncates an exact fraction, and ffmpeg computes in floating point.
    if resize == "shortest":
        width = f"'if(gte(iw*sar,ih),trunc({size}*iw*sar/ih+1e-9),{size})'"
        height = f"'if(gte(iw*sar,ih),{size},trunc({size}*ih/(iw*sar)+1e-9))'"
    # param1 = 0.5 is PIL's bicubic, where ffmpeg's own default is 0.6.
    scale = f"scale=w={width}:h={height}:flags={interpolation}+accurate_rnd:param0=0:param1=0.5"
    # torchvision rounds the margin with Python's round(), half to even.
    x, y = (f"floor({d}/2)+mod({d},2)*mod(floor({d}/2),2)" for d in ("(iw-ow)", "(ih-oh)"))
    # RGB before resizing, as in open_clip: with the chroma planes resized on their own the mean difference is ten times
    # as large (1.2 against 0.1 of 255).
    return ["sidedata=mode=delete", "format=rgb24", scale, f"crop={size}:{size}:'{x}':'{y}'"]


def _read_frame(child: Child, size: int) -> np.ndarray | None:
    frame = np.empty((size, size, 3), np.uint8)
    # A short read means the end. A decoder that was killed in the middle of a frame leaves half of one.
    return frame if child.read_into(frame.reshape(-1)) == frame.size else None


def _first_at_or_after(decoded: Iterator[tuple[float, np.ndarray]], fps: float) -> Picked:
    k, last = 0, None
    for last in decoded:
        stop = math.floor((last[0] + CLOCK_S) * fps) + 1
        _check_count(stop)
        while k < stop:
            k += 1
            yield last
    # Every frame lies before the container's start, but a video has at least one.
    if k == 0 and last is not None:
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
    """Open a video for reading its frames.

    Raises FailVideo as `probe` does and for pictures of unknown size, SkipVideo `no_video` for sound only.
    """
    info = probe(path)
    if info.best_video is None:
        if info.has_broken_video:
            raise FailVideo("unreadable", "ffmpeg does not find the size of its pictures")
        raise SkipVideo("no_video", "sound only")
    return FrameReader(path, info, info.best_video, wanted)


def stream_audio(path: str | Path, *, idle_s: float = IDLE_S) -> Generator[np.ndarray]:
    """Yield the sound of the best audio stream in pieces: float32 mono at `AUDIO_RATE` from the container's start.

    Gaps become silence. A file without an audio stream yields nothing. Raises FailVideo as `probe` does, and for a
    stream that cannot be decoded (`unreadable`), is too long (`too_big`) or stands still (`timeout`).
    """
    info = probe(path)
    if info.best_audio is None:
        return
    # first_pts=0 pads sound that starts late, and async=1 fills gaps. Without them all later sound would be too early.
    in_time = f"aresample={AUDIO_RATE}:async=1:first_pts=0"
    args = [*INPUT, "-i", f"file:{path}", "-map", f"0:{info.best_audio.index}", "-af", in_time, "-ac", "1"]
    args += ["-f", "f32le", "pipe:1"]
    # As in `_clock_args`: the clock starts at the first stream used, and the pictures may start before the sound.
    if info.video and not JUMPING.isdisjoint(info.format.split(",")):
        args += ["-map", "0:v", "-c", "copy", "-f", "null", "-"]
    num_bytes = 0
    with Child(args, idle_s) as child:
        while piece := child.read(AUDIO_PIECE_BYTES):
            num_bytes += len(piece)
            if num_bytes > MAX_AUDIO_S * AUDIO_RATE * 4:
                raise FailVideo("too_big", f"more than {MAX_AUDIO_S // 3600} hours of sound")
            yield np.frombuffer(piece, np.float32, len(piece) // 4)
        said = child.finish()
    # Sound up to a break is worth keeping. A file that gives none and complains is broken.
    if not num_bytes and said:
        raise FailVideo("unreadable", said)
