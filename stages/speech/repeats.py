"""Give each spoken phrase once, where captions show it several times.

A rolling track (YouTube's automatic captions, television) shows each line a second time above the next one, and once
more in an echo cue of 10 ms between them. Others show a text again in the next cue (cut at a border, or with another
word coloured: karaoke), begin a cue with the end of the last one, or let a line grow word by word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

from vsumdata.stages.speech.cues import Cue
from vsumdata.stages.speech.markup import Line
from vsumdata.stages.speech.sentences import LETTERS_PER_WORD, UNSPACED

# The echo cues of a rolling track last 10 ms.
ECHO_S = 0.05
# Cues with no longer pause between them touch. Tools round the times of one border differently.
TOUCHING_S = 0.1
# A whole text that comes again must follow at once: a film's "À la fourgonnette!" was said twice, 35 ms apart.
BORDER_S = 0.02
# No screen shows more lines. The limit keeps the search for repeated lines from growing with a broken cue's length.
SCREEN_LINES, SCREEN_WORDS = 10, 60
# People do say "Yes." or "Again and again." twice. A repeat is one that has so many different words, or so many letters
# of a script without spaces.
SEVERAL_WORDS, SEVERAL_LETTERS = 3, 5 * LETTERS_PER_WORD


def once(cues: Sequence[Cue]) -> tuple[list[Cue], bool]:
    """The cues in order of time, each phrase in the first one that shows it; and whether the track rolls."""
    ordered = sorted(cues, key=lambda cue: cue.start_s)
    rolls = is_rolling(ordered)
    shown = together(unrolled(ordered) if rolls else ordered)
    # Of a rolling track only new lines are left, and whoever said the same again said it.
    return shown if rolls else list(without_repeats(shown)), rolls


def is_rolling(cues: Sequence[Cue]) -> bool:
    """Whether each cue repeats lines of the one before, as automatic and television captions do."""
    timed = any(line.anchors for cue in cues for line in cue.lines)
    echoes = carried = 0
    for before, after in pairwise(cues):
        repeated = carried_lines(before, after)
        echoes += 0 < after.end_s - after.start_s <= ECHO_S and (repeated > 0 or not after.lines)
        carried += 0 < repeated < len(after.lines)
    # Timed words are the work of a machine, so one echo or one carried line is proof. Elsewhere people repeat
    # themselves (a chorus), and it takes echoes in a fifth or carried lines in half of the cues.
    if timed:
        return echoes + carried > 0
    return 5 * echoes > len(cues) or 2 * carried > len(cues) > 2


def unrolled(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Yield each cue with only the lines that it adds to the screen."""
    screen: Cue | None = None
    for cue in cues:
        yield cue._replace(lines=cue.lines[carried_lines(screen, cue) :]) if screen else cue
        screen = cue


def carried_lines(before: Cue, after: Cue) -> int:
    """How many lines at the beginning of `after` are the end of `before`."""
    # A line with word times is new, even if the speaker says the same words again.
    timed = next((i for i, line in enumerate(after.lines) if line.anchors), len(after.lines))
    old = [*map(spelled, before.lines[-SCREEN_LINES:])]
    return num_repeated(old, [*map(spelled, after.lines[: min(timed, SCREEN_LINES)])])


def num_repeated(before: Sequence[str], after: Sequence[str]) -> int:
    """How many items at the beginning of `after` are the end of `before`."""
    return next((n for n in range(min(len(before), len(after)), 0, -1) if before[-n:] == after[:n]), 0)


def spelled(line: Line) -> str:
    return " ".join(line.text.split())


def together(cues: Sequence[Cue] | Iterator[Cue]) -> list[Cue]:
    """Join cues that begin at the same time into one, with their texts one after another."""
    shown = list[Cue]()
    spoken = [cue for cue in cues if cue.lines]
    # Cues without a length stay by themselves: sharing the time of another, they would push its words away.
    spoken.sort(key=lambda cue: (cue.start_s, cue.end_s > cue.start_s))
    for _, group in groupby(spoken, key=lambda cue: (cue.start_s, cue.end_s > cue.start_s)):
        same = list(group)
        if same[0].end_s > same[0].start_s:
            # A dict, because tracks draw the same text twice at the same time (as a shadow, or in two segments of a
            # stream). It is spoken once.
            different = {" ".join(cue.text.split()): cue for cue in reversed(same)}
            lines = tuple(line for cue in reversed(different.values()) for line in cue.lines)
            same = [same[0]._replace(end_s=max(cue.end_s for cue in same), lines=lines)]
        shown += same
    return shown


def without_repeats(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Yield the cues without what the cue before has shown already. Cues with timed words have no repeats."""
    if not cues:
        return
    words = [SCREEN_TOKEN.findall(cue.text) for cue in cues]
    overlaps = [0, *(num_shared(*both) for both in zip(pairwise(cues), pairwise(words), strict=True))]
    grows = [i > 0 and 0 < overlaps[i] == len(words[i - 1]) < len(words[i]) for i in range(len(cues))]
    # Where most cues begin with the end of the last one and go on, two words are no chance.
    rolls = 2 * sum(1 < shared < len(new) for shared, new in zip(overlaps, words, strict=True)) > len(cues) > 2
    held: Cue | None = None
    for i, cue in enumerate(cues):
        shared = overlaps[i]
        if shared and not (
            is_several(words[i][:shared])
            or (rolls and shared > 1)
            or (grows[i] and (grows[i - 1] or (i + 1 < len(cues) and grows[i + 1])))
            or (shared == len(words[i]) == len(words[i - 1]) and is_redrawn(cues[i - 1], cue))
        ):
            shared = 0
        if held is not None and shared and shared == len(words[i]):
            held = held._replace(end_s=max(held.end_s, cue.end_s))
            continue
        if held is not None:
            yield held
        held = without_words(cue, shared) if shared else cue
    if held is not None:
        yield held


SCREEN_TOKEN = re.compile(r"\S+")


def num_shared(cues: tuple[Cue, Cue], words: tuple[list[str], list[str]]) -> int:
    """How many words the second cue shows again: all that it has, or those that it begins with."""
    before, after = cues
    if after.start_s - before.end_s > TOUCHING_S or before.end_s <= before.start_s or before.anchors or after.anchors:
        return 0
    old, new = words
    if old == new:
        return len(new) if after.start_s - before.end_s <= BORDER_S else 0
    return num_repeated(old[-SCREEN_WORDS:], new[:SCREEN_WORDS])


def is_several(words: Sequence[str]) -> bool:
    letters = sum(len(UNSPACED.findall(word)) for word in words)
    if letters:
        return letters >= SEVERAL_LETTERS
    different = {re.sub(r"\W+", "", word.casefold()) for word in words}
    return len(different - {""}) >= SEVERAL_WORDS


def is_redrawn(before: Cue, after: Cue) -> bool:
    """Whether the same words are shown with other colours, as karaoke does, or in the next segment of a stream."""
    several = len(after.text.split()) > 1 or len(UNSPACED.findall(after.text)) > 1
    return before.part != after.part or (several and before.form.split() != after.form.split())


def without_words(cue: Cue, num_words: int) -> Cue:
    """The cue without its first words."""
    stops = [match.end() for match in SCREEN_TOKEN.finditer(cue.text)]
    rest = cue.text[stops[num_words - 1] :]
    return cue._replace(lines=tuple(Line(line) for line in rest.split("\n") if line.strip()))
