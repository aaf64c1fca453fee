"""Read frames and sound of a media file from an ffmpeg child process through a pipe.

Which frames: k = 0, 1, 2 … counts steps of 1/`fps` seconds from the origin, which a player shows as 0:00. Frame k is
the picture on screen at step k: the last one shown at or before it, or the first picture before that one is shown. k
runs to the last step before the presentation ends, at least to the last picture, and there is at least one.

ffmpeg's `fps` filter applies the rule, so that only pictures used are resized and cross the pipe. The pictures' own
times arrive as messages of the `showinfo` filter: one for each decoded picture (`seen`) and one for each that leaves
(`shown`). All come from one thread of ffmpeg, so their order tells which picture it is that leaves.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.stages.pictures.clock import CLOCK_S, MAX_FRAMES, Clock, SizeChanged, Unplanned
from vsumdata.stages.pictures.ffmpeg import GAP, INPUT, Child, ffmpeg_program, ffmpeg_version
from vsumdata.stages.pictures.packets import Packets, refuse_encrypted_sound, stated_end_s
from vsumdata.stages.pictures.probe import MediaInfo, VideoStream, probe
from vsumdata.stages.pictures.skip import FORMATS, MIN_PER_STEP, Plan, plan

AUDIO_RATE = 16_000
# A multiple of four, so that a piece holds whole float32 samples. A read is short only at the end.
AUDIO_PIECE_BYTES = 1 << 20
MAX_AUDIO_S = 12 * 3600
IDLE_S = 600.0
# Durations are printed in hundredths of a second, and kept in milliseconds by some formats.
END_S = 1e-3
# Recordings in these formats may be joined end to end, so that their clock jumps. ffmpeg's own correction handles that.
JUMPING = frozenset({"mpegts", "mpeg", "flv", "live_flv", "ogg"})
# Few or no packets of these formats have a time.
UNTIMED = frozenset({"avi", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "obu"})

# AVI keeps no presentation times: with B-frames ffmpeg gives the first picture the time of the packet that completes
# it. H.264 delays by 16 pictures at most.
DELAYED = frozenset({"avi"})
MAX_DELAY = 16

Picked = Generator[tuple[float, np.ndarray], None, None]


@dataclass(frozen=True)
class Wanted:
    """Which frames to read, and how to make them.

    `size`: the side of the square frames in pixels. `sampling`: `exact`, or `keyframes` (the same rule for the key
    frames alone: many times faster, except for VP9, AVI and MPEG program streams, which are decoded whole). `hwaccel`:
    ffmpeg's name for it (`cuda`), with a fall-back to the CPU. `resize` and `interpolation` as in open_clip:
    `shortest` (the shorter side to `size`, then the centre), `longest` (the longer side, then black margins) or
    `squash`; `bicubic` or `bilinear`. `every` (width and height): instead of frames at steps every picture of the file,
    once and in order, uint8 [height, width, 3], as ffmpeg's `-s` resizes. `skip`: leave out pictures on which no frame
    depends, where that is sure to change nothing (`skip.py`).
    """

    size: int
    fps: float = 1.0
    sampling: str = "exact"
    hwaccel: str = "none"
    resize: str = "shortest"
    interpolation: str = "bicubic"
    every: tuple[int, int] | None = None
    idle_s: float = IDLE_S
    threads: int = 1
    skip: bool = True


class FrameReader:
    """Iterate once over `(time_s, frame)` for k = 0, 1, 2 …; `frame` is uint8 [size, size, 3].

    `time_s` is the frame's own time from the origin. A frame that serves several k is the same array object each
    time. After the last frame `note` says where and why the file broke off and how much of it is damaged; it is "" for
    an undamaged file. `num_skipped`: how many packets were not decoded. `close`, the end of a `with` block and the end
    of the iteration all end the child process.

    Iterating raises FailVideo (`unreadable`, `encrypted`, `timeout`, `too_big`) and RetryVideo.
    """

    def __init__(self, path: str | Path, info: MediaInfo, stream: VideoStream, wanted: Wanted) -> None:
        self.path = path
        self.info = info
        self.stream = stream
        self.wanted = wanted
        self.note = ""
        self.decoder = ""
        self.num_skipped = 0
        self._ended_s = 0.0
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
        packets = Packets.read(self._input_args(), self.stream.index, self._origin_s, self.wanted.idle_s)
        if self.stream.is_encrypted:
            raise FailVideo("encrypted", "its pictures are encrypted")
        if packets.num_encrypted:
            found = f"{packets.num_encrypted} of its {packets.num_pictures} pictures are encrypted"
            raise FailVideo("encrypted", found)
        if self.wanted.hwaccel != "none":
            num_read = yield from self._decode(self.wanted.hwaccel, packets)
            # A missing accelerator gives no frame at all. After a first frame, a second try would repeat it.
            if num_read:
                return
            refused = f"no frame came with hwaccel {self.wanted.hwaccel}, decoded on the CPU: {self.note}"
            yield from self._decode("none", packets)
            self.note = f"{refused} · {self.note}" if self.note else refused
        else:
            yield from self._decode("none", packets, self._plan(packets))

    def _plan(self, packets: Packets) -> Plan | None:
        """What need not be decoded; None for a file with anything odd about it, which is decoded whole."""
        wanted, stream = self.wanted, self.stream
        is_plain = wanted.sampling == "exact" and not wanted.every and not FORMATS.isdisjoint(self._formats)
        if not wanted.skip or not is_plain or packets.said or (stream.fps or 0.0) < MIN_PER_STEP * wanted.fps:
            return None
        return plan(self._input_args(), stream, packets, self._origin_s, wanted.fps, wanted.idle_s)

    def _decode(
        self, hwaccel: str, packets: Packets, skipping: Plan | None = None
    ) -> Generator[tuple[float, np.ndarray], None, int]:
        """Decode and pick frames; return how many pictures were decoded, which is 0 only with a hwaccel."""
        wanted = self.wanted
        self.decoder = f"ffmpeg {ffmpeg_version(ffmpeg_program())} {'cpu' if hwaccel == 'none' else hwaccel}"
        num_given, given_s, said = 0, 0.0, ""
        # A picture that changes its size makes ffmpeg build its filters anew, and a picture inside them is lost. Then
        # all are read, from the beginning: slow, but rare.
        ways: list[tuple[bool, Plan | None]] = [(True, None)] if wanted.every else [(False, None), (True, None)]
        # Nor is anything left out of a file that turns out to be odd. What has been given is right.
        for every, leaving_out in [(False, skipping), *ways] if skipping else ways:
            awaited = leaving_out.awaited_us if leaving_out else None
            clock = Clock(
                self._zero_of, wanted.fps, only_keys=wanted.sampling == "keyframes", every=every, awaited_us=awaited
            )
            try:
                with self._child(hwaccel, every, leaving_out, clock) as child:
                    shown = self._shown(child, clock)
                    ended = functools.partial(self._end_s, packets, clock, child)
                    picked = shown if wanted.every else _on_screen(shown, clock, ended)
                    for frame in itertools.islice(picked, num_given, None):
                        num_given, given_s = num_given + 1, frame[0]
                        yield frame
                    said = child.finish()
                clock.end(said)
                self.num_skipped = leaving_out.num_dropped if leaving_out else 0
                break
            except (SizeChanged, Unplanned):
                continue
        if clock.num_seen == 0 and hwaccel == "none":
            raise FailVideo("unreadable", said or "no frame in it can be decoded")
        if 0 < clock.num_seen <= clock.num_damaged:
            raise FailVideo("unreadable", " · ".join(filter(None, ["all its pictures are damaged", said])))
        self.note = self._note(clock, said or packets.said, given_s) if clock.num_seen else said
        return clock.num_seen

    @contextlib.contextmanager
    def _child(self, hwaccel: str, every: bool, leaving_out: Plan | None, clock: Clock) -> Iterator[Child]:
        args = self._frame_args(hwaccel, every=every, leaving_out=leaving_out)
        if leaving_out is None:
            with Child(args, self.wanted.idle_s, clock.read_line) as child:
                yield child
            return
        # Too long for a command line, and nothing of an unnamed file is left behind by a worker that is killed.
        with tempfile.TemporaryFile() as file:
            file.write(f"noise=drop='{leaving_out.dropped}'".encode())
            file.seek(0)
            drop = [f"-/bsf:{self.stream.index}", f"/dev/fd/{file.fileno()}"]
            with Child([*drop, *args], self.wanted.idle_s, clock.read_line, given=(file.fileno(),)) as child:
                yield child

    def _shown(self, child: Child, clock: Clock) -> Iterator[tuple[float, np.ndarray]]:
        """Yield the pictures that are on screen at any k, and the last one: their times and pixels."""
        last = None
        size = self.wanted.size
        width, height = self.wanted.every or (size, size)
        while (frame := _read_frame(child, width, height)) is not None:
            number, time_s = clock.next()
            # The filter repeats a picture for each k that it serves.
            if number != last:
                last = number
                yield time_s, frame

    def _end_s(self, packets: Packets, clock: Clock, child: Child) -> float:
        """When the last picture leaves the screen, in s. The clock is complete afterwards."""
        said = child.finish()
        clock.end(said)
        if self.wanted.sampling == "keyframes":
            # Pictures go on behind the last key frame.
            self._ended_s = max(packets.end_s(self.info), packets.last_s + 2 * END_S)
        elif said and packets.last_s - clock.last_s > 1 + 1 / self.wanted.fps:
            # The decoder gave up on pictures that are there: they would have replaced the last one.
            self._ended_s = clock.last_s
        else:
            self._ended_s = packets.end_s(self.info)
        return self._ended_s

    def _note(self, clock: Clock, said: str, given_s: float) -> str:
        notes = []
        stated_s, end_s = stated_end_s(self.info), max(clock.last_s, self._ended_s)
        is_short = stated_s is not None and stated_s - end_s > 1 + 1 / self.wanted.fps
        if said:
            # A whole file may also end with complaints. It is cut only if more than a step and a second is missing.
            where = f"up to {given_s:.1f} s of {stated_s:.1f} s:" if is_short else "to the end with complaints:"
            notes.append(f"decoded {where} {said}")
        elif is_short and (UNTIMED - DELAYED).isdisjoint(self._formats):
            notes.append(f"its header says {stated_s:.1f} s, its pictures and sound end at {end_s:.1f} s")
        if clock.num_damaged:
            notes.append(f"{clock.num_damaged} of {clock.num_seen} decoded pictures are damaged")
        return " · ".join(notes)

    @property
    def _jumps(self) -> bool:
        return not JUMPING.isdisjoint(self._formats)

    @property
    def _formats(self) -> list[str]:
        return self.info.format.split(",")

    @property
    def _origin_s(self) -> float:
        """The time stamp of the origin, as ffmpeg gives it with our arguments."""
        return 0.0 if self._jumps else self.info.origin_s

    def _zero_of(self, first_s: float) -> float:
        """What to subtract from time stamps, if the first picture has the time stamp `first_s`."""
        late_s = first_s - self._start_s
        return self._origin_s + (late_s if self._is_delayed and late_s <= self._max_late_s else 0.0)

    @property
    def _is_delayed(self) -> bool:
        return not DELAYED.isdisjoint(self._formats)

    @property
    def _start_s(self) -> float:
        return self.info.start_s if self.stream.start_s is None else self.stream.start_s

    @property
    def _max_late_s(self) -> float:
        return MAX_DELAY / (self.stream.fps or 25.0)

    def _input_args(self) -> list[str]:
        # -copyts, so that frames keep the times that the container gives them.
        keep_clock = [] if self._jumps else ["-copyts"]
        return [*keep_clock, *GAP, *INPUT, "-threads", str(self.wanted.threads), "-i", f"file:{self.path}"]

    def _clock_args(self) -> list[str]:
        # For a jumping format ffmpeg starts the clock at the first stream that it uses. A null output of the sound
        # makes that the container's start.
        return ["-map", "0:a", "-c", "copy", "-f", "null", "-"] if self._jumps and self.info.audio else []

    def _frame_args(self, hwaccel: str, *, every: bool, leaving_out: Plan | None = None) -> list[str]:
        wanted = self.wanted
        before: list[str] = [] if hwaccel == "none" else ["-hwaccel", hwaccel]
        pick = ["select=key"] if wanted.sampling == "keyframes" else []
        # If few packets have times, only decoding all of them gives the frames theirs.
        if pick and UNTIMED.isdisjoint(self._formats):
            before += ["-skip_frame", "nokey"]
        if not every:
            zero = f"{self._origin_s:.6f}"
            if self._is_delayed:
                late = f"(STARTT-{self._start_s:.6f})"
                zero = f"({zero}+if(lte({late},{self._max_late_s!r}),{late},0))"
            # Those first shown by the same step are a group, and get the group's number as their time; the first
            # picture counts from the first step on. `fps` keeps the last of each. Numbers, not steps: `fps` would fill
            # a gap of hours with copies in memory. The second branch lets the last picture of all pass once more.
            step = f"if(isnan(T),-1e18,ceil((T-{zero}-{CLOCK_S:.7f})*{wanted.fps}))"
            group = (
                f"st(2,{step});if(eq(N,0),st(0,min(ld(2),0)),if(gt(ld(2),ld(0)),st(0,ld(2))*0+st(1,ld(1)+1)));ld(1)/TB"
            )
            pick += [
                f"setpts='{group}'",
                "split[a][b];[a]fps=1:start_time=0:round=near[steps];"
                "[b]setpts=1,fps=1/1000000:start_time=0:round=down:eof_action=pass[last];[steps][last]concat",
            ]
        if wanted.every:
            resize = ["scale={}:{}:flags=bicubic".format(*wanted.every)]
        else:
            resize = resize_filters(wanted.size, wanted.resize, wanted.interpolation)
        near = []
        if leaving_out:
            # Each picture costs a message. Those that precede another before the next step need none.
            step = f"(t-{self._origin_s:.6f}-{CLOCK_S:.7f})*{wanted.fps}"
            ends = (
                f"lte({sign}(t-({us}/1000000)),1.5e-6)"
                for sign, us in (("", leaving_out.awaited_us[0]), ("-", leaving_out.awaited_us[-1]))
            )
            near = [f"select='isnan(t)+lte(ceil({step})-{step},{leaving_out.ahead!r})+{'+'.join(ends)}'"]
        # Side data first: it would be printed with each picture.
        first = ["sidedata=mode=delete", "settb=1/1000000", *near, "showinfo@seen=checksum=0"]
        filters = ",".join([*first, *pick, "showinfo@shown=checksum=0", *resize])
        # Else ffmpeg doubles and drops frames to reach a constant rate.
        output = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
        return [
            *before, *self._input_args(), "-map", f"0:{self.stream.index}", "-vf", filters, *output,
            *self._clock_args(),
        ]  # fmt: skip


def resize_filters(size: int, resize: str, interpolation: str) -> list[str]:
    """ffmpeg's filters for open_clip's resize and crop, from square pixels and with the same rounding."""
    width, height = str(size), str(size)
    # `sar` makes pixels square. 1e-9: torchvision truncates an exact fraction, and ffmpeg computes in floating point.
    if resize == "shortest":
        width = f"'if(gte(iw*sar,ih),trunc({size}*iw*sar/ih+1e-9),{size})'"
        height = f"'if(gte(iw*sar,ih),{size},trunc({size}*ih/(iw*sar)+1e-9))'"
    elif resize == "longest":
        width = f"'if(gte(iw*sar,ih),{size},max(1,round({size}*iw*sar/ih)))'"
        height = f"'if(gte(iw*sar,ih),max(1,round({size}*ih/(iw*sar))),{size})'"
    # param1 = 0.5 is PIL's bicubic, where ffmpeg's own default is 0.6.
    scale = f"scale=w={width}:h={height}:flags={interpolation}+accurate_rnd:param0=0:param1=0.5"
    if resize == "longest":
        margins = f"pad={size}:{size}:'floor((ow-iw)/2)':'floor((oh-ih)/2)'"
        return ["sidedata=mode=delete", "format=rgb24", scale, margins]
    # torchvision rounds the margin with Python's round(), half to even.
    x, y = (f"floor({d}/2)+mod({d},2)*mod(floor({d}/2),2)" for d in ("(iw-ow)", "(ih-oh)"))
    # RGB before resizing, as in open_clip: with the chroma planes resized on their own the mean difference is ten times
    # as large (1.2 against 0.1 of 255).
    return ["sidedata=mode=delete", "format=rgb24", scale, f"crop={size}:{size}:'{x}':'{y}'"]


def _read_frame(child: Child, width: int, height: int) -> np.ndarray | None:
    frame = np.empty((height, width, 3), np.uint8)
    # A short read means the end. A decoder that was killed in the middle of a frame leaves half of one.
    return frame if child.read_into(frame.reshape(-1)) == frame.size else None


def _on_screen(shown: Iterator[tuple[float, np.ndarray]], clock: Clock, end_s: Callable[[], float]) -> Picked:
    """Yield the picture on screen at k = 0, 1, 2 … of pictures in the order in which they are shown."""
    k, last = 0, None
    for now in shown:
        if last is not None:
            while k < clock.step(now[0]):
                k += 1
                yield last
        last = now
    if last is None:
        return
    asked = (end_s() - END_S) * clock.fps
    least = max(1, math.floor((clock.last_s + CLOCK_S) * clock.fps) + 1)
    # A sound track whose time stamps are made up does not hold the last picture for years.
    for _ in range(k, max(least, math.ceil(asked)) if -math.inf < asked <= MAX_FRAMES else least):
        yield last


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
    """Yield the sound of the best audio stream in pieces: float32 mono at `AUDIO_RATE` from the origin.

    Gaps become silence. A file without an audio stream yields nothing. Raises FailVideo as `probe` does, and for a
    stream that cannot be decoded (`unreadable`, `encrypted`), is too long (`too_big`) or stands still (`timeout`).
    """
    info = probe(path)
    if info.best_audio is None:
        return
    if info.best_audio.is_encrypted:
        raise FailVideo("encrypted", "its sound is encrypted")
    refuse_encrypted_sound(str(path), info.best_audio.index, INPUT, idle_s)
    # ffmpeg counts from the container's start, which may be that of a track of data.
    early = ["-itsoffset", f"{info.start_s - info.origin_s:.6f}"] if info.origin_s > info.start_s else []
    # first_pts=0 pads sound that starts late, and async=1 fills gaps. Without them all later sound would be too early.
    in_time = f"aresample={AUDIO_RATE}:async=1:first_pts=0"
    args = [
        *early,
        *GAP,
        *INPUT,
        "-i",
        f"file:{path}",
        "-map",
        f"0:{info.best_audio.index}",
        "-af",
        in_time,
        "-ac",
        "1",
    ]
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
