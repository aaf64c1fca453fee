"""Resolve `vsumdata train --data`: the videos to train on, to choose the epoch by, and to hold out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from vsumdata.datasets import llava_pretrain, partition, splits
from vsumdata.datasets import pool as pools
from vsumdata.datasets.benchmarks.registry import DATASETS, NEEDS_NO_FILE, data_set
from vsumdata.datasets.join import join_features, replaces_frames
from vsumdata.datasets.partition import Partition, Pool
from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.shards import LABELS, PROTOCOL, SUMMARIES, Shards, open_shards, parts_of
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.roots.address import hide_keys
from vsumdata.manifests.store import Store
from vsumdata.train.data.clip import image_tower
from vsumdata.train.data.origin import Origin, Other, features_of, recipes_of, summaries_of
from vsumdata.train.data.targets import labelled


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """The videos of a run, the protocol that scores the validation videos, and where they come from."""

    train: Sequence[Video]
    val: Sequence[Video]
    protocol: Protocol
    origin: Origin
    notes: tuple[str, ...] = ()
    texts: dict[str, Any] | None = None  # how a root's summaries in words were made, if it has some
    checked: bool = False  # whether every training video is known to have a target


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of `train` that select videos.

    `data` is a root of ours, a data set of DATASETS as NAME:PATH, or a pool of them, of which the first is split
    (NAME:PATH+NAME:PATH); `features`, `split` and `fold` are for data sets.
    """

    data: str
    protocol: str | None = None
    features: str | None = None  # a root of ours whose features replace the data set's own
    split: str | None = None
    fold: int = 1  # counted from 1
    labelled: bool = True  # whether a training video needs a target
    labels: str = "auto"  # the setting `labels`: some kinds are in a table of their own
    pool: Pool = "fold"


def open_data(wanted: Wanted, seed: int, *, captions: bool = False) -> Data:
    """Open the videos of a run; with `captions` those of a root have the captions of their frames.

    Raises UsageError if no video is left to train on, or if an option does not apply.
    """
    # With labels, training on test videos would be cheating; without, the papers do it (transductive).
    if wanted.pool != "fold" and wanted.labelled:
        raise UsageError(f"--pool {wanted.pool}: it trains on test videos, which is for training without labels alone")
    if pools.is_pool(wanted.data) and not Path(wanted.data).exists():
        own, *members = pools.members(wanted.data)
        return open_benchmark(wanted, own.data_set, own.path, seed, members)
    name, colon, path = wanted.data.partition(":")
    if name == llava_pretrain.NAME and not Path(wanted.data).exists():
        return open_pairs(wanted, path, captions=captions)
    # A folder may have the name of a data set; an existing one is taken for a root.
    if name in DATASETS and not colon and name not in NEEDS_NO_FILE and not Path(name).exists():
        raise UsageError(f"--data {name} needs its file or folder: --data {name}:PATH")
    if name in DATASETS and (colon or name in NEEDS_NO_FILE) and name != "shards":
        return open_benchmark(wanted, name, path, seed)
    if wanted.features or wanted.split or wanted.fold != 1:
        raise UsageError(
            f"--features, --split and --fold are for a data set (NAME:PATH with one of {', '.join(DATASETS)}); "
            f"{wanted.data} is a root, which has its own"
        )
    return open_root(wanted, path if name == "shards" and colon else wanted.data, seed, captions=captions)


def open_pairs(wanted: Wanted, path: str, *, captions: bool) -> Data:
    """Pictures with captions, to align frames and words; all of them train.

    With `features`, a root of ours, its CLIP encodes the pictures; else their features must be there. Raises UsageError
    for an option that does not apply, and for a method that learns from other things than captions.
    """
    name = llava_pretrain.NAME
    if not captions:
        raise UsageError(
            f"--data {name} has pictures with captions, for the stage before videos alone: train v2xum --preset align"
        )
    if not path:
        raise UsageError(f"--data {name} needs its folder: --data {name}:PATH")
    if wanted.split or wanted.fold != 1 or wanted.protocol or wanted.pool != "fold":
        raise UsageError(f"--data {name}: all pairs are trained on; leave out --split, --fold, --protocol and --pool")
    if wanted.features and not replaces_frames(wanted.features):
        raise UsageError(f"--features {wanted.features}: for pictures give a root, whose CLIP then encodes them")
    pairs = llava_pretrain.load(path, image_tower(wanted.features) if wanted.features else None)
    lost = [f"{num} pairs without a {what} are left out" for what, num in pairs.left_out.items()]
    if wanted.features:
        made = f"pictures encoded by the CLIP of {hide_keys(wanted.features)}"
    else:
        made = "features of the pictures as they came, of unit norm: by which CLIP is not known"
    return Data(
        train=pairs,
        val=(),
        protocol=PROTOCOL,
        origin=Origin(
            data_set=name,
            path=path,
            features_root=wanted.features,
            features=features_of(wanted.features) if wanted.features else None,
            split="all",
        ),
        notes=(made, *lost),
        checked=True,
    )


