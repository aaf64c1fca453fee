"""A benchmark's annotations with our own features: CLIP instead of GoogLeNet, sentences where the benchmark has none.

The benchmark keeps its grid, so that nothing about its annotations or its scoring changes: each of its `picks` takes
the features of our frame that is nearest in time. Its videos are found in our root by their YouTube id (from `url`),
their `video_id` or their title (SumMe's file names).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np

from vsumdata.datasets.shards import Shards, open_shards
from vsumdata.datasets.video import Video

MOST_APART = 0.05  # relative difference in length up to which two videos count as the same cut


@dataclass
class Joined:
    """What became of each video of the benchmark: joined with which of ours, or why not."""

    joined: dict[str, str] = field(default_factory=dict)  # the benchmark's video_id -> ours
    left_out: dict[str, str] = field(default_factory=dict)  # the benchmark's video_id -> reason
    farthest_s: float = 0.0  # longest way in time from a pick to the frame whose features it got

    def __str__(self) -> str:
        total = len(self.joined) + len(self.left_out)
        text = f"{len(self.joined)} of {total} videos have our features (at most {self.farthest_s:.1f} s away)"
        missing = [f"{video_id}: {reason}" for video_id, reason in self.left_out.items()]
        return f"{text}; without: {'; '.join(missing)}" if missing else text


def join_features(videos: Sequence[Video], root: str | Path) -> tuple[list[Video], Joined]:
    """Those of `videos` that the root at `root` has features of, and a report that names all others.

    A joined video is the benchmark's, with our features, sentences, steps and texts. Where the benchmark does not
    tell how long a video is, ours is believed. Raises UsageError where `root` is none of ours.
    """
    shards, report, found = open_shards(root), Joined(), []
    at = {video_id: i for i, video_id in enumerate(shards.video_ids)}
    for video in videos:
        ours = _look_up(video, shards, at)
        if ours is None:
            report.left_out[video.video_id] = f"not in the root ({' or '.join(dict.fromkeys(names(video)))})"
        elif why := _differ(video, ours):
            report.left_out[video.video_id] = why
        else:
            joined, apart_s = _joined(video, ours)
            found.append(joined)
            report.joined[video.video_id] = ours.video_id
            report.farthest_s = max(report.farthest_s, apart_s)
    return found, report


def names(video: Video) -> Iterator[str]:
    """The names under which a benchmark's video may be in a root of ours, the surest first."""
    if video.url:
        query = parse_qs(urlsplit(video.url).query)
        yield from query.get("v", [])
    yield video.video_id
    if video.title:
        yield video.title


def _look_up(video: Video, shards: Shards, at: Mapping[str, int]) -> Video | None:
    return next((shards[at[name]] for name in names(video) if name in at), None)


def _differ(video: Video, ours: Video) -> str | None:
    """Why two videos of one name cannot be the same cut."""
    if not len(ours.frame_time_s):
        return "our video has no frames"
    if video.duration_s and ours.duration_s:
        apart = abs(video.duration_s - ours.duration_s) / video.duration_s
        if apart > MOST_APART:
            return f"lasts {video.duration_s:.1f} s, ours {ours.duration_s:.1f} s: another cut"
    return None


def _joined(video: Video, ours: Video) -> tuple[Video, float]:
    """The benchmark's video with our features, and how far apart in time the farthest pair of frames is."""
    time_s = video.frame_time_s.astype(np.float64)
    if not video.duration_s and video.n_frames and video.picks is not None and ours.duration_s:
        time_s = video.picks * (ours.duration_s / video.n_frames)
    theirs = ours.frame_time_s.astype(np.float64)
    middles = (theirs[1:] + theirs[:-1]) / 2
    nearest = np.searchsorted(middles, time_s)
    joined = replace(
        video,
        frame_time_s=time_s.astype(np.float32),
        frame_feature=ours.frame_feature[nearest],
        duration_s=video.duration_s or ours.duration_s,
        task=video.task or ours.task,
        sentence=ours.sentence,
        sentence_feature=ours.sentence_feature,
        sentence_label=None,
        summary_feature=None,
        step=ours.step,
        step_feature=ours.step_feature,
        description=ours.description,
        description_feature=ours.description_feature,
        global_text=ours.global_text,
        global_feature=ours.global_feature,
    )
    return joined, float(np.abs(theirs[nearest] - time_s).max())
