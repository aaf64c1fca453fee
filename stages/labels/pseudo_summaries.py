"""The `pseudo_summaries` table: TL;DW's pseudo-summaries, of all videos of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsumdata.stages.stage import Context, Function

TABLE = "pseudo_summaries"


def load(options: Mapping[str, Any], context: Context) -> Function:
    raise NotImplementedError
