"""One video as a page shows it: everything on one clock, in seconds of the video."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import numpy as np

from vsumdata.datasets.shards import step_span
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import VideoError
from vsumdata.manifests.store import Store
from vsumdata.manifests.tables import DONE
from vsumdata.pipeline.reports.page.facts import VideoFacts, resampled
from vsumdata.pipeline.state.agreement import COLUMNS as LABELS
from vsumdata.pipeline.state.agreement import PSEUDO, STEPS
from vsumdata.pipeline.state.dataset import stages_of
from vsumdata.pipeline.state.plan import fingerprint
from vsumdata.stages import media
from vsumdata.stages.curation.alignment import align
from vsumdata.stages.stage import Context, safe_name
from vsumdata.stages.thumbnails import TABLE as THUMBNAILS
from vsumdata.stages.thumbnails import thumbnails_of
from vsumdata.train.summarize.summary import choose, rule_of

FEATURES = "features"
COLUMNS = (
    "title", "url", "duration_s", "frame_time_s", "replay_score", "shot_start", "shot_stop", "sentence",
    "sentence_feature", "step", "step_feature",
)  # fmt: skip
STEP_TIMES = "step_times"
# The tables of labels, and what is shown of them.
BESIDE: Mapping[str, Sequence[str]] = {
    STEP_TIMES: ("step_start_s", "step_stop_s"),
    **{table: columns for kind, (table, columns) in LABELS.items() if kind in (PSEUDO, STEPS)},
}
LABEL_NAMES = {PSEUDO: "pseudo-summary", STEPS: "frames of the article's pictures"}
MAX_POINTS = 240
# What a page shows of a video, so that 200 of them take less than 10 MB. A talk of ten hours has 5,000 sentences.
MAX_PICTURE_BYTES = 14_000
MAX_SENTENCES, MAX_STEPS, MAX_SHOTS = 150, 40, 300
MAX_TEXT, MAX_LETTERS = 9_000, 600  # letters of all sentences, and of one
AT_ONCE = 16
BUDGET = 0.15

Span = tuple[float, float]  # from, to, in seconds


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A spoken sentence. `link` opens the video there, where its site can."""

    start_s: float
    end_s: float
    text: str
    link: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of the article, and when it is spoken of; None where nothing that is said is like it."""

    headline: str
    text: str
    span: Span | None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """A curve over the video, at most MAX_POINTS values in [0, 1], and the shots that are chosen by it."""

    name: str
    curve: Sequence[float]
    chosen: Sequence[Span]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a page shows of a video. `thumbnails` are (time, data address); `cut` says what it leaves out."""

    facts: VideoFacts
    length_s: float
    replay: Scores | None
    model: Scores | None
    labels: Sequence[Scores]  # what other labels than the replay curve say
    shots: Sequence[Span]
    sentences: Sequence[Sentence]
    steps: Sequence[Step]
    thumbnails: Sequence[tuple[float, str]]
    cut: str

    @property
    def link(self) -> str:
        """The video's page, where it has one on the web."""
        return web_address(self.facts.url)


class Pictures:
    """The thumbnails of a root: of its table, else of media at hand."""

    def __init__(self, store: Store, fingerprint: str) -> None:
        self.store, self.fingerprint = store, fingerprint
        self.parts = done(store, THUMBNAILS, fingerprint)

    def of(self, videos: Sequence[Video]) -> dict[str, list[tuple[float, str]]]:
        """(time in s, data address) of each video's pictures; none where neither pictures nor media are there."""
        there = {video.video_id: self.parts[video.video_id] for video in videos if video.video_id in self.parts}
        rows = self.store.read(THUMBNAILS, self.fingerprint, there, ["thumbnail"])
        found = {video_id: row["thumbnail"] for video_id, row in rows.items()}
        for video in videos:
            if video.video_id not in found and (path := media_of(video.video_id, video.url, self.store)):
                found[video.video_id] = self.made(path, video)
        return {video.video_id: light(found.get(video.video_id, [])) for video in videos}

    def made(self, path: Path, video: Video) -> list[dict[str, Any]]:
        """Pictures of a media file; none where it cannot be read."""
        try:
            return thumbnails_of(path, video.duration_s, Context(root=self.store.root, scratch="", row_timeout_s=60))
        except VideoError:
            return []


