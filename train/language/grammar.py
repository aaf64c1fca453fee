"""Which tokens may come next, so that every answer is valid: lists that increase and are in range, and an end.

No model is here. A `Walk` is the state of one answer: ask for `allowed`, then `advance` by the token that was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from vsumdata.train.language.answers import Form
from vsumdata.train.language.index_codec import MARKS, IndexCodec
from vsumdata.train.language.prompts import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """What each token may be used for, bool [V]; `ends` are the tokens that end an answer."""

    text: np.ndarray  # no bracket in it, and no special token
    visible: np.ndarray  # and not blank
    stops: np.ndarray  # and its last character ends a sentence
    ends: tuple[int, ...]


def make_vocabulary(show: Callable[[int], str], size: int, special: Iterable[int], ends: Iterable[int]) -> Vocabulary:
    """Look at each token once. `show` decodes one id; `size` is the number of ids the model can emit."""
    ends = tuple(ends)
    text, visible, stops = (np.zeros(size, bool) for _ in range(3))
    closed = {*special, *ends}
    for token in range(size):
        shown = "[" if token in closed else show(token)
        text[token] = "[" not in shown and "]" not in shown
        # A part of a character shows as U+FFFD: several of them may make a blank.
        visible[token] = text[token] and bool(shown.replace("\ufffd", "").strip())
        stops[token] = visible[token] and shown.rstrip()[-1:] in tuple(MARKS)
    return Vocabulary(text=text, visible=visible, stops=stops, ends=ends)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grammar:
    """The rules of one task: `most` limits the indexes of a video answer, `…_tokens` the text."""

    codec: IndexCodec
    vocabulary: Vocabulary
    task: Task
    form: Form = "list"
    text_tokens: int = 400
    sentence_tokens: int = 60
    most: int | None = None
    _sets: dict[tuple[bool, bool, bool], np.ndarray] = field(default_factory=dict, repr=False)

    def start(self) -> Walk:
        return Walk(self)

    def text_ids(self, *, visible: bool = False, opens: bool = False, ends: bool = False) -> np.ndarray:
        """The text tokens, with the opening bracket or the ends. Kept: some 100,000 ids, the same at most steps."""
        key = (visible, opens, ends)
        if key not in self._sets:
            may = (self.vocabulary.visible if visible else self.vocabulary.text).copy()
            may[[self.codec.opening] * opens] = True
            may[list(self.vocabulary.ends) * ends] = True
            self._sets[key] = np.flatnonzero(may)
        return self._sets[key]


class Walk:
    """One answer as it is written. `finished` once an end was chosen; `indexes` are those written so far."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.indexes: list[int] = []
        self.finished = False
        self._digits: list[int] = []
        self._forced: list[int] = []
        self._num_text = self._num_sentence = 0
        self._visible = self._stopped = False
        text_first = grammar.task == "t" or (grammar.task == "b" and grammar.form == "list")
        self._phase = "text" if text_first else "open"

    @property
    def at_digit(self) -> bool:
        """Whether the next token is a digit of an index."""
        return self._phase == "digit" and not self._forced and not self.finished

    @property
    def _last(self) -> int:
        return self.indexes[-1] if self.indexes else -1

    def allowed(self) -> np.ndarray:
        """The ids that may come next, in order."""
        codec, ends = self.grammar.codec, self.grammar.vocabulary.ends
        if self.finished:
            return np.array(sorted(ends), np.int64)
        if self._forced:
            return np.array(self._forced[:1], np.int64)
        if self._phase == "open":
            return np.array([codec.opening], np.int64)
        if self._phase == "digit":
            return np.sort([codec.digit[digit] for digit in range(10) if self._leads_on(digit)])
        if self._phase == "listed":
            return np.sort([codec.closing, *codec.separator[:1]] if self._may_add() else [codec.closing])
        if self._phase == "mark":
            return np.sort(codec.marks)
        if self._phase == "end":
            return np.array(sorted(ends), np.int64)
        return self._text()

    def _leads_on(self, digit: int) -> bool:
        """Whether an index above the last one begins with the digits so far and this one."""
        codec = self.grammar.codec
        low = int("".join(map(str, [*self._digits, digit])))
        scale = 10 ** (codec.width - len(self._digits) - 1)
        return max(low * scale, self._last + 1) <= min(low * scale + scale - 1, codec.frames - 1)

    def _may_add(self) -> bool:
        grammar = self.grammar
        if grammar.task == "b" and grammar.form == "lead":
            return False
        full = grammar.task == "v" and grammar.most is not None and len(self.indexes) >= grammar.most
        return not full and self._last < grammar.codec.frames - 1

    def _text(self) -> np.ndarray:
        grammar = self.grammar
        ids, spent = grammar.text_ids, self._num_text >= grammar.text_tokens
        full = self._num_sentence >= grammar.sentence_tokens
        ends = np.array(sorted(grammar.vocabulary.ends), np.int64)
        opening = np.array([grammar.codec.opening], np.int64)
        if not self._visible and (spent or (full and grammar.task == "b")):
            return ids(visible=True)
        if grammar.task == "t":
            return ends if spent else ids(ends=self._visible)
        if grammar.form == "list":
            if spent or full:
                return opening
            return ids(opens=self._visible, ends=self._num_sentence == 0 and bool(self.indexes))
        if spent:
            return ends
        opens = self._stopped and self._last < grammar.codec.frames - 1
        if full:
            if not self._stopped:
                return np.array([grammar.codec.marks[0]], np.int64)
            return np.sort(np.concatenate([opening, ends])) if opens else ends
        return ids(opens=opens, ends=self._stopped)

    def advance(self, token: int) -> None:
        """Take one step. Raises ValueError for a token that is not allowed."""
        allowed = self.allowed()
        place = int(np.searchsorted(allowed, token))
        if place >= len(allowed) or allowed[place] != token:
            raise ValueError(f"token {token} is not allowed here ({self._phase})")
        codec = self.grammar.codec
        if self._forced:
            self._forced.pop(0)
        elif token in self.grammar.vocabulary.ends:
            self.finished = True
        elif token == codec.opening:
            self._phase = "digit"
        elif self._phase == "digit":
            self._add_digit(codec.digit.index(token))
        elif self._phase == "listed":
            self._leave_or_go_on(token)
        elif self._phase == "mark":
            done = self._last == codec.frames - 1 or self._num_text >= self.grammar.text_tokens
            self._begin_text("end" if done else "text")
        else:
            self._add_text(token)

    def _add_digit(self, digit: int) -> None:
        self._digits.append(digit)
        if len(self._digits) == self.grammar.codec.width:
            self.indexes.append(int("".join(map(str, self._digits))))
            self._digits, self._phase = [], "listed"

    def _leave_or_go_on(self, token: int) -> None:
        grammar = self.grammar
        if token != grammar.codec.closing:
            self._forced, self._phase = list(grammar.codec.separator[1:]), "digit"
        elif grammar.task == "v":
            self._phase = "end"
        elif grammar.form == "list":
            self._phase = "mark"
        else:
            self._begin_text("text")

    def _begin_text(self, phase: str) -> None:
        self._phase, self._num_sentence, self._visible, self._stopped = phase, 0, False, False

    def _add_text(self, token: int) -> None:
        vocabulary = self.grammar.vocabulary
        self._num_text += 1
        self._num_sentence += 1
        self._visible |= bool(vocabulary.visible[token])
        # A blank behind the mark does not undo it.
        if vocabulary.visible[token] or not self._stopped:
            self._stopped = bool(vocabulary.stops[token])
