"""What a root says of itself, for its publication."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from vsumdata.datasets.publish.repository.about import About, Step
from vsumdata.manifests import leases
from vsumdata.manifests.errors import ManifestError, UsageError
from vsumdata.manifests.manifest import Loaded
from vsumdata.manifests.store import Store
from vsumdata.pipeline.state import dataset, lock


def about(store: Store) -> tuple[About, list[str]]:
    """The root's own account, and remarks for whoever publishes it. Raises UsageError if a run works on the root."""
    stored = store.dataset()
    if leases.is_working(store):
        raise UsageError(f"{store.root}: a run is working here; publish when it has ended")
    loaded = lock.last_manifest(store)
    found, remarks = tables_of(store, stored)
    account = About(
        name=loaded.manifest.name,
        sources=[named(source) for source in loaded.manifest.sources],
        filters=filters_of(loaded),
        funnel=[Step(name, entry["outcomes"], entry["reasons"]) for name, entry in found.items()],
        settings=settings_of(loaded),
        models=models_of(store),
        versions=stored.get("versions", {}),
        is_random=loaded.manifest.features.clip.weights.startswith("seed:"),
        published=datetime.datetime.now(datetime.UTC).date(),
    )
    if account.pending:
        remarks.append(f"videos wait for their rows ({account.pending}) and stay out: `vsumdata run` goes on with them")
    if account.is_random:
        remarks.append("the picture model has random weights: the frame features mean nothing")
    return account, remarks


def tables_of(store: Store, stored: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The outcomes of each table as they are now; where the manifest's lists are gone, as the last run left them."""
    try:
        loaded, stages, records, _ = dataset.open_root(store)
    except ManifestError as error:
        return stored["tables"], [f"the funnel is that of the last run, since {error}"]
    return dataset.summary(store, loaded, stages, records)["tables"], []


def named(source: Any) -> str:
    """A source without the path that a list has on the collector's machine."""
    kind, value = next((kind, value) for kind, value in source.model_dump().items() if value is not None)
    return f"{kind}:{value if kind == 'channel' else str(value).rpartition('/')[2]}"


def filters_of(loaded: Loaded) -> dict[str, str]:
    """The rules by which videos were kept. To a list of one's own videos only those apply that the manifest states."""
    select = loaded.manifest.select
    applies = select.model_fields_set if all(s.files for s in loaded.manifest.sources) else type(select).model_fields
    return {name: in_words(value) for name, value in select.model_dump().items() if name in applies}


def settings_of(loaded: Loaded) -> dict[str, str]:
    """What the rows were made with, in words."""
    manifest = loaded.manifest
    features, split = manifest.features, manifest.features.split
    return {
        "frames per second": f"{features.fps:g}",
        "sampling": features.sampling,
        "precision": features.precision,
        "picture model": f"{features.clip.model}, {base_name(features.clip.weights)}",
        "text model": base_name(features.text.model),
        "captions": f"{', '.join(manifest.captions.languages)}; automatic ones: {manifest.captions.automatic}",
        "speech recognition": f"{manifest.asr.engine}, {base_name(manifest.asr.model)}",
        "split": f"{split.train:g} train, {split.val:g} validation, {split.test:g} test, by a hash of the task",
    }


def models_of(store: Store) -> dict[str, str]:
    """The lock file: what each model's name means. Of a local model only its folder's name is told."""
    known = store.read_json(lock.NAME) or {}
    return {base_name(key): base_name(entry["identity"]) for key, entry in known.items()}


def base_name(text: str) -> str:
    """`text` with each absolute path in it shortened to its last part."""
    return " ".join(word.rpartition("/")[2] if word.startswith(("/", "~", "file:")) else word for word in text.split())


def in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "no limit"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def text_model(store: Store) -> tuple[str, float]:
    """The name of the root's text model, without a path, and its frames per second."""
    features = lock.last_manifest(store).manifest.features
    return base_name(features.text.model), features.fps


def audio_model(store: Store) -> str | None:
    """The name of the root's encoder of sound, without a path; None if it names none."""
    model = lock.last_manifest(store).manifest.features.audio_model
    return None if model is None else base_name(model)
