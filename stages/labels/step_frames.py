"""The `step_frames` table: which frames show the pictures of the article's steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsumdata.stages.stage import Context, Function

TABLE = "step_frames"


def load(options: Mapping[str, Any], context: Context) -> Function:
    raise NotImplementedError
