"""The settings of each trained row in a benchmark."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.asked.variants import Variant
from vsumdata.train.loop.trials import Search, ranges_of
from vsumdata.train.methods import METHODS
from vsumdata.train.settings import Settings, options_class, settings_of

# visp+X is pre-trained as such, then fine-tuned as X. csum+X has no labels at all, but for csum+X[then=X].
PRE_TRAINED, WITHOUT_LABELS = "visp+", "csum+"
# Prefix of a setting that applies to the pre-training alone.
PREFIX = "pretrain."
# `bench` has an option for each of these, which sets it for all runs of a table.
OF_THE_BENCH = {"seed": "--seeds", "preset": "--preset", "method": "--methods"}
# A data set's own preset has the data set's name, but for these.
PRESET_OF = {"wikihow-summaries": "wikihow"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A trained row: its variant, and the settings of its stages. `search` draws settings of the first stage."""

    variant: Variant
    stages: tuple[Settings, ...]
    search: Search | None = None


def entries_of(
    variants: Sequence[Variant], data_set: str, preset: str | None, sets: Sequence[str], init: str | None = None
) -> dict[str, Entry]:
    """The training stages of each row, with the preset and the overrides `sets` (`a.b=c`) that each stage knows.

    `preset` defaults to the data set's own, or to `default` if the stage has no such preset. `pretrain.a.b=c` applies
    to pre-training alone, after the other overrides. A variant's own preset and settings come last. Raises UsageError
    for a preset or a setting that no stage knows, for a value that a stage refuses, and for two rows that would train
    the same, where `init` is what rows without their own run begin with.
    """
    stages = {each.name: stages_of(each) for each in variants}
    check(stages.values(), preset, sets)
    for each in variants:
        named(each, [stages[each.name]])
    found = {}
    for each in variants:
        wanted = each.preset or preset or PRESET_OF.get(data_set, data_set)
        try:
            found[each.name] = entry(each, stages[each.name], wanted, [*sets, *each.sets])
        # `settings_of` names the setting, and here that may be the setting of one row of many.
        except UsageError as error:
            raise UsageError(str(error) if each.is_plain else f"{each.name}: {error}") from error
    differ(found.values(), init)
    return found


def entry(variant: Variant, stages: Sequence[str], preset: str, sets: Sequence[str]) -> Entry:
    """The row with the overrides `sets` that each of its stages knows."""
    settings, known = [], []
    for at, stage in enumerate(stages):
        alone = own(sets) if len(stages) > 1 and at == 0 else []
        shared = [override for override in sets if not override.startswith(PREFIX)]
        known.append([override for override in (*shared, *alone) if knows(stage, key_of(override))])
        settings.append(settings_of(stage, preset_of(stage, preset), known[-1]))
    search = None
    if variant.search:
        ranges = ranges_of(settings[0], {key_of(each) for each in known[0]})
        search = Search(num_trials=variant.search, ranges=ranges)
        # ViSP validates nothing by default and takes the last epoch. Trials need a value to be compared by.
        if not settings[0].validates:
            settings[0] = settings[0].model_copy(update={"select_on": "tau"})
    return Entry(variant=variant, stages=tuple(settings), search=search)


def check(stages: Collection[Sequence[str]], preset: str | None, sets: Sequence[str]) -> None:
    """Raise UsageError for a preset or a setting that no stage of any row knows."""
    # Methods differ in their settings, so each takes those that it knows. A setting that none knows is a typing error.
    every = tuple(dict.fromkeys(stage for of_one in stages for stage in of_one))
    first = tuple(dict.fromkeys(of_one[0] for of_one in stages if len(of_one) > 1))
    if preset and not any(preset in METHODS[stage].presets for stage in every):
        known = dict.fromkeys(name for stage in every for name in METHODS[stage].presets)
        raise UsageError(f"no preset `{preset}` of {', '.join(every)}; known are: {', '.join(known)}")
    ours = own(sets)
    if ours and not first:
        raise UsageError(f"--set {PREFIX}{ours[0]}: no method of --methods is pre-trained")
    for override in sets:
        if not override.startswith(PREFIX):
            check_known(override, every)
    for override in ours:
        check_known(override, first)


def named(variant: Variant, stages: Collection[Sequence[str]]) -> None:
    """Raise UsageError for a preset or a setting in brackets that the row's own stages do not know."""
    try:
        check(stages, variant.preset, variant.sets)
    except UsageError as error:
        raise UsageError(f"{variant.name}: {error}") from error


def differ(entries: Collection[Entry], init: str | None) -> None:
    """Raise UsageError if two rows would train the same, for then one of them is not what the user means.

    `init` is the run that rows without their own begin with.
    """
    first: dict[str, str] = {}
    for each in entries:
        # A preset that changes nothing against the other row's makes no other row.
        made = [each.variant.init or init, each.search and each.search.num_trials]
        its = json.dumps([*made, *(stage.model_dump(mode="json", exclude={"preset"}) for stage in each.stages)])
        if (same := first.setdefault(its, each.variant.name)) != each.variant.name:
            raise UsageError(f"--methods: {same} and {each.variant.name} have the same settings; leave out one of them")


def own(sets: Sequence[str]) -> list[str]:
    """The overrides that apply to pre-training alone, without their prefix."""
    return [override.removeprefix(PREFIX) for override in sets if override.startswith(PREFIX)]


def key_of(override: str) -> str:
    return override.partition("=")[0].strip()


def stages_of(variant: Variant) -> tuple[str, ...]:
    """The methods to train one after the other, each from the weights of the one before.

    Raises UsageError for a `then` that is not the summarizer which the row trains without labels.
    """
    method, then = variant.method, variant.then
    if method.startswith(PRE_TRAINED):
        then = then or method.removeprefix(PRE_TRAINED)
    if then is None:
        return (method,)
    backbone = method.removeprefix(PRE_TRAINED).removeprefix(WITHOUT_LABELS)
    if backbone == method:
        raise UsageError(f"{variant.name}: then={then}: {method} learns with labels already; leave it out")
    if then != backbone:
        raise UsageError(f"{variant.name}: then={then}: {method} trains {backbone}, so write then={backbone}")
    return (method, then)


def check_known(override: str, stages: Sequence[str]) -> None:
    """Raise UsageError if none of the stages knows the setting."""
    key = key_of(override)
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
