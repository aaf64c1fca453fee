"""Write the captions of the embedded corpus, in the formats of YouTube.

Automatic captions have no capitals and no punctuation, and their lines roll: an echo cue of ten milliseconds repeats
each VTT line, and the next cue shows it again above its own line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WORDS_PER_LINE = 7
# YouTube's echo cues last ten milliseconds. A naive reader doubles the text by them, so the sample has them too.
ECHO_S = 0.01


@dataclass(frozen=True)
class Spoken:
    """A word or a sentence, and when it is spoken."""

    start_s: float
    end_s: float
    text: str


def clock(seconds: float, mark: str = ".") -> str:
    """`00:01:02.345`; `mark` stands before the milliseconds."""
    # Rounded once, as a whole: rounded by itself, a fraction of .9996 would become 1000 milliseconds.
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"


def spoken_words(sentence: Spoken) -> list[Spoken]:
    """The words of a sentence in lower case. Each takes a share of the sentence's time by its length."""
    # A WAV file of espeak-ng does not say when each word is spoken.
    texts = re.findall(r"[a-z']+", sentence.text.lower())
    second_per_letter = (sentence.end_s - sentence.start_s) / sum(len(text) + 1 for text in texts)
    words, start_s = [], sentence.start_s
    for text in texts:
        end_s = start_s + (len(text) + 1) * second_per_letter
        words.append(Spoken(round(start_s, 3), round(end_s, 3), text))
        start_s = end_s
    return words


def spoken_lines(sentences: Sequence[Spoken]) -> list[list[Spoken]]:
    """Lines of up to WORDS_PER_LINE words, across sentences."""
    words = [word for sentence in sentences for word in spoken_words(sentence)]
    return [words[i : i + WORDS_PER_LINE] for i in range(0, len(words), WORDS_PER_LINE)]


def vtt(sentences: Sequence[Spoken]) -> str:
    """Manual captions as WebVTT, a cue for each sentence."""
    cues = [f"{clock(s.start_s)} --> {clock(s.end_s)}\n{s.text}\n" for s in sentences]
    return "\n".join(["WEBVTT\nKind: captions\nLanguage: en\n", *cues])


def srt(sentences: Sequence[Spoken]) -> str:
    """Manual captions as SubRip, a cue for each sentence."""
    # SubRip writes a comma before the milliseconds.
    return "\n".join(
        f"{number}\n{clock(s.start_s, ',')} --> {clock(s.end_s, ',')}\n{s.text}\n"
        for number, s in enumerate(sentences, 1)
    )


def rolling_vtt(sentences: Sequence[Spoken]) -> str:
    """Automatic captions as YouTube's WebVTT: word times, rolling lines, echo cues."""
    # The line above the first one is a blank, not empty: an empty line would end the cue.
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
    """Automatic captions as YouTube's json3: an event for each line, a segment for each word."""
    lines = spoken_lines(sentences)
    end_ms = round(lines[-1][-1].end_s * 1000)
    events: list[dict[str, Any]] = [{"tStartMs": 0, "dDurationMs": end_ms, "id": 1, "wpWinPosId": 1}]
    for number, line in enumerate(lines):
        start_ms = round(line[0].start_s * 1000)
        # YouTube breaks the line by an event of its own, ten milliseconds before the next one.
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
        # A line stays while the next one rolls in below it, so the events overlap, as YouTube's do.
        stays_ms = round(lines[min(number + 1, len(lines) - 1)][-1].end_s * 1000)
        events.append({"tStartMs": start_ms, "dDurationMs": stays_ms - start_ms, "wWinId": 1, "segs": segments})
    return json.dumps({"wireMagic": "pb3", "events": events}, indent=1)


WRITERS = {
    ("manual", "vtt"): vtt,
    ("manual", "srt"): srt,
    ("automatic", "vtt"): rolling_vtt,
    ("automatic", "json3"): json3,
}
