"""What a summary is: the chosen shots and sentences of one video. summary.json is `Summary` as JSON."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.video import Video
from vsumdata.train.keyshots import Shots, best_frames, keyshots

FORMAT = 1


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Span(Section):
    start_s: float = Field(ge=0, description="seconds from the start of the video")
    end_s: float = Field(description="seconds; half-open")

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


class Shot(Span):
    score: float = Field(description="mean importance of its frames")
    chosen: bool = Field(description="whether the summary has it")


class Segment(Span):
    """A piece of the video that the summary shows: neighbouring chosen shots are one."""

    at_s: float = Field(ge=0, description="when it begins in the summary, seconds")


class Sentence(Span):
    text: str = Field(description="what is said")
    score: float = Field(description="importance in [0, 1]")
    chosen: bool = Field(description="whether it is a key sentence")


class Highlight(Span):
    """The frame of the highest smoothed score and its neighbours above a threshold (vsumdata.train.highlights)."""

    threshold: float = Field(description="that their smoothed scores reach")
    num_videos: int = Field(ge=0, description="validation videos that the threshold was chosen by; 0: given")
    overlap: float | None = Field(description="with their labels, intersection over union; null: not measured")


class Summary(Section):
    """All that is known of one video's summary. Times are seconds of the video but for `at_s`."""

    format: int = FORMAT
    video_id: str = Field(description="the id in its root, or the name of the file")
    title: str | None = Field(description="null: not known")
    source: str = Field(description="the media file, or the address of the video")
    duration_s: float = Field(description="of the video as far as it has frames")
    fps: float = Field(description="scored frames per second")
    frame_time_s: list[float] = Field(description="when each scored frame is shown")
    frame_score: list[float] = Field(description="importance of each scored frame in [0, 1]")
    replay_score: list[float] | None = Field(description="how often it is replayed, in [0, 1]; null: not known")
    shots: list[Shot] = Field(description="they cover the video without a gap")
    segments: list[Segment] = Field(description="what summary.mp4 and summary.vtt hold, in order")
    highlight: Highlight | None = Field(None, description="the one best stretch; null: not asked for")
    summary_s: float = Field(description="length of the summary")
    sentences: list[Sentence] = Field(description="what is said in the video")
    sentence_scores_from: str = Field(description="model: its own; frames: means of the frames' scores; none: no text")
    budget: float = Field(description="share of the video that the summary may take")
    selection: str = Field(description="keyshots: by knapsack; window: no shot fits, the best stretch was taken")
    protocol: str = Field(description="how shots are weighed and chosen")
    method: str = Field(description="the model's name")
    checkpoint: str = Field(description="the training run")
    text: str = Field(description="the text shown to the model: subtitles, global, both or none")
    features: dict[str, str] = Field(description="the models that made the features")
    files: list[str] = Field(description="what was written beside this file")
    remarks: list[str] = Field(description="what to know before trusting it")


def rule_of(budget: float) -> Protocol:
    """Keyshots as our own shards are measured by, at another budget."""
    return replace(protocol("shards"), budget=budget)


def choose(frame_score: np.ndarray, video: Video, rule: Protocol) -> tuple[np.ndarray, str]:
    """The chosen frames, bool [T], and how: `keyshots`, or `window` where the knapsack takes no shot at all.

    A window is the best stretch of as many frames as the budget has, at least one.
    """
    assert video.shot_start is not None
    assert video.shot_stop is not None
    num_frames = len(frame_score)
    points = np.stack([video.shot_start, video.shot_stop - 1], axis=1).astype(np.int64)
    shots = Shots(change_points=points, picks=np.arange(num_frames), n_frames=num_frames)
    chosen = keyshots(frame_score, shots, rule)
    if chosen.any():
        return chosen, "keyshots"
    width = max(1, int(rule.budget * num_frames))
    sums = np.convolve(np.asarray(frame_score, np.float64), np.ones(width), "valid")
    first = int(sums.argmax())
    chosen[first : first + width] = True
    return chosen, "window"


def boundaries(num_frames: int, fps: float, duration_s: float | None, picture_fps: float | None) -> np.ndarray:
    """When frame k's stretch begins, float64 [T+1] seconds, the last one being the end of the video.

    Stretches are half-open; with `picture_fps` all times are whole pictures of the summary.
    """
    time_s = np.arange(num_frames + 1) / fps
    if duration_s is not None:
        # The frames tell how far the picture goes: another stream may be longer, a broken file shorter.
        time_s[-1] = min(time_s[-1], max(duration_s, time_s[-2]))
    if picture_fps is None:
        return time_s
    pictures = np.round(time_s * picture_fps)
    pictures[-1] = max(pictures[-1], pictures[-2] + 1)
    return pictures / picture_fps


def shots_of(video: Video, frame_score: np.ndarray, chosen: np.ndarray, time_s: np.ndarray) -> list[Shot]:
    """The video's shots; one of which only a part is chosen comes apart there."""
    assert video.shot_stop is not None
    cuts = {0, *video.shot_stop.tolist(), *(np.flatnonzero(np.diff(chosen)) + 1).tolist()}
    return [
        Shot(
            start_s=float(time_s[start]),
            end_s=float(time_s[stop]),
            score=float(frame_score[start:stop].mean()),
            chosen=bool(chosen[start]),
        )
        for start, stop in pairwise(sorted(cuts))
    ]


def segments_of(shots: list[Shot]) -> list[Segment]:
    """What the summary shows, on its own clock."""
    found: list[Segment] = []
    at_s = 0.0
    for shot in shots:
        if not shot.chosen:
            continue
        if found and found[-1].end_s == shot.start_s:
            found[-1] = found[-1].model_copy(update={"end_s": shot.end_s})
        else:
            found.append(Segment(start_s=shot.start_s, end_s=shot.end_s, at_s=at_s))
        at_s += shot.length_s
    return found


def sentence_scores(video: Video, frame_score: np.ndarray, from_model: np.ndarray | None, fps: float) -> np.ndarray:
    """The model's scores, else the mean score of the frames that a sentence covers, float64 [M]."""
    if from_model is not None:
        return from_model
    found = np.zeros(len(video.sentence))
    for at, (start_s, end_s) in enumerate(video.sentence_span.tolist()):
        first = min(int(max(0.0, start_s) * fps), len(frame_score) - 1)
        stop = min(max(first + 1, math.ceil(end_s * fps)), len(frame_score))
        found[at] = frame_score[first:stop].mean()
    return found


def sentences_of(video: Video, score: np.ndarray, budget: float) -> list[Sentence]:
    """The sentences with the best ones chosen: the budget's share of their number, at least one."""
    count = max(1, round(budget * len(score))) if len(score) else 0
    chosen = best_frames(score, count)
    return [
        Sentence(
            start_s=max(0.0, sentence["start_s"]),
            end_s=sentence["end_s"],
            text=sentence["text"],
            score=float(score[at]),
            chosen=bool(chosen[at]),
        )
        for at, sentence in enumerate(video.sentence)
    ]
