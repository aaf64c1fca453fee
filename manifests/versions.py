"""The versions of Python and of the packages that decide results; a root and a training run record them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = [
    "vsumdata",
    "yt-dlp",
    "openai-whisper",
    "faster-whisper",
    "open_clip_torch",
    "sentence-transformers",
    "torch",
    "pyarrow",
    "ray",
    "requests",
    "beautifulsoup4",
    "pandas",
    "numpy",
]


def versions() -> dict[str, str]:
    """Name -> version; "missing" for a package that is not installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        # A gap in the record is better than a run that fails for the sake of its record.
        except PackageNotFoundError:
            found[package] = "missing"
    return found
