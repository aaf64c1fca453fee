"""Check and prepare training videos: their targets, the size of their features, and notes on what is odd."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from vsumdata.datasets import partition
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.data import targets
from vsumdata.train.data.batches import Batches, read
from vsumdata.train.data.clip import Encode, root_of, text_tower
from vsumdata.train.data.targets import Rule, Rules
from vsumdata.train.data.training import Data
from vsumdata.train.loop.predict import TEXT_FEATURES, fitting
from vsumdata.train.loop.runs import TRANSDUCTIVE, Info
from vsumdata.train.methods import METHODS, REGRESSION, Method
from vsumdata.train.objectives.unlabelled import Unlabelled
from vsumdata.train.settings import Settings, class_of, contrasts, least_batch

# Notes and the rate of positives come from so many videos: reading all of a large root would delay the start.
LOOKED_AT = 256
# Share of all epochs. HierSum on Mr.HiSum warms up for 55 of 300 epochs: with `--set epochs=50` and no limit, the
# learning rate would never reach its full value.
LONGEST_WARMUP = 0.25
# A set of at most so many videos is always shuffled: in batches of similar length each video meets the same few.
SMALL = 1000


def rule_of(settings: Settings, data: Data) -> Rule | Rules:
    """How targets are made: `labels` as set, else what suits the data set, else what the first video offers."""
    if settings.labels != "auto":
        return settings.labels
    if data.origin.data_set:
        return targets.rules_for("auto", data.origin.data_set, [each.data_set for each in data.origin.others])
    return "given" if any(video.gt_score is not None for video in data.train[:1]) else "replay"


def order_of(settings: Settings, num_videos: int) -> Literal["shuffled", "by-length"]:
    """Which videos share a batch: what `order` says, or what suits the objective and the number of videos."""
    if settings.order != "auto":
        return settings.order
    return "shuffled" if contrasts(settings.objective) or num_videos <= SMALL else "by-length"


def usable(videos: Sequence[Video], rule: Rule | Rules) -> tuple[Sequence[Video], list[str]]:
    """The videos that have a target, and a note on the others. Raises UsageError if no video has one."""
    reasons = {video.video_id: targets.lacks_target(video, rule) for video in videos}
    found = partition.pick(videos, [video_id for video_id, why in reasons.items() if why is None])
    said = [f"{video_id}: {why}" for video_id, why in reasons.items() if why]
    if not found:
        first = f"; {said[0]}" if said else ""
        raise UsageError(f"none of the {len(videos)} training videos has a target of the kind labels={rule}{first}")
    return found, [f"{len(said)} videos without a target are left out; {said[0]}"] if said else []


def sizes(videos: Sequence[Video], method: Method) -> dict[str, int | None]:
    """Dimension of a frame's feature, and of the text's, the sound's and the query's that the method reads.

    The others, and those that no video has, are None. Raises UsageError if there are no frame features.
    """
    frame_dim = int(videos[0].frame_feature.shape[1])
    if not frame_dim:
        raise UsageError(f"{videos[0].video_id} has no features; give --features ROOT")
    found: dict[str, int | None] = {"frame_dim": frame_dim, "text_dim": None, "audio_dim": None, "query_dim": None}
    wanted = {
        "text_dim": TEXT_FEATURES if method.reads_text else (),
        "audio_dim": ("audio_feature",) if method.reads_audio else (),
        "query_dim": ("query_feature",) if method.reads_query else (),
    }
    wanted = {size: names for size, names in wanted.items() if names}
    # Some videos say nothing, so the first one with a kind decides. A model of pictures alone is spared the reading.
    for video in videos if wanted else ():
        for size, names in wanted.items():
            values = [value for name in names if (value := getattr(video, name)) is not None and value.size]
            if found[size] is None and values:
                found[size] = int(values[0].shape[-1])
        if None not in [found[size] for size in wanted]:
            break
    return found


def with_targets(info: Info, rule: Rule | Rules) -> Callable[[Video], Video]:
    """A function that checks a video and adds its targets, and the words that a language model is to say of it."""
    said = words_of(info)

    def prepare(video: Video) -> Video:
        whole, video = video, fitting(video, info)
        # A root's index lists these videos as trainable, yet one may lack what `rule` needs. HierSum still learns from
        # the match between its text and its frames.
        if targets.lacks_target(video, rule):
            video = replace(video, gt_score=None, gt_summary=None, sentence_label=None)
        else:
            video = targets.with_targets(video, rule)
        return said(video, whole)

    return prepare


def words_of(info: Info) -> Callable[[Video, Video], Video]:
    """A function that adds to a video the words that a language model is to say of it, given the video as it came."""
    words = getattr(class_of(info.settings.method, "objective"), "words", None)
    if not words:
        return lambda video, whole: video
    encode = tower_of(info)[0]

    def said(video: Video, whole: Video) -> Video:
        # A model that is shown no text still learns to say it, and by their features steps are found in what is said.
        spoken = replace(video, sentence_feature=whole.sentence_feature, step_feature=whole.step_feature)
        return replace(video, summary=words(info.settings.objective, spoken, encode))

    return said


def tower_of(info: Info) -> tuple[Encode | None, str | None]:
    """What embeds texts as the run's frames are, where its objective compares them; or why that cannot be had."""
    if not getattr(info.settings.objective, "compares", False):
        return None, None
    root = root_of(info.origin)
    if root is None:
        return None, "the frames' features are none of a root of ours"
    try:
        return opened_tower(root), None
    except UsageError as error:
        return None, str(error)


