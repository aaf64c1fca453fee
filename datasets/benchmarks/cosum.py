"""CoSum (Chu, Song and Jaimes, CVPR 2015): 51 YouTube videos of ten topics, whose shots three judges chose from.

Where: wschu/cosum on GitHub (copy: Blssel/cosum@42cd45f), a repository with the folders `annotation` and `shots` and a
README.md that links the videos. No licence is stated. The videos must be fetched from YouTube: `--features ROOT` joins
ours, each shot with the frame nearest to its middle.

Layout: `shots/<topic>/<word><n>_shots.txt`, the frame at which each shot begins, and the end of the last;
`annotation/<topic>/<n>__<judge>.mat`, a matrix `labels` [chosen,2] whose first column numbers the chosen shots from 1.
A JSON file of the same is read too: `<topic>/<n>` -> {shots, judges: {judge: [numbers]}}. Its README says that the
shots can be cut into smaller ones: in 22 of the 51 videos judges chose numbers beyond the shots that are listed, so
which frames their numbers mean is not certain there. Such numbers are left out, as in MINI-Net's code. Some shots begin
a few frames before the one before them ends; they begin at its end here.

Protocol `cosum` is that of xuantengh/MINI-Net@6651852 (`src/GT.py`, `visual-audio fusion/evaluate.py`): a shot is
relevant if at least two judges chose it, as the data set's README says; of the ranking the five best shots count (15 in
an evaluation that is commented out), by UMT's trapezoidal AP. MINI-Net prints the mean over the videos of each topic:
`--split topics`, the default, has a fold for each. Panda and Roy-Chowdhury's AP against each judge (CVPR 2017) is not
here: no code of it was found.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import check, numbers
from vsumdata.datasets.benchmarks.forms.eccv16 import NOMINAL_FPS, make_video
from vsumdata.datasets.benchmarks.forms.gzipped import found, need_keys, read_object
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "cosum"
PROTOCOL = protocol(NAME)
WHERE = "wschu/cosum on GitHub"
PACKED = "cosum.json"
SHOTS = re.compile(r"[a-z]+(\d+)_shots")
JUDGED = re.compile(r"(\d+)__(\w+)")
# In the README a topic is a line `**01: Base jump**`, and each video an image in a link.
TOPIC, LINK = re.compile(r"^\*\*(\d+):"), re.compile(r"^\[!\[[^\]]*\]\([^)]*\)\]\(([^)]+)\)")
NUM_JUDGES, MAJORITY = 3, 2


def load(path: str | Path) -> list[Video]:
    """The videos in the repository's folder `path`, or of the JSON file, in the order of topics and numbers.

    A frame is a shot. `user_score` [3,T] is 1 where a judge chose the shot, `gt_score` the share of judges, and
    `gt_summary` 1 where at least two did; `query` is the topic. Times assume 30 frames a second until a root of ours
    tells the length. `url` is known with the README. Raises UsageError for a missing or wrong file.
    """
    path = Path(path)
    if not path.is_dir():
        return [_video(path, name, record, None) for name, record in _of_json(path).items()]
    if (path / "annotation").is_dir() and (path / "shots").is_dir():
        urls = _urls(path / "README.md")
        return [_video(path, name, record, urls.get(name)) for name, record in _of_folder(path).items()]
    if packed := found(path, PACKED):
        return [_video(packed, name, record, None) for name, record in _of_json(packed).items()]
    raise UsageError(f"{path} holds neither the folders annotation and shots nor {PACKED}; get them from {WHERE}")


def _of_json(path: Path) -> dict[str, Any]:
    records = read_object(path, "CoSum's annotation", WHERE)
    for name, record in records.items():
        need_keys(path, name, record, ("shots", "judges"), "CoSum")
        if not isinstance(record["judges"], dict) or len(record["judges"]) != NUM_JUDGES:
            raise UsageError(f"{path}: {name}: judges is not an object of {NUM_JUDGES} judges")
    return records


def _of_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """`<topic>/<n>` -> {shots, judges}. Raises UsageError for shots without judges and judges without shots."""
    records: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("shots/*/*.txt")):
        if match := SHOTS.fullmatch(file.stem):
            records[f"{file.parent.name}/{match[1]}"] = {"shots": _lines(file), "judges": {}}
    for file in sorted(folder.glob("annotation/*/*.mat")):
        if match := JUDGED.fullmatch(file.stem):
            name = f"{file.parent.name}/{match[1]}"
            if name not in records:
                raise UsageError(f"{file}: {folder / 'shots'} has no shots of {name}; get them from {WHERE}")
            records[name]["judges"][match[2]] = _chosen(file)
    if not records:
        raise UsageError(f"{folder / 'shots'} holds no files of shots; get them from {WHERE}")
    for name, record in records.items():
        if len(record["judges"]) != NUM_JUDGES:
            count = len(record["judges"])
            raise UsageError(
                f"{folder / 'annotation'}: {name} has {count} judges; expected {NUM_JUDGES}; get it from {WHERE}"
            )
    return dict(sorted(records.items(), key=lambda each: (each[0].split("/")[0], int(each[0].split("/")[1]))))


def _lines(path: Path) -> list[str]:
    check(path, WHERE)
    return path.read_text(encoding="utf-8-sig", errors="replace").split()


def _chosen(path: Path) -> Any:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    check(path, WHERE)
    try:
        values = loadmat(path, variable_names=("labels",))
    # As in `summe.read_mat`: scipy has no one error for damage.
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise UsageError(f"{path} is not a MATLAB 5 file, or is cut off ({error}); get it from {WHERE}") from error
    labels = values.get("labels")
    if labels is None or labels.ndim != 2 or labels.shape[1:] != (2,):
        raise UsageError(f"{path} has no matrix labels [chosen, 2]: another data set's file? Get it from {WHERE}")
    return labels[:, 0].tolist()


def _urls(path: Path) -> dict[str, str]:
    """`<topic's number>/<n>` -> address, with the topics of the folder `annotation`; empty without README."""
    topics = {folder.name[:2]: folder.name for folder in path.with_name("annotation").iterdir() if folder.is_dir()}
    urls: dict[str, str] = {}
    topic, count = None, 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        if match := TOPIC.match(line):
            topic, count = topics.get(match[1]), 0
        elif topic and (match := LINK.match(line)):
            count += 1
            urls[f"{topic}/{count}"] = match[1]
    return urls


def _video(path: Path, name: str, record: Mapping[str, Any], url: str | None) -> Video:
    frames = numbers(path, name, "shots", record["shots"], (None,))
    if len(frames) < 2 or frames[0] < 0 or frames[-1] <= frames[0] or (frames != np.floor(frames)).any():
        raise UsageError(f"{path}: {name}: shots does not hold the first frame of each shot and the end of the last")
    # Also the end of the last may lie before a start.
    frames = np.maximum.accumulate(frames).astype(np.int64)
    num = len(frames) - 1
    judged = np.stack(
        [_of_judge(path, f"{name}, {judge}", its, num) for judge, its in sorted(record["judges"].items())]
    )
    picks = (frames[:-1] + frames[1:]) // 2
    return make_video(
        path,
        video_id=name,
        frame_time_s=(picks / NOMINAL_FPS).astype(np.float32),
        frame_feature=np.zeros((num, 0), np.float32),
        user_score=judged.astype(np.float32),
        gt_score=judged.mean(0, dtype=np.float32),
        gt_summary=(judged.sum(0) >= MAJORITY).astype(np.uint8),
        picks=picks,
        n_frames=int(frames[-1]) + 1,
        query=_topic(name),
        url=url,
    )


def _of_judge(path: Path, name: str, value: Any, num: int) -> np.ndarray:
    """Which of the `num` shots a judge chose: bool [num]. Numbers of shots that are not listed are left out."""
    chosen = numbers(path, name, "the numbers of chosen shots", value, (None,))
    if (chosen < 1).any() or (chosen != np.floor(chosen)).any():
        raise UsageError(
            f"{path}: {name}: {chosen[(chosen < 1) | (chosen != np.floor(chosen))][0]:g} is no shot's number"
        )
    return np.isin(np.arange(1, num + 1), chosen)


def _topic(name: str) -> str:
    """`01_base_jump/1` -> `base jump`."""
    return re.sub(r"^\d+_", "", name.split("/")[0]).replace("_", " ")
