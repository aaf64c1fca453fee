"""Turn caption files into sentences, and choose a caption track.

`vsumdata.stages.speech.cues` reads a caption file into cues. Here cues become words with times, and
`vsumdata.stages.speech.sentences` cuts the words into sentences. A word ends where the next one begins. Automatic
captions give only the start of a word, so its length is estimated from its letters; otherwise no pause would show.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vsumdata.stages.speech.cues import CaptionError, Cue, read_cues, read_json3
from vsumdata.stages.speech.sentences import Sentence, Word, sentences

__all__ = ["FORMATS", "CaptionError", "Sentence", "Track", "choose_track", "parse_captions"]

# In the order of preference: json3 gives the start of each word.
FORMATS = ("json3", "vtt", "srt")

# The estimated length of a word whose end is unknown.
WORD_S, LETTER_S = 0.35, 0.06
# "- Hello." A dash before a word without a space is part of the word.
SPEAKER_MARK = re.compile(r"^([^\S\n]*)[-–—](?=[ \t\xa0]+[\"'“‘«¿¡(]*\w)", re.MULTILINE)
# Scripts without spaces between words end a sentence inside what looks like one word.
TOKEN = re.compile(r"[^\s。！？｡]+[。！？｡]*[”’」』）)]*|[。！？｡]+\S*")


def parse_captions(text: str, format: str) -> list[Sentence]:
    """Read a caption file (`format` is one of `FORMATS`) into sentences, in the order in which they are spoken.

    Rolling tracks (each line repeated by the next cue) give every word once. Tags, sound descriptions such as
    [Music] and speaker marks are left out. Starts never decrease, and no sentence ends after the next one begins.

    Raises `CaptionError` for an unknown format and for text that is not in its format. A valid file without speech
    gives an empty list.
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
    """Return the words of the cues in order, with times. `timed` says that a cue's end is not its last word's end.

    A word without a time of its own gets one between its neighbours, by its position in the text.
    """
    placed: list[Word] = []
    ordered = sorted((cue for cue in cues if cue.text.strip()), key=lambda cue: cue.start_s)
    shown = [together(list(group)) for _, group in groupby(ordered, key=lambda cue: cue.start_s)]
    next_starts = [*(cue.start_s for cue in shown[1:]), math.inf][: len(shown)]
    for cue, next_s in zip(shown, next_starts, strict=True):
        # Two people talk at once: their cues overlap. Cut off by the next, neither one's words are shuffled.
        end_s = min(cue.end_s, next_s)
        knots = [(0, cue.start_s), *cue.anchors, (len(cue.text), end_s)]
        start_s = cue.start_s
        for match in TOKEN.finditer(SPEAKER_MARK.sub(r"\1 ", cue.text)):
            # Word times in a file can run backwards. The order of the text is the right one.
            start_s = min(max(start_s, time_at(match.start(), knots)), end_s)
            stop_s = min(max(start_s, time_at(match.end(), knots)), end_s)
            if timed:
                stop_s = min(start_s + WORD_S + LETTER_S * len(match.group()), end_s)
            placed.append(Word(start_s, stop_s, match.group()))
    starts = [*(word.start_s for word in placed[1:]), math.inf][: len(placed)]
    return [word._replace(end_s=min(word.end_s, stop)) for word, stop in zip(placed, starts, strict=True)]


def together(cues: Sequence[Cue]) -> Cue:
    """Join cues that begin at the same time into one, with their texts one after another."""
    text, anchors = "", []
    # A dict, because tracks draw the same text twice at the same time (as a shadow). It is spoken once.
    for cue in {(cue.end_s, " ".join(cue.text.split())): cue for cue in cues}.values():
        text += "\n" if text else ""
        anchors += [(len(text) + position, at_s) for position, at_s in cue.anchors]
        text += cue.text
    return Cue(cues[0].start_s, max(cue.end_s for cue in cues), text, tuple(anchors))


