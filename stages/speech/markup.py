"""Take the markup out of a caption's text: tags, entities, marks that nobody speaks; times inside it become anchors."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

from vsumdata.stages.speech.timing import clock

# A time inside the text, as `<00:00:01.500>`. Its bracket may be open, and blanks may stand before it.
WORD_TIME = re.compile(r"<\s*(\d{1,6}\s*:\s*\d[\d\s:.,]{0,20}?)\s*(?:>|(?=<)|$|(?<=\d)\s(?![\d:.,]))", re.MULTILINE)
# WebVTT and SRT tags, {\an8} of SubStation.
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|</?>|<\d[\d:.,\s]*>|\{\\[^{}]*\}")
# Tags that nothing closes: their names, and of a voice or a language the word that names it. The rest is spoken.
OPEN_TAG = re.compile(
    r"</?(?:(?:v(?:\.[^\s<>]*)?|lang)[ \t]+[^\s<>]+|font(?:[ \t]+\w+=[^\s<>]*)*|(?:c|i|b|u|v|lang|ruby|rt|span)"
    r"(?:\.[^\s<>]*)?)(?=[\s<]|$)|\{\\[^{}\s]*",
    re.IGNORECASE,
)
# Ruby text spells how a Japanese or Chinese word is read, so the word would appear twice. Its end tag may be missing.
RUBY = re.compile(r"<rt\b[^<>]*>.*?(?:</rt>|(?=</ruby>)|$)", re.IGNORECASE | re.MULTILINE)
# SubStation's line break and no-break space. Players accept them in SRT too.
LINE_BREAK = re.compile(r"\\[Nh]")
# Control characters, zero-width spaces, direction and byte order marks. Not the zero-width joiners, which spell Persian
# and Indian words.
INVISIBLE = re.compile("[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
# More digits than any character's number has. `html.unescape` would convert them all, and fails beyond 4,300.
ENDLESS_REFERENCE = re.compile(r"&#\d{8,};?", re.ASCII)
REFERENCE = re.compile(r"&#?\w{1,32};?")
NOT_SPOKEN = re.compile(r"\[[^\[\]]{0,60}\]|[♩♪♫♬]|(?<!\S)>{2,3}")  # [Music], notes, a change of speaker

Anchors = tuple[tuple[int, float], ...]


class Line(NamedTuple):
    """A line as it is spoken. `anchors` are (position in `text`, time in s) of timed words."""

    text: str
    anchors: Anchors = ()


def marked_lines(source: str) -> list[Line]:
    """The spoken lines of a cue in WebVTT's or SRT's markup, without empty ones."""
    text, anchors, position = "", list[tuple[int, float]](), 0
    at_s: float | None = None
    for match in [*WORD_TIME.finditer(source), None]:
        piece = plain(source[position : match.start() if match else len(source)])
        if at_s is not None and piece.strip():
            anchors.append((len(text) + len(piece) - len(piece.lstrip()), at_s))
        text += piece
        if match:
            found = clock(match.group(1))
            position, at_s = match.end(), at_s if found is None else found
    return split_lines(text, anchors)


def split_lines(text: str, anchors: list[tuple[int, float]]) -> list[Line]:
    """Cut a cue's text into its lines, each with its own anchors, without empty lines."""
    lines, begun, at = [], 0, 0
    for line in text.split("\n"):
        stop = begun + len(line)
        own = []
        while at < len(anchors) and anchors[at][0] <= stop:
            own.append((anchors[at][0] - begun, anchors[at][1]))
            at += 1
        if line.strip():
            lines.append(Line(line, tuple(own)))
        begun = stop + 1
    return lines


def plain(text: str) -> str:
    """The spoken text, without tags, ruby and entities."""
    # Entities last: "&lt;i&gt;" is text that shows a tag, not a tag.
    return clean(unescape(LINE_BREAK.sub(" ", OPEN_TAG.sub("", TAG.sub("", RUBY.sub("", text)))), ""))


def unescape(text: str, missing: str = "\ufffd") -> str:
    """The text with its HTML entities as characters, `missing` for those that name none; any text is taken."""
    # `html` makes U+FFFD of `&#0;` and of halves of characters.
    return REFERENCE.sub(
        lambda found: html.unescape(found.group()).replace("\ufffd", missing), ENDLESS_REFERENCE.sub(missing, text)
    )


def clean(text: str) -> str:
    """The text without what nobody says (sound descriptions, notes, invisible marks)."""
    # The encoding drops lone surrogates, which JSON can spell and UTF-8 cannot hold.
    return NOT_SPOKEN.sub(" ", INVISIBLE.sub("", text.encode("utf-8", "ignore").decode()))
