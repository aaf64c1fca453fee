"""Importance without training: how much a frame, or a step made of frames, looks like what is said (METHODS §5).

`frame-cm` is the mean cosine of a frame with all sentences of its video, `step-cm` the same of TL;DW's steps. Both need
pictures and sentences in one space, which CLIP's two towers share and CLIP and S-BERT do not: for a root of ours the
sentences are therefore encoded anew by the text tower of the CLIP that made its frames.

Letters as in datasets/video.py; P steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.splits import normalise
from vsumdata.datasets.video import Video
from vsumdata.manifests.manifest import apply_override
from vsumdata.pipeline.errors import UsageError
from vsumdata.train.baselines import Baseline, Trial

NAMES = ("frame-cm", "step-cm")
PREFIX = "crossmodal."
Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> [M,D]


class CrossModalOptions(BaseModel):
    """What `--set crossmodal.…` sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segment_s: float = Field(4.0, gt=0, description="seconds of a segment; TL;DW: 32 frames at 8 fps")
    merge: float = Field(0.9, ge=0, le=1, description="share of the largest similarity above which segments are merged")
    maximum: Literal["pair", "row-mean"] = Field(
        "pair", description="of which similarities: of two segments (TL;DW's paper), of one with all (its code)"
    )
    propagate: bool = Field(False, description="frame-cm: hold each segment's mean (TL;DW)")
    relevance: bool = Field(False, description="step-cm: the mean with task relevance (TL;DW's labels)")


@dataclass(frozen=True)
class TaskSteps:
    """The sum of the unit features [D] of all steps of a task's videos, and how many there are."""

    total: np.ndarray
    count: int


