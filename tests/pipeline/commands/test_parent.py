"""The parent of a run says how it ended where the run could not, passes signals on, and never outlives its child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = """
import os, signal, sys, time
from vsumdata.pipeline.commands.parent import in_child
def program():
    print(os.getpid(), flush=True)
    {what}
sys.exit(in_child(program, lambda line: print(line, file=sys.stderr), 3))
"""


def begin(what: str) -> tuple[subprocess.Popen[str], int]:
    """The parent, and the process id of its child once that has begun."""
    command = [sys.executable, "-c", CODE.format(what=what)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("return 0", 0, ""),
        ("return 2", 2, ""),
        ("sys.exit(3)", 3, ""),
        # As Ray's core does when the cluster's head is gone.
        ("os._exit(1)", 1, "error: Ray has ended the run"),
        ("os._exit(0)", 1, "error: Ray has ended the run"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "error: the run was ended by SIGKILL (out of memory?)"),
        ("os.abort()", 134, "error: the run was ended by SIGABRT"),
    ],
)
def test_every_end_has_its_code_and_its_line(what: str, code: int, said: str) -> None:
    process, _ = begin(what)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.startswith(said)
    assert err.count("\n") == bool(said)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_goes_on_to_the_child(signum: signal.Signals) -> None:
    process, _ = begin(f"signal.signal({int(signum)}, lambda *_: sys.exit(7)); print(flush=True); time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (7, "")


# Whoever ignores it is killed some time after it: as a run that waits in Ray's core for a head that got it too.
@pytest.mark.parametrize("what", ["SIG_DFL", "SIG_IGN"])
def test_a_child_that_ends_by_a_signal_without_a_word_gets_one(what: str) -> None:
    process, child = begin(f"signal.signal(signal.SIGTERM, signal.{what}); print(flush=True); time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert err.startswith("interrupted by SIGTERM")
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a child with its parent")
def test_a_killed_parent_takes_its_child_with_it() -> None:
    process, child = begin("time.sleep(60)")
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        # An orphan that has ended stays in the list until the init process has seen it.
        if "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists()
    assert process.returncode == -signal.SIGKILL
    assert os.getpid() != child
