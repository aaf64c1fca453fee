"""Read caption files that are documents into cues: YouTube's json3 and srv1 to srv3, TTML, SubStation (ass, ssa).

The readers of pysubs2 and ttconv refuse a whole file for one damaged time: docs/design.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.entities import html5
from typing import Any

from lxml import etree

from vsumdata.stages.speech.cues import CaptionError, Cue, Reading, completed
from vsumdata.stages.speech.markup import LINE_BREAK, clean, split_lines, unescape
from vsumdata.stages.speech.timing import clock

NAN = float("nan")
XML_ENTITIES = frozenset(["amp", "lt", "gt", "quot", "apos"])
OFFSET = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*(h|ms|m|s|f|t)\s*")
FRAMES = re.compile(r"\s*(\d{1,6}):(\d{1,2}):(\d{1,2}):(\d{1,4})(?:\.\d+)?\s*")
# Elements of TTML that hold no speech.
SILENT = frozenset(["metadata", "title", "desc", "copyright", "head", "set", "agent", "item"])
ASS_FORMAT = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
KARAOKE = re.compile(r"\\[kK][fot]?\s*(\d{1,6})")
DRAWING = re.compile(r"\\p\s*(\d{1,2})(?!\w)")


# ---- YouTube's ---------------------------------------------------------------------------------------------


def number(value: Any) -> float | None:
    """A finite number from a JSON document, else None."""
    # Protocol buffers, from which json3 is made, write 64-bit integers as texts.
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e12:
        return None
    return float(value) if math.isfinite(value) else None


def read_json3(text: str) -> Reading:
    """Read YouTube's json3. Raises `CaptionError`."""
    # RecursionError: thousands of opening brackets.
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
        if isinstance(segments, list):
            # A missing time is 0: protocol buffers leave out a field that has its default value.
            start_ms, duration_ms = (number(event.get(key)) or 0.0 for key in ("tStartMs", "dDurationMs"))
            pieces = [
                (piece, number(segment.get("tOffsetMs")))
                for segment in segments
                if isinstance(segment, dict) and isinstance(piece := segment.get("utf8"), str)
            ]
            cues.append(of_pieces(pieces, max(0.0, start_ms), max(0.0, duration_ms)))
    return Reading(cues)


def of_pieces(pieces: list[tuple[str, float | None]], start_ms: float, duration_ms: float) -> Cue:
    """Make a cue of pieces (text, ms after the start or None). An appended one (mostly a line break) has its own."""
    text, anchors = "", []
    for piece, offset_ms in pieces:
        piece = clean(piece)
        if offset_ms is not None and piece.strip():
            anchors.append((len(text) + len(piece) - len(piece.lstrip()), max(0.0, start_ms + offset_ms) / 1000))
        text += piece
    # The borders of pieces tell karaoke from speech that is repeated.
    form = "\0".join(piece for piece, _ in pieces)
    return Cue(start_ms / 1000, (start_ms + duration_ms) / 1000, tuple(split_lines(text, anchors)), form)


def read_srv(text: str) -> Reading:
    """Read YouTube's srv1 (`<text start dur>`), srv2 (`<text t d>`), srv3 (`<p t d><s t>`). Raises `CaptionError`."""
    root = parse_xml(text, "a caption file of YouTube's")
    cues, num_unread = list[Cue](), 0
    for element in root.iter():
        name = local_name(element)
        if name not in ("text", "p"):
            continue
        in_s = 1000.0 if "start" in element.attrib else 1.0
        start_ms = decimal(
            element.get("start")
            or element.get("t")
            or ("0" if name == "p" and local_name(root) == "timedtext" else None)
        )
        duration_ms = decimal(element.get("dur") or element.get("d") or "0")
        if start_ms is None or duration_ms is None:
            num_unread += 1
            continue
        # A line of srv1 is escaped twice.
        pieces: list[tuple[str, float | None]] = [(unescape(element.text or "", ""), None)]
        for child in element:
            at_ms = decimal(child.get("t")) if local_name(child) == "s" else None
            inner = "\n" if local_name(child) == "br" else unescape("".join(child.itertext()), "")
            pieces += [(inner, at_ms), (unescape(child.tail or "", ""), None)]
        start_ms, duration_ms = max(0.0, start_ms * in_s), max(0.0, duration_ms * in_s)
        cues.append(of_pieces([piece for piece in pieces if piece[0]], start_ms, duration_ms))
    if not cues and local_name(root) not in ("transcript", "timedtext"):
        raise CaptionError("not a caption file of YouTube's: it has no <text> or <p> with a time")
    return Reading(cues, num_unread)


def decimal(value: str | None) -> float | None:
    if value is None or not re.fullmatch(r"\s*-?\d{1,12}(?:\.\d{0,12})?\s*", value, re.ASCII):
        return None
    return float(value)


# ---- XML ---------------------------------------------------------------------------------------------------


