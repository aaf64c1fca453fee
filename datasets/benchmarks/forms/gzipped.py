"""JSON and JSON lines, plain or packed by gzip (`.gz`)."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vsumdata.datasets.benchmarks.forms.downloads import check
from vsumdata.manifests.errors import UsageError

MAGIC = b"\x1f\x8b"
TAR, TAR_AT = b"ustar", 257  # what a tar archive has there


def found(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, plain or as `name`.gz; None if neither is there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)


def read_text(path: Path, where: str) -> str:
    """The text of the file at `path`, unpacked if its name ends in `.gz`.

    `where` tells the user where to get the right file. Raises UsageError for what is not such a file: see
    `downloads.check`; also if it is cut off or damaged, an archive of several files, or not UTF-8.
    """
    is_packed = path.suffix == ".gz" and path.is_file() and path.read_bytes()[:2] == MAGIC
    if not is_packed:
        check(path, where)
    try:
        content = gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is cut off or damaged ({error}); get it again from {where}") from error
    if content[TAR_AT : TAR_AT + len(TAR)] == TAR:
        raise UsageError(f"{path} is a tar archive; unpack it and name the folder inside")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text in UTF-8 ({error}); get it again from {where}") from error


def read_json(path: Path, where: str) -> Any:
    """The JSON value in the file at `path`. Raises UsageError if it is none or is cut off."""
    try:
        return json.loads(read_text(path, where))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON, or is cut off ({error}); get it again from {where}") from error


def read_object(path: Path, what: str, where: str) -> dict[str, Any]:
    """The JSON object in the file at `path`. Raises UsageError if it is none or empty: `what` is expected."""
    value = read_json(path, where)
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{path} is not {what}: another data set's file? Get it from {where}")
    return value


def read_lines(path: Path, keys: Sequence[str], what: str, where: str) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, each with the `keys`.

    Raises UsageError with the line for anything else, and if there are none: `what` is the name of the data set.
    """
    records = []
    # Not `splitlines`: JSON may hold other characters that end a line, as they are.
    for number, line in enumerate(read_text(path, where).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(
                f"{path}: line {number} is not JSON, or is cut off ({error}); get it again from {where}"
            ) from error
        need_keys(path, f"line {number}", record, keys, what)
        records.append(record)
    if not records:
        raise UsageError(f"{path} has no lines; get it from {where}")
    return records


def need_keys(path: Path, name: str, record: Any, keys: Sequence[str], what: str) -> None:
    """Raise UsageError unless `record`, which the message calls `name`, is a JSON object with the `keys`."""
    lacking = [key for key in keys if key not in record] if isinstance(record, dict) else list(keys)
    if lacking:
        raise UsageError(f"{path}: {name} has no {', '.join(lacking)}: this is not {what}'s annotation")
