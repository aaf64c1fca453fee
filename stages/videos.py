"""The `videos` table: what is known of a video before anything is downloaded."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from vsumdata.manifests import clock, tables
from vsumdata.manifests.errors import FailVideo, RetryVideo, SkipVideo, VideoError
from vsumdata.manifests.rows import count_or_none, number_or_none, text_or_none
from vsumdata.manifests.select import decide, is_own_file, worth_fetching
from vsumdata.stages import media
from vsumdata.stages.articles import unpacked
from vsumdata.stages.howto.links import find_article_url
from vsumdata.stages.pictures.probe import probe
from vsumdata.stages.speech.captions import (
    FORMATS,
    CaptionError,
    Track,
    choose_track,
    format_of,
    is_usable,
    read_captions,
)
from vsumdata.stages.speech.encodings import decode
from vsumdata.stages.stage import Context, Function, Row
from vsumdata.stages.transcripts import from_captions
from vsumdata.stages.youtube.messages import NO_ANSWER, classify
from vsumdata.stages.youtube.session import Session

# YouTube lists videos that nobody can watch under these titles. A visit would only confirm it.
UNLISTED = {"[Private video]": "private", "[Deleted video]": "removed"}
# yt-dlp's extractors that look for a heatmap. On other sites a missing key means that there is none.
WITH_HEATMAPS = {"youtube", "sample"}
# In days and views: then a video usually has a heatmap.
HEATMAP_AGE, HEATMAP_VIEWS = 30, 50_000
# A site in a bad mood gives these reasons for all videos.
REFUSALS = frozenset({"removed", "private", "region", "no_formats", "age_restricted", "members_only"})
# What happened between this machine and the host, or here, and says nothing of its answers.
SILENT = frozenset({"transient", "throttled", "file_missing"})
TROUBLE = "trouble"
# Addresses that expire, and what could hold a secret of the client.
NOT_KEPT = frozenset(
    "url manifest_url http_headers cookies formats requested_formats requested_subtitles requested_downloads subtitles "
    "automatic_captions thumbnails thumbnail fragments entries comments epoch".split()
)
FORMAT_KEPT = (
    *("format_id", "format_note", "ext", "protocol", "vcodec", "acodec", "width", "height", "fps", "tbr", "filesize"),
    *("filesize_approx", "language", "language_preference"),
)
MOST_KEPT_BYTES = 100_000
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
    """Return the row function of `videos`. `options`: `languages`, in which a caption track is taken."""
    session = Session(context)

    def read(row: Row) -> Row:
        record = row["source"]
        if is_own_file(record["source"]):
            found = describe_file(record, options["languages"])
        elif reason := UNLISTED.get(record["listed_title"] or ""):
            raise SkipVideo(reason, f"listed as {record['listed_title']}")
        # A listing's count is good enough only to skip what is far below the limit.
        elif context.select and not worth_fetching(record["listed_view_count"], context.select.min_views):
            found = describe_listing(record)
        elif (again := read_again(row.get("kept"), record, options["languages"], tuple(context.transport))) is not None:
            found = again
        else:
            found = fetch(record, options["languages"], session)
            bring_media(record, found, options["languages"], session)
        return found | {"source": record["source"]}

    return read


def fetch(record: Mapping[str, Any], languages: list[str], session: Session) -> Row:
    """Do one full extraction of a video, and fetch its caption track."""
    # What the last visit brought serves when only its download was refused, and the row is tried again.
    info = session.info(record["url"])
    # Else `describe` would take the missing key for a failed request and try again for ever.
    if info.get("extractor") not in WITH_HEATMAPS:
        info.setdefault("heatmap", None)
    try:
        found = describe(info, hosts=tuple(session.context.transport))
    except RetryVideo:
        session.forget()
        raise
    track = choose_track(info, languages)
    # Now, because the URLs of caption tracks expire.
    if track is not None:
        found |= caption_of(track, session)
    return found | given_by(record, found)


def read_again(kept: Row | None, record: Mapping[str, Any], languages: list[str], hosts: tuple[str, ...]) -> Row | None:
    """Describe a video by the answer that an older version of this code kept; None if that does not serve."""
    if kept is None or kept["info"] is None:
        return None
    info = json.loads(unpacked(kept["info"]))
    track, caption = choose_track(info, languages), kept["caption"]
    # The texts of other tracks were not kept.
    if track is not None and (
        caption is None or (track.language, track.kind) != (caption["language"], caption["kind"])
    ):
        return None
    found = describe(info, hosts=hosts) | {"retrieved_at": kept["retrieved_at"], "info": kept["info"]}
    found["caption"] = caption if track is not None else None
    return found | given_by(record, found)


def given_by(record: Mapping[str, Any], found: Row) -> Row:
    """What a list says of the video goes before what its site says."""
    return {field: record[field] or found[field] for field in ("title", "article_url")}


def reduced(info: Mapping[str, Any]) -> bytes | None:
    """Pack what may be of use later: JSON, zstd; None if it is too large."""
    kept = {key: value for key, value in info.items() if not key.startswith("_") and key not in NOT_KEPT}
    kept["formats"] = [{key: one[key] for key in FORMAT_KEPT if key in one} for one in mappings(info.get("formats"))]
    for name in ("subtitles", "automatic_captions"):
        found = info.get(name)
        # Without their addresses, which expire, and without the translations: there are hundreds.
        usable = {
            key: [{"ext": entry["ext"], "data": ""} for entry in mappings(entries) if is_usable(entry)]
            for key, entries in (found.items() if isinstance(found, Mapping) else ())
        }
        kept[name] = {key: entries for key, entries in usable.items() if entries}
    for smaller in (kept, kept | {"formats": []}):
        packed = pa.compress(json.dumps(smaller, default=str).encode(), codec="zstd", asbytes=True)
        if len(packed) <= MOST_KEPT_BYTES:
            return bytes(packed)
    return None


def bring_media(record: Mapping[str, Any], found: Row, languages: list[str], session: Session) -> None:
    """Download what later stages of this run need, in the same visit, if `select` keeps the video."""
    context = session.context
    needed = context.media
    if not needed or (context.select and decide(found | {"source": record["source"]}, context.select) is not None):
        return
    if not context.hears_all and from_captions(found, languages, context.captions)[0] is not None:
        needed -= {media.SOUND}
    media.bring_ahead(record["video_id"], record["url"], needed, session)


def caption_of(track: Track, session: Session) -> Row:
    """Return `caption` with the track's raw text, or a `detail` if it cannot be fetched. Whisper then takes over."""
    # Raw, so that a better parser can read it again without a visit.
    body = session.body(track.url) if track.url else (track.data or "").encode("utf-8", "surrogatepass")
    if not body:
        return {"detail": f"the {track.kind} {track.language} captions could not be fetched"}
    text, note = (track.data or "", "") if not track.url else decode(body, track.language)
    return ({"detail": f"captions: {note}"} if note else {}) | {
        "caption": {"language": track.language, "kind": track.kind, "format": track.format, "text": text}
    }


