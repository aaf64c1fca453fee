"""The ffmpeg program and its child processes: the only place where untrusted bytes are decoded."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, Self

from vsumdata.pipeline.errors import FailVideo, RetryVideo, UsageError

# Formats that hold pictures or sound themselves. Playlists (hls, dash, concat), which make ffmpeg open
# other files, and text that ffmpeg would draw (tty) are left out.
FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,live_flv,asf,ogg,rm,mxf,nut,dv,gxf,"
    "wtv,gif,apng,mjpeg,mp3,aac,ac3,eac3,flac,wav,w64,aiff,caf,amr,au,ape,wv,tta,dts,truehd,latm,loas"
)
# 16,384 x 8,192: a made-up picture size must not take all memory.
MAX_PIXELS = 1 << 27
INPUT = (
    *("-nostdin", "-hide_banner", "-protocol_whitelist", "file", "-format_whitelist", FORMATS),
    *("-max_pixels", str(MAX_PIXELS)),
)
QUIET = ("-nostats", "-loglevel", "repeat+level+info")
MAX_LINE_BYTES = 1 << 16

_PLACE = re.compile(r"\[[^\]]*? @ (?:0x)?[0-9a-fA-F]+\] |\[(?:error|fatal|panic|warning|info)\] ")


def ffmpeg_program() -> str:
    """The ffmpeg that decodes: $VSUMDATA_FFMPEG, else $IMAGEIO_FFMPEG_EXE, else imageio-ffmpeg's own.

    Raises UsageError where there is none.
    """
    remedy = "install the package imageio-ffmpeg, or set VSUMDATA_FFMPEG to an ffmpeg program"
    chosen = os.environ.get("VSUMDATA_FFMPEG") or os.environ.get("IMAGEIO_FFMPEG_EXE")
    if not chosen:
        import imageio_ffmpeg

        try:
            chosen = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise UsageError(f"no ffmpeg program was found: {remedy}") from error
    found = shutil.which(chosen)
    if found is None:
        raise UsageError(f"{chosen} is not a program that can be run: {remedy}")
    return found


@functools.lru_cache(maxsize=4)
def ffmpeg_version(program: str) -> str:
    """The version word of `ffmpeg -version`."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, errors="replace", timeout=60)
        found = re.match(r"ffmpeg version (\S+)", done.stdout)
    except (OSError, subprocess.TimeoutExpired):
        found = None
    if not found:
        raise UsageError(f"{program} does not answer like ffmpeg: set VSUMDATA_FFMPEG to an ffmpeg program")
    return found[1]


def own_words(line: str) -> str:
    """A message of ffmpeg without addresses and levels."""
    return _PLACE.sub("", line).strip()


class Child:
    """An ffmpeg process with a wall-clock limit and its messages drained; leaving the `with` block ends it.

    `complaints` are the first of its own words about errors, known once `finish` has returned.
    """

    def __init__(self, args: list[str], timeout_s: float, on_line: Callable[[str], None] | None = None) -> None:
        program = ffmpeg_program()
        # A group of its own: Ctrl-C on the terminal must not look like the end of the file.
        try:
            self.process = subprocess.Popen(
                [program, *QUIET, *args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except OSError as error:
            raise UsageError(f"{program} cannot be started ({error.strerror}): see `vsumdata doctor`") from error
        assert self.process.stdout is not None
        self.stdout: IO[bytes] = self.process.stdout
        self.complaints: list[str] = []
        self.timeout_s = timeout_s
        self._on_line = on_line
        self._timed_out = threading.Event()
        self._was_signalled = False
        self._timer = threading.Timer(timeout_s, self._stop_late)
        self._timer.daemon = True
        self._drain = threading.Thread(target=self._read_messages, daemon=True)
        self._timer.start()
        self._drain.start()

    def _stop_late(self) -> None:
        self._timed_out.set()
        self.process.kill()

    def _read_messages(self) -> None:
        assert self.process.stderr is not None
        while line := self.process.stderr.readline(MAX_LINE_BYTES):
            text = line.decode("utf-8", "replace")
            if self._on_line is not None:
                self._on_line(text)
            self._was_signalled |= "Exiting normally, received signal" in text
            # The null output only keeps the clock; that it sees time jump is no damage.
            is_error = "[error]" in text or "[fatal]" in text
            if is_error and len(self.complaints) < 8 and not text.startswith("[null @"):
                self.complaints.append(own_words(text))

    def finish(self) -> str:
        """Wait for the end and say what went wrong, "" for nothing.

        Raises FailVideo `timeout`, and RetryVideo where somebody else ended the process (memory, shutdown).
        """
        returncode = self.process.wait()
        self._drain.join()
        if self._timed_out.is_set():
            raise FailVideo("timeout", f"ffmpeg needed more than {self.timeout_s:.0f} s")
        # ffmpeg closes down by itself on a signal and ends with 255, which is also its "not permitted".
        if returncode in (-9, -15) or (returncode == 255 and self._was_signalled):
            raise RetryVideo("transient", detail=f"ffmpeg was ended from outside ({returncode})")
        if self.complaints:
            return self.complaints[0]
        return f"ffmpeg ended with {returncode}" if returncode else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self.process.kill()
        self.process.wait()
        self._drain.join()
        self._timer.join()
        self.stdout.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
