"""Write the captions of the embedded corpus, in the forms that YouTube gives them.

Automatic captions come without case and punctuation, in lines that roll: each VTT line is shown again, above
the next one, after an echo of it that lasts ten milliseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WORDS_PER_LINE = 7
ECHO_S = 0.01


@dataclass(frozen=True)
class Spoken:
    """A word or a sentence, and when it is spoken."""

    start_s: float
    end_s: float
    text: str


def clock(seconds: float, mark: str = ".") -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"


def spoken_words(sentence: Spoken) -> list[Spoken]:
    """The words of a sentence, plain and in lower case, each given time by its length."""
    texts = re.findall(r"[a-z']+", sentence.text.lower())
    second_per_letter = (sentence.end_s - sentence.start_s) / sum(len(text) + 1 for text in texts)
    words, start_s = [], sentence.start_s
    for text in texts:
        end_s = start_s + (len(text) + 1) * second_per_letter
        words.append(Spoken(round(start_s, 3), round(end_s, 3), text))
        start_s = end_s
    return words


def spoken_lines(sentences: Sequence[Spoken]) -> list[list[Spoken]]:
    words = [word for sentence in sentences for word in spoken_words(sentence)]
    return [words[i : i + WORDS_PER_LINE] for i in range(0, len(words), WORDS_PER_LINE)]


def vtt(sentences: Sequence[Spoken]) -> str:
    cues = [f"{clock(s.start_s)} --> {clock(s.end_s)}\n{s.text}\n" for s in sentences]
    return "\n".join(["WEBVTT\nKind: captions\nLanguage: en\n", *cues])


def srt(sentences: Sequence[Spoken]) -> str:
    return "\n".join(
        f"{number}\n{clock(s.start_s, ',')} --> {clock(s.end_s, ',')}\n{s.text}\n"
        for number, s in enumerate(sentences, 1)
    )


def rolling_vtt(sentences: Sequence[Spoken]) -> str:
    cues, above = [], " "
    for line in spoken_lines(sentences):
        first, *others = line
        tagged = first.text + "".join(f"<{clock(word.start_s)}><c> {word.text}</c>" for word in others)
        plain = " ".join(word.text for word in line)
        echo_s = line[-1].end_s - ECHO_S
        settings = " align:start position:0%"
        cues.append(f"{clock(first.start_s)} --> {clock(echo_s)}{settings}\n{above}\n{tagged}\n")
        cues.append(f"{clock(echo_s)} --> {clock(line[-1].end_s)}{settings}\n{plain}\n \n")
        above = plain
    return "\n".join(["WEBVTT\nKind: captions\nLanguage: en\n", *cues])


def json3(sentences: Sequence[Spoken]) -> str:
    lines = spoken_lines(sentences)
    end_ms = round(lines[-1][-1].end_s * 1000)
    events: list[dict[str, Any]] = [{"tStartMs": 0, "dDurationMs": end_ms, "id": 1, "wpWinPosId": 1}]
    for number, line in enumerate(lines):
        start_ms = round(line[0].start_s * 1000)
        if number:
            events.append({"tStartMs": start_ms - 10, "wWinId": 1, "aAppend": 1, "segs": [{"utf8": "\n"}]})
        segments = [
            {
                "utf8": " " * bool(place) + word.text,
                "tOffsetMs": round(word.start_s * 1000) - start_ms,
                "acAsrConf": 0,
            }
            for place, word in enumerate(line)
        ]
        # A line stays while the next one rolls in below it: the events overlap.
        stays_ms = round(lines[min(number + 1, len(lines) - 1)][-1].end_s * 1000)
        events.append({"tStartMs": start_ms, "dDurationMs": stays_ms - start_ms, "wWinId": 1, "segs": segments})
    return json.dumps({"wireMagic": "pb3", "events": events}, indent=1)


WRITERS = {
    ("manual", "vtt"): vtt,
    ("manual", "srt"): srt,
    ("automatic", "vtt"): rolling_vtt,
    ("automatic", "json3"): json3,
}
