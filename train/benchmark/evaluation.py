"""`vsumdata eval`: measure one trained run, in the same table as `bench`, on videos that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vsumdata.datasets import partition
from vsumdata.datasets.benchmarks.registry import data_set, need_path, pick
from vsumdata.datasets.partition import Partition
from vsumdata.datasets.pool import is_pool, own_first
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import making, predictions
from vsumdata.train.benchmark.bench import known_scores
from vsumdata.train.benchmark.held_out import check_kind, seen_by
from vsumdata.train.benchmark.predictions import Scores
from vsumdata.train.benchmark.table import Table, rows
from vsumdata.train.benchmark.trained import add_answers, encode_for, noted, words_for
from vsumdata.train.benchmark.videos import BenchData, open_data
from vsumdata.train.loop import runs
from vsumdata.train.loop.job import device
from vsumdata.train.loop.predict import fitting, predict, shown_text
from vsumdata.train.loop.runs import Trained
from vsumdata.train.scoring.baselines import BASELINES
from vsumdata.train.scoring.measure import measure

BASELINE = "random"
ONE_RUN = (0, 0)
PARTS = ("test", "val", "train", "all")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `vsumdata eval`.

    `features` is a root of ours whose features replace the data set's own. `split` is one of PARTS, by default `test`:
    a part of the run if it has seen videos of this data set, else a part of the data set. `text` is the text that the
    model is shown, by default as in training. `save_scores` is a folder for the scores of each video.
    """

    run: str
    on: str
    data: str = ""
    protocol: str | None = None
    features: str | None = None
    split: str | None = None
    text: str | None = None
    save_scores: str | None = None


def evaluate_run(request: Request) -> Table:
    """Measure a run on its held-out test videos. If it has seen none of this data, measure the data's test part or all.

    Raises UsageError if the run is damaged, if the features have another size, or if no video is held out.
    """
    trained = shown_text(runs.load(request.run, device()), request.text)
    part = pick(request.split or PARTS[0], PARTS, "split")
    module = data_set(request.on)
    if is_pool(request.data):
        raise UsageError(f"--data {request.data}: eval measures one data set; give the path of {request.on} alone")
    path, _ = own_first(request.on, request.data)
    need_path(module, path)
    rules = protocol(request.protocol) if request.protocol else module.PROTOCOL
    data = open_data(module, request.data, features=request.features)
    label, videos = chosen(part, data, trained)
    # Features that do not fit are an error now, not after all baselines have been measured.
    fitting(videos[0], trained.info)
    check_kind(trained, data, "--text none")
    method = trained.settings.method
    if request.save_scores:
        predictions.check_folder(request.save_scores, [method], [ONE_RUN])
    fold = Partition(label, ((Fold((), (), tuple(video.video_id for video in videos)),),))
    ceilings = known_scores(module.ceilings(path)) if hasattr(module, "ceilings") else {}
    found = measure(videos, {**BASELINES, **ceilings}, rules, fold)
    found.need_some(request.on, len(BASELINES) + len(ceilings), data.remarks)
    scores: dict[str, Scores] = {}
    answers = noted(predict(trained, videos, words=words_for(rules)), scores)
    add_answers(method, answers, rules, found, ONE_RUN, encode_for(rules, data))
    if request.save_scores:
        predictions.save(request.save_scores, method, {ONE_RUN: scores}, replace(data, partition=fold))
    found.settle()
    left_out = found.remarks(len(BASELINES) + len(ceilings) + 1)
    if method not in found.measured:
        raise UsageError(f"{request.on}: nothing can be measured; {'; '.join([*left_out, *data.remarks])}")
    order = list(dict.fromkeys(["random", "uniform", method, *found.measured]))
    origin = trained.info.origin
    trained_on = origin.where or "videos"
    return Table(
        data=request.on,
        protocol=rules.name,
        split=label,
        seeds=1,
        baseline=BASELINE,
        rows=rows({name: found.measured[name] for name in order if name in found.measured}, BASELINE, rules.metrics),
        remarks=(
            *([f"protocol {rules.name}: {rules.note}"] if rules.note else []),
            f"{method}: {request.run}, trained on {len(trained.info.train)} videos of {trained_on} ({origin.split}), "
            f"epoch {trained.position.epoch}",
            f"{method}: {'; '.join(dict.fromkeys([*making.choices(trained), *trained.info.notes]))}",
            *data.remarks,
            *left_out,
        ),
        made={method: [making.record([trained])]},
    )


def chosen(part: str, data: BenchData, trained: Trained) -> tuple[str, Sequence[Video]]:
    """The label of the split, and the videos to measure. Raises UsageError if none is left."""
    info, pool = trained.info, data.videos
    # A root is loaded with references for its test part only.
    if part != "test" and data.pool is not data.videos:
        pool = [with_reference(video) for video in data.pool if lacks(video) is None]
    seen = seen_by(info, data.on, data.pool)
    is_own = info.origin.data_set == data.on and bool(seen)
    if is_own:
        parts = {"test": info.origin.test, "val": info.val, "train": info.train}
        label = f"the run's {part} videos ({info.origin.split})"
    else:
        # Of a data set whose test part has no labels, the val part is the test part.
        own = partition.own_parts(pool, part)
        parts = {name: tuple(ids) for name, ids in own.items()} if own else {"test": tuple(partition.ids_of(pool))}
        label = f"the data's {part} videos" if own else "all videos"
        if own and own.tests_val:
            parts["val"], label = parts["test"], "the data's val videos" if part == "test" else label
    if part == "all":
        parts, label = {"all": tuple(partition.ids_of(pool))}, "all videos"
    ids = parts.get(part, ())
    # Videos seen without their labels stay: the run's notes call such a number transductive.
    taught = seen_by(info, data.on, data.pool, unlabelled=False)
    # A run never trains on its own test videos, but the run of its --init may have.
    if part == "test" and taught.intersection(ids):
        label += f", without {len(taught.intersection(ids))} that trained the run or one that it began with"
        ids = tuple(video_id for video_id in ids if video_id not in taught)
    elif inside := seen.intersection(ids):
        label += f", {len(inside)} of which trained the run or chose its epoch"
    videos = partition.pick(pool, ids)
    if not videos:
        raise UsageError(
            f"{trained.path}: no {part} videos of {data.on} {data.path} are left to measure; it was trained or "
            f"selected on {len(seen)} of {len(data.pool)}: try --split {'|'.join(PARTS)}"
        )
    return label, videos
