"""The `step_times` table: when each step of the article begins and ends in the video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsumdata.stages.stage import Context, Function

TABLE = "step_times"


def load(options: Mapping[str, Any], context: Context) -> Function:
    raise NotImplementedError
