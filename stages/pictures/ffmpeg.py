"""The ffmpeg program and its child processes.

Untrusted bytes are decoded nowhere else: a corrupt file then kills a child process, not the worker.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Self

import numpy as np

from vsumdata.manifests.errors import FailVideo, RetryVideo, UsageError

# Formats that contain pictures or sound themselves. Not playlists (hls, dash, concat), which make ffmpeg open other
# files of this machine, and not text, which ffmpeg would draw as a picture (tty).
FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,live_flv,asf,ogg,rm,mxf,nut,dv,gxf,"
    "wtv,gif,apng,mjpeg,mp3,aac,ac3,eac3,flac,wav,w64,aiff,caf,amr,au,ape,wv,tta,dts,truehd,latm,loas"
)
# 16,384 x 8,192 pixels. A made-up picture size in a header must not take all memory.
MAX_PIXELS = 1 << 27
INPUT = (
    *("-nostdin", "-hide_banner", "-protocol_whitelist", "file", "-format_whitelist", FORMATS),
    *("-max_pixels", str(MAX_PIXELS)),
    # In microseconds. Between two slides of a transport stream no picture comes for long; 5 s found no size.
    *("-analyzeduration", "120000000"),
)
# In seconds. In formats that may jump ffmpeg takes a longer gap in one stream for a new clock, and moves all times. Its
# own 10 s are the length of a slide.
GAP = ("-dts_delta_threshold", "120")
# `info`, because `showinfo` writes there; `level` marks errors; `repeat` keeps ffmpeg from folding equal lines.
QUIET = ("-nostats", "-loglevel", "repeat+level+info")
# The metadata of a hostile file can be one endless line.
MAX_LINE_BYTES = 1 << 16

_PLACE = re.compile(r"\[[^\[\]]* @ (?:0x)?[0-9a-fA-F]+\] |\[(?:error|fatal|panic|warning|info)\] ")


def ffmpeg_program() -> str:
    """The path of ffmpeg: $VSUMDATA_FFMPEG, else $IMAGEIO_FFMPEG_EXE, else the program in imageio-ffmpeg.

    Raises UsageError if there is none.
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
    """The version that `ffmpeg -version` prints. Raises UsageError for another program."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, errors="replace", timeout=60)
        found = re.match(r"ffmpeg version (\S+)", done.stdout)
    except (OSError, subprocess.TimeoutExpired):
        found = None
    if not found:
        raise UsageError(f"{program} does not answer like ffmpeg: set VSUMDATA_FFMPEG to an ffmpeg program")
    return found[1]


def own_words(line: str) -> str:
    """A message of ffmpeg without memory addresses and levels."""
    return _PLACE.sub("", line).strip()


class Child:
    """An ffmpeg process that must not keep its reader waiting longer than `idle_s`. Leaving the `with` block ends it.

    Only the time in `read`, `lines` and `finish` counts: a slow reader, such as Whisper on a CPU, is no fault of the
    file. `given`: open files that the process shall have. `complaints` are its first error messages, complete once
    `finish` has returned.
    """

    def __init__(
        self,
        args: list[str],
        idle_s: float,
        on_line: Callable[[str], None] | None = None,
        given: tuple[int, ...] = (),
    ) -> None:
        program = ffmpeg_program()
        # A process group of its own: Ctrl-C on the terminal would end ffmpeg, and a cut stream looks like a short file.
        try:
            self.process = subprocess.Popen(
                [program, *QUIET, *args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                pass_fds=given,
            )
        except OSError as error:
            raise UsageError(f"{program} cannot be started ({error.strerror}): see `vsumdata doctor`") from error
        assert self.process.stdout is not None
        self._stdout: IO[bytes] = self.process.stdout
        self.complaints: list[str] = []
        self.idle_s = idle_s
        self._on_line = on_line
        self._waiting_since: float | None = None
        self._timed_out = threading.Event()
        self._ended = threading.Event()
        self._was_signalled = False
        # A thread, for a read that blocks can only be ended by the end of the process.
        self._watch = threading.Thread(target=self._stop_idle, daemon=True)
        # A thread, because ffmpeg stops when the pipe of its messages is full, while this side waits for a frame.
        self._drain = threading.Thread(target=self._read_messages, daemon=True)
        self._watch.start()
        self._drain.start()

    def _stop_idle(self) -> None:
        while not self._ended.wait(min(1.0, self.idle_s / 4)):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self.idle_s:
                self._timed_out.set()
                self.process.kill()
                return

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def read(self, num_bytes: int) -> bytes:
        """Read that many bytes of the output; fewer at its end."""
        with self._waiting():
            return self._stdout.read(num_bytes)

    def read_into(self, buffer: memoryview | np.ndarray) -> int:
        """Fill `buffer` from the output; return the number of bytes, fewer than its size at the end."""
        with self._waiting():
            return self._stdout.readinto(buffer)  # type: ignore[attr-defined,no-any-return]

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the output."""
        while True:
            with self._waiting():
                line = self._stdout.readline()
            if not line:
                return
            yield line

    def _read_messages(self) -> None:
        assert self.process.stderr is not None
        while line := self.process.stderr.readline(MAX_LINE_BYTES):
            text = line.decode("utf-8", "replace")
            if self._on_line is not None:
                self._on_line(text)
            self._was_signalled |= "Exiting normally, received signal" in text
            # The null output only keeps the clock. It complains about jumps in time, which are no damage.
            is_error = "[error]" in text or "[fatal]" in text
            if is_error and len(self.complaints) < 8 and not text.startswith("[null @"):
                self.complaints.append(own_words(text))

    def finish(self) -> str:
        """Wait for the end; return what went wrong, or "".

        Raises FailVideo `timeout`, and RetryVideo if the process was ended from outside (lack of memory, shutdown).
        """
        with self._waiting():
            returncode = self.process.wait()
        self._drain.join()
        if self._timed_out.is_set():
            raise FailVideo("timeout", f"ffmpeg gave nothing for {self.idle_s:.0f} s")
        # On a signal ffmpeg shuts down in order and exits with 255. But 255 is also its "operation not permitted",
        # for cuda without a driver for example, so its words decide.
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
        self._ended.set()
        self.process.kill()
        self.process.wait()
        self._drain.join()
        self._watch.join()
        self._stdout.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
