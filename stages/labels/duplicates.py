"""The `duplicates` table: videos that show the same: re-uploads, and shorts cut from a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsumdata.stages.stage import Context, Function

TABLE = "duplicates"


def load(options: Mapping[str, Any], context: Context) -> Function:
    raise NotImplementedError
