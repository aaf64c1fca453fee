"""The `pseudo_summaries` table: TL;DW's pseudo-summaries (ECCV 2022), of all videos of a task.

    relevance of a step    mean dot product of its feature with those of all steps of the task's videos, own ones too
    saliency of a step     mean dot product of its feature with the sentences that are said in its video
    score                  the mean of both; where saliency cannot be known, relevance alone

The mean of dot products is the dot product with the mean. So a first pass over the videos adds up the steps of each
task, and a second one scores: one vector a task is in memory, and no video.

Segments are those of `segment_features` (S3D of MIL-NCE, as in the paper) where a manifest names its weights. Else they
are means of CLIP's frames, of unit norm, and the last one may be shorter. The mean of a video's sentences is the
`spoken_feature` of its row of `segment_features`, or of `quality`.

With `compat` the public code's results are made, medhini/Instructional-Video-Summarization@586a2e3
pseudo_gt_generation.py. It also adds each step up in place, in the feature of its first segment. That changes none of
its results: no first segment is read again.

Letters: T frames, G segments, P steps, M sentences, D components of a feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsumdata.manifests.errors import FailVideo, SkipVideo, VideoError
from vsumdata.stages.encoders.clip import lacks_text
from vsumdata.stages.encoders.s3d import SEGMENT_S, lacks_words
from vsumdata.stages.encoders.text import TextEncoder
from vsumdata.stages.labels.courses import faiss
from vsumdata.stages.labels.segments import means, merged, segments, unit
from vsumdata.stages.labels.tasks import Encode, grouped, name_of
from vsumdata.stages.stage import Context, Row, WholeFunction

TABLE = "pseudo_summaries"


@dataclass(frozen=True, kw_only=True)
class How:
    """The section `labels.pseudo_summaries` of a manifest, and the frames per second of the root.

    With S3D's segments `segment_s` is not asked.
    """

    segment_s: float = 4.0
    merge: float = 0.9
    choice: str = "share"
    share: float = 0.55
    least: float = 0.85
    titles_alike: float = 0.85
    compat: bool = False
    fps: float = 1.0


@dataclass(frozen=True, eq=False)
class Segments:
    """A video's segments, and the mean of what is said; with S3D a segment may have no frame."""

    place: np.ndarray  # [T], the segment of each frame
    feature: np.ndarray  # [G,D]
    spoken: np.ndarray | None  # [D]


@dataclass(frozen=True, eq=False)
class Steps:
    """The segments and steps of a video. `num` steps count; with `compat` there may be one more, which does not."""

    place: np.ndarray  # [T], the segment of each frame
    step: np.ndarray  # [G], the step of each segment
    feature: np.ndarray  # [num,D], the means of the steps' segments
    num: int

    @property
    def sums(self) -> np.ndarray:
        """The sums of the steps' segments, [num,D]."""
        return np.asarray(self.feature * np.bincount(self.step)[: self.num, None])


@dataclass(eq=False)
class Bank:
    """What the videos of a task have together: the sum [D] of their steps, the number of steps, of videos."""

    total: np.ndarray
    num_steps: int = 0
    num_videos: int = 0

    def add(self, total: np.ndarray, num_steps: int, num_videos: int) -> None:
        self.total += total
        self.num_steps += num_steps
        self.num_videos += num_videos


def load(options: Mapping[str, Any], context: Context) -> WholeFunction:
    """Load S-BERT for titles; return the function of all rows.

    Where CLIP has no text tower, or the weights are random, scores are of relevance alone, and `pseudo_model` says so.
    Raises UsageError without faiss, or where weights cannot be loaded.
    """
    faiss()
    how = How(**{name: options[name] for name in How.__dataclass_fields__})
    titles = TextEncoder(options["text_location"], context.device, context.threads)
    if "s3d_weights" in options:
        name, why = f"S3D {options['s3d_weights']}", lacks_words(options["s3d_weights"])
    else:
        names = options["clip_model"], options["clip_weights"]
        name, why = " ".join(names), lacks_text(*names)
    model = name + (f"; relevance alone: {why}" if why else "")

    def make(rows: Iterable[Row]) -> Iterator[tuple[str, Row | VideoError]]:
        for video_id, made in pseudo_summaries(rows, how, titles.encode, is_heard=not why):
            yield video_id, made if isinstance(made, VideoError) else {**made, "pseudo_model": model}

    return make


def pseudo_summaries(
    rows: Iterable[Row], how: How, encode: Encode, *, is_heard: bool
) -> Iterator[tuple[str, Row | VideoError]]:
    """The payload of each video, or why it has none. `rows` are gone through twice.

    Rows have `segment_features` (S3D) or `quality`. `encode` embeds titles, with vectors of unit norm. `is_heard`:
    whether videos have a `spoken_feature`.
    """
    banks, name_under = counted(rows, how, encode)
    for row in rows:
        video_id, shown = row["video_id"], segments_of(row, how)
        if isinstance(shown, VideoError):
            yield video_id, shown
            continue
        steps = steps_of(shown, how)
        name = name_of(row["features"], video_id)[0]
        name = name_under.get(name, name)
        bank = banks[name]
        score = steps.feature @ (bank.total / bank.num_steps)
        if shown.spoken is not None:
            score = (score + steps.feature @ shown.spoken) / 2
        notes = {"detail": "nothing is said: relevance alone"} if is_heard and shown.spoken is None else {}
        task = "" if name.startswith("\0") else name
        yield video_id, {"pseudo_task": task, "num_alike": bank.num_videos, **columns(steps, score, how), **notes}


