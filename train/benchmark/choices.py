"""The settings of each trained method in a benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from vsumdata.manifests.errors import UsageError
from vsumdata.train.methods import METHODS
from vsumdata.train.settings import Settings, options_class, settings_of

# visp+X is pre-trained as such, then fine-tuned as X.
PRE_TRAINED = "visp+"
# Prefix of a setting that applies to the pre-training alone.
PREFIX = "pretrain."
# `bench` has an option for each of these, which sets it for all runs of a table.
OF_THE_BENCH = {"seed": "--seeds", "preset": "--preset", "method": "--methods"}
# A data set's own preset has the data set's name, but for these.
PRESET_OF = {"wikihow-summaries": "wikihow"}


def stages_of_methods(
    methods: Sequence[str], data_set: str, preset: str | None, sets: Sequence[str]
) -> dict[str, tuple[Settings, ...]]:
    """The training stages of each method, with the preset and the overrides `sets` (`a.b=c`) that each stage knows.

    `preset` defaults to the data set's own, or to `default` if the stage has no such preset. `pretrain.a.b=c` applies
    to pre-training alone, after the other overrides. Raises UsageError for a preset or a setting that no stage knows,
    and for a value that a stage refuses.
    """
    stages = {method: stages_of(method) for method in methods}
    every = tuple(dict.fromkeys(stage for of_one in stages.values() for stage in of_one))
    first = tuple(dict.fromkeys(of_one[0] for of_one in stages.values() if len(of_one) > 1))
    if preset and not any(preset in METHODS[stage].presets for stage in every):
        known = dict.fromkeys(name for stage in every for name in METHODS[stage].presets)
        raise UsageError(f"no preset `{preset}` of {', '.join(every)}; known are: {', '.join(known)}")
    ours = [override.removeprefix(PREFIX) for override in sets if override.startswith(PREFIX)]
    others = [override for override in sets if not override.startswith(PREFIX)]
    if ours and not first:
        raise UsageError(f"--set {PREFIX}{ours[0]}: no method of --methods is pre-trained")
    # Methods differ in their settings, so each takes those that it knows. A setting that none knows is a typing error.
    for override in others:
        check_known(override, every)
    for override in ours:
        check_known(override, first)
    return {
        method: tuple(
            settings_of(
                stage,
                preset_of(stage, preset or PRESET_OF.get(data_set, data_set)),
                [
                    override
                    for override in (*others, *(ours if stage in first else ()))
                    if knows(stage, override.partition("=")[0].strip())
                ],
            )
            for stage in of_one
        )
        for method, of_one in stages.items()
    }


def stages_of(method: str) -> tuple[str, ...]:
    """The methods to train one after the other, each from the weights of the one before."""
    return (method, method.removeprefix(PRE_TRAINED)) if method.startswith(PRE_TRAINED) else (method,)


def check_known(override: str, stages: Sequence[str]) -> None:
    """Raise UsageError if none of the stages knows the setting."""
    key = override.partition("=")[0].strip()
    if key in OF_THE_BENCH:
        raise UsageError(f"--set {key}: use {OF_THE_BENCH[key]}")
    if not any(knows(stage, key) for stage in stages):
        # `settings_of` raises first, and names a setting that is spelt nearly alike.
        settings_of(stages[0], "default", [override])
        raise UsageError(f"--set {override}: none of {', '.join(stages)} has such a setting")


def preset_of(method: str, wanted: str) -> str:
    """The wanted preset if the method has it, else `default`."""
    return wanted if wanted in METHODS[method].presets else "default"


def knows(method: str, key: str) -> bool:
    """Whether the method has a setting `key` (such as `model.hidden`)."""
    first, *rest = key.split(".")
    if first in ("model", "objective") and rest:
        return has(options_class(method, first), rest)
    return has(Settings, [first, *rest])


def has(options: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a model of settings has a field at this path, through nested models."""
    if path[0] not in options.model_fields:
        return False
    if len(path) == 1:
        return True
    inner = options.model_fields[path[0]].annotation
    return isinstance(inner, type) and issubclass(inner, BaseModel) and has(inner, path[1:])
