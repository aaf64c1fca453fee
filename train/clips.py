"""Cut parts of a video and join them to a new one: exact to the frame, with the sound in sync.

The parts are decoded one after another by ffmpeg child processes and flow through this one, where their pictures and
samples are counted, into one that encodes. A part of n pictures so lasts n pictures, in picture and in sound, and a
hundred parts do not drift. Pictures are those of a constant rate, the source's own where it has one.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import wave
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from vsumdata.pipeline.errors import FailVideo, UsageError, VsumdataError
from vsumdata.stages.decode import JUMPING, UNTIMED
from vsumdata.stages.ffmpeg import INPUT, QUIET, Child, ffmpeg_program, own_words
from vsumdata.stages.probe import MediaInfo, VideoStream, probe

SOUND_RATE = 48_000
SAMPLE_BYTES = 4  # two channels of 16 bits
LEAST_RATE, DEFAULT_RATE, MOST_RATE = 10, 25, 60  # pictures per second
# ffmpeg prints two digits, and a last frame of another length shifts what it estimates.
USUAL_RATES = (*map(Fraction, (10, 12, 15, 24, 25, 30, 48, 50, 60)), *(Fraction(n * 1000, 1001) for n in (24, 30, 60)))
USUAL_WITHIN = 5e-4  # half of what 29.97 and 30 differ by
# Decoding begins so much before a part: a picture may be shown for long, and sound decoders need a while.
MARGIN_S = 10
TIMEOUT_S = 24 * 3600.0
PIXELS = ("-pix_fmt", "yuv420p", "-color_range", "tv")
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", *PIXELS, *BT709)
AAC = ("-c:a", "aac", "-b:a", "160k")
NO_ENCODER = "set VSUMDATA_FFMPEG to an ffmpeg with libx264 and aac, as the package imageio-ffmpeg brings one"

Part = tuple[int, int]  # pictures of the constant rate, half-open


@dataclass(frozen=True, kw_only=True)
class Media:
    """A video on this machine; `sound` is another file where that of the pictures has none."""

    path: Path
    sound: Path | None
    info: MediaInfo
    stream: VideoStream

    @property
    def rate(self) -> Fraction:
        return picture_rate(self.stream.fps)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures as shown, even numbers: what encoders take."""
        width, height = self.stream.shown_size
        return max(2, width // 2 * 2), max(2, height // 2 * 2)


def open_media(path: str | Path, sound: str | Path | None = None) -> Media:
    """Find out what a file holds. Raises FailVideo as `probe` does, and `no_video` for sound only."""
    info = probe(path)
    if info.best_video is None:
        raise FailVideo("no_video", "sound only")
    own = Path(path) if info.audio else None
    return Media(path=Path(path), sound=own or (Path(sound) if sound else None), info=info, stream=info.best_video)


def picture_rate(fps: float | None) -> Fraction:
    """Pictures per second of a summary: the source's, or as many times that as make at least `LEAST_RATE`."""
    if not fps or fps > 2 * MOST_RATE:  # 1000 is what a container says that does not know
        return Fraction(DEFAULT_RATE)
    usual = min(USUAL_RATES, key=lambda known: abs(known - Fraction(fps)))
    rate = usual if abs(usual / Fraction(fps) - 1) < USUAL_WITHIN else Fraction(fps).limit_denominator(100)
    if rate > MOST_RATE:
        return rate / 2
    return rate * max(1, -(-LEAST_RATE * rate.denominator // rate.numerator))


def cut(media: Media, parts: Sequence[Part], target: Path) -> None:
    """Write the parts, one after another, as an MP4 at `target`; what the source lacks is its last picture, or silence.

    Raises VsumdataError where nothing can be decoded or encoded.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".sound-") as folder:
        sound = None
        if media.sound is not None:
            sound = Path(folder) / "sound.wav"
            with contextlib.closing(samples(media, parts)) as pieces:
                write_wave(sound, pieces)
        with contextlib.closing(pictures(media, parts)) as frames, _encoder(media, sound, target) as feed:
            for frame in frames:
                feed.write(frame)


def pictures(media: Media, parts: Sequence[Part]) -> Generator[bytes]:
    """The raw pictures (yuv420p) of all parts, exactly as many as they have."""
    width, height = media.size
    frame_bytes = width * height * 3 // 2
    last: bytes | None = None
    for source in _passes(media, parts):
        wanted = sum(stop - start for start, stop in source.parts)
        for frame in _decoded(media, source, frame_bytes):
            wanted -= 1
            last = frame
            yield frame
        if wanted and last is None:
            raise VsumdataError(f"{media.path}: no picture of the chosen shots can be decoded")
        for _ in range(wanted):
            assert last is not None
            yield last


@dataclass(frozen=True)
class _Pass:
    """One decoding: from picture `seek` on, for parts that are counted from there."""

    seek: int
    parts: tuple[Part, ...]


def _passes(media: Media, parts: Sequence[Part]) -> list[_Pass]:
    """One for each part, where the format can be entered anywhere; else one from the start for all."""
    if not (JUMPING | UNTIMED).isdisjoint(media.info.format.split(",")):
        return [_Pass(0, tuple(parts))]
    margin = int(MARGIN_S * media.rate)
    seeks = [max(0, start - margin) for start, _ in parts]
    return [_Pass(seek, ((start - seek, stop - seek),)) for seek, (start, stop) in zip(seeks, parts, strict=True)]


def _decoded(media: Media, source: _Pass, frame_bytes: int) -> Iterator[bytes]:
    (width, height), rate = media.size, media.rate
    chosen = "+".join(rf"gte(n\,{start})*lt(n\,{stop})" for start, stop in source.parts)
    filters = [
        f"fps={rate}:start_time=0",
        f"select={chosen}",
        f"scale={width}:{height}:flags=bicubic:out_color_matrix=bt709:out_range=tv,setsar=1",
    ]
    args = [*_input(media, media.path, source), "-map", f"0:{media.stream.index}", "-vf", ",".join(filters)]
    args += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"]
    with Child(args, TIMEOUT_S) as child:
        for _ in range(sum(stop - start for start, stop in source.parts)):
            frame = child.stdout.read(frame_bytes)
            if len(frame) < frame_bytes:
                child.finish()  # raises where the process was ended from outside
                return
            yield frame


def _input(media: Media, path: Path, source: _Pass) -> list[str]:
    seek = ["-ss", f"{float(source.seek / media.rate):.6f}"] if source.seek else []
    return [*INPUT, *seek, "-i", f"file:{path}"]


def samples(media: Media, parts: Sequence[Part]) -> Generator[bytes]:
    """The sound of all parts, stereo of 16 bits at `SOUND_RATE`: of each as many samples as its pictures last."""
    assert media.sound is not None
    best = probe(media.sound).best_audio
    before = 0  # pictures in the summary so far
    for source in _passes(media, parts):
        args = [*_input(media, media.sound, source), "-map", f"0:{best.index if best else 'a'}"]
        args += ["-af", f"aresample={SOUND_RATE}:async=1:first_pts=0", "-ac", "2", "-f", "s16le", "pipe:1"]
        with Child(args, TIMEOUT_S) as child:
            at = 0  # samples read
            for start, stop in source.parts:
                first = _sample(start, media.rate)
                # By the summary's own clock: rounding part by part would add up.
                length = _sample(before + stop - start, media.rate) - _sample(before, media.rate)
                before += stop - start
                at += _skip(child.stdout, first - at)
                piece = child.stdout.read(length * SAMPLE_BYTES)
                at += len(piece) // SAMPLE_BYTES
                yield piece.ljust(length * SAMPLE_BYTES, b"\0")


def _sample(picture: int, rate: Fraction) -> int:
    return round(picture / rate * SOUND_RATE)


def _skip(stream: IO[bytes], num_samples: int) -> int:
    left = num_samples * SAMPLE_BYTES
    while left > 0 and (piece := stream.read(min(left, 1 << 20))):
        left -= len(piece)
    return num_samples - max(left, 0) // SAMPLE_BYTES


def write_wave(path: Path, pieces: Iterator[bytes]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        for piece in pieces:
            file.writeframesraw(piece)


@contextlib.contextmanager
def _encoder(media: Media, sound: Path | None, target: Path) -> Iterator[IO[bytes]]:
    """Where the raw pictures go; leaving it without an error finishes the file."""
    width, height = media.size
    args = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(media.rate), "-i", "pipe:0"]
    args += ["-i", f"file:{sound}", *AAC] if sound else []
    program = ffmpeg_program()
    command = [program, *QUIET, "-y", *args, *X264, "-movflags", "+faststart", "-f", "mp4", f"file:{target}"]
    with tempfile.TemporaryFile() as said:
        # A group of its own: Ctrl-C must not make a short file that looks finished.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, process_group=0)
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as feed:
                yield feed
            returncode = process.wait()
        finally:
            process.kill()
            process.wait()
        if returncode:
            said.seek(0)
            lines = [own_words(line) for line in said.read().decode("utf-8", "replace").splitlines()]
            words = next((line for line in lines if "ncoder" in line), lines[-1] if lines else "no reason given")
            if "Unknown encoder" in words:
                raise UsageError(f"{program}: {words}: {NO_ENCODER}")
            raise VsumdataError(f"summary.mp4 cannot be written: {words}")


def thumbnail(media: Media, at_s: float, height: int) -> np.ndarray | None:
    """The picture shown at `at_s`, uint8 [height, width, 3]; None where it cannot be decoded."""
    shown_width, shown_height = media.stream.shown_size
    width = max(1, round(height * shown_width / shown_height))
    at = int(at_s * media.rate)
    source = _passes(media, [(at, at + 1)])[0]
    filters = f"fps={media.rate}:start_time=0,select=gte(n\\,{source.parts[0][0]}),scale={width}:{height},setsar=1"
    args = [*_input(media, media.path, source), "-map", f"0:{media.stream.index}", "-vf", filters]
    args += ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    with Child(args, TIMEOUT_S) as child:
        raw = child.stdout.read(width * height * 3)
        child.finish()
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3) if len(raw) == width * height * 3 else None
