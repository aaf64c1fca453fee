"""Ask what may hang on a network (Ray, a root on an object store) in a process of its own, which can be ended.

`python -m vsumdata.pipeline.workers.asked MODULE:FUNCTION` reads the argument from stdin and prints the answer of the
function as one JSON line.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from vsumdata.manifests.errors import VsumdataError

REACHED_S = 10.0  # for a cluster or an object store to answer


def asked(function: Callable[[str], dict[str, Any]], argument: str, limit_s: float) -> dict[str, Any]:
    """Call a module's function in a process of its own; its answer, or `error`, its `kind` and `words`.

    `kind` is the class of the error, `words` is what the process printed. The limit counts from when the function
    prints its first line: when its imports are done.
    """
    # ray.init and object stores wait in C++ for minutes, where no signal and no thread can stop them.
    name = f"{function.__module__}:{function.__name__}"
    command = [sys.executable, "-P", "-m", "vsumdata.pipeline.workers.asked", name]
    with (
        tempfile.TemporaryFile() as words,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True) as process,
    ):
        # Not `communicate`: it does not see what `readline` has taken in, and an answer that comes at once is lost.
        limit = threading.Timer(limit_s, process.kill)
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            # Not on the command line, which `ps` shows to everybody: a root's address may hold keys.
            process.stdin.write(argument)
            process.stdin.close()
            process.stdout.readline()
            limit.start()
            lines = process.stdout.read().splitlines()
            code = process.wait()
        finally:
            limit.cancel()
            # Also after Ctrl-C; one that has ended is left alone.
            process.kill()
        words.seek(0)
        said = words.read().decode(errors="backslashreplace")
    if lines:
        answer: dict[str, Any] = json.loads(lines[-1])
    else:
        answer = {"error": f"no answer within {limit_s:g} s" if code == -9 else f"ended with code {code}"}
    return answer | ({"words": said} if "error" in answer else {})


def main(name: str) -> None:
    argument = sys.stdin.read()
    module, _, function = name.partition(":")
    try:
        answer = getattr(importlib.import_module(module), function)(argument)
    except (VsumdataError, OSError) as error:
        answer = {"error": "; ".join(str(error).splitlines()), "kind": type(error).__name__}
    print(json.dumps(answer), flush=True)
    # Ray's threads may hang on the way out, when the cluster has gone meanwhile.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