def describe(info: Mapping[str, Any], hosts: tuple[str, ...] = ()) -> Row:
    """Build the payload of `videos` from yt-dlp's info. `hosts` are further article sites.

    Raises RetryVideo("heatmap_not_fetched") if the info has no key `heatmap`. `caption` is left to `fetch`, because
    its text needs another request.
    """
    # yt-dlp sets `heatmap` to None for a page without markers, but leaves the key out when the request for the page's
    # data failed. Taken for the same, good videos would be dropped as `no_heatmap`, silently and for weeks.
    if "heatmap" not in info:
        raise RetryVideo("heatmap_not_fetched", 60.0, "the answer lacks the page's initial data")
    found = dict(EMPTY) | {ours: text_or_none(info.get(theirs)) for ours, theirs in TEXT_FIELDS.items()}
    return found | {
        "channel": found["channel"] or text_or_none(info.get("uploader")),
        "published": published(info.get("upload_date")),
        "duration_s": number_or_none(info.get("duration")),
        "view_count": count_or_none(info.get("view_count")),
        "fetched": True,
        "heatmap": spans(info["heatmap"], "value"),
        "chapters": spans(info.get("chapters"), "title"),
        "article_url": find_article_url(found["description"] or "", hosts),
        "info": reduced(info),
        "retrieved_at": datetime.now(UTC),
        "tool_versions": tool_versions(),
    }


