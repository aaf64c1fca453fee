"""`vsumdata score`: other people's scores, or those that `--save-scores` kept, under one protocol or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vsumdata.datasets import partition
from vsumdata.datasets.benchmarks.registry import data_set, need_path
from vsumdata.datasets.join import names
from vsumdata.datasets.partition import Partition, Run
from vsumdata.datasets.pool import is_pool, own_first
from vsumdata.datasets.protocol import Protocol, protocol
from vsumdata.datasets.splits import Fold
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark import predictions, published
from vsumdata.train.benchmark.bench import known_scores, ordered
from vsumdata.train.benchmark.predictions import File, Scores
from vsumdata.train.benchmark.table import Row, Table, failed_rows, rows
from vsumdata.train.scoring.baselines import BASELINES, Trial
from vsumdata.train.scoring.measure import BREAKS, measure

BASELINE = "random"
SHOWN = 3  # names that a remark lists
AS_GIVEN = "as in the files"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `vsumdata score`. `predictions` are [NAME=]PATH; the protocol is by default the data set's own."""

    predictions: tuple[str, ...]
    on: str
    data: str = ""
    protocols: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """One method's scores that fit, by run and video id; remarks tell of those that do not."""

    runs: Mapping[Run, Mapping[str, Scores]]
    remarks: Sequence[str]


def score(request: Request) -> Table:
    """Measure the predictions beside random, uniform, human and mean-user.

    Raises UsageError, before anything is measured, for files that cannot be read, for names of no video, and for a
    method none of whose scores fit. A video whose scores do not fit is left out, and the table says so.
    """
    module = data_set(request.on)
    every = [protocol(name) for name in dict.fromkeys(request.protocols)] or [module.PROTOCOL]
    if is_pool(request.data):
        raise UsageError(f"--data {request.data}: score measures one data set; give the path of {request.on} alone")
    path, _ = own_first(request.on, request.data)
    need_path(module, path)
    files = predictions.open_all(request.predictions)
    ceilings = known_scores(module.ceilings(path)) if hasattr(module, "ceilings") else {}
    always = {**BASELINES, **ceilings}
    if taken := set(files) & set(always):
        raise UsageError(f"{min(taken)} is the name of a row of its own; name yours with NAME=PATH")
    videos: Sequence[Video] = module.load(path)
    partition.check_some(videos, request.on, path)
    given = fitted(files, videos, every, request.on)
    folds = folds_of(given, files)
    found_rows: list[Row] = []
    left_out: list[str] = []
    for rules in every:
        found = measure(videos, always, rules, folds)
        for name, its in given.items():
            try:
                for run, each in trials(its, videos):
                    measured = found.measured.get(name) or found.start(name, each[0], rules)
                    measured.add(each[0].video.video_id, [run], each)
            except BREAKS as error:
                found.fail(name, error)
        found.settle()
        order = ordered(list(given), always)
        reasons = found.remarks(len(always) + len(given))
        left_out += reasons if len(every) == 1 else [f"protocol {rules.name}: {reason}" for reason in reasons]
        measured_ones = {name: found.measured[name] for name in order if name in found.measured}
        its_rows = [*rows(measured_ones, BASELINE, rules.metrics), *failed_rows(found.failed, rules.metrics)]
        found_rows += [replace(row, protocol=rules.name) for row in its_rows] if len(every) > 1 else its_rows
    if not any(row.n for row in found_rows if row.method in given) and not any(row.has_failed for row in found_rows):
        raise UsageError(f"{request.on}: nothing can be measured; {'; '.join(left_out)}")
    return Table(
        data=request.on,
        protocol=", ".join(rules.name for rules in every),
        split=folds.label,
        seeds=len(folds.folds),
        baseline=BASELINE,
        # By method, not by protocol: a method's cells under all protocols are one line.
        rows=sorted(found_rows, key=lambda row: order.index(row.method)),
        remarks=(
            *(f"protocol {rules.name}: {rules.note}" for rules in every if rules.note),
            *(f"{name}: {remark}" for name, its in given.items() for remark in its.remarks),
            *dict.fromkeys(left_out),
        ),
        published=published.beside(request.on, list(given)),
    )


