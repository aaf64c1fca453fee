"""The JavaScript runtime with which yt-dlp solves YouTube's challenges: which one, and whether it starts.

It runs a script that YouTube sends. deno gives it no rights and asks nobody for more (`--no-prompt`), node runs it with
`--permission`; bun and quickjs know no such thing, so they serve only where there is no deno.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from vsumdata.manifests.errors import UsageError

SCRIPT, ANSWER = "console.log(6 * 7)", "42"
PROGRAMS = {"deno": "deno", "node": "node", "quickjs": "qjs", "bun": "bun"}
DENO_RUN = ("run", "--no-prompt", "--no-remote", "--no-npm", "--no-config", "--no-lock", "--cached-only", "-")
# A start takes a tenth of a second, on a busy node of a cluster some seconds. A deno was seen that never answers
# (yt-dlp#16148), and yt-dlp would wait for it for ever.
STARTS_WITHIN_S = 30.0
# The name tells our folder from one that the user has chosen.
DENO_FOLDER = "deno-of-vsumdata"
INSTALL = "pip install deno"


def deno_program() -> str | None:
    """The deno of the PyPI package, else one that is installed otherwise; None without any."""
    try:
        from deno import find_deno_bin

        return str(find_deno_bin())
    # The package ships the program for most platforms, not for all.
    except (ImportError, FileNotFoundError):
        return program("deno")


def program(name: str) -> str | None:
    """The path of a runtime, beside Python first, as yt-dlp looks for it."""
    beside = shutil.which(PROGRAMS[name], path=sysconfig.get_path("scripts"))
    return beside or shutil.which(PROGRAMS[name])


def runtimes() -> dict[str, dict[str, Any]]:
    """yt-dlp's option `js_runtimes`."""
    deno = deno_program()
    return {"deno": {"path": deno}, "node": {}} if deno is not None else {name: {} for name in PROGRAMS}


def check_runtime() -> str:
    """Start the runtime that yt-dlp will use; return its name, version and path. Raises UsageError."""
    from yt_dlp.globals import supported_js_runtimes

    # The runtime runs the scripts of yt-dlp-ejs: one without the other is of no use.
    if importlib.util.find_spec("yt_dlp_ejs") is None:
        raise UsageError("YouTube needs the scripts of yt-dlp-ejs: pip install yt-dlp-ejs")
    wrong = []
    for name, config in runtimes().items():
        path = config.get("path") or program(name)
        if path is None:
            continue
        if (why := fails_to_start(name, path)) is not None:
            wrong.append(f"{name} ({path}) {why}")
            continue
        # Only now: yt-dlp asks for the version without a time limit.
        info = supported_js_runtimes.value[name](path=path).info
        if info is not None and info.supported:
            return f"{info.name} {info.version} ({path})"
        wrong.append(f"{name} {info.version if info else ''} ({path}) is too old for yt-dlp")
    found = "; ".join(wrong) if wrong else "there is none"
    raise UsageError(f"YouTube needs a JavaScript runtime: {found}: {INSTALL}")


def fails_to_start(name: str, path: str) -> str | None:
    """Why the runtime does not run a line of script; None if it does. Raises UsageError if it does not answer."""
    command = [path, *(DENO_RUN if name == "deno" else ("-e", SCRIPT))]
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer = subprocess.run(
                command,
                input=SCRIPT if name == "deno" else "",
                env=os.environ | {"DENO_DIR": folder, "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=STARTS_WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            # No other one in its place: yt-dlp would begin with this one, and wait.
            what = f"{name} ({path}) does not answer within {STARTS_WITHIN_S:g} s"
            raise UsageError(f"YouTube needs a JavaScript runtime: {what}: install it anew ({INSTALL})") from error
        except OSError as error:
            return f"does not start: {error.strerror}"
    if answer.stdout.strip() == ANSWER:
        return None
    said = " ".join((answer.stderr or answer.stdout).split())[:200]
    return f"does not start: {said or f'exit code {answer.returncode}'}"


def keep_from_home(scratch: Path) -> None:
    """Have deno keep its cache in the run's temporary folder, not in the user's home, unless the user names a place."""
    # yt-dlp passes this process's environment on. No option of deno keeps it from writing (yt-dlp#14849).
    given = os.environ.get("DENO_DIR", "")
    if not given or Path(given).name == DENO_FOLDER:
        os.environ["DENO_DIR"] = str(scratch / DENO_FOLDER)
    os.environ.setdefault("DENO_NO_UPDATE_CHECK", "1")