def options_of(sets: Sequence[str]) -> CrossModalOptions:
    """Of `crossmodal.key=value`; UsageError says what is wrong."""
    values: dict[str, Any] = {}
    for override in sets:
        apply_override(values, override)
    try:
        return CrossModalOptions.model_validate(values.get("crossmodal", {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        known = ", ".join(CrossModalOptions.model_fields)
        raise UsageError(f"--set {PREFIX}{place}: {first['msg']}; known are: {known}") from None


def baselines(
    asked: Iterable[str], videos: Iterable[Video], encode: Encode | None, options: CrossModalOptions
) -> dict[str, Baseline]:
    """The methods of `asked` that are ours. `videos` are read once, and only if task relevance is wanted."""
    names = [name for name in asked if name in NAMES]
    tasks = task_steps(videos, options) if "step-cm" in names and options.relevance else {}

    def frames(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
        yield from frame_cm(video, sentence_features(video, encode), options)

    def steps_(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
        yield from step_cm(video, sentence_features(video, encode), options, tasks)

    known: dict[str, Baseline] = {"frame-cm": frames, "step-cm": steps_}
    return {name: known[name] for name in names}


def lacks(videos: Iterable[Video], encode: Encode | None) -> str | None:
    """Why the first video that has sentences, of the ones to be measured, cannot be compared with them."""
    for video in videos:
        if not video.frame_feature.shape[1]:
            return "the videos have no frame features; join some with --features ROOT"
        if encode is None and video.sentence_feature is not None and len(video.sentence_feature):
            return differ(video.frame_feature.shape[1], video.sentence_feature.shape[1])
        if encode is not None and video.sentence:
            return None
    return "none of the videos has sentences"


def differ(frame_dim: int, text_dim: int) -> str | None:
    if frame_dim == text_dim:
        return None
    return (
        f"the frames' features ({frame_dim} numbers) and the sentences' ({text_dim}) are of different models; "
        "a root of ours (--features ROOT) has CLIP's frames, whose text tower can read the sentences"
    )


def encoder(root: str) -> Encode:
    """The text tower of the CLIP that the root's frames are made with. Raises UsageError where it cannot be had."""
    from vsumdata.manifests.manifest import from_stored
    from vsumdata.manifests.store import Store
    from vsumdata.stages.models import resolve_clip
    from vsumdata.train.clip_text import ClipText

    stored = Store(root).dataset()["manifest"]
    if "settings" not in stored:
        raise UsageError(f"{root} does not say which CLIP made its frames")
    clip = from_stored(stored["settings"], stored["folder"], stored["file"]).manifest.features.clip
    return ClipText(clip.model, resolve_clip(clip.model, clip.weights, stored["folder"]).location).encode


def sentence_features(video: Video, encode: Encode | None) -> np.ndarray:
    """[M,D] in the space of the frames; M is 0 where nothing is said."""
    if not video.sentence or (encode is None and video.sentence_feature is None):
        return np.zeros((0, video.frame_feature.shape[1]))
    if encode is None:
        assert video.sentence_feature is not None
        return video.sentence_feature
    return encode([str(sentence["text"]) for sentence in video.sentence])


def frame_cm(video: Video, text: np.ndarray, options: CrossModalOptions) -> Iterator[Trial]:
    """Without sentences all scores are 0, which the table counts as constant."""
    score = similarity(video.frame_feature, text)
    if options.propagate:
        place = segments(video.frame_time_s, options.segment_s)
        score = means(score[:, None], place)[place, 0]
    sentence_score = similarity(text, video.frame_feature) if len(text) else None
    yield Trial(video=video, frame_score=score, sentence_score=sentence_score)


def step_cm(
    video: Video, text: np.ndarray, options: CrossModalOptions, tasks: Mapping[str, TaskSteps] | None = None
) -> Iterator[Trial]:
    """Each frame has the score of its step; `tasks` adds TL;DW's task relevance, the mean of both being the score.

    Relevance is the mean cosine with all steps of all videos of the task, this video's own among them.
    """
    feature, place = steps(video, options)
    score = similarity(feature, text)
    if tasks:
        task = tasks[task_of(video)]
        score = (score + unit(feature) @ (task.total / task.count)) / 2
    sentence_score = similarity(text, feature) if len(text) else None
    yield Trial(video=video, frame_score=score[place], sentence_score=sentence_score)


def steps(video: Video, options: CrossModalOptions) -> tuple[np.ndarray, np.ndarray]:
    """The steps' features [P,D], means of their segments', and which step each frame is in: int [T].

    A segment joins the step of the one before it if their cosine exceeds `merge` of the video's largest.
    """
    place = segments(video.frame_time_s, options.segment_s)
    segment = means(video.frame_feature, place)
    direction = unit(segment)
    # Rows and columns of S×S similarities; a video of an hour has 900 segments.
    similar = direction @ direction.T
    if options.maximum == "row-mean":
        largest = float(similar.mean(axis=1).max())
    else:
        largest = float(similar[~np.eye(len(similar), dtype=bool)].max(initial=-1.0))
    cut = np.diagonal(similar, offset=1) <= options.merge * largest
    step = np.concatenate([[0], np.cumsum(cut)])
    return means(segment, step), step[place]


def segments(time_s: np.ndarray, segment_s: float) -> np.ndarray:
    """In which segment of `segment_s` seconds each frame is, counted from 0 without gaps: int [T]."""
    number = np.floor(time_s.astype(np.float64) / segment_s)
    return np.concatenate([[0], np.cumsum(np.diff(number) != 0)]).astype(np.int64)


def means(feature: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The mean float64 [max place + 1, D] of the rows [n,D] of each place; places are in order, none is empty."""
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return np.add.reduceat(feature.astype(np.float64), starts) / np.bincount(place)[:, None]


def similarity(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The mean cosine of each row of `one` [n,D] with all of `others` [m,D]: [n]; 0 where m is 0."""
    if not len(others):
        return np.zeros(len(one))
    return np.asarray(unit(one) @ unit(others).mean(axis=0))


def unit(feature: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; a row of zeros stays."""
    feature = feature.astype(np.float64)
    length = np.linalg.norm(feature, axis=1, keepdims=True)
    return feature / np.where(length == 0, 1, length)


def task_steps(videos: Iterable[Video], options: CrossModalOptions) -> dict[str, TaskSteps]:
    """What the relevance of a step is measured by; no label of any video is looked at."""
    found: dict[str, TaskSteps] = {}
    for video in videos:
        if video.frame_feature.shape[1]:
            direction = unit(steps(video, options)[0])
            before = found.get(task_of(video), TaskSteps(np.zeros(direction.shape[1]), 0))
            found[task_of(video)] = TaskSteps(before.total + direction.sum(axis=0), before.count + len(direction))
    return found


def task_of(video: Video) -> str:
    """The task's name, or the video's own where it has none: then only its own steps count."""
    return normalise(video.task or "") or f"\0{video.video_id}"
