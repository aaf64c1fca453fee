"""Recipes: YAML files that state a paper's table, for `vsumdata bench --recipe NAME`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from vsumdata.datasets.benchmarks.registry import DATASETS, pick
from vsumdata.datasets.partition import Pool
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import NOT_YAML, Section, line_of
from vsumdata.train.benchmark.asked.request import Request

# Beside the folders of the code, in the tree as in the wheel. Resolved, since the code may be imported through links.
FOLDER = Path(__file__).resolve().parents[3] / "recipes"
# Its rooms with tables. The room `cluster` says how to run elsewhere.
ROOMS = ("papers", "benchmarks")
PARAMETER = re.compile(r"\$\{(\w*)\}")
# Options that a recipe has no place for -> why.
REFUSED = {
    "methods": "the recipe states the rows; copy its file, change `rows` and give --recipe FILE",
    "init": "the recipe's rows say what they begin with, as NAME[init=RUN]",
}


class Parameter(Section):
    description: str = Field(description="what it is, and how to get it")
    default: str | None = Field(None, description="its value if none is given; null: it must be given")


class Place(Section):
    """How the table is made on one data set."""

    protocol: str | None = Field(None, description="how to score; null: the data set's own protocol")
    split: str | None = Field(None, description="a published split, or a split file; null: the data set's default")
    preset: str | None = Field(None, description="preset of trained rows; null: the data set's own")
    rows: tuple[str, ...] = Field((), description="rows, where they differ from the recipe's")


class Recipe(Section):
    source: str | None = Field(
        None,
        description="the paper; its short name, before the bracket, as in published.json; null: a table of our own, "
        "beside every paper that prints its methods",
    )
    beside: tuple[str, ...] = Field((), description="short names of other papers whose numbers the table gathers")
    table: str = Field(description="the paper's table: its number if it is known for sure, and its subject")
    also: tuple[str, ...] = Field((), description="other names by which it is found")
    note: str = Field("", description="where these rows are not the paper's, and what is not known of them")
    data_sets: dict[str, Place] = Field(min_length=1, description="data sets of the table, by name; the first is usual")
    rows: tuple[str, ...] = Field((), description="rows, as words of `bench --methods`; ${NAME} stands for a parameter")
    left_out: dict[str, str] = Field({}, description="rows of the paper that are missing here, each with the reason")
    parameters: dict[str, Parameter] = Field({}, description="values that the user gives by --param NAME=VALUE")
    train_on: str | None = Field(None, description="another data set to train on, as --train-on; null: the folds' own")
    seeds: int = Field(3, ge=1, description="number of seeds")
    baseline: str = Field("random", description="the row that the others are compared with")
    pool: Pool = Field("fold", description="videos of training without labels: fold or transductive")
    sets: tuple[str, ...] = Field((), description="settings for all rows, as --set")

    @property
    def papers(self) -> tuple[str, ...]:
        """The short names of the papers whose numbers stand beside; none: all that print its methods."""
        return (self.source.partition(" (")[0], *self.beside) if self.source else self.beside

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for name, place in self.data_sets.items():
            if name not in DATASETS:
                raise ValueError(f"data_sets: no data set `{name}`; known are: {', '.join(DATASETS)}")
            if not (place.rows or self.rows):
                raise ValueError(f"no rows for {name}")
        texts = [*self.rows, *(row for place in self.data_sets.values() for row in place.rows), self.train_on or ""]
        if unknown := sorted(used(texts) - self.parameters.keys()):
            raise ValueError(f"${{{unknown[0]}}} is used and is none of its parameters")
        return self


def known() -> list[str]:
    """The names of the recipes that come with the program."""
    return sorted(files())


def files() -> dict[str, Path]:
    """The file of each recipe that comes with the program, by its name."""
    return {path.stem: path for room in ROOMS for path in (FOLDER / room).glob("*.yaml")}


def by_name(word: str) -> str:
    """The name of the recipe that has the name `word` or is also called so. Raises UsageError."""
    names = {name: name for name in known()}
    if word not in names:
        for name, path in sorted(files().items()):
            also = yaml.safe_load(path.read_text(encoding="utf-8")).get("also") or ()
            names |= dict.fromkeys(also, name)
    return names[pick(word, names, "recipe")]


def read(word: str) -> Recipe:
    """The recipe of that name, or in that file. Raises UsageError with file, line and key of the first mistake."""
    path = Path(word)
    if path.suffix not in (".yaml", ".yml"):
        path = files()[by_name(word)]
    try:
        text = path.read_text(encoding="utf-8")
        tree, values = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"--recipe {path}: {error.strerror}; by name there are: {', '.join(known())}") from error
    # A file of other bytes raises UnicodeDecodeError, which is a ValueError and so among these.
    except NOT_YAML as error:
        raise UsageError(f"--recipe {path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        # A key that is spelt wrong is missing as well: the wrong one tells more.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        key = ".".join(map(str, first["loc"])) or "recipe"
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = f"unknown key; a recipe has: {', '.join(Recipe.model_fields)}"
        raise UsageError(f"--recipe {path}:{line_of(tree, first['loc'])}: {key}: {what}") from error


def request_by(word: str | None, params: Sequence[str], given: Mapping[str, Any]) -> Request:
    """The request of `vsumdata bench`: that of the recipe, if there is one, with the options `given`."""
    if word is not None:
        return request_of(word, params, given)
    if params:
        raise UsageError(f"--param {params[0]}: only a recipe has parameters; give --recipe NAME as well")
    if not given["on"]:
        raise UsageError(f"give --on NAME, or --recipe NAME; recipes are: {', '.join(known())}")
    return Request(**{key: value for key, value in given.items() if value is not None})


def request_of(word: str, params: Sequence[str], given: Mapping[str, Any]) -> Request:
    """The request that a recipe states, with the options `given` beside it, which override its own.

    What they change is told with the table. Raises UsageError for an option that a recipe has no place for, and for a
    parameter that is unknown or missing.
    """
    recipe = read(word)
    for name, why in REFUSED.items():
        if given.get(name):
            raise UsageError(f"--{name} with --recipe {word}: {why}")
    on = given.get("on") or next(iter(recipe.data_sets))
    place = recipe.data_sets.get(on, Place())
    stated: dict[str, Any] = {
        "on": on,
        "protocol": place.protocol,
        "split": place.split,
        "preset": place.preset,
        "seeds": recipe.seeds,
        "baseline": recipe.baseline,
        "pool": recipe.pool,
        "train_on": recipe.train_on,
    }
    own = {key: value for key, value in given.items() if value not in (None, (), "", False)}
    chosen = stated | own
    rows = place.rows or recipe.rows or next(iter(recipe.data_sets.values())).rows
    texts = [*rows, chosen["baseline"], chosen["train_on"] or ""]
    values = values_of(recipe, params, used(texts))
    *methods, chosen["baseline"], trained_on = (filled(text, values) for text in texts)
    chosen |= {
        "methods": tuple(methods),
        "train_on": trained_on or None,
        "sets": (*recipe.sets, *own.get("sets", ())),
        "papers": recipe.papers,
        "remarks": tuple(told(word, recipe, stated, own)),
    }
    return Request(**{key: value for key, value in chosen.items() if value is not None})


def told(word: str, recipe: Recipe, stated: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What the table is, what the paper's has and this one has not, and what options changed."""
    lines = [f"recipe {word}: {f'{recipe.source}, ' if recipe.source else ''}{recipe.table}"]
    if recipe.note:
        lines.append(f"recipe {word}: {' '.join(recipe.note.split())}")
    if recipe.left_out:
        lines.append("left out: " + "; ".join(f"{row} ({why})" for row, why in recipe.left_out.items()))
    changed = [
        f"--{key.replace('_', '-')} {own[key]}" + (f" instead of {stated[key]}" if stated.get(key) else "")
        for key in stated
        if key in own and own[key] != stated[key]
    ]
    if stated["on"] not in recipe.data_sets:
        changed.append(f"on {stated['on']} instead of {', '.join(recipe.data_sets)}")
    changed += [f"--set {override}" for override in own.get("sets", ())]
    if changed:
        lines.append(f"not as the recipe states it: {', '.join(changed)}")
    return lines


def used(texts: Iterable[str]) -> set[str]:
    """The names of the parameters in `texts`."""
    return {name for text in texts for name in PARAMETER.findall(text)}


def filled(text: str, values: Mapping[str, str]) -> str:
    return PARAMETER.sub(lambda match: values[match[1]], text)


def values_of(recipe: Recipe, params: Sequence[str], needed: Iterable[str]) -> dict[str, str]:
    """The values of the parameters `needed`. Raises UsageError for one that is unknown, or is missing."""
    given = {}
    for param in params:
        name, equals, value = (part.strip() for part in param.partition("="))
        if not (equals and value):
            raise UsageError(f"--param {param}: write it as NAME=VALUE")
        if not recipe.parameters:
            raise UsageError(f"--param {param}: this recipe has no parameters")
        given[pick(name, recipe.parameters, "parameter")] = value
    found = {}
    for name in sorted(needed):
        its = recipe.parameters[name]
        if (chosen := given.get(name, its.default)) is None:
            raise UsageError(f"the recipe needs --param {name}=VALUE: {' '.join(its.description.split())}")
        found[name] = chosen
    return found
