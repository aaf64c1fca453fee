"""WikiHow Summaries (TL;DW, ECCV 2022): 2,106 how-to videos, each frame marked as in or out of the article's pictures.

Where: medhini/Instructional-Video-Summarization on GitHub: `datasets/wikihowto_annt.json` (git-lfs) and the steps in
`datasets/how_to_steps.tar.gz`; the videos have to be fetched, so there are no features: join them with
`vsumdata.datasets.join`. Licence: MIT (repository), text CC BY-NC-SA (wikiHow). Which videos are validation (768) and
which are test (1,339) is not published with it.

Layout, read from medhini/Instructional-Video-Summarization@0b06055 video_loader.py, utils/evaluate_and_log.py,
test.py and datasets/wikihow_video_download.py: one JSON object, video id -> labels (0 or 1) of all frames at the
video's own rate; `how_to_steps/<article>.json` is {"video_url": …, "1": {text, img, vid}, "2": …}. Scores are compared
per segment of 32 frames with the mean label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.downloads import read_json
from vsumdata.datasets.eccv16 import NOMINAL_FPS
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.pipeline.errors import UsageError

NAME = "wikihow-summaries"
PROTOCOL = protocol(NAME)
WHERE = "medhini/Instructional-Video-Summarization on GitHub (datasets)"
ANNOTATIONS = ("wikihowto_annt.json", "wikihow_summ_annt.json")  # the file's name, and what its README calls it
SEGMENT_FRAMES = 32
YOUTUBE_ID = re.compile(r"(?:embed/|v=|youtu\.be/)([\w-]{11})")


@dataclass(frozen=True)
class Article:
    slug: str
    youtube_id: str | None
    step: tuple[Mapping[str, Any], ...]


def load(path: str | Path) -> list[Video]:
    """The videos of the annotation file at `path`, or of a folder that holds it and perhaps `how_to_steps`.

    The T "frames" are the first ones of the segments, `gt_score` is a segment's share of chosen frames,
    `user_summary` the labels themselves; `frame_time_s` assumes 30 frames per second. A video without a chosen
    frame is kept: whether it counts is the protocol's affair. Raises UsageError.
    """
    path = _find(Path(path))
    found = read_json(path, WHERE)
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path} is no object of videos and their frames' labels; get it from {WHERE}")
    articles = {name: article for article in _articles(path.parent) for name in (article.slug, article.youtube_id)}
    return [_video(path, video_id, labels, articles.get(video_id)) for video_id, labels in found.items()]


def _find(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in ANNOTATIONS:
        for found in sorted(path.rglob(name)):
            return found
    raise UsageError(f"{path} holds no {ANNOTATIONS[0]}; get it from {WHERE}")


def _video(path: Path, video_id: str, labels: Any, article: Article | None) -> Video:
    if not isinstance(labels, list) or not labels or any(label not in (0, 1) for label in labels):
        raise UsageError(f"{path}: {video_id} is not a list of labels 0 or 1 for each frame: another data set's file?")
    label = np.array(labels, np.uint8)
    picks = np.arange(max(1, len(label) // SEGMENT_FRAMES)) * SEGMENT_FRAMES  # a rest at the end has no segment
    score = [label[first : first + SEGMENT_FRAMES].mean() for first in picks]
    youtube_id = article.youtube_id if article else None
    return Video(
        video_id=video_id,
        frame_time_s=(picks / NOMINAL_FPS).astype(np.float32),
        frame_feature=np.zeros((len(picks), 0), np.float32),
        gt_score=np.array(score, np.float32),
        user_summary=label[None] != 0,
        picks=picks,
        n_frames=len(label),
        url=f"https://www.youtube.com/watch?v={youtube_id}" if youtube_id else None,
        article_url=f"https://www.wikihow.com/{article.slug}" if article else None,
        task=article.slug.replace("-", " ") if article else None,
        step=article.step if article else (),
        license="CC BY-NC-SA 3.0",
    )


def _articles(folder: Path) -> Iterator[Article]:
    for path in sorted((folder / "how_to_steps").glob("*.json")):
        found = read_json(path, WHERE)
        if not isinstance(found, dict) or "video_url" not in found:
            raise UsageError(f"{path} has no video_url: it is none of WikiHow Summaries' articles")
        youtube_id = YOUTUBE_ID.search(str(found["video_url"]))
        numbers = sorted((key for key in found if key.isdecimal()), key=int)
        steps = tuple({"section": None, "headline": str(found[key].get("text") or ""), "text": ""} for key in numbers)
        yield Article(path.stem, youtube_id[1] if youtube_id else None, steps)
