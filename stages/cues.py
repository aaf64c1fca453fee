"""Caption files of every format → cues: pieces of text with their times, each spoken word once.

Formats: YouTube's json3, WebVTT and SRT. A rolling track (YouTube's automatic captions) shows each line again
under the next one, and once more in cues of 10 ms between; here a cue keeps only the lines that are new.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from vsumdata.pipeline.errors import VsumdataError

ECHO_S = 0.05  # a rolling track's echo cues last 10 ms
SCREEN_LINES = 10  # more lines are never on the screen; bounds the search for repeated ones

CLOCK, FRACTION = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})", r"[.,]\s?(\d+)"
TIMING_LINE = re.compile(rf"\s*{CLOCK}(?:{FRACTION})?\s*--?>\s*{CLOCK}(?:{FRACTION})?")
WORD_TIME = re.compile(rf"<{CLOCK}{FRACTION}>")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.,]*>|\{\\[^{}]*\}")  # WebVTT and SRT tags, {\an8} of SubStation
# How a word of Japanese or Chinese is read; its end tag may be missing.
RUBY = re.compile(r"<rt\b[^<>]*>.*?(?:</rt>|(?=</ruby>)|$)", re.IGNORECASE | re.MULTILINE)
LINE_BREAK = re.compile(r"\\[Nh]")  # SubStation's line break and no-break space, which players take in SRT too
BLOCK = re.compile(r"(NOTE|STYLE|REGION)\b")
# Not the zero-width joiners: words of Persian and of India's scripts are spelled with them.
INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
NOT_SPOKEN = re.compile(r"\[[^\[\]]{0,60}\]|[♩♪♫♬]|(?<!\S)>{2,3}")  # [Music], notes, a change of speaker


class CaptionError(VsumdataError):
    """The text is not a caption file of the format that it is said to be."""


class Cue(NamedTuple):
    """Text shown from `start_s` to `end_s`; `anchors` are (position in `text`, time in s) of timed words."""

    start_s: float
    end_s: float
    text: str
    anchors: tuple[tuple[int, float], ...] = ()


def number(value: Any) -> float | None:
    """A finite number of a JSON document, where long ones may be texts, else None."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12:
        return None
    return float(value) if math.isfinite(value) else None


