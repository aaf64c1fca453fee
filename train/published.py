"""What papers print for their methods, to stand beside our rows: transcribed, with source and protocol."""

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
    method: str = Field(description="our name where we have the method")
    variant: str = Field("", description="which of several of this method, the main one without")
    values: tuple[float | None, ...] = Field(description="one for each metric, as a share; null: not printed")
    note: str = Field("", description="what is odd about these numbers")

    @property
    def name(self) -> str:
        return f"{self.method}, {self.variant}" if self.variant else self.method


class PaperTable(_Part):
    """One paper's numbers on one data set."""

    source: str = Field(description="the paper, its short name first")
    data: str
    metrics: tuple[str, ...]
    protocol: str = Field(description="how the paper measured, as far as it says")
    rows: tuple[Line, ...]

    @property
    def short_source(self) -> str:
        return self.source.partition(" (")[0]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for row in self.rows:
            if len(row.values) != len(self.metrics):
                raise ValueError(f"{self.source}, {row.name}: {len(row.values)} values of {len(self.metrics)} metrics")
            if any(value is not None and not -1 <= value <= 1 for value in row.values):
                raise ValueError(f"{self.source}, {row.name}: {row.values} are not shares")
        return self


@cache
def everything() -> tuple[PaperTable, ...]:
    return TypeAdapter(tuple[PaperTable, ...]).validate_json(FILE.read_bytes())


def beside(data: str, methods: Collection[str]) -> tuple[PaperTable, ...]:
    """The tables on this data set of the papers that have a row for one of the methods."""
    return tuple(
        table for table in everything() if table.data == data and any(row.method in methods for row in table.rows)
    )


def metrics_of(tables: Sequence[PaperTable]) -> list[str]:
    return list(dict.fromkeys(metric for table in tables for metric in table.metrics))


def headings(tables: Sequence[PaperTable]) -> list[str]:
    return ["method", *metrics_of(tables), "source"]


def cells(tables: Sequence[PaperTable]) -> list[list[str]]:
    """A line for each row of each paper: its name, a cell for each of all their metrics, the source."""
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
    """Each paper's protocol, and what is odd about single rows."""
    lines = []
    for table in tables:
        lines.append(f"{table.source}: {table.protocol}")
        lines += [f"{table.short_source}, {row.name}: {row.note}" for row in table.rows if row.note]
    return lines


def records(tables: Sequence[PaperTable]) -> list[dict[str, str | float]]:
    """One for each printed number."""
    return [
        {
            "method": row.method,
            "variant": row.variant,
            "metric": metric,
            "value": value,
            "source": table.source,
            "protocol": table.protocol,
            "note": row.note,
        }
        for table in tables
        for row in table.rows
        for metric, value in zip(table.metrics, row.values, strict=True)
        if value is not None
    ]
