"""How a list of videos may be written: JSON Lines, a JSON array, CSV, or text; gzipped or not; with a byte order mark.

The file's name tells the format: `.csv`, `.tsv`, `.json`, `.txt`, each also with `.gz`; any other is JSON Lines.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from vsumdata.manifests.errors import ManifestError

# Notepad marks UTF-8, PowerShell's `>` writes UTF-16. UTF-32 first: its mark begins with that of UTF-16.
MARKS = (
    *((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")),
    *((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")),
)
SEPARATORS = ",;\t|"
# Titles may have line breaks. A row of so many lines has a quote that nothing closes.
MAX_ROW_LINES = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list: its first line in the file (from 1), and its value, or what is wrong with it."""

    line: int
    value: Any = None  # an object, or a text
    mistake: str = ""
    remark: str = ""  # what is odd about it, though it can be read


def entries(path: Path, one_of: Sequence[str]) -> Iterator[Entry]:
    """Yield the entries of a list. In CSV one of the columns `one_of` is needed.

    Raises ManifestError if the file cannot be read or decoded.
    """
    names = path.name.lower().removesuffix(".gz")
    try:
        with opened(path) as file:
            if names.endswith((".csv", ".tsv")):
                yield from of_csv(file, one_of)
            elif names.endswith(".txt"):
                yield from of_text(file)
            elif names.endswith(".json"):
                yield from of_json(file)
            else:
                yield from of_json_lines(file)
    # First, since it is a ValueError and so no OSError.
    except UnicodeError as error:
        at = f" at byte {error.start}" if isinstance(error, UnicodeDecodeError) else f" ({error})"
        raise ManifestError(f"{path}: not UTF-8 text{at}") from error
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from error
    # Neither is an OSError: a download that broke off, and one that was damaged on its way.
    except (EOFError, zlib.error) as error:
        raise ManifestError(f"{path}: the gzip file is cut off or damaged ({error}); get it again") from error


def opened(path: Path) -> TextIO:
    """Open a list as text, decoded by its byte order mark. Line ends stay, as the module `csv` needs it."""
    # Closed with the text that is returned.
    binary = gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # noqa: SIM115
    file = cast(io.BufferedReader, binary)
    try:
        head = file.peek(4)
        encoding = next((name for mark, name in MARKS if head.startswith(mark)), "utf-8-sig")
        return io.TextIOWrapper(cast(BinaryIO, file), encoding, newline="")
    except BaseException:
        file.close()
        raise


def of_json_lines(lines: Iterable[str], first: int = 1) -> Iterator[Entry]:
    for number, line in enumerate(lines, first):
        # A mark in the middle: two files were joined.
        if text := line.lstrip("\ufeff").strip():
            yield read_json(text, number)


def read_json(text: str, number: int) -> Entry:
    try:
        return Entry(number, json.loads(text))
    except json.JSONDecodeError as error:
        return Entry(number, mistake=f"not valid JSON: {error.msg} at column {error.colno}")
    # Python refuses numbers of more than 4,300 digits, and brackets that are nested a thousand deep.
    except (ValueError, RecursionError) as error:
        return Entry(number, mistake=f"not readable as JSON: {error}")


def of_json(file: TextIO) -> Iterator[Entry]:
    """The values of a JSON array, or of JSON Lines by that name."""
    text = file.read()
    if not text.lstrip("\ufeff \t\r\n").startswith("["):
        yield from of_json_lines(io.StringIO(text, newline=""))
        return
    between = re.compile(r"[\s,]*")
    at, number, counted, decoder = text.index("[") + 1, 1, 0, json.JSONDecoder()
    while True:
        start = cast(re.Match[str], between.match(text, at)).end()
        number, counted = number + text.count("\n", counted, start), start
        if text[start : start + 1] in ("]", ""):
            if start == len(text):
                yield Entry(number, mistake="not valid JSON: the array has no end; the file is cut off")
            return
        try:
            value, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            yield Entry(number, mistake=f"not readable as JSON: {what}")
            return
        yield Entry(number, value)


def of_text(file: TextIO) -> Iterator[Entry]:
    """One id, address or path a line; `#` begins a remark. JSON Lines by that name are read as such."""
    for number, line in enumerate(file, 1):
        text = line.lstrip("\ufeff").strip()
        if text.startswith("{"):
            yield read_json(text, number)
        elif text and not text.startswith("#"):
            # As in the archive files of yt-dlp.
            yield Entry(number, re.sub(r"^youtube\s+", "", text))


def of_csv(file: TextIO, one_of: Sequence[str]) -> Iterator[Entry]:
    """The rows of a table with a header, as objects without their empty cells."""
    number, head = next_line(file, 0)
    # Excel may state the separator in a line of its own.
    if stated := re.fullmatch(r"sep=(.)", head.strip(), re.IGNORECASE):
        number, head = next_line(file, number)
    separator = stated[1] if stated else max(SEPARATORS, key=re.sub(r'"[^"]*"', "", head).count)
    try:
        (header,) = list(csv.reader([head], delimiter=separator)) or [[]]
    except csv.Error as error:
        yield Entry(max(1, number), mistake=f"the header is not readable as CSV: {error}")
        return
    spelt = {bare(name): name for name in one_of}
    # The manifest's spelling counts. No cell can hold an article's steps.
    columns = [spelt.get(bare(name)) or column_name(name) for name in header]
    columns = [name if name != "steps" else "" for name in columns]
    twice = [name for name in one_of if columns.count(name) > 1]
    if twice or not set(one_of) & set(columns):
        what = f"the column {twice[0]} stands twice" if twice else f"no column {' or '.join(one_of)}"
        ids = "" if one_of == ("video",) else "; name the column of the YouTube ids in the manifest: `id_column`"
        yield Entry(max(1, number), mistake=f"{what} in the header ({', '.join(header)[:200]}){ids}")
        return
    yield from rows(csv.reader(file, delimiter=separator), columns, number)


def next_line(file: TextIO, number: int) -> tuple[int, str]:
    """(number, text) of the next line that is not blank, after line `number`; text "" at the end."""
    for line in iter(file.readline, ""):
        number += 1
        if line.strip("\ufeff \t\r\n"):
            return number, line
    return number, ""


def rows(reader: Any, columns: Sequence[str], before: int) -> Iterator[Entry]:
    """The rows behind a header, each under the number of its first line; `before` lines come before them."""
    while True:
        number = before + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Entry(number, mistake=f"not readable as CSV: {error}; is a quote not closed?")
            return
        if cells is None:
            return
        if (lines := before + reader.line_num + 1 - number) > MAX_ROW_LINES:
            yield Entry(number, mistake=f"a row of {lines} lines: is a quote not closed?")
            continue
        found = {name: text for name, cell in zip(columns, cells, strict=False) if name and (text := cell.strip())}
        if not found:
            continue
        odd = f"{len(cells)} cells, the header has {len(columns)}: its texts may be shifted or cut"
        yield Entry(number, found, remark=odd if len(cells) != len(columns) else "")


def bare(name: str) -> str:
    """A column's name without what spellings differ in: "YouTube ID" and "youtubeId" are youtube_id."""
    return re.sub(r"[\W_]+", "", name).casefold()


def column_name(name: str) -> str:
    """A column's name as we write names: "View Count" is view_count."""
    return re.sub(r"[\s-]+", "_", name.strip().lstrip("\ufeff").lower())
