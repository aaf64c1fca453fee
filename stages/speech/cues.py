"""Read caption files that consist of lines into cues: WebVTT, SRT, YouTube's SubViewer (sbv) and lyrics (lrc)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from vsumdata.manifests.errors import VsumdataError
from vsumdata.stages.speech.markup import NOT_SPOKEN, Anchors, Line, marked_lines
from vsumdata.stages.speech.timing import Timing, clock, timing_line

# The estimated length of a word whose end is unknown.
WORD_S, LETTER_S = 0.35, 0.06
# In lyrics a line without an end may be followed by minutes of music.
LONGEST_LINE_S = 10.0
STRICT_ARROW = re.compile("->|&gt;|＞")
BLOCK = re.compile(r"(NOTE|STYLE|REGION)\b")
MAGIC = re.compile(r"\s*WEBVTT(?=[ \t]|$)")
TIMESTAMP_MAP = re.compile(r"X-TIMESTAMP-MAP=")
# MPEG's clock ticks 90,000 times a second. A day at most: its counter overflows after 26 hours.
MPEG_HZ, LONGEST_OFFSET_S = 90_000, 86_400.0
# The beginning of a timing line, where a file was cut off.
CUT_TIME = re.compile(r"\s*\d{1,3}\s*[:：](?:[\s\d:：.,]*)(?:-{1,2}>?\s*)?")
SBV_TIMES = re.compile(r"\s*(-?\d[\d:.\s]{3,25}?)\s*[,;]\s*(-?\d[\d:.\s]{3,25}?)\s*")
SBV_LIKE = re.compile(r"\s*[\d:.]*\d:\d[\d:.]*\s*,[\s\d:.,xX?-]*")
LRC_TIME = re.compile(r"\s*\[\s*(\d{1,3}\s*:\s*\d{1,2}(?:\s*[.:]\s*\d{1,3})?)\s*\]")
LRC_OFFSET = re.compile(r"\s*\[offset:\s*([+-]?\d{1,9})\s*\]", re.IGNORECASE)


class CaptionError(VsumdataError):
    """The text is not a caption file of the stated format."""


class Cue(NamedTuple):
    """Lines shown from `start_s` to `end_s`.

    `form` is the text as it was written, with its markup. `part` counts the files that were joined to one.
    """

    start_s: float
    end_s: float
    lines: tuple[Line, ...]
    form: str = ""
    part: int = 0

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @property
    def anchors(self) -> Anchors:
        """(position in `text`, time in s) of timed words."""
        found, begun = list[tuple[int, float]](), 0
        for line in self.lines:
            found += [(begun + position, at_s) for position, at_s in line.anchors]
            begun += len(line.text) + 1
        return tuple(found)

    @property
    def is_mark(self) -> bool:
        """Whether it says nothing but [Music] or the like."""
        return not self.lines and NOT_SPOKEN.search(self.form) is not None


class Reading(NamedTuple):
    """The cues of a file, in its order, and how many of its times could not be read."""

    cues: list[Cue]
    num_unread: int = 0


def word_s(word: str) -> float:
    """The estimated length of a word in s."""
    return WORD_S + LETTER_S * len(word)


def read_cues(text: str, header: bool) -> Reading:
    """Read WebVTT (`header`) or SRT. Raises `CaptionError`."""
    # Found by timing lines alone: SRT files without blank lines or numbers are common.
    # Not `splitlines`: a form feed may stand inside a line.
    lines = re.split(r"\r\n|\r|\n", text)
    # Only WebVTT has comments. In SRT a line that begins with NOTE is spoken.
    has_header = next((MAGIC.match(line) is not None for line in lines if line.strip()), False)
    # Its style sheets may hold what looks like a damaged arrow.
    timings = [timing_line(line) if not has_header or STRICT_ARROW.search(line) else None for line in lines]
    parts, offsets_s = without_headers(lines, timings)
    if not any(timings) and not (header and has_header):
        raise CaptionError("not a caption file: it has no line such as 00:00:01.000 --> 00:00:02.000")
    return blocks(lines, timings, has_header, parts=parts, offsets_s=offsets_s)


def without_headers(lines: list[str], timings: Sequence[Timing | None]) -> tuple[list[int], list[float]]:
    """Empty the lines of all headers; return for each line the number of its part, and each part's offset in s.

    The segments of an HLS stream are files with a header each, and players join them. Their times count from an MPEG
    clock that the header names: RFC 8216, 3.5.
    """
    part, in_header, parts, clocks_s = 0, False, list[int](), {0: 0.0}
    has_cues = False
    for i, line in enumerate(lines):
        at_start = i == 0 or not lines[i - 1].strip()
        if MAGIC.match(line) and (at_start or line.strip() == "WEBVTT"):
            part, in_header = part + has_cues, True
        elif not line.strip() or timings[i]:
            in_header = False
        if in_header or TIMESTAMP_MAP.match(line):
            if (found := mpeg_offset_s(line)) is not None:
                clocks_s[part] = found
            lines[i] = ""
        parts.append(part)
        has_cues = has_cues or timings[i] is not None
    offsets_s = [clocks_s.get(number, clocks_s[0]) - clocks_s[0] for number in range(part + 1)]
    return parts, [offset_s if 0 <= offset_s < LONGEST_OFFSET_S else 0.0 for offset_s in offsets_s]


def mpeg_offset_s(line: str) -> float | None:
    """What a line X-TIMESTAMP-MAP adds to the times of its part; None for other lines."""
    ticks, local = re.search(r"MPEGTS:(\d{1,12})", line), re.search(r"LOCAL:([\d:.]{4,20})", line)
    if not TIMESTAMP_MAP.match(line) or not ticks or not local or (local_s := clock(local.group(1))) is None:
        return None
    return int(ticks.group(1)) / MPEG_HZ - local_s


def blocks(
    lines: Sequence[str],
    timings: Sequence[Timing | None],
    has_blocks: bool,
    *,
    parts: Sequence[int] = (),
    offsets_s: Sequence[float] = (0.0,),
) -> Reading:
    """Cut lines into cues at their timing lines. `has_blocks` says that NOTE, STYLE and REGION begin comments."""
    starts = [i for i, timing in enumerate(timings) if timing is not None]
    # Whether cues are numbered tells what a number at the end is.
    numbered = [i for i in starts if i and lines[i - 1].strip().isdecimal()]
    cues, num_unread = list[Cue](), 0
    for here, following in pairwise([*starts, len(lines)]):
        timing = timings[here]
        assert timing is not None
        num_unread += timing.start_s is None or timing.end_s is None
        if timing.start_s is timing.end_s is None:
            continue
        body = payload([*lines[here + 1 : following], *([""] if following == len(lines) else [])], has_blocks)
        if following == len(lines) and numbered:
            body = without_cut_end(body, lines[here - 1].strip() if here in numbered else "")
        source = "\n".join([timing.rest, *body] if timing.rest else body)
        part = parts[here] if parts else 0
        cues.append(placed(timing, source, part, offsets_s[part]))
    if not cues and num_unread:
        raise CaptionError(f"not a caption file: none of its {num_unread} timing lines can be read")
    return Reading(completed(cues), num_unread)


def placed(timing: Timing, source: str, part: int, offset_s: float) -> Cue:
    """Make a cue of a block. One end that cannot be read is NaN for now."""
    unknown = float("nan")
    start_s = unknown if timing.start_s is None else timing.start_s + offset_s
    end_s = unknown if timing.end_s is None else timing.end_s + offset_s
    found = tuple(marked_lines(source))
    if offset_s:
        found = tuple(Line(text, tuple((at, at_s + offset_s) for at, at_s in anchors)) for text, anchors in found)
    return Cue(start_s, end_s, found, source, part)


def completed(cues: Sequence[Cue], longest_s: float = float("inf")) -> list[Cue]:
    """Give the cues that lack an end or a beginning (NaN) one, by their neighbours and their words."""
    found, starts = list[Cue](), sorted({cue.start_s for cue in cues if cue.start_s == cue.start_s})
    for cue in cues:
        start_s, end_s = cue.start_s, cue.end_s
        length_s = sum(map(word_s, cue.text.split()))
        if start_s != start_s:
            before_s = found[-1].end_s if found else 0.0
            start_s = max(min(before_s, end_s), end_s - length_s)
        if end_s != end_s:
            after = bisect_right(starts, start_s)
            next_s = starts[after] if after < len(starts) else start_s + length_s
            end_s = min(next_s, start_s + max(longest_s, 2 * length_s))
        found.append(cue._replace(start_s=start_s, end_s=max(start_s, end_s)))
    return found


def payload(lines: Sequence[str], has_blocks: bool) -> list[str]:
    """Pick the text of a cue out of all lines up to the next timing line. The text may contain blank lines."""
    kept: list[str] = []
    after_blank = skipping = False
    for i, line in enumerate(lines):
        blank = not line.strip()
        # A NOTE, STYLE or REGION block runs to the next blank line.
        skipping = not blank and (skipping or (has_blocks and after_blank and BLOCK.match(line) is not None))
        # The last line may be the name of the next cue, or its number even if the blank line before it is missing.
        is_name = i == len(lines) - 1 and (after_blank or line.strip().isdecimal())
        if not skipping and not is_name:
            kept.append("" if blank else line)
        after_blank = blank or (i == 0 and is_name)
    return kept


def without_cut_end(body: list[str], counter: str) -> list[str]:
    """Remove the beginning of a cue that is not there: its number, and a piece of its times."""
    rows = [i for i, line in enumerate(body) if line.strip()]
    if len(rows) > 1 and CUT_TIME.fullmatch(body[rows[-1]]):
        rows.pop()
        cut = True
    else:
        cut = False
    if len(rows) > 1 and body[rows[-1]].strip().isdecimal():
        last = rows[-1]
        follows = counter.isdecimal() and body[last].strip() == str(int(counter[:9]) + 1)
        if cut or follows or not body[last - 1].strip():
            return body[:last]
    return body


def read_sbv(text: str) -> Reading:
    """Read YouTube's SubViewer: times `0:00:01.000,0:00:02.500`, then text. Raises `CaptionError`."""
    lines = [re.sub(r"\[br\]", "\n", line, flags=re.IGNORECASE) for line in text.splitlines()]
    timings: list[Timing | None] = []
    for line in lines:
        is_timing = SBV_TIMES.fullmatch(line) or SBV_LIKE.fullmatch(line)
        first, _, last = line.replace(";", ",").partition(",")
        timings.append(Timing(clock(first), clock(last)) if is_timing else None)
    if not any(timing is not None and timing.start_s is not None for timing in timings):
        raise CaptionError("not a SubViewer file: it has no line such as 0:00:01.000,0:00:02.500")
    return blocks(lines, timings, False)


