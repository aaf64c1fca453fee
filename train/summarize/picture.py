"""summary.png: thumbnails of the chosen shots above the curve of importance over time."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsumdata.train.summarize.summary import Shot, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_THUMBNAILS = 8
THUMBNAIL_HEIGHT = 270  # pixels
# Points of a curve. The axis is about 1,100 pixels wide: thousands of points would make one solid block.
MAX_POINTS = 400
CHOSEN, CURVE, REPLAY, KEY = "#f2b134", "#1b4f8f", "#c0392b", "#2e7d32"


def numbered_shots(shots: Sequence[Shot]) -> list[Shot]:
    """The chosen shots that get a thumbnail, in order of time: all of them, or the best if they are too many."""
    chosen = [shot for shot in shots if shot.chosen]
    best = sorted(chosen, key=lambda shot: -shot.score)[:MAX_THUMBNAILS]
    return sorted(best, key=lambda shot: shot.start_s)


def draw(summary: Summary, thumbnails: Mapping[float, np.ndarray], path: Path) -> None:
    """Write the picture as PNG. `thumbnails` maps the start of a shot, in seconds, to uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    numbered = [shot for shot in numbered_shots(summary.shots) if shot.start_s in thumbnails]
    # Without pyplot: it chooses a backend for a screen, and keeps every figure in memory until it is closed.
    figure = Figure(figsize=(12.8, 7.2 if numbered else 5.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(2 if numbered else 1, 1, height_ratios=[1, 1.7] if numbered else None, squeeze=False)
    if numbered:
        draw_thumbnails(parts[0, 0], numbered, [thumbnails[shot.start_s] for shot in numbered])
    draw_curve(parts[-1, 0].subplots(), summary, numbered)
    # A title such as "$5 meals under $10" is no formula.
    figure.suptitle(title_of(summary), fontsize=12, parse_math=False)
    with warnings.catch_warnings():
        # A title may be in any script, and matplotlib's font has few of them: it draws boxes instead, and warns.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure.savefig(path, format="png")


def title_of(summary: Summary) -> str:
    """The title of the video, and how much of it the summary takes."""
    name = textwrap.shorten(" ".join((summary.title or summary.video_id).split()), 90, placeholder=" …")
    count = sum(shot.chosen for shot in summary.shots)
    share = summary.summary_s / summary.duration_s if summary.duration_s else 1.0
    return (
        f"{name}\n{summary.method}: {count} of {len(summary.shots)} shots, {clock(summary.summary_s)} of "
        f"{clock(summary.duration_s)} ({share:.0%}, budget {summary.budget:.0%})"
    )


def draw_thumbnails(area: Figure, shots: Sequence[Shot], pictures: Sequence[np.ndarray]) -> None:
    """One row of numbered thumbnails."""
    # At least four columns: a single picture would be drawn over the whole width.
    axes = area.subplots(1, max(len(shots), 4), squeeze=False)[0]
    for ax in axes:
        ax.set_axis_off()
    for number, (ax, shot, picture) in enumerate(zip(axes, shots, pictures, strict=False), 1):
        ax.imshow(picture)
        ax.set_title(f"{number}  {clock(shot.start_s)}", fontsize=10, loc="left")


def draw_curve(ax: Axes, summary: Summary, numbered: Sequence[Shot]) -> None:
    """Importance, replays if known, the chosen shots and the key sentences over time."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    length_s = max(summary.duration_s, 1 / summary.fps)
    # In a video of hours a shot of seconds would be thinner than a pixel.
    least_s = length_s / 600
    for at, shot in enumerate(shot for shot in summary.shots if shot.chosen):
        end_s = max(shot.end_s, shot.start_s + least_s)
        ax.axvspan(shot.start_s, end_s, color=CHOSEN, alpha=0.45, lw=0, label=None if at else "chosen shots")
    for number, shot in enumerate(numbered, 1):
        middle_s = (shot.start_s + shot.end_s) / 2
        ax.annotate(str(number), (middle_s, 1.06), ha="center", va="bottom", fontsize=10, annotation_clip=False)
    curve(ax, summary.replay_score, summary, "most replayed (YouTube)", REPLAY, "--")
    curve(ax, summary.frame_score, summary, f"importance ({summary.method})", CURVE, "-")
    if summary.highlight:
        span = (summary.highlight.start_s, summary.highlight.end_s)
        ax.plot(span, (1.02, 1.02), color=KEY, lw=4, solid_capstyle="butt", label="highlight")
    key = [(sentence.start_s + sentence.end_s) / 2 for sentence in summary.sentences if sentence.chosen]
    if key:
        ax.plot(key, np.full(len(key), 0.02), "^", color=KEY, ms=6, label="key sentences")
    ax.set_xlim(0, length_s)
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("time (min:s)" if length_s < 3600 else "time (h:min:s)")
    ax.set_ylabel("score (0 to 1)")
    ax.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 1.5, 3, 6, 10], min_n_ticks=2, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value, length_s)))
    ax.grid(axis="y", alpha=0.3)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False)


def curve(ax: Axes, score: Sequence[float] | None, summary: Summary, label: str, color: str, style: str) -> None:
    """One score over time: each value lasts from its frame to the next. A long video shows means over stretches."""
    if not score:
        return
    width = -(-len(score) // MAX_POINTS)
    firsts = np.arange(0, len(score), width)
    means = np.add.reduceat(np.asarray(score, np.float64), firsts) / np.diff([*firsts, len(score)])
    if width > 1:
        label += f", means over {width / summary.fps:g} s"
    ax.stairs(
        means,
        [*(firsts / summary.fps), len(score) / summary.fps],
        label=label,
        color=color,
        ls=style,
        lw=1.6,
        baseline=None,
    )


def clock(time_s: float, length_s: float | None = None) -> str:
    """m:ss, or h:mm:ss from an hour on. `length_s`, if given, decides the form, so that all labels of an axis agree."""
    seconds = round(time_s)
    hours, minutes = seconds // 3600, seconds // 60
    if (seconds if length_s is None else length_s) >= 3600:
        return f"{hours}:{minutes % 60:02}:{seconds % 60:02}"
    return f"{minutes}:{seconds % 60:02}"
