"""dataset.json, a root's description of itself: the manifest, the tables with their outcomes, the versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vsumdata.manifests import tables
from vsumdata.manifests.manifest import Loaded, from_stored
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.manifests.versions import versions
from vsumdata.pipeline.recipe import EXTRA, recipe
from vsumdata.pipeline.state import curated
from vsumdata.pipeline.state.listing import list_records
from vsumdata.pipeline.state.pace import Turns
from vsumdata.pipeline.state.plan import Plan, Stages, fingerprint, plan, table_schema
from vsumdata.pipeline.state.secrets import masked
from vsumdata.stages.encoders.models import known_models

GONE = {"videos": ("removed", "private"), "articles": ("article_gone",)}


def open_root(store: Store) -> tuple[Loaded, Stages, list[Record], list[str]]:
    """Return the manifest, stages and records of a root's last run, and remarks; nothing is fetched."""
    loaded, stages = stages_of(store)
    remarks: list[str] = []
    return loaded, stages, list_records(store, loaded, None, remarks.append), remarks


def stages_of(store: Store) -> tuple[Loaded, Stages]:
    """Return the manifest and the stages of a root's last run; its list, which may be long, is not read."""
    stored = store.dataset()["manifest"]
    loaded = from_stored(stored["settings"], stored["folder"], stored["file"])
    known = store.read_json("models.json") or {}
    return loaded, recipe(loaded.manifest, known_models(loaded.manifest, known))


def stored_manifest(loaded: Loaded) -> dict[str, Any]:
    """Return the manifest for dataset.json; `settings` has only the keys that the user wrote, with secrets masked."""
    # Defaults are left out: they would count as the user's own rules, and for `files` only written rules apply.
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
    store: Store,
    loaded: Loaded,
    stages: Stages,
    records: Sequence[Record],
    plans: Mapping[str, Plan] | None = None,
    wanted: Collection[str] = (),
) -> dict[str, Any]:
    """Return the content of `status --json`; `plans` are those that the caller has made already.

    Tables that few roots have are told of where they are there, or among those `wanted`.
    """
    found = {}
    with store.snapshot():
        for name, stage in stages.items():
            at = fingerprint(stages, name)
            parts = store.parts(name, at)
            if name in EXTRA and not parts and name not in wanted:
                continue
            now = (plans or {}).get(name) or plan(store, stages, name, records, loaded.manifest)
            outcomes = {outcome: now.outcomes[outcome] for outcome in tables.OUTCOMES}
            outcomes[tables.RETRY] += now.due_now
            found[name] = {
                "path": store.folder(name, at),
                "fingerprint": at,
                "rows": len(store.latest(name, at)),
                "parts": len(parts),
                "bytes": sum(info.size for info in parts),
                # A retry is work that is left, whether it is due or not: it counts as pending too.
                "outcomes": outcomes | {"pending": now.pending + len(now.due)},
                "retries": retries(now),
                "reasons": dict(now.reasons.most_common()),
                "schema": {field.name: str(field.type) for field in table_schema(stage)},
            }
    return {
        "root": store.root,
        "manifest": stored_manifest(loaded),
        "versions": versions(),
        "tables": found,
        "link_rot": link_rot(found),
        "summaries": curated.figures(store, found["summaries"]["fingerprint"]) if "summaries" in found else None,
        "visits": visits(store),
    }


def retries(found: Plan) -> dict[str, Any]:
    """How many retries are due now and later, and when the next of the later ones falls due (ISO 8601, UTC)."""
    following = min(found.due).isoformat(timespec="seconds") if found.due else None
    return {"now": found.due_now, "later": len(found.due), "next": following}


def visits(store: Store) -> dict[str, int]:
    """Count the requests to each host by all runs on the root, from all addresses; the most visited host first."""
    found: Counter[str] = Counter()
    for key, entry in Turns(store.location).read().items():
        if isinstance(number := entry.get("visits"), int):
            # As `Pace.key` writes it: the host, and the address that the requests came from.
            found[key.partition(" via ")[0]] += number
    return dict(found.most_common())


def link_rot(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Count how many of the tried videos and article links were gone at the last try."""
    found = {}
    for name, seen_in in (("videos", ("videos", "frames")), ("articles", ("articles",))):
        reasons = [tables[table]["reasons"] for table in seen_in]
        # A video without an article has no link that could be gone.
        outcomes, none = tables[name]["outcomes"], reasons[0].get("skipped: no_article", 0)
        gone = {reason: sum(r.get(f"skipped: {reason}", 0) for r in reasons) for reason in GONE[name]}
        tried = outcomes["done"] + outcomes["skipped"] + outcomes["failed"] + outcomes["retry"] - none
        found[name] = {"tried": tried, "gone": {reason: n for reason, n in gone.items() if n}}
    return found