# One tower for all that a run prepares.
opened_tower = functools.lru_cache(maxsize=1)(text_tower)


def without_targets(info: Info) -> Callable[[Video], Video]:
    """A function that checks a video and removes everything that a label could be made of."""

    said = words_of(info)

    # "Without labels" must hold for test videos in a transductive run, whatever an objective may read.
    def prepare(video: Video) -> Video:
        nothing: dict[str, Any] = dict.fromkeys(("gt_score", "gt_summary", "sentence_label", "replay_score", "summary"))
        return said(replace(fitting(video, info), **nothing), video)

    return prepare


def pool_notes(info: Info, train: Batches, workers: int) -> list[str]:
    """Notes on what is seen without labels. Raises UsageError if there is nothing to contrast or to choose."""
    num, least = len(train.videos), least_batch(info.settings.objective)
    if least > 1 and info.settings.batch_size < least * workers:
        raise UsageError(f"--workers {workers}: each contrasts its own videos and needs {least}; set batch_size")
    if not len(train):
        raise UsageError(
            f"{num} training videos are too few: the objective contrasts at least {least * workers}; "
            "give more, or all of the data set with --pool transductive"
        )
    if info.origin.pool == "transductive":
        notes = [f"{TRANSDUCTIVE}pre-trained without labels on all {num} videos, test videos included"]
    else:
        # The weights of --init may have seen test videos before.
        word = "" if notes_of_seen(info) else "fold-clean: "
        notes = [f"{word}pre-trained without labels on {num} training videos of the fold alone"]
    # Texts are learnt of videos that offer no choice as well.
    if issubclass(class_of(info.settings.method, "objective"), Unlabelled):
        notes += choice_notes(info, train)
    if train.left_out:
        notes.append(f"{train.left_out} videos of each epoch are left out, other ones each time: too few to contrast")
    if info.val:
        notes.append("the labels of the validation videos choose the epoch")
    else:
        notes.append("without labels, so the last epoch counts")
    return notes


def parent_notes(info: Info, train: Batches) -> list[str]:
    """A note where parent steps are asked for and videos have no global text to show in them."""
    if not (period := getattr(info.settings.objective, "global_step", 0)):
        return []
    videos = [train.prepare(video) for video in read(train.videos, range(min(len(train.videos), LOOKED_AT)))]
    lacking = sum(video.global_feature is None and not len(video.step) for video in videos)
    if not lacking:
        return []
    what = f"objective.global_step={period}: {lacking} of {len(videos)} training videos have no global text"
    if info.settings.objective.parent_text == "both":  # type: ignore[attr-defined]
        return [f"{what}: they show their subtitles alone, as A2Summ does"]
    if lacking < len(videos):
        return [f"{what}: parent steps show their frames alone"]
    return [f"{what}, so parent steps show frames alone; objective.global_step=0 leaves these steps out"]


