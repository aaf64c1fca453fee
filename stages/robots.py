"""robots.txt by RFC 9309.

The standard library's parser is not used: it takes the first rule that fits instead of the longest, and knows
neither `*` nor `$`, which wikiHow's file is full of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit


@dataclass(frozen=True)
class Robots:
    """The rules for one crawler: (pattern, is it allowed), and the seconds that it should leave between requests."""

    rules: Sequence[tuple[str, bool]] = ()
    delay_s: float = 0.0

    def allows(self, url: str) -> bool:
        """The longest pattern that fits decides; of two equally long ones the permission; none: allowed."""
        parts = urlsplit(url)
        path = canonical(parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fitting = [(len(pattern), allowed) for pattern, allowed in self.rules if fits(pattern, path)]
        return max(fitting)[1] if fitting else True


def read_robots(text: str, agent: str) -> Robots:
    """The rules for `agent` (a product name): those of its own groups, else those for `*`."""
    own: list[tuple[str, str]] = []
    general: list[tuple[str, str]] = []
    named, all_agents, in_rules, is_own = False, False, True, False
    for key, value in lines(text):
        if key == "user-agent":
            if in_rules:
                is_own = all_agents = in_rules = False
            is_own |= value.split("/")[0].strip().lower() == agent.lower()
            all_agents |= value == "*"
            named |= is_own
        elif key in ("allow", "disallow", "crawl-delay"):
            in_rules = True
            own += [(key, value)] if is_own else []
            general += [(key, value)] if all_agents else []
    found = own if named else general
    rules = [(canonical(value), key == "allow") for key, value in found if value and key != "crawl-delay"]
    return Robots(tuple(rules), max((delay(value) for key, value in found if key == "crawl-delay"), default=0.0))


def delay(value: str) -> float:
    """Crawl-delay is not in the RFC, but many files give it, in seconds."""
    return float(value) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value) else 0.0


def lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.removeprefix("\ufeff").splitlines():
        key, separator, value = line.split("#")[0].partition(":")
        if separator:
            yield key.strip().lower(), value.strip()


def canonical(path: str) -> str:
    """One spelling of percent-encoded letters, so that a rule and an address can be compared."""
    return quote(unquote(path), safe="/*$?=&:;,@!'()+~-._%")


def fits(pattern: str, path: str) -> bool:
    """Whether `path` begins as `pattern` says: `*` stands for any letters, a final `$` for the end."""
    body = pattern.removesuffix("$")
    first, *others = body.split("*")
    if not path.startswith(first):
        return False
    position = len(first)
    for i, part in enumerate(others):
        if pattern.endswith("$") and i == len(others) - 1:
            return path.endswith(part) and len(path) - len(part) >= position
        position = path.find(part, position)
        if position < 0:
            return False
        position += len(part)
    return not pattern.endswith("$") or position == len(path)