def fitted(
    files: Mapping[str, Mapping[Run, File]], videos: Sequence[Video], every: Sequence[Protocol], on: str
) -> dict[str, Given]:
    """The scores that fit their videos, by method, run and video id."""
    for file in (file for its in files.values() for file in its.values()):
        if (made_on := file.made.get("data_set", on)) != on:
            raise UsageError(f"{file.path} holds scores of {made_on}, not of {on}")
    ids = ids_by_name(videos)
    named = {name: {run: by_id(file, ids, on) for run, file in its.items()} for name, its in files.items()}
    wanted = {video_id for its in named.values() for scores in its.values() for video_id in scores}
    reasons: dict[str, dict[str, str]] = {name: {} for name in files}
    fits: dict[str, dict[Run, dict[str, Scores]]] = {name: {run: {} for run in its} for name, its in named.items()}
    all_ids = partition.ids_of(videos)
    halves = {name: halves_of(its.values()) for name, its in named.items()}
    for video in partition.pick(videos, [video_id for video_id in all_ids if video_id in wanted]):
        for name, its in named.items():
            for run, scores in its.items():
                if video.video_id not in scores:
                    continue
                found = gap(scores[video.video_id], halves[name]) or fit(scores[video.video_id], video, every)
                if isinstance(found, str):
                    reasons[name][video.video_id] = found
                else:
                    fits[name][run][video.video_id] = found
    given = {}
    parts = parts_of(videos)
    for name, its in fits.items():
        kept = {run: scores for run, scores in its.items() if scores}
        if not kept:
            first = next(iter(reasons[name].items()))
            raise UsageError(f"{name}: no scores fit their videos of {on} (first: {first[0]}: {first[1]})")
        remarks = told(files[name], kept, reasons[name], ids, parts, on)
        given[name] = Given(runs=kept, remarks=remarks)
    return given


def ids_by_name(videos: Sequence[Video]) -> dict[str, str]:
    """Every name of a video that is of no other video, and its id."""
    found: dict[str, set[str]] = {}
    # `described` gives the names of a lazy sequence's videos without reading them.
    for video in getattr(videos, "described", videos):
        # A query's scores may name the query alone; its video's name would be of any query about it.
        for name in names(video) if video.query is None else (video.video_id.rpartition("/")[2],):
            found.setdefault(name, set()).add(video.video_id)
    ours = {video_id: video_id for video_id in partition.ids_of(videos)}
    return {name: next(iter(ids)) for name, ids in found.items() if len(ids) == 1} | ours


def by_id(file: File, ids: Mapping[str, str], on: str) -> dict[str, Scores]:
    """The file's scores by our video ids. Raises UsageError if none is known, or a video has two names there."""
    found: dict[str, Scores] = {}
    for name, scores in file.scores.items():
        if (known := known_as(name, ids)) in ids:
            if ids[known] in found:
                raise UsageError(f"{file.path}: {ids[known]} is there under two names, one is {name}")
            found[ids[known]] = scores
    if not found:
        raise UsageError(
            f"{file.path}: none of its {len(file.scores)} names is a video of {on} (first: {next(iter(file.scores))}; "
            f"the data has {next(iter(ids))})"
        )
    return found


def known_as(name: str, ids: Mapping[str, str]) -> str:
    """The name in a file as the data may have it: the data of a record with a `qid` need not ask for queries."""
    video, slash, _ = name.rpartition("/")
    return video if slash and name not in ids and video in ids else name


def fit(scores: Scores, video: Video, every: Iterable[Protocol]) -> Scores | str:
    """The scores at the video's picks, or why they do not fit."""
    frame, sentence, needed = scores.frame, scores.sentence, len(video.frame_time_s)
    takes_any = any(rules.missing_score == "any" for rules in every)
    # Some protocols complete one missing score; under the others the table counts the video as of the wrong length.
    lengths = {needed, needed - any(rules.missing_score == "zero" for rules in every)}
    expected = f"{needed}, one for each of its picks"
    if video.picks is not None and video.n_frames and video.n_frames != needed:
        lengths.add(video.n_frames)
        expected += f", or {video.n_frames}, one for each frame"
    if wrong := wrong_moments(scores.moments):
        return wrong
    # A method that answers several summaries has a row for each: [S,T]. Moments may come alone.
    if frame.ndim not in (1, 2) or not (frame.size or scores.moments is not None):
        return f"no list of numbers; expected {expected}"
    num = frame.shape[-1]
    if num not in lengths and not (num and takes_any) and (num or scores.moments is None):
        return f"{num if frame.ndim == 1 else list(frame.shape)} scores; expected {expected}"
    if sentence is not None and sentence.shape != (len(video.sentence),):
        return f"sentence scores of shape {list(sentence.shape)}; expected {len(video.sentence)}"
    for values in (frame, sentence):
        if values is not None and not np.isfinite(values).all():
            at = int((~np.isfinite(values)).argmax())
            return f"score {at} is {values.reshape(-1)[at]}"
    if video.picks is not None and num > needed:
        frame = frame[..., video.picks]
    return Scores(frame=frame, sentence=sentence, moments=scores.moments)


