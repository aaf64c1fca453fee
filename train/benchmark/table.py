"""The benchmark table, and how it is drawn: terminal, Markdown, CSV, JSON. The protocol stands beside every number."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import published
from vsumdata.train.benchmark.published import PaperTable
from vsumdata.train.scoring.evaluate import LESS_IS_BETTER
from vsumdata.train.scoring.measure import Measured
from vsumdata.train.scoring.significance import compare

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group

CSV_COLUMNS = (
    "data", "protocol", "split", "seeds", "method", "metric", "mean", "std", "ci95_low", "ci95_high", "n", "p",
    "baseline", "direction", "notes",
)  # fmt: skip

SIGNIFICANT = 0.05
BETTER, WORSE = "▲", "▼"
PUBLISHED = "as published, each under its own paper's protocol; not measured here"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method and metric; NaN where nothing could be measured. `n` videos count, `notes` say what is odd.

    `p` is that of the paired test against the table's baseline, and `direction` ▲ or ▼ where the row is significantly
    better or worse. `missing` says why the cell has no number, and `has_failed` that its method broke. `protocol` is
    there if the table has several. `domains` has the value in each domain, where each fold is of one.
    """

    method: str
    metric: str
    mean: float
    std: float
    ci95: tuple[float, float]
    n: int
    p: float
    direction: str = ""
    notes: tuple[str, ...] = ()
    missing: str = ""
    has_failed: bool = False
    protocol: str = ""
    domains: Mapping[str, float] = field(default_factory=dict)

    def all_notes(self) -> list[str]:
        """The row's notes for a file, the reason for a missing number first."""
        if self.has_failed:
            return [f"failed: {self.missing}"]
        return [*([f"no {self.metric}: {self.missing}"] if self.missing else []), *self.notes]


@dataclass(frozen=True, kw_only=True)
class Table:
    data: str
    protocol: str
    split: str
    seeds: int
    baseline: str
    rows: Sequence[Row]
    remarks: Sequence[str] = field(default=())  # on the table as a whole
    published: Sequence[PaperTable] = field(default=())  # of the same data set, drawn as a second table
    made: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # by method, a record for each stage

    @property
    def caption(self) -> str:
        counts = sorted({row.n for row in self.rows if row.n})
        videos = f", {' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} videos" if counts else ""
        return f"{self.data}: protocol {self.protocol}, split {self.split}, seeds {self.seeds}{videos}"

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(row.metric for row in self.rows))

    @property
    def columns(self) -> list[str]:
        """`tau (csta)`: a column for each protocol and metric."""
        return list(dict.fromkeys(self.column(row) for row in self.rows))

    def column(self, row: Row) -> str:
        return f"{row.metric} ({row.protocol or self.protocol})"

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(row.method for row in self.rows))

    def cells(self) -> list[list[str]]:
        """The table's text: a line for each method, its name and then a cell for each metric."""
        found = {(row.method, self.column(row)): cell(row) for row in self.rows}
        return [[method, *(found.get((method, column), "–") for column in self.columns)] for method in self.methods]

    @property
    def legend(self) -> str:
        return (
            "mean ± deviation over seeds and folds [95 % bootstrap interval over videos]; "
            f"{BETTER} better or {WORSE} worse than {self.baseline} at p < {SIGNIFICANT} "
            "(paired permutation over videos, not corrected)"
        )

    def headings(self) -> list[str]:
        return ["method", *self.columns]

    def notes(self) -> list[str]:
        """What is odd, said once for all methods and metrics that it holds for."""
        columns: dict[tuple[str, str], list[str]] = {}
        several = len({row.protocol for row in self.rows}) > 1
        for row in self.rows:
            for note in row.notes:
                columns.setdefault((row.method, note), []).append(self.column(row) if several else row.metric)
        methods: dict[tuple[str, ...], list[str]] = {}
        for (method, note), names in columns.items():
            missing = sum(bool(row.missing) for row in self.rows if row.method == method)
            where = () if len(names) == len(self.columns) - missing else (f" ({', '.join(names)})",)
            methods.setdefault((note, *where), []).append(method)
        lines = [f"{', '.join(names)}{''.join(where)}: {note}" for (note, *where), names in methods.items()]
        lines += [
            f"{row.method}: {self.column(row)} by domain: "
            + ", ".join(f"{name} {value:.3f}" for name, value in row.domains.items())
            for row in self.rows
            if row.domains
        ]
        return [*self.remarks, *lines, *(f"{method}: failed: {reason}" for method, reason in self.failed.items())]

    @property
    def failed(self) -> dict[str, str]:
        """The methods that broke, with the reason."""
        return {row.method: row.missing for row in self.rows if row.has_failed}

    def to_pandas(self) -> pd.DataFrame:
        """A line for each method and metric, with the columns of the CSV file."""
        import pandas as pd

        return pd.read_csv(io.StringIO(as_csv(self)))


