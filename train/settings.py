"""The settings of a training run: validated before any work starts, and kept in its run.json."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import apply_override
from vsumdata.train.methods import METHODS

Order = Literal["auto", "shuffled", "by-length"]
# Fields of Settings that `--set` may not change -> how to give them instead.
NO_SETTINGS = {"method": "the argument METHOD", "preset": "--preset"}


class Section(BaseModel):
    """A group of settings: unknown names are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(Section):
    """The optimizer of all weights."""

    # Official code uses Adam, whose weight decay is part of the gradient and so moves even position rows that no video
    # used. AdamW gives other weights: the papers' presets keep `adam`.
    name: Literal["adam", "adamw", "sgd"] = Field(
        "adam",
        description="the optimizer. `adam` adds weight decay to the gradient; `adamw` shrinks the weights instead",
    )
    lr: float = Field(1e-3, gt=0, description="learning rate after the warm-up, per optimizer step")
    weight_decay: float = Field(0.0, ge=0, description="strength of the weight decay; 0: none")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum, 0 to 1; for `sgd` only")


class Schedule(Section):
    """The learning rate over time."""

    name: Literal["none", "cosine", "exponential"] = Field(
        "none",
        description="learning rate after the warm-up. `none`: constant; `cosine`: falls to 0 along a cosine; "
        "`exponential`: is multiplied by `decay` every `every` epochs",
    )
    decay: float = Field(1.0, gt=0, le=1, description="factor of the `exponential` schedule")
    every: int = Field(1, ge=1, description="epochs from one step of the `exponential` schedule to the next")
    warmup_epochs: float = Field(
        0,
        ge=0,
        description="length of the warm-up, in epochs, in which the rate rises linearly; at most a quarter of all",
    )


class Settings(Section):
    """All settings of a run. The method decides which classes `model` and `objective` are."""

    method: str = Field(description="name of the method, one of METHODS")
    preset: str = Field("default", description="name of the preset, which gives the settings that `--set` does not")
    # SerializeAsAny: pydantic would otherwise write the fields of BaseModel only, which has none.
    model: SerializeAsAny[BaseModel] = Field(description="options of the model")
    objective: SerializeAsAny[BaseModel] = Field(description="options of the objective")
    labels: Literal["auto", "replay", "keyshots", "given", "pseudo", "steps"] = Field(
        "auto",
        description="training target. `replay`: the replay scores; `keyshots`: a knapsack's 15 % of the video; "
        "`given`: the data set's own labels; `pseudo`, `steps`: those of a root's table `pseudo_summaries` or "
        "`step_frames`; `auto`: what suits the data set",
    )
    optimizer: Optimizer = Field(Optimizer(), description="optimizer of the model's and the objective's weights")
    schedule: Schedule = Field(Schedule(), description="learning rate over time")
    epochs: int = Field(50, ge=1, description="number of passes over the training videos")
    batch_size: int = Field(32, ge=1, description="videos per optimizer step, over all workers together")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="videos in memory at once: a batch is cut into parts of so many, whose gradients add up to that of "
        "the batch. `null`: the whole batch. For objectives of language models only",
    )
    clip_norm: float | None = Field(
        None, gt=0, description="largest norm of the gradient; longer ones are scaled down. `null`: no limit"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="precision of the arithmetic. `auto`: bfloat16 on a GPU that supports it, else float32"
    )
    seed: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="seed of the first weights, the order of videos, dropout, and the choice of validation videos "
        "among the training videos",
    )
    select_on: str = Field(
        "auto",
        description="validation metric that chooses the epoch. `auto`: tau if there is one; for an objective without "
        "labels, the last epoch",
    )
    validate_every: int = Field(1, ge=1, description="number of epochs from one validation to the next")
    order: Order = Field(
        "auto",
        description="which videos share a batch. `shuffled`: any; `by-length`: those of similar length, which leaves "
        "less padding, so it is faster; `auto`: `shuffled` for at most 1,000 videos, and where the objective "
        "contrasts the videos of a batch",
    )
    window: int = Field(
        1024, ge=1, description="number of videos in memory at once; as many again are being read meanwhile"
    )
    save_every_s: float = Field(
        60, gt=0, description="seconds between checkpoints within an epoch: the most work that a kill can cost"
    )

    @model_validator(mode="before")
    @classmethod
    def _options_of_the_method(cls, values: Any) -> Any:
        """Build `model` and `objective` from mappings, which they are when run.json is read back."""
        # An unknown method is left to the other validators, which say so.
        if not isinstance(values, Mapping) or values.get("method") not in METHODS:
            return values
        found = dict(values)
        for part in ("model", "objective"):
            if not isinstance(options := found.get(part, {}), BaseModel):
                found[part] = options_class(found["method"], part).model_validate(options)
        return found

    @field_validator("batch_size")
    @classmethod
    def _enough_to_contrast(cls, batch_size: int, others: ValidationInfo) -> int:
        least = least_batch(others.data.get("objective"))
        if batch_size < least:
            raise ValueError(f"{batch_size} is too small: the objective contrasts videos of a batch, at least {least}")
        return batch_size

    @field_validator("micro_batch")
    @classmethod
    def _may_be_cut(cls, micro_batch: int | None, others: ValidationInfo) -> int | None:
        objective = others.data.get("objective")
        if micro_batch is not None and objective is not None and not getattr(objective, "adds_up", False):
            raise ValueError("the objective looks at a whole batch, whose parts do not add up to it")
        return micro_batch

    @property
    def needs_targets(self) -> bool:
        """Whether the objective learns from labels."""
        return needs_targets(self.objective)

    @property
    def validates(self) -> bool:
        """Whether labels choose the epoch: for an objective without labels only if `select_on` asks for it."""
        return self.needs_targets or self.select_on != "auto"


