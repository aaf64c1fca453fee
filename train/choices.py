"""Which settings each trained method of a benchmark gets."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from vsumdata.pipeline.errors import UsageError
from vsumdata.train.methods import METHODS
from vsumdata.train.settings import Settings, options_class, settings_of

OF_THE_BENCH = {"seed": "--seeds", "preset": "--preset", "method": "--methods"}
PRESET_OF = {"wikihow-summaries": "wikihow"}  # where a data set's own preset has another name


def settings_of_methods(
    methods: Sequence[str], data_set: str, preset: str | None, sets: Sequence[str]
) -> dict[str, Settings]:
    """For each method the preset and those of `sets` (`a.b=c`) that it knows.

    Without `preset` it is the data set's own where the method has such. Raises UsageError for a preset or a setting
    that none of the methods knows, and for a value that one of them refuses.
    """
    if preset and not any(preset in METHODS[method].presets for method in methods):
        known = dict.fromkeys(name for method in methods for name in METHODS[method].presets)
        raise UsageError(f"no preset `{preset}` of {', '.join(methods)}; known are: {', '.join(known)}")
    for override in sets:
        key = override.partition("=")[0].strip()
        if key in OF_THE_BENCH:
            raise UsageError(f"--set {key}: use {OF_THE_BENCH[key]}")
        if not any(knows(method, key) for method in methods):
            settings_of(methods[0], "default", [override])  # says what is near
            raise UsageError(f"--set {override}: none of {', '.join(methods)} has such a setting")
    return {
        method: settings_of(
            method,
            preset_of(method, preset or PRESET_OF.get(data_set, data_set)),
            [override for override in sets if knows(method, override.partition("=")[0].strip())],
        )
        for method in methods
    }


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
