"""Join a benchmark's annotations with our own features: CLIP instead of GoogLeNet, and sentences.

The benchmark keeps its grid, so its annotations and its scoring stay the same: each of its `picks` takes the feature
of our nearest frame in time. Where users judged the frames themselves, those that our video does not reach are cut off.
A video is found in our root by its YouTube id (from `url`), its `video_id` or its title (SumMe's file names). One that
is cut out of a longer video (`offset_s`) takes frames and sentences of that part of ours.
`text:ROOT` instead of ROOT brings our texts alone, beside the benchmark's own features; `i3d:FOLDER` brings MSVA's
features of motion beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload
from urllib.parse import parse_qs, urlsplit

import numpy as np

from vsumdata.datasets.benchmarks.forms.i3d import MOTION, with_motion
from vsumdata.datasets.shards import Shards, open_shards
from vsumdata.datasets.video import SHAPES, Video

# Relative. YouTube's copy and the benchmark's file differ a little in length; another cut differs by more.
MOST_APART = 0.05
TEXT_ALONE = "text:"
# Data sets whose ids are YouTube's, behind a prefix.
YOUTUBE_IDS = {
    "shards": "", "instruct-v2xum": "", "videoxum": "v_", "youtube-highlights": "", "umt-tvsum": "", "hirest": "",
    "tldw-pseudo": "",
}  # fmt: skip
# With these the frames' features are the data set's own, or begin with them.
KEEPS_FRAMES = (TEXT_ALONE, MOTION)


def replaces_frames(features: str | None) -> bool:
    """Whether `--features` brings features of frames of one kind in place of the data set's own."""
    return bool(features) and not str(features).startswith(KEEPS_FRAMES)


@dataclass
class Joined:
    """A report on each video of the benchmark: the video of ours that it is joined with, or why there is none."""

    joined: dict[str, str] = field(default_factory=dict)  # the benchmark's video_id -> ours
    left_out: dict[str, str] = field(default_factory=dict)  # the benchmark's video_id -> reason
    farthest_s: float = 0.0  # largest distance in time from a pick to the frame whose feature it got
    cut: dict[str, int] = field(default_factory=dict)  # the benchmark's video_id -> frames that ours lacks at the end
    text_alone: bool = False
    told: str = ""  # the whole report, if it is not of a root

    def __str__(self) -> str:
        if self.told:
            return self.told
        total = len(self.joined) + len(self.left_out)
        if self.text_alone:
            # Of Mr. HiSum thousands may lack text: a count and the first will do.
            first = f"; the first without: {next(iter(self.left_out))}" if self.left_out else ""
            return f"{len(self.joined)} of {total} videos have our texts, unless their lengths differ{first}"
        text = f"{len(self.joined)} of {total} videos have our features (at most {self.farthest_s:.1f} s away)"
        if self.cut:
            most = max(self.cut.values())
            text += f"; {len(self.cut)} end before the annotations, which are cut by up to {most} frames"
        missing = [f"{video_id}: {reason}" for video_id, reason in self.left_out.items()]
        return f"{text}; without: {'; '.join(missing)}" if missing else text


class Spoken(Sequence[Video]):
    """`videos`, each with the texts of our video at its place in `ours` (None: without), read when it is asked for."""

    def __init__(self, videos: Sequence[Video], shards: Shards, ours: Sequence[int | None]) -> None:
        self.videos, self.shards, self.ours = videos, shards, tuple(ours)

    @property
    def video_ids(self) -> list[str]:
        known: list[str] | None = getattr(self.videos, "video_ids", None)
        return [video.video_id for video in self.videos] if known is None else known

    def __len__(self) -> int:
        return len(self.ours)

    @overload
    def __getitem__(self, at: int) -> Video: ...
    @overload
    def __getitem__(self, at: slice) -> Spoken: ...
    def __getitem__(self, at: int | slice) -> Video | Spoken:
        if isinstance(at, slice):
            return Spoken(self.videos[at], self.shards, self.ours[at])
        video, place = self.videos[at], self.ours[at]
        return video if place is None else _spoken(video, self.shards[place])


