"""Write our summaries as records of Instruct-V2Xum, which V2Xum-LLM trains on.

A record has three conversations about its video, one for each task: both (each sentence behind the token of its first
frame), video (the tokens of all frames) and text. `<fk>` stands for a frame, `meta.token` says when it is shown.
`vsum_onehot` has one entry a second, with ones where frames of the summary are. Only the first question holds
`<video>`, as in every talk about one video.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

FORMAT = "instruct-v2xum"
BOTH, VIDEO, TEXT = (
    "Please generate BOTH video and text summarization for this video.",
    "Please generate a VIDEO summarization for this video.",
    "Please generate a TEXT summarization for this video.",
)
# A headline may hold `<video>` or `[<f3>]`: no text may be taken for a token.
HARMLESS = str.maketrans("[]<>", "()‹›")


@dataclass
class Exported:
    """A report: how many videos were written, and why others were not."""

    number: int = 0
    left_out: dict[str, str] = field(default_factory=dict)  # video_id -> reason


def export(videos: Iterable[Video], path: str | Path) -> Exported:
    """Write the videos that have a summary as a JSON list. An older file is replaced once all are written.

    Raises UsageError if the folder is missing, or no video can be written.
    """
    path, done = Path(path), Exported()
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it first")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for video in videos:
                made = record(video)
                if made is None:
                    done.left_out[video.video_id] = "no summary with frames"
                    continue
                # One at a time: 30,000 records take hundreds of megabytes.
                file.write((",\n" if done.number else "[\n") + json.dumps(made, ensure_ascii=False))
                done.number += 1
            file.write("\n]\n")
        if not done.number:
            raise UsageError(f"none of the {len(done.left_out)} videos has a summary: run `--stage summaries` first")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return done


def record(video: Video) -> dict[str, Any] | None:
    """The record of a video; None if no sentence of its summary has a frame."""
    sentences = [
        (each["text"].translate(HARMLESS).strip(), list(map(float, each["time_s"])))
        for each in video.summary or ()
        if len(each["time_s"])
    ]
    if not sentences:
        return None
    moments = sorted({time_s for _, times in sentences for time_s in times})
    token = {time_s: f"<f{k}>" for k, time_s in enumerate(moments)}
    duration_s = float(video.duration_s if video.duration_s is not None else len(video.frame_time_s))
    seconds = max(math.ceil(duration_s), int(moments[-1]) + 1)
    shown = {int(time_s) for time_s in moments}
    both = " ".join(f"[{token[times[0]]}]{text}" for text, times in sentences)
    whole = f"[{', '.join(token.values())}]"
    spoken = " ".join(text for text, _ in sentences)
    turns = [(f"<video>\n{BOTH}", both), (VIDEO, whole), (TEXT, spoken)]
    return {
        "id": video.video_id,
        "meta": {
            "duration": duration_s,
            "sampled_frames": seconds,
            "token": {name: time_s for time_s, name in token.items()},
        },
        "conversations": [
            {"from": who, "value": value}
            for question, answer in turns
            for who, value in (("human", question), ("gpt", answer))
        ],
        "vsum_onehot": [int(second in shown) for second in range(seconds)],
    }
