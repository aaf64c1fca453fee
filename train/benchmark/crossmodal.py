"""Importance without training, as in TL;DW (ECCV 2022): how similar is a frame, or a step, to what is said?

`frame-cm` scores a frame by its mean cosine with all sentences of the video; `step-cm` does the same for steps, which
are runs of similar segments. Both need frames and sentences in one embedding space. CLIP's two towers share one; CLIP
and S-BERT do not. For a root of ours, the sentences are therefore encoded by the text tower of the CLIP that made its
frames.

Letters as in datasets/video.py; P steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vsumdata.datasets.protocol import Protocol
from vsumdata.datasets.splits import normalise
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import apply_override
from vsumdata.stages.labels.segments import Maximum, means, merged, segments, unit
from vsumdata.train.data.clip import Encode
from vsumdata.train.scoring.baselines import Baseline, Trial

NAMES = ("frame-cm", "step-cm")
PREFIX = "crossmodal."


class CrossModalOptions(BaseModel):
    """The settings `--set crossmodal.…`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segment_s: float = Field(4.0, gt=0, description="length of a segment in seconds; TL;DW: 32 frames at 8 fps")
    merge: float = Field(
        0.9, ge=0, le=1, description="merge neighbouring segments above this share of the video's largest similarity"
    )
    maximum: Maximum = Field(
        "pair",
        description="the largest similarity; pair: of any two segments (TL;DW's paper); row-mean: of one segment with "
        "all, on average (its code)",
    )
    propagate: bool = Field(False, description="frame-cm: give each frame the mean score of its segment (TL;DW)")
    relevance: bool = Field(False, description="step-cm: average the score with task relevance (TL;DW's labels)")


@dataclass(frozen=True)
class TaskSteps:
    """The sum of the unit features [D] of all steps of a task's videos, and their number."""

    total: np.ndarray
    count: int


def options_of(sets: Sequence[str]) -> CrossModalOptions:
    """Parse overrides `crossmodal.key=value`. Raises UsageError that says what is wrong."""
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
    """The cross-modal methods among `asked`. `videos` are read once, and only if task relevance is needed."""
    names = [name for name in asked if name in NAMES]
    tasks = task_steps(videos, options) if "step-cm" in names and options.relevance else {}

    def frames(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
        yield from frame_cm(video, sentence_features(video, encode), options)

    def steps_(video: Video, protocol: Protocol, seed: int) -> Iterator[Trial]:
        yield from step_cm(video, sentence_features(video, encode), options, tasks)

    known: dict[str, Baseline] = {"frame-cm": frames, "step-cm": steps_}
    return {name: known[name] for name in names}


def lacks(videos: Iterable[Video], encode: Encode | None) -> str | None:
    """Why frames and sentences cannot be compared, judged by the first video with sentences; None if they can."""
    for video in videos:
        if not video.frame_feature.shape[1]:
            return "the videos have no frame features; join some with --features ROOT"
        if encode is None and video.sentence_feature is not None and len(video.sentence_feature):
            return differ(video.frame_feature.shape[1], video.sentence_feature.shape[1])
        if encode is not None and video.sentence:
            return None
    return "none of the videos has sentences"


def differ(frame_dim: int, text_dim: int) -> str | None:
    """Why features of these sizes cannot be compared; None if they may be of one space."""
    # Equal sizes prove nothing, but different ones rule it out. The table's remark says what was assumed.
    if frame_dim == text_dim:
        return None
    return (
        f"the frames' features ({frame_dim} numbers) and the sentences' ({text_dim}) are of different models; "
        "a root of ours (--features ROOT) has CLIP's frames, whose text tower can read the sentences"
    )


def sentence_features(video: Video, encode: Encode | None) -> np.ndarray:
    """Features of the sentences [M,D] in the space of the frames; M is 0 without sentences."""
    if not video.sentence or (encode is None and video.sentence_feature is None):
        return np.zeros((0, video.frame_feature.shape[1]))
    if encode is None:
        assert video.sentence_feature is not None
        return video.sentence_feature
    return encode([str(sentence["text"]) for sentence in video.sentence])


def frame_cm(video: Video, text: np.ndarray, options: CrossModalOptions) -> Iterator[Trial]:
    """Score each frame by its mean cosine with the sentences `text` [M,D].

    Without sentences all scores are 0, and the table counts the video as constant.
    """
    score = similarity(video.frame_feature, text)
    if options.propagate:
        place = segments(video.frame_time_s, options.segment_s)
        score = means(score[:, None], place)[place, 0]
    sentence_score = similarity(text, video.frame_feature) if len(text) else None
    yield Trial(video=video, frame_score=score, sentence_score=sentence_score)


def step_cm(
    video: Video, text: np.ndarray, options: CrossModalOptions, tasks: Mapping[str, TaskSteps] | None = None
) -> Iterator[Trial]:
    """Give each frame the score of its step: the step's mean cosine with the sentences `text` [M,D].

    With `tasks` the score is the mean of that and TL;DW's task relevance. Relevance is a step's mean cosine with all
    steps of all videos of the task, this video included.
    """
    feature, place = steps(video, options)
    score = similarity(feature, text)
    if tasks:
        task = tasks[task_of(video)]
        # The mean over all steps. TL;DW's released code keeps sums in its bank of tasks and never divides them.
        score = (score + unit(feature) @ (task.total / task.count)) / 2
    sentence_score = similarity(text, feature) if len(text) else None
    yield Trial(video=video, frame_score=score[place], sentence_score=sentence_score)


def steps(video: Video, options: CrossModalOptions) -> tuple[np.ndarray, np.ndarray]:
    """The steps' features [P,D], each the mean of its segments, and the step of each frame, int [T]."""
    place = segments(video.frame_time_s, options.segment_s)
    segment = means(video.frame_feature, place)
    step = merged(unit(segment), options.merge, options.maximum)
    return means(segment, step), step[place]


def similarity(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The mean cosine of each row of `one` [n,D] with all rows of `others` [m,D]: [n]; 0 if m is 0."""
    if not len(others):
        return np.zeros(len(one))
    # The mean of products is the product with the mean: no n×m matrix is needed.
    return np.asarray(unit(one) @ unit(others).mean(axis=0))


def task_steps(videos: Iterable[Video], options: CrossModalOptions) -> dict[str, TaskSteps]:
    """The steps of each task, which task relevance compares with. It reads no labels."""
    found: dict[str, TaskSteps] = {}
    for video in videos:
        if video.frame_feature.shape[1]:
            direction = unit(steps(video, options)[0])
            before = found.get(task_of(video), TaskSteps(np.zeros(direction.shape[1]), 0))
            found[task_of(video)] = TaskSteps(before.total + direction.sum(axis=0), before.count + len(direction))
    return found


def task_of(video: Video) -> str:
    """The normalised task, or a key of the video's own if it has no task: then only its own steps count."""
    # No task's name begins with a zero byte, so such a key cannot meet one.
    return normalise(video.task or "") or f"\0{video.video_id}"
