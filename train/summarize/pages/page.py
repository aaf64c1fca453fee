"""summary.html: a player, the curve of importance and the chosen shots, in one file that needs no network.

The page refers to the film and to the original by relative paths, so that a moved folder still works. With JavaScript
it plays the original and skips to the chosen shots; without, it shows the film, the curve and the lists. Everything
that a video brings (titles, sentences, file names) is escaped by jinja2.
"""

from __future__ import annotations

import base64
import functools
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np

from vsumdata.manifests.terminal import clock
from vsumdata.train.summarize.summary import Shot, Summary

FILM = "summary.mp4"
# The curve's own units; the page stretches it to its width.
WIDTH, HEIGHT = 1000, 200
# More points than the curve has pixels would show nothing more.
MAX_POINTS = 500
POSTER_HEIGHT = 180
JPEG_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the index: a video's name, its page and picture, what was chosen; or why there is no summary."""

    name: str
    title: str
    link: str | None = None
    poster: str | None = None
    told: str = ""
    error: str = ""


def summary_page(made: Summary, thumbnails: Mapping[float, np.ndarray], original: Path | None, home: str | Path) -> str:
    """The page as HTML. `thumbnails` maps the start of a shot, in seconds, to uint8 [height, width, 3].

    `home` is the folder where the page will lie; `original` is the video's own file, if it is on this machine.
    """
    chosen = [shot for shot in made.shots if shot.chosen]
    return (
        _environment()
        .get_template("summary.html")
        .render(
            made=made,
            title=made.title or made.video_id,
            film=FILM if FILM in made.files else None,
            original=relative(original, home),
            told=told(made),
            shots=[_shot(shot, thumbnails.get(shot.start_s)) for shot in chosen],
            curve=_curve(made),
            data=_data(made),
            width=WIDTH,
            height=HEIGHT,
        )
    )


def index_page(title: str, entries: Sequence[Entry], told: str) -> str:
    """The page that leads to the summaries of a folder, as HTML."""
    failed = [entry for entry in entries if entry.error]
    done = [entry for entry in entries if not entry.error]
    return _environment().get_template("index.html").render(title=title, done=done, failed=failed, told=told)


def told(made: Summary) -> str:
    """What the summary is, in a line: `step-cm: 4 of 12 shots, 0:18 of 2:03 (15 %)`."""
    count = sum(shot.chosen for shot in made.shots)
    share = made.summary_s / made.duration_s if made.duration_s else 1.0
    length = f"{clock(made.summary_s)} of {clock(made.duration_s)} ({share:.0%})"
    return f"{made.method}: {count} of {len(made.shots)} shots, {length}"


def relative(path: Path | None, home: str | Path) -> str | None:
    """The address of a file as seen from the folder `home`; None where there is no way (another drive)."""
    if path is None:
        return None
    try:
        way = os.path.relpath(Path(path).resolve(), Path(home).resolve())
    except ValueError:
        return None
    # Percent signs, question marks and hashes in a file's name would be read as parts of an address.
    return quote(Path(way).as_posix(), errors="surrogateescape")


def poster(image: np.ndarray | None) -> str | None:
    """A picture uint8 [height, width, 3] as the address of a small JPEG that the page holds itself."""
    if image is None:
        return None
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((4 * POSTER_HEIGHT, POSTER_HEIGHT))
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    # By its own folder, not by PackageLoader: it wants an __init__.py, which no folder here has.
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["clock"] = clock
    return found


def _shot(shot: Shot, image: np.ndarray | None) -> dict[str, Any]:
    return {"start_s": shot.start_s, "end_s": shot.end_s, "score": shot.score, "poster": poster(image)}


def _data(made: Summary) -> dict[str, Any]:
    """What the script needs: times alone and the sentences, whose text it sets as text, never as HTML."""
    return {
        "duration_s": made.duration_s,
        "segments": [[each.start_s, each.end_s, each.at_s] for each in made.segments],
        "sentences": [[each.start_s, each.end_s, each.text] for each in made.sentences],
    }


def _curve(made: Summary) -> dict[str, Any]:
    """The polygons of the curves and the bars of the chosen shots, in the curve's units."""
    length_s = max(made.duration_s, 1 / made.fps)
    chosen = [shot for shot in made.shots if shot.chosen]
    bars = [(shot.start_s / length_s * WIDTH, max(1.0, shot.length_s / length_s * WIDTH)) for shot in chosen]
    marks = [(part, clock(part / 4 * length_s)) for part in range(5)]
    return {
        "score": _points(made.frame_score, made.fps, length_s),
        # The same curve twice would hide the first one.
        "replay": _points(made.replay_score or () if made.replay_score != made.frame_score else (), made.fps, length_s),
        "bars": [(round(at, 1), round(width, 1)) for at, width in bars],
        "marks": marks,
    }


def _points(score: Sequence[float], fps: float, length_s: float) -> str:
    """A curve as steps, each as long as its frames; a long video shows means over stretches. "" without scores."""
    if not len(score):
        return ""
    width = -(-len(score) // MAX_POINTS)
    firsts = np.arange(0, len(score), width)
    means = np.add.reduceat(np.asarray(score, np.float64), firsts) / np.diff([*firsts, len(score)])
    edges = np.minimum([*(firsts / fps), len(score) / fps], length_s) / length_s * WIDTH
    height = HEIGHT * (1 - np.clip(means, 0, 1))
    found = [f"{edges[at + side]:.1f},{y:.1f}" for at, y in enumerate(height) for side in (0, 1)]
    return " ".join(found)