def parse_xml(text: str, what: str) -> etree._Element:
    """Parse XML as far as it goes. No entity of the document's own is resolved. Raises `CaptionError`."""
    # As text it has no encoding, and lxml refuses one that is stated.
    text = re.sub(r"^\s*<\?xml[^>]*>", "", text).encode("utf-8", "ignore").decode()
    text = re.sub(r"&(#?[\w.:-]+);", reference, text)
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise CaptionError(f"not {what}: {error}") from None
    if root is None:
        raise CaptionError(f"not {what}: no XML")
    return root


def reference(match: re.Match[str]) -> str:
    """A reference that XML knows, or the character of HTML's entity. Others vanish: lxml fails for half characters."""
    name = match.group(1)
    if not name.startswith("#"):
        return match.group() if name in XML_ENTITIES else html5.get(f"{name};", "")
    is_short = re.fullmatch(r"#(?:\d{1,7}|[xX][0-9a-fA-F]{1,6})", name, re.ASCII)
    return match.group() if is_short and unescape(match.group(), "") else ""


def local_name(element: etree._Element) -> str:
    """The name without its namespace; empty for comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: etree._Element, name: str) -> str | None:
    """An attribute by its local name: files of each age have namespaces of their own."""
    return next((value for key, value in element.attrib.items() if str(key).rpartition("}")[2] == name), None)


# ---- TTML --------------------------------------------------------------------------------------------------


@dataclass
class Ttml:
    """The state of reading one TTML file; rates are per second."""

    frame_rate: float = 30.0
    tick_rate: float | None = None
    cues: list[Cue] = field(default_factory=list)
    num_unread: int = 0

    def time_s(self, element: etree._Element, name: str) -> float | None:
        """The time of an attribute in s; None without it. What cannot be read is counted."""
        value = attribute(element, name)
        if value is None or value.strip() in ("", "indefinite"):
            return None
        found = self.expression_s(value)
        self.num_unread += found is None
        return found

    def expression_s(self, value: str) -> float | None:
        if match := OFFSET.fullmatch(value):
            count, unit = float(match.group(1)), match.group(2)
            ticks = self.tick_rate or self.frame_rate
            return count / {"h": 1 / 3600, "m": 1 / 60, "s": 1, "ms": 1000, "f": self.frame_rate, "t": ticks}[unit]
        if match := FRAMES.fullmatch(value):
            hours, minutes, whole, frames = map(int, match.groups())
            # As a fraction where it cannot be a frame's number: some write milliseconds so.
            part_s = frames / self.frame_rate if frames < self.frame_rate else float(f"0.{match.group(4)}")
            return hours * 3600 + minutes * 60 + whole + part_s
        if re.fullmatch(r"\s*\d{1,6}(?:\.\d{1,9})?\s*", value, re.ASCII):
            return float(value)
        return clock(value)

    def interval(self, element: etree._Element, base_s: float, limit_s: float) -> tuple[float, float]:
        """When an element is shown, in s; its times count from its parent's. An unknown end is its parent's."""
        begin_s, end_s, length_s = (self.time_s(element, name) for name in ("begin", "end", "dur"))
        start_s = base_s + (begin_s or 0.0)
        ends = [base_s + end_s] if end_s is not None else []
        ends += [start_s + length_s] if length_s is not None else []
        return start_s, min([*ends, limit_s])

    def walk(self, element: etree._Element, base_s: float, limit_s: float, is_timed: bool) -> float:
        """Read an element and what is in it; return when it ends, in s."""
        name = local_name(element)
        if not name or name in SILENT:
            return base_s
        start_s, end_s = self.interval(element, base_s, limit_s)
        is_timed = is_timed or any(attribute(element, each) is not None for each in ("begin", "end", "dur"))
        if name == "p":
            self.paragraph(element, start_s, end_s, is_timed)
            return end_s if math.isfinite(end_s) else start_s
        in_turn, at_s, last_s = attribute(element, "timeContainer") == "seq", start_s, start_s
        for child in element:
            last_s = max(last_s, self.walk(child, at_s, end_s, is_timed or in_turn))
            at_s = last_s if in_turn else start_s
        return end_s if math.isfinite(end_s) else last_s

    def paragraph(self, element: etree._Element, start_s: float, end_s: float, is_timed: bool) -> None:
        text, anchors = "", list[tuple[int, float]]()
        ends = list[float]()
        for piece, span in self.pieces(element, start_s, end_s):
            piece = clean(piece)
            if span is not None and piece.strip():
                anchors.append((len(text) + len(piece) - len(piece.lstrip()), span[0]))
                ends.append(span[1])
            text += piece
        if not text.strip():
            return
        if not is_timed and not anchors:
            self.num_unread += 1
            return
        if anchors and not is_timed:
            start_s = min(at_s for _, at_s in anchors)
        # One timed span that is the whole paragraph is no word.
        whole = len(anchors) == 1 and not text[: anchors[0][0]].strip()
        if whole:
            start_s, anchors = anchors[0][1], []
        end_s = max(ends) if ends and (whole or not math.isfinite(end_s)) else end_s
        form = etree.tostring(element, encoding="unicode", with_tail=False)
        form = re.sub(r"""\s(?:begin|end|dur|xml:id|id)=("[^"]*"|'[^']*')""", "", form)
        lines = tuple(split_lines(text, anchors))
        self.cues.append(Cue(start_s, end_s if math.isfinite(end_s) else NAN, lines, form))

    def pieces(
        self, element: etree._Element, start_s: float, end_s: float, own: tuple[float, float] | None = None
    ) -> Iterator[tuple[str, tuple[float, float] | None]]:
        """Yield (text, the interval of the timed span it begins, if any). Blanks are one; `br` ends a line."""
        yield collapsed(element.text), own
        for child in element:
            name = local_name(child)
            if name == "br":
                yield "\n", None
            elif name and name not in SILENT and attribute(child, "ruby") not in ("text", "textContainer", "delimiter"):
                is_timed = attribute(child, "begin") is not None
                span = self.interval(child, start_s, end_s) if is_timed else None
                yield from self.pieces(child, *(span or (start_s, end_s)), span)
            yield collapsed(child.tail), None


