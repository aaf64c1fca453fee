"""QVHighlights: 10,310 queries about cuts of YouTube videos; the moments that answer each, and three users' ratings.

Where: jayleicn/moment_detr on GitHub, folder data. Licence: CC BY-NC-SA 4.0. Its README.md links to
moment_detr_features.tar.gz, whose folders `clip_features.py` reads.

Layout, read from jayleicn/moment_detr@b7e553a data/README.md and standalone_eval/eval.py: JSON lines with `qid`,
`query`, `vid` (YOUTUBE_START_END in seconds), `duration`, and but for the released test part `relevant_clip_ids` (of
clips of 2 s), `saliency_scores` (of these clips, 0 to 4 by each of three users) and `relevant_windows` in seconds.
The test part with its labels is `highlight_test_with_gt.jsonl`. No YouTube video is in two parts.

Each query is a Video named `VID/QID`, whose frames are the clips.

Letters: T clips, U users, R windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import SPLITS, numbers, split_files
from vsumdata.datasets.benchmarks.forms.gzipped import read_lines
from vsumdata.datasets.benchmarks.highlights.clip_features import Released, released_at
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "qvhighlights"
PROTOCOL = protocol(NAME)
FRAME_MODEL = "Moment-DETR's SlowFast and CLIP"
TEXT_MODEL = "Moment-DETR's CLIP"
WHERE = "the folder data of jayleicn/moment_detr on GitHub"
FEATURES = "moment_detr_features.tar.gz, which the README of jayleicn/moment_detr on GitHub links to"
CLIP_S = 2
BEST_RATING = 4
KEYS = ("qid", "query", "duration", "vid")
LABELS = ("relevant_clip_ids", "saliency_scores", "relevant_windows")
VID = re.compile(r"(?P<youtube>.+)_(?P<start>\d+(?:\.\d+)?)_(?P<end>\d+(?:\.\d+)?)")
FILES = re.compile(r"highlight_(?P<split>train|val|test)\w*\.jsonl(?:\.gz)?")


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """A line of the annotations. Of the released test part `rating`, `relevant` and `moment` are None."""

    qid: str
    vid: str
    query: str
    duration_s: float
    youtube_id: str
    start_s: float
    split: str | None
    rating: np.ndarray | None = None  # uint8 [U,T], 0 where a clip is not relevant
    relevant: np.ndarray | None = None  # bool [T]
    moment: np.ndarray | None = None  # float32 [R,2]

    @property
    def video_id(self) -> str:
        return f"{self.vid}/{self.qid}"

    @property
    def num_clips(self) -> int:
        return int(self.duration_s / CLIP_S)


class Highlights(Sequence[Video]):
    """A sequence that reads a video's features when it is asked for. It can be pickled, for a DataLoader's workers.

    Raises UsageError where features are broken, only when that video is read.
    """

    # Lazy, because the released features of all videos take 8 GB. Annotations of all 10,310 queries are 10 MB.
    def __init__(self, queries: Sequence[Query], released: Released) -> None:
        self.queries, self.released = tuple(queries), released
        self.video_ids = [query.video_id for query in self.queries]

    def __len__(self) -> int:
        return len(self.queries)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Highlights: ...
    def __getitem__(self, at: int | slice) -> Video | Highlights:
        if isinstance(at, slice):
            return Highlights(self.queries[at], self.released)
        query = self.queries[at]
        features = self.released.of_video(query.vid, query.num_clips)
        return video_of(query, features, self.released.of_query(query.qid))

    @property
    def described(self) -> Iterator[Video]:
        """Each video with its annotations and without features; nothing is read."""
        for query in self.queries:
            yield video_of(query, np.zeros((query.num_clips, 0), np.float32))

    annotated = described


def video_of(query: Query, frame_feature: np.ndarray, query_feature: np.ndarray | None = None) -> Video:
    rating = query.rating
    mean = None if rating is None else (rating.mean(0) / BEST_RATING).astype(np.float32)
    return Video(
        video_id=query.video_id,
        # A root of ours may hold the released cut, whose file has this name.
        title=query.vid,
        query=query.query,
        url=f"https://www.youtube.com/watch?v={query.youtube_id}",
        offset_s=query.start_s,
        duration_s=query.duration_s,
        # Cuts of one YouTube video stay in one part, as the published parts have it.
        task=query.youtube_id,
        split=query.split,
        license="CC BY-NC-SA 4.0",
        frame_time_s=np.arange(query.num_clips, dtype=np.float32) * CLIP_S,
        frame_feature=frame_feature,
        query_feature=query_feature,
        user_score=None if rating is None else rating.astype(np.float32),
        gt_score=mean,
        gt_summary=None if query.relevant is None else query.relevant.astype(np.uint8),
        moment=query.moment,
    )


def load(path: str | Path) -> Highlights:
    """The queries of the files `highlight_{train,val,test}_….jsonl` in the folder `path`, or of one such file.

    Of two files of the test part the one with labels counts. Features are read from folders beside the files, in
    `features/` there, or in `features/` beside the folder; without any D = 0. Raises UsageError for a missing or wrong
    file; broken features raise it when they are read.
    """
    path = Path(path)
    queries = [(file, query) for file, split in _files(path).items() for query in _read(file, split)]
    known: dict[str, Path] = {}
    for file, query in queries:
        if query.qid in known:
            raise UsageError(f"{file}: qid {query.qid} is there twice, first in {known[query.qid].name}")
        known[query.qid] = file
    folder = path if path.is_dir() else path.parent
    released = released_at([folder, folder / "features", folder.resolve().parent / "features"], FEATURES)
    found = [query for _, query in queries]
    released.check([query.vid for query in found], [query.qid for query in found])
    return Highlights(found, released)


def _files(path: Path) -> dict[Path, str | None]:
    """The annotation files and the part that each one's name tells, train first."""
    if not path.is_dir():
        return {path: next(iter(split_files(path, "", WHERE).values()))}
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for file in sorted(path.iterdir()):
        named = FILES.fullmatch(file.name)
        # Of a file that was unpacked beside its archive, the unpacked one; it comes first in this order.
        if named and file.with_name(file.name.removesuffix(".gz")) not in found[named["split"]]:
            found[named["split"]].append(file)
    if not any(found.values()):
        raise UsageError(f"{path} holds no highlight_train_release.jsonl, nor another part's; get it from {WHERE}")
    return {_one(found[split], split): split for split in SPLITS if found[split]}


