"""A root of made-up videos, with pictures, texts that attack a page, and a video of every state."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from tests.pipeline.reports.test_status import IDS, Listed
from tests.pipeline.state.test_plan import GOOD

from vsumdata.stages.thumbnails import webp

SCRIPT = "<script>document.title='broken'</script>"
ATTACK = f"Fix a \"door\" & 'hinge' {SCRIPT}<img src=x onerror=\"document.title='broken'\">"
FRAMES = 40
KEPT, HOSTILE, UNPOPULAR, PRIVATE, BARE, UNREAD = IDS


def replay(peak: int) -> list[float]:
    return np.clip(1 - np.abs(np.arange(FRAMES) - peak) / 10, 0, 1).tolist()


def feature_row(title: str, peak: int, said: str) -> dict[str, Any]:
    sentence = [{"start_s": 2.0 * at, "end_s": 2.0 * at + 1.5, "text": f"{said} {at}"} for at in range(8)]
    step = [{"section": "", "headline": f"Do {said}.", "text": f"Do {said}. Then wait."}]
    return {
        "title": title, "url": "https://www.youtube.com/watch?v=abc", "duration_s": float(FRAMES), "task": title,
        "split": "train", "source": "ids:list.jsonl", "frame_time_s": list(range(FRAMES)),
        "frame_feature": [[1, 0, 0, 0]] * FRAMES, "replay_score": replay(peak),
        "shot_start": list(range(0, FRAMES, 4)), "shot_stop": list(range(4, FRAMES + 1, 4)),
        "sentence": sentence, "sentence_feature": np.eye(3)[[at % 3 for at in range(8)]].tolist(),
        "step": step, "step_feature": [[1.0, 0.0, 0.0]],
    }  # fmt: skip


def pictures() -> list[dict[str, Any]]:
    colours = np.linspace(0, 255, 4).astype(np.uint8)
    return [
        {"time_s": 5.0 + 10 * at, "webp": webp(np.full((64, 64, 3), colour, np.uint8), 160, 90)}
        for at, colour in enumerate(colours)
    ]


def made_up(folder: Path) -> Listed:
    """A root of six videos: two with features, one of them hostile; unpopular, private, without features, unread."""
    root = Listed(folder)
    of = {video_id: root.plan("videos", root.of(video_id)).tasks[0] for video_id in IDS}
    kept = GOOD | {"title": "Fold a plane", "channel": "The Workshop", "published": date(2024, 3, 1)}
    kept |= {"url": "https://www.youtube.com/watch?v=abc", "license": "CC BY", "duration_s": float(FRAMES)}
    root.commit(of[KEPT], "videos", **kept)
    hostile = {"title": ATTACK, "url": f"javascript:document.title='broken'//{SCRIPT}", "channel": SCRIPT}
    root.commit(of[HOSTILE], "videos", **kept | hostile | {"view_count": 2_000_000, "license": SCRIPT})
    root.commit(of[UNPOPULAR], "videos", **kept | {"view_count": 40_000, "title": "Nobody saw it"})
    root.commit(of[PRIVATE], "videos", "skipped", reason="private")
    root.commit(of[BARE], "videos", **kept | {"title": "Without frames", "view_count": 70_000})
    rows = {KEPT: feature_row("Fold a plane", 20, "fold it"), HOSTILE: feature_row(ATTACK, 30, f"</script>{ATTACK}")}
    text: dict[str, Any] = {"kind": "manual", "language": "en", "sentence": []}
    seen = {"frame_time_s": list(range(FRAMES)), "shot_start": [0, 20], "shot_stop": [20, FRAMES]}
    quality = dict.fromkeys(("coverage", "sound_marks", "words_per_minute", "repeated"), 0.5)
    text["caption_quality"] = {"clean": True, "reason": "", **quality}
    for table, payload in (
        ("articles", {"license": "CC BY-NC-SA", "step": []}),
        ("transcripts", text),
        ("frames", seen),
    ):
        for task in root.plan(table, [*root.of(KEPT), *root.of(HOSTILE)]).tasks:
            root.commit(task, table, **payload)
    (bare,) = root.plan("frames", root.of(BARE)).tasks
    root.commit(bare, "frames", "failed", reason="unreadable")
    for video_id, row in rows.items():
        (task,) = root.plan("features", root.of(video_id)).tasks
        root.commit(task, "features", **row)
        (task,) = root.plan("thumbnails", root.of(video_id)).tasks
        root.commit(task, "thumbnails", thumbnail=pictures())
    return root
