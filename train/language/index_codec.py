"""Frame indexes as digit tokens: the same ids in the prompt and in the answer, whatever the tokenizer does by itself.

Llama-3's and GPT-2's tokenizers make one token of two digits, GPT-2's another one after a comma than in the prompt, and
most merge `].`. So indexes are never tokenized as a part of a text: each digit is one token of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vsumdata.manifests.errors import UsageError

Encode = Callable[[str], Sequence[int]]
Decode = Callable[[Sequence[int]], str]
MARKS = ".!?"


@dataclass(frozen=True, kw_only=True)
class IndexCodec:
    """The ids that write the indexes 0 to `frames` - 1.

    `opening` and `closing` are the brackets, `separator` stands between the indexes of a list, and `marks` (`.`, `!`,
    `?`) end a sentence. `space` is empty where the opening bracket brings its own space (sentencepiece). `joins` tells
    that a text which is tokenized alone begins with a space, so that none is written.
    """

    frames: int
    digit: tuple[int, ...]
    opening: int
    closing: int
    separator: tuple[int, ...]
    space: tuple[int, ...]
    marks: tuple[int, ...]
    joins: bool

    @property
    def width(self) -> int:
        """How many digits an index has."""
        return max(2, len(str(self.frames - 1)))

    def digits(self, index: int) -> tuple[int, ...]:
        """The ids of one index, without brackets. Raises ValueError where it is not in range."""
        if not 0 <= index < self.frames:
            raise ValueError(f"index {index} is not in 0 to {self.frames - 1}")
        return tuple(self.digit[int(character)] for character in self.text(index))

    def text(self, index: int) -> str:
        return str(index).zfill(self.width)

    def prompt(self, index: int) -> tuple[int, ...]:
        """The temporal prompt that announces a frame: `[07]`."""
        return self.listed([index])

    def listed(self, indexes: Sequence[int]) -> tuple[int, ...]:
        """The list `[07, 08]`."""
        ids: list[int] = [self.opening]
        for place, index in enumerate(indexes):
            ids += (self.separator if place else ()) + self.digits(index)
        return (*ids, self.closing)

    def written(self, indexes: Sequence[int]) -> str:
        """The list as a text."""
        return f"[{', '.join(map(self.text, indexes))}]"

    def read(self, ids: Sequence[int]) -> list[int]:
        """The indexes of a list's ids, brackets left out. Raises ValueError for what `listed` does not write."""
        wide, step = self.width, self.width + len(self.separator)
        value = {token: number for number, token in enumerate(self.digit)}
        found = []
        for start in range(0, len(ids), step):
            try:
                numbers = [value[token] for token in ids[start : start + wide]]
            except KeyError as error:
                raise ValueError(f"token {error} is no digit") from None
            found.append(int("".join(map(str, numbers))))
        if not found or list(self.listed(found)[1:-1]) != list(ids):
            raise ValueError(f"{list(ids)} is no list of indexes")
        return found


def make_codec(encode: Encode, decode: Decode, frames: int, name: str) -> IndexCodec:
    """The codec of a tokenizer, given as functions that add no special tokens; `name` is the model's, for errors.

    Raises UsageError where the tokenizer has no ten digits or no brackets of their own.
    """
    if not 10 <= frames <= 1000:
        raise UsageError(f"model.frames is {frames}; it must be from 10 to 1000")
    # The last id: sentencepiece puts a piece for the space first. -1 stands for what is missing.
    digit = [_last(encode(str(number))) for number in range(10)]
    if len({-1, *digit}) < 11:
        raise UsageError(f"the tokenizer of {name} has no token for each digit; choose another model.llm")
    opening, closing, separator = _last(encode("[")), _last(_continued(encode, "]")), _continued(encode, ", ")
    known = {-1, *digit, opening, closing}
    if len(known) < 13 or not separator or separator[0] in known:
        raise UsageError(f"the tokenizer of {name} has no tokens for `[`, `]` and `,`; choose another model.llm")
    marks = [_last(_continued(encode, mark)) for mark in MARKS]
    if len({*known, *marks}) < 16:
        raise UsageError(f"the tokenizer of {name} has no tokens for `.`, `!` and `?`; choose another model.llm")
    word = list(encode("a"))
    return IndexCodec(
        frames=frames,
        digit=tuple(digit),
        opening=opening,
        closing=closing,
        separator=tuple(separator),
        space=() if decode([*word, opening]) == "a [" else tuple(_continued(encode, " ")),
        marks=tuple(marks),
        joins=decode([*word, *word]) == "a a",
    )


def _last(ids: Sequence[int]) -> int:
    return int(ids[-1]) if len(ids) else -1


def _continued(encode: Encode, text: str) -> list[int]:
    """The ids of `text` after a digit. Encoded alone, sentencepiece would put a space before it."""
    alone, whole = list(encode("0")), list(encode(f"0{text}"))
    return whole[len(alone) :] if whole[: len(alone)] == alone else list(encode(text))
