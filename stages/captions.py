"""Caption files → sentences, and the choice of a caption track.

A caption file gives cues: pieces of text with times. They become words with times, each spoken word once, and
`vsumdata.stages.sentences` cuts those into sentences. A word ends where the next begins; automatic captions
know only when a word begins, so its length is estimated from its letters, or no pause would ever show.
"""

from __future__ import annotations

import html
import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from vsumdata.pipeline.errors import VsumdataError
from vsumdata.stages.sentences import Sentence, Word, sentences

FORMATS = ("json3", "vtt", "srt")  # in the order of preference: json3 knows when each word begins

WORD_S, LETTER_S = 0.35, 0.06  # estimated length of a word whose end is not known
ECHO_S = 0.05  # a rolling track's echo cues last 10 ms

CLOCK = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
TIMING_LINE = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}")
WORD_TIME = re.compile(rf"<{CLOCK}>")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.,]*>|\{\\[^{}]*\}")  # WebVTT and SRT tags, {\an8} of SubStation
BLOCK = re.compile(r"(NOTE|STYLE|REGION)\b")
INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
NOT_SPOKEN = re.compile(r"\[[^\[\]]{0,60}\]|[♪♫]|(?<!\S)>{2,3}(?!\S)")  # [Music], notes, a change of speaker


class CaptionError(VsumdataError):
    """The text is not a caption file of the format that it is said to be."""


class Cue(NamedTuple):
    """Text shown from `start_s` to `end_s`; `anchors` are (position in `text`, time in s) of timed words."""

    start_s: float
    end_s: float
    text: str
    anchors: tuple[tuple[int, float], ...] = ()


def parse_captions(text: str, format: str) -> list[Sentence]:
    """Read a caption file (`format` is one of `FORMATS`) into sentences in the order in which they are said.

    Rolling tracks (each line repeated by the next cue) give every word once. Tags, sound descriptions such as
    [Music] and speaker marks are left out. Starts never decrease and no sentence ends after the next begins.

    Raises `CaptionError` for another format and for text that is not of its format; a valid file without
    speech gives no sentence.
    """
    if format == "json3":
        cues, timed = read_json3(text)
    elif format in FORMATS:
        cues, timed = read_cues(text, header=format == "vtt")
    else:
        raise CaptionError(f"unknown caption format {format!r}: known are {', '.join(FORMATS)}")
    return list(sentences(words(cues, timed)))


