"""Numbers that papers print for their methods, transcribed with source and protocol, to stand beside our rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

FILE = Path(__file__).with_name("published.json")


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


class PaperTable(_Part):
    """One paper's numbers on one data set."""

    source: str = Field(description="the paper, its short name first")
    data: str = Field(description="name of the data set")
    metrics: tuple[str, ...] = Field(description="names of the metrics, in the order of the values")
    protocol: str = Field(description="how the paper measured, as far as it says")
    features: str = Field(description="the features that the methods read, as far as the paper says")
    rows: tuple[Line, ...] = Field(description="the table's rows")

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
        return self


@cache
def everything() -> tuple[PaperTable, ...]:
    """All tables of published.json. Raises pydantic's ValidationError if a row does not fit its metrics."""
    return TypeAdapter(tuple[PaperTable, ...]).validate_json(FILE.read_bytes())


def beside(data: str, methods: Collection[str], papers: Collection[str] = ()) -> tuple[PaperTable, ...]:
    """The papers' tables on this data set that have a row for one of the methods; of `papers` alone if any is named."""
    return tuple(
        table
        for table in everything()
        if table.data == data
        and any(row.method in methods for row in table.rows)
        and (not papers or table.short_source in papers)
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
        for row in table.rows:
            printed = dict(zip(table.metrics, row.values, strict=True))
            values = [printed.get(metric) for metric in metrics_of(tables)]
            lines.append(
                [row.name, *("–" if value is None else f"{value:.4g}" for value in values), table.short_source]
            )
    return lines


def notes(tables: Sequence[PaperTable]) -> list[str]:
    """Each paper's protocol and features, and what is odd about single rows."""
    lines = []
    for table in tables:
        lines.append(f"{table.source}: {table.protocol}; features: {table.features}")
        lines += [f"{table.short_source}, {row.name}: {row.note}" for row in table.rows if row.note]
    return lines


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
        }
        for table in tables
        for row in table.rows
        for metric, value in zip(table.metrics, row.values, strict=True)
        if value is not None
    ]