def read_json3(text: str) -> tuple[list[Cue], bool]:
    """YouTube's json3: events of segments, and whether segments carry times of their own."""
    try:
        document = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise CaptionError(f"not a json3 caption file: {error}") from None
    events = document.get("events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise CaptionError("not a json3 caption file: it has no list of events")
    cues = []
    for event in events:
        segments = event.get("segs") if isinstance(event, dict) else None
        if isinstance(segments, list):
            # A time that is not there is 0, as in the protocol buffers that these files are made of.
            start_ms, duration_ms = (number(event.get(key)) or 0.0 for key in ("tStartMs", "dDurationMs"))
            cues.append(json3_cue(segments, max(0.0, start_ms), max(0.0, duration_ms)))
    return cues, any(cue.anchors for cue in cues)


def json3_cue(segments: list[Any], start_ms: float, duration_ms: float) -> Cue:
    """One event. Appended events (`aAppend`: mostly a line break) only add what they hold themselves."""
    text, anchors = "", []
    for segment in segments:
        piece = segment.get("utf8") if isinstance(segment, dict) else None
        if not isinstance(piece, str):
            continue
        piece = clean(piece)
        offset_ms = number(segment.get("tOffsetMs"))
        if offset_ms is not None and piece.strip():
            anchors.append((len(text) + len(piece) - len(piece.lstrip()), (start_ms + offset_ms) / 1000))
        text += piece
    return Cue(start_ms / 1000, (start_ms + duration_ms) / 1000, text, tuple(anchors))


def read_cues(text: str, header: bool) -> tuple[list[Cue], bool]:
    """WebVTT and SRT, and whether they roll or time their words: then a cue's end is not that of its words."""
    lines = [*text.removeprefix("\ufeff").splitlines(), ""]
    starts = [i for i, line in enumerate(lines) if TIMING_LINE.match(line)]
    if not starts and not (header and lines[0].startswith("WEBVTT")):
        raise CaptionError("not a caption file: it has no line such as 00:00:01.000 --> 00:00:02.000")
    shown = []
    for here, following in pairwise([*starts, len(lines)]):
        match = TIMING_LINE.match(lines[here])
        assert match is not None
        start_s, end_s = seconds(*match.group(1, 2, 3, 4)), seconds(*match.group(5, 6, 7, 8))
        rows = [row for row in payload(lines[here + 1 : following]) if plain(row).strip()]
        shown.append((start_s, max(start_s, end_s), rows))
    shown.sort(key=lambda cue: cue[0])
    rolls = is_rolling(shown)
    cues = [vtt_cue(*cue) for cue in (unrolled(shown) if rolls else shown) if cue[2]]
    return cues, rolls or any(cue.anchors for cue in cues)


def seconds(hours: str | None, minutes: str, whole: str, fraction: str | None) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{fraction or 0}")


def payload(lines: list[str]) -> list[str]:
    """The text of a cue out of all lines up to the next timing line, which may hold blank ones.

    Right above the next timing line stands that cue's name, or its number even where the blank line is missing.
    """
    kept: list[str] = []
    after_blank = skipping = False
    for i, line in enumerate(lines):
        blank = not line.strip()
        skipping = not blank and (skipping or (after_blank and BLOCK.match(line) is not None))
        is_name = i == len(lines) - 1 and (after_blank or line.strip().isdecimal())
        if not blank and not skipping and not is_name:
            kept.append(line)
        after_blank = blank or (i == 0 and is_name)
    return kept


Rows = tuple[float, float, list[str]]  # start_s, end_s, lines of a cue


def is_rolling(cues: Sequence[Rows]) -> bool:
    """Whether lines are shown again by the next cue, as in YouTube's automatic captions and in television's.

    One echo, or one line carried over, is enough where words are timed; else it takes a fifth, or a half of
    the cues: people repeat themselves too.
    """
    timed = any(WORD_TIME.search(line) for _, _, lines in cues for line in lines)
    echoes = carried = 0
    for (_, _, before), (start_s, end_s, after) in pairwise(cues):
        repeated = num_repeated(before, after)
        echoes += 0 < end_s - start_s <= ECHO_S and (repeated > 0 or not after)
        carried += 0 < repeated < len(after)
    if timed:
        return echoes + carried > 0
    return 5 * echoes > len(cues) or 2 * carried > len(cues) > 2


def unrolled(cues: Sequence[Rows]) -> Iterator[Rows]:
    """Only the lines that a cue adds to what was on the screen before it."""
    screen: list[str] = []
    for start_s, end_s, lines in cues:
        yield start_s, end_s, lines[num_repeated(screen, lines) :]
        screen = lines


def num_repeated(before: Sequence[str], after: Sequence[str]) -> int:
    """How many lines of `after`'s beginning are the end of `before`."""
    # A line with word times is new even where the speaker says the same again.
    timed = next((i for i, line in enumerate(after) if WORD_TIME.search(line)), len(after))
    old, new = [*map(spelled, before[-SCREEN_LINES:])], [*map(spelled, after[: min(timed, SCREEN_LINES)])]
    return next((n for n in range(min(len(old), len(new)), 0, -1) if old[-n:] == new[:n]), 0)


def vtt_cue(start_s: float, end_s: float, lines: list[str]) -> Cue:
    source, text, anchors = "\n".join(lines), "", []
    position, at_s = 0, None
    for match in [*WORD_TIME.finditer(source), None]:
        piece = plain(source[position : match.start() if match else len(source)])
        if at_s is not None and piece.strip():
            anchors.append((len(text) + len(piece) - len(piece.lstrip()), at_s))
        text += piece
        if match:
            position, at_s = match.end(), seconds(*match.groups())
    return Cue(start_s, end_s, text, tuple(anchors))


def plain(line: str) -> str:
    return clean(html.unescape(LINE_BREAK.sub(" ", TAG.sub("", RUBY.sub("", line)))))


def spelled(line: str) -> str:
    """A line as it is compared: the same words in other colours are the same."""
    return " ".join(plain(line).split())


def clean(text: str) -> str:
    """Without what nobody says, and without lone surrogates, which no file can hold."""
    return NOT_SPOKEN.sub(" ", INVISIBLE.sub("", text.encode("utf-8", "ignore").decode()))