def read_lrc(text: str) -> Reading:
    """Read lyrics: `[00:01.50] text`, also with several times or with times of words. Raises `CaptionError`."""
    cues, shift_s, unknown = list[Cue](), 0.0, float("nan")
    for line in text.splitlines():
        if match := LRC_OFFSET.match(line):
            # In milliseconds; a positive one shows the text sooner.
            shift_s = int(match.group(1)) / 1000
            continue
        starts, position = [], 0
        while match := LRC_TIME.match(line, position):
            starts.append(clock(match.group(1)))
            position = match.end()
        for start_s in starts:
            if start_s is not None:
                cues.append(Cue(start_s, unknown, tuple(marked_lines(line[position:])), line[position:]))
    if not cues:
        raise CaptionError("not a file of lyrics: it has no line such as [00:01.50] text")
    cues = [shifted(cue, shift_s) for cue in sorted(cues, key=lambda cue: cue.start_s)]
    return Reading(completed(cues, LONGEST_LINE_S))


def shifted(cue: Cue, by_s: float) -> Cue:
    moved: Callable[[float], float] = lambda at_s: max(0.0, at_s - by_s)  # noqa: E731
    lines = tuple(Line(line.text, tuple((at, moved(at_s)) for at, at_s in line.anchors)) for line in cue.lines)
    return cue._replace(start_s=moved(cue.start_s), lines=lines)