def light(pictures: Sequence[Mapping[str, Any]]) -> list[tuple[float, str]]:
    """Pictures as data addresses; every second one, and so on, until they are light enough for a page."""
    while len(pictures) > 2 and sum(len(each["webp"]) for each in pictures) > MAX_PICTURE_BYTES:
        pictures = pictures[::2]
    address = "data:image/webp;base64,"
    return [(float(e["time_s"]), address + base64.b64encode(e["webp"]).decode()) for e in pictures]


def media_of(video_id: str, url: str | None, store: Store) -> Path | None:
    """The file with a video's picture, where it is on this machine: the user's own, or a kept download."""
    address = urlsplit(url or "")
    if address.scheme == "file":
        own = Path(unquote(address.path))
        return own if own.is_file() else None
    if store.local is None:
        return None
    return media.finished(store.local / "media" / safe_name(video_id), media.PICTURE)


def shown(store: Store, wanted: Sequence[VideoFacts], scored: Mapping[str, Scores] | None = None) -> Iterator[Shown]:
    """Yield the videos of `wanted` that have features, in the order in which they are stored.

    `scored`: what a model gives, by video_id.
    """
    _, stages = stages_of(store)
    at = fingerprint(stages, FEATURES)
    facts, where = {each.video_id: each for each in wanted}, done(store, FEATURES, at)
    by_part: dict[str, list[str]] = {}
    for video_id in facts:
        if video_id in where:
            by_part.setdefault(where[video_id], []).append(video_id)
    pictures = Pictures(store, fingerprint(stages, THUMBNAILS))
    tables = {name: (fingerprint(stages, name), done(store, name, fingerprint(stages, name))) for name in BESIDE}
    # Each part is opened once: the most viewed videos of a large root lie in all of them.
    for part in sorted(by_part):
        rows = store.read(FEATURES, at, dict.fromkeys(by_part[part], part), COLUMNS)
        for ids in batched(rows, AT_ONCE):
            beside = {
                name: store.read(name, its, {each: there[each] for each in ids if each in there}, BESIDE[name])
                for name, (its, there) in tables.items()
            }
            videos = [without_frames(video_id, rows[video_id], beside[STEP_TIMES].get(video_id)) for video_id in ids]
            thumbnails = pictures.of(videos)
            for video in videos:
                found = one(
                    video, facts[video.video_id], thumbnails[video.video_id], (scored or {}).get(video.video_id)
                )
                yield replace(found, labels=labels_of(video, beside, found.length_s))


