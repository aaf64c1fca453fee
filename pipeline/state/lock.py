"""models.json, the root's lock file: show which content each model's name means, and move it.

A run adds what it resolves (`Run.prepare`) and keeps to what is locked. Only `update` changes a locked entry.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded, from_stored
from vsumdata.manifests.store import Store
from vsumdata.pipeline.recipe import recipe
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages.encoders.models import known_models, model_keys, newest_models, resolve

NAME = "models.json"


@dataclass(frozen=True)
class Locked:
    """One model of a root: its key, the identity that is locked ("" if none is), and what a person should know."""

    key: str
    identity: str
    note: str = ""


def show(store: Store) -> list[Locked]:
    """The models that a root locks, and whether each can be had as it is locked. Raises UsageError if it is no root."""
    loaded, known = last_manifest(store), store.read_json(NAME) or {}
    found = {}
    for name, key in model_keys(loaded.manifest).items():
        if key not in known:
            found[key] = Locked(key, "", "not locked yet: no run has needed it")
            continue
        identity = known[key]["identity"]
        try:
            here = resolve(name, loaded, identity).identity
        except UsageError as error:
            found[key] = Locked(key, identity, str(error))
        else:
            found[key] = Locked(key, identity, "" if here == identity else f"what is here is another one: {here}")
    others = [Locked(key, entry["identity"], "of another manifest") for key, entry in known.items() if key not in found]
    return [*found.values(), *others]


def update(store: Store) -> tuple[list[Locked], list[str]]:
    """Lock the models of the root's last manifest as they are now: a hub's newest revision, a folder's present content.

    Returns the models, and the tables that the next run makes again. Raises UsageError if it is no root.
    """
    loaded, known = last_manifest(store), store.read_json(NAME) or {}
    locked, found = dict(known), []
    for key, model in newest_models(loaded).items():
        before = known[key]["identity"] if key in known else ""
        if isinstance(model, UsageError):
            found.append(Locked(key, before, f"not moved: {model}"))
            continue
        locked[key] = asdict(model)
        note = "" if model.identity == before else f"before: {before}" if before else "new"
        found.append(Locked(key, model.identity, note))
    if locked != known:
        store.write_json(NAME, locked)
    old, new = (recipe(loaded.manifest, known_models(loaded.manifest, entries)) for entries in (known, locked))
    return found, [name for name in new if fingerprint(old, name) != fingerprint(new, name)]


def last_manifest(store: Store) -> Loaded:
    """The manifest of a root's last run. Raises UsageError if it is no root."""
    stored = store.dataset()["manifest"]
    return from_stored(stored["settings"], stored["folder"], stored["file"])