def open_root(wanted: Wanted, root: str, seed: int, *, captions: bool = False) -> Data:
    """The train and val parts of a root. With labels, only the videos that have a replay score, or what stands for it.

    Raises UsageError if no training video is left, or the root lacks the table of `labels`.
    """
    shards = open_shards(root, captions=captions)
    if wanted.labelled:
        shards = cast(Shards, labelled(shards, wanted.labels))
    what = f"row of {LABELS[shards.kind].table}" if shards.kind else "replay score"
    # Three columns of the index tell which videos are usable, without reading any features.
    parts = parts_of(Store(root), shards.table, shards.fingerprint)
    part = {video_id: of.split for video_id, of in parts.items()}
    task = {video_id: of.task or "" for video_id, of in parts.items()}
    index = Store(root).latest(shards.table, shards.fingerprint, columns=["replay_score"])
    ids = index["video_id"].to_pylist()
    has_score = dict(zip(ids, index["replay_score"].is_valid().to_pylist(), strict=True))
    if shards.kind:
        has_score = {v: v in shards.labels.parts for v in ids}
    there = [v for v in shards.video_ids if has_score[v]]
    lost = len(shards) - len(there) if wanted.labelled else 0
    notes = [f"{lost} of {len(shards)} videos have no {what} and are left out"] if lost else []
    train, val, test = (tuple(v for v in there if part[v] == name) for name in ("train", "val", "test"))
    if shards.kind:
        # They are measured by their replay scores, whether or not they have labels to learn from.
        test = tuple(v for v in shards.video_ids if part[v] == "test")
    tasks = {v: task[v] for v in shards.video_ids if task[v]}
    fold, more = with_validation(Fold(train, val, test, "the root's own"), tasks, seed)
    # Validation videos are drawn from those with a replay score, so that they are the same as with labels. Without
    # labels the other videos then join the training part, unless they share a task with a held-out video.
    if not wanted.labelled:
        held_out = {tasks.get(v) for v in (*fold.val, *fold.test)} - {None}
        bare = (v for v in shards.video_ids if part[v] == "train" and not has_score[v] and task[v] not in held_out)
        fold = replace(fold, train=(*fold.train, *bare))
    if not fold.train:
        condition = f" and has a {what}" if wanted.labelled else ""
        raise UsageError(f"{root}: none of its {len(shards)} videos is in the split `train`{condition}")
    return Data(
        train=shards if wanted.pool == "transductive" else only(shards, fold.train),
        val=only(shards, fold.val),
        protocol=protocol(wanted.protocol) if wanted.protocol else PROTOCOL,
        origin=Origin(
            data_set="shards",
            path=root,
            features=features_of(root),
            split=fold.label,
            test=fold.test,
            pool=wanted.pool,
            labels=shards.labels_from,
        ),
        notes=(*notes, *more),
        texts=summaries_of(root) if shards.beside[SUMMARIES].parts else None,
        checked=True,
    )


