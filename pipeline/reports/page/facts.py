"""What a root holds, counted for a page: one small record per video, the funnel, and what else people ask.

Vectors are never read. The videos' lists (sentences, replay scores) are read one part file at a time and counted, so
memory grows by some hundred bytes a video.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np

from vsumdata.datasets.shards import parts_of
from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import DONE
from vsumdata.pipeline.state import dataset
from vsumdata.pipeline.state.agreement import COLUMNS as LABELS
from vsumdata.pipeline.state.agreement import PSEUDO, STEPS, Agreement, agreement
from vsumdata.pipeline.state.lock import NAME as MODELS
from vsumdata.pipeline.state.plan import Stages, decisions, fingerprint

# A frame counts as important from this replay score on (docs/training.md).
IMPORTANT = 0.15
CURVE_POINTS = 50
NOT_READ = "not read yet"
NOT_FETCHED = "not_fetched"
PSEUDO_TABLE, STEPS_TABLE = LABELS[PSEUDO][0], LABELS[STEPS][0]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFacts:
    """One video in figures. A number is None where it is not known. `left_out` is empty for a kept video."""

    video_id: str
    title: str = ""
    url: str = ""
    source: str = ""
    channel: str = ""
    license: str = ""
    article_license: str = ""
    published: date | None = None
    duration_s: float | None = None
    views: int | None = None
    left_out: str = ""
    is_done: bool = False  # it has a row in `features`
    text_kind: str = ""  # manual, automatic, asr, none
    caption_quality: str = ""  # clean, or why not; empty without captions
    split: str = ""
    task: str = ""
    num_steps: int | None = None
    num_sentences: int | None = None
    num_words: int | None = None
    spoken_s: float | None = None
    num_shots: int | None = None
    important: float | None = None  # share of frames whose replay score reaches IMPORTANT
    curve: tuple[float, ...] = ()  # replay score at CURVE_POINTS equal stretches
    speech_share: float | None = None  # these as in the table `quality`
    words_per_minute: float | None = None
    static_share: float | None = None
    text_frame_agreement: float | None = None

    @property
    def words_per_s(self) -> float | None:
        """Words a second of the video; None where either is not known."""
        return self.num_words / self.duration_s if self.num_words is not None and self.duration_s else None

    @property
    def peak(self) -> float | None:
        """Where the most replayed stretch lies, in [0, 1) of the video."""
        return int(np.argmax(self.curve)) / len(self.curve) if self.curve else None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the funnel. `lost` counts by reason the videos of the step `after` that did not reach this one."""

    name: str
    number: int
    after: str = ""
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a table has cost: seconds of its workers, rows made more than once, videos that wait for another try."""

    table: str
    seconds: float
    median_s: float
    again: int
    waiting: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the pages tell of a root. `summary` is that of `status --json`."""

    summary: Mapping[str, Any]
    videos: Sequence[VideoFacts]
    funnel: Sequence[Step]
    efforts: Sequence[Effort]
    models: Mapping[str, str]  # what models.json locks: key -> identity
    crossings: Sequence[str]
    remarks: Sequence[str]
    labels: Agreement | None = None  # where the root has labels beside the replay curve
    num_duplicates: int = 0  # videos that are one with a better one

    @property
    def kept(self) -> list[VideoFacts]:
        """The videos that `select` keeps."""
        return [each for each in self.videos if not each.left_out]

    def counts(self, name: str) -> dict[str, int]:
        """How often each value of a text field occurs among the kept videos, the most frequent first."""
        values = (getattr(each, name) for each in self.kept)
        return dict(Counter(filter(None, values)).most_common())


