"""What a worker counts for Prometheus: seconds of work, frames, bytes of media. Ray's agent on its node exports it.

Only counters: Ray's agent drops a gauge that nobody has set for 20 s, and a row takes longer than that.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS, FRAMES, MEDIA_BYTES = "vsumdata_work_seconds", "vsumdata_frames", "vsumdata_media_bytes"
# Ray prefixes a name with `ray_` and ends a counter's with `_total`.
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    SECONDS: ("Seconds that rows of a table took, waiting for a host's turn included", ("table",)),
    FRAMES: ("Frames that were embedded", ()),
    MEDIA_BYTES: ("Bytes of media that a visit brought", ()),
}


def note(table: str, answer: Mapping[str, Any], seconds: float, media: Path | None) -> None:
    """Count one row; `media` is the folder of the video's downloads where the row visited a host.

    Without Ray, as in tests, it does nothing; where no agent listens, Ray drops what is counted.
    """
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return
    count(SECONDS, seconds, {"table": table})
    if table == "frames":
        count(FRAMES, len((answer.get("result") or {}).get("frame_time_s", ())))
    if media is not None:
        count(MEDIA_BYTES, size_bytes(media))


def count(name: str, number: float, tags: dict[str, str] | None = None) -> None:
    # Ray's counter refuses to count nothing.
    if number > 0:
        counter(name).inc(number, tags or {})


@functools.cache
def counter(name: str) -> Any:
    from ray.util.metrics import Counter

    meaning, tags = COUNTERS[name]
    return Counter(name, meaning, tags)


def size_bytes(folder: Path) -> int:
    """The size of the files in a folder; 0 without it."""
    total = 0
    # The last table to need a file removes it, perhaps right now.
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            total += path.stat().st_size
    return total
