"""Find out from ffmpeg's messages which picture it is that leaves its filters, and when it is shown."""

from __future__ import annotations

import math
import queue
import re
from collections import deque
from collections.abc import Callable, Sequence

from vsumdata.manifests.errors import FailVideo

# A frame serves every k since the frame before it, so a made-up time stamp would ask for years of copies.
MAX_FRAMES = 200_000
# How long to wait for the time of a frame that has come.
LATEST_TIME_S = 60.0
# ffmpeg prints starts in microseconds, and frame times are sums of fractions. Without this tolerance a frame at exactly
# k seconds could count for k + 1. No multiple of a time base, so that no rounding decides.
CLOCK_S = 2.5e-6
# The time base of all messages.
MICRO = 1e-6

_SHOWINFO = re.compile(r"^\[showinfo@(seen|shown) @ [^\]]*\] \[info\] n: *\d+ pts: *(-?\d+|NOPTS) .* iskey:([01]) ")
_DAMAGED = "] [warning] corrupt decoded frame"
_ANEW = "] [info] Reconfiguring filter graph"
# Whatever a decoder says while packets are left out: only decoding all of them tells what it means. Warnings of the
# container's reader, and of the converter of colours (full range), are the same with all packets.
_SAID = re.compile(
    r"(?!\[(?:swscaler|mov,|matroska,|in#0)[^\]]*\] \[warning\] )"
    r".*(?:\[(?:warning|error|fatal|panic)\] |reorder buffer)"
)


class SizeChanged(Exception):
    """The pictures have another size from here on."""


class Unplanned(Exception):
    """Not all goes as the plan of what to leave out has it."""


class Clock:
    """Find out from the messages of `showinfo` which picture it is that leaves ffmpeg, and when it is shown.

    Times in s from the origin. `num_seen`, `num_damaged`: decoded pictures; `last_s`: the latest one's time. With
    `awaited_us` packets are left out, and `next` raises Unplanned before the first picture that need not be right:
    after any message of the decoder, and after one of those time stamps did not come.
    """

    def __init__(
        self,
        zero_of: Callable[[float], float],
        fps: float,
        *,
        only_keys: bool = False,
        every: bool = False,
        awaited_us: Sequence[int] | None = None,
    ) -> None:
        self.num_seen = 0
        self.num_damaged = 0
        self.last_s = 0.0
        self.fps = fps
        self._only_keys = only_keys
        self._every = every
        self._zero_of = zero_of
        self._zero_s: float | None = None
        self._now_s = 0.0
        self._step = -math.inf
        self._group = -1
        self._seen: deque[tuple[int, int, float]] = deque()  # those that may still leave: group, number, time
        self._leaving: queue.SimpleQueue[tuple[int, float] | Exception] = queue.SimpleQueue()
        self._num_left = 0
        self._awaited = None if awaited_us is None else deque(awaited_us)
        self._is_as_planned = True

    def end(self, said: str) -> None:
        """Check that all pictures of a plan came, and that ffmpeg complained of nothing. Raises Unplanned."""
        if self._awaited is not None and (said or self._awaited or not self._is_as_planned):
            raise Unplanned

    def step(self, time_s: float) -> int:
        """The first k at which a picture of that time may be on screen."""
        return math.ceil((time_s - CLOCK_S) * self.fps)

    def next(self) -> tuple[int, float]:
        """Return number and time of the next picture that leaves. Raises FailVideo `unreadable` if none is named."""
        # The message arrives through stderr and may come after its frame. It never comes if another message spoilt its
        # line, or the thread that reads stderr crashed.
        try:
            found = self._leaving.get(timeout=LATEST_TIME_S)
        except queue.Empty as error:
            raise FailVideo("unreadable", "ffmpeg did not say when a frame is shown") from error
        if isinstance(found, Exception):
            raise found
        return found

    def read_line(self, line: str) -> None:
        if self._awaited is not None and _SAID.match(line):
            self._leave_plan()
        if found := _SHOWINFO.match(line):
            if found[1] == "seen":
                self._see(found[2], is_key=found[3] == "1")
            else:
                self._leave()
        elif _DAMAGED in line:
            self.num_damaged += 1
        elif _ANEW in line and not self._every:
            self._leaving.put(SizeChanged())

    def _see(self, pts: str, *, is_key: bool) -> None:
        self.num_seen += 1
        if self._awaited is not None:
            self._check(pts)
        if self._only_keys and not is_key:
            return
        step = -math.inf
        if pts != "NOPTS":
            time_s = int(pts) * MICRO
            if self._zero_s is None:
                self._zero_s = self._zero_of(time_s)
            self._now_s = time_s - self._zero_s
            step = self.step(self._now_s)
        self.last_s = max(self.last_s, self._now_s)
        if self._every or self._group < 0 or step > self._step:
            # Whatever its time, the first picture is on screen at the first step.
            self._step = step if self._group >= 0 else min(step, 0)
            self._group += 1
        self._seen.append((self._group, self.num_seen, self._now_s))
        if step > MAX_FRAMES:
            asked = f"its time stamps ask for {step} frames; the limit is {MAX_FRAMES}"
            self._leaving.put(FailVideo("too_big", asked))

    def _check(self, pts: str) -> None:
        assert self._awaited is not None
        # One microsecond, in case of another rounding.
        late_us = math.inf if pts == "NOPTS" else int(pts) - self._awaited[0] if self._awaited else math.inf
        if late_us > 1:
            self._leave_plan()
        elif late_us >= -1:
            self._awaited.popleft()

    def _leave_plan(self) -> None:
        self._is_as_planned = False
        self._leaving.put(Unplanned())

    def _leave(self) -> None:
        while len(self._seen) > 1 and self._seen[1][0] <= self._num_left:
            self._seen.popleft()
        if self._seen:
            self._leaving.put(self._seen[0][1:])
        self._num_left += 1
