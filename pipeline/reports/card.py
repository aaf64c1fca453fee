"""`vsumdata inspect` on a terminal: one video on a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import DONE
from vsumdata.manifests.terminal import clock
from vsumdata.pipeline.reports.page.facts import resampled
from vsumdata.pipeline.state.dataset import stages_of
from vsumdata.pipeline.state.plan import fingerprint

BLOCKS = "▁▂▃▄▅▆▇█"
MAX_LINES = 12  # sentences and steps that the card shows
NEEDED = {
    "videos": ("title", "url", "channel", "published", "duration_s", "view_count", "license", "heatmap"),
    "articles": ("title", "url", "step"),
    "transcripts": ("kind", "language", "sentence"),
    "frames": ("frame_time_s", "shot_start"),
    "features": ("split", "task"),
}


def card(store: Store, found: Mapping[str, Any], width: int) -> RenderableType:
    """The card of a video. `found` is what `inspect` gives of it; `width` in cells of the terminal."""
    rows = whole_rows(store, found["video_id"])
    video = rows.get("videos", {})
    title = video.get("title") or found["listed"].get("title") or found["video_id"]
    return Panel(Group(*lines(found, rows, width - 4)), title=Text(str(title)), title_align="left", width=width)


def whole_rows(store: Store, video_id: str) -> dict[str, Mapping[str, Any]]:
    """The `done` rows of a video, the columns of NEEDED: `inspect` shortens its lists."""
    _, stages = stages_of(store)
    rows: dict[str, Mapping[str, Any]] = {}
    with store.snapshot():
        for name, columns in NEEDED.items():
            at = fingerprint(stages, name)
            where = store.locate(name, at, [video_id])
            row = store.read(name, at, where, columns).get(video_id)
            if row is not None and row["outcome"] == DONE:
                rows[name] = row
    return rows


def lines(found: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], width: int) -> Iterator[RenderableType]:
    video, made = rows.get("videos", {}), rows.get("features", {})
    facts = [
        found["video_id"],
        clock(video["duration_s"]) if video.get("duration_s") is not None else "",
        f"{video['view_count']:,} views" if video.get("view_count") is not None else "",
        video.get("channel") or "",
        str(video.get("published") or ""),
        video.get("license") or "",
    ]
    yield Text(" · ".join(filter(None, facts)))
    if url := video.get("url") or found["listed"].get("url"):
        yield Text(url, style="dim", overflow="fold")
    yield Text(f"{found['decision'] or 'no decision'}: {found['known']}")
    if made:
        yield Text(f"split {made['split']}, task “{made['task']}”")
    yield outcomes(found)
    if heatmap := video.get("heatmap"):
        # Without the border and the label.
        yield labelled("replayed", sparkline([each["value"] for each in heatmap], max(8, min(100, width - 10))))
    if frames := rows.get("frames"):
        yield labelled("frames", f"{len(frames['frame_time_s']):,} in {len(frames['shot_start']):,} shots")
    if article := rows.get("articles"):
        steps = [step["headline"] or step["text"] for step in article["step"] or ()]
        yield from listed("steps", f"of “{article['title'] or article['url']}”", steps)
    if text := rows.get("transcripts"):
        said = [f"{clock(each['start_s'])} {each['text']}" for each in text["sentence"] or ()]
        yield from listed("said", f"{text['kind']}, {text['language'] or 'language not known'}", said)


def outcomes(found: Mapping[str, Any]) -> RenderableType:
    """What became of the video in each table."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, row in found["tables"].items():
        why = f"{row['reason']} {row['detail'] or ''}".strip()
        style = {"done": "green", "failed": "red"}.get(row["outcome"], "yellow")
        table.add_row(Text(name), Text(row["outcome"], style=style), Text(why if row["outcome"] != DONE else ""))
    for name in found["without_row"]:
        table.add_row(Text(name), Text("no row", style="dim"), Text())
    return table


def labelled(label: str, text: str) -> Text:
    return Text.assemble((f"{label:<10}", "bold"), text)


def listed(label: str, heading: str, items: Sequence[str]) -> Iterator[Text]:
    """A heading and the first items, one a line."""
    yield labelled(label, f"{len(items):,} {heading}")
    for number, item in enumerate(items[:MAX_LINES], 1):
        yield Text(f"{number:>4}. {' '.join(item.split())}", no_wrap=True, overflow="ellipsis")
    if (more := len(items) - MAX_LINES) > 0:
        yield Text(f"      {more:,} more; --json shows all that is stored", style="dim")


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve of values in [0, 1] as one line of at most `width` blocks."""
    found = np.nan_to_num(np.asarray(values, np.float64))
    if len(found) > width:
        found = resampled(found, width)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(min(max(value, 0.0), 1.0) * top)] for value in found.tolist())
