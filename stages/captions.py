"""Caption files → sentences, and the choice of a caption track.

A caption file gives cues (`vsumdata.stages.cues`). They become words with times, and
`vsumdata.stages.sentences` cuts those into sentences. A word ends where the next begins; automatic captions
know only when a word begins, so its length is estimated from its letters, or no pause would ever show.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vsumdata.stages.cues import CaptionError, Cue, read_cues, read_json3
from vsumdata.stages.sentences import Sentence, Word, sentences

__all__ = ["FORMATS", "CaptionError", "Sentence", "Track", "choose_track", "parse_captions"]

FORMATS = ("json3", "vtt", "srt")  # in the order of preference: json3 knows when each word begins

WORD_S, LETTER_S = 0.35, 0.06  # estimated length of a word whose end is not known
SPEAKER_MARK = re.compile(r"^([^\S\n]*)[-–—](?=[ \t\xa0]+[\"'“‘«¿¡(]*\w)", re.MULTILINE)  # "- Hello."
# Scripts without spaces between words end a sentence inside what looks like one word.
TOKEN = re.compile(r"[^\s。！？｡]+[。！？｡]*[”’」』）)]*|[。！？｡]+\S*")


def parse_captions(text: str, format: str) -> list[Sentence]:
    """Read a caption file (`format` is one of `FORMATS`) into sentences in the order in which they are said.

    Rolling tracks (each line repeated by the next cue) give every word once. Tags, sound descriptions such as
    [Music] and speaker marks are left out. Starts never decrease and no sentence ends after the next begins.

    Raises `CaptionError` for another format and for text that is not of its format; a valid file without
    speech gives no sentence.
    """
    kind = format.lower()
    if kind == "json3":
        cues, timed = read_json3(text)
    elif kind in FORMATS:
        cues, timed = read_cues(text, header=kind == "vtt")
    else:
        raise CaptionError(f"unknown caption format {format!r}: known are {', '.join(FORMATS)}")
    return list(sentences(words(cues, timed)))


def words(cues: Sequence[Cue], timed: bool) -> list[Word]:
    """Words in order; one without a time of its own lies between its neighbours by its place in the text.

    Where cues overlap (two people talk) each is cut off by the next, so that nobody's words are shuffled.
    """
    placed: list[Word] = []
    ordered = sorted((cue for cue in cues if cue.text.strip()), key=lambda cue: cue.start_s)
    shown = [together(list(group)) for _, group in groupby(ordered, key=lambda cue: cue.start_s)]
    next_starts = [*(cue.start_s for cue in shown[1:]), math.inf][: len(shown)]
    for cue, next_s in zip(shown, next_starts, strict=True):
        end_s = min(cue.end_s, next_s)
        knots = [(0, cue.start_s), *cue.anchors, (len(cue.text), end_s)]
        start_s = cue.start_s
        for match in TOKEN.finditer(SPEAKER_MARK.sub(r"\1 ", cue.text)):
            # Words keep their order even where their times do not.
            start_s = min(max(start_s, time_at(match.start(), knots)), end_s)
            stop_s = min(max(start_s, time_at(match.end(), knots)), end_s)
            if timed:
                stop_s = min(start_s + WORD_S + LETTER_S * len(match.group()), end_s)
            placed.append(Word(start_s, stop_s, match.group()))
    starts = [*(word.start_s for word in placed[1:]), math.inf][: len(placed)]
    return [word._replace(end_s=min(word.end_s, stop)) for word, stop in zip(placed, starts, strict=True)]


def together(cues: Sequence[Cue]) -> Cue:
    """Cues that begin at the same time as one, their texts one after another.

    The same text for the same time is drawn twice (a shadow, say), and said once.
    """
    text, anchors = "", []
    for cue in {(cue.end_s, " ".join(cue.text.split())): cue for cue in cues}.values():
        text += "\n" if text else ""
        anchors += [(len(text) + position, at_s) for position, at_s in cue.anchors]
        text += cue.text
    return Cue(cues[0].start_s, max(cue.end_s for cue in cues), text, tuple(anchors))


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
        if same:  # the very language first ("en" before "en-GB"), one without a name of its own before others
            return min(same, key=lambda item: (item[1].language.lower() != asked.lower(), item[0] != item[1].language))[
                1
            ]
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
