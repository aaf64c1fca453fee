"""What is known of a root: its tables, the outcomes and their reasons; everything of one video; its models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.select import worth_fetching
from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import DONE, OUTCOMES
from vsumdata.manifests.terminal import TerminalTable
from vsumdata.pipeline.recipe import EXTRA
from vsumdata.pipeline.state import curated
from vsumdata.pipeline.state.dataset import open_root
from vsumdata.pipeline.state.lock import Locked
from vsumdata.pipeline.state.plan import decisions, fingerprint, table_schema


def link_rot_line(summary: Mapping[str, Any]) -> str:
    """`link_rot` for a person; empty where nothing was tried."""
    parts = []
    for name, rot in summary["link_rot"].items():
        if rot["tried"]:
            number = sum(rot["gone"].values())
            why = ", ".join(f"{n} {reason}" for reason, n in rot["gone"].items())
            parts.append(f"{number} of {rot['tried']} {name} gone" + (f" ({why})" if why else ""))
    return f"link rot: {'; '.join(parts)}" if parts else ""


def retries_line(summary: Mapping[str, Any]) -> str:
    """`retries` for a person; empty where there are none."""
    parts = []
    for name, entry in summary["tables"].items():
        due = entry["retries"]
        now = [f"{due['now']:,} due now"] if due["now"] else []
        later = [f"{due['later']:,} later, the next at {due['next']}"] if due["later"] else []
        if now or later:
            parts.append(f"{name} {', '.join([*now, *later])}")
    return f"retries: {'; '.join(parts)}" if parts else ""


def visits_line(summary: Mapping[str, Any]) -> str:
    """`visits` for a person; empty where no host was asked."""
    parts = [f"{host} {number:,}" for host, number in summary["visits"].items()]
    return f"visits: {'; '.join(parts)}" if parts else ""


def inspect(store: Store, video_id: str) -> dict[str, Any]:
    """Everything known of one video: its record, the decision, its latest row in each table.

    `decision` is `keep`, the rule of `select` that leaves the video out, or None where nothing was read to decide by;
    `known` says it in words. Raises UsageError for a video that is neither listed nor stored.
    """
    loaded, stages, records, _ = open_root(store)
    record = next((record for record in records if record.video_id == video_id), None)
    found: dict[str, Any] = {}
    with store.snapshot():
        for name, stage in stages.items():
            at = fingerprint(stages, name)
            latest = store.latest(name, at)
            where = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
            if video_id in where:
                columns = [column for column in table_schema(stage).names if column != "digest"]
                row = store.read(name, at, {video_id: where[video_id]}, columns)[video_id]
                found[name] = {column: brief(row[column]) for column in columns} | {"part": where[video_id]}
    if record is None and not found:
        raise UsageError(f"{store.root} knows no video `{video_id}`")
    select = loaded.manifest.select
    ruling = decisions(store, stages, select).get(video_id)
    decision, known = verdict(found.get("videos"), ruling, select.min_views)
    listed = {key: value for key, value in (record.as_dict() if record else {}).items() if value is not None}
    return {
        "video_id": video_id,
        "listed": brief(listed),
        "decision": decision,
        "known": known if record else f"{known}; the sources of the last run no longer list it",
        "tables": found,
        "without_row": [name for name in stages if name not in found and name not in EXTRA],
    }


def verdict(row: Mapping[str, Any] | None, ruling: str | None, min_views: int | None) -> tuple[str | None, str]:
    """(`decision`, `known`) of `inspect`: of a row of `videos`, and of what `decisions` says about it."""
    if row is None:
        return None, "not read yet: whether it is kept is not known"
    if row["outcome"] != DONE:
        due = f", again from {row['retry_after']:%Y-%m-%d %H:%M:%S} UTC on" if row["retry_after"] else ""
        return None, f"could not be read ({row['outcome']}: {row['reason']}{due}): there is no decision"
    if ruling == "not_fetched":
        seen = f"only its listing was read, which shows {row['view_count']} views"
        if worth_fetching(row["view_count"], min_views):
            return None, f"{seen}: the next run reads it, and whether it is kept is not known"
        return "low_views", f"{seen}, less than half of select.min_views"
    return ruling or "keep", f"its metadata was read, and `select` {'leaves it out' if ruling else 'keeps it'}"


def brief(value: Any) -> Any:
    """A value for a person: arrays by their shape, long texts and lists by their beginning."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str) and len(value) > 300:
        return f"{value[:300]}… ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {key: brief(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        shown = [brief(item) for item in value[:8]]
        return [*shown, f"… ({len(value)} in all)"] if len(value) > 8 else shown
    return value


def page(summary: Mapping[str, Any]) -> list[RenderableType]:
    """All that `status` shows: the tables, and a line for each thing that there is something to say of."""
    lines = (
        retries_line(summary),
        visits_line(summary),
        link_rot_line(summary),
        curated.line(summary.get("summaries")),
    )
    labels = labels_part(summary["labels"]) if "labels" in summary else []
    return [tables_table(summary), *(Text(line) for line in lines if line), *labels]


def labels_part(found: Mapping[str, Any]) -> list[RenderableType]:
    """How many videos have each kind of label, and how well two kinds agree."""
    shares = {kind: f", {share:.0%} of their frames" if share else "" for kind, share in found["chosen"].items()}
    there = "; ".join(f"{kind} {number:,}{shares[kind]}" for kind, number in found["labelled"].items())
    rows = [
        [
            " – ".join(pair["kinds"]),
            f"{pair['videos']:,}",
            *("–" if pair[name] is None else f"{pair[name]:.3f}" for name in ("tau", "f1", "chance")),
        ]
        for pair in found["agreement"]
    ]
    return [
        Text(f"labels of {found['videos']:,} videos with features: {there}"),
        TerminalTable(["agreement", "videos", "tau", "F1", "F1 by chance"], rows),
    ]


def tables_table(summary: Mapping[str, Any]) -> TerminalTable:
    """Outcomes and reasons of each table, for a person."""
    rows = []
    for name, entry in summary["tables"].items():
        counts = [str(entry["outcomes"][outcome]) for outcome in (*OUTCOMES, "pending")]
        reasons = ", ".join(f"{count} {reason}" for reason, count in entry["reasons"].items())
        rows.append([name, *counts, f"{entry['bytes'] / 1e6:.1f}", reasons])
    return TerminalTable(["table", *OUTCOMES, "pending", "MB", "reasons"], rows)


def models_table(models: Iterable[Locked]) -> TerminalTable:
    """The models that a root locks, for a person."""
    rows = [[model.key, model.identity or "-", model.note] for model in models]
    return TerminalTable(["model", "locked as", "note"], rows)
