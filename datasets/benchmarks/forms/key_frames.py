"""Key frames in CSV files: a file a video, a line a user (or the one summary of a method), frame numbers from 0.

Read from BHI-Research/OST@5e7a339 user_summaries/VSUMM/v21.csv to v70.csv (five lines each) and published_results/
{DT,FLASH,OVS,VISTO,VSUMM1,VSUMM2} (one line each). That numbers count from 0 is in its tools/FId2Bin/FId2Bin.py. FLASH
has blanks behind the commas; v37's users have each number twice. FId2Bin's own output (VSUMM1/v21b.csv) is another
form: 0 or 1 for each frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import check
from vsumdata.manifests.errors import UsageError

SUFFIX = ".csv"


def read(path: Path, where: str) -> list[np.ndarray]:
    """The key frames in each line of the file at `path`: int64, ascending, each once.

    Raises UsageError for anything but whole numbers from 0, and for a line without any.
    """
    check(path, where)
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text of frame numbers; get it from {where}") from error
    return [_line(path, number, line) for number, line in enumerate(lines, 1)]


def _line(path: Path, number: int, line: str) -> np.ndarray:
    cells = [cell.strip() for cell in line.split(",")]
    if strange := next((cell for cell in cells if not (cell.isascii() and cell.isdecimal())), None):
        raise UsageError(f"{path}, line {number}: {strange[:40]!r} is no frame number; expected numbers with commas")
    if "" in cells:
        raise UsageError(f"{path}, line {number} is empty, or lacks a number between commas")
    frames = np.array([int(cell) for cell in cells])
    # Two key frames can be 0 and 1; three numbers of which none is above 1 are no list.
    if len(frames) > 2 and frames.max() <= 1:
        raise UsageError(f"{path}, line {number} has 0 or 1 for each frame; expected the numbers of the key frames")
    return np.unique(frames)


def as_summary(users: list[np.ndarray], n_frames: int) -> np.ndarray:
    """The users' key frames as summaries, bool [U, n_frames]. It is longer if a key frame is beyond `n_frames`."""
    summary = np.zeros((len(users), max(n_frames, *(int(frames[-1]) + 1 for frames in users))), bool)
    for row, frames in zip(summary, users, strict=True):
        row[frames] = True
    return summary
