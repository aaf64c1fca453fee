"""Inputs that nobody would write: valid ones, cut, doubled, joined, strewn with odd characters; and who fails on them.

A `Target` reads one kind of untrusted input. Input `n` of a target is the same for the same seed, on every machine.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from types import FrameType
from typing import Any

# Characters of a made input. Doubling would let some grow without end.
LONGEST = 20_000
# Seconds for one input of that size (they take milliseconds), and for one of megabytes (they take seconds).
SMALL_S, LARGE_S = 10.0, 60.0
# Time must grow with an input's size: four times the size may take eight times as long, if it takes that long at all.
SUPERLINEAR, NOTICEABLE_S = 8.0, 1.0

# What trips readers of text: line ends of all kinds, invisible and combining marks, halves of characters, digits that
# `int` takes or refuses, numbers beyond every type, and the brackets and quotes of the formats.
ODD = (
    *("", " ", "\n", "\r\n", "\r", "\n\n", "\t", "\0", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\xa0", "\u2028"),
    *("\u2029", "\ufeff", "\u200b", "\u200f", "\u0301", "\ud800", "\udfff", "\U0001f600", "\uffff", "é", "ß", "İ"),
    *("ſ", "中", "ก", "٣", "²", "①", "0", "-1", "00", "1.2.3", "1e999", "1e-999", "0x1F", "NaN", "Infinity", "-", "."),
    *(",", ":", ";"),
    *(str(2**31), str(2**63), str(2**64), "9" * 400, "9" * 5000, "1_000", "null", "true", "{}", "[]", "[[", "}}", "("),
    *("<", ">", "</", "/>", "<!--", "-->", "<![CDATA[", "]]>", "&", "&amp;", "&#0;", "&#xD800;", "&#x110000;", "&lt;"),
    *("&#" + "9" * 5000 + ";", '"', "'", "`", "\\", "\\u0000", "\\ud800", "\\n", "%", "%00", "%zz", "%ff", "#", "@"),
    *("*", "{" * 3000, "[" * 3000, "a" * 3000, "/" * 300, "../" * 30, "http://", "https://[", "https://a:99999/"),
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 0.5, -0.0, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400),
    *(1e308, -1e308, 5e-324, float("nan"), float("inf"), -float("inf"), [], {}, [[]], [None], [{}], {"": None}),
    *(["a", 1], {"text": None}, {"url": 1}, {"utf8": "x"}),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Target:
    """What reads one kind of input. `read` also checks what it got; it may raise the errors in `documented` alone.

    `seeds` are valid inputs. `tokens` are words of the format; a large input repeats them between the beginnings and
    ends of `around`; `largest` is its share of the size asked for. `form`: inputs are changed as `text`, as trees of
    `json`, or `both`. `share` is the target's part of all inputs.
    """

    name: str
    seeds: tuple[str, ...]
    read: Callable[[str], object]
    documented: tuple[type[Exception], ...] = ()
    tokens: tuple[str, ...] = ()
    around: tuple[tuple[str, str], ...] = (("", ""),)
    largest: float = 1.0
    form: str = "text"
    share: int = 1


def made(target: Target, seed: int, number: int) -> str:
    """Input `number` of a target."""
    rng = random.Random(f"{seed}/{target.name}/{number}")
    text = rng.choice(target.seeds)
    if target.form == "json" or (target.form == "both" and rng.random() < 0.5):
        # Only valid seeds are JSON; pieces of recordings may not be.
        with contextlib.suppress(ValueError):
            found = json.dumps(changed_value(rng, json.loads(text)), ensure_ascii=rng.random() < 0.5)
            # A part that is repeated within repeated parts.
            if len(found) <= 10 * LONGEST:
                return found
    return changed_text(rng, text, target)


def changed_text(rng: random.Random, text: str, target: Target) -> str:
    """The text with some of its pieces removed, repeated, moved, replaced, or swapped for those of another seed."""
    for _ in range(1 + int(rng.expovariate(0.4))):
        start = rng.randrange(len(text) + 1)
        stop = start + int(2 ** rng.uniform(0, 9))
        piece, before, after = text[start:stop], text[:start], text[stop:]
        way = rng.randrange(8)
        if way == 0:
            text = before + after
        elif way == 1:
            text = before + piece * rng.choice((2, 3, 30)) + after
        elif way == 2:
            text = before + rng.choice(ODD) + piece + after
        elif way == 3:
            text = before + rng.choice(ODD) + after
        elif way == 4 and target.tokens:
            text = before + rng.choice(target.tokens) * rng.choice((1, 1, 2, 50)) + piece + after
        elif way == 5:
            other = rng.choice(target.seeds)
            at = rng.randrange(len(other) + 1)
            text = before + other[at : at + 600] + after
        elif way == 6:
            text = after + piece + before
        else:
            # Single characters: a bracket, a quote or a digit more or less is what breaks a format.
            text = before + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) + text[start + 1 :]
    return text[:LONGEST]


def changed_value(rng: random.Random, value: Any) -> Any:
    """The JSON value, changed in place: some parts of it replaced, removed, repeated, renamed or wrapped."""
    for _ in range(1 + int(rng.expovariate(0.4))):
        holder: Any = None
        key: Any = None
        node = value
        while isinstance(node, dict | list) and node and (holder is None or rng.random() < 0.75):
            holder, key = node, rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            node = node[key]
        if holder is None:
            return odd_value(rng)
        way = rng.randrange(6)
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, list):
            holder[key:key] = [node] * rng.choice((1, 2, 30))
        elif way == 2 and isinstance(holder, dict):
            holder[rng.choice((*holder, "x", "", "\ud800"))] = holder.pop(key)
        elif way == 3:
            holder[key] = [node] if rng.random() < 0.5 else {"a": node}
        elif way == 4 and isinstance(node, str):
            at = rng.randrange(len(node) + 1)
            holder[key] = node[:at] + rng.choice(ODD) + node[at:]
        else:
            holder[key] = odd_value(rng)
    return value


def odd_value(rng: random.Random) -> Any:
    # From text, or a list that is put in twice would be changed in two places.
    return rng.choice(ODD) if rng.random() < 0.4 else json.loads(json.dumps(rng.choice(ODD_VALUES)))


def large(target: Target, size: int) -> Iterator[tuple[str, str]]:
    """(what, input) of some `size` characters each: tokens, odd characters and two seeds, repeated."""
    words = dict.fromkeys((*target.tokens, *(odd for odd in ODD if 0 < len(odd) < 20), *target.seeds[:2]))
    for (begin, end), word in product(target.around, words):
        yield f"{begin[:20]!r} {word[:30]!r} {end[:20]!r}", begin + word * (size // len(word)) + end


class Hang(BaseException):
    """An input takes too long. No `Exception`, which a reader may catch."""


@contextlib.contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Raise Hang inside the block after `limit_s` seconds of processor time. Main thread only."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {limit_s:g} s")

    # Not the clock's time, which passes for other processes too.
    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@dataclass
class Finding:
    """An error that no docstring promises, and the first input that raised it."""

    target: str
    what: str
    error: str
    text: str
    times: int = 1

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 300 else f"{self.text[:300]}…"
        return f"{self.target} {self.what}: {self.error} ({self.times} times)\n    {shown!r}"


@dataclass
class Findings:
    """All findings, one for each error and place in the code."""

    by_place: dict[tuple[str, str], Finding] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.by_place.values())

    def try_one(self, target: Target, text: str, what: str, limit_s: float = SMALL_S) -> float:
        """Read one input; return the seconds of processor time that it took."""
        begun_s = time.process_time()
        try:
            with limited(limit_s):
                target.read(text)
        except target.documented:
            pass
        # All others: which errors there are is the very question.
        except (Exception, Hang) as error:  # noqa: BLE001
            self.add(target, what, text, error)
        return time.process_time() - begun_s

    def add(self, target: Target, what: str, text: str, error: BaseException) -> None:
        ours = [one for one in traceback.extract_tb(error.__traceback__) if "/lib/python" not in one.filename]
        place = " < ".join(f"{one.filename.rpartition('/')[2]}:{one.lineno}" for one in reversed(ours[-3:]))
        name = f"{type(error).__name__}: {str(error)[:200]} in {place}"
        key = target.name, f"{type(error)} {place or what}"
        found = self.by_place.setdefault(key, Finding(target.name, what, name, text, 0))
        found.times += 1

    def fuzz(self, target: Target, num_inputs: int, seed: int) -> float:
        """Read that many inputs; return the seconds that reading took."""
        return sum(self.try_one(target, made(target, seed, number), f"--at {number}") for number in range(num_inputs))

    def enlarge(self, target: Target, size: int) -> float:
        """Read large inputs, and a quarter of each that takes long; return the longest seconds of one."""
        longest_s, size = 0.0, int(size * target.largest)
        for (what, part), (_, whole) in zip(large(target, size // 4), large(target, size), strict=True):
            whole_s = self.try_one(target, whole, f"large {what}", LARGE_S)
            if whole_s > NOTICEABLE_S and whole_s > SUPERLINEAR * (part_s := self.try_one(target, part, what, LARGE_S)):
                error = Hang(f"{len(part)} characters take {part_s:.2f} s, {len(whole)} take {whole_s:.2f} s: {what}")
                self.add(target, f"large {what}", whole, error)
            longest_s = max(longest_s, whole_s)
        return longest_s
