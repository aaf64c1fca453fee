"""Which settings each trained method of a benchmark gets."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from vsumdata.pipeline.errors import UsageError
from vsumdata.train.methods import METHODS
from vsumdata.train.settings import Settings, options_class, settings_of

PRE_TRAINED = "visp+"  # such a method pre-trains, and is fine-tuned as the method after the sign
PREFIX = "pretrain."  # of a setting for the pre-training alone
OF_THE_BENCH = {"seed": "--seeds", "preset": "--preset", "method": "--methods"}
PRESET_OF = {"wikihow-summaries": "wikihow"}  # where a data set's own preset has another name


def stages_of_methods(
    methods: Sequence[str], data_set: str, preset: str | None, sets: Sequence[str]
) -> dict[str, tuple[Settings, ...]]:
    """For each method its stages, each with the preset and those of `sets` (`a.b=c`) that it knows.

    Without `preset` it is the data set's own where the stage has such. `pretrain.a.b=c` is for pre-training alone and
    comes after the others. Raises UsageError for a preset or a setting that no stage knows, and for a value that one of
    them refuses.
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
    """The methods that are trained one after the other."""
    return (method, method.removeprefix(PRE_TRAINED)) if method.startswith(PRE_TRAINED) else (method,)


def check_known(override: str, stages: Sequence[str]) -> None:
    """Raise UsageError for a setting that none of the stages knows."""
    key = override.partition("=")[0].strip()
    if key in OF_THE_BENCH:
        raise UsageError(f"--set {key}: use {OF_THE_BENCH[key]}")
    if not any(knows(stage, key) for stage in stages):
        settings_of(stages[0], "default", [override])  # says what is near
        raise UsageError(f"--set {override}: none of {', '.join(stages)} has such a setting")


def preset_of(method: str, wanted: str) -> str:
    return wanted if wanted in METHODS[method].presets else "default"


def knows(method: str, key: str) -> bool:
    """Whether `key` (`model.hidden`) is a setting of the method."""
    first, *rest = key.split(".")
    if first in ("model", "objective") and rest:
        return has(options_class(method, first), rest)
    return has(Settings, [first, *rest])


def has(options: type[BaseModel], path: Sequence[str]) -> bool:
    if path[0] not in options.model_fields:
        return False
    if len(path) == 1:
        return True
    inner = options.model_fields[path[0]].annotation
    return isinstance(inner, type) and issubclass(inner, BaseModel) and has(inner, path[1:])
