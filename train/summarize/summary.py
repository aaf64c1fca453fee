"""A summary: the chosen shots and sentences of one video. summary.json is `Summary` as JSON."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vsumdata.datasets.keyshots import Shots, best_frames, keyshots
from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.video import Summary as Words
from vsumdata.datasets.video import Video

FORMAT = 1
# Of a summary without scores and without shots that fit. Our choice.
STRETCHES = 8
BUDGET = 0.15  # share of a video, as of the field's benchmarks


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Span(Section):
    """A half-open interval of the video's time."""

    start_s: float = Field(ge=0, description="start, in seconds from the start of the video")
    end_s: float = Field(description="end in seconds, exclusive")

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


class Shot(Span):
    """A shot of the video, or the part of a shot that the summary took or left."""

    score: float = Field(description="mean importance of its frames, in [0, 1]")
    chosen: bool = Field(description="whether the summary contains it")


class Segment(Span):
    """A piece of the video that the summary shows. Neighbouring chosen shots make one segment."""

    at_s: float = Field(ge=0, description="start within the summary, in seconds")


class Sentence(Span):
    """One spoken sentence."""

    text: str = Field(description="the words of the sentence")
    score: float = Field(description="importance in [0, 1]")
    chosen: bool = Field(description="whether it is a key sentence")


class Written(Section):
    """One sentence of the summary that a language model wrote."""

    text: str = Field(description="the sentence")
    start_s: float | None = Field(None, ge=0, description="start of the first frame that it tells of; null: not told")
    end_s: float | None = Field(None, description="end of the last one, exclusive")


class Highlight(Span):
    """The peak of the smoothed scores and its neighbours above a threshold: `vsumdata.train.summarize.highlights`."""

    threshold: float = Field(description="the smoothed score that its frames reach, in [0, 1]")
    num_videos: int = Field(ge=0, description="validation videos that selected the threshold; 0: the user gave it")
    overlap: float | None = Field(
        description="mean intersection over union with the labels of these videos, in [0, 1]; null: not measured"
    )


class Summary(Section):
    """The summary of one video. All times are seconds of the video, except `at_s`."""

    format: int = Field(FORMAT, description="version of this file's layout")
    video_id: str = Field(description="the id in its root, or the file's name without extension")
    title: str | None = Field(description="title of the video; null: not known")
    source: str = Field(description="the media file, or the address of the video")
    duration_s: float = Field(description="length of the video in seconds, as far as it has frames")
    fps: float = Field(description="scored frames per second")
    frame_time_s: list[float] = Field(description="time of each scored frame, in seconds")
    frame_score: list[float] = Field(description="importance of each scored frame, in [0, 1]")
    replay_score: list[float] | None = Field(
        description="how often each scored frame is replayed, in [0, 1]; null: not known"
    )
    shots: list[Shot] = Field(description="the shots of the video; they cover it without a gap")
    segments: list[Segment] = Field(description="the pieces that summary.mp4 and summary.vtt show, in order")
    highlight: Highlight | None = Field(None, description="the one best stretch; null: not asked for")
    summary_s: float = Field(description="length of the summary in seconds")
    task: str = Field("video", description="what the model was asked for: video, text or both")
    written: list[Written] = Field([], description="the summary in words, in order; empty unless a text was asked for")
    sentences: list[Sentence] = Field(description="the sentences spoken in the video")
    sentence_scores_from: str = Field(
        description="source of the sentences' scores; model: the model's own; frames: means of the frames' scores; "
        "none: there are no sentences"
    )
    budget: float = Field(description="largest share of the video that the summary may take")
    selection: str = Field(
        description="keyshots: shots by knapsack; where no shot fits, window: the best "
        "stretch; stretches: at equal distances"
    )
    protocol: str = Field(description="the protocol that weighs and chooses shots")
    method: str = Field(description="the model's name; without training replay, step-cm, frame-cm or uniform")
    checkpoint: str | None = Field(description="folder of the training run; null: nothing was trained")
    text: str = Field(description="the text shown to the model: subtitles, global, both or none")
    features: dict[str, str] = Field(description="names of the models that made the features")
    files: list[str] = Field(description="files written beside this one")
    remarks: list[str] = Field(description="what to know before trusting the summary")