def rows(
    measured: Mapping[str, Measured], baseline: str, metrics: Sequence[str], domains: Mapping[int, str] | None = None
) -> list[Row]:
    """A row for each method and each of the protocol's metrics, in this order. `domains` are the folds' by number."""
    domains = domains or {}
    summaries = {(name, metric): values.summary(metric) for name, values in measured.items() for metric in metrics}
    found = []
    for (name, metric), summary in summaries.items():
        missing = measured[name].missing.get(metric, "")
        other = summaries.get((baseline, metric)) if name != baseline else None
        difference, p = compare(summary, other) if other else (math.nan, math.nan)
        is_better = difference < 0 if metric in LESS_IS_BETTER else difference > 0
        found.append(
            Row(
                method=name,
                metric=metric,
                mean=summary.mean,
                std=summary.std,
                ci95=summary.ci95,
                n=summary.n,
                p=p,
                direction=(BETTER if is_better else WORSE) if p < SIGNIFICANT else "",
                notes=() if missing else tuple(measured[name].notes()),
                missing=missing,
                domains={domains[at]: its for at, its in measured[name].of_folds(metric).items() if at in domains},
            )
        )
    return found


def failed_rows(failed: Mapping[str, str], metrics: Sequence[str]) -> list[Row]:
    """Rows of the methods that broke, by their reason."""
    nan = math.nan
    return [
        Row(method=name, metric=metric, mean=nan, std=nan, ci95=(nan, nan), n=0, p=nan, missing=why, has_failed=True)
        for name, why in failed.items()
        for metric in metrics
    ]


def cell(row: Row) -> str:
    """`0.178 ± 0.021 [0.150, 0.204] ▲`; what could not be measured is left out."""
    if math.isnan(row.mean):
        return "failed" if row.has_failed else "–"
    text = f"{row.mean:.3f}"
    if not math.isnan(row.std):
        text += f" ± {row.std:.3f}"
    if not math.isnan(row.ci95[0]):
        text += f" [{row.ci95[0]:.3f}, {row.ci95[1]:.3f}]"
    return f"{text} {row.direction}".rstrip()


def terminal(table: Table) -> Group:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from vsumdata.manifests.terminal import TerminalTable

    parts: list[RenderableType] = [Text(table.caption), TerminalTable(table.headings(), table.cells())]
    parts += map(Text, [table.legend, *table.notes()])
    if theirs := table.published:
        drawn = TerminalTable(published.headings(theirs), published.cells(theirs))
        parts += ["", Text(f"{table.data}: {PUBLISHED}"), drawn, *map(Text, published.notes(theirs))]
    return Group(*parts)


def markdown(table: Table) -> str:
    text = _markdown(f"**{table.caption}**; {table.legend}", table.headings(), table.cells(), table.notes())
    if theirs := table.published:
        title = f"**{table.data}**: {PUBLISHED}"
        text += "\n" + _markdown(title, published.headings(theirs), published.cells(theirs), published.notes(theirs))
    return text


def _markdown(title: str, headings: Sequence[str], cells: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    rule = ["---", *["---:"] * (len(headings) - 1)]
    lines = ["| " + " | ".join(line) + " |" for line in [headings, rule, *cells]]
    return "\n".join([title, "", *lines, *([""] if notes else []), *(f"- {note}" for note in notes)]) + "\n"


def as_csv(table: Table) -> str:
    """One line for each method and metric, with the protocol in each; empty where nothing could be measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in table.rows:
        numbers = ["" if math.isnan(value) else repr(value) for value in (row.mean, row.std, *row.ci95)]
        made_by = (table.data, row.protocol or table.protocol, table.split, table.seeds)
        against = ("", "") if math.isnan(row.p) else (repr(row.p), table.baseline)
        notes = "; ".join(dict.fromkeys([*row.all_notes(), *table.remarks]))
        writer.writerow([*made_by, row.method, row.metric, *numbers, row.n, *against, row.direction, notes])
    return text.getvalue()


def as_json(table: Table) -> str:
    """The contract's form: {protocol, split, seeds, rows}.

    With `made` (how each trained method was made), and `published` where papers have numbers of this data set. Null
    where nothing could be measured. Each row of a table of several protocols has its own.
    """
    rows = [
        {
            "method": row.method,
            **({"protocol": row.protocol} if row.protocol else {}),
            "metric": row.metric,
            "mean": number(row.mean),
            "std": number(row.std),
            "ci95": None if math.isnan(row.ci95[0]) else list(row.ci95),
            "n": row.n,
            **({"domains": row.domains} if row.domains else {}),
            "notes": list(dict.fromkeys([*significance(row, table.baseline), *row.all_notes(), *table.remarks])),
        }
        for row in table.rows
    ]
    found: dict[str, Any] = {"protocol": table.protocol, "split": table.split, "seeds": table.seeds, "rows": rows}
    if table.made:
        found["made"] = table.made
    if table.published:
        found["published"] = published.records(table.published)
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def significance(row: Row, baseline: str) -> list[str]:
    if math.isnan(row.p):
        return []
    word = {BETTER: f"{BETTER} better", WORSE: f"{WORSE} worse", "": "no difference shown"}[row.direction]
    return [f"p = {row.p:.2g} against {baseline}: {word} (paired permutation over videos)"]


def number(value: float) -> Any:
    return None if math.isnan(value) else value


FORMATS = {"json": as_json, "markdown": markdown, "csv": as_csv}


def check_writable(files: Mapping[str, str | None]) -> None:
    """Raise UsageError, before any work, where the folder of one of the files (by format) is not there."""
    for path in filter(None, files.values()):
        if not Path(path).parent.is_dir() or Path(path).is_dir():
            raise UsageError(f"{path} cannot be written: {Path(path).parent} is no folder, or {path} is one")


def write(table: Table, files: Mapping[str, str | None]) -> None:
    for form, path in files.items():
        if path:
            Path(path).write_text(FORMATS[form](table), encoding="utf-8")
