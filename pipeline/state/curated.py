"""What the summaries of a root are like, beside those that the paper made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from vsumdata.manifests import tables
from vsumdata.manifests.store import Store

# Instruct-V2Xum (Hua et al., 2024): means over its 30,000 videos; the ratio is that of frames.
PAPER = {"duration_s": 183.0, "tokens": 239.0, "frames": 30.0, "ratio": 0.1639}
COLUMNS = ("duration_s", "num_tokens", "num_kept", "num_frames")


def figures(store: Store, fingerprint: str) -> dict[str, Any] | None:
    """The means over the root's summaries: duration, tokens, frames and their share of the video; None without any."""
    rows = store.latest("summaries", fingerprint, COLUMNS)
    rows = rows.filter(pc.equal(rows["outcome"], tables.DONE))
    if not len(rows):
        return None
    kept, frames = rows["num_kept"], pc.cast(rows["num_frames"], "float64")
    return {
        "videos": len(rows),
        "duration_s": pc.mean(rows["duration_s"]).as_py(),
        "tokens": pc.mean(rows["num_tokens"]).as_py(),
        "frames": pc.mean(kept).as_py(),
        "ratio": pc.mean(pc.divide(kept, frames)).as_py(),
        "paper": PAPER,
    }


def line(found: Mapping[str, Any] | None) -> str:
    """The figures for a person; empty where there are none."""
    if found is None:
        return ""
    length = "unknown length" if found["duration_s"] is None else f"{found['duration_s']:.0f} s"
    return (
        f"summaries: {found['videos']:,} videos, on average {length}, {found['tokens']:.0f} tokens, "
        f"{found['frames']:.0f} frames, {100 * found['ratio']:.2f} % of the video (Instruct-V2Xum: "
        f"{PAPER['duration_s']:.0f} s, {PAPER['tokens']:.0f}, {PAPER['frames']:.0f}, {100 * PAPER['ratio']:.2f} %)"
    )
