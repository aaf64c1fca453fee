"""Stop a run without losing work, and make its arithmetic repeatable."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import torch

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Remembers a request to stop. A second request stops at once, without saving."""

    def __init__(self) -> None:
        self.asked = False
        self.signum = 0
        self.before: dict[int, Any] = {}  # signal -> the handler that was there

    def ask(self, signum: int, frame: Any) -> None:
        """Handle a signal."""
        self.signum = signum
        # A step may hang, or take minutes on a CPU: the second Ctrl-C must work without waiting for it.
        if self.asked:
            self.end()
        self.asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt after a request."""
        if self.asked:
            self.end()

    def end(self) -> NoReturn:
        """Raise KeyboardInterrupt, through the handler that was there before: the exit code depends on the signal."""
        handler = self.before.get(self.signum)
        if callable(handler):
            handler(self.signum, None)
        raise KeyboardInterrupt


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Make Ctrl-C, SIGTERM and SIGHUP wait for the end of the step: half an optimizer step must not be saved."""
    stop = Stop()
    # Python sets signal handlers in the main thread only, and Ray Train runs the loop in another one.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    # What is ignored stays so: `nohup` wants a run to outlive its terminal.
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    stop.before = {number: signal.signal(number, stop.ask) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in stop.before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Make every run on one machine give the same numbers, where torch has a deterministic operation."""
    # pytorch#15359, pytorch#41377: cuBLAS is deterministic only with a fixed workspace. It reads the variable when it
    # creates its handle, so this must come before the first matrix product on the GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    was_on, was_warning = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    memory: Any = torch.utils.deterministic
    was_filled = memory.fill_uninitialized_memory
    # Some operations have no deterministic form on a GPU. A warning, silenced below, is better than no training.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # pytorch#117081: deterministic mode also fills every new tensor with NaN, which costs time at each allocation. It
    # only helps code that reads memory before writing it.
    memory.fill_uninitialized_memory = False
    try:
        with flushed_denormals(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warning)
        memory.fill_uninitialized_memory = was_filled


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat numbers below the least normal float as 0.

    Saturated attention is full of such denormals, and a CPU computes slowly with them: without this, PGL-SUM trains 2
    to 7 times slower.
    """
    # torch cannot be asked for the current mode. In flush mode the CPU turns this quotient, a denormal, into 0.
    was_flushed = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    # The mode belongs to the whole thread. Left on, it would change the arithmetic of the program around us.
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)