def facts(store: Store) -> Facts:
    """Read a root. Raises UsageError if it is none, StorageError for a part that cannot be read."""
    loaded, stages, records, remarks = dataset.open_root(store)
    with store.snapshot():
        summary = dataset.summary(store, loaded, stages, records)
        ruled = decisions(store, stages, loaded.manifest.select)
        tables = {name: _rows(store, stages, name) for name in stages}
        found = {record.video_id: VideoFacts(video_id=record.video_id, source=record.source) for record in records}
        for record in records:
            title, views = record.title or record.listed_title or "", record.listed_view_count
            listed: dict[str, Any] = {
                "title": title,
                "views": views,
                "duration_s": record.listed_duration_s,
                "url": record.url or "",
            }
            found[record.video_id] = replace(found[record.video_id], **listed)
        for video_id in tables["videos"]:
            found.setdefault(video_id, VideoFacts(video_id=video_id))
        belongs = parts_of(store, "features", fingerprint(stages, "features")) if tables["duplicates"] else {}
        for video_id, part in belongs.items():
            tables["features"][video_id] |= part._asdict()
        for video_id, each in found.items():
            found[video_id] = _with_rows(each, {name: rows.get(video_id) for name, rows in tables.items()}, ruled)
        for name, columns in LISTS.items():
            _count_lists(store, stages, name, columns, found)
    videos = sorted(found.values(), key=lambda each: (bool(each.left_out), not each.is_done, -(each.views or 0)))
    return Facts(
        summary=summary,
        videos=videos,
        funnel=list(_funnel(videos, tables)),
        efforts=[_effort(name, rows.values()) for name, rows in tables.items() if rows],
        # As they are locked. Whether each can be had here is the question of `vsumdata models`, which may ask a hub.
        models={key: entry["identity"] for key, entry in (store.read_json(MODELS) or {}).items()},
        crossings=_crossings(videos),
        remarks=remarks,
        labels=agreement(store, stages) if tables[PSEUDO_TABLE] or tables[STEPS_TABLE] else None,
        num_duplicates=sum(row["is_best"] is False for row in tables["duplicates"].values()),
    )


QUALITY = ("speech_share", "words_per_minute", "static_share", "text_frame_agreement")
# The columns that are read of each video, by table: numbers and short texts.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "videos": (
        "source", "title", "url", "channel", "license", "published", "duration_s", "view_count", "fetched",
    ),
    "articles": ("license",),
    "transcripts": ("kind", "caption_quality"),
    "features": ("split", "task", "license"),
    "quality": QUALITY,
    "duplicates": ("is_best",),
}  # fmt: skip
# Lists that are counted and not kept.
LISTS = {"features": ("sentence", "step", "shot_start", "replay_score")}
EFFORT = ("seconds", "version", "outcome", "reason")


def _rows(store: Store, stages: Stages, name: str) -> dict[str, dict[str, Any]]:
    """The latest row of each video, the columns of COLUMNS and EFFORT alone."""
    at = fingerprint(stages, name)
    if not store.parts(name, at):
        return {}
    columns = [*EFFORT, *COLUMNS.get(name, ())]
    rows = store.latest(name, at, columns).select(["video_id", *columns])
    # Not all at once: Python's values of a row take ten times those of Arrow.
    return {row.pop("video_id"): row for batch in rows.to_batches(max_chunksize=10_000) for row in batch.to_pylist()}


def _with_rows(
    each: VideoFacts, rows: Mapping[str, Mapping[str, Any] | None], ruled: Mapping[str, str | None]
) -> VideoFacts:
    """Add what the rows of a video say."""
    video, text, made = rows["videos"], rows["transcripts"], rows["features"]
    if video is None:
        return replace(each, left_out=NOT_READ)
    if video["outcome"] != DONE:
        return replace(each, left_out=video["reason"] or video["outcome"])
    known: dict[str, Any] = {name: video[name] or "" for name in ("title", "url", "source", "channel", "license")}
    known |= {"published": video["published"], "duration_s": video["duration_s"], "views": video["view_count"]}
    known["left_out"] = ruled.get(each.video_id) or ""
    if article := rows["articles"]:
        known["article_license"] = article["license"] or ""
    if text is not None and text["outcome"] == DONE:
        quality = text["caption_quality"]
        known["text_kind"] = text["kind"] or ""
        known["caption_quality"] = "" if quality is None else "clean" if quality["clean"] else quality["reason"] or ""
    known |= {name: (rows["quality"] or {}).get(name) for name in QUALITY}
    if made is not None and made["outcome"] == DONE:
        known |= {"is_done": True, "split": made["split"] or "", "task": made["task"] or ""}
    return replace(each, **{name: value for name, value in known.items() if value not in (None, "")})


