"""Words with times → sentences.

A text with enough sentence marks (`WORDS_PER_SENTENCE_MARK`) is cut after them. Without marks, as in many
automatic captions, it is cut where the speaker pauses (`PAUSE_S`), and without a pause for `MAX_WORDS` at the
longest gap in the second half of those words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

WORDS_PER_SENTENCE_MARK = 40  # fewer marks than one in so many words: the text counts as unpunctuated
PAUSE_S, MAX_WORDS = 0.7, 25  # where unpunctuated text is cut
LONG_PAUSE_S, MAX_PUNCTUATED_WORDS = 4.0, 80  # where even punctuated text is cut inside a sentence

MARKS, CLOSING = ".?!…", "\"'”’»)]"
NEVER_LAST = frozenset(
    ["mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "jr.", "sr.", "vs.", "e.g.", "i.e.", "approx.", "fig."]
)
SELDOM_LAST = re.compile(
    r"(etc|tbsp|tsp|oz|lbs?|mins?|hrs?|ft|in|no|vol|dept|inc|ltd|co|u\.s|u\.k|\b\w)\.$", re.IGNORECASE
)


class Sentence(NamedTuple):
    start_s: float
    end_s: float
    text: str


class Word(NamedTuple):
    start_s: float
    end_s: float
    text: str


def sentences(words: Sequence[Word]) -> Iterator[Sentence]:
    """Cut `words`, in the order of their starts and without overlaps, into sentences; none is lost."""
    if not words:
        return
    marks = [ends_sentence(word.text, after.text) for word, after in pairwise(words)]
    num_marks = sum(marks) + bool(final_mark(words[-1].text))
    punctuated = num_marks * WORDS_PER_SENTENCE_MARK >= len(words)
    limits = (LONG_PAUSE_S, MAX_PUNCTUATED_WORDS) if punctuated else (PAUSE_S, MAX_WORDS)
    first = 0
    for i, is_last in enumerate([*marks, True]):
        if is_last:
            for part in cut(words[first : i + 1], *limits):
                yield Sentence(part[0].start_s, part[-1].end_s, " ".join(word.text for word in part))
            first = i + 1


def ends_sentence(word: str, following: str) -> bool:
    """Whether a sentence ends after `word`.

    Not after www.example.org, 3.5 or Dr.; not after "2 tbsp." or "well..." when a small letter follows.
    """
    mark = final_mark(word)
    if not mark:
        return False
    if "?" in mark or "!" in mark:
        return True
    if word.lower().lstrip("\"'“‘([") in NEVER_LAST or re.fullmatch(r"\d{1,2}\.", word):
        return False
    unsure = SELDOM_LAST.search(word) or mark.startswith(("..", "…"))
    return not (unsure and following[0].islower())


def final_mark(word: str) -> str:
    """The sentence marks that a word ends with, before closing quotes and brackets."""
    body = word.rstrip(CLOSING)
    return body[len(body.rstrip(MARKS)) :]


def cut(part: Sequence[Word], pause_s: float, max_words: int) -> Iterator[Sequence[Word]]:
    """Cut at pauses of `pause_s`, and at the longest gap in the second half of `max_words` without one."""
    first, half = 0, max_words // 2
    while first < len(part):
        window = part[first : first + max_words + 1]
        gaps = [after.start_s - before.end_s for before, after in pairwise(window)]
        stop = next((i for i, gap in enumerate(gaps, 1) if gap >= pause_s), len(window))
        if stop > max_words:
            stop = max(range(half + 1, max_words + 1), key=lambda i: (gaps[i - 1], i))
        yield part[first : first + stop]
        first += stop
