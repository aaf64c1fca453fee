"""The kind of a video's features: as a run's root made them, as a benchmark's files have them, or as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vsumdata.datasets.join import TEXT_ALONE
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Loaded, Manifest, apply_override
from vsumdata.stages.encoders.models import SEED, model_keys
from vsumdata.stages.encoders.recipes import COLOURS, PICTURES, TEXTS, has_text_tower
from vsumdata.train.data.origin import Origin, features_of, recipes_of

NOT_COMPUTED = "train on a root of ours, or with --features ROOT"
# Settings that may name a local file, which a user means as seen from where he is.
PATHS = ("features.clip.weights", "features.text.model", "asr.model")
# They make other features, whatever their model's files hold.
HELD = ("features.fps", "features.clip.model")
NAMED = ("features.clip.weights", "features.text.model")
# A manifest must name a source; this one is never read.
NO_SOURCE = {"sources": [{"files": "none"}]}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How features are made: a manifest, and what a root's models.json knew of its models at the time of training.

    `remarks` say how far such features equal those of the training.
    """

    loaded: Loaded
    known: Mapping[str, Any]
    remarks: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        """Scored frames per second."""
        return self.loaded.manifest.features.fps

    @property
    def names(self) -> dict[str, str]:
        """Names of the models that make the features."""
        settings = self.loaded.manifest.features
        return {"clip": f"{settings.clip.model} {settings.clip.weights}", "text": settings.text.model}

    def random(self, meaningless: str) -> tuple[str, ...]:
        """A remark that random weights make what is named `meaningless`; nothing for other weights."""
        clip = self.loaded.manifest.features.clip
        if SEED.fullmatch(clip.weights) is None:
            return ()
        name = "CLIP" if has_text_tower(clip.model) else PICTURES[clip.model].title
        return (f"{name} has the random weights {clip.weights}: {meaningless} mean nothing",)


def kind_of(
    origin: Origin,
    run: str | Path,
    sets: Sequence[str] = (),
    sizes: tuple[int | None, int | None] = (None, None),
) -> Kind:
    """How to make features for the run at `run`, with settings `A.B=C` changed; `sizes` are those that the run takes.

    Raises UsageError if features of its kind cannot be made, or a setting would make others.
    """
    if origin.features:
        return _of_root(origin.features, str(run), sets)
    names = origin.recipes or recipes_of(origin.data_set, origin.features_root)
    pictures = PICTURES.get(names.get("frames", ""))
    which = f"{run} was trained on the features that {origin.data_set or 'its data'} brings"
    if pictures is None:
        raise UsageError(f"{which}; vsumdata cannot compute them: {NOT_COMPUTED}")
    which += f" ({pictures.title})"
    if pictures.refused:
        raise UsageError(f"{which}, which cannot be made here: {pictures.refused}; {NOT_COMPUTED}")
    if sizes[0] not in (None, pictures.dim):
        raise UsageError(f"{which}, but they have {sizes[0]} numbers, not {pictures.dim}: {NOT_COMPUTED}")
    clip = {"model": pictures.name, "weights": pictures.weights}
    sections: dict[str, Any] = {"features": {"fps": pictures.fps, "clip": clip}}
    known: Mapping[str, Any] = {}
    followed = [pictures]
    if (origin.features_root or "").startswith(TEXT_ALONE):
        theirs = features_of(str(origin.features_root).removeprefix(TEXT_ALONE)) or {}
        if "features" in theirs:
            sections["features"]["text"] = theirs["features"]["text"]
            sections |= {name: theirs[name] for name in ("asr", "captions")}
            known = theirs["models"]
    elif texts := TEXTS.get(names.get("text", "")):
        sections["features"]["text"] = {"model": texts.weights}
        followed += [texts] if sizes[1] is not None else []
    remarks = tuple(f"features as {each.title}: {each.known}" for each in followed)
    loaded = with_sets(sections, sets, folder=".", file=str(run))
    _same(loaded.manifest, with_sets(sections, (), folder=".", file=str(run)).manifest, str(run), HELD)
    return Kind(loaded=loaded, known=known, remarks=remarks)


def kind_of_root(root: str) -> Kind:
    """How a root's features were made. Raises UsageError if it does not say."""
    made = features_of(root)
    if not made:
        raise UsageError(f"{root} does not say how its features were made; make them again with `vsumdata run`")
    return _of_root(made, root, ())


def kind_of_settings(sets: Sequence[str], *, colours: bool) -> Kind:
    """What a manifest with these settings would make; with `colours` by the recipe that needs no weights."""
    clip = {"model": COLOURS, "weights": PICTURES[COLOURS].weights}
    sections: dict[str, Any] = {"features": {"clip": clip}} if colours else {}
    return Kind(loaded=with_sets(sections, sets, folder=".", file="--set"), known={})


def _of_root(made: Mapping[str, Any], file: str, sets: Sequence[str]) -> Kind:
    sections = {name: made[name] for name in ("features", "asr", "captions")}
    before = with_sets(sections, (), folder=made["folder"], file=file)
    loaded = with_sets(sections, sets, folder=made["folder"], file=file)
    known = dict(made["models"])
    # What the root did not lock cannot be compared.
    _same(loaded.manifest, before.manifest, file, HELD if known else (*HELD, *NAMED))
    # Another name may be the same model: what the root locked for its own is expected of it as well.
    old, new = model_keys(before.manifest), model_keys(loaded.manifest)
    for name in {"clip", "text", "shots"} & old.keys() & new.keys():
        if new[name] != old[name] and old[name] in known:
            known[new[name]] = known[old[name]]
    return Kind(loaded=loaded, known=known)


def _same(now: Manifest, then: Manifest, run: str, held: Sequence[str]) -> None:
    """Raise UsageError if one of the settings `held`, which make other features, was changed."""
    for name in held:
        ours, theirs = (attrgetter(name)(manifest) for manifest in (now, then))
        if ours != theirs:
            raise UsageError(f"--set {name}={ours}: {run} was trained on features with {theirs}; leave it out")


def with_sets(sections: Mapping[str, Any], sets: Sequence[str], *, folder: str, file: str) -> Loaded:
    """A manifest of these sections with settings changed. Raises UsageError for a setting that cannot be."""
    values: dict[str, Any] = {name: _copied(section) for name, section in sections.items()}
    for override in sets:
        key, _, text = override.partition("=")
        # Relative to where the user is, whatever folder the run's root was made in.
        is_here = key.strip() in PATHS and text and Path(text).expanduser().exists()
        apply_override(values, f"{key}={Path(text).expanduser().resolve()}" if is_here else override)
    try:
        manifest = Manifest.model_validate({**values, **NO_SOURCE})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--set {'.'.join(map(str, first['loc']))}: {first['msg']}; see docs/settings.md") from None
    return Loaded(manifest=manifest, folder=folder, file=file)


def _copied(section: Any) -> Any:
    return {name: _copied(value) for name, value in section.items()} if isinstance(section, Mapping) else section
