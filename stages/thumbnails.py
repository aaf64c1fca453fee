"""The `thumbnails` table: a few small pictures of each video, for people who look at the data.

They are made of the file that `frames` reads, so a run that asks for both downloads nothing more.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.manifests.errors import SkipVideo
from vsumdata.stages.pictures.decode import Wanted, read_frames
from vsumdata.stages.pictures.probe import probe
from vsumdata.stages.stage import Context, Function, Row

TABLE = "thumbnails"
NUMBER = 12
LONGER_SIDE_PX = 128
# Some 1.5 kB a picture: a page of 200 videos then stays below 10 MB.
WEBP_QUALITY = 40
# What a video of unknown length is taken for: its pictures are those of its beginning.
UNKNOWN_S = 60.0


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Return the row function of `thumbnails`; it raises what `thumbnails_of` raises."""

    def make(row: Row) -> Row:
        return {"thumbnail": thumbnails_of(row["media"], row["videos"]["duration_s"], context)}

    return make


def thumbnails_of(path: str | Path, duration_s: float | None, context: Context) -> list[dict[str, Any]]:
    """Return up to NUMBER pictures `{time_s, webp}`, in the middle of stretches of equal length.

    They are of key frames: the picture may be some seconds older than `time_s`. `duration_s` is used where the file
    does not tell its own. Raises FailVideo and SkipVideo as `read_frames` does, and SkipVideo `no_frames`.
    """
    length_s = probe(path).duration_s or duration_s or UNKNOWN_S
    # The reader gives pictures from 0 on. Every second one of twice as many is the middle of its stretch.
    step_s = length_s / (2 * NUMBER)
    wanted = Wanted(
        size=LONGER_SIDE_PX,
        fps=1 / step_s,
        sampling="keyframes",
        resize="longest",
        threads=context.threads,
        idle_s=context.idle_s,
    )
    found: list[dict[str, Any]] = []
    first = None
    with read_frames(path, wanted) as frames:
        width, height = frames.stream.shown_size
        for k, (_, frame) in enumerate(frames):
            first = frame if first is None else first
            if k % 2 and len(found) < NUMBER:
                found.append({"time_s": k * step_s, "webp": webp(frame, width, height)})
            context.came_on()
    if first is None:
        raise SkipVideo("no_frames")
    # A file that breaks off, or is shorter than it says, may have one picture.
    return found or [{"time_s": 0.0, "webp": webp(first, width, height)}]


def webp(frame: np.ndarray, width: int, height: int) -> bytes:
    """A square frame without its black margins, uint8 [S, S, 3], as a WebP file. The size is that of the video."""
    from PIL import Image

    side, longer = len(frame), max(width, height)
    shown = [min(side, max(1, round(side * length / longer))) for length in (width, height)]
    left, top = ((side - length) // 2 for length in shown)
    written = io.BytesIO()
    Image.fromarray(frame[top : top + shown[1], left : left + shown[0]]).save(written, "WEBP", quality=WEBP_QUALITY)
    return written.getvalue()
