"""The words of `bench --methods`: a method, a method with settings of its own in brackets, or a trained run.

    hiersum    hiersum[preset=paper,objective.w_inter=0]    hiersum[init=runs/howto]    visp+csta[search=5]
    csum+umt[then=umt]
    run:runs/howto    run:runs/howto[text=none]

A setting in brackets is one of OWN, or a setting as `--set` names it. It applies to its row alone.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vsumdata.manifests.errors import UsageError

RUN = "run:"
# What a method takes in brackets beside settings, in the order of a row's name.
OWN = ("preset", "init", "search", "then")
OF_A_RUN = ("text",)
FORM = "write 'NAME[A.B=C,…]', quoted for the shell"
OPENS, CLOSES = "[{", "]}"
SLUG = 48  # longest readable part of a folder's name


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a table. `name` is the word as typed, normalised; two words that mean the same have one name.

    `method` is trained with the settings `sets` (`a.b=c`), or measured if it needs no training. Of a run there is no
    method: `run` is its folder, and `text` what it is shown. With `then` a method without labels goes on with
    labels, as that summarizer.
    """

    name: str
    method: str = ""
    preset: str | None = None
    init: str | None = None
    search: int = 0
    then: str | None = None
    sets: tuple[str, ...] = ()
    run: str | None = None
    text: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a method's name alone."""
        return self.name == self.method

    @property
    def folder(self) -> str:
        """The folder of its runs in `--runs DIR`: one for each name, without brackets."""
        if self.is_plain:
            return self.method
        # Paths and long lists of settings make no file names; the hash keeps two of them apart.
        readable = re.sub(r"[^\w.=+-]+", "-", self.name.removeprefix(self.method)).strip("-")[:SLUG]
        return f"{self.method}--{readable}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


def split(text: str) -> list[str]:
    """The parts of `text` between its commas, but for commas in brackets. Raises UsageError for unmatched brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in OPENS) - (letter in CLOSES)
        if depth < 0:
            raise UsageError(f"--methods {text}: a bracket is closed that was not opened; {FORM}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise UsageError(f"--methods {text}: a bracket is not closed; {FORM}")
    return [part.strip() for part in parts if part.strip()]


def parse(word: str) -> Variant:
    """The variant that a word asks for. Raises UsageError for a word of another form."""
    word = word.strip()
    split(word)  # for its error on brackets
    head, bracket, inner = word.partition("[")
    head = head.strip()
    if bracket and not inner.endswith("]"):
        raise UsageError(f"--methods {word}: something follows the bracket; {FORM}")
    given: dict[str, str] = {}
    for part in split(inner[:-1]):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise UsageError(f"--methods {word}: `{part}` is no setting; {FORM}")
        if key in given:
            raise UsageError(f"--methods {word}: {key} is given twice")
        given[key] = value
    if head.startswith(RUN):
        return _run(word, head.removeprefix(RUN).strip(), given)
    if not head:
        raise UsageError(f"--methods {word}: there is no method before the bracket; {FORM}")
    others = sorted(given.keys() - {*OWN})
    return Variant(
        name=_named(head, [*(key for key in OWN if key in given), *others], given),
        method=head,
        preset=given.get("preset"),
        init=given.get("init"),
        search=_number(word, given["search"]) if "search" in given else 0,
        then=given.get("then"),
        sets=tuple(f"{key}={given[key]}" for key in others),
    )


def variants(words: Sequence[str]) -> list[Variant]:
    """The variant of each word. Raises UsageError if two are the same."""
    found = [parse(word) for word in words]
    for name, count in Counter(each.name for each in found).items():
        if count > 1:
            raise UsageError(f"--methods: {name} is given {count} times")
    return found


def _run(word: str, path: str, given: dict[str, str]) -> Variant:
    if not path:
        raise UsageError(f"--methods {word}: write {RUN}RUN with the folder of a trained run")
    if unknown := sorted(given.keys() - {*OF_A_RUN}):
        raise UsageError(
            f"--methods {word}: a run is measured as it is and takes {', '.join(OF_A_RUN)} alone, not {unknown[0]}"
        )
    # A trailing slash names the same folder.
    path = path.rstrip("/") or path
    return Variant(name=_named(f"{RUN}{path}", list(given), given), run=path, text=given.get("text"))


def _named(head: str, keys: Sequence[str], given: dict[str, str]) -> str:
    return f"{head}[{','.join(f'{key}={given[key]}' for key in keys)}]" if keys else head


def _number(word: str, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--methods {word}: search={text} is no number of trials; give 1 or more")
    return int(text)
