"""Ask the ffmpeg program what a media file contains. This process never parses untrusted bytes itself."""

from __future__ import annotations

import re
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.pictures.ffmpeg import INPUT, ffmpeg_program, own_words

PROBE_TIMEOUT_S = 120.0

# The shapes of pixels that a player shows: beyond, a header is made up, and a width would fit into no column.
MAX_PIXEL_ASPECT = 64.0

# Read from the text of `ffmpeg -i`, because imageio-ffmpeg brings no ffprobe. No number is longer than `int`, `float`
# and the columns take.
_FORMAT = re.compile(r"^Input #0, (.+), from ", re.M)
_NUMBER = r"\d{1,12}(?:\.\d{1,9})?"
_DURATION = re.compile(
    rf"^  Duration: (?:N/A|(\d{{1,6}}):(\d\d):(\d\d\.\d{{1,9}}))(?:, start: (-?{_NUMBER}))?", re.M | re.A
)
_STREAM = re.compile(r"^ {2,6}Stream #0:(\d{1,6})(?!\d)\S*: (Video|Audio): (.*)$", re.A)
_SIZE = re.compile(r", ([1-9]\d{0,5})x([1-9]\d{0,5})(?!\d)(?: \[SAR (\d{1,9}):(\d{1,9}) )?", re.A)
_FPS = re.compile(rf", ({_NUMBER})(k?) fps", re.A)
_RATE = re.compile(r", (\d{1,9}) Hz", re.A)
_START = re.compile(rf", start (-?{_NUMBER})(?: \(|,|$)", re.A)
# How ffmpeg says that Matroska's ContentEncryption holds for a stream. For MP4 each packet says so.
_KEY_ID = re.compile(r"^ +(?i:enc_key_id) *: ")
_ROTATION = re.compile(rf"^[ ]+display ?matrix: rotation of (-?{_NUMBER}) degrees", re.I | re.A)
# What ffmpeg says at the end whatever happened.
_NO_REASON = ("Error opening input file", "Exiting with exit code", "Statistics: ")


@dataclass(frozen=True)
class VideoStream:
    """A picture stream. `width` and `height` are those of the coded picture; `rotation_deg` is counter-clockwise."""

    index: int
    width: int
    height: int
    pixel_aspect: float = 1.0
    rotation_deg: float = 0.0
    fps: float | None = None
    is_default: bool = False
    start_s: float | None = None  # None: it starts with the container
    is_encrypted: bool = False  # as far as the container says so of the whole stream (Matroska)
    codec: str = ""  # as ffmpeg names it

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as a player shows them: square pixels, turned upright."""
        width = max(1, round(self.width * self.pixel_aspect))
        return (self.height, width) if round(self.rotation_deg / 90) % 2 else (width, self.height)


@dataclass(frozen=True)
class AudioStream:
    """A sound stream; `sample_rate` in Hz."""

    index: int
    sample_rate: int
    is_default: bool = False
    start_s: float | None = None
    is_encrypted: bool = False


@dataclass(frozen=True)
class MediaInfo:
    """The streams of a file. `start_s` is the container's first time stamp, of whatever stream."""

    format: str
    duration_s: float | None
    start_s: float
    video: tuple[VideoStream, ...]
    audio: tuple[AudioStream, ...]
    has_broken_video: bool = False  # it announces a picture stream whose size ffmpeg does not find

    @property
    def origin_s(self) -> float:
        """The time stamp that a player shows as 0:00: the first of a picture or a sound."""
        # Not the container's: a track of time codes or data, or a cover, may start long before both.
        starts = [s.start_s for s in self.video] + [s.start_s for s in self.audio]
        return min((self.start_s if s is None else s for s in starts), default=self.start_s)

    @property
    def best_video(self) -> VideoStream | None:
        """The largest picture; among equals the default one, then the first."""
        return max(self.video, key=lambda s: (s.width * s.height, s.is_default, -s.index), default=None)

    @property
    def best_audio(self) -> AudioStream | None:
        """The stream with the highest rate; among equals the default one, then the first."""
        # Speech recognition uses 16 kHz, so higher rates count as equal.
        return max(self.audio, key=lambda s: (min(s.sample_rate, 16_000), s.is_default, -s.index), default=None)


