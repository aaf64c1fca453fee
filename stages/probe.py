"""What a media file holds, asked of the ffmpeg program: untrusted bytes are never parsed in this process."""

from __future__ import annotations

import re
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from vsumdata.pipeline.errors import FailVideo
from vsumdata.stages.ffmpeg import INPUT, ffmpeg_program, own_words

PROBE_TIMEOUT_S = 120.0

_FORMAT = re.compile(r"^Input #0, (.+), from ", re.M)
_DURATION = re.compile(r"^  Duration: (?:N/A|(\d+):(\d\d):(\d\d\.\d+))(?:, start: (-?[\d.]+))?", re.M)
_STREAM = re.compile(r"^ {2,6}Stream #0:(\d+)\S*: (Video|Audio): (.*)$")
_SIZE = re.compile(r", (\d+)x(\d+)(?: \[SAR (\d+):(\d+) )?")
_FPS = re.compile(r", ([\d.]+)(k?) fps")
_RATE = re.compile(r", (\d+) Hz")
_ROTATION = re.compile(r"^\s+display ?matrix: rotation of (-?[\d.]+) degrees", re.I)


@dataclass(frozen=True)
class VideoStream:
    """`width` and `height` are the coded picture's; `rotation_deg` turns it counter-clockwise."""

    index: int
    width: int
    height: int
    pixel_aspect: float = 1.0
    rotation_deg: float = 0.0
    fps: float | None = None
    is_default: bool = False

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as a player shows them: square pixels, turned upright."""
        width = max(1, round(self.width * self.pixel_aspect))
        return (self.height, width) if round(self.rotation_deg / 90) % 2 else (width, self.height)


@dataclass(frozen=True)
class AudioStream:
    index: int
    sample_rate: int
    is_default: bool = False


@dataclass(frozen=True)
class MediaInfo:
    """`start_s` is the container's own first time stamp: what a player shows as 0:00."""

    format: str
    duration_s: float | None
    start_s: float
    video: tuple[VideoStream, ...]
    audio: tuple[AudioStream, ...]
    has_broken_video: bool = False  # a picture stream is announced, its size cannot be found out

    @property
    def best_video(self) -> VideoStream | None:
        """The largest picture; among equals the default one, then the first."""
        return max(self.video, key=lambda s: (s.width * s.height, s.is_default, -s.index), default=None)

    @property
    def best_audio(self) -> AudioStream | None:
        """The highest rate, of use up to the 16 kHz of speech recognition; then the default, the first."""
        return max(self.audio, key=lambda s: (min(s.sample_rate, 16_000), s.is_default, -s.index), default=None)


def probe(path: str | Path) -> MediaInfo:
    """Find out what a file holds.

    Raises FailVideo: `file_missing`; `unreadable` with the system's or ffmpeg's words; `timeout`.
    """
    _check_file(Path(path))
    command = [ffmpeg_program(), *INPUT, "-i", f"file:{path}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_TIMEOUT_S, process_group=0
        )
    except subprocess.TimeoutExpired as error:
        raise FailVideo("timeout", f"ffmpeg could not tell in {PROBE_TIMEOUT_S:.0f} s what it is") from error
    text = done.stderr.decode("utf-8", "replace")
    container = _FORMAT.search(text)
    if container is None:
        raise FailVideo("unreadable", _reason(text))
    info = _parse(container[1], text)
    if not info.video and not info.audio and not info.has_broken_video:
        raise FailVideo("unreadable", f"neither pictures nor sound in it ({info.format})")
    return info


def _check_file(path: Path) -> None:
    try:
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
    lines = [own_words(line) for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Error opening input file")]
    return " · ".join(said[-2:]) or "ffmpeg does not say why"


def _parse(container: str, text: str) -> MediaInfo:
    duration_s, start_s = None, 0.0
    if found := _DURATION.search(text):
        hours, minutes, seconds, start = found.groups()
        duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds) if hours else None
        start_s = float(start or 0)
    video: dict[int, VideoStream] = {}
    audio: dict[int, AudioStream] = {}
    has_broken_video, last_video = False, None
    for line in text.splitlines():
        if found := _STREAM.match(line):
            last_video, index, words = None, int(found[1]), found[3]
            if found[2] == "Audio":
                if rate := _RATE.search(words):
                    audio[index] = AudioStream(index, int(rate[1]), "(default)" in words)
            elif "(attached pic)" in words or "(timed thumbnails)" in words:
                continue
            elif stream := _video_stream(index, words):
                video[index], last_video = stream, index
            else:
                has_broken_video = True
        elif last_video is not None and (turn := _ROTATION.match(line)):
            video[last_video] = replace(video[last_video], rotation_deg=float(turn[1]))
    return MediaInfo(container, duration_s, start_s, tuple(video.values()), tuple(audio.values()), has_broken_video)


def _video_stream(index: int, words: str) -> VideoStream | None:
    size = _SIZE.search(words)
    if size is None:
        return None
    width, height, num, den = (int(group) if group else 0 for group in size.groups())
    fps = _FPS.search(words)
    return VideoStream(
        index=index,
        width=width,
        height=height,
        pixel_aspect=num / den if num and den else 1.0,
        fps=float(fps[1]) * (1000 if fps[2] else 1) if fps else None,
        is_default="(default)" in words,
    )
