"""Scores of videos in files: other people's predictions, and what `--save-scores` writes.

A file maps a video's name to its scores, or to a group that has them under one of the names `SCORES`:

| form | a video is |
|---|---|
| HDF5 | a dataset, or a group with a dataset of scores |
| .npz | an array, or `NAME/score` |
| .npy | an entry of a pickled dictionary of arrays |
| JSON, also .json.gz | `NAME: [scores]`, or `NAME: {"score": [scores]}` |
| JSON lines, or a JSON list | a record with the name under one of `NAMES` and the scores under one of `SCORES` |

Moments that a method proposes stand beside the scores, or alone, under one of `MOMENTS`. A record with a `qid` is of
one query about its video, and is named `VID/QID`.

Read from TIBHannover/UnsupervisedVideoSummarization@c1fd6ca results/ (`video_<i>/score` at the picks,
`video_<i>/importance_scores` of every frame, JSON of lists) and jayleicn/moment_detr@b7e553a (JSON lines).
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from vsumdata.datasets.benchmarks.forms import downloads
from vsumdata.datasets.partition import Run
from vsumdata.manifests.errors import UsageError
from vsumdata.train.benchmark.videos import BenchData

# The first is what `--save-scores` writes.
SCORES = (
    "frame_score", "frame_scores", "score", "scores", "importance_score", "importance_scores", "importance", "pred",
    "preds", "pred_score", "pred_scores", "prediction", "predictions", "pred_saliency_scores", "saliency",
)  # fmt: skip
SENTENCES = ("sentence_score", "sentence_scores")
MOMENTS = ("moments", "pred_relevant_windows")
QUERY = "qid"
READ = (*SCORES, *SENTENCES, *MOMENTS)
NAMES = ("video_id", "video", "video_name", "name", "vid", "id", QUERY)
SUFFIX = ".h5"
SUFFIXES = (".h5", ".hdf5", ".npz", ".npy", ".json", ".jsonl", ".json.gz", ".jsonl.gz")
RUN = re.compile(r"seed-(\d+)-fold-(\d+)")
WHERE = "its authors"
OURS = "vsumdata_method"  # an attribute of our files


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What a file has of one video: of its frames and perhaps of its sentences. Not yet checked against a video.

    `moments` [P,3] are start and end in s and score, the best first; without scores of frames, `frame` is empty.
    """

    frame: np.ndarray
    sentence: np.ndarray | None = None
    moments: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class File:
    """The scores by the names in the file, and for a file of `--save-scores` what it was made on."""

    path: Path
    scores: Mapping[str, Scores]
    made: Mapping[str, str] = field(default_factory=dict)


def open_all(words: Iterable[str]) -> dict[str, dict[Run, File]]:
    """The files of each method by run, from words [NAME=]PATH. Words of the same name are runs of one method.

    A folder of files is one method, a run each; a folder of such folders has several methods. Raises UsageError for
    what cannot be read, before anything is measured.
    """
    paths: dict[str, list[Path]] = {}
    for word in words:
        for name, its in methods_at(word):
            paths.setdefault(name, []).extend(its)
    found = {}
    for name, its in paths.items():
        if twice := {path for path in its if its.count(path) > 1}:
            raise UsageError(f"{min(twice)} is given twice")
        found[name] = dict(zip(runs_of(its), map(read, its), strict=True))
    return found


def methods_at(word: str) -> Iterator[tuple[str, list[Path]]]:
    """The methods that a word [NAME=]PATH names, each with its files."""
    given, _, rest = word.rpartition("=")
    # A path may hold an equals sign itself.
    name, path = ("", Path(word)) if not given or Path(word).exists() else (given, Path(rest))
    if not path.is_dir():
        yield name or unquote(stem(path)), [path]
        return
    inside = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    if files := [each for each in inside if each.is_file() and each.name.endswith(SUFFIXES)]:
        yield name or unquote(path.resolve().name), files
        return
    below = [(each.name, list(methods_at(str(each)))) for each in inside if each.is_dir()]
    if not below:
        raise UsageError(f"{path} holds no scores: no file {', '.join('*' + suffix for suffix in SUFFIXES)}")
    if name:
        raise UsageError(f"{word}: {path} holds several methods, which have their folders' names")
    for _, its in below:
        yield from its