def _one(files: Sequence[Path], split: str) -> Path:
    """The file of a part; of two of the test part the one that has labels."""
    labelled = [file for file in files if split == "test" and _has_labels(read_lines(file, KEYS, NAME, WHERE)[0])]
    chosen = labelled if len(labelled) == 1 else files
    if len(chosen) > 1:
        raise UsageError(f"{files[0].parent} has {files[0].name} and {files[1].name}: leave one of them there")
    return chosen[0]


def _read(path: Path, split: str | None) -> list[Query]:
    """The queries of a file. All have labels, or none has in the test part."""
    records = read_lines(path, KEYS, "QVHighlights", WHERE)
    labelled = split in ("train", "val") or any(map(_has_labels, records))
    return [_query(path, record, split, labelled=labelled) for record in records]


def _has_labels(record: Mapping[str, Any]) -> bool:
    return any(record.get(key) is not None for key in LABELS)


def _query(path: Path, record: Mapping[str, Any], split: str | None, *, labelled: bool) -> Query:
    qid, text, vid = record["qid"], record["query"], record["vid"]
    if isinstance(qid, bool) or not isinstance(qid, int | str) or not str(qid):
        raise UsageError(f"{path}: qid is {qid!r}; expected a number")
    name = f"qid {qid}"
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{path}: {name}: query is {text!r}; expected a sentence")
    cut = VID.fullmatch(vid) if isinstance(vid, str) else None
    if cut is None or float(cut["start"]) >= float(cut["end"]):
        raise UsageError(f"{path}: {name}: vid is {vid!r}; expected YOUTUBE_START_END as QVHighlights has it")
    duration_s = float(numbers(path, name, "duration", record["duration"], ()))
    if duration_s < CLIP_S:
        raise UsageError(f"{path}: {name}: duration is {duration_s:g} s, which is shorter than a clip of {CLIP_S} s")
    return Query(
        qid=str(qid),
        vid=vid,
        query=text,
        duration_s=duration_s,
        youtube_id=cut["youtube"],
        start_s=float(cut["start"]),
        split=split,
        **(_labels(path, name, record, duration_s) if labelled else {}),
    )


def _labels(path: Path, name: str, record: Mapping[str, Any], duration_s: float) -> dict[str, np.ndarray]:
    if missing := [key for key in LABELS if record.get(key) is None]:
        raise UsageError(f"{path}: {name} has no {', '.join(missing)}, which the other parts of QVHighlights have")
    num_clips = int(duration_s / CLIP_S)
    clips = numbers(path, name, "relevant_clip_ids", record["relevant_clip_ids"], (None,))
    at = clips.astype(np.int64)
    if not len(at) or (at != clips).any() or at.min() < 0 or at.max() >= num_clips or len(set(at.tolist())) < len(at):
        raise UsageError(
            f"{path}: {name}: relevant_clip_ids are {at[:3].tolist()} … ; expected different numbers of its "
            f"{num_clips} clips"
        )
    rated = numbers(path, name, "saliency_scores", record["saliency_scores"], (len(at), None))
    if not rated.shape[1] or (rated != np.round(rated)).any() or rated.min() < 0 or rated.max() > BEST_RATING:
        raise UsageError(f"{path}: {name}: saliency_scores are not users' ratings from 0 to {BEST_RATING}")
    moment = numbers(path, name, "relevant_windows", record["relevant_windows"], (None, 2))
    is_inside = (moment[:, 0] >= 0) & (moment[:, 0] < moment[:, 1]) & (moment[:, 1] <= duration_s)
    if not len(moment) or not is_inside.all():
        raise UsageError(
            f"{path}: {name}: relevant_windows are {moment[:3].tolist()}; expected starts and ends in seconds of its "
            f"{duration_s:g} s"
        )
    rating, relevant = np.zeros((rated.shape[1], num_clips), np.uint8), np.zeros(num_clips, bool)
    rating[:, at], relevant[at] = rated.T, True
    return {"rating": rating, "relevant": relevant, "moment": moment.astype(np.float32)}