def rule_of(budget: float) -> Protocol:
    """The protocol of our own shards, with another budget."""
    return replace(protocol("shards"), budget=budget)


def choose(frame_score: np.ndarray, video: Video, rule: Protocol, *, evenly: bool = False) -> tuple[np.ndarray, str]:
    """The chosen frames, bool [T], and how they were chosen: `keyshots`, or `window` if no shot fits the budget.

    The window is the best stretch that is as long as the budget, at least one frame. With `evenly` it is `stretches`
    instead: up to `STRETCHES` equally long ones at equal distances, as long together.
    """
    assert video.shot_start is not None
    assert video.shot_stop is not None
    num_frames = len(frame_score)
    # Our shots are half-open; change points of the benchmarks include their last frame.
    points = np.stack([video.shot_start, video.shot_stop - 1], axis=1).astype(np.int64)
    shots = Shots(change_points=points, picks=np.arange(num_frames), n_frames=num_frames)
    chosen = keyshots(frame_score, shots, rule)
    if chosen.any():
        return chosen, "keyshots"
    # A talk filmed in one shot: an empty summary would be right by the protocol, and of no use to a person.
    width = max(1, int(rule.budget * num_frames))
    if evenly:
        count = min(STRETCHES, width)
        length = width // count
        for number in range(count):
            first = max(0, (2 * number + 1) * num_frames // (2 * count) - length // 2)
            chosen[first : first + length] = True
        return chosen, "stretches"
    sums = np.convolve(np.asarray(frame_score, np.float64), np.ones(width), "valid")
    first = int(sums.argmax())
    chosen[first : first + width] = True
    return chosen, "window"


def boundaries(num_frames: int, fps: float, duration_s: float | None, picture_fps: float | None) -> np.ndarray:
    """The time at which each of the T frames begins to count, and the end of the video: float64 [T+1] seconds.

    With `picture_fps`, all times are rounded to whole pictures of the summary.
    """
    time_s = np.arange(num_frames + 1) / fps
    if duration_s is not None:
        # The frames tell how far the pictures go. The stated duration may be that of a longer sound track, or of a
        # file that was cut off. A site states whole seconds: 35 of 35.4, whose frame at 35 would last no time at all.
        time_s[-1] = min(time_s[-1], duration_s) if duration_s > time_s[-2] else time_s[-1]
    if picture_fps is None:
        return time_s
    pictures = np.round(time_s * picture_fps)
    # Rounding must not leave the last frame without a picture.
    pictures[-1] = max(pictures[-1], pictures[-2] + 1)
    return pictures / picture_fps


def shots_of(video: Video, frame_score: np.ndarray, chosen: np.ndarray, time_s: np.ndarray) -> list[Shot]:
    """The video's shots. A shot of which only a part is chosen is split there."""
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
    """The pieces of the video that the summary shows, with their start on the summary's own clock."""
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
    """Scores of the sentences, float64 [M]: the model's own, else the mean score of the frames that each covers."""
    if from_model is not None:
        return from_model
    found = np.zeros(len(video.sentence))
    for at, (start_s, end_s) in enumerate(video.sentence_span.tolist()):
        # Captions may start before 0, end after the last frame, or last less than a frame. Each takes at least one.
        first = min(int(max(0.0, start_s) * fps), len(frame_score) - 1)
        stop = min(max(first + 1, math.ceil(end_s * fps)), len(frame_score))
        found[at] = frame_score[first:stop].mean()
    return found


def written_of(words: Words | None, frame_time_s: np.ndarray, fps: float) -> list[Written]:
    """What a language model wrote, each sentence with the span of its frames."""
    found = []
    for each in words or ():
        span: dict[str, float] = {}
        if len(times := each["time_s"]):
            span = {"start_s": float(min(times)), "end_s": float(max(times)) + 1 / fps}
            # The last frame ends with the video.
            span["end_s"] = min(span["end_s"], float(frame_time_s[-1]))
        found.append(Written(text=str(each["text"]), **span))
    return found


def sentences_of(video: Video, score: np.ndarray, budget: float) -> list[Sentence]:
    """All sentences, with the best ones marked as chosen: the budget's share of their number, at least one."""
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