def segments_of(row: Row, how: How) -> Segments | VideoError:
    """The segments of a video, or why it can have no pseudo-summary."""
    found = of_s3d(row, how) if "segment_features" in row else of_frames(row, how)
    # One such video would make the scores of its whole task NaN.
    if isinstance(found, Segments) and not np.isfinite(found.feature).all():
        return FailVideo("error", "its frames' features are not finite")
    return found


def of_frames(row: Row, how: How) -> Segments | VideoError:
    """Segments of CLIP's frames."""
    if row["features"] is None or not len(row["features"]["frame_feature"]):
        return SkipVideo("no_frames")
    feature = np.asarray(row["features"]["frame_feature"])
    # By the frames' number: `frame_time_s` says since when a picture is on screen, which may be long before.
    place = segments(np.arange(len(feature)) / how.fps, how.segment_s)
    return Segments(place, unit(means(feature, place)), spoken_of(row["quality"]))


def of_s3d(row: Row, how: How) -> Segments | VideoError:
    """Segments that S3D saw."""
    if row["features"] is None or not len(row["features"]["frame_time_s"]):
        return SkipVideo("no_frames")
    if row["segment_features"] is None or not len(row["segment_features"]["segment_feature"]):
        return SkipVideo("no_segments", "S3D has not seen it: see its row of `segment_features`")
    feature = np.stack(row["segment_features"]["segment_feature"]).astype(np.float64)
    number = np.floor(np.arange(len(row["features"]["frame_time_s"])) / how.fps / SEGMENT_S).astype(np.int64)
    # Another download of a video may end a moment earlier.
    return Segments(np.minimum(number, len(feature) - 1), feature, spoken_of(row["segment_features"]))


def spoken_of(made: Mapping[str, Any] | None) -> np.ndarray | None:
    spoken = (made or {}).get("spoken_feature")
    return None if spoken is None else np.asarray(spoken, np.float64)


def counted(rows: Iterable[Row], how: How, encode: Encode) -> tuple[dict[str, Bank], dict[str, str]]:
    """The bank of each task, and the name under which a title counts (`grouped`)."""
    banks: dict[str, Bank] = {}
    articles: set[str] = set()
    titles: Counter[str] = Counter()
    for row in rows:
        seen = segments_of(row, how)
        if isinstance(seen, VideoError):
            continue
        steps = steps_of(seen, how)
        name, source = name_of(row["features"], row["video_id"])
        if source == "article":
            articles.add(name)
        elif source == "title":
            titles[name] += 1
        shown = steps.sums if how.compat else steps.feature
        # float32: where no two videos share a task, these vectors are the memory that the pass takes.
        bank = banks.setdefault(name, Bank(np.zeros(shown.shape[1], np.float32)))
        bank.add(shown.sum(axis=0).astype(np.float32), len(shown), 1)
    # Titles that many videos have come first: others then join them, not the other way round.
    alone = sorted(titles.keys() - articles, key=lambda name: (-titles[name], name))
    name_under = grouped(sorted(articles), alone, encode, how.titles_alike)
    for name, other in name_under.items():
        if name != other:
            bank = banks.pop(name)
            banks[other].add(bank.total, bank.num_steps, bank.num_videos)
    return banks, name_under


def steps_of(shown: Segments, how: How) -> Steps:
    """The steps that a video's segments are merged into."""
    step = merged(shown.feature, how.merge, "row-mean" if how.compat else "pair")
    num = int(step[-1]) + 1
    # On a video of one segment the public code fails; here it keeps its only step.
    if how.compat and num > 1 and np.count_nonzero(step == num - 1) == 1:
        num -= 1
    return Steps(shown.place, step, means(shown.feature, step)[:num], num)


def columns(steps: Steps, score: np.ndarray, how: How) -> Row:
    """The columns of segments and frames, given the steps' scores [P]."""
    if how.choice == "max":
        score = score / (np.linalg.norm(score) or 1.0)
    counts = steps.step < steps.num
    num_frames = np.bincount(steps.place, minlength=len(steps.step))
    of_segment = np.where(counts, score[np.minimum(steps.step, steps.num - 1)], 0.0)
    if how.choice == "max":
        # Below 0 the share of the largest would be above it; then the best step alone is chosen.
        chosen = of_segment >= min(how.least * score.max(), score.max())
    else:
        chosen = best(np.where(counts, of_segment, -np.inf), num_frames, how.share)
    stop = np.cumsum(num_frames)
    return {
        "segment_start": np.concatenate([[0], stop[:-1]]).astype(np.int32),
        "segment_stop": stop.astype(np.int32),
        "segment_step": steps.step.astype(np.int32),
        "segment_score": of_segment.astype(np.float32),
        "pseudo_score": of_segment[steps.place].astype(np.float32),
        "pseudo_summary": (chosen & counts)[steps.place].astype(np.int8),
    }


def best(score: np.ndarray, num_frames: np.ndarray, share: float) -> np.ndarray:
    """The best segments [G], whole, until they have `share` of all frames; of equal ones the earlier: bool [G]."""
    order = np.argsort(-score, kind="stable")
    reached = np.cumsum(num_frames[order])
    # Not `searchsorted` of the exact product: 0.55 · 100 is a little more than 55.
    num = int(np.searchsorted(reached, share * reached[-1] - 1e-6)) + 1
    chosen = np.zeros(len(score), bool)
    chosen[order[:num]] = True
    return chosen