def join_text(videos: Sequence[Video], root: str) -> tuple[Sequence[Video], Joined]:
    """All of `videos`, with our texts where the root has them, and a report that names the others.

    A lazy sequence stays lazy. Raises UsageError if `root` is not a vsumdata root.
    """
    shards, report = open_shards(root), Joined(text_alone=True)
    at = {video_id: i for i, video_id in enumerate(shards.video_ids)}
    places: list[int | None] = []
    # `described` gives the names of a lazy sequence's videos: to read them all would take as long as an epoch.
    for video in getattr(videos, "described", videos):
        place = next((at[name] for name in names(video) if name in at), None)
        places.append(place)
        if place is None:
            report.left_out[video.video_id] = "not in the root"
        else:
            report.joined[video.video_id] = shards.video_ids[place]
    found = Spoken(videos, shards, places)
    return (found if hasattr(videos, "described") else list(found)), report


def _spoken(video: Video, ours: Video) -> Video:
    ours = cut_out(video, ours)
    # Times of another cut would put sentences beside frames that they do not speak of.
    if _differ(video, ours):
        return video
    time_s = _times(video, ours).astype(np.float32)
    return replace(video, frame_time_s=time_s, task=video.task or ours.task, **_texts(ours))


def join_features(videos: Sequence[Video], root: str | Path, data_set: str = "") -> tuple[Sequence[Video], Joined]:
    """Those of `videos` for which the root has features, and a report that names all others.

    A joined video is the benchmark's video with our features, sentences, steps and texts. If the benchmark gives no
    duration, ours is used. With `text:ROOT` see `join_text`, with `i3d:FOLDER` `with_motion`, which finds the features
    of `data_set` there. Raises UsageError if `root` is not a vsumdata root, or the folder does not have the features.
    """
    if str(root).startswith(MOTION):
        moving, told = with_motion(videos, Path(str(root).removeprefix(MOTION)), data_set)
        return moving, Joined(told=told)
    if str(root).startswith(TEXT_ALONE):
        return join_text(videos, str(root).removeprefix(TEXT_ALONE))
    shards, report, found = open_shards(root), Joined(), []
    at = {video_id: i for i, video_id in enumerate(shards.video_ids)}
    for video in videos:
        ours = _look_up(video, shards, at)
        if ours is not None:
            ours = cut_out(video, ours)
        if ours is None:
            report.left_out[video.video_id] = f"not in the root ({' or '.join(dict.fromkeys(names(video)))})"
        elif why := _differ(video, ours):
            report.left_out[video.video_id] = why
        else:
            shorter = _cut(video, float(ours.frame_time_s[-1]))
            if shorter is not video:
                report.cut[video.video_id] = len(video.frame_time_s) - len(shorter.frame_time_s)
            joined, apart_s = _joined(shorter, ours)
            found.append(joined)
            report.joined[video.video_id] = ours.video_id
            report.farthest_s = max(report.farthest_s, apart_s)
    return found, report


def cut_out(video: Video, ours: Video) -> Video:
    """Our video in the times of the benchmark's, which begins at `offset_s` of it; `ours` where it is the cut itself.

    Frames before and after the cut keep their features, with times outside of it. Sentences are those that overlap it.
    """
    if video.offset_s is None or ours.video_id not in _on_youtube(video):
        return ours
    start_s = video.offset_s
    # Without a duration our last frame tells how much there is.
    lasts_s = (ours.duration_s or float(ours.frame_time_s.max(initial=0))) - start_s
    end_s = start_s + (video.duration_s or lasts_s)
    heard = [at for at, its in enumerate(ours.sentence) if its["end_s"] > start_s and its["start_s"] < end_s]
    return replace(
        ours,
        frame_time_s=(ours.frame_time_s.astype(np.float64) - start_s).astype(np.float32),
        # Not 0, which would be taken for no known length: below 0 our video ends before the cut begins.
        duration_s=min(lasts_s, end_s - start_s) or -1.0,
        sentence=[
            {
                **ours.sentence[at],
                "start_s": max(0.0, float(ours.sentence[at]["start_s"]) - start_s),
                "end_s": min(end_s, float(ours.sentence[at]["end_s"])) - start_s,
            }
            for at in heard
        ],
        sentence_feature=None if ours.sentence_feature is None else ours.sentence_feature[heard],
        sentence_label=None,
        step_span=None if ours.step_span is None else _within(ours.step_span, start_s, end_s),
    )


