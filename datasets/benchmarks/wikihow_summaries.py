"""WikiHow Summaries (TL;DW, ECCV 2022): 2,106 how-to videos; a label says of each frame if the article shows it.

Where: medhini/Instructional-Video-Summarization on GitHub: `datasets/wikihowto_annt.json` (git-lfs) and the steps in
`datasets/how_to_steps.tar.gz`. The videos must be fetched, so there are no features; `vsumdata.datasets.join` adds
ours. Licence: MIT (repository), CC BY-NC-SA (wikiHow's text). The repository does not say which videos are validation
(768) and which are test (1,339).

Layout, read from medhini/Instructional-Video-Summarization@0b06055 video_loader.py, utils/evaluate_and_log.py,
test.py and datasets/wikihow_video_download.py: one JSON object, video id -> labels (0 or 1) of all frames at the
video's own rate; `how_to_steps/<article>.json` is {"video_url": …, "1": {text, img, vid}, "2": …}. The official code
compares scores and mean labels over segments of 32 frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsumdata.datasets.benchmarks.forms.downloads import find, read_json
from vsumdata.datasets.benchmarks.forms.eccv16 import NOMINAL_FPS
from vsumdata.datasets.protocol import protocol
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import UsageError

NAME = "wikihow-summaries"
PROTOCOL = protocol(NAME)
WHERE = "medhini/Instructional-Video-Summarization on GitHub (datasets)"
# The first is the file's name, the second is what the repository's README calls it.
ANNOTATIONS = ("wikihowto_annt.json", "wikihow_summ_annt.json")
# Papers train on other videos and measure on all of these.
TEST_ONLY = True
SEGMENT_FRAMES = 32
YOUTUBE_ID = re.compile(r"(?:embed/|v=|youtu\.be/)([\w-]{11})")


@dataclass(frozen=True)
class Article:
    """The article of one video; `slug` is its name in wikiHow's URLs."""

    slug: str
    youtube_id: str | None
    step: tuple[Mapping[str, Any], ...]


def load(path: str | Path) -> list[Video]:
    """The videos of the annotation file at `path`, or of a folder that holds it and perhaps `how_to_steps`.

    The T frames are the first frames of the segments. `gt_score` is the share of chosen frames in a segment,
    `user_summary` holds the labels themselves, and `frame_time_s` assumes 30 frames per second. Videos without a
    chosen frame are included: the protocol decides whether they count. Raises UsageError.
    """
    path = find(Path(path), ANNOTATIONS, WHERE)
    found = read_json(path, WHERE)
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path} is not a JSON object, video id -> labels of its frames; get it from {WHERE}")
    # The annotations may name a video by its article or by its YouTube id, so both lead to the article.
    articles = {name: article for article in _articles(path.parent) for name in (article.slug, article.youtube_id)}
    return [_video(path, video_id, labels, articles.get(video_id)) for video_id, labels in found.items()]


def _video(path: Path, video_id: str, labels: Any, article: Article | None) -> Video:
    if not isinstance(labels, list) or not labels or any(label not in (0, 1) for label in labels):
        raise UsageError(f"{path}: {video_id} is not a list of labels 0 or 1 for each frame: another data set's file?")
    label = np.array(labels, np.uint8)
    # As in the official code, the frames after the last whole segment belong to none. A video shorter than one
    # segment still needs one frame.
    picks = np.arange(max(1, len(label) // SEGMENT_FRAMES)) * SEGMENT_FRAMES
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
            raise UsageError(f"{path} has no video_url: it is not an article of WikiHow Summaries")
        youtube_id = YOUTUBE_ID.search(str(found["video_url"]))
        # By number: as text, step "10" comes before step "2".
        numbers = sorted((key for key in found if key.isdecimal()), key=int)
        steps = tuple({"section": None, "headline": str(found[key].get("text") or ""), "text": ""} for key in numbers)
        yield Article(path.stem, youtube_id[1] if youtube_id else None, steps)