def stem(path: Path) -> str:
    suffix = next((suffix for suffix in SUFFIXES[::-1] if path.name.endswith(suffix)), "")
    return path.name.removesuffix(suffix)


def runs_of(paths: list[Path]) -> list[Run]:
    """The run of each file: by the names that `--save-scores` gives, else each file is a fold."""
    named = [RUN.fullmatch(stem(path)) for path in paths]
    runs = [(int(each[1]), int(each[2]) - 1) for each in named if each]
    return runs if len(set(runs)) == len(paths) else [(0, number) for number in range(len(paths))]


def read(path: Path) -> File:
    """The scores in a file. Raises UsageError if it is of another kind, damaged or empty."""
    made: Mapping[str, str] = {}
    try:
        head = start_of(path)
        if head.startswith(downloads.HDF5):
            entries, made = read_hdf5(path)
        elif head.startswith(b"PK\x03\x04"):
            entries = read_npz(path)
        elif head.startswith(downloads.NPY):
            entries = downloads.read_npy_dict(path, WHERE)
        else:
            entries = read_json(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error})") from error
    scores = {str(name): scores_of(path, str(name), entry) for name, entry in entries.items()}
    if not scores:
        raise UsageError(f"{path} holds no videos")
    return File(path=path, scores=scores, made=made)


def start_of(path: Path) -> bytes:
    """The first bytes of a file; none of what is no file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(len(downloads.HDF5))


def read_hdf5(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    import h5py

    # A link that leads nowhere is None, and a group may have the name of scores: neither holds numbers.
    def value(node: Any) -> Any:
        return node[()] if isinstance(node, h5py.Dataset) else None

    with downloads.open_hdf5(path, WHERE) as file:
        entries = {
            name: {key: value(its) for key, its in node.items() if key in READ} | others(node)
            if isinstance(node, h5py.Group)
            else value(node)
            for name, node in file.items()
        }
        made = {key: str(value) for key, value in file.attrs.items()}
        return ({unquote(name): entry for name, entry in entries.items()} if OURS in made else entries), made


def others(group: Mapping[str, Any]) -> dict[str, None]:
    """The other keys of a group, for the message that says what it has."""
    return {key: None for key in group if key not in READ}


def read_npz(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                name, _, last = key.rpartition("/")
                if name and last in READ:
                    found.setdefault(name, {})[last] = file[key]
                else:
                    found[key] = file[key]
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
        raise UsageError(f"{path} is no .npz file of plain arrays, or is damaged ({error})") from error
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, a list of records or lines of records, also compressed."""
    if path.name.endswith(".gz"):
        try:
            text = gzip.decompress(path.read_bytes()).decode("utf-8-sig")
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is no compressed JSON, or is cut off ({error})") from error
    else:
        downloads.check(path, WHERE)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(f"{path} is neither HDF5, .npz, .npy nor JSON") from None
    if not text.strip():
        raise UsageError(f"{path} is empty")
    try:
        # A line that is a record makes JSON lines, of which one alone is a JSON object as well.
        lines = [json.loads(line) for line in text.splitlines() if line.strip()] if is_lines(text) else json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is neither HDF5, .npz, .npy nor JSON, or is cut off ({error})") from error
    if isinstance(lines, dict):
        return lines
    if not isinstance(lines, list):
        raise UsageError(f"{path} holds no scores by video")
    found: dict[str, Any] = {}
    for number, record in enumerate(lines, 1):
        key = next((key for key in NAMES if key in record), None) if isinstance(record, dict) else None
        if key is None:
            raise UsageError(f"{path}: record {number} has none of {', '.join(NAMES)}")
        called = name_of(record, key)
        if called in found:
            raise UsageError(f"{path}: record {number}: {called} is there twice")
        found[called] = {name: value for name, value in record.items() if name != key}
    return found


