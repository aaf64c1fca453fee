"""What is known of a root: its tables, the outcomes and their reasons; everything of one video."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from vsumdata.manifests import tables
from vsumdata.manifests.manifest import Loaded, from_stored
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import UsageError
from vsumdata.pipeline.listing import list_records
from vsumdata.pipeline.plan import (
    Plan,
    Stages,
    decisions,
    fingerprint,
    payload_schema,
    plan,
    table_schema,
)
from vsumdata.pipeline.recipe import known_models, recipe
from vsumdata.pipeline.secrets import masked

PACKAGES = [
    "vsumdata",
    "yt-dlp",
    "openai-whisper",
    "faster-whisper",
    "open_clip_torch",
    "sentence-transformers",
    "torch",
    "pyarrow",
    "ray",
    "requests",
    "beautifulsoup4",
    "pandas",
    "numpy",
]
GONE = {"videos": ("removed", "private"), "articles": ("article_gone",)}


def open_root(store: Store) -> tuple[Loaded, Stages, list[Record], list[str]]:
    """The manifest, stages and records of the last run on a root, and remarks; nothing is fetched."""
    stored = store.dataset()["manifest"]
    loaded = from_stored(stored["settings"], stored["folder"], stored["file"])
    known = store.read_json("models.json") or {}
    stages = recipe(loaded.manifest, known_models(loaded.manifest, known))
    remarks: list[str] = []
    return loaded, stages, list_records(store, loaded, None, remarks.append), remarks


def stored_manifest(loaded: Loaded) -> dict[str, Any]:
    """What dataset.json keeps of the manifest; `settings` holds only what was written, secrets masked."""
    settings = loaded.manifest.model_dump(exclude_unset=True, mode="json")
    if options := settings.get("crawl", {}).get("yt_dlp"):
        settings["crawl"]["yt_dlp"] = masked(options)
    return {
        "name": loaded.manifest.name,
        "file": loaded.file,
        "folder": str(loaded.folder),
        "settings": settings,
        "resolved": loaded.manifest.model_dump(mode="json", exclude={"crawl": {"yt_dlp"}}),
    }


def summary(
    store: Store, loaded: Loaded, stages: Stages, records: Sequence[Record], plans: Mapping[str, Plan] | None = None
) -> dict[str, Any]:
    """The content of `status --json`; `plans` are those that the caller has made already."""
    found = {}
    for name, stage in stages.items():
        at = fingerprint(stages, name)
        parts = store.parts(name, at)
        now = (plans or {}).get(name) or plan(store, stages, name, records, loaded.manifest.select)
        outcomes = {outcome: now.outcomes[outcome] for outcome in tables.OUTCOMES}
        found[name] = {
            "path": store.folder(name, at),
            "fingerprint": at,
            "rows": len(store.latest(name, at)),
            "parts": len(parts),
            "bytes": sum(info.size for info in parts),
            "outcomes": outcomes | {"pending": len(now.tasks) + now.waiting},
            "reasons": dict(now.reasons.most_common()),
            "schema": {field.name: str(field.type) for field in table_schema(stage)},
        }
    return {
        "root": store.root,
        "manifest": stored_manifest(loaded),
        "versions": versions(),
        "tables": found,
        "link_rot": link_rot(found),
    }


def link_rot(tables: Mapping[str, Any]) -> dict[str, Any]:
    """How many of the videos and of the article links that were tried are gone, as the last attempts saw it."""
    found = {}
    for name, seen_in in (("videos", ("videos", "frames")), ("articles", ("articles",))):
        reasons = [tables[table]["reasons"] for table in seen_in]
        outcomes, none = tables[name]["outcomes"], reasons[0].get("skipped: no_article", 0)
        gone = {reason: sum(r.get(f"skipped: {reason}", 0) for r in reasons) for reason in GONE[name]}
        tried = outcomes["done"] + outcomes["skipped"] + outcomes["failed"] + outcomes["retry"] - none
        found[name] = {"tried": tried, "gone": {reason: n for reason, n in gone.items() if n}}
    return found


def link_rot_line(summary: Mapping[str, Any]) -> str:
    """`link_rot` for a person; empty where nothing was tried."""
    parts = []
    for name, rot in summary["link_rot"].items():
        if rot["tried"]:
            number = sum(rot["gone"].values())
            why = ", ".join(f"{n} {reason}" for reason, n in rot["gone"].items())
            parts.append(f"{number} of {rot['tried']} {name} gone" + (f" ({why})" if why else ""))
    return f"link rot: {'; '.join(parts)}" if parts else ""


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def inspect(store: Store, video_id: str) -> dict[str, Any]:
    """Everything known of one video: its record, the decision, its latest row in each table."""
    loaded, stages, records, _ = open_root(store)
    record = next((record for record in records if record.video_id == video_id), None)
    found: dict[str, Any] = {}
    for name, stage in stages.items():
        at = fingerprint(stages, name)
        latest = store.latest(name, at)
        where = dict(zip(latest["video_id"].to_pylist(), latest["part"].to_pylist(), strict=True))
        if video_id in where:
            columns = [n for n, _ in tables.HEAD] + payload_schema(stage).names
            row = store.read(name, at, {video_id: where[video_id]}, columns)[video_id]
            found[name] = {column: brief(row[column]) for column in columns} | {"part": where[video_id]}
    if record is None and not found:
        raise UsageError(f"{store.root} knows no video `{video_id}`")
    verdict = decisions(store, stages, loaded.manifest.select).get(video_id)
    listed = {key: value for key, value in (record.as_dict() if record else {}).items() if value is not None}
    return {"video_id": video_id, "listed": brief(listed), "decision": verdict or "keep", "tables": found}


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
