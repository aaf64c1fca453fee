"""`vsumdata eval`: one trained run in the same table as a benchmark's, on videos that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.reference import lacks, with_reference
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError
from vsumdata.train import partition, runs
from vsumdata.train.baselines import BASELINES
from vsumdata.train.bench_data import BenchData, open_data
from vsumdata.train.benchmark import data_set, known_scores, need_path, pick
from vsumdata.train.measure import measure, rows
from vsumdata.train.partition import Partition
from vsumdata.train.predict import fitting, predict
from vsumdata.train.runs import Trained
from vsumdata.train.summarize import shown_text
from vsumdata.train.table import Table
from vsumdata.train.train import device
from vsumdata.train.trained import add_answers, choices, seen_by

BASELINE = "random"
PARTS = ("test", "val", "train", "all")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `vsumdata eval` was asked for."""

    run: str
    on: str
    data: str = ""
    protocol: str | None = None
    features: str | None = None  # a root of ours whose features replace the data set's own
    split: str | None = None  # one of PARTS, test if none: of the run where it knows these videos, else of the data
    text: str | None = None  # shown to the model; as it was trained if none


def evaluate_run(request: Request) -> Table:
    """The run's held-out test videos if it has seen videos of this data, else the data's test part, or all of it.

    Raises UsageError for a damaged run, for features of another size than it takes, and where nothing is held out.
    """
    trained = shown_text(runs.load(request.run, device()), request.text)
    part = pick(request.split or PARTS[0], PARTS, "split")
    module = data_set(request.on)
    need_path(module, request.data)
    rules = protocol(request.protocol) if request.protocol else module.PROTOCOL
    data = open_data(module, request.data, features=request.features)
    label, videos = chosen(part, data, trained)
    fitting(videos[0], trained.info)  # before the time that the baselines take
    fold = Partition(label, ((Fold((), (), tuple(video.video_id for video in videos)),),))
    ceilings = known_scores(module.ceilings(request.data)) if hasattr(module, "ceilings") else {}
    found = measure(videos, {**BASELINES, **ceilings}, rules, fold)
    method = trained.settings.method
    add_answers(method, predict(trained, videos), rules, found, (0, 0))
    left_out = found.remarks(len(BASELINES) + len(ceilings) + 1)
    if method not in found.measured:
        raise UsageError(f"{request.on}: nothing can be measured; {'; '.join([*left_out, *data.remarks])}")
    order = list(dict.fromkeys(["random", "uniform", method, *found.measured]))
    origin = trained.info.origin
    trained_on = f"{origin.data_set} {origin.path}".strip() or "videos"
    return Table(
        data=request.on,
        protocol=rules.name,
        split=label,
        seeds=1,
        baseline=BASELINE,
        rows=rows({name: found.measured[name] for name in order if name in found.measured}, BASELINE),
        remarks=(
            *([f"protocol {rules.name}: {rules.note}"] if rules.note else []),
            f"{method}: {request.run}, trained on {len(trained.info.train)} videos of {trained_on} ({origin.split}), "
            f"epoch {trained.position.epoch}",
            f"{method}: {'; '.join(dict.fromkeys([*choices(trained), *trained.info.notes]))}",
            *data.remarks,
            *left_out,
        ),
    )


def chosen(part: str, data: BenchData, trained: Trained) -> tuple[str, Sequence[Video]]:
    """What is measured, and how the table calls it."""
    info, pool = trained.info, data.videos
    if part != "test" and data.pool is not data.videos:  # of a root, only the test part has its reference yet
        pool = [with_reference(video) for video in data.pool if lacks(video) is None]
    seen = seen_by(info, data.on, data.pool)
    is_own = info.origin.data_set == data.on and bool(seen)
    if is_own:
        parts = {"test": info.origin.test, "val": info.val, "train": info.train}
        label = f"the run's {part} videos ({info.origin.split})"
    else:
        own = partition.own_parts(pool)
        parts = {name: tuple(ids) for name, ids in own.items()} if own else {"test": tuple(partition.ids_of(pool))}
        label = f"the data's {part} videos" if own else "all videos"
    if part == "all":
        parts, label = {"all": tuple(partition.ids_of(pool))}, "all videos"
    ids = parts.get(part, ())
    if part == "test" and seen.intersection(ids):  # of a run's own test videos only by --init
        label += f", without {len(seen.intersection(ids))} that trained the run or one that it began with"
        ids = tuple(video_id for video_id in ids if video_id not in seen)
    elif inside := seen.intersection(ids):
        label += f", {len(inside)} of which trained the run or chose its epoch"
    videos = partition.pick(pool, ids)
    if not videos:
        raise UsageError(
            f"{trained.path}: no {part} videos of {data.on} {data.path} are left to measure; it was trained or "
            f"selected on {len(seen)} of {len(data.pool)}: try --split {'|'.join(PARTS)}"
        )
    return label, videos