def name_of(record: Mapping[str, Any], key: str) -> str:
    """What a record is of: a video, or a query about it."""
    name, query = str(record[key]), record.get(QUERY)
    return name if query is None or key == QUERY else f"{name}/{query}"


def is_lines(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    try:
        record = json.loads(first)
    except json.JSONDecodeError:
        return False
    return isinstance(record, dict) and (bool(rest.strip()) or any(key in record for key in NAMES))


def scores_of(path: Path, name: str, entry: Any) -> Scores:
    if not isinstance(entry, Mapping):
        return Scores(frame=numbers(entry))
    known = [key for key in SCORES if key in entry]
    moments = next((windows(entry[key]) for key in MOMENTS if entry.get(key) is not None), None)
    if not known and moments is not None:
        return Scores(frame=np.zeros(0), moments=moments)
    if len(known) != 1:
        has = ", ".join(known or sorted(entry)) or "nothing"
        raise UsageError(f"{path}: {name} has {has}; expected its scores under one of {', '.join(SCORES)}")
    sentence = next((entry[key] for key in SENTENCES if entry.get(key) is not None), None)
    its = None if sentence is None else numbers(sentence)
    return Scores(frame=numbers(entry[known[0]]), sentence=its, moments=moments)


def windows(value: Any) -> np.ndarray:
    """Moments as floats [P,3]; an array of other axes for what is none."""
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return np.zeros((0, 0))
    return found if found.size else np.zeros((0, 3))


def numbers(value: Any) -> np.ndarray:
    """An array of floats without axes of length 1; an empty one of two axes for what is no numbers."""
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return np.zeros((0, 0))
    # Networks answer [1,T] or [T,1].
    return found.reshape(-1) if found.ndim and found.size == max(found.shape) else found


def check_folder(folder: str, methods: Iterable[str], runs: Iterable[Run]) -> None:
    """Raise UsageError if `--save-scores` cannot write there, or would mix its files with those of another bench."""
    if Path(folder).exists() and not Path(folder).is_dir():
        raise UsageError(f"--save-scores {folder} is a file; give a folder")
    ours = {file_name(run) for run in runs}
    for method in methods:
        its = folder_of(folder, method)
        there = [name for name in os.listdir(its) if not name.startswith(".")] if its.is_dir() else []
        if strange := sorted(set(there) - ours):
            raise UsageError(f"{its} has {strange[0]}, which is not of these runs; give another --save-scores")


def folder_of(folder: str, method: str) -> Path:
    # The name of a method may hold a slash, as the path of a run does.
    return Path(folder) / quote(method, safe="+=[],@ ")


def file_name(run: Run) -> str:
    return f"seed-{run[0]}-fold-{run[1] + 1}{SUFFIX}"


def escaped(video_id: str) -> str:
    # To HDF5 a slash is a path, and a dot the group itself.
    return "%2E" if video_id == "." else video_id.replace("%", "%25").replace("/", "%2F")


def save(folder: str, method: str, scores: Mapping[Run, Mapping[str, Scores]], data: BenchData) -> None:
    """Write FOLDER/METHOD/seed-S-fold-F.h5 for each run: a group for each video, `frame_score` [T] at the data's picks.

    `sentence_score` [M] is there if the method scores sentences, `moments` [P,3] if it proposes some.
    """
    import h5py

    its = folder_of(folder, method)
    its.mkdir(parents=True, exist_ok=True)
    for run, of_run in scores.items():
        # Whoever reads the folder meanwhile, or after a kill, must not meet half a file.
        begun = its / f".{file_name(run)}"
        with h5py.File(begun, "w") as file:
            file.attrs.update({OURS: method, "data_set": data.on, "split": data.partition.label})
            for video_id, found in of_run.items():
                group = file.create_group(escaped(video_id))
                group["frame_score"] = found.frame
                if found.sentence is not None:
                    group["sentence_score"] = found.sentence
                if found.moments is not None:
                    group["moments"] = found.moments
        os.replace(begun, its / file_name(run))