def choice_notes(info: Info, train: Batches) -> list[str]:
    """Notes on videos that offer no choice of frames. Raises UsageError if none of the sampled videos offers one."""
    videos = [train.prepare(video) for video in read(train.videos, range(min(len(train.videos), LOOKED_AT)))]
    of = f"of {len(videos)} videos"
    can_choose: Callable[[int], bool] = getattr(info.settings.objective, "can_choose", lambda _: True)
    # CSUM picks k clips of a video. If the video has no more than k, all are picked, whatever their scores.
    short = sum(not can_choose(len(video.frame_time_s)) for video in videos)
    flat = sum(not np.ptp(video.frame_feature, axis=0).any() for video in videos)
    if short == len(videos):
        raise UsageError(f"none {of} is longer than a summary, so nothing is chosen; lower objective.clips or share")
    if flat == len(videos):
        raise UsageError(f"in none {of} do two frames differ, so no choice of frames can be learnt from their features")
    notes = [f"{short} {of} are no longer than a summary: no choice of frames can be learnt from them"] if short else []
    return [*notes, f"in {flat} {of} all frames are equal"] if flat else notes


def notes_of_objective(info: Info) -> list[str]:
    """The objective's settings that differ from its defaults, and whether it learns from labels after all."""
    options = info.settings.objective
    told = [f"{name}={value}" for name, value in options.model_dump(mode="json", exclude_defaults=True).items()]
    notes = [f"objective: {', '.join(told)}"] if told else []
    if info.settings.needs_targets:
        notes.append(f"pre-trained on the labels of {len(info.train)} videos (fixed pseudo-summaries)")
    return notes


def notes_of_seen(info: Info) -> list[str]:
    """Notes on held-out videos that the weights of --init have seen."""
    held_out, notes = set(info.origin.test), []
    for labelled in (True, False):
        # Ids such as video_1 occur in several data sets, so only videos of the same data set can be compared.
        seen = [each for each in info.before if each.data_set == info.origin.data_set and each.labelled == labelled]
        known = held_out.intersection(video_id for each in seen for video_id in each.video_ids)
        of = f"{len(known)} of {len(held_out)} test videos"
        if known and labelled:
            notes.append(f"{of} trained {info.init} or one before it: eval leaves them out")
        elif known:
            notes.append(f"{TRANSDUCTIVE}{of} were seen, without their labels, by {info.init} or one before it")
    return notes


def warmup_notes(settings: Settings) -> list[str]:
    """A note where the warm-up is cut, as it is if `epochs` is set far below the preset's."""
    wanted, longest = settings.schedule.warmup_epochs, LONGEST_WARMUP * settings.epochs
    if wanted <= longest:
        return []
    return [f"warm-up of {longest:g} epochs, a quarter of {settings.epochs}, instead of {wanted:g}"]


def rate_note(method: str, train: Batches) -> list[str]:
    """Notes on a rate of positives near 0 or 1. Raises UsageError if none of the sampled videos has a target."""
    videos = [train.prepare(video) for video in read(train.videos, range(min(len(train.videos), LOOKED_AT)))]
    if not any(video.gt_score is not None for video in videos):
        raise UsageError(f"none of the training videos has a target ({videos[0].video_id} and others): see labels")
    rate = targets.positive_rate(videos)
    # Regression learns the scores themselves; binary labels play no part in it.
    if METHODS[method].objective == REGRESSION:
        return []
    if rate == 0:
        return ["no frame of the training videos is labelled as summary: classification learns nothing from them"]
    warning = targets.rate_warning(rate)
    return [warning] if warning else []
