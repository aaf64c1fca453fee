"""Turn caption files into sentences, and choose a caption track.

`cues` and `documents` read a caption file into cues, and `repeats` leaves each phrase once. Here cues become words with
times, and `vsumdata.stages.speech.sentences` cuts the words into sentences. A word ends where the next one begins.
Automatic captions give only the start of a word, so its length is estimated from its letters; otherwise no pause would
show.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vsumdata.stages.speech.cues import (
    LRC_TIME,
    SBV_TIMES,
    CaptionError,
    Cue,
    Reading,
    read_cues,
    read_lrc,
    read_sbv,
    word_s,
)
from vsumdata.stages.speech.documents import read_ass, read_json3, read_srv, read_ttml
from vsumdata.stages.speech.repeats import once
from vsumdata.stages.speech.sentences import Sentence, Word, sentences
from vsumdata.stages.speech.timing import timing_line

__all__ = [
    "FORMATS",
    "CaptionError",
    "Captions",
    "Sentence",
    "Track",
    "choose_track",
    "parse_captions",
    "read_captions",
]

# In the order of preference: json3 and srv3 give the start of each word.
READERS: Mapping[str, Callable[[str], Reading]] = {
    "json3": read_json3,
    "srv3": read_srv,
    "vtt": partial(read_cues, header=True),
    "srt": partial(read_cues, header=False),
    "ttml": read_ttml,
    "dfxp": read_ttml,
    "ass": read_ass,
    "ssa": read_ass,
    "sbv": read_sbv,
    "srv2": read_srv,
    "srv1": read_srv,
    "lrc": read_lrc,
}
FORMATS = tuple(READERS)

# "- Hello." A dash before a word without a space is part of the word.
SPEAKER_MARK = re.compile(r"^([^\S\n]*)[-–—](?=[ \t\xa0]+[\"'“‘«¿¡(]*\w)", re.MULTILINE)
# Scripts without spaces between words end a sentence inside what looks like one word.
TOKEN = re.compile(r"[^\s。！？｡]+[。！？｡]*[”’」』）)]*|[。！？｡]+\S*")
DASHES = "-–—"
# An XML document's first element.
ROOT = re.compile(r"<(?:[\w.-]{1,20}:)?(tt|timedtext|transcript)[\s>]")
ROOT_FORMATS = {"tt": "ttml", "timedtext": "srv3", "transcript": "srv1"}
# In letters.
LONGEST_WORD = 100
# So many lines show what a file is.
LOOKED_AT = 200


@dataclass(frozen=True)
class Captions:
    """A caption file: its sentences, and what else was seen while it was read."""

    sentences: list[Sentence]
    num_unread: int = 0  # times that could not be read
    num_cues: int = 0  # pieces with a text, each phrase once
    num_marks: int = 0  # pieces that are nothing but [Music] or the like

    @property
    def note(self) -> str:
        """What a person should know; empty if all is well."""
        if not self.num_unread:
            return ""
        return f"{self.num_unread} timing line{'s' if self.num_unread > 1 else ''} could not be read"


def parse_captions(text: str, format: str) -> list[Sentence]:
    """Read a caption file into sentences, as `read_captions` does."""
    return read_captions(text, format).sentences


def read_captions(text: str, format: str) -> Captions:
    """Read a caption file (`format` is one of `FORMATS`) into sentences, in the order in which they are spoken.

    Rolling tracks (each line repeated by the next cue) give every word once. Tags, sound descriptions such as
    [Music] and speaker marks are left out. Starts never decrease, and no sentence ends after the next one begins.

    Raises `CaptionError` for an unknown format and for text that is not in its format. A valid file without speech
    gives an empty list.
    """
    read = READERS.get(format.lower())
    if read is None:
        raise CaptionError(f"unknown caption format {format!r}: known are {', '.join(FORMATS)}")
    found = read(text.removeprefix("\ufeff").replace("\0", ""))
    shown, rolls = once(found.cues)
    timed = rolls or any(cue.anchors for cue in shown)
    num_marks = sum(cue.is_mark for cue in found.cues)
    return Captions(list(sentences(words(shown, timed))), found.num_unread, len(shown), num_marks)


def format_of(text: str, suffix: str) -> str:
    """The format of a caption file, by its content; where that tells nothing, by its suffix."""
    start = text[:100_000].lstrip("\ufeff\0 \t\r\n")
    lines = start.splitlines()[:LOOKED_AT]
    if start.startswith("WEBVTT"):
        return "vtt"
    if start.startswith("{") and '"' in start:
        return "json3"
    if match := ROOT.search(start[:2000]) if start.startswith("<") else None:
        return ROOT_FORMATS[match.group(1)]
    if any(re.match(r"\s*(?:\[Script Info\]|Dialogue:)", line, re.IGNORECASE) for line in lines):
        return "ass"
    if any(map(timing_line, lines)):
        return suffix if suffix in ("srt", "vtt") else "srt"
    if any(map(SBV_TIMES.fullmatch, lines)):
        return "sbv"
    if any(map(LRC_TIME.match, lines)):
        return "lrc"
    return suffix if suffix in FORMATS else "json3" if suffix == "json" else "vtt"


def words(cues: Sequence[Cue], timed: bool) -> list[Word]:
    """Return the words of the cues in order, with times. `timed` says that a cue's end is not its last word's end.

    A word without a time of its own gets one between its neighbours, by the letters before it.
    """
    placed: list[Word] = []
    next_starts = [*(cue.start_s for cue in cues[1:]), math.inf][: len(cues)]
    for cue, next_s in zip(cues, next_starts, strict=True):
        # Two people talk at once: their cues overlap. Cut off by the next, neither one's words are shuffled.
        end_s = min(cue.end_s, next_s)
        # An arrow is a piece of a timing line, or of a menu. Both are replaced by blanks of the same length.
        tokens = [*TOKEN.finditer(SPEAKER_MARK.sub(r"\1 ", cue.text.replace("-->", "   ")))]
        spots = spoken_spots(tokens)
        knots = [
            (0, cue.start_s),
            *((spot_of(position, tokens, spots), at_s) for position, at_s in cue.anchors),
            (spots[-1][1] if spots else 0, end_s),
        ]
        start_s = cue.start_s
        # A blank is no pause: in a long cue of few words it would look like one, and cut the sentence.
        stops = [*(first for first, _ in spots[1:]), *(last for _, last in spots[-1:])]
        for match, (first, _), last in zip(tokens, spots, stops, strict=True):
            # Word times in a file can run backwards. The order of the text is the right one.
            start_s = min(max(start_s, time_at(first, knots)), end_s)
            stop_s = min(max(start_s, time_at(last, knots)), end_s)
            if timed:
                stop_s = min(start_s + word_s(match.group()), end_s)
            placed.append(Word(start_s, stop_s, match.group()))
    starts = [*(word.start_s for word in placed[1:]), math.inf][: len(placed)]
    return [word._replace(end_s=min(word.end_s, stop)) for word, stop in zip(placed, starts, strict=True)]


def spoken_spots(tokens: Sequence[re.Match[str]]) -> list[tuple[int, int]]:
    """Where each word begins and ends if only what takes time counts: letters, and one blank between words."""
    spots, at, stop = list[tuple[int, int]](), 0, 0
    for token in tokens:
        at += bool(spots) and token.start() > stop
        spots.append((at, at + num_letters(token.group())))
        at, stop = spots[-1][1], token.end()
    return spots


def num_letters(word: str) -> int:
    """The characters that take time: no dashes around the word, no joiners, no marks above or below a letter."""
    return sum(unicodedata.category(character) not in ("Cf", "Mn", "Me") for character in word.strip(DASHES))


def spot_of(position: int, tokens: Sequence[re.Match[str]], spots: Sequence[tuple[int, int]]) -> int:
    """The spot of a position in the text: in its word, else at the beginning of the next one."""
    i = bisect_right(tokens, position, key=lambda token: token.end())
    if i == len(tokens):
        return spots[-1][1] if spots else 0
    inside = tokens[i].group()[: max(0, position - tokens[i].start())]
    # Letter by letter only as far as words are long: a token of megabytes may hold a time at each letter.
    return min(spots[i][0] + num_letters(inside[:LONGEST_WORD]) + len(inside[LONGEST_WORD:]), spots[i][1])


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
