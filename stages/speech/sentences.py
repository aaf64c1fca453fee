"""Cut words with times into sentences.

A text with enough sentence marks (`WORDS_PER_SENTENCE_MARK`) is cut after the marks. A text without them, as many
automatic captions are, is cut where the speaker pauses (`PAUSE_S`). After `MAX_WORDS` without a pause it is cut at the
longest gap in the second half of those words. In scripts without spaces between words (`UNSPACED`),
`LETTERS_PER_WORD` letters count as a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

# A text with fewer marks than one in so many words counts as unpunctuated.
WORDS_PER_SENTENCE_MARK = 40
# Where unpunctuated text is cut.
PAUSE_S, MAX_WORDS = 0.7, 25
# Where even punctuated text is cut inside a sentence. A missing mark must not make one sentence of a whole talk.
LONG_PAUSE_S, MAX_PUNCTUATED_WORDS = 4.0, 80

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
# Units and short words that do end sentences at times ("Add 2 tbsp. Stir."). The next letter decides.
SELDOM_LAST = re.compile(
    r"(etc|tbsp|tsp|oz|lbs?|mins?|hrs?|ft|in|no|vol|dept|inc|ltd|co|u\.s|u\.k|\b\w)\.$", re.IGNORECASE
)


class Sentence(NamedTuple):
    """A sentence and when it is spoken, in seconds from the video's start."""

    start_s: float
    end_s: float
    text: str


class Word(NamedTuple):
    """A word and when it is spoken, in seconds."""

    start_s: float
    end_s: float
    text: str


def sentences(words: Sequence[Word]) -> Iterator[Sentence]:
    """Cut `words` into sentences without losing one. The words must be in order and must not overlap."""
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
    """Whether a sentence ends after `word`, when `following` is the next word.

    Not inside www.example.org or 3.5; not after Dr.; not after "2 tbsp." or "well..." if a small letter follows.
    """
    mark = final_mark(word)
    if not mark:
        return False
    if not ALWAYS_LAST.isdisjoint(mark):
        return True
    # "1." and "12." number the items of a list. A year ("in 2019.") does end a sentence.
    if word.lower().lstrip("\"'“‘([") in NEVER_LAST or re.fullmatch(r"\d{1,2}\.", word):
        return False
    unsure = SELDOM_LAST.search(word) or mark.startswith(("..", "…"))
    return not (unsure and following[0].islower())


def final_mark(word: str) -> str:
    """The sentence marks that a word ends with, before closing quotes and brackets."""
    body = word.rstrip(CLOSING)
    return body[len(body.rstrip(MARKS)) :]


def size(word: Word) -> int:
    """For how many words it counts: one, or more in scripts without spaces."""
    return max(1, len(UNSPACED.findall(word.text)) // LETTERS_PER_WORD)


def cut(part: Sequence[Word], pause_s: float, max_words: int) -> Iterator[Sequence[Word]]:
    """Cut at pauses of `pause_s`; after `max_words` without one, at the longest gap in their second half."""
    # Only the second half, so that the pieces do not get short.
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