def _within(span: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """The spans [P,2] in seconds since `start_s`, cut at both ends; NaN for one that lies outside."""
    inside = (span[:, 1] > start_s) & (span[:, 0] < end_s)
    return np.where(inside[:, None], span.clip(start_s, end_s) - start_s, np.nan).astype(np.float32)


def names(video: Video) -> Iterator[str]:
    """The ids under which a benchmark's video may be in our root, the most certain first."""
    # A YouTube id is unique. `video_7` is in many data sets, and a title may be anything.
    yield from _on_youtube(video)
    yield video.video_id
    if video.title:
        yield video.title


def _on_youtube(video: Video) -> list[str]:
    """The YouTube id in the video's address, if there is one."""
    return parse_qs(urlsplit(video.url).query).get("v", []) if video.url else []


def on_youtube(data_set: str, video_id: str) -> str | None:
    """The YouTube id of a video of that data set, None where its id is another. Own files in a root keep their id."""
    prefix = YOUTUBE_IDS.get(data_set)
    return None if prefix is None else video_id.removeprefix(prefix)


def _look_up(video: Video, shards: Shards, at: Mapping[str, int]) -> Video | None:
    return next((shards[at[name]] for name in names(video) if name in at), None)


def _differ(video: Video, ours: Video) -> str | None:
    """Why two videos of one name cannot be the same cut; None where they can."""
    if not len(ours.frame_time_s):
        return "our video has no frames"
    if ours.duration_s and ours.duration_s < 0:
        return "our video ends before the cut begins"
    if video.duration_s and ours.duration_s:
        apart = abs(video.duration_s - ours.duration_s) / video.duration_s
        if apart > MOST_APART:
            return f"lasts {video.duration_s:.1f} s, ours {ours.duration_s:.1f} s: another cut"
    return None


def _times(video: Video, ours: Video) -> np.ndarray:
    """The seconds of the benchmark's frames, float64 [T]."""
    # Without a duration the benchmark's times assume 30 frames per second. Our duration gives the true rate: on a
    # video of 15 fps the assumed times are wrong by a factor of two.
    if not video.duration_s and video.n_frames and video.picks is not None and ours.duration_s:
        return np.asarray(video.picks * (ours.duration_s / video.n_frames), np.float64)
    return video.frame_time_s.astype(np.float64)


def _texts(ours: Video) -> dict[str, Any]:
    """Our texts as fields of Video."""
    return {
        "sentence": ours.sentence,
        "sentence_feature": ours.sentence_feature,
        # It describes the benchmark's own sentences, which are gone.
        "sentence_label": None,
        "step": ours.step,
        "step_feature": ours.step_feature,
        "step_span": ours.step_span,
        "description": ours.description,
        "description_feature": ours.description_feature,
        "global_text": ours.global_text,
        "global_feature": ours.global_feature,
    }


def _cut(video: Video, last_s: float) -> Video:
    """`video` without the frames that are a whole step or more after `last_s`, when our last frame is shown.

    VideoXum's code cuts annotations and features to the shorter. Where shots or picks count frames, nothing is cut.
    """
    time_s, total = video.frame_time_s.astype(np.float64), len(video.frame_time_s)
    counts = (video.picks, video.n_frames, video.change_points, video.shot_start)
    if total < 2 or any(each is not None for each in counts):
        return video
    step_s = time_s[1] - time_s[0]
    num = int((time_s < last_s + step_s).sum())
    if not 0 < num < total:
        return video
    values: dict[str, Any] = {}
    for name, shape in SHAPES.items():
        array = getattr(video, name)
        if array is not None and "T" in shape:
            values[name] = array[(slice(None),) * shape.index("T") + (slice(num),)]
    if video.user_summary is not None and video.user_summary.shape[1] == total:
        values["user_summary"] = video.user_summary[:, :num]
    if video.summary is not None:
        values["summary"] = tuple(
            {**each, "time_s": [at for at in each["time_s"] if at < time_s[num - 1] + step_s]} for each in video.summary
        )
    return replace(video, **values)


def _joined(video: Video, ours: Video) -> tuple[Video, float]:
    """The benchmark's video with our features, and the largest distance in seconds from a pick to its frame."""
    time_s = _times(video, ours)
    theirs = ours.frame_time_s.astype(np.float64)
    middles = (theirs[1:] + theirs[:-1]) / 2
    nearest = np.searchsorted(middles, time_s)
    joined = replace(
        video,
        frame_time_s=time_s.astype(np.float32),
        frame_feature=ours.frame_feature[nearest],
        duration_s=video.duration_s or ours.duration_s,
        task=video.task or ours.task,
        # It describes the benchmark's own features, which are gone.
        summary_feature=None,
        **_texts(ours),
    )
    return joined, float(np.abs(theirs[nearest] - time_s).max())
