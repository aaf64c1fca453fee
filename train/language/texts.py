"""What a language model is to say of a video: a summary in words, from what the video has.

    given       the video's own summary (Instruct-V2Xum, VideoXum, the table `summaries`)
    steps       the article's steps where they are spoken of: each step's headline, with the chosen frames of its span
    sentences   the spoken sentences that cover chosen frames, at most 10, those with the highest mean importance
    auto        the first of these that the video has

All are a `Summary`: sentences in the order of time, each {text, time_s}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from vsumdata.datasets.video import Summary, Video
from vsumdata.stages.curation.alignment import align

Rule = Literal["auto", "given", "steps", "sentences", "none"]
MOST_SENTENCES = 10


def summary_of(video: Video, rule: Rule) -> Summary | None:
    """The summary in words that `rule` makes of a video with targets; None if the video has nothing for it."""
    if rule == "none":
        return None
    for make in [RULES[rule]] if rule != "auto" else RULES.values():
        if found := make(video):
            return found
    return None


def given(video: Video) -> Summary | None:
    return video.summary


def steps(video: Video) -> Summary | None:
    """The headlines of the steps that are spoken of."""
    return spans_of_steps(video, chosen_frames)


def sentences(video: Video) -> Summary | None:
    """The most important spoken sentences that cover chosen frames."""
    found = []
    for sentence in video.sentence:
        inside = frames_within(video, sentence["start_s"], sentence["end_s"])
        frames = chosen_frames(video, inside)
        if len(frames) and str(sentence["text"]).strip():
            worth = 0.0 if video.gt_score is None else float(np.mean(video.gt_score[inside]))
            found.append((worth, {"text": sentence["text"], "time_s": video.frame_time_s[frames].tolist()}))
    best = sorted(range(len(found)), key=lambda at: -found[at][0])[:MOST_SENTENCES]
    return tuple(found[at][1] for at in sorted(best)) or None


RULES: Mapping[str, Callable[[Video], Summary | None]] = {"given": given, "steps": steps, "sentences": sentences}


def pairs_of(video: Video, rule: Literal["auto", "sentences", "steps"]) -> Summary | None:
    """Texts with the frames that are shown while they are said, to align frames and words."""
    found = spans_of_steps(video, all_frames) if rule in ("auto", "steps") else None
    if found or rule == "steps":
        return found
    spoken = []
    for sentence in video.sentence:
        frames = frames_within(video, sentence["start_s"], sentence["end_s"])
        if len(frames) and str(sentence["text"]).strip():
            spoken.append({"text": sentence["text"], "time_s": video.frame_time_s[frames].tolist()})
    return tuple(spoken) or None


def spans_of_steps(video: Video, select: Callable[[Video, np.ndarray], np.ndarray]) -> Summary | None:
    """The headline of each step that is spoken of, with those frames of its span that `select` takes."""
    found = []
    if video.step_feature is None or video.sentence_feature is None:
        return None
    similarity = np.asarray(video.step_feature, np.float32) @ np.asarray(video.sentence_feature, np.float32).T
    for step, run in zip(video.step, align(similarity), strict=True):
        if run is None:
            continue
        start_s, end_s = video.sentence[run[0]]["start_s"], video.sentence[run[1] - 1]["end_s"]
        frames = select(video, frames_within(video, start_s, end_s))
        text = str(step["headline"] or step["text"]).strip()
        if len(frames) and text:
            found.append({"text": text, "time_s": video.frame_time_s[frames].tolist()})
    return tuple(found) or None


def frames_within(video: Video, start_s: float, end_s: float) -> np.ndarray:
    """The frames of a half-open span of time."""
    return np.flatnonzero((video.frame_time_s >= start_s) & (video.frame_time_s < end_s))


def chosen_frames(video: Video, frames: np.ndarray) -> np.ndarray:
    """Those of `frames` that are in the summary; the most important one if none is."""
    if video.gt_summary is None or not len(frames):
        return frames[:0]
    chosen = frames[video.gt_summary[frames] > 0]
    if len(chosen) or video.gt_score is None:
        return chosen
    return frames[[int(np.argmax(video.gt_score[frames]))]]


def all_frames(video: Video, frames: np.ndarray) -> np.ndarray:
    return frames
