"""Answers: sentences with the indexes they refer to, written for a task and read back from ids or from any text.

Two forms are in use. *list*: `A man cuts [07, 08]. He eats [40].`; *lead*: `[07]A man cuts. [40]He eats.`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vsumdata.train.language.index_codec import MARKS, Decode, Encode, IndexCodec
from vsumdata.train.language.prompts import Task

Form = Literal["list", "lead"]
LIST = re.compile(r"\s*\[(\s*[0-9]+\s*(?:,\s*[0-9]+\s*)*)\]")


@dataclass(frozen=True)
class Sentence:
    """A sentence and the indexes of the frames that it tells of."""

    text: str
    frames: tuple[int, ...] = ()


Answer = tuple[Sentence, ...]
# A text, or the indexes of a list.
Piece = str | tuple[int, ...]


def settle(sentences: Iterable[Sentence]) -> Answer:
    """Sentences in the order of their first frames, with lists that increase over the whole answer.

    An index that two sentences claim, or that lies before the frames of an earlier sentence, goes to the earlier one or
    to none. A sentence that is left without frames stays, for the task that shows text alone.
    """
    cleaned = [Sentence(clean(one.text), tuple(sorted(set(one.frames)))) for one in sentences]
    # Sentences without frames keep their place behind the sentence that they follow.
    placed, last = [], -1
    for one in cleaned:
        last = one.frames[0] if one.frames else last
        placed.append((last, one))
    settled, last = [], -1
    for _, one in sorted(placed, key=lambda pair: pair[0]):
        frames = tuple(index for index in one.frames if index > last)
        last = frames[-1] if frames else last
        if one.text.strip(MARKS + " "):
            settled.append(Sentence(one.text, frames))
    return tuple(settled)


def clean(text: str) -> str:
    """`text` on one line, its brackets made round: square ones hold indexes."""
    return " ".join(text.translate(str.maketrans("[]", "()")).split())


def pieces(answer: Answer, task: Task, form: Form = "list") -> list[Piece]:
    """What an answer is written of. A text begins with a space where one belongs there."""
    if task == "v":
        return [tuple(sorted({index for sentence in answer for index in sentence.frames}))]
    if task == "t":
        return [" ".join(sentence.text for sentence in answer)]
    found: list[Piece] = []
    for sentence in answer:
        if not sentence.frames:
            continue
        space = " " if found else ""
        body, mark = (sentence.text[:-1], sentence.text[-1]) if sentence.text[-1] in MARKS else (sentence.text, ".")
        if form == "list":
            found += [space + body.rstrip(), sentence.frames, mark]
        else:
            found += [space] if space else []
            found += [sentence.frames[:1], body + mark]
    return found


def write(answer: Answer, codec: IndexCodec, task: Task, form: Form = "list") -> str:
    """The answer as a text."""
    shown = ""
    for piece in pieces(answer, task, form):
        if isinstance(piece, str):
            shown += piece
        else:
            shown += (" " if shown and not shown.endswith(" ") else "") + codec.written(piece)
    return shown


def encode_pieces(found: Sequence[Piece], codec: IndexCodec, encode: Encode, lead: str = "") -> list[int]:
    """The ids of an answer's pieces, without the end. `lead` is what the prompt wants before the answer.

    Texts are tokenized alone and lists written by the codec: the tokenizer never sees both together.
    """
    ids: list[int] = []
    for place, piece in enumerate(found):
        before = lead if place == 0 else ""
        if not isinstance(piece, str):
            # Behind a text, or where the prompt wants a space.
            ids += codec.space if (place or before) and ids[-len(codec.space) :] != list(codec.space) else ()
            ids += codec.listed(piece)
        elif place and piece in MARKS:
            ids.append(codec.marks[MARKS.index(piece)])
        elif piece.strip():
            ids += encode(piece.strip() if codec.joins else before + piece)
    return ids


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What an answer says. `lists` keep the repeats of a model; `indexes` are all of them in order, each once."""

    answer: Answer
    text: str
    lists: tuple[tuple[int, ...], ...]
    out_of_range: int

    @property
    def indexes(self) -> tuple[int, ...]:
        return tuple(sorted({index for one in self.lists for index in one}))


def parse(text: str, num_indexes: int) -> Parsed:
    """Read any text. Brackets that hold numbers and commas are lists; indexes out of range are dropped and counted.

    A sentence's list stands behind it, or before it where the text begins with a bracket.
    """
    found: list[Piece] = []
    out_of_range = start = 0
    for match in LIST.finditer(text):
        numbers = [number.strip().lstrip("0") or "0" for number in match[1].split(",")]
        # Python refuses to read numbers of thousands of digits.
        values = tuple(int(number) for number in numbers if len(number) < 9 and int(number) < num_indexes)
        out_of_range += len(numbers) - len(values)
        found += [text[start : match.start()], values]
        start = match.end()
    return _parsed([*found, text[start:]], out_of_range)


def read(ids: Sequence[int], codec: IndexCodec, decode: Decode) -> Parsed:
    """Read an answer's own ids, without the end. Raises ValueError where the brackets hold no list."""
    found: list[Piece] = []
    start, ids = 0, list(ids)

    def shown(stop: int | None = None) -> str:
        text = decode(ids[start:stop])
        # Such a tokenizer drops the blank of a text that begins anew.
        return f" {text}" if codec.joins and text[:1] not in tuple(MARKS) else text

    while codec.opening in ids[start:]:
        opening = ids.index(codec.opening, start)
        if codec.closing not in ids[opening:]:
            raise ValueError("a list has no end")
        closing = ids.index(codec.closing, opening)
        found += [shown(opening).rstrip(), tuple(codec.read(ids[opening + 1 : closing]))]
        start = closing + 1
    return _parsed([*found, shown()], 0)


def _parsed(found: Sequence[Piece], out_of_range: int) -> Parsed:
    """`found` has texts and lists in turns, a text at both ends."""
    texts = [" ".join(str(piece).split()) for piece in found[::2]]
    lists = [tuple(piece) for piece in found[1::2] if not isinstance(piece, str)]
    leads = bool(lists) and not texts[0]
    if leads:
        pairs = list(zip(texts[1:], lists, strict=True))
    else:
        # The mark behind a list ends the sentence before it.
        for place in range(1, len(texts)):
            if texts[place][:1] and texts[place][0] in MARKS:
                texts[place - 1] += texts[place][0]
                texts[place] = texts[place][1:].lstrip()
        pairs = list(zip(texts, [*lists, ()], strict=True))
    sentences: list[Sentence] = []
    waiting: tuple[int, ...] = ()
    for text, its in pairs:
        if text:
            sentences.append(Sentence(text, _once(waiting + its)))
            waiting = ()
        # A list without a text: of the sentence that follows in lead form, else of the one before.
        elif leads or not sentences:
            waiting += its
        else:
            sentences[-1] = Sentence(sentences[-1].text, _once(sentences[-1].frames + its))
    if waiting:
        sentences.append(Sentence("", _once(waiting)))
    whole = "".join(str(piece) for piece in found[::2])
    return Parsed(
        answer=tuple(sentences),
        text=" ".join(whole.split()),
        lists=tuple(lists),
        out_of_range=out_of_range,
    )


def _once(frames: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(frames)))