def open_benchmark(wanted: Wanted, name: str, path: str, seed: int, members: Sequence[pools.Member] = ()) -> Data:
    """One fold of a benchmark data set, and what the split makes of the other `members` of its pool.

    Raises UsageError for an unknown fold, or if no training video is left.
    """
    module = data_set(name)
    if getattr(module, "TEST_ONLY", False):
        raise UsageError(f"--data {wanted.data}: {name} is for testing alone; train on a root, then `vsumdata eval`")
    videos: Sequence[Video] = module.load(path)
    labelled(videos, wanted.labels)
    partition.check_some(videos, name, path)
    others = pools.opened(members, wanted.features)
    others.check_splittable(name, videos, wanted.split)
    groups = {**partition.tasks(videos), **others.tasks}
    fold = fold_of(wanted, name, videos, seed, groups, others)
    notes = list(others.told(name, videos))
    # After the split: a published split may test videos that the root does not have.
    if wanted.features:
        videos, joined = join_features(videos, wanted.features, name)
        notes.append(f"features of {hide_keys(wanted.features)}: {joined}")
    pool = others.with_own(videos, name, has_root=replaces_frames(wanted.features))
    if wanted.features:
        there = set(partition.ids_of(pool))
        fold = replace(fold, train=kept(fold.train, there), val=kept(fold.val, there))
    if not fold.train:
        raise UsageError(f"{wanted.data}: no training video is left in {fold.label}")
    fold, more = with_validation(fold, groups, seed)
    if others.videos:
        more += partition.what_crosses(Partition(fold.label, ((fold,),)), pool)
    return Data(
        train=pool if wanted.pool == "transductive" else partition.pick(pool, fold.train),
        val=partition.pick(pool, fold.val),
        protocol=protocol(wanted.protocol) if wanted.protocol else module.PROTOCOL,
        origin=Origin(
            data_set=name,
            path=path,
            features_root=wanted.features,
            features=features_of(wanted.features) if wanted.features else None,
            recipes=recipes_of(name, wanted.features),
            split=fold.label,
            test=fold.test,
            pool=wanted.pool,
            others=tuple(Other(data_set=each.data_set, path=each.path) for each in members),
        ),
        notes=(*notes, *others.remarks, *more),
    )


def fold_of(
    wanted: Wanted, name: str, videos: Sequence[Video], seed: int, groups: Mapping[str, str], others: pools.Others
) -> Fold:
    """The fold that is wanted. Raises UsageError for an unknown one, or if it leaves a data set of the pool unused."""
    # Parts that the data set brings apply only if no published split is known, or asked for; a pool needs a split.
    is_own = not others.videos and (wanted.split in partition.TESTABLE or not (wanted.split or splits.sources(name)))
    own = partition.own_parts(videos, wanted.split) if is_own else None
    if own is not None:
        folds = [Fold(tuple(own["train"]), tuple(own["val"]), tuple(own["test"]), f"{name}, {own.label}")]
    else:
        called = f"{name}/{wanted.split}" if wanted.split else name
        ids = partition.ids_of(videos)
        folds = splits.folds(called, ids, seed=seed, groups=groups, others=others.ids)
    if not 1 <= wanted.fold <= len(folds):
        raise UsageError(f"--fold {wanted.fold}: {folds[0].label.partition(', fold')[0]} has folds 1 to {len(folds)}")
    fold, unlisted = folds[wanted.fold - 1], others.unlisted(folds)
    if unlisted and wanted.labelled:
        names = ", ".join(dict.fromkeys(each.partition("/")[0] for each in unlisted))
        raise UsageError(
            f"--data: nothing is trained on {names}, for {fold.label} does not name it and the method learns from "
            "labels; leave it out, or give --split augmented"
        )
    return replace(fold, train=(*fold.train, *unlisted))


def kept(video_ids: Sequence[str], there: set[str]) -> tuple[str, ...]:
    """Those of `video_ids` that are in `there`, in their order."""
    return tuple(video_id for video_id in video_ids if video_id in there)


def with_validation(fold: Fold, groups: Mapping[str, str], seed: int) -> tuple[Fold, list[str]]:
    """Give `fold` validation videos, cut out of its training videos, if it has none; and a note about it."""
    # Official code often selects the epoch on the test videos. Here the test videos never choose.
    if fold.val:
        return fold, []
    fold = partition.nested(fold, groups, seed)
    if not fold.val:
        return fold, ["no validation: too few training videos; the last epoch counts"]
    return fold, [f"validation: {len(fold.val)} videos cut out of the training videos, by task"]


def only(shards: Shards, video_ids: Sequence[str]) -> Shards:
    """The shards restricted to `video_ids`; reads nothing."""
    wanted = set(video_ids)
    entries = [entry for entry in shards.entries if entry[0] in wanted]
    return shards.only(entries)