def halves_of(runs: Iterable[Mapping[str, Scores]]) -> tuple[bool, bool]:
    """Whether a method scores frames at all, and whether it proposes moments."""
    every = [scores for run in runs for scores in run.values()]
    return any(its.frame.size for its in every), any(its.moments is not None for its in every)


def gap(scores: Scores, halves: tuple[bool, bool]) -> str | None:
    """What this video lacks of that which the method gives of others; None if nothing."""
    scores_frames, proposes = halves
    if scores_frames and not scores.frame.size and scores.moments is not None:
        return "no scores, which others have"
    return "no moments, which others have" if proposes and scores.moments is None else None


def wrong_moments(moments: np.ndarray | None) -> str | None:
    """Why these are no moments; None if they are, or if there are none."""
    if moments is None:
        return None
    if moments.ndim != 2 or moments.shape[1] != 3:
        return "no moments; expected rows of start and end in seconds and score"
    odd = ~np.isfinite(moments).all(1) | (moments[:, 0] > moments[:, 1])
    return f"moment {int(odd.argmax())} is {moments[odd.argmax()].tolist()}" if odd.any() else None


def told(
    files: Mapping[Run, File],
    kept: Mapping[Run, Mapping[str, Scores]],
    reasons: Mapping[str, str],
    ids: Mapping[str, str],
    parts: Mapping[str, str | None],
    on: str,
) -> list[str]:
    """Where a method's scores are from, and the videos that its numbers lack."""
    places = list(dict.fromkeys(str(file.path) for file in files.values()))
    said = [f"scores of {places[0]}{f' and {len(places) - 1} more files' if len(places) > 1 else ''}"]
    if reasons:
        lines = [f"{video_id}: {reason}" for video_id, reason in reasons.items()]
        said.append(f"left out: {'; '.join(some(lines))}")
    measured = set().union(*kept.values())
    # Predictions are of a part, as a rule: videos of the other parts are not missing.
    touched = dict.fromkeys(parts[video_id] for video_id in measured)
    all_ids = [video_id for video_id, part in parts.items() if part in touched]
    if len(all_ids) < len(parts):
        said.append(f"measured on its {' and '.join(map(str, touched))} part")
    if missing := [video_id for video_id in all_ids if video_id not in measured]:
        said.append(f"{len(measured)} of {len(all_ids)} videos of {on}; without {', '.join(some(missing))}")
    named = dict.fromkeys(name for file in files.values() for name in file.scores)
    if unknown := [name for name in named if known_as(name, ids) not in ids]:
        said.append(f"{len(unknown)} names are no videos of {on}: {', '.join(some(unknown))}")
    return said


def parts_of(videos: Sequence[Video]) -> dict[str, str | None]:
    """The part that each video is in, by its id; None for all where they would have to be read for it."""
    known = getattr(videos, "annotated", videos if isinstance(videos, list) else None)
    if known is None:
        return dict.fromkeys(partition.ids_of(videos))
    return {video.video_id: video.split for video in known}


def some(names: Iterable[str]) -> list[str]:
    every = list(names)
    return every[:SHOWN] + ([f"{len(every) - SHOWN} more"] if len(every) > SHOWN else [])


def folds_of(given: Mapping[str, Given], files: Mapping[str, Mapping[Run, File]]) -> Partition:
    """The runs that the rows without files are measured in: those of the files, if all methods have the same ones.

    Else all videos that a method has, once.
    """
    parts = [{run: frozenset(scores) for run, scores in its.runs.items()} for its in given.values()]
    if any(part != parts[0] for part in parts):
        every = {video_id for part in parts for video_ids in part.values() for video_id in video_ids}
        return Partition(AS_GIVEN, ((Fold((), (), tuple(sorted(every)), AS_GIVEN),),))
    labels = {file.made.get("split", "") for its in files.values() for file in its.values()}
    label = (labels.pop() if len(labels) == 1 else "") or AS_GIVEN
    seeds: dict[int, list[Fold]] = {}
    for run in sorted(parts[0]):
        seeds.setdefault(run[0], []).append(Fold((), (), tuple(sorted(parts[0][run])), label))
    return Partition(label, tuple(tuple(folds) for folds in seeds.values()))


def trials(given: Given, videos: Sequence[Video]) -> Iterator[tuple[Run, list[Trial]]]:
    """Each video with its scores, in every run that has it. A video is read once. Several predictions: a trial each."""
    for video in videos:
        for run, scores in given.runs.items():
            if its := scores.get(video.video_id):
                rows = [np.asarray(row) for row in (its.frame if its.frame.ndim == 2 else [its.frame])]
                yield (
                    run,
                    [
                        Trial(video=video, frame_score=row, sentence_score=its.sentence, moments=its.moments)
                        for row in rows
                    ],
                )
