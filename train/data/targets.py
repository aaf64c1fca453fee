"""Training targets: the importance of a video's frames, and the frames and sentences of its summary.

    replay     importance: the replay score.   summary: the frames with a score of at least 0.15 (HierSum)
    keyshots   importance: gt_score, or else the replay score.   summary: the shots that a knapsack chooses within 15 %
               of the video, from the scores stretched to 0 … 1 (A2Summ, DSNet)
    given      importance and summary of the data set; if it has only one of them, the other is made from it
    pseudo     those of a root's table `pseudo_summaries` (TL;DW), the scores stretched to 0 … 1 in each video
    steps      those of a root's table `step_frames`: frames that show the pictures of the article's steps

A sentence is in the summary if one of the frames within its time is. With `given`, labels of the data set come first;
the sentences that they choose are then the global text of a video that has no other (HierSum on BLiSS).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vsumdata.datasets import reference
from vsumdata.datasets.keyshots import keyshots, shots_of
from vsumdata.datasets.protocol import PROTOCOLS
from vsumdata.datasets.shards import LABELS, Shards
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

Rule = Literal["replay", "keyshots", "given", "pseudo", "steps"]

DEFAULT_RULES: dict[str, Rule] = {
    "tvsum": "keyshots",
    "summe": "keyshots",
    # Some forms of their files have no shots to choose from.
    "ovp": "given",
    "youtube": "given",
    "mrhisum": "replay",  # its gt_score is the replay score
    "mosu": "replay",  # likewise
    "sm-mrhisum": "given",
    "sm-videoxum": "given",
    "bliss": "given",
    "wikihow-summaries": "given",
    "tldw-pseudo": "given",
    "videoxum": "given",
    "instruct-v2xum": "given",
    "youtube-highlights": "given",
    "umt-tvsum": "given",
    "cosum": "given",
    "hirest": "given",
    "qfvs": "given",
    "qvhighlights": "given",
    "shards": "replay",
    "synthetic": "given",
}
# HierSum's threshold on replay scores, which run from 0 to 1.
LEAST_REPLAY = 0.15
# For scores that are a share: of chosen frames (wikihow-summaries), or of users (videoxum).
MAJORITY = 0.5
# Above this share, labels hardly distinguish frames. YouTube scales replay curves to a maximum of 1, and on short
# videos most scores then pass 0.15.
MOST_POSITIVE = 0.6
KEYSHOTS = PROTOCOLS["a2summ"]
LACKS = {
    "replay": "no replay score",
    **{kind: f"no row of {labels.table} (--set labels={kind})" for kind, labels in LABELS.items()},
}


@dataclass(frozen=True)
class Rules:
    """The rules of a pool: `own`, and one for each other data set, whose videos' ids begin with its name."""

    own: Rule
    others: tuple[tuple[str, Rule], ...]

    def of(self, video_id: str) -> Rule:
        return dict(self.others).get(video_id.partition("/")[0], self.own)

    def __str__(self) -> str:
        return ", ".join([self.own, *(f"{rule} ({name})" for name, rule in self.others)])


def rules_for(labels: Rule | Literal["auto"], data_set: str, others: Iterable[str] = ()) -> Rule | Rules:
    """What the setting `labels` means for a data set, and for the `others` of its pool."""
    if labels != "auto":
        return labels
    own, more = default_rule(data_set), tuple((name, default_rule(name)) for name in others)
    return Rules(own, more) if more else own


def labelled(videos: Sequence[Video], rule: Rule | Rules | str | None) -> Sequence[Video]:
    """`videos` with the labels of another table of their root, where the rule takes them from one.

    Raises UsageError if the root lacks the table, or if the videos are not those of a root alone.
    """
    if not isinstance(rule, str) or rule not in LABELS:
        return videos
    if not isinstance(videos, Shards):
        raise UsageError(f"labels={rule} is for a root alone, which has the table {LABELS[rule].table}")
    return videos.labelled(rule)


def default_rule(data_set: str) -> Rule:
    """The rule that suits a data set of `vsumdata.datasets.benchmarks.registry.DATASETS`."""
    return DEFAULT_RULES[data_set]


def lacks_target(video: Video, rule: Rule | Rules) -> str | None:
    """The reason why a video has no target under this rule; None if it has one."""
    rule = rule.of(video.video_id) if isinstance(rule, Rules) else rule
    if not len(video.frame_time_s):
        return "no frames"
    score = _score(video, rule)
    if score is None:
        return LACKS.get(rule, "no importance (gt_score)")
    if not np.isfinite(score).all():
        return "scores that are not finite"
    if rule == "replay" and (score.min() < 0 or score.max() > 1):
        return "scores outside 0 to 1, so they are not replay scores"
    if rule == "keyshots":
        return _lacks_keyshots(video, score)
    return None