def number(value: Any) -> float | None:
    """A finite number of a JSON document, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12:
        return None
    return float(value) if math.isfinite(value) else None


def read_json3(text: str) -> tuple[list[Cue], bool]:
    """YouTube's json3: events of segments, and whether segments carry times of their own."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CaptionError(f"not a json3 caption file: {error}") from None
    events = document.get("events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise CaptionError("not a json3 caption file: it has no list of events")
    cues = []
    for event in events:
        segments = event.get("segs") if isinstance(event, dict) else None
        start_ms = number(event.get("tStartMs")) if isinstance(event, dict) else None
        if isinstance(segments, list) and start_ms is not None:
            duration_ms = number(event.get("dDurationMs")) or 0.0
            cues.append(json3_cue(segments, start_ms, max(0.0, duration_ms)))
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
    """WebVTT and SRT, and whether the cues roll."""
    lines = [*text.removeprefix("\ufeff").splitlines(), ""]
    starts = [i for i, line in enumerate(lines) if TIMING_LINE.match(line)]
    if not starts and not (header and lines[0].startswith("WEBVTT")):
        raise CaptionError("not a caption file: it has no line such as 00:00:01.000 --> 00:00:02.000")
    cues = []
    for here, following in pairwise([*starts, len(lines)]):
        match = TIMING_LINE.match(lines[here])
        assert match is not None
        start_s, end_s = seconds(*match.group(1, 2, 3, 4)), seconds(*match.group(5, 6, 7, 8))
        cues.append((start_s, max(start_s, end_s), payload(lines[here + 1 : following])))
    cues.sort(key=lambda cue: cue[0])
    rolls = is_rolling(cues)
    shown = unrolled(cues) if rolls else cues
    return [cue for start_s, end_s, rows in shown if (cue := vtt_cue(start_s, end_s, rows)).text.strip()], rolls


def seconds(hours: str | None, minutes: str, whole: str, fraction: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(whole) + int(fraction.ljust(3, "0")) / 1000


def payload(lines: list[str]) -> list[str]:
    """The text of a cue out of all lines up to the next timing line, which may hold blank ones."""
    kept: list[str] = []
    after_blank = skipping = False
    for i, line in enumerate(lines):
        blank = not line.strip()
        skipping = not blank and (skipping or (after_blank and BLOCK.match(line) is not None))
        is_name = after_blank and i == len(lines) - 1
        if not blank and not skipping and not is_name:
            kept.append(line)
        after_blank = blank or (i == 0 and is_name)
    return kept


Rows = tuple[float, float, list[str]]  # start_s, end_s, lines of a cue


def is_rolling(cues: Sequence[Rows]) -> bool:
    """Whether each line is shown again by the next cue, as in YouTube's automatic captions."""
    if any(WORD_TIME.search(line) for _, _, lines in cues for line in lines):
        return True
    echoes = sum(end_s - start_s <= ECHO_S for start_s, end_s, _ in cues)
    carried = sum(
        len(after) > 1 and bool(before) and plain(before[-1]) == plain(after[0])
        for (_, _, before), (_, _, after) in pairwise(cues)
    )
    return 5 * echoes > len(cues) > 2 or 2 * carried > len(cues) > 2


def unrolled(cues: Sequence[Rows]) -> Iterator[Rows]:
    """Only the lines that a cue adds to what was on the screen before it."""
    screen: list[str] = []
    for start_s, end_s, lines in cues:
        texts = [plain(line) for line in lines]
        # A line with word times is new even where the speaker says the same again.
        old = next((i for i, line in enumerate(lines) if WORD_TIME.search(line)), len(lines))
        repeated = next(n for n in range(min(old, len(screen)), -1, -1) if screen[len(screen) - n :] == texts[:n])
        if lines[repeated:]:
            yield start_s, end_s, lines[repeated:]
        screen = texts


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
    return clean(html.unescape(TAG.sub("", line)))


def clean(text: str) -> str:
    """Without what nobody says, and without lone surrogates, which no file can hold."""
    return NOT_SPOKEN.sub(" ", INVISIBLE.sub("", text.encode("utf-8", "ignore").decode()))


def words(cues: Sequence[Cue], timed: bool) -> list[Word]:
    """Words in order; one without a time of its own lies between its neighbours by its place in the text."""
    placed: list[Word] = []
    ordered = sorted(cues, key=lambda cue: cue.start_s)
    next_starts = [cue.start_s for cue in ordered[1:]] + [math.inf]
    for cue, next_s in zip(ordered, next_starts, strict=False):
        end_s = next_s if cue.start_s < next_s < cue.end_s else cue.end_s
        knots = [(0, cue.start_s), *cue.anchors, (len(cue.text), end_s)]
        for match in re.finditer(r"\S+", cue.text):
            start_s = min(max(cue.start_s, time_at(match.start(), knots)), end_s)
            stop_s = min(max(start_s, time_at(match.end(), knots)), end_s)
            if timed:
                stop_s = min(start_s + WORD_S + LETTER_S * len(match.group()), end_s)
            placed.append(Word(start_s, stop_s, match.group()))
    placed.sort(key=lambda word: word.start_s)
    starts = [word.start_s for word in placed[1:]] + [math.inf]
    return [word._replace(end_s=min(word.end_s, stop)) for word, stop in zip(placed, starts, strict=False)]


def time_at(position: int, knots: Sequence[tuple[int, float]]) -> float:
    """Linear between the last knot at or before `position` and the first one after it."""
    i = bisect_right(knots, position, key=lambda knot: knot[0])
    (left, left_s), (right, right_s) = knots[i - 1], knots[min(i, len(knots) - 1)]
    return left_s + (right_s - left_s) * (position - left) / (right - left) if right > left else left_s


@dataclass(frozen=True)
class Track:
    """One caption track of a yt-dlp info: fetch `url`, or take `data` where the extractor gave the text."""

    language: str
    kind: str  # manual | automatic
    format: str  # one of FORMATS
    url: str | None
    data: str | None


def choose_track(info: Mapping[str, Any], languages: Sequence[str]) -> Track | None:
    """Choose a manual track in the first of `languages` that has one, else the automatic one as spoken.

    Machine-translated tracks are never chosen. None: there is nothing to take, so the speech must be heard.
    """
    manual = tracks(info.get("subtitles"), "manual")
    automatic = tracks(info.get("automatic_captions"), "automatic")
    spoken = spoken_language(info, automatic)
    for asked in languages:
        same = [(key, track) for key, track in manual if primary(key) == primary(asked)]
        if same:  # the very language first ("en" before "en-GB"), else the order given
            return min(same, key=lambda item: item[1].language.lower() != asked.lower())[1]
    if spoken is None or spoken not in map(primary, languages):
        return None
    return next((track for key, track in automatic if primary(key) == spoken), None)


def spoken_language(info: Mapping[str, Any], automatic: Sequence[tuple[str, Track]]) -> str | None:
    """What yt-dlp marks as original, else the video's language, else that of the only automatic tracks."""
    originals = {primary(key) for key, _ in automatic if key.endswith("-orig")}
    stated = info.get("language")
    if len(originals) != 1 and isinstance(stated, str) and stated:
        return primary(stated)
    candidates = originals or {primary(key) for key, _ in automatic}
    return min(candidates) if len(candidates) == 1 else None


def tracks(found: Any, kind: str) -> list[tuple[str, Track]]:
    """The tracks that can be read and are not translated, each in its best format, under yt-dlp's keys."""
    chosen = []
    for key, entries in found.items() if isinstance(found, Mapping) else ():
        if not isinstance(key, str) or key == "live_chat" or not isinstance(entries, list | tuple):
            continue
        usable = [entry for entry in entries if isinstance(entry, Mapping) and is_usable(entry)]
        if usable:
            best = min(usable, key=lambda entry: FORMATS.index(entry["ext"]))
            track = Track(language_of(key), kind, best["ext"], best.get("url"), best.get("data"))
            chosen.append((key, track))
    return chosen


def is_usable(entry: Mapping[str, Any]) -> bool:
    """Readable as it is: not a playlist of pieces, not translated (YouTube's `tlang`)."""
    url, data = entry.get("url"), entry.get("data")
    if entry.get("ext") not in FORMATS or str(entry.get("protocol") or "").startswith("m3u8"):
        return False
    if isinstance(url, str) and url:
        return re.search(r"[?&]tlang=", url) is None and isinstance(data, str | None)
    return not url and isinstance(data, str)


def language_of(key: str) -> str:
    """A track's key without yt-dlp's marks: `en-orig`, and a track's own name as in `de-CcQ45jRV4-E`."""
    return re.sub(r"-[\w-]{11}$", "", key.removesuffix("-orig"))


def primary(language: str) -> str:
    return language.split("-")[0].split("_")[0].lower()