def describe_listing(record: Mapping[str, Any]) -> Row:
    """Build the payload from the channel's listing alone; `fetched` is false."""
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
    """Build the payload of one of the user's own videos. Raises FailVideo `file_missing`."""
    for field in ("video", "captions"):
        # Not `Path.exists`, which raises for a name of more than 255 bytes.
        if record[field] and not os.path.exists(record[field]):
            raise FailVideo("file_missing", f"{field}: {record[field]}")
    # A file that cannot be decoded is the failure of `frames`. Its captions and article may still be good.
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
        **(own_caption(record["captions"], languages) if record["captions"] else {"caption": None}),
        "article_url": record["article_url"],
        "retrieved_at": datetime.now(UTC),
        "tool_versions": tool_versions(),
    }


def own_caption(path: str, languages: list[str]) -> Row:
    """Read the user's caption file as `caption`, with a `detail` on its encoding and on what cannot be read.

    Its language is assumed to be the first of `languages`.
    """
    try:
        text, note = decode(Path(path).read_bytes(), languages[0])
    except OSError as error:
        raise FailVideo("file_missing", f"captions: {path}: {error.strerror}") from error
    form = format_of(text, Path(path).suffix.lower().lstrip("."))
    try:
        read_captions(text, form)
    except CaptionError as error:
        # Whisper then listens. Who names a file must learn that it does not serve.
        note = "; ".join(filter(None, [f"{path}: {error}; formats that are read: {', '.join(FORMATS)}", note]))
    found: Row = {"caption": {"language": languages[0], "kind": "manual", "format": form, "text": text}}
    return found | ({"detail": f"captions: {note}"} if note else {})


def signal(answer: Row) -> dict[str, Any]:
    """What the answer to a visit tells the run's watches."""
    return health(answer) | mood(answer)


def health(answer: Row) -> dict[str, bool]:
    """What the answer to a visit says of the site: whether it let the video be read, and sent a heatmap."""
    result = answer.get("result")
    if result is None:
        return {"readable": False} if answer["reason"] in REFUSALS else {}
    if not result["fetched"] or is_own_file(result["source"]):
        return {}
    published, views = result["published"], result["view_count"]
    # A young video has no heatmap yet, and an unpopular one never gets one.
    is_old = published is None or published <= (clock.utc_now() - timedelta(days=HEATMAP_AGE)).date()
    speaks = is_old and (views or 0) > HEATMAP_VIEWS
    return {"readable": True} | ({"heatmap": bool(result["heatmap"])} if speaks else {})


def mood(answer: Row) -> dict[str, Any]:
    """What a video met that could not be read: `met` (see `kind_of`), `said` in words, `has_no_answer` of yt-dlp."""
    met = kind_of(answer["outcome"], answer["reason"])
    if met is None:
        return {}
    detail = str(answer.get("detail") or "")
    return {"met": met, "said": detail[:300], "has_no_answer": classify(detail) == NO_ANSWER}


def kind_of(outcome: str, reason: str) -> str | None:
    """What videos must have in common to be alike: the reason of a refusal, or that they met trouble at all.

    None for what says nothing: videos that were read, hosts that did not answer, files that are missing here.
    """
    if outcome == tables.DONE or reason in SILENT:
        return None
    return reason if outcome == tables.SKIPPED else TROUBLE


def published(value: Any) -> date | None:
    try:
        return datetime.strptime(str(value), "%Y%m%d").date()
    except ValueError:
        return None


def mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list | tuple) else []


def spans(entries: Any, content: str) -> list[Row] | None:
    """Heat markers or chapters with times in seconds; None if there is none that is usable."""
    found = []
    for entry in mappings(entries):
        start_s, end_s = number_or_none(entry.get("start_time")), number_or_none(entry.get("end_time"))
        value = (text_or_none if content == "title" else number_or_none)(entry.get(content))
        if start_s is not None and end_s is not None and (value is not None or content == "title"):
            found.append({"start_s": start_s, "end_s": end_s, content: value})
    return found or None


@functools.cache
def tool_versions() -> str:
    return json.dumps({name: version(name) for name in ("vsumdata", "yt-dlp")})
