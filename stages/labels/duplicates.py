"""The `duplicates` table: videos that are one, as re-uploads and shorts cut from a video.

Of two videos it is told by their id at the site, by the course of their pictures (`courses`), by what is said in them
(`wordings`), or by title and length, unless their pictures differ. A video that is cut of another one is never the best
of the two; of the rest it is one with a heatmap, then the most watched. Before all, it has frames: without them it gets
no row of `features`, and where `select` drops duplicates its group would have none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vsumdata.datasets.splits import normalise
from vsumdata.stages.labels.courses import Courses, faiss
from vsumdata.stages.labels.wordings import Wordings
from vsumdata.stages.stage import Context, Row, WholeFunction

TABLE = "duplicates"
ID, TITLE, FRAMES, TRANSCRIPT = "id", "title", "frames", "transcript"
# The stronger kind names a pair that several hold of.
KINDS = (ID, FRAMES, TRANSCRIPT, TITLE)
# A video with less than this share of the other's length is a cut of it; a re-upload may be faster by a tenth.
CUT_LENGTH = 0.85


class Known(NamedTuple):
    """What is kept of a video in memory."""

    video_id: str
    keys: tuple[str, ...]  # ids and addresses at its site
    title: str
    duration_s: float
    has_frames: bool
    has_heatmap: bool
    views: int


class Link(NamedTuple):
    """Two videos that are one."""

    first: str
    second: str
    kind: str
    confidence: float


def load(options: Mapping[str, Any], context: Context) -> WholeFunction:
    """Return the function of `duplicates`: from the rows of all videos to a payload for each.

    Raises UsageError if faiss is not installed.
    """
    faiss()

    def compare(rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
        scratch = Path(context.scratch) / TABLE
        scratch.mkdir(exist_ok=True)
        known, courses, wordings = read(rows, Courses(scratch / "courses", options["fps"], context.threads))
        links = [*by_id(known)]
        links += [each for each in by_title(known, options["title_s"]) if not courses.differ(each.first, each.second)]
        if courses.names:
            links += [Link(*match[:2], FRAMES, match[2]) for match in courses.matches(options["min_frames"])]
        links += [Link(*match[:2], TRANSCRIPT, match[2]) for match in wordings.matches(options["min_words"])]
        (scratch / "courses").unlink(missing_ok=True)
        yield from grouped(known, links)

    return compare


def read(rows: Iterable[Row], courses: Courses) -> tuple[list[Known], Courses, Wordings]:
    """Go through all rows; nothing of a row is kept but what the comparisons need."""
    known, wordings = list[Known](), Wordings()
    is_fitted = courses.fit(feature for feature in map(feature_of, rows) if feature is not None)
    for row in rows:
        known.append(known_of(row))
        if is_fitted and (feature := feature_of(row)) is not None:
            courses.add(row["video_id"], feature)
        if row["transcripts"] is not None:
            wordings.add(row["video_id"], " ".join(each["text"] for each in row["transcripts"]["sentence"]))
    return known, courses, wordings


def feature_of(row: Row) -> np.ndarray | None:
    """The features [T,D] of a video's frames; None without any."""
    feature = None if row["frames"] is None else np.asarray(row["frames"]["frame_feature"])
    # The components of all videos' frames cannot be found with one that is not finite.
    return feature if feature is not None and len(feature) and np.isfinite(feature).all() else None


def known_of(row: Row) -> Known:
    video = row["videos"] or {}
    keys = tuple(video[name] for name in ("source_id", "url") if video.get(name))
    title, duration_s = normalise(video.get("title") or ""), video.get("duration_s") or 0.0
    has_frames, has_heatmap = row["frames"] is not None, bool(video.get("heatmap"))
    return Known(row["video_id"], keys, title, duration_s, has_frames, has_heatmap, video.get("view_count") or 0)


def by_id(known: Iterable[Known]) -> Iterator[Link]:
    """Videos of one id or address at their site, under two ids of ours."""
    seen: dict[str, str] = {}
    for video in known:
        for key in video.keys:
            if (first := seen.setdefault(key, video.video_id)) != video.video_id:
                yield Link(first, video.video_id, ID, 1.0)


def by_title(known: Iterable[Known], title_s: float) -> Iterator[Link]:
    """Videos of one title whose lengths differ by at most `title_s`."""
    alike: dict[str, list[Known]] = defaultdict(list)
    for video in known:
        if video.title and video.duration_s:
            alike[video.title].append(video)
    for videos in alike.values():
        for one, other in pairwise(sorted(videos, key=lambda video: video.duration_s)):
            if other.duration_s - one.duration_s <= title_s:
                yield Link(one.video_id, other.video_id, TITLE, one.duration_s / other.duration_s)


def grouped(known: Iterable[Known], links: Iterable[Link]) -> Iterator[tuple[str, Row]]:
    """A payload for each video: its group and what tells that it belongs there."""
    of = {video.video_id: video for video in known}
    near: dict[str, dict[str, Link]] = defaultdict(dict)
    for link in sorted(links, key=lambda link: (-KINDS.index(link.kind), link.confidence)):
        # The strongest comes last.
        near[link.first][link.second] = near[link.second][link.first] = link
    group: dict[str, list[str]] = {}
    for video_id in of:
        if video_id not in group:
            members = reached(video_id, near)
            members.sort(key=lambda member: rank(of[member], [of[other] for other in near[member]]))
            group |= dict.fromkeys(members, members)
    for video_id in of:
        members = group[video_id]
        best = members[0]
        # What tells of a member is its link with the best one, else the strongest that it has.
        links_of = near[video_id]
        like = best if best in links_of else max(links_of, key=lambda other: links_of[other].confidence, default=None)
        found = links_of[like] if like is not None else None
        yield (
            video_id,
            {
                "group": best if len(members) > 1 else None,
                "is_best": video_id == best,
                "like": like,
                "kind": found.kind if found else None,
                "confidence": found.confidence if found else None,
            },
        )


def reached(video_id: str, near: Mapping[str, Mapping[str, Link]]) -> list[str]:
    """All videos that links lead to from this one, itself included."""
    found, left = {video_id}, [video_id]
    while left:
        new = set(near.get(left.pop(), ())) - found
        found |= new
        left += new
    return list(found)


def rank(video: Known, others: Iterable[Known]) -> tuple[bool, bool, bool, int, str]:
    """The better of a group's videos come first."""
    is_cut = any(video.duration_s < CUT_LENGTH * other.duration_s for other in others)
    return not video.has_frames, is_cut, not video.has_heatmap, -video.views, video.video_id
