"""What training videos are made into before they are trained on, and what there is to say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError
from vsumdata.train import partition, targets
from vsumdata.train.batches import Batches, read
from vsumdata.train.methods import METHODS, REGRESSION
from vsumdata.train.predict import TEXT_FEATURES, fitting
from vsumdata.train.runs import TRANSDUCTIVE, Info
from vsumdata.train.settings import Settings, least_batch
from vsumdata.train.targets import Rule
from vsumdata.train.training_data import Data

LOOKED_AT = 256  # videos by which the rate of positives is judged


def rule_of(settings: Settings, data: Data) -> Rule:
    if settings.labels != "auto":
        return settings.labels
    if data.origin.data_set:
        return targets.default_rule(data.origin.data_set)
    return "given" if any(video.gt_score is not None for video in data.train[:1]) else "replay"


def usable(videos: Sequence[Video], rule: Rule) -> tuple[Sequence[Video], list[str]]:
    """Those that have something to be trained towards, and what to say of the others."""
    reasons = {video.video_id: targets.lacks_target(video, rule) for video in videos}
    found = partition.pick(videos, [video_id for video_id, why in reasons.items() if why is None])
    said = [f"{video_id}: {why}" for video_id, why in reasons.items() if why]
    if not found:
        first = f"; {said[0]}" if said else ""
        raise UsageError(f"none of the {len(videos)} training videos has a target of the kind labels={rule}{first}")
    return found, [f"{len(said)} videos without a target are left out; {said[0]}"] if said else []


def sizes(videos: Sequence[Video], reads_text: bool) -> tuple[int, int | None]:
    """Components of a frame's feature, and of a text's where any video has a text."""
    frame_dim = int(videos[0].frame_feature.shape[1])
    if not frame_dim:
        raise UsageError(f"{videos[0].video_id} has no features; give --features ROOT")
    for video in videos if reads_text else ():
        for name in TEXT_FEATURES:
            value = getattr(video, name)
            if value is not None and value.size:
                return frame_dim, int(value.shape[-1])
    return frame_dim, None


def with_targets(info: Info, rule: Rule) -> Callable[[Video], Video]:
    """Check a video and give it its targets; one of a root that has none is trained with its text alone."""

    def prepare(video: Video) -> Video:
        video = fitting(video, info)
        if targets.lacks_target(video, rule):
            return replace(video, gt_score=None, gt_summary=None, sentence_label=None)
        return targets.with_targets(video, rule)

    return prepare


def without_targets(info: Info) -> Callable[[Video], Video]:
    """Check a video and take away all that a label could be made of."""

    def prepare(video: Video) -> Video:
        nothing: dict[str, Any] = dict.fromkeys(("gt_score", "gt_summary", "sentence_label", "replay_score"))
        return replace(fitting(video, info), **nothing)

    return prepare


def pool_notes(info: Info, train: Batches, workers: int) -> list[str]:
    """What was seen without labels; UsageError where nothing can be contrasted or chosen."""
    num, least = len(train.videos), least_batch(info.settings.objective)
    if info.settings.batch_size < least * workers:
        raise UsageError(f"--workers {workers}: each contrasts its own videos and needs {least}; set batch_size")
    if not len(train):
        raise UsageError(
            f"{num} training videos are too few: the objective contrasts at least {least * workers}; "
            "give more, or all of the data set with --pool transductive"
        )
    if info.origin.pool == "transductive":
        notes = [f"{TRANSDUCTIVE}pre-trained without labels on all {num} videos, test videos included"]
    else:
        word = "" if notes_of_seen(info) else "fold-clean: "  # the weights to begin with may have seen others
        notes = [f"{word}pre-trained without labels on {num} training videos of the fold alone"]
    notes += choice_notes(info, train)
    if train.left_out:
        notes.append(f"{train.left_out} videos of each epoch are left out, other ones each time: too few to contrast")
    if info.val:
        notes.append("the labels of the validation videos choose the epoch")
    else:
        notes.append("without labels, so the last epoch counts")
    return notes


def choice_notes(info: Info, train: Batches) -> list[str]:
    """What to say of videos in which there is nothing to choose; UsageError where all that are looked at are such."""
    videos = [train.prepare(video) for video in read(train.videos, range(min(len(train.videos), LOOKED_AT)))]
    of = f"of {len(videos)} videos"
    can_choose: Callable[[int], bool] = getattr(info.settings.objective, "can_choose", lambda _: True)
    short = sum(not can_choose(len(video.frame_time_s)) for video in videos)
    flat = sum(not np.ptp(video.frame_feature, axis=0).any() for video in videos)
    if short == len(videos):
        raise UsageError(f"none {of} is longer than a summary, so nothing is chosen; lower objective.clips or share")
    if flat == len(videos):
        raise UsageError(f"in none {of} do two frames differ, so no choice of frames can be learnt from their features")
    notes = (
        [f"{short} {of} are no longer than a summary: nothing is learnt from what is chosen of them"] if short else []
    )
    return [*notes, f"in {flat} {of} all frames are equal"] if flat else notes


def notes_of_objective(info: Info) -> list[str]:
    """How a method learns without labels, where it is not as usual; or that it does learn from labels."""
    options = info.settings.objective
    told = [f"{name}={value}" for name, value in options.model_dump(mode="json", exclude_defaults=True).items()]
    notes = [f"objective: {', '.join(told)}"] if told else []
    if info.settings.needs_targets:
        notes.append(f"pre-trained on the labels of {len(info.train)} videos (fixed pseudo-summaries)")
    return notes


def notes_of_seen(info: Info) -> list[str]:
    """What to say where the weights to begin with have seen videos that are held out here."""
    held_out, notes = set(info.origin.test), []
    for labelled in (True, False):
        seen = [each for each in info.before if each.data_set == info.origin.data_set and each.labelled == labelled]
        known = held_out.intersection(video_id for each in seen for video_id in each.video_ids)
        of = f"{len(known)} of {len(held_out)} test videos"
        if known and labelled:
            notes.append(f"{of} trained {info.init} or one before it: eval leaves them out")
        elif known:
            notes.append(f"{TRANSDUCTIVE}{of} were seen, without their labels, by {info.init} or one before it")
    return notes


def rate_note(method: str, train: Batches) -> list[str]:
    """What to say where nothing, or nearly all, is labelled as summary; UsageError where nothing has a target."""
    videos = [train.prepare(video) for video in read(train.videos, range(min(len(train.videos), LOOKED_AT)))]
    if not any(video.gt_score is not None for video in videos):
        raise UsageError(f"none of the training videos has a target ({videos[0].video_id} and others): see labels")
    rate = targets.positive_rate(videos)
    if METHODS[method].objective == REGRESSION:
        return []
    if rate == 0:
        return ["no frame of the training videos is labelled as summary: classification learns nothing from them"]
    warning = targets.rate_warning(rate)
    return [warning] if warning else []
