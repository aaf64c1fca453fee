"""What a training run is made with: validated before any work starts, and kept in its run.json."""

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

from vsumdata.manifests.manifest import apply_override
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.methods import METHODS

NO_SETTINGS = {"method": "the argument METHOD", "preset": "--preset"}  # what `--set` may not change, though it is noted


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(Section):
    name: Literal["adam", "adamw", "sgd"] = Field("adam", description="adam couples weight decay, adamw does not")
    lr: float = Field(1e-3, gt=0, description="learning rate after the warm-up")
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1, description="of sgd")


class Schedule(Section):
    name: Literal["none", "cosine", "exponential"] = Field(
        "none", description="after the warm-up: constant, a cosine down to 0, or `decay` times as much each epoch"
    )
    decay: float = Field(1.0, gt=0, le=1, description="of the exponential schedule")
    warmup_epochs: float = Field(0, ge=0, description="epochs in which the rate rises linearly")


class Settings(Section):
    """`model` and `objective` are the options of the method's own classes."""

    method: str = Field(description="a name of METHODS")
    preset: str = Field("default", description="where the settings come from that were not set one by one")
    model: SerializeAsAny[BaseModel] = Field(description="options of the model")
    objective: SerializeAsAny[BaseModel] = Field(description="options of the objective")
    labels: Literal["auto", "replay", "keyshots", "given"] = Field(
        "auto", description="what importance and summary are made of; auto: what suits the data set"
    )
    optimizer: Optimizer = Field(Optimizer(), description="of model and objective alike")
    schedule: Schedule = Field(Schedule(), description="of the learning rate")
    epochs: int = Field(50, ge=1, description="passes over the training videos")
    batch_size: int = Field(32, ge=1, description="videos per step, over all workers")
    clip_norm: float | None = Field(None, gt=0, description="longest gradient; null: as it comes")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of autocast; auto: bfloat16 on a GPU that has it, else float32"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of weights, order, dropout and the nested validation videos")
    select_on: str = Field(
        "auto",
        description="the validation metric that picks the epoch; auto: tau where there is one; the last epoch where "
        "nothing else needs labels",
    )
    validate_every: int = Field(1, ge=1, description="epochs from one validation to the next")
    window: int = Field(1024, ge=1, description="videos held in memory at once, and as many again being read")
    save_every_s: float = Field(60, gt=0, description="longest time that a kill can cost, beside the end of an epoch")

    @model_validator(mode="before")
    @classmethod
    def _options_of_the_method(cls, values: Any) -> Any:
        """Read back from JSON, `model` and `objective` are mappings: only the method knows their classes."""
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

    @property
    def needs_targets(self) -> bool:
        """Whether the objective learns from labels."""
        return needs_targets(self.objective)

    @property
    def validates(self) -> bool:
        """Whether labels choose the epoch: for an objective without labels only if that is asked for."""
        return self.needs_targets or self.select_on != "auto"


def settings_of(method: str, preset: str = "default", sets: Sequence[str] = ()) -> Settings:
    """A method's preset with some settings changed, each as `section.key=value` (`model.hidden=64`).

    Raises UsageError that names the near ones for a method, preset or setting that is not known, and what is wrong
    with a value.
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
            values[part] = options.model_construct()
    try:
        found = Settings.model_validate({**values, "method": method, "preset": preset})
    except ValidationError as error:
        problems += _explain(error, Settings, ())
    if problems:
        raise UsageError("; ".join(problems))
    return found


def least_batch(objective: BaseModel | None) -> int:
    """The fewest videos that these options of an objective can do with in a step."""
    return 1 if needs_targets(objective) else getattr(objective, "least_batch", 1)


def needs_targets(objective: BaseModel | None) -> bool:
    return getattr(objective, "needs_targets", True)


def class_of(method: str, part: Literal["model", "objective"] | str) -> Any:
    """The class of a method's model or objective; importing it needs torch."""
    module, _, name = getattr(METHODS[method], part).partition(":")
    return getattr(importlib.import_module(module), name)


def options_class(method: str, part: Literal["model", "objective"] | str) -> type[BaseModel]:
    found: type[BaseModel] = class_of(method, part).Options
    return found


def _pick(word: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    if word not in names:
        raise UsageError(f"no {what} `{word}`{_near(word, names)}")
    return word


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`, section by section; both are left as they are."""
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
        if not unknown:  # pydantic may end with the type that was tried: literal['auto']
            place = [part for part in place if part.replace("_", "").isalnum()]
        what = mistake["msg"].removeprefix("Value error, ")
        if unknown:
            what = f"no such setting{_near(place[-1], _fields(model, place[:-1]))}"
        lines.append(f"--set {'.'.join([*above, *place]) or 'settings'}: {what}")
    return list(dict.fromkeys(lines))


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return [name for name in model.model_fields if name not in NO_SETTINGS]


def _near(word: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known are: {', '.join(names)}"
