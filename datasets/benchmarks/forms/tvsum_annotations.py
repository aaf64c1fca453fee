"""TVSum's annotations in four file formats: 50 videos, 20 users, an importance of 1 to 5 for every frame.

| form | layout |
|---|---|
| `ydata-tvsum50-anno.tsv` (also `ydata-anno.tsv`) | no header; id, category, scores with commas; 20 lines a video |
| `ydata-tvsum50-info.tsv` (beside it) | header `category video_id title url length` |
| `ydata-tvsum50.mat` | MATLAB 7.3: `tvsum50`, structs of video, title, category, length, nframes, user_anno, gt_score |
| `tvsum_annotations.parquet` | `video_id, category, user, scores: list<int8>`, in the TSV's order |

Read from yalesong/tvsum@7bf3fb8 README.md and matlab/script_evaluate_result.m (that repository holds the .mat too),
thswodnjs3/CSTA@b070f7d utils.py and e-apostolidis/CA-SUM@43eee5d evaluation_metrics.py (the TSV).
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import check, open_hdf5
from vsumdata.manifests.errors import UsageError

WHERE = "https://people.csail.mit.edu/yalesong/tvsum (ydata-tvsum50-v1_1.tgz)"
NUM_VIDEOS, NUM_USERS = 50, 20
INFO = "ydata-tvsum50-info.tsv"


@dataclass(frozen=True, eq=False)
class Annotation:
    """One video's scores. The video's file is named after `youtube_id`. A field that the format lacks is None."""

    youtube_id: str
    score: np.ndarray  # uint8 [U, n_frames], 1 to 5
    category: str | None = None
    title: str | None = None
    length_s: float | None = None


def read(path: Path) -> list[Annotation]:
    """The annotations in the file at `path`, in the file's order, which is the order of `video_1` to `video_50`.

    Raises UsageError unless there are 50 videos, each with scores of 1 to 5 from 20 users for each frame.
    """
    forms: dict[str, Callable[[Path], list[Annotation]]] = {
        ".tsv": _read_tsv,
        ".mat": _read_mat,
        ".parquet": _read_parquet,
    }
    if path.suffix not in forms:
        raise UsageError(f"{path} is not one of TVSum's annotation files ({', '.join(forms)})")
    found = forms[path.suffix](path)
    if len(found) != NUM_VIDEOS:
        raise UsageError(f"{path} annotates {len(found)} videos; TVSum has {NUM_VIDEOS}; get it from {WHERE}")
    for video in found:
        if len(video.score) != NUM_USERS or not video.score.size or video.score.min() < 1 or video.score.max() > 5:
            raise UsageError(f"{path}: {video.youtube_id} lacks scores of 1 to 5 from {NUM_USERS} users for each frame")
    return found


def _of_users(path: Path, rows: Iterable[tuple[str, str, np.ndarray]]) -> list[Annotation]:
    """One Annotation for each run of rows (video, category, scores) of one video; a row is a user."""
    found = []
    # `groupby` joins neighbours only, and so keeps the file's order, which is all that links it to `video_i`.
    for (youtube_id, category), users in itertools.groupby(rows, key=lambda row: row[:2]):
        scores = [score for *_, score in users]
        if len({len(score) for score in scores}) > 1:
            raise UsageError(f"{path}: the users of {youtube_id} scored different numbers of frames")
        found.append(Annotation(youtube_id, np.stack(scores), category))
    return found


def _read_tsv(path: Path) -> list[Annotation]:
    check(path, WHERE)
    with path.open(encoding="utf-8-sig") as file:
        found = _of_users(path, (_parse(path, number, line) for number, line in enumerate(file, 1) if line.strip()))
    info_path = path.with_name(INFO)
    if not info_path.exists():
        return found
    check(info_path, WHERE)
    # Titles contain quotation marks, which are text here; by default csv would read them as quoting.
    with info_path.open(encoding="utf-8-sig", newline="") as file:
        info = {row.get("video_id"): row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    missing = [video.youtube_id for video in found if video.youtube_id not in info]
    if missing:
        raise UsageError(f"{info_path} does not list {missing[0]}, which {path.name} annotates")
    return [_with_info(video, info[video.youtube_id]) for video in found]


def _parse(path: Path, number: int, line: str) -> tuple[str, str, np.ndarray]:
    cells = line.rstrip("\n").split("\t")
    try:
        youtube_id, category, scores = cells
        # Through float, since a score may be written as `1.0`.
        return youtube_id, category, np.array(scores.split(","), np.float64).astype(np.uint8)
    except ValueError as error:
        raise UsageError(f"{path}, line {number} is not `video id, category, scores`: {error}") from error


def _with_info(video: Annotation, row: dict[str, str]) -> Annotation:
    return replace(video, title=row.get("title"), length_s=seconds(row.get("length")))


def seconds(text: str | None) -> float | None:
    """The seconds in `353`, `353.6`, `5:53` or `1:05:53`; None for any other text."""
    try:
        parts = [float(part) for part in (text or "").split(":")]
    except ValueError:
        return None
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def _read_parquet(path: Path) -> list[Annotation]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check(path, "the project's shared data")
    try:
        table = pq.read_table(path, columns=["video_id", "category", "scores"])
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"{path} is not TVSum's annotations as parquet ({str(error).splitlines()[0]})") from error
    scores = table["scores"].combine_chunks()
    flat, ends = scores.flatten().to_numpy(), np.asarray(scores.offsets)
    # `flatten` starts at 0, but the offsets of a slice do not.
    users = [flat[start:stop].astype(np.uint8) for start, stop in itertools.pairwise(ends - ends[0])]
    return _of_users(path, zip(table["video_id"].to_pylist(), table["category"].to_pylist(), users, strict=True))


def _read_mat(path: Path) -> list[Annotation]:
    with open_hdf5(path, WHERE) as file:
        if "tvsum50" not in file:
            raise UsageError(f"{path} has no tvsum50: it is not ydata-tvsum50.mat; get it from {WHERE}")
        # MATLAB 7.3 stores a struct array as arrays of HDF5 references, one for each field.
        struct = file["tvsum50"]
        missing = {"video", "title", "category", "length", "user_anno"} - set(struct)
        if missing:
            raise UsageError(f"{path}: tvsum50 has no {', '.join(sorted(missing))}")

        def values(key: str) -> Sequence[np.ndarray]:
            return [np.asarray(file[reference]) for reference in struct[key][()].ravel()]

        # MATLAB stores text as UTF-16 code units.
        def texts(key: str) -> list[str]:
            return [value.astype("<u2").tobytes().decode("utf-16-le") for value in values(key)]

        # HDF5 reverses the axes of MATLAB's matrices: [n_frames, U] there is [U, n_frames] here.
        scores = [value.astype(np.uint8) for value in values("user_anno")]
        lengths = [float(value.item()) for value in values("length")]
        rows = zip(texts("video"), scores, texts("category"), texts("title"), lengths, strict=True)
        return [Annotation(*row) for row in rows]
