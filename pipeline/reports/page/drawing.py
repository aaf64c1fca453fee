"""Charts as SVG text: numbers in, markup out. Nothing here is made of text from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 320.0, 96.0  # of a histogram, in the units of its viewBox
TIMELINE = 1000.0  # the length of a video, in the units of its viewBox
NUM_BINS = 20
# A bar of nothing is not seen, and one of a single video among ten thousand would not be either.
LEAST_BAR = 1.5


def histogram(
    values: Sequence[float],
    label: Callable[[float], str],
    *,
    is_log: bool = False,
    span: tuple[float, float] | None = None,
) -> Markup:
    """A histogram with the ends of its axis written under it; each bar says its range and number.

    `span`: where the axis begins and ends, by default at the least and the largest value. `is_log`: bins of equal ratio
    where the values span more than a factor of ten.
    """
    found = np.asarray([value for value in values if math.isfinite(value)], np.float64)
    if not len(found):
        return Markup('<p class="none">nothing to count</p>')
    edges = bins(found, is_log=is_log, span=span)
    counts, _ = np.histogram(found, edges)
    width, most = WIDTH / len(counts), max(1, int(counts.max()))
    bars = []
    for at, number in enumerate(counts.tolist()):
        if not number:
            continue
        tall = max(LEAST_BAR, number / most * HEIGHT)
        low, high = label(edges[at]), label(edges[at + 1])
        # Bins of one whole number each are named by it.
        said = low if edges[at + 1] - edges[at] == 1 and span is None else f"{low} to {high}"
        bars.append(
            f'<rect x="{at * width + 0.5:.1f}" y="{HEIGHT - tall:.1f}" width="{width - 1:.1f}" '
            f'height="{tall:.1f}"><title>{said}: {number:,}</title></rect>'
        )
    quarter, median, three = np.percentile(found, [25, 50, 75])
    said = f"median {label(median)}, half of them from {label(quarter)} to {label(three)}, {len(found):,} in all"
    low, high = (label(value) for value in (span or (found.min(), found.max())))
    return Markup(
        f'<svg class="bars" viewBox="0 0 {WIDTH:g} {HEIGHT + 14:g}" role="img" aria-label="Histogram: {said}">'
        f'{"".join(bars)}<path class="axis" d="M0 {HEIGHT:g}H{WIDTH:g}"/><text x="0" y="{HEIGHT + 12:g}">{low}</text>'
        f'<text x="{WIDTH:g}" y="{HEIGHT + 12:g}" text-anchor="end">{high}</text></svg><p class="said">{said}</p>'
    )


def bins(values: np.ndarray, *, is_log: bool, span: tuple[float, float] | None) -> np.ndarray:
    """Edges of at most NUM_BINS bins, of equal width, or of equal ratio with `is_log`: float64 [bins + 1]."""
    low, high = span or (float(values.min()), float(values.max()))
    if span is None and (values == np.round(values)).all() and high - low < NUM_BINS:
        return np.arange(low, high + 2)
    if is_log and high > max(low, 1) * 10:
        ratios = np.geomspace(max(low, 1), high, NUM_BINS + (low >= 1))
        return ratios if low >= 1 else np.concatenate([[low], ratios])
    return np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)


def band(curves: Sequence[Sequence[float]]) -> Markup:
    """The mean of curves of one length, and between which values the middle half of them lies."""
    if not curves:
        return Markup('<p class="none">nothing to count</p>')
    found = np.asarray(curves, np.float64)
    low, high = np.percentile(found, [25, 75], axis=0)
    mean = found.mean(axis=0)
    there = _points(high, WIDTH, HEIGHT)
    back = _points(low, WIDTH, HEIGHT)[::-1]
    peak = int(mean.argmax()) / len(mean)
    said = f"mean of {len(found):,} curves; the mean is highest at {peak:.0%} of the video"
    return Markup(
        f'<svg class="band" viewBox="0 0 {WIDTH:g} {HEIGHT + 14:g}" role="img" aria-label="{said}">'
        f'<path class="half" d="M{" ".join([*there, *back])}Z"/>'
        f'<path class="mean" d="M{" ".join(_points(mean, WIDTH, HEIGHT))}"/>'
        f'<path class="axis" d="M0 {HEIGHT:g}H{WIDTH:g}"/><text x="0" y="{HEIGHT + 12:g}">start</text>'
        f'<text x="{WIDTH:g}" y="{HEIGHT + 12:g}" text-anchor="end">end</text></svg><p class="said">{said}; '
        "shaded: the middle half</p>"
    )


def curve(values: Sequence[float], name: str, *, filled: bool = False) -> Markup:
    """A curve over a whole video, in the viewBox 0 0 1000 100."""
    points = _points(np.asarray(values, np.float64), TIMELINE, 100)
    closed = f"M0 100L{' '.join(points)}L{TIMELINE:g} 100Z" if filled else f"M{' '.join(points)}"
    return Markup(f'<path class="{name}" d="{closed}"/>')


def _points(values: np.ndarray, width: float, height: float) -> list[str]:
    steps = max(1, len(values) - 1)
    return [f"{at * width / steps:.1f} {(1 - value) * height:.1f}" for at, value in enumerate(values.tolist())]


def rects(spans: Sequence[tuple[float, float]], length_s: float, name: str, top: float, tall: float) -> Markup:
    """Spans of seconds as rectangles on a video's clock, each at least one unit wide; one path for all."""
    found = []
    for start_s, end_s in spans:
        left, right = (min(max(0.0, at / length_s), 1.0) * TIMELINE for at in (start_s, end_s))
        wide = max(1.0, right - left - 0.8)
        found.append(f"M{left:.1f} {top:g}h{wide:.1f}v{tall:g}h{-wide:.1f}z")
    return Markup(f'<path class="{name}" d="{"".join(found)}"/>' if found else "")
