"""Write which videos of a list could be had and which are gone, for those who build the set again; and read it back.

CSV or JSON Lines, by the file's ending: `video_id`, `outcome`, `reason`, `date`. The file is an `ids` list too.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vsumdata.manifests.errors import UsageError

FORMAT = "availability"
ENDINGS = (".csv", ".jsonl")


@dataclass(frozen=True)
class Availability:
    """What was last seen of a video. `outcome` and `reason` are those of `status`; both texts, "" for none."""

    video_id: str
    outcome: str  # done | skipped | failed | retry | pending: nobody has looked yet
    reason: str
    date: str  # ISO 8601, UTC; of the last look

    def as_text(self) -> str:
        return f"{self.outcome}: {self.reason}" if self.reason else self.outcome


COLUMNS = tuple(field.name for field in fields(Availability))


def export(found: Iterable[Availability], path: str | Path) -> int:
    """Write the list in the order given; return its length. An older file is replaced once all are written.

    Raises UsageError for another ending or a missing folder.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: the list is written as {' or '.join(ENDINGS)}; name the file so")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it first")
    rows = [asdict(one) for one in found]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Line ends are written as they are given: the same list is the same file everywhere.
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(rows)


def read(path: str | Path) -> dict[str, Availability]:
    """Read a list that `export` wrote: by video id, in its order. Raises UsageError for another file."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file)) if path.suffix.lower() == ".csv" else [json.loads(line) for line in file]
        found = [Availability(**{name: str(row[name]) for name in COLUMNS}) for row in rows]
    # What other files raise: no text, no JSON, no table, no such column.
    except (ValueError, csv.Error, LookupError, TypeError) as error:
        raise UsageError(f"{path} is no list of {', '.join(COLUMNS)}: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return {one.video_id: one for one in found}


def changes(before: Mapping[str, Availability], after: Mapping[str, Availability]) -> dict[str, tuple[str, str]]:
    """What became of each video whose outcome or reason is another one: (before, after), "" where it is not listed."""
    texts = [{video_id: one.as_text() for video_id, one in listed.items()} for listed in (before, after)]
    pairs = {video_id: (texts[0].get(video_id, ""), texts[1].get(video_id, "")) for video_id in {**before, **after}}
    return {video_id: pair for video_id, pair in pairs.items() if pair[0] != pair[1]}
