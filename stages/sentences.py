"""Words with times → sentences.

A text with enough sentence marks (`WORDS_PER_SENTENCE_MARK`) is cut after them. Without marks, as in many
automatic captions, it is cut where the speaker pauses (`PAUSE_S`), and without a pause for `MAX_WORDS` at the
longest gap in the second half of those words. Scripts that put no spaces between words (`UNSPACED`) count a
word for each `LETTERS_PER_WORD` letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

WORDS_PER_SENTENCE_MARK = 40  # fewer marks than one in so many words: the text counts as unpunctuated
PAUSE_S, MAX_WORDS = 0.7, 25  # where unpunctuated text is cut
LONG_PAUSE_S, MAX_PUNCTUATED_WORDS = 4.0, 80  # where even punctuated text is cut inside a sentence

MARKS, CLOSING = ".?!…؟۔।॥。！？｡", "\"'”’»)]」』）"
ALWAYS_LAST = frozenset("?!؟۔।॥。！？｡")
# Thai and Lao, Burmese, Khmer, Japanese and Chinese
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
LETTERS_PER_WORD = 2
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
    punctuated = num_marks * WORDS_PER_SENTENCE_MARK >= sum(map(size, words))
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
    if not ALWAYS_LAST.isdisjoint(mark):
        return True
    if word.lower().lstrip("\"'“‘([") in NEVER_LAST or re.fullmatch(r"\d{1,2}\.", word):
        return False
    unsure = SELDOM_LAST.search(word) or mark.startswith(("..", "…"))
    return not (unsure and following[0].islower())


def final_mark(word: str) -> str:
    """The sentence marks that a word ends with, before closing quotes and brackets."""
    body = word.rstrip(CLOSING)
    return body[len(body.rstrip(MARKS)) :]


def size(word: Word) -> int:
    """How many words it counts for."""
    return max(1, len(UNSPACED.findall(word.text)) // LETTERS_PER_WORD)


def cut(part: Sequence[Word], pause_s: float, max_words: int) -> Iterator[Sequence[Word]]:
    """Cut at pauses of `pause_s`, and at the longest gap in the second half of `max_words` without one."""
    first = 0
    while first < len(part):
        stop, length, latest = first + 1, size(part[first]), first + 1
        longest = (-1.0, latest)  # the longest gap so far in the second half, and where
        while stop < len(part) and length <= max_words:
            gap_s = part[stop].start_s - part[stop - 1].end_s
            if gap_s >= pause_s:
                break
            if length > max_words // 2:
                longest = max(longest, (gap_s, stop))
            length += size(part[stop])
            stop += 1
        if length > max_words:
            stop = longest[1]
        yield part[first:stop]
        first = stop
