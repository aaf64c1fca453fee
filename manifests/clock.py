"""The clock of a crawl: when a host may be asked again, when a retry falls due, how long to wait.

`VSUMDATA_CLOCK_SPEED=1000` makes it run a thousand times as fast as the machine's, so that a test can see a month.
All processes of a run read the same time.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

SPEED_VARIABLE = "VSUMDATA_CLOCK_SPEED"
# A fixed moment at which both clocks agree, so that processes need not tell each other when they began.
AGREED_AT = 1_790_000_000.0


def speed() -> float:
    return float(os.environ.get(SPEED_VARIABLE, "1"))


def now() -> float:
    """Seconds since the epoch."""
    real, factor = time.time(), speed()
    return real if factor == 1 else AGREED_AT + (real - AGREED_AT) * factor


def utc_now() -> datetime:
    return datetime.fromtimestamp(now(), UTC)


def sleep(seconds: float) -> None:
    """Wait for as many seconds of this clock."""
    time.sleep(max(0.0, seconds) / speed())
