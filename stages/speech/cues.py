"""Read caption files into cues: pieces of text with their times, with each spoken word once.

Formats: YouTube's json3, WebVTT and SRT. A rolling track (YouTube's automatic captions) shows each line a second time
above the next one, and once more in an echo cue of 10 ms between them. Here a cue keeps only its new lines.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from vsumdata.manifests.errors import VsumdataError

# The echo cues of a rolling track last 10 ms.
ECHO_S = 0.05
# No screen shows more lines. The limit keeps the search for repeated lines from growing with a broken cue's length.
SCREEN_LINES = 10

CLOCK, FRACTION = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2})", r"[.,]\s?(\d+)"
TIMING_LINE = re.compile(rf"\s*{CLOCK}(?:{FRACTION})?\s*--?>\s*{CLOCK}(?:{FRACTION})?")
WORD_TIME = re.compile(rf"<{CLOCK}{FRACTION}>")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.,]*>|\{\\[^{}]*\}")  # WebVTT and SRT tags, {\an8} of SubStation
# Ruby text spells how a Japanese or Chinese word is read, so the word would appear twice. Its end tag may be missing.
RUBY = re.compile(r"<rt\b[^<>]*>.*?(?:</rt>|(?=</ruby>)|$)", re.IGNORECASE | re.MULTILINE)
# SubStation's line break and no-break space. Players accept them in SRT too.
LINE_BREAK = re.compile(r"\\[Nh]")
BLOCK = re.compile(r"(NOTE|STYLE|REGION)\b")
# Zero-width spaces, direction and byte order marks. Not the zero-width joiners, which spell Persian and Indian words.
INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
# More digits than any character's number has. `html.unescape` would convert them all, and fails beyond 4,300.
ENDLESS_REFERENCE = re.compile(r"&#\d{8,};?", re.ASCII)
NOT_SPOKEN = re.compile(r"\[[^\[\]]{0,60}\]|[♩♪♫♬]|(?<!\S)>{2,3}")  # [Music], notes, a change of speaker


class CaptionError(VsumdataError):
    """The text is not a caption file of the stated format."""


class Cue(NamedTuple):
    """Text shown from `start_s` to `end_s`. `anchors` are (position in `text`, time in s) of timed words."""

    start_s: float
    end_s: float
    text: str
    anchors: tuple[tuple[int, float], ...] = ()


def number(value: Any) -> float | None:
    """A finite number from a JSON document, else None."""
    # Protocol buffers, from which json3 is made, write 64-bit integers as texts.
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12:
        return None
    return float(value) if math.isfinite(value) else None


def read_json3(text: str) -> tuple[list[Cue], bool]:
    """Read YouTube's json3; return the cues, and whether the words have times of their own. Raises `CaptionError`."""
    # RecursionError: thousands of opening brackets.
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
            # A missing time is 0: protocol buffers leave out a field that has its default value.
            start_ms, duration_ms = (number(event.get(key)) or 0.0 for key in ("tStartMs", "dDurationMs"))
            cues.append(json3_cue(segments, max(0.0, start_ms), max(0.0, duration_ms)))
    return cues, any(cue.anchors for cue in cues)


def json3_cue(segments: list[Any], start_ms: float, duration_ms: float) -> Cue:
    """Turn one event into a cue. An appended event (`aAppend`, mostly a line break) gives only its own text."""
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
    """Read WebVTT (`header`) or SRT; return the cues, and whether a cue's end is not the end of its words.

    That is so for tracks that roll or that time their words. Raises `CaptionError`.
    """
    # Found by timing lines alone: SRT files without blank lines or numbers are common.
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


# As a fraction of any length: SRT files with one, two or six digits after the comma exist.
def seconds(hours: str | None, minutes: str, whole: str, fraction: str | None) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(whole) + float(f"0.{fraction or 0}")


def payload(lines: list[str]) -> list[str]:
    """Pick the text of a cue out of all lines up to the next timing line. The text may contain blank lines."""
    kept: list[str] = []
    after_blank = skipping = False
    for i, line in enumerate(lines):
        blank = not line.strip()
        # A NOTE, STYLE or REGION block runs to the next blank line.
        skipping = not blank and (skipping or (after_blank and BLOCK.match(line) is not None))
        # The last line may be the name of the next cue, or its number even if the blank line before it is missing.
        is_name = i == len(lines) - 1 and (after_blank or line.strip().isdecimal())
        if not blank and not skipping and not is_name:
            kept.append(line)
        after_blank = blank or (i == 0 and is_name)
    return kept


Rows = tuple[float, float, list[str]]  # start_s, end_s, lines of a cue


def is_rolling(cues: Sequence[Rows]) -> bool:
    """Whether each cue repeats lines of the one before, as automatic and television captions do."""
    timed = any(WORD_TIME.search(line) for _, _, lines in cues for line in lines)
    echoes = carried = 0
    for (_, _, before), (start_s, end_s, after) in pairwise(cues):
        repeated = num_repeated(before, after)
        echoes += 0 < end_s - start_s <= ECHO_S and (repeated > 0 or not after)
        carried += 0 < repeated < len(after)
    # Timed words are the work of a machine, so one echo or one carried line is proof. Elsewhere people repeat
    # themselves (a chorus), and it takes echoes in a fifth or carried lines in half of the cues.
    if timed:
        return echoes + carried > 0
    return 5 * echoes > len(cues) or 2 * carried > len(cues) > 2


def unrolled(cues: Sequence[Rows]) -> Iterator[Rows]:
    """Yield each cue with only the lines that it adds to the screen."""
    screen: list[str] = []
    for start_s, end_s, lines in cues:
        yield start_s, end_s, lines[num_repeated(screen, lines) :]
        screen = lines


def num_repeated(before: Sequence[str], after: Sequence[str]) -> int:
    """How many lines at the beginning of `after` are the end of `before`."""
    # A line with word times is new, even if the speaker says the same words again.
    timed = next((i for i, line in enumerate(after) if WORD_TIME.search(line)), len(after))
    old, new = [*map(spelled, before[-SCREEN_LINES:])], [*map(spelled, after[: min(timed, SCREEN_LINES)])]
    return next((n for n in range(min(len(old), len(new)), 0, -1) if old[-n:] == new[:n]), 0)


def vtt_cue(start_s: float, end_s: float, lines: list[str]) -> Cue:
    """Build a cue from its lines; word times (`<00:00:01.500>`) become anchors."""
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
    """The spoken text of a line, without tags, ruby and entities."""
    # Entities last: "&lt;i&gt;" is text that shows a tag, not a tag.
    return clean(unescape(LINE_BREAK.sub(" ", TAG.sub("", RUBY.sub("", line)))))


def unescape(text: str) -> str:
    """The text with its HTML entities as characters; any text is taken."""
    return html.unescape(ENDLESS_REFERENCE.sub("\ufffd", text))


def spelled(line: str) -> str:
    """A line as it is compared with others: without its colours, which change while it rolls."""
    return " ".join(plain(line).split())


def clean(text: str) -> str:
    """The text without what nobody says (sound descriptions, notes, invisible marks)."""
    # The encoding drops lone surrogates, which JSON can spell and UTF-8 cannot hold.
    return NOT_SPOKEN.sub(" ", INVISIBLE.sub("", text.encode("utf-8", "ignore").decode()))
