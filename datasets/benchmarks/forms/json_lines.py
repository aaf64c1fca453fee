"""Open downloaded files of JSON lines, packed or not. What is not the data is one line that says so."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vsumdata.datasets.benchmarks.forms.downloads import check
from vsumdata.manifests.errors import UsageError

GZIP = b"\x1f\x8b"


def read_json_lines(path: Path, keys: Sequence[str], what: str, where: str) -> list[dict[str, Any]]:
    """The records of a file of JSON lines, each with the `keys`. The file may be packed by gzip.

    Raises UsageError for anything else: `what` is the name of the data set, `where` tells how to get its files.
    """
    found: list[dict[str, Any]] = []
    for number, line in enumerate(_text(path, where).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(
                f"{path}: line {number} is not JSON, or is cut off ({error}); get the file again from {where}"
            ) from error
        lacking = [key for key in keys if key not in record] if isinstance(record, dict) else list(keys)
        if lacking:
            raise UsageError(
                f"{path}: line {number} has no {', '.join(lacking)}: this is not {what}'s annotation; get it from "
                f"{where}"
            )
        found.append(record)
    if not found:
        raise UsageError(f"{path} holds no records; get it from {where}")
    return found


def _text(path: Path, where: str) -> str:
    """The text of a file, unpacked."""
    packed = path.is_file() and path.read_bytes()[:2] == GZIP
    try:
        if packed:
            return gzip.decompress(path.read_bytes()).decode("utf-8-sig")
        check(path, where)
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text of JSON lines ({error}); get it from {where}") from error
    # A file that is cut off raises EOFError, one that is damaged the others.
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path} cannot be unpacked, or is cut off ({error}); get it again from {where}") from error
