"""When a row is tried again, and what is stored of one that showed that this client is not let in."""

from __future__ import annotations

import random

from vsumdata.manifests import tables
from vsumdata.manifests.errors import ClusterError, SetupError
from vsumdata.stages.stage import Row
from vsumdata.stages.youtube.errors import SETUP_AFTER_S
from vsumdata.stages.youtube.messages import UNAVAILABLE

LONGEST_BACKOFF_S = 24 * 3600.0
# A row that Ray failed is done again after so long.
SENT_BACK_S = 30.0


def backoff_s(first_s: float, times: int) -> float:
    """Return how long to wait after a row was tried so many times: twice as long each time, within a quarter."""
    # Rows that failed together would otherwise fall due together.
    return min(first_s * 2.0 ** min(times - 1, 30), LONGEST_BACKOFF_S) * random.uniform(0.75, 1.25)


def put_off(error: SetupError) -> Row:
    """The outcome of the row that ends the run: without one, each further run would begin, and end, with that video."""
    found = {"outcome": tables.RETRY, "reason": UNAVAILABLE, "detail": str(error)}
    return found | {"after_s": SETUP_AFTER_S, "is_counted": False}


def sent_back(error: ClusterError) -> Row:
    """The outcome of a row that the cluster failed: nothing is stored, and no try is counted."""
    found = {"outcome": tables.RETRY, "reason": "", "detail": str(error)}
    return found | {"after_s": SENT_BACK_S, "is_free": True}
