"""HiREST (Zala et al., CVPR 2023): how-to videos by their task, with the moment that shows it and its steps.

Where: j-min/HiREST on GitHub, data/splits: `all_data_train.json`, `all_data_val.json`, `all_data_test.json` (546, 292
and 546 tasks; 1,507, 477 and 1,391 videos), and data/evaluation: `formatted_moment_evaluation_gt.json` (steps of 507
test videos). Each may be packed (`.gz`). Licence: MIT. The videos must be fetched from YouTube: `--features ROOT` joins
ours.

Layout, from j-min/HiREST@deffc16 README.md and evaluate.py: task -> {`<YouTube id>.mp4`: {relevant, clip, v_duration,
bounds [start, end], steps: [{index, heading, absolute_bounds}]}}. `clip` is false where the whole video shows the task:
it then has no moment, and no moment is scored. `formatted_moment_evaluation_gt.json` has, without task and duration,
`<YouTube id>.mp4` -> {captions: [{start, end, sentence}], bounds [steps,2]}. The negative samples of video retrieval
and the categories of tasks are not read.

What its code computes: R@0.5 and R@0.7 of the one predicted moment of a video (protocol `hirest`), and recall and
precision of the steps' bounds (function `bound_scores` in `train/scoring/metrics_moments.py`); of captions BLEU,
METEOR, ROUGE-L, CIDEr and SPICE for each step within its given bounds, BERTScore, CLIPScore and entailment. Scores of
frames have no measure of its own: they are ranked against the moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import numbers
from vsumdata.datasets.benchmarks.forms.eccv16 import make_video
from vsumdata.datasets.benchmarks.forms.gzipped import need_keys, read_object
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "hirest"
PROTOCOL = protocol(NAME)
WHERE = "j-min/HiREST on GitHub (data/splits)"
FILE = re.compile(r"all_data_(train|val|test)\.json(\.gz)?")
EVALUATION = "formatted_moment_evaluation_gt.json"
SPLITS = ("train", "val", "test")
KEYS = ("relevant", "clip", "v_duration", "bounds", "steps")
# In seconds: `v_duration` and the annotators' players may differ by so much.
MAX_BEYOND = 1.0
WATCH = "https://www.youtube.com/watch?v="


def load(path: str | Path) -> list[Video]:
    """The videos of the files in the folder `path` (or in its folder `splits`), train first; or of one of these files.

    A frame is a second. `query` and `task` are the task's name; `moment` [1,2] is the part that shows it, and
    `gt_summary` and `gt_score` are 1 there, None without a moment. `step` has the steps' headlines, `summary` each with
    its seconds. Raises UsageError for a missing or wrong file.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} is not there; get it from {WHERE}")
    if not path.is_dir():
        match = FILE.fullmatch(path.name)
        return _once([(path, _of_file(path, match[1] if match else None))])
    folder = path / "splits" if (path / "splits").is_dir() else path
    files = {match[1]: file for file in sorted(folder.iterdir()) if (match := FILE.fullmatch(file.name))}
    if not files:
        raise UsageError(
            f"{folder} holds no all_data_train.json, all_data_val.json or all_data_test.json; get it from {WHERE}"
        )
    return _once([(files[split], _of_file(files[split], split)) for split in SPLITS if split in files])


def _once(parts: list[tuple[Path, Iterator[Video]]]) -> list[Video]:
    videos: dict[str, Video] = {}
    for path, its in parts:
        for video in its:
            if video.video_id in videos:
                raise UsageError(f"{path}: {video.video_id} is there twice, or in two splits; get it from {WHERE}")
            videos[video.video_id] = video
    return list(videos.values())


def _of_file(path: Path, split: str | None) -> Iterator[Video]:
    found = read_object(path, "HiREST's annotation", WHERE)
    first = next(iter(found.values()))
    if isinstance(first, dict) and "captions" in first:
        for file, record in found.items():
            need_keys(path, file, record, ("captions", "bounds"), "HiREST")
            yield _of_evaluation(path, file, record)
        return
    seen: set[str] = set()
    for task, videos in found.items():
        if not isinstance(videos, dict) or not task.strip():
            raise UsageError(f"{path}: {task!r} is not a task with its videos: this is not HiREST's annotation")
        for file, record in videos.items():
            need_keys(path, f"{task}: {file}", record, KEYS, "HiREST")
            name = _youtube_id(path, file)
            # A video may show two tasks.
            yield _of_task(path, name if name not in seen else f"{name} ({task})", task, record, split)
            seen.add(name)


