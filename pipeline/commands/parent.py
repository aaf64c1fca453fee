"""A small parent process of a run, which says how the run ended where the run itself no longer can.

Ray's core ends the driver's process from C++, without a word, when the cluster's head or this machine's part of Ray
dies; the system may kill it for its memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KEPT = "finished work is kept; run the same command again to continue"
# After a signal. SLURM kills 30 s after its SIGTERM (KillWait). A run ends within some 10 s, unless what it waits for
# is gone: where all processes got the signal, Ray's head among them, Ray's own calls wait for that for a minute.
ENDS_WITHIN_S = 25
# From Linux's <sys/prctl.h> and glibc's <malloc.h>.
PR_SET_PDEATHSIG = 1
M_ARENA_MAX = -8


def in_child(program: Callable[[], int], say: Callable[[str], None], ends_within_s: int = ENDS_WITHIN_S) -> int:
    """Call `program` in a child process and return its exit code; `say` a line if it ended without its own.

    Signals go on to the child, which is killed if it has not ended `ends_within_s` after the first. A killed parent
    takes the child with it, as a killed driver would end by itself.
    """
    # Before the first import of what starts threads: a fork copies the thread that calls it only.
    reading, writing = os.pipe()
    parent = os.getpid()
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    child = os.fork()
    if child == 0:
        os.close(reading)
        end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        try:
            save_memory()
            return program()
        finally:
            # Whatever it was, it has been said or is about to be.
            os.write(writing, b"ended")
    os.close(writing)
    received = list[int]()

    def forward(signum: int, frame: Any) -> None:
        if not received:
            signal.alarm(ends_within_s)
        received.append(signum)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signum)

    def give_up(signum: int, frame: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, give_up)
    for signum in FORWARDED:
        # Whoever ignores one (`nohup`, a script's background job) wants the run to go on.
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(reading, "rb") as pipe:
        has_said = pipe.read() == b"ended"
    if not has_said:
        code = closing_words(code, received, say)
    # Not `sys.exit`: what is registered for the end of the program is the child's.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def save_memory() -> None:
    """Have this process give back what it frees, as it may work for weeks beside its workers."""
    # Arrow's own pool and glibc's heap for each thread keep much of it: 68 of 478 MB after 30,000 videos. Arrow looks
    # for its pool when it is imported; the workers, which inherit the variables, keep the faster one.
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
        importlib.import_module("pyarrow")
        del os.environ["ARROW_DEFAULT_MEMORY_POOL"]
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def end_with(parent: int) -> None:
    """Have this process killed when its parent dies. Linux alone can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            # It died before the call.
            os._exit(128 + signal.SIGKILL)


def closing_words(code: int, received: list[int], say: Callable[[str], None]) -> int:
    """Say how a run ended that could not say it itself; return the exit code for the shell."""
    if received:
        say(f"interrupted by {signal.Signals(received[0]).name}: {KEPT}")
        return 128 + received[0]
    if code < 0:
        reason = " (out of memory?)" if code == -signal.SIGKILL else ""
        say(f"error: the run was ended by {signal.Signals(-code).name}{reason}: {KEPT}")
        return 128 - code
    say(f"error: Ray has ended the run: the cluster's head or this machine's part of Ray is gone; {KEPT}")
    return code or 1