def _count_lists(store: Store, stages: Stages, name: str, columns: Sequence[str], found: dict[str, VideoFacts]) -> None:
    """Count the lists of a table, one part file at a time."""
    at = fingerprint(stages, name)
    latest = store.latest(name, at)
    by_part: dict[str, list[str]] = {}
    rows = zip(*(latest[column].to_pylist() for column in ("video_id", "part", "outcome")), strict=True)
    for video_id, part, outcome in rows:
        if outcome == DONE and video_id in found:
            by_part.setdefault(part, []).append(video_id)
    for part, ids in by_part.items():
        for video_id, row in store.read(name, at, dict.fromkeys(ids, part), columns).items():
            found[video_id] = replace(found[video_id], **_counted(row))


def _counted(row: Mapping[str, Any]) -> dict[str, Any]:
    sentences, replay = row["sentence"], row["replay_score"]
    counted: dict[str, Any] = {
        "num_steps": len(row["step"]) if row["step"] is not None else 0,
        "num_sentences": len(sentences) if sentences is not None else 0,
        "num_words": sum(len(each["text"].split()) for each in sentences or ()),
        "spoken_s": sum(each["end_s"] - each["start_s"] for each in sentences or ()),
        "num_shots": len(row["shot_start"]) if row["shot_start"] is not None else None,
    }
    if replay is not None and len(replay):
        score = np.asarray(replay, np.float64)
        counted["important"] = float((score >= IMPORTANT).mean())
        counted["curve"] = tuple(float(value) for value in resampled(score, CURVE_POINTS))
    return counted


def resampled(score: np.ndarray, number: int) -> np.ndarray:
    """The means of a curve over `number` equal stretches: float64 [number]. A shorter one repeats its values."""
    cuts = np.linspace(0, len(score), number + 1)
    firsts = np.floor(cuts[:-1]).astype(int)
    stops = np.maximum(np.ceil(cuts[1:]).astype(int), firsts + 1)
    sums = np.concatenate([[0.0], np.cumsum(score, dtype=np.float64)])
    return (sums[stops] - sums[firsts]) / (stops - firsts)


def _funnel(videos: Sequence[VideoFacts], tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[Step]:
    """From what is listed to finished rows. `text` and `frames` are both steps after `kept`, and so is `features`."""
    read = tables["videos"]
    fetched = [e for e in videos if (row := read.get(e.video_id)) and row["outcome"] == DONE and row["fetched"]]
    reached = {each.video_id for each in fetched}
    kept = [each for each in fetched if not each.left_out]
    yield Step(name="listed", number=len(videos))
    lost = Counter(each.left_out or NOT_READ for each in videos if each.video_id not in reached)
    yield Step(name="fetched", number=len(fetched), after="listed", lost=_reasons(lost))
    lost = Counter(each.left_out for each in fetched if each.left_out)
    yield Step(name="kept", number=len(kept), after="fetched", lost=_reasons(lost))
    for name, table in (("text", "transcripts"), ("frames", "frames"), ("features", "features")):
        rows, lost, number = tables.get(table, {}), Counter(), 0
        for each in kept:
            row = rows.get(each.video_id)
            if row is not None and row["outcome"] == DONE:
                number += 1
            else:
                lost["pending" if row is None else row["reason"] or row["outcome"]] += 1
        yield Step(name=name, number=number, after="kept", lost=_reasons(lost))


def _reasons(lost: Counter[str]) -> dict[str, int]:
    return {{NOT_FETCHED: "low_views in the listing"}.get(why, why): number for why, number in lost.most_common()}


def _effort(name: str, rows: Iterable[Mapping[str, Any]]) -> Effort:
    found = list(rows)
    seconds = [row["seconds"] for row in found if row["seconds"] is not None]
    return Effort(
        table=name,
        seconds=sum(seconds),
        median_s=float(np.median(seconds)) if seconds else 0.0,
        again=sum((row["version"] or 1) > 1 for row in found),
        waiting=sum(row["outcome"] == "retry" for row in found),
    )


def _crossings(videos: Sequence[VideoFacts]) -> list[str]:
    """Tasks whose videos are in several splits: a model would be tested on what it was trained on."""
    splits: dict[str, set[str]] = {}
    for each in videos:
        if each.task and each.split:
            splits.setdefault(each.task.casefold(), set()).add(each.split)
    return [f"{task}: {', '.join(sorted(its))}" for task, its in splits.items() if len(its) > 1]
