"""What a wave is, how large it may be, and what shows a person how the waves go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

# A wave lasts about this long, as far as the rows before it tell: then the other tables of its lane have their turn.
WAVE_S = 120.0
# The same where other workers must be started for that.
LONG_WAVE_S = 600.0
FEWEST, FIRST, MOST = 16, 64, 512
# Rows of a network lane cost no memory and little time each, so that the start of workers would count.
MOST_VISITS = 4096
# While more videos may become ready, those that are wait so long for company: a part file for each would be many.
PATIENCE_S = 30.0
# A lane's workers end after so many blocks and others start: whatever a library leaks in weeks goes with them.
BLOCKS_OF_A_LIFE = 10_000
# Visits whose media waits for the computing lane: more would only fill the disk.
AHEAD = 200
# A run waits for retries that fall due this soon. For later ones it ends and says when to run again.
WAIT_FOR_RETRIES_S = 60.0
# A video that a host's refusals sent back so often is left to the next run.
MOST_RETURNS = 3
LOOK_EVERY_S = 2.0
# A lane whose workers cannot be started again for so long gets others: a node that dies takes their room with it, and
# once in 11 such deaths a run stood still for 8 minutes with all rows committed.
STUCK_S = 15.0
# Workers commit what is finished within a second, see `Commits`; the row in progress is given up.
STOP_WITHIN_S = 5.0
# Above this many parts a scan is slow: 2,000 parts in each of five tables took 5.5 s, compacted 0.3 to 0.6 s.
MANY_PARTS = 500
MEDIA = "media"


@dataclass
class Wave:
    """Some videos of a table that a lane was given: their lease, and those that have not come back."""

    table: str
    lane: str
    lease: str
    left: set[str]
    media_lease: str = ""


class Display(Protocol):
    """Shows a person how far each table has come: videos left, a wave that begins, outcomes that came back, its end."""

    def left(self, table: str, number: int) -> None: ...
    def begun(self, table: str, number: int) -> None: ...
    def add(self, table: str, outcomes: pa.Table) -> None: ...
    def ended(self, table: str) -> None: ...


def rows(mean_s: float | None, workers: int, takes_turns: bool) -> int:
    """Return how many rows a wave may have whose rows took `mean_s` seconds each before; None if that is not known.

    `takes_turns` says that workers must be started for the lane's other tables.
    """
    if mean_s is None:
        return FIRST
    return max(FEWEST, int((LONG_WAVE_S if takes_turns else WAVE_S) * workers / max(mean_s, 1e-3)))
