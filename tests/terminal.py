"""What a terminal of a chosen width shows; all other tests read words from one that wraps nothing."""

from __future__ import annotations

import io
import os

from rich.console import Console, RenderableType

WIDE = 4000  # a sentence with two of the longest paths fits
# With these rich or typer write colours between the words that a test looks for, or wrap all the same.
CHANGES_WORDS = ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TERMINAL_WIDTH")


def wrap_nothing() -> None:
    """Before the program is imported: rich reads COLUMNS when it makes a console, typer the colours on import.

    Processes that tests start inherit it.
    """
    os.environ["COLUMNS"] = str(WIDE)
    for name in CHANGES_WORDS:
        os.environ.pop(name, None)


def console(file: io.StringIO, width: int = WIDE) -> Console:
    return Console(file=file, width=width)


def shown(what: RenderableType, width: int) -> str:
    file = io.StringIO()
    console(file, width).print(what)
    return file.getvalue()
