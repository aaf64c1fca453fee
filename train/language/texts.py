"""What a language model is to say of a video: a summary in words, from what the video has.

    given       the video's own summary (Instruct-V2Xum, VideoXum, the table `summaries`)
    steps       the article's steps where they are spoken of: each step's headline, with the chosen frames of its span
    sentences   the spoken sentences that cover chosen frames, at most 10, those with the highest mean importance
    auto        the first of these that the video has

All are a `Summary`: sentences in the order of time, each {text, time_s}. So are the pairs of stage 1 (`pairs_of`):
texts with the frames that show what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from vsumdata.datasets.video import Summary, Video
from vsumdata.stages.curation.alignment import align

Rule = Literal["auto", "given", "steps", "sentences", "none"]
Pairs = Literal["auto", "captions", "steps", "sentences"]
# Embeds texts in the space of the frames' features: [n,F].
Encode = Callable[[Sequence[str]], np.ndarray]
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


def pairs_of(video: Video, rule: Pairs, encode: Encode | None = None) -> Summary | None:
    """Texts with the frames that are shown while they are said, to align frames and words.

    `auto` takes the captions of single frames, else steps, else spoken sentences. With `encode`, that half of the
    spoken ones remains which is nearest to its frames.
    """
    for name in ("captions", "steps", "sentences") if rule == "auto" else (rule,):
        if name == "captions":
            found = video.caption
        elif name == "steps":
            found = spans_of_steps(video, all_frames)
        else:
            found = spoken_pairs(video, encode)
        if found:
            return found
    return None


def spoken_pairs(video: Video, encode: Encode | None) -> Summary | None:
    """Each spoken sentence with the frames that are shown meanwhile; with `encode`, those about the picture."""
    pairs, shown = [], []
    for sentence in video.sentence:
        frames = frames_within(video, sentence["start_s"], sentence["end_s"])
        if len(frames) and str(sentence["text"]).strip():
            pairs.append({"text": sentence["text"], "time_s": video.frame_time_s[frames].tolist()})
            shown.append(np.asarray(video.frame_feature[frames], np.float32).mean(0))
    if encode is None or len(pairs) < 2:
        return tuple(pairs) or None
    # Narration is often not about the picture. CLIP's cosines are small and differ between videos, so each video's own
    # half is kept, not what passes a limit. Means of unit vectors have other norms.
    mean = np.stack(shown)
    cosine = (encode([str(each["text"]) for each in pairs]) * mean).sum(1) / np.linalg.norm(mean, axis=1).clip(1e-6)
    best = np.sort(np.argsort(-cosine, kind="stable")[: -(-len(pairs) // 2)])
    return tuple(pairs[at] for at in best.tolist())


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