def collapsed(value: str | None) -> str:
    return re.sub(r"\s+", " ", value or "")


def read_ttml(text: str) -> Reading:
    """Read TTML of any age (dfxp), as far as it is XML. Raises `CaptionError`."""
    root = parse_xml(text, "a TTML file")
    found = Ttml()
    if rate := decimal(attribute(root, "frameRate")):
        found.frame_rate = rate if rate > 0 else 30.0
    multiplier = re.fullmatch(r"\s*(\d{1,6})[\s:](\d{1,6})\s*", attribute(root, "frameRateMultiplier") or "")
    if multiplier and int(multiplier.group(1)) and int(multiplier.group(2)):
        found.frame_rate *= int(multiplier.group(1)) / int(multiplier.group(2))
    ticks = decimal(attribute(root, "tickRate"))
    found.tick_rate = ticks if ticks and ticks > 0 else None
    found.walk(root, 0.0, float("inf"), False)
    if not found.cues and (local_name(root) != "tt" or found.num_unread):
        raise CaptionError("not a TTML file: it has no <p> with a time")
    return Reading(completed(sorted(found.cues, key=lambda cue: cue.start_s)), found.num_unread)


# ---- SubStation --------------------------------------------------------------------------------------------


def read_ass(text: str) -> Reading:
    """Read SubStation Alpha (ass, ssa). Raises `CaptionError`."""
    names, cues, num_unread, is_ass = columns(ASS_FORMAT), list[Cue](), 0, False
    section = ""
    for line in text.splitlines():
        if match := re.match(r"\s*\[([^\]]{1,40})\]\s*$", line):
            section = match.group(1).strip().lower()
            is_ass |= section in ("script info", "events")
            continue
        key, _, value = line.partition(":")
        key = key.strip().lower()
        if key == "format" and section == "events":
            names = columns(value)
        elif key == "dialogue":
            fields = dict(zip(names, value.split(",", len(names) - 1), strict=False))
            start_s, end_s = clock(fields.get("start", "")), clock(fields.get("end", ""))
            num_unread += start_s is None or end_s is None
            if start_s is not None or end_s is not None:
                cues.append(dialogue(fields, NAN if start_s is None else start_s, NAN if end_s is None else end_s))
    if not cues and (num_unread or not is_ass):
        raise CaptionError("not a SubStation file: it has no Dialogue with times that can be read")
    return Reading(completed(sorted(cues, key=lambda cue: (cue.start_s != cue.start_s, cue.start_s))), num_unread)


def columns(line: str) -> list[str]:
    return [name.strip().lower() for name in line.split(",")]


def dialogue(fields: Mapping[str, str], start_s: float, end_s: float) -> Cue:
    """Make a cue of a Dialogue: words of karaoke become anchors, drawings are left out."""
    source = fields.get("text", "")
    text, anchors, at_s, draws = "", list[tuple[int, float]](), start_s, False
    for is_override, piece in enumerate_overrides(source):
        if is_override:
            for match in DRAWING.finditer(piece):
                draws = match.group(1).strip("0") != ""
            for match in KARAOKE.finditer(piece):
                anchors.append((len(text), at_s))
                at_s += int(match.group(1)) / 100
        elif not draws:
            text += clean(
                LINE_BREAK.sub(lambda found: "\n" if found.group() == "\\N" else " ", piece.replace("\\n", "\\N"))
            )
    # A syllable of no letters, and times that nobody knows.
    anchors = [(at, s) for at, s in anchors if s == s and text[at:].strip()]
    return Cue(start_s, end_s, tuple(split_lines(text, anchors)), source)


def enumerate_overrides(source: str) -> Iterator[tuple[bool, str]]:
    """Yield (whether it stands in braces, the piece)."""
    position = 0
    for match in re.finditer(r"\{[^{}]*\}", source):
        yield False, source[position : match.start()]
        yield True, match.group()
        position = match.end()
    yield False, source[position:]
