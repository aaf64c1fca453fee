"""The `videos` table: what is known of a video before anything of it is downloaded."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vsumdata.manifests import tables
from vsumdata.pipeline.errors import FailVideo, RetryVideo, SkipVideo, VideoError
from vsumdata.pipeline.stage import Context, Function, Row
from vsumdata.stages.articles import find_article_url
from vsumdata.stages.captions import Track, choose_track
from vsumdata.stages.extraction import Session
from vsumdata.stages.probe import probe
from vsumdata.stages.select import is_own_file, worth_fetching
from vsumdata.stages.youtube import classify

__all__ = ["classify", "describe", "load"]

# Titles under which YouTube lists what nobody can watch.
UNLISTED = {"[Private video]": "private", "[Deleted video]": "removed"}
WITH_HEATMAPS = {"youtube", "sample"}  # yt-dlp's extractors that look for one; elsewhere it is absent, not missed
EMPTY: Row = dict.fromkeys(name for name, _ in tables.VIDEOS)
TEXT_FIELDS = {
    "source": "extractor",
    "source_id": "id",
    "url": "webpage_url",
    "title": "title",
    "description": "description",
    "channel": "channel",
    "channel_id": "channel_id",
    "license": "license",
    "language": "language",
    "live_status": "live_status",
    "media_type": "media_type",
    "availability": "availability",
}


def load(options: Mapping[str, Any], context: Context) -> Function:
    """`options`: `languages`, those whose caption track is taken."""
    session = Session(context)

    def read(row: Row) -> Row:
        record = row["source"]
        if is_own_file(record["source"]):
            found = describe_file(record, options["languages"])
        elif reason := UNLISTED.get(record["listed_title"] or ""):
            raise SkipVideo(reason, f"listed as {record['listed_title']}")
        elif not worth_fetching(record["listed_view_count"], context.min_views):
            found = describe_listing(record)
        else:
            found = fetch(record, options["languages"], session)
        return found | {"source": record["source"]}

    return read


def fetch(record: Mapping[str, Any], languages: list[str], session: Session) -> Row:
    """One full extraction, and the caption track in the same breath (its URL expires)."""
    info = session.extract(record["url"])
    if info.get("extractor") not in WITH_HEATMAPS:
        info.setdefault("heatmap", None)
    found = describe(info, hosts=tuple(session.context.transport))
    track = choose_track(info, languages)
    if track is not None:
        found |= caption_of(track, session)
    found["title"] = record["title"] or found["title"]
    found["article_url"] = record["article_url"] or found["article_url"]
    return found


def caption_of(track: Track, session: Session) -> Row:
    """`caption` with the track's raw text; a track that is gone is said in `detail` and Whisper takes over."""
    text = session.text(track.url) if track.url else track.data
    if not text:
        return {"detail": f"the {track.kind} {track.language} captions could not be had"}
    return {"caption": {"language": track.language, "kind": track.kind, "format": track.format, "text": text}}


def describe(info: Mapping[str, Any], hosts: tuple[str, ...] = ()) -> Row:
    """The payload of `videos` from yt-dlp's info; `hosts` are further article sites.

    Raises RetryVideo("heatmap_not_fetched") where the key is missing: absent and not fetched are different.
    `caption` is left to `fetch`: its text is another request.
    """
    if "heatmap" not in info:
        raise RetryVideo("heatmap_not_fetched", 60.0, "the answer lacks the page's initial data")
    found = dict(EMPTY) | {ours: text_or_none(info.get(theirs)) for ours, theirs in TEXT_FIELDS.items()}
    duration_s, views = number_or_none(info.get("duration")), number_or_none(info.get("view_count"))
    return found | {
        "channel": found["channel"] or text_or_none(info.get("uploader")),
        "published": published(info.get("upload_date")),
        "duration_s": duration_s,
        "view_count": None if views is None or views < 0 or views >= 2**63 else int(views),
        "fetched": True,
        "heatmap": spans(info["heatmap"], "value"),
        "chapters": spans(info.get("chapters"), "title"),
        "article_url": find_article_url(found["description"] or "", hosts),
        "retrieved_at": datetime.now(UTC),
        "tool_versions": tool_versions(),
    }


def describe_listing(record: Mapping[str, Any]) -> Row:
    """What the channel's listing says; `fetched` is false."""
    return dict(EMPTY) | {
        "source_id": record["video_id"],
        "url": record["url"],
        "title": record["listed_title"],
        "view_count": record["listed_view_count"],
        "duration_s": record["listed_duration_s"],
        "fetched": False,
        "retrieved_at": datetime.now(UTC),
        "tool_versions": tool_versions(),
    }


def describe_file(record: Mapping[str, Any], languages: list[str]) -> Row:
    """One of the user's own videos. What cannot be decoded is found out by `frames`, not here."""
    for field in ("video", "captions"):
        if record[field] and not Path(record[field]).exists():
            raise FailVideo("file_missing", f"{field}: {record[field]}")
    try:
        duration_s = probe(record["video"]).duration_s
    except VideoError:
        duration_s = None
    return dict(EMPTY) | {
        "source_id": record["video_id"],
        "url": Path(record["video"]).resolve().as_uri(),
        "title": record["title"] or record["video_id"],
        "description": record["description"],
        "duration_s": duration_s,
        "view_count": record["view_count"],
        "license": record["license"],
        "fetched": True,
        "heatmap": record["heatmap"] or None,
        "caption": own_caption(record["captions"], languages) if record["captions"] else None,
        "article_url": record["article_url"],
        "retrieved_at": datetime.now(UTC),
        "tool_versions": tool_versions(),
    }


def own_caption(path: str, languages: list[str]) -> Row:
    """A caption file as the user gave it; its language is taken to be the first one asked for."""
    suffix = Path(path).suffix.lower().lstrip(".")
    form = suffix if suffix in {"vtt", "srt", "json3"} else "json3" if suffix == "json" else "vtt"
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise FailVideo("file_missing", f"captions: {path}: {error.strerror}") from error
    return {"language": languages[0], "kind": "manual", "format": form, "text": text}


def text_or_none(value: Any) -> str | None:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and value else None


def number_or_none(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int beyond every float
        return None
    return number if math.isfinite(number) else None


def published(value: Any) -> date | None:
    try:
        return datetime.strptime(str(value), "%Y%m%d").date()
    except ValueError:
        return None


def spans(entries: Any, content: str) -> list[Row] | None:
    """Heat markers or chapters with times in seconds; None where there is none that is usable."""
    found = []
    for entry in entries if isinstance(entries, list | tuple) else ():
        if not isinstance(entry, Mapping):
            continue
        start_s, end_s = number_or_none(entry.get("start_time")), number_or_none(entry.get("end_time"))
        value = (text_or_none if content == "title" else number_or_none)(entry.get(content))
        if start_s is not None and end_s is not None and (value is not None or content == "title"):
            found.append({"start_s": start_s, "end_s": end_s, content: value})
    return found or None


@functools.cache
def tool_versions() -> str:
    return json.dumps({name: version(name) for name in ("vsumdata", "yt-dlp")})
