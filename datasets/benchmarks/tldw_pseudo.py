"""TL;DW's pseudo-summaries (ECCV 2022): 12,160 how-to videos of COIN and CrossTask, for training.

Where: medhini/Instructional-Video-Summarization on GitHub: `datasets/pseudoGT_summ_annts.json`, and the tasks of the
videos in `datasets/pseudoGT_task_annts.json`. The videos must be fetched, so there are no features;
`vsumdata.datasets.join` adds ours. Licence: MIT (repository).

Layout, read from pseudo_gt_generation.py@586a2e3 and video_loader.py@472b606: one JSON object, video id ->
{machine_summary, machine_summary_scores}, a value for each segment of 4 s (32 frames at 8 per second). Scores are
divided by their length over the video's steps. A last step of one segment was never scored: it has 0 in both lists.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import find, numbers, read_json
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "tldw-pseudo"
PROTOCOL = protocol("wikihow-summaries")
WHERE = "medhini/Instructional-Video-Summarization on GitHub (datasets)"
# The first is the file's name in the code, the second is what the repository's README calls it.
ANNOTATIONS = ("pseudoGT_summ_annts.json", "pseudoGT_annts.json")
TASKS = "pseudoGT_task_annts.json"
SUMMARY, SCORES = "machine_summary", "machine_summary_scores"
SEGMENT_S = 4
WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def load(path: str | Path) -> list[Video]:
    """The videos of the annotation file at `path`, or of the folder that holds it.

    The T frames are the seconds of the segments; `gt_score` is stretched to 0 … 1 in each video. A last segment that
    was never scored is left out. With the file of tasks beside it each video has its `task`. Raises UsageError.
    """
    path = find(Path(path), ANNOTATIONS, WHERE)
    found = read_json(path, WHERE)
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path} is not a JSON object, video id -> pseudo-summary; get it from {WHERE}")
    beside = path.with_name(TASKS)
    tasks = read_json(beside, WHERE) if beside.exists() else {}
    if not isinstance(tasks, dict) or not all(isinstance(task, str) for task in tasks.values()):
        raise UsageError(f"{beside} is not a JSON object, video id -> task; get it from {WHERE}")
    return [_video(path, video_id, record, tasks.get(video_id)) for video_id, record in found.items()]


def _video(path: Path, video_id: str, record: Any, task: str | None) -> Video:
    if not isinstance(record, dict) or not record.keys() >= {SUMMARY, SCORES}:
        raise UsageError(f"{path}: {video_id} has no {SUMMARY} with {SCORES}: another data set's file?")
    chosen = numbers(path, video_id, SUMMARY, record[SUMMARY], (None,))
    score = numbers(path, video_id, SCORES, record[SCORES], (len(chosen),))
    if not len(chosen) or not np.isin(chosen, (0, 1)).all():
        raise UsageError(f"{path}: {video_id}: {SUMMARY} is not a list of 0 and 1 for each segment")
    if len(score) > 1 and score[-1] == chosen[-1] == 0:
        score, chosen = score[:-1], chosen[:-1]
    # The more steps a video has, the smaller its scores are.
    score = (score - score.min()) / (np.ptp(score) or 1)
    # Seconds, not segments: a model is then trained at the rate of the frames that it is used on.
    score, chosen = (np.repeat(each, SEGMENT_S) for each in (score, chosen))
    return Video(
        video_id=video_id,
        frame_time_s=np.arange(len(score), dtype=np.float32),
        frame_feature=np.zeros((len(score), 0), np.float32),
        gt_score=score.astype(np.float32),
        gt_summary=chosen.astype(np.uint8),
        user_summary=chosen[None] > 0,
        url=f"https://www.youtube.com/watch?v={video_id}",
        # COIN's are in one word (`MakeSoap`), CrossTask's are numbers.
        task=WORD.sub(" ", task) if task else None,
    )
