"""schema.org's `HowTo` in the JSON-LD of a page: steps of any site that describes them to search engines."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vsumdata.stages.article_layouts import BLOCKS

MAX_DEPTH = 8  # of nested lists, graphs and sections
MARK_UP = re.compile(r"</?([a-zA-Z]\w*)\b[^<>]*>")


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
    for kind, key, older_key in (("HowTo", "step", "steps"), ("Recipe", "recipeInstructions", "instructions")):
        for node in found:
            if kind in types(node):
                steps = list(steps_of(node.get(key) or node.get(older_key)))
                if steps:
                    return HowTo(plain(node.get("name")), plain(node.get("description")), steps)
    return None


def parsed(block: str) -> Any:
    before, wrapped, inside = block.partition("<![CDATA[")
    if wrapped and before.strip() in ("", "//", "/*"):  # in XHTML; the marks are those of JavaScript's comments
        block = inside.rpartition("]]>")[0].strip().removeprefix("*/").removesuffix("/*").removesuffix("//")
    try:
        return json.loads(block, strict=False)
    except (ValueError, RecursionError):
        return None


def nodes(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """All objects of a block: alone, in a list, in a graph, as what a page is about."""
    if isinstance(value, dict):
        yield value
        value = [value.get("@graph"), value.get("mainEntity")]
    if isinstance(value, list) and depth < MAX_DEPTH:
        for item in value:
            yield from nodes(item, depth + 1)


def types(node: dict[str, Any]) -> tuple[str, ...]:
    kind = node.get("@type")
    names = kind if isinstance(kind, list) else [kind]
    return tuple(re.sub(r"^https?://(www\.)?schema\.org/", "", name) for name in names if isinstance(name, str))


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
        items = value.get("itemListElement") or value.get("steps")
        yield from steps_of(items, plain(value.get("name")) or section, depth + 1)
    elif isinstance(value, dict) and isinstance(value.get("item"), dict):  # ListItem's
        yield from steps_of(value["item"], section, depth + 1)
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
    """A text without the mark-up that some sites leave in it; what is inside a line is not torn apart."""
    return clean(MARK_UP.sub(space_for, html.unescape(value))) if isinstance(value, str) else ""


def space_for(tag: re.Match[str]) -> str:
    return " " if tag[1].lower() in BLOCKS else ""


def clean(text: str) -> str:
    return " ".join(text.encode("utf-8", "ignore").decode().split())
