"""The `quality` table: how much is said, how much stands still, and whether words and pictures agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsumdata.stages.stage import Context, Function

TABLE = "quality"


def load(options: Mapping[str, Any], context: Context) -> Function:
    raise NotImplementedError
