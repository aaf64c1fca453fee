"""`vsumdata report`: a root as one HTML file that needs no network. The same pages serve `vsumdata view`."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from vsumdata.manifests import terminal
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.store import Store
from vsumdata.pipeline.reports.page import drawing
from vsumdata.pipeline.reports.page.facts import Facts, VideoFacts, facts
from vsumdata.pipeline.reports.page.shown import Scores, Shown, shown

if TYPE_CHECKING:
    import jinja2

DEFAULT_VIDEOS = 200
# Rows of the table unless `--videos all` is given: a browser sorts them at once, and they take some 4 MB.
MAX_ROWS = 10_000
TEMPLATES = Path(__file__).with_name("templates")
UNKNOWN = "–"
# Columns of `quality`: title, how a value is written, ends of the axis.
QUALITY: Sequence[tuple[str, str, Callable[[float], str], tuple[float, float] | None]] = (
    ("speech_share", "Share of the video in which somebody speaks", lambda value: percent(value), (0, 1)),
    ("words_per_minute", "Words a minute", lambda value: number(value), None),
    ("static_share", "Share of frames that stand still", lambda value: percent(value), (0, 1)),
    ("text_frame_agreement", "Agreement of words and pictures (cosine)", lambda value: number(value, 2), None),
)


def report(
    root: str | Path,
    output: str | Path,
    *,
    videos: int | None = DEFAULT_VIDEOS,
    checkpoint: str | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the page of a root to the file `output`, which appears whole or not at all; return its path.

    `videos`: how many videos get a part of the page, the most viewed first; None for all. `checkpoint`: a run whose
    scores and keyshots are drawn. `told` gets a line for what somebody waits for. Raises UsageError.
    """
    path = Path(output).expanduser()
    if path.is_dir():
        raise UsageError(f"--output {output} is a folder; give a file, e.g. {path / 'report.html'}")
    store = Store(root)
    found = facts(store)
    wanted = [each for each in found.videos if each.is_done and not each.left_out][:videos]
    scored: Mapping[str, Scores] = {}
    if checkpoint:
        from vsumdata.pipeline.reports.page.scored import Scorer

        scorer = Scorer(checkpoint, store)
        told(f"scoring {len(wanted)} videos with {checkpoint}")
        scored = dict(scorer.of([each.video_id for each in wanted]))
    sections = shown(store, wanted, scored)
    rows = found.videos if videos is None else found.videos[:MAX_ROWS]
    try:
        file = tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False)  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror or error}") from error
    try:
        with file:
            for piece in pieces(found, rows, wanted, sections):
                file.write(piece)
        # A temporary file is its user's alone; a page is like any file that a program writes.
        os.chmod(file.name, 0o666 & ~_umask())
        os.replace(file.name, path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise
    return path.resolve()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def pieces(
    found: Facts, rows: Sequence[VideoFacts], wanted: Sequence[VideoFacts], sections: Iterable[Shown]
) -> Iterator[str]:
    """The report's HTML, a video at a time: thousands of them never are in memory together."""
    yield head(found, rows, [each.video_id for each in wanted])
    parts = environment().get_template("parts.html").module
    for each in sections:
        yield str(parts.video(each, (), False))  # type: ignore[attr-defined]
    yield end(has_sections=True)


def head(
    found: Facts, rows: Sequence[VideoFacts], sections: Collection[str], *, live: bool = False, stamp: str = ""
) -> str:
    """The page up to its videos. `sections`: the ids that the table links to. `live`: for `view`."""
    return (
        environment()
        .get_template("page.html")
        .render(
            **_common(live),
            title=f"{found.summary['manifest']['name']}: {Path(found.summary['root']).name or found.summary['root']}",
            facts=found,
            rows=rows,
            num_left_out=len(found.videos) - len(rows),
            sections=set(sections),
            num_done=sum(each.is_done and not each.left_out for each in found.videos),
            charts=charts(found.kept),
            agreements=agreements(found),
            live=live,
            stamp=stamp,
            only=None,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def video_page(each: Shown, *, with_media: bool) -> str:
    """The page of one video, for `view`. `with_media`: whether it has a player."""
    live = {each.facts.video_id} if with_media else {""}
    head = (
        environment()
        .get_template("page.html")
        .render(**_common(True), title=each.facts.title or each.facts.video_id, only=each, live=live, stamp="")
    )
    return head + end(has_sections=False)


def end(*, has_sections: bool) -> str:
    """The page after its videos."""
    return environment().get_template("end.html").render(script=Markup(asset("page.js")), has_sections=has_sections)


def _common(live: bool) -> dict[str, Any]:
    # Whatever a title or a caption says, the browser runs this one script and loads nothing from anywhere.
    script = base64.b64encode(hashlib.sha256(asset("page.js").encode()).digest()).decode()
    served = "; img-src 'self' data:; media-src 'self'; connect-src 'self'" if live else "; img-src data:"
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'{served}"
    return {"style": Markup(asset("style.css")), "policy": f"{policy}; script-src 'sha256-{script}'"}


@functools.cache
def asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@functools.cache
def environment() -> jinja2.Environment:
    """Templates that escape everything but our own markup."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    found.filters |= {
        "number": number,
        "clock": lambda value: UNKNOWN if value is None else terminal.clock(value),
        "percent": percent,
        "anchor": lambda video_id: f"v-{quote(video_id, safe='')}",
        "spans": lambda sentences: [(each.start_s, each.end_s) for each in sentences],
        "pretty": lambda value: json.dumps(value, indent=1, ensure_ascii=False, default=str),
    }
    found.globals |= {"rects": drawing.rects, "curve": drawing.curve}
    return found


def agreements(found: Facts) -> list[tuple[dict[str, Any], Markup]]:
    """What is told of each pair of labels, and the distribution of tau over videos."""
    pairs = [] if found.labels is None else [pair for pair in found.labels.pairs if pair.f1]
    drawn = [drawing.histogram(pair.tau, lambda value: number(value, 2), span=(-1, 1)) for pair in pairs]
    return list(zip((pair.told() for pair in pairs), drawn, strict=True))


def number(value: float | None, places: int = 0) -> str:
    """A number for a person; a dash where it is not known."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:,.{places}f}"


def percent(value: float | None) -> str:
    """A share for a person; a dash where it is not known."""
    return UNKNOWN if value is None else f"{value:.0%}"


def charts(kept: Sequence[VideoFacts]) -> list[tuple[str, Markup]]:
    """The distributions of numbers, with their titles."""

    def known(name: str) -> list[float]:
        return [float(value) for each in kept if (value := getattr(each, name)) is not None]

    count: Callable[[float], str] = number
    return [
        ("Views", drawing.histogram(known("views"), count, is_log=True)),
        ("Length (min:s)", drawing.histogram(known("duration_s"), terminal.clock, is_log=True)),
        ("Sentences", drawing.histogram(known("num_sentences"), count)),
        ("Words a second", drawing.histogram(known("words_per_s"), lambda value: number(value, 1))),
        ("Steps of the article", drawing.histogram([v for v in known("num_steps") if v], count)),
        ("Shots", drawing.histogram(known("num_shots"), count, is_log=True)),
        ("Share of frames with a replay score ≥ 0.15", drawing.histogram(known("important"), percent, span=(0, 1))),
        ("Replay curve over the video", drawing.band([each.curve for each in kept if each.curve])),
        ("Where the peak of the replay curve lies", drawing.histogram(known("peak"), percent, span=(0, 1))),
        *(
            (title, drawing.histogram(known(name), label, span=span))
            for name, title, label, span in QUALITY
            if known(name)
        ),
    ]
