"""schema.org's `HowTo` in the JSON-LD of a page: steps of any site that describes them to search engines."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_DEPTH = 8  # of nested lists, graphs and sections


class LinkedStep(NamedTuple):
    section: str
    headline: str
    text: str
    image_url: str | None = None  # as the page has them, perhaps without a host
    clip_url: str | None = None


@dataclass(frozen=True)
class HowTo:
    title: str
    intro: str
    steps: list[LinkedStep]


def how_to(blocks: Sequence[str]) -> HowTo | None:
    """The first `HowTo` with steps, else the first `Recipe`; blocks that are not JSON are passed over."""
    found = [node for block in blocks for node in nodes(parsed(block))]
    for kind, steps_key in (("HowTo", "step"), ("Recipe", "recipeInstructions")):
        for node in found:
            if kind in types(node):
                steps = list(steps_of(node.get(steps_key)))
                if steps:
                    return HowTo(plain(node.get("name")), plain(node.get("description")), steps)
    return None


def parsed(block: str) -> Any:
    try:
        return json.loads(block, strict=False)
    except (ValueError, RecursionError):
        return None


def nodes(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """All objects of a block: alone, in a list, in a graph."""
    if isinstance(value, dict):
        yield value
        value = value.get("@graph")
    if isinstance(value, list) and depth < MAX_DEPTH:
        for item in value:
            yield from nodes(item, depth + 1)


def types(node: dict[str, Any]) -> tuple[str, ...]:
    kind = node.get("@type")
    return tuple(item for item in (kind if isinstance(kind, list) else [kind]) if isinstance(item, str))


def steps_of(value: Any, section: str = "", depth: int = 0) -> Iterator[LinkedStep]:
    """Steps of a list, of sections, of steps made of directions; a step may be mere text."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from steps_of(item, section, depth + 1)
    elif isinstance(value, str):
        if text := plain(value):
            yield LinkedStep(section, "", text)
    elif isinstance(value, dict) and set(types(value)) & {"HowToSection", "ItemList"}:
        yield from steps_of(value.get("itemListElement"), plain(value.get("name")) or section, depth + 1)
    elif isinstance(value, dict):
        headline, text = plain(value.get("name")), plain(value.get("text"))
        if not text:
            directions = steps_of(value.get("itemListElement"), section, depth + 1)
            text = " ".join(direction.text for direction in directions)
        whole = text if text.startswith(headline) else f"{headline} {text}".strip()
        if whole:
            image, clip = address_of(value.get("image"), "url"), address_of(value.get("video"), "contentUrl")
            yield LinkedStep(section, headline, whole, image, clip)


def address_of(value: Any, key: str) -> str | None:
    """The address of the first picture or clip: it stands alone or in an object."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        value = value.get(key)
    return clean(value) if isinstance(value, str) and value else None


def plain(value: Any) -> str:
    """A text without the mark-up that some sites leave in it."""
    return clean(re.sub(r"</?[a-zA-Z][^<>]*>", " ", html.unescape(value))) if isinstance(value, str) else ""


def clean(text: str) -> str:
    return " ".join(text.encode("utf-8", "ignore").decode().split())
