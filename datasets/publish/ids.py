"""Write the finished videos of a root as an `ids` list, from which a manifest builds the set again.

JSON Lines, CSV or text, by the file's ending. A line has `video_id`, `article_url` and `split`; text has the ids alone.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

FORMAT = "ids"
ENDINGS = (".jsonl", ".csv", ".txt")
COLUMNS = ("video_id", "article_url", "split")


@dataclass
class Exported:
    """A report: how many videos were written, and which are files that nobody else has."""

    number: int = 0
    left_out: list[str] = field(default_factory=list)


def export(videos: Iterable[Video], path: str | Path) -> Exported:
    """Write the list, one video at a time. An older file is replaced once all are written.

    Raises UsageError for another ending, a missing folder, or a root of own files alone.
    """
    path, done = Path(path), Exported()
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: the list is written as {' or '.join(ENDINGS)}; name the file so")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it first")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            if path.suffix.lower() == ".csv":
                table.writerow(COLUMNS)
            for video in videos:
                if not (video.url or "").startswith(("https://", "http://")):
                    done.left_out.append(video.video_id)
                    continue
                values = [video.video_id, video.article_url, video.split]
                if path.suffix.lower() == ".csv":
                    table.writerow([value or "" for value in values])
                elif path.suffix.lower() == ".txt":
                    file.write(f"{video.video_id}\n")
                else:
                    line = {name: value for name, value in zip(COLUMNS, values, strict=True) if value}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                done.number += 1
        if not done.number and not done.left_out:
            raise UsageError("no video of the root is finished: there is nothing to list")
        if not done.number:
            raise UsageError(
                f"none of the {len(done.left_out)} videos has an address: ids rebuild no files of your own"
            )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return done
