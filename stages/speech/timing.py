"""Read the times of caption files, also those that tools and people have damaged. All times are seconds.

Seen in files that players accept: blanks inside times, full-width colons, `:` or `.` before the milliseconds,
milliseconds with a fraction, three digits of minutes, no hours, negative times, Python's `-1 day, 23:59:58`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

# What NFKC leaves as it is: the ratio sign, letter colons, the minus sign, Arabic decimal marks, an ideographic stop.
PLAIN = str.maketrans({"∶": ":", "꞉": ":", "−": "-", "٫": ".", "٬": ",", "。": ".", "＞": ">"})
FRACTION = r"(?:\s*[.,:;'’]\s*(?P<fraction>-?\d*)(?:[.,]\d*)*|\s(?P<apart>\d{3})(?!\d))?"
CLOCK = (
    r"(?:(?P<days>-?\d{1,4})\s*days?\s*,\s*)?(?P<sign>-?)\s*"
    r"(?:(?P<hours>-?\d{1,6})\s*[:;]\s*)?(?P<minutes>-?\d{1,6})\s*[:;]\s*(?P<whole>-?\d{1,3})(?!\d)" + FRACTION
)
DOTTED = r"(?P<sign>-?)\s*(?P<hours>\d{1,2})\.(?P<minutes>\d{1,2})\.(?P<whole>\d{1,2})(?!\d)" + FRACTION
BARE = r"(?P<sign>-?)(?P<whole>\d{1,6})[.,](?P<fraction>\d{1,6})(?!\d)\s*s?"
FORMS = tuple(re.compile(rf"{form}(?![^\W_]|\s*:\s*\d)") for form in (CLOCK, DOTTED, BARE))
# The counter of the cue may stand before its times on the same line, so what ends the left side counts.
LAST = tuple(re.compile(rf"(?<![\d:]){form}[\s.,:;\])]*$") for form in (CLOCK, DOTTED, BARE))
# The arrow as WebVTT and SRT have it is never speech; the others are arrows of timing lines between two times.
ARROW = re.compile(r"-\s?-\s?>|--\s?&gt;")
OTHER_ARROW = re.compile(r"[-–—=]{1,3}\s?(?:>|&gt;)|→")
TIME_LIKE = re.compile(r"\d\s*:\s*\d")
# No time is longer. A bound, because a line may have megabytes.
LONGEST = 100


class Timing(NamedTuple):
    """A timing line. A time that cannot be read is None; `rest` is what follows the times."""

    start_s: float | None
    end_s: float | None
    rest: str = ""


def seconds(match: re.Match[str]) -> float:
    """The time that a match of one of `FORMS` states; a negative one is 0."""
    found = match.groupdict()
    parts = [found.get(name) or "0" for name in ("hours", "minutes", "whole")]
    fraction = found.get("fraction") or found.get("apart") or ""
    if "-" in (found.get("sign") or "") + "".join(parts) + fraction:
        return 0.0
    hours, minutes, whole = map(int, parts)
    if len(parts[2]) == 3 and not fraction and found.get("hours"):
        # 00:01:500: minutes, seconds, milliseconds.
        hours, minutes, whole, fraction = 0, hours, minutes, parts[2]
    days_s = 86_400.0 * int(found.get("days") or 0)
    # As a fraction of any length: files with one, two or six digits exist.
    return max(0.0, days_s + hours * 3600 + minutes * 60 + whole + float(f"0.{fraction or 0}"))


def clock(text: str) -> float | None:
    """The time that `text` is, and nothing else; None if it is no time."""
    text = unicodedata.normalize("NFKC", text[:LONGEST]).translate(PLAIN).strip()
    match = next((match for form in FORMS if (match := form.fullmatch(text))), None)
    return None if match is None else seconds(match)


def timing_line(line: str) -> Timing | None:
    """The times of a timing line of WebVTT or SRT; None for any other line."""
    if not re.search("[>＞→]|&gt;", line):
        return None
    line = unicodedata.normalize("NFKC", line).translate(PLAIN)
    arrow = ARROW.search(line) or OTHER_ARROW.search(line)
    if arrow is None:
        return None
    left, right = line[: arrow.start()][-LONGEST:], line[arrow.end() :].lstrip()
    first = next((match for form in LAST if (match := form.search(left))), None)
    last = next((match for form in FORMS if (match := form.match(right[:LONGEST]))), None)
    if first and last:
        rest = right[last.end() :]
        # Whisper prints `[00:00.000 --> 00:02.000]  text`. Elsewhere settings follow the times.
        inline = rest.lstrip()[1:].strip() if left.lstrip().startswith("[") and rest.lstrip().startswith("]") else ""
        return Timing(seconds(first), seconds(last), inline)
    # `--&gt;` is also how WebVTT writes a spoken arrow.
    if "-->" in line or (ARROW.match(arrow.group()) and TIME_LIKE.search(left[-LONGEST:] + " " + right[:LONGEST])):
        return Timing(seconds(first) if first else None, seconds(last) if last else None)
    return None