def time_at(position: int, knots: Sequence[tuple[int, float]]) -> float:
    """The time in s of a position in the text, linear between the knots (position, time) around it."""
    i = bisect_right(knots, position, key=lambda knot: knot[0])
    (left, left_s), (right, right_s) = knots[i - 1], knots[min(i, len(knots) - 1)]
    return left_s + (right_s - left_s) * (position - left) / (right - left) if right > left else left_s


@dataclass(frozen=True)
class Track:
    """One caption track of a yt-dlp info. Its text is at `url`, or in `data` if the extractor gave it."""

    language: str
    kind: str  # manual | automatic
    format: str  # one of FORMATS
    url: str | None
    data: str | None


def choose_track(info: Mapping[str, Any], languages: Sequence[str]) -> Track | None:
    """Choose a manual track in the first of `languages` that has one, else the automatic track as spoken.

    Returns None if there is neither; then Whisper must transcribe the sound.
    """
    # Never a machine-translated track: its words are not what was said, and YouTube answers such requests with 429.
    manual = tracks(info.get("subtitles"), "manual")
    automatic = tracks(info.get("automatic_captions"), "automatic")
    spoken = spoken_language(info, automatic)
    for asked in languages:
        same = [(key, track) for key, track in manual if primary(key) == primary(asked)]
        # The language itself comes first ("en" before "en-GB"), then a track without a name of its own: a named one
        # may be a commentary.
        if same:
            return min(same, key=lambda item: (item[1].language.lower() != asked.lower(), item[0] != item[1].language))[
                1
            ]
    if spoken is None or spoken not in map(primary, languages):
        return None
    return next((track for key, track in automatic if primary(key) == spoken), None)


def spoken_language(info: Mapping[str, Any], automatic: Sequence[tuple[str, Track]]) -> str | None:
    """The language that yt-dlp marks as original, else the video's, else that of the only automatic tracks."""
    # More than one `-orig` track tells nothing.
    originals = {primary(key) for key, _ in automatic if key.endswith("-orig")}
    stated = info.get("language")
    if len(originals) != 1 and isinstance(stated, str) and stated:
        return primary(stated)
    candidates = originals or {primary(key) for key, _ in automatic}
    return min(candidates) if len(candidates) == 1 else None


def tracks(found: Any, kind: str) -> list[tuple[str, Track]]:
    """The usable tracks (readable and not translated), each in its best format, with yt-dlp's keys."""
    chosen = []
    for key, entries in found.items() if isinstance(found, Mapping) else ():
        # yt-dlp lists the chat of a live stream among the subtitles.
        if not isinstance(key, str) or key == "live_chat" or not isinstance(entries, list | tuple):
            continue
        usable = [entry for entry in entries if isinstance(entry, Mapping) and is_usable(entry)]
        if usable:
            best = min(usable, key=lambda entry: FORMATS.index(entry["ext"]))
            track = Track(language_of(key), kind, best["ext"], best.get("url"), best.get("data"))
            chosen.append((key, track))
    return chosen


def is_usable(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is one readable text: not a playlist of pieces, and not translated."""
    # YouTube's `tlang` in the URL asks for a machine translation. yt-dlp's keys do not show it.
    url, data = entry.get("url"), entry.get("data")
    if entry.get("ext") not in FORMATS or str(entry.get("protocol") or "").startswith("m3u8"):
        return False
    if isinstance(url, str) and url:
        return re.search(r"[?&]tlang=", url) is None and isinstance(data, str | None)
    return not url and isinstance(data, str)


def language_of(key: str) -> str:
    """The language of a track's key, without yt-dlp's suffixes: `en-orig`, or a track's id as in `de-CcQ45jRV4-E`."""
    return re.sub(r"-[\w-]{11}$", "", key.removesuffix("-orig"))


def primary(language: str) -> str:
    """`en` of `en-GB`."""
    return language.split("-")[0].split("_")[0].lower()
