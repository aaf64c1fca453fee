"""Numbers that papers print for their methods, transcribed with source and protocol, to stand beside our rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

FILE = Path(__file__).with_name("published.json")
CHANCE = "measured here"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Part):
    """One row of a paper's table."""

    method: str = Field(description="the method, by our name if we have it")
    variant: str = Field("", description="the variant of the method; empty for the main one")
    values: tuple[float | None, ...] = Field(description="one value per metric, from -1 to 1; null: not printed")
    note: str = Field("", description="what is odd about these numbers")

    @property
    def name(self) -> str:
        """Method and variant."""
        return f"{self.method}, {self.variant}" if self.variant else self.method


class Chance(_Part):
    """What random scores reach where a paper measured: the level that its numbers are to be read against."""

    protocol: str = Field(description="our protocol that is nearest to the paper's")
    values: tuple[float | None, ...] = Field(description="one value per metric of the table; null: not known")
    how: str = Field(description="on which annotations it was measured, and of how many draws")


class PaperTable(_Part):
    """One paper's numbers on one data set."""

    source: str = Field(description="the paper, its short name first")
    data: str = Field(description="name of the data set")
    metrics: tuple[str, ...] = Field(description="names of the metrics, in the order of the values")
    protocol: str = Field(description="how the paper measured, as far as it says")
    features: str = Field(description="the features that the methods read, as far as the paper says")
    rows: tuple[Line, ...] = Field(description="the table's rows")
    chance: Chance | None = Field(None, description="measured by us; null: the annotations were not at hand")

    @property
    def short_source(self) -> str:
        """The paper's short name."""
        return self.source.partition(" (")[0]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for row in self.rows:
            if len(row.values) != len(self.metrics):
                raise ValueError(f"{self.source}, {row.name}: {len(row.values)} values of {len(self.metrics)} metrics")
            # Papers print the same metric as 62.5 or .625. A percentage that was not converted is caught here.
            if any(value is not None and not -1 <= value <= 1 for value in row.values):
                raise ValueError(f"{self.source}, {row.name}: {row.values} are not shares")
        if self.chance is not None and len(self.chance.values) != len(self.metrics):
            raise ValueError(f"{self.source}: {len(self.chance.values)} values of chance, {len(self.metrics)} metrics")
        return self


@cache
def everything() -> tuple[PaperTable, ...]:
    """All tables of published.json. Raises pydantic's ValidationError if a row does not fit its metrics."""
    return TypeAdapter(tuple[PaperTable, ...]).validate_json(FILE.read_bytes())


def beside(data: str, methods: Collection[str], papers: Collection[str] = ()) -> tuple[PaperTable, ...]:
    """The tables on this data set of `papers`; if none is named, those that have a row for one of the methods."""
    return tuple(
        table
        for table in everything()
        if table.data == data
        and (table.short_source in papers if papers else any(row.method in methods for row in table.rows))
    )


def metrics_of(tables: Sequence[PaperTable]) -> list[str]:
    """The metrics of all tables, each once."""
    return list(dict.fromkeys(metric for table in tables for metric in table.metrics))


def headings(tables: Sequence[PaperTable]) -> list[str]:
    return ["method", *metrics_of(tables), "source"]


def cells(tables: Sequence[PaperTable]) -> list[list[str]]:
    """One line per row of each paper: its name, a cell for every metric of all papers, and the source."""
    lines = []
    for table in tables:
        named = [(row.name, row.values, table.short_source) for row in table.rows]
        if table.chance is not None:
            named.append(("(chance)", table.chance.values, f"{CHANCE}, {table.chance.protocol}"))
        for name, its, source in named:
            printed = dict(zip(table.metrics, its, strict=True))
            values = [printed.get(metric) for metric in metrics_of(tables)]
            line = [name, *("–" if value is None else f"{value:.4g}" for value in values), source]
            # Two papers on one data set may have the same one.
            if line not in lines:
                lines.append(line)
    return lines


def notes(tables: Sequence[PaperTable]) -> list[str]:
    """Each paper's protocol and features, and what is odd about single rows."""
    lines = []
    for table in tables:
        lines.append(f"{table.source}: {table.protocol}; features: {table.features}")
        lines += [f"{table.short_source}, {row.name}: {row.note}" for row in table.rows if row.note]
        if table.chance is not None:
            lines.append(f"{table.short_source}, chance: {table.chance.how}, under {table.chance.protocol}")
    return lines


def chance_of(table: PaperTable, metric: str) -> float | None:
    """What random scores reach by the metric, where that is known."""
    return None if table.chance is None else table.chance.values[table.metrics.index(metric)]


def records(tables: Sequence[PaperTable]) -> list[dict[str, str | float]]:
    """One record per printed number, for JSON."""
    return [
        {
            "method": row.method,
            "variant": row.variant,
            "metric": metric,
            "value": value,
            "source": table.source,
            "protocol": table.protocol,
            "features": table.features,
            "note": row.note,
            **({"chance": chance} if (chance := chance_of(table, metric)) is not None else {}),
        }
        for table in tables
        for row in table.rows
        for metric, value in zip(table.metrics, row.values, strict=True)
        if value is not None
    ]