def _lacks_keyshots(video: Video, score: np.ndarray) -> str | None:
    # Constant scores stretch to 0 everywhere: the knapsack could choose any shots.
    if score.min() == score.max():
        return "the same score throughout"
    if video.change_points is None or video.n_frames is None:
        return reference.lacks(video)
    return None


def with_targets(video: Video, rule: Rule | Rules) -> Video:
    """Add gt_score in [0,1] and gt_summary to `video`, and sentence_label if its sentences have features.

    Scores outside 0 … 1 (TVSum's are 1 to 5) are stretched. Raises ValueError if `lacks_target` gives a reason.
    """
    rule = rule.of(video.video_id) if isinstance(rule, Rules) else rule
    why, score = lacks_target(video, rule), _score(video, rule)
    if why or score is None:
        raise ValueError(f"{video.video_id} has {why}")
    summary = _summary(video, rule, score)
    label = None
    if video.sentence_feature is not None:
        given = video.sentence_label if rule == "given" else None
        label = sentence_label(video, summary) if given is None else given
        if given is not None and video.global_feature is None and video.step_feature is None:
            video = with_key_sentences(video, given)
    # Cosines of one video differ little: a regression towards them as they are would learn their mean.
    within = _stretched(score) if rule == "pseudo" else _within_unit(score)
    return replace(video, gt_score=within, gt_summary=summary, sentence_label=label)


def with_key_sentences(video: Video, label: np.ndarray) -> Video:
    """Make the sentences with label 1 the steps of `video`, and their mean feature its global text."""
    # A target, not a property of the data set: held-out videos must not show a model which sentences are the key ones.
    chosen = np.flatnonzero(label > 0)
    if video.sentence_feature is None or not len(chosen):
        return video
    step = [{"section": "", "headline": "", "text": video.sentence[at]["text"]} for at in chosen.tolist()]
    feature = video.sentence_feature[chosen]
    span = video.sentence_span[chosen]
    return replace(video, step=step, step_feature=feature, step_span=span, global_feature=feature.mean(0))


def sentence_label(video: Video, summary: np.ndarray) -> np.ndarray:
    """1 for each sentence that covers a frame of `summary` [T], else 0: uint8 [M]."""
    start, end = video.sentence_span.T[:, None]
    time_s = video.frame_time_s[:, None]
    covers = (start <= time_s) & (time_s < end)
    return np.asarray((covers & (summary[:, None] > 0)).any(0), np.uint8)


def positive_rate(videos: Iterable[Video]) -> float:
    """The share of frames in a summary, over all videos that have one; 0 if none has."""
    counts = [(int(video.gt_summary.sum()), len(video.gt_summary)) for video in videos if video.gt_summary is not None]
    positives, frames = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return positives / max(frames, 1)


def rate_warning(rate: float) -> str | None:
    """A warning for labels that hardly distinguish frames; None below `MOST_POSITIVE`."""
    if rate <= MOST_POSITIVE:
        return None
    return f"{rate:.0%} of the frames are labelled as summary; labels=keyshots chooses 15 % of each video"


def _score(video: Video, rule: Rule) -> np.ndarray | None:
    """The scores that the rule starts from, [T]; None if the video has none."""
    # MR.HiSum stores replay scores as gt_score, so `replay` takes those too.
    candidates = {
        "replay": (video.replay_score, video.gt_score),
        "keyshots": (video.gt_score, video.replay_score),
        "given": (video.gt_score, video.gt_summary),
        "pseudo": (video.gt_score,),
        "steps": (video.gt_score,),
    }[rule]
    found = next((score for score in candidates if score is not None), None)
    return None if found is None else np.asarray(found, np.float32)


def _summary(video: Video, rule: Rule, score: np.ndarray) -> np.ndarray:
    """The frames of the summary, uint8 [T]."""
    if rule in ("given", *LABELS) and video.gt_summary is not None:
        return np.asarray(video.gt_summary > 0, np.uint8)
    if rule == "keyshots":
        # Our own videos have shots but not a benchmark's fields. `with_reference` makes them, unless there is a
        # user_summary.
        if video.change_points is None or video.n_frames is None:
            video = reference.with_reference(replace(video, user_summary=None))
        shots = shots_of(video)
        return np.asarray(keyshots(_stretched(score), shots, KEYSHOTS)[shots.picks], np.uint8)
    return np.asarray(score >= (LEAST_REPLAY if rule == "replay" else MAJORITY), np.uint8)


def _within_unit(score: np.ndarray) -> np.ndarray:
    return score if score.min() >= 0 and score.max() <= 1 else _stretched(score)


def _stretched(score: np.ndarray) -> np.ndarray:
    """Stretch scores to 0 … 1; constant scores become 0."""
    span = float(np.ptp(score))
    return (score - score.min()) / span if span else np.zeros_like(score)
