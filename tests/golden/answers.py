"""One line for each case of a golden pack: ours, theirs, and whether they agree."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.recordings import RECORDINGS


@dataclass(frozen=True)
class Answer:
    case: str
    ours: object
    theirs: object
    ok: bool


@dataclass(frozen=True)
class Pack:
    """The JSON of a pack, the arrays beside it, and where TVSum's annotations and other benchmarks' files are."""

    content: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    annotations: Path
    benchmarks: Path = RECORDINGS / "benchmarks"

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def get(self, key: str, default: Any) -> Any:
        """Return a section, or `default`: packs of one kind need not have the same sections."""
        return self.content.get(key, default)

    def tolerance(self, word: str = "") -> float:
        """Return the tolerance stated for `word` in the pack's text, else the first one stated."""
        # The text names several code bases, for example "1e-9; MSVA 1e-6": take the part that holds the word.
        number = r"\d+(?:\.\d+)?e-?\d+"
        text = str(self["tolerance"])
        parts = [part for part in re.split("[;,(]", text) if word and word in part]
        found = [match for part in parts for match in re.findall(number, part)]
        return float((found or re.findall(number, text))[0])


def number(text: object) -> float:
    """Read a number of a pack. Raises ValueError for the text of an official error."""
    # JSON has no nan and inf, so packs write them as words.
    return float(text)  # type: ignore[arg-type]


def close(case: str, ours: object, theirs: object, tolerance: float, relative: bool = False) -> Answer:
    """Compare numbers, or lists of them; nan equals nan."""
    a, b = np.atleast_1d(np.asarray(ours, float)), np.array([number(x) for x in np.atleast_1d(np.asarray(theirs))])
    ok = a.shape == b.shape and bool(
        np.allclose(a, b, rtol=tolerance if relative else 0, atol=0 if relative else tolerance, equal_nan=True)
    )
    return Answer(case, ours, theirs, ok)


def same(case: str, ours: object, theirs: object) -> Answer:
    return Answer(case, ours, theirs, ours == theirs)


def close_or_error(case: str, ours: Callable[[], float], theirs: object, tolerance: float) -> Answer:
    """Compare numbers; where the official code raises, ours must raise ValueError."""
    if isinstance(theirs, str) and theirs not in ("nan", "inf"):
        try:
            return Answer(case, ours(), theirs, False)
        except ValueError as error:
            return Answer(case, f"{type(error).__name__}: {error}", theirs, True)
    return close(case, ours(), theirs, tolerance, relative=True)


def shown(value: object) -> str:
    """Shorten a value for one line of the report."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.12g}"
    if isinstance(value, list | tuple | np.ndarray):
        text = " ".join(shown(item) for item in list(value)[:6])
        return f"[{text}{f' …{len(value)}' if len(value) > 6 else ''}]"
    return str(value)[:60].replace("\n", "\\n")