def probe(path: str | Path) -> MediaInfo:
    """Return what a file contains.

    Raises FailVideo: `file_missing`; `unreadable` with the system's or ffmpeg's words; `timeout`.
    """
    _check_file(Path(path))
    # `file:`, because ffmpeg would take a name with a colon for a protocol.
    # `verbose`, because the streams of a group (IAMF sound, tiles of a picture) are not shown otherwise.
    command = [ffmpeg_program(), "-loglevel", "verbose", *INPUT, "-i", f"file:{path}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_TIMEOUT_S, process_group=0
        )
    except subprocess.TimeoutExpired as error:
        raise FailVideo("timeout", f"ffmpeg did not identify it within {PROBE_TIMEOUT_S:.0f} s") from error
    return read_messages(done.stderr.decode("utf-8", "replace"))


def read_messages(text: str) -> MediaInfo:
    """Return what a file contains by what `ffmpeg -i` says. Raises FailVideo `unreadable` with ffmpeg's words."""
    container = _FORMAT.search(text)
    if container is None:
        raise FailVideo("unreadable", _reason(text))
    info = _parse(container[1], text)
    if not info.video and not info.audio and not info.has_broken_video:
        raise FailVideo("unreadable", f"neither pictures nor sound in it ({info.format})")
    return info


def _check_file(path: Path) -> None:
    try:
        # Opening a named pipe would block until somebody writes to it.
        if not stat.S_ISREG(path.stat().st_mode):
            raise FailVideo("unreadable", "not a regular file")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise FailVideo("file_missing", str(path)) from error
    except OSError as error:
        raise FailVideo("unreadable", error.strerror or str(error)) from error
    if path.stat().st_size == 0:
        raise FailVideo("unreadable", "the file is empty")


def _reason(text: str) -> str:
    # The last lines tell most: before them stand the attempts of single demuxers.
    lines = [own_words(line) for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(_NO_REASON)]
    return " · ".join(said[-2:]) or "ffmpeg does not say why"


def _parse(container: str, text: str) -> MediaInfo:
    duration_s, start_s = None, 0.0
    if found := _DURATION.search(text):
        hours, minutes, seconds, start = found.groups()
        duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds) if hours else None
        start_s = float(start or 0)
    video: dict[int, VideoStream] = {}
    audio: dict[int, AudioStream] = {}
    has_broken_video, last = False, None
    # Not `splitlines`: a title may contain line ends of other alphabets (U+2028), and could pretend to be a stream.
    for line in text.split("\n"):
        if found := _STREAM.match(line):
            last, index, words = None, int(found[1]), found[3]
            if found[2] == "Audio":
                if sound := _audio_stream(index, words):
                    audio[index], last = sound, index
            # The cover of a sound file is a picture stream too, but no video.
            elif "(attached pic)" in words or "(timed thumbnails)" in words:
                continue
            elif stream := _video_stream(index, words):
                video[index], last = stream, index
            else:
                has_broken_video = True
        elif last in video and (turn := _ROTATION.match(line)):
            video[last] = replace(video[last], rotation_deg=float(turn[1]))
        elif _KEY_ID.match(line):
            if last in video:
                video[last] = replace(video[last], is_encrypted=True)
            elif last in audio:
                audio[last] = replace(audio[last], is_encrypted=True)
    return MediaInfo(container, duration_s, start_s, tuple(video.values()), tuple(audio.values()), has_broken_video)


def _start(words: str) -> float | None:
    found = _START.search(words)
    return float(found[1]) if found else None


def _audio_stream(index: int, words: str) -> AudioStream | None:
    rate = _RATE.search(words)
    return rate and AudioStream(index, int(rate[1]), "(default)" in words, _start(words))


def _video_stream(index: int, words: str) -> VideoStream | None:
    size = _SIZE.search(words)
    if size is None:
        return None
    width, height, num, den = (int(group) if group else 0 for group in size.groups())
    fps, aspect = _FPS.search(words), num / den if num and den else 1.0
    return VideoStream(
        index=index,
        width=width,
        height=height,
        pixel_aspect=aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else 1.0,
        fps=float(fps[1]) * (1000 if fps[2] else 1) if fps else None,
        is_default="(default)" in words,
        start_s=_start(words),
        codec=words.split(maxsplit=1)[0].rstrip(","),
    )