def _youtube_id(path: Path, file: str) -> str:
    if not (name := file.removesuffix(".mp4")).strip():
        raise UsageError(f"{path}: a video's file is {file!r}; expected `<YouTube id>.mp4`")
    return name


def _of_task(path: Path, name: str, task: str, record: Mapping[str, Any], split: str | None) -> Video:
    duration_s = float(numbers(path, name, "v_duration", record["v_duration"], ()))
    if duration_s <= 0:
        raise UsageError(f"{path}: {name}: v_duration is {duration_s:g} s")
    if not isinstance(record["clip"], bool) or not isinstance(record["steps"], list):
        raise UsageError(f"{path}: {name}: clip is not true or false, or steps is no list")
    bounds = numbers(path, name, "bounds", record["bounds"], (2,))
    steps = []
    for number, step in enumerate(record["steps"]):
        need_keys(path, f"{name}, step {number}", step, ("heading", "absolute_bounds"), "HiREST")
        steps.append((step["heading"], numbers(path, name, f"step {number}", step["absolute_bounds"], (2,))))
    return _video(path, name, steps, duration_s, bounds if record["clip"] else None, split=split, task=task, query=task)


def _of_evaluation(path: Path, file: str, record: Mapping[str, Any]) -> Video:
    name = _youtube_id(path, file)
    if not isinstance(record["captions"], list) or not record["captions"]:
        raise UsageError(f"{path}: {name}: captions is no list of steps")
    steps = []
    for number, step in enumerate(record["captions"]):
        need_keys(path, f"{name}, step {number}", step, ("start", "end", "sentence"), "HiREST")
        steps.append((step["sentence"], numbers(path, name, f"step {number}", [step["start"], step["end"]], (2,))))
    bounds = numbers(path, name, "bounds", record["bounds"], (len(steps), 2))
    if not np.array_equal(bounds, [its for _, its in steps]):
        raise UsageError(f"{path}: {name}: bounds and captions differ in the steps' times")
    return _video(path, name, steps, None, np.array([bounds.min(), bounds.max()]), split="test")


def _video(
    path: Path,
    name: str,
    steps: list[tuple[Any, np.ndarray]],
    duration_s: float | None,
    moment: np.ndarray | None,
    **more: Any,
) -> Video:
    bounds = [its for _, its in steps] if moment is None else [moment, *(its for _, its in steps)]
    last_s = duration_s or float(np.max(bounds))
    for start, end in bounds:
        # One moment of the published ones begins where it ends.
        if not 0 <= start <= end <= last_s + MAX_BEYOND:
            raise UsageError(f"{path}: {name}: {start:g} to {end:g} s is not within the video's {last_s:g} s")
    if any(not isinstance(text, str) or not text.strip() for text, _ in steps):
        raise UsageError(f"{path}: {name}: a step has no headline")
    second = np.arange(max(1, int(np.ceil(last_s))))
    # Where all or nothing is the moment, no ranking of seconds is better than another.
    inside = None if moment is None else (second >= np.floor(moment[0])) & (second < moment[1])
    if inside is not None and (inside.all() or not inside.any()):
        inside = None
    summary = [{"text": " ".join(text.split()), "time_s": _seconds(its)} for text, its in steps]
    return make_video(
        path,
        video_id=name,
        frame_time_s=second.astype(np.float32),
        frame_feature=np.zeros((len(second), 0), np.float32),
        gt_summary=None if inside is None else inside.astype(np.uint8),
        gt_score=None if inside is None else inside.astype(np.float32),
        moment=None if moment is None else moment[None],
        step=tuple({"section": "", "headline": each["text"], "text": ""} for each in summary),
        summary=tuple(summary) or None,
        summary_text=". ".join(str(each["text"]) for each in summary) or None,
        duration_s=duration_s,
        url=WATCH + name[:11],
        license="MIT",
        **more,
    )


def _seconds(bounds: np.ndarray) -> list[float]:
    """The whole seconds of a step, at least the one in which it begins."""
    first = int(np.floor(bounds[0]))
    return [float(at) for at in range(first, max(first + 1, int(np.ceil(bounds[1]))))]