def batched(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    found = list(ids)
    for first in range(0, len(found), size):
        yield found[first : first + size]


def without_frames(video_id: str, row: Mapping[str, Any], times: Mapping[str, Any] | None = None) -> Video:
    """The video of a row, without the vectors of its frames; `times` is its row of `step_times`."""
    nothing = np.zeros((len(row["frame_time_s"]), 0), np.float32)
    span = None if times is None else step_span(times, len(row["step"]))
    return Video(video_id=video_id, frame_feature=nothing, step_span=span, **{name: row[name] for name in COLUMNS})


def labels_of(video: Video, beside: Mapping[str, Mapping[str, Mapping[str, Any]]], length_s: float) -> list[Scores]:
    """What the tables of labels say of a video's frames."""
    found: list[Scores] = []
    for kind in (PSEUDO, STEPS):
        table, (score, chosen) = LABELS[kind]
        row = beside[table].get(video.video_id)
        if row is not None and len(row[chosen]) == len(video.frame_time_s):
            spans = chosen_spans(np.asarray(row[chosen]), length_s)
            found.append(Scores(name=LABEL_NAMES[kind], curve=shortened(row[score]), chosen=spans))
    return found


def done(store: Store, table: str, at: str) -> dict[str, str]:
    """video_id -> part, of the `done` rows of a table."""
    latest = store.latest(table, at)
    rows = zip(*(latest[name].to_pylist() for name in ("video_id", "part", "outcome")), strict=True)
    return {video_id: part for video_id, part, outcome in rows if outcome == DONE}


def one(
    video: Video, facts: VideoFacts, thumbnails: Sequence[tuple[float, str]], scores: Scores | None = None
) -> Shown:
    """One video with all that is shown of it."""
    length_s = length_of(video)
    shots = spans(video, length_s)
    text = sentences_of(video, facts.url)
    steps = steps_of(video)
    found = (("sentences", len(video.sentence), len(text)), ("steps", len(video.step), len(steps)))
    cut = ", ".join(f"{there - here:,} more {name}" for name, there, here in found if there > here)
    return Shown(
        facts=facts,
        length_s=length_s,
        replay=replay_of(video, length_s),
        model=scores,
        labels=(),
        shots=shots if len(shots) <= MAX_SHOTS else [],
        sentences=text,
        steps=steps,
        thumbnails=thumbnails,
        cut=cut and f"not shown: {cut}",
    )


def length_of(video: Video) -> float:
    """Seconds of a video; of one of unknown length, as far as it has frames, and never 0."""
    times = video.frame_time_s
    return float(video.duration_s or (times[-1] + 1 if len(times) else 0) or 1)


def spans(video: Video, length_s: float) -> list[Span]:
    """The shots in seconds; the last one ends with the video."""
    if video.shot_start is None or video.shot_stop is None or not len(video.shot_start):
        return []
    cuts = [length_s * at / len(video.frame_time_s) for at in (*video.shot_start.tolist(), int(video.shot_stop[-1]))]
    return list(pairwise(cuts))


def chosen_spans(summary: np.ndarray, length_s: float) -> list[Span]:
    """The stretches of a choice of frames, bool [T], in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(summary, np.int8) > 0, [0]])))
    return [(length_s * a / len(summary), length_s * b / len(summary)) for a, b in edges.reshape(-1, 2).tolist()]


def replay_of(video: Video, length_s: float) -> Scores | None:
    """The replay curve, and the shots that a summary of 15 % takes by it; None without a heatmap."""
    if video.replay_score is None or not len(video.replay_score):
        return None
    return scores_of("most replayed", video.replay_score, video, length_s)


def scores_of(name: str, score: np.ndarray, video: Video, length_s: float) -> Scores:
    """A curve of frame scores, float [T], and the summary of BUDGET that `vsumdata summarize` would make by it."""
    chosen: list[Span] = []
    if video.shot_start is not None and len(video.shot_start):
        chosen = chosen_spans(choose(score, video, rule_of(BUDGET))[0], length_s)
    return Scores(name=name, curve=shortened(score), chosen=chosen)


def shortened(score: np.ndarray) -> list[float]:
    """A curve of at most MAX_POINTS values, by means over stretches."""
    values = np.clip(np.nan_to_num(np.asarray(score, np.float64)), 0, 1)
    return [float(value) for value in (values if len(values) <= MAX_POINTS else resampled(values, MAX_POINTS))]


def sentences_of(video: Video, url: str) -> list[Sentence]:
    """The first sentences, as many as a page shows."""
    found, letters = [], 0
    for each in video.sentence[:MAX_SENTENCES]:
        start_s, text = max(0.0, float(each["start_s"])), brief(each["text"])
        letters += len(text)
        if letters > MAX_TEXT:
            break
        found.append(Sentence(start_s=start_s, end_s=float(each["end_s"]), text=text, link=link_at(url, start_s)))
    return found


def brief(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]}…"


def steps_of(video: Video) -> list[Step]:
    """The article's steps with their times: those of `step_times`, else of the sentences that are most like them."""
    times: list[Span | None] = [None] * len(video.step)
    said, steps = video.sentence_feature, video.step_feature
    if video.step_span is not None:
        times = [None if np.isnan(span).any() else (float(span[0]), float(span[1])) for span in video.step_span]
    elif said is not None and steps is not None and len(said) and len(steps):
        runs = align(np.asarray(steps, np.float32) @ np.asarray(said, np.float32).T)
        span = video.sentence_span
        times = [None if run is None else (float(span[run[0], 0]), float(span[run[1] - 1, 1])) for run in runs]
    return [
        Step(headline=brief(step["headline"]), text=brief(rest_of(step)), span=time)
        for step, time in zip(video.step[:MAX_STEPS], times, strict=False)
    ]


def rest_of(step: Mapping[str, Any]) -> str:
    """A step's text without its headline, with which it begins."""
    return str(step["text"] or "").removeprefix(step["headline"] or "").strip()


def web_address(url: str | None) -> str:
    """An address that a page may link to: of the web, nothing that a browser would execute; else empty."""
    try:
        return url if url and urlsplit(url).scheme in ("http", "https") else ""
    except ValueError:
        return ""


def link_at(url: str | None, time_s: float) -> str:
    """The video's page at a time, where its site has such addresses (YouTube); else empty."""
    address = web_address(url)
    parts = urlsplit(address)
    if (parts.hostname or "").removeprefix("www.") not in ("youtube.com", "m.youtube.com", "youtu.be"):
        return ""
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return parts._replace(query=urlencode(query | {"t": f"{int(time_s)}s"})).geturl()
