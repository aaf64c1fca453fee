"""How the numbers of a trained row were made: settings, epochs, videos, features, text. For notes and for JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vsumdata.datasets.benchmarks.forms.i3d import MOTION
from vsumdata.train.data.origin import Origin, frames_by, text_by
from vsumdata.train.loop.predict import text_of
from vsumdata.train.loop.runs import Info, Trained
from vsumdata.train.methods import METHODS
from vsumdata.train.settings import Settings, settings_of

# These are no overrides: the bench sets them, or they do not change what is trained.
NOT_TOLD = frozenset({"method", "preset", "seed", "save_every_s"})
SHOWN = 15  # epochs that a note names


def overrides(settings: Settings) -> dict[str, Any]:
    """The settings that differ from those of the preset, as `--set` would name them."""
    ours, preset = (flat(each.model_dump(mode="json")) for each in (settings, settings_of_preset(settings)))
    return {key: value for key, value in ours.items() if key not in NOT_TOLD and value != preset.get(key)}


def settings_of_preset(settings: Settings) -> Settings:
    return settings_of(settings.method, settings.preset)


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names `section.key`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return found


def choices(trained: Trained, drawn: Collection[str] = ()) -> list[str]:
    """Choices of a run that change its numbers, for the table's remarks. A search has `drawn` some settings."""
    info, options = trained.info, trained.settings.model
    changed = ", ".join(f"{key}={told(value)}" for key, value in overrides(info.settings).items() if key not in drawn)
    said = [f"preset {info.settings.preset}{f' with {changed}' if changed else ', nothing changed'}"]
    if drawn:
        # Each run has its own values, which JSON has: five folds of them would hide the other notes.
        said.append(f"chosen by search in each run: {', '.join(drawn)}")
    said.append(f"{len(info.train)} training videos, {len(info.val)} validation videos")
    if info.origin.others:
        counts = [f"{num} videos of {name}" for name, num in counts_of(info).items() if num]
        said.append(f"trained on {', '.join(counts)}")
    said.append(f"frame features of size {info.frame_dim} ({frames_by(info.origin) or own(info.origin)})")
    if METHODS[info.settings.method].reads_text:
        text = getattr(options, "text", "subtitles")
        said.append(f"text at inference: {text if info.text_dim else 'none, the data has no text features'}")
        if info.text_dim:
            said.append(f"text features of size {info.text_dim} ({text_by(info.origin) or own(info.origin)})")
    if METHODS[info.settings.method].reads_query and info.query_dim:
        said.append(f"features of queries' words of size {info.query_dim}")
    if sources := getattr(options, "sources", None):
        said.append(f"features of {sources} source" + "s" * (sources > 1))
    weights = getattr(options, "weights", None)
    # The run's own notes already tell of `none`.
    if weights is not None and weights != "none":
        said.append(f"weights: {weights}")
    # Scores of a language model differ by how they are read from its answers.
    if importance := getattr(options, "importance", None):
        said.append(f"frame scores by {importance}")
    said.append(f"init: {info.init or 'none'}")
    return said


def counts_of(info: Info) -> dict[str, int]:
    """How many training videos came of each data set of the pool."""
    return {name: len(ids) for name, ids in info.origin.by_data_set(info.train).items()}


def told(value: Any) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def own(origin: Origin) -> str:
    if origin.features is not None or origin.data_set == "shards":
        return "of a root that does not say how they were made"
    if not origin.data_set:
        return "of no known kind"
    of = " and ".join(name for name, _ in origin.members)
    return f"{of}'s own" + (", I3D RGB, I3D flow" if (origin.features_root or "").startswith(MOTION) else "")


def record(trained: Sequence[Trained]) -> dict[str, Any]:
    """All of it for JSON, over the runs of one method: what they share once, and what differs a run each."""
    first = trained[0].info
    frames, texts = frames_by(first.origin) or own(first.origin), text_by(first.origin) or own(first.origin)
    return {
        "method": first.settings.method,
        "preset": first.settings.preset,
        "overrides": overrides(first.settings),
        "settings": first.settings.model_dump(mode="json", exclude={"seed", "save_every_s"}),
        "frame_features": {"size": first.frame_dim, "kind": frames},
        "text_features": first.text_dim and {"size": first.text_dim, "kind": texts},
        "text_shown": text_of(trained[0]) if METHODS[first.settings.method].reads_text else "none",
        "labels": first.settings.needs_targets,
        "pool": [name for name, _ in first.origin.members] if first.origin.others else None,
        "transductive": first.origin.pool == "transductive",
        "init": first.init,
        "trained_on": f"{first.origin.data_set} {first.origin.path}".strip() or None,
        "runs": [run_record(each.info, each) | other_overrides(each.info, first) for each in trained],
    }


def run_record(info: Info, trained: Trained) -> dict[str, Any]:
    return {
        "seed": info.settings.seed,
        "split": info.origin.split,
        "epoch": trained.position.epoch,
        "epochs": info.settings.epochs,
        "selected_on": trained.position.metric if info.val else None,
        "num_train": len(info.train),
        **({"num_train_of": counts_of(info)} if info.origin.others else {}),
        "num_val": len(info.val),
        "num_test": len(info.origin.test),
    }


def other_overrides(info: Info, first: Info) -> dict[str, Any]:
    """The overrides of a run whose settings are not those of the first run: a search chose them."""
    its = overrides(info.settings)
    return {} if its == overrides(first.settings) else {"overrides": its}


def epochs_told(trained: Sequence[Trained]) -> str:
    """The chosen epoch of each run, in their order: seed by seed, fold by fold."""
    of = trained[0].settings.epochs
    # Fifty runs of a long table would fill the screen: JSON has each of them.
    chosen = [each.position.epoch for each in trained]
    shown = ", ".join(map(str, chosen[:SHOWN])) + (f" and {len(chosen) - SHOWN} more" if len(chosen) > SHOWN else "")
    return f"chosen epochs of {of}, by seed and fold: {shown}"
