"""Cut parts out of a video and join them into a new one: exact to the frame, with the sound in sync.

ffmpeg child processes decode the parts one after another. Their pictures and samples pass through this process, which
counts them, into one ffmpeg that encodes. A part of n pictures therefore lasts exactly n pictures, in picture and in
sound, and a hundred parts do not drift. Pictures have a constant rate, the source's own if it has one.
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

from vsumdata.manifests.errors import FailVideo, UsageError, VsumdataError
from vsumdata.stages.pictures.decode import JUMPING, UNTIMED
from vsumdata.stages.pictures.ffmpeg import INPUT, QUIET, Child, ffmpeg_program, own_words
from vsumdata.stages.pictures.probe import MediaInfo, VideoStream, probe

SOUND_RATE = 48_000
SAMPLE_BYTES = 4  # two channels of 16 bits
LEAST_RATE, DEFAULT_RATE, MOST_RATE = 10, 25, 60  # pictures per second
# ffmpeg prints a rate with two digits, and a last frame of another length shifts its estimate. A rate that is nearly
# one of these is taken for it: at a slightly wrong rate a picture would be doubled or dropped now and then.
USUAL_RATES = (*map(Fraction, (10, 12, 15, 24, 25, 30, 48, 50, 60)), *(Fraction(n * 1000, 1001) for n in (24, 30, 60)))
# Half of the relative difference between 29.97 and 30.
USUAL_WITHIN = 5e-4
# Decoding starts this long before a part: one picture may be shown for seconds, and sound decoders need a run-up.
MARGIN_S = 10
# A guard against an ffmpeg that hangs. Between two parts of a day's recording it may decode for long without a word.
IDLE_S = 3600.0
# What every player can show: 4:2:0 with limited range.
PIXELS = ("-pix_fmt", "yuv420p", "-color_range", "tv")
BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", *PIXELS, *BT709)
AAC = ("-c:a", "aac", "-b:a", "160k")
NO_ENCODER = "set VSUMDATA_FFMPEG to an ffmpeg with libx264 and aac; the package imageio-ffmpeg contains one"

Part = tuple[int, int]  # picture numbers at the constant rate, half-open


@dataclass(frozen=True, kw_only=True)
class Media:
    """A video on this machine. `sound` is the file with the sound, if the file with the pictures has none."""

    path: Path
    sound: Path | None
    info: MediaInfo
    stream: VideoStream

    @property
    def rate(self) -> Fraction:
        """Pictures per second of the summary."""
        return picture_rate(self.stream.fps)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures as shown, made even."""
        # yuv420p halves both sides for colour, and x264 refuses odd sizes.
        width, height = self.stream.shown_size
        return max(2, width // 2 * 2), max(2, height // 2 * 2)


def open_media(path: str | Path, sound: str | Path | None = None) -> Media:
    """Find out what a file holds. Raises FailVideo as `probe` does, and with `no_video` if there is only sound."""
    info = probe(path)
    if info.best_video is None:
        raise FailVideo("no_video", "sound only")
    own = Path(path) if info.audio else None
    return Media(path=Path(path), sound=own or (Path(sound) if sound else None), info=info, stream=info.best_video)


def picture_rate(fps: float | None) -> Fraction:
    """Pictures per second of a summary: the source's rate, or a multiple of it that is at least `LEAST_RATE`."""
    # A container that does not know its rate says 1000.
    if not fps or fps > 2 * MOST_RATE:
        return Fraction(DEFAULT_RATE)
    usual = min(USUAL_RATES, key=lambda known: abs(known - Fraction(fps)))
    rate = usual if abs(usual / Fraction(fps) - 1) < USUAL_WITHIN else Fraction(fps).limit_denominator(100)
    # Halved, not capped at 60: each picture of the summary is then a picture of the source, evenly spaced.
    if rate > MOST_RATE:
        return rate / 2
    return rate * max(1, -(-LEAST_RATE * rate.denominator // rate.numerator))


def cut(media: Media, parts: Sequence[Part], target: Path) -> None:
    """Write the parts, one after another, as an MP4 at `target`.

    If the source ends early, its last picture is repeated and the sound is silence. Raises VsumdataError if nothing
    can be decoded or encoded.
    """
    # The sound goes through a file. Two pipes into one ffmpeg risk a deadlock: it reads one while we fill the other.
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
    """Yield the raw pictures (yuv420p) of all parts: exactly as many as the parts have."""
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
        # A truncated file: repeat the last picture, or the rest of the summary would run ahead of its sound.
        for _ in range(wanted):
            assert last is not None
            yield last


@dataclass(frozen=True)
class _Pass:
    """One run of the decoder: it starts at picture `seek`, and the parts are counted from there."""

    seek: int
    parts: tuple[Part, ...]


def _passes(media: Media, parts: Sequence[Part]) -> list[_Pass]:
    """One pass per part if the format can be entered anywhere, else one pass from the start for all parts."""
    # Seeking lands somewhere else in formats that jump or have no times: only counting from the start is exact.
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
    # "passthrough": by default ffmpeg would fill the time between the selected parts with copies.
    args += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"]
    with Child(args, IDLE_S) as child:
        for _ in range(sum(stop - start for start, stop in source.parts)):
            frame = child.read(frame_bytes)
            # The file ends early, which is fine; `finish` raises if somebody killed the process, which is not.
            if len(frame) < frame_bytes:
                child.finish()
                return
            yield frame


def _input(media: Media, path: Path, source: _Pass) -> list[str]:
    # "file:" keeps ffmpeg from reading a name such as "a:b.mp4" as a protocol.
    seek = ["-ss", f"{float(source.seek / media.rate):.6f}"] if source.seek else []
    return [*INPUT, *seek, "-i", f"file:{path}"]


def samples(media: Media, parts: Sequence[Part]) -> Generator[bytes]:
    """Yield the sound of each part, 16-bit stereo at `SOUND_RATE`, for exactly as long as its pictures last."""
    assert media.sound is not None
    best = probe(media.sound).best_audio
    before = 0  # pictures in the summary so far
    for source in _passes(media, parts):
        args = [*_input(media, media.sound, source), "-map", f"0:{best.index if best else 'a'}"]
        # "first_pts=0" pads a sound track that starts after the pictures, "async=1" fills gaps in its times.
        args += ["-af", f"aresample={SOUND_RATE}:async=1:first_pts=0", "-ac", "2", "-f", "s16le", "pipe:1"]
        with Child(args, IDLE_S) as child:
            at = 0  # samples read
            for start, stop in source.parts:
                first = _sample(start, media.rate)
                # By the summary's own clock: rounding part by part would add up to a drift.
                length = _sample(before + stop - start, media.rate) - _sample(before, media.rate)
                before += stop - start
                at += _skip(child, first - at)
                piece = child.read(length * SAMPLE_BYTES)
                at += len(piece) // SAMPLE_BYTES
                yield piece.ljust(length * SAMPLE_BYTES, b"\0")


def _sample(picture: int, rate: Fraction) -> int:
    return round(picture / rate * SOUND_RATE)


def _skip(child: Child, num_samples: int) -> int:
    """Skip samples of a pipe, which cannot seek. Returns how many there were."""
    left = num_samples * SAMPLE_BYTES
    while left > 0 and (piece := child.read(min(left, 1 << 20))):
        left -= len(piece)
    return num_samples - max(left, 0) // SAMPLE_BYTES


def write_wave(path: Path, pieces: Iterator[bytes]) -> None:
    """Write 16-bit stereo at `SOUND_RATE`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        for piece in pieces:
            file.writeframesraw(piece)


@contextlib.contextmanager
def _encoder(media: Media, sound: Path | None, target: Path) -> Iterator[IO[bytes]]:
    """A pipe for the raw pictures. Leaving the block without an error finishes the file."""
    width, height = media.size
    args = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(media.rate), "-i", "pipe:0"]
    args += ["-i", f"file:{sound}", *AAC] if sound else []
    program = ffmpeg_program()
    command = [program, *QUIET, "-y", *args, *X264, "-movflags", "+faststart", "-f", "mp4", f"file:{target}"]
    # stderr goes to a file: nobody reads it meanwhile, and a full pipe would stop ffmpeg for ever.
    with tempfile.TemporaryFile() as said:
        # A process group of its own: on Ctrl-C ffmpeg would finish the file early, and it would look complete.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, process_group=0)
        assert process.stdin is not None
        try:
            # ffmpeg closes the pipe when it fails. Its own words, read below, say more than BrokenPipeError.
            with contextlib.suppress(BrokenPipeError), process.stdin as feed:
                yield feed
            returncode = process.wait()
        # Also after an error in the block: an encoder without a feeder would wait for ever.
        finally:
            process.kill()
            process.wait()
        if returncode:
            said.seek(0)
            lines = [own_words(line) for line in said.read().decode("utf-8", "replace").splitlines()]
            # "Unknown encoder" or "Encoder not found": the cause, which ffmpeg follows with lines of consequences.
            words = next((line for line in lines if "ncoder" in line), lines[-1] if lines else "no reason given")
            if "Unknown encoder" in words:
                raise UsageError(f"{program}: {words}: {NO_ENCODER}")
            raise VsumdataError(f"summary.mp4 cannot be written: {words}")


def thumbnail(media: Media, at_s: float, height: int) -> np.ndarray | None:
    """The picture shown at `at_s` seconds, uint8 [height, width, 3]; None if it cannot be decoded."""
    shown_width, shown_height = media.stream.shown_size
    width = max(1, round(height * shown_width / shown_height))
    at = int(at_s * media.rate)
    source = _passes(media, [(at, at + 1)])[0]
    filters = f"fps={media.rate}:start_time=0,select=gte(n\\,{source.parts[0][0]}),scale={width}:{height},setsar=1"
    args = [*_input(media, media.path, source), "-map", f"0:{media.stream.index}", "-vf", filters]
    args += ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    with Child(args, IDLE_S) as child:
        raw = child.read(width * height * 3)
        child.finish()
    return np.frombuffer(raw, np.uint8).reshape(height, width, 3) if len(raw) == width * height * 3 else None
