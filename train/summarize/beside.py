"""What lies beside a media file: captions of its name, and the description that `yt-dlp --write-info-json` leaves.

`talk.mp4` may have `talk.vtt` or `talk.en.srt`, and `talk.info.json` with a title and YouTube's "most replayed" curve.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vsumdata.manifests.lists.lines import Bin
from vsumdata.stages.speech.captions import FORMATS

INFO = ".info.json"
# A day's video has a caption file of some megabytes; an info file of yt-dlp hardly one.
MOST_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What was found: a caption file, a title, the bins of a heatmap; and remarks on what could not be read."""

    captions: str | None = None
    title: str | None = None
    heatmap: tuple[Mapping[str, float], ...] | None = None
    remarks: tuple[str, ...] = ()


def beside(video: str | Path, languages: Sequence[str]) -> Beside:
    """Look beside the file `video`. Captions without a language in their name come first, then by `languages`."""
    path = Path(video)
    marks = ("", *(f".{language}" for language in languages))
    found = [path.with_name(f"{path.stem}{mark}.{form}") for mark in marks for form in FORMATS]
    captions = next((str(file) for file in found if file != path and file.is_file()), None)
    title, heatmap, remarks = _described(path.with_name(path.stem + INFO))
    remarks += [f"captions: {Path(captions).name}, which lies beside it"] if captions else []
    return Beside(captions=captions, title=title, heatmap=heatmap, remarks=tuple(remarks))


def _described(path: Path) -> tuple[str | None, tuple[Mapping[str, float], ...] | None, list[str]]:
    """Title and heatmap of an info file, and remarks."""
    if not path.is_file():
        return None, None, []
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        told = json.loads(path.read_bytes())
        if not isinstance(told, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        return None, None, [f"{path.name} was not read: {error}"]
    title = told.get("title")
    title = title.strip() or None if isinstance(title, str) else None
    try:
        bins = TypeAdapter(list[Bin] | None).validate_python(told.get("heatmap"))
    except ValidationError as error:
        return title, None, [f"the heatmap of {path.name} was not read: {error.errors()[0]['msg']}"]
    return title, tuple(each.model_dump() for each in bins) if bins else None, []