def settings_of(method: str, preset: str = "default", sets: Sequence[str] = ()) -> Settings:
    """The settings of a method's preset, with changes `sets`, each as `section.key=value` (`model.hidden=64`).

    Raises UsageError with all mistakes: for an unknown method, preset or setting it suggests the nearest name, for a
    wrong value it says why.
    """
    known = METHODS[_pick(method, METHODS, "method")].presets
    values: dict[str, Any] = _merged(known["default"], known[_pick(preset, known, f"preset of {method}")])
    for override in sets:
        apply_override(values, override)
    problems = [f"--set {name}: give it as {how}" for name, how in NO_SETTINGS.items() if name in values]
    for part in ("model", "objective"):
        options = options_class(method, part)
        try:
            values[part] = options.model_validate(values.get(part, {}))
        except ValidationError as error:
            problems += _explain(error, options, (part,))
            # Unvalidated options, so that the mistakes of the other sections are reported too.
            values[part] = options.model_construct()
    try:
        found = Settings.model_validate({**values, "method": method, "preset": preset})
    except ValidationError as error:
        problems += _explain(error, Settings, ())
    if problems:
        raise UsageError("; ".join(problems))
    return found


def least_batch(objective: BaseModel | None) -> int:
    """The smallest batch, in videos, that an objective with these options accepts."""
    # With labels, ViSP's variant `fixed` included, an objective also works on a single video.
    return 1 if needs_targets(objective) else getattr(objective, "least_batch", 1)


def contrasts(objective: BaseModel | None) -> bool:
    """Whether an objective with these options compares the videos of a batch with each other."""
    return bool(getattr(objective, "contrasts", False))


def needs_targets(objective: BaseModel | None) -> bool:
    """Whether an objective with these options learns from labels."""
    return getattr(objective, "needs_targets", True)


def class_of(method: str, part: Literal["model", "objective"] | str) -> Any:
    """The class of a method's model or objective. Imports it, and with it torch."""
    # Imported on demand: torch takes seconds, which commands that only list methods need not pay.
    module, _, name = getattr(METHODS[method], part).partition(":")
    return getattr(importlib.import_module(module), name)


def options_class(method: str, part: Literal["model", "objective"] | str) -> type[BaseModel]:
    """The class of a method's options for its model or objective."""
    found: type[BaseModel] = class_of(method, part).Options
    return found


def _pick(word: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    if word not in names:
        raise UsageError(f"no {what} `{word}`{_near(word, names)}")
    return word


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `changes` into a copy of `values`, section by section; changes neither."""
    found = dict(values)
    for key, change in changes.items():
        old = found.get(key)
        found[key] = _merged(old if isinstance(old, Mapping) else {}, change) if isinstance(change, Mapping) else change
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in found.items()}


def _explain(error: ValidationError, model: type[BaseModel], above: tuple[str, ...]) -> list[str]:
    """One piece per mistake: `--set section.key: what is wrong`."""
    lines = []
    for mistake in error.errors():
        place = [str(part) for part in mistake["loc"]]
        unknown = mistake["type"] == "extra_forbidden"
        # For a union, pydantic appends the type that it tried, such as literal['auto'].
        if not unknown:
            place = [part for part in place if part.replace("_", "").isalnum()]
        what = mistake["msg"].removeprefix("Value error, ")
        if unknown:
            what = f"no such setting{_near(place[-1], _fields(model, place[:-1]))}"
        lines.append(f"--set {'.'.join([*above, *place]) or 'settings'}: {what}")
    # A union reports one mistake per type that it tried, often in the same words.
    return list(dict.fromkeys(lines))


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The names that `--set` accepts in the section at `path`."""
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return [name for name in model.model_fields if name not in NO_SETTINGS]


def _near(word: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known are: {', '.join(names)}"
