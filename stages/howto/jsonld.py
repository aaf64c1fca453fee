"""Read schema.org's `HowTo` from a page's JSON-LD: the steps of any site that describes them for search engines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vsumdata.stages.howto.layouts import BLOCKS
from vsumdata.stages.speech.markup import unescape

# Of nested lists, graphs and sections. A hostile page could nest them without end.
MAX_DEPTH = 8
MARK_UP = re.compile(r"</?([a-zA-Z]\w*)\b[^<>]*>")


class LinkedStep(NamedTuple):
    """One step. The two URLs are as written in the page, perhaps without a host."""

    section: str
    headline: str
    text: str
    image_url: str | None = None
    clip_url: str | None = None


@dataclass(frozen=True)
class HowTo:
    """A how-to article from JSON-LD; `title` and `intro` may be empty."""

    title: str
    intro: str
    steps: list[LinkedStep]


def how_to(blocks: Sequence[str]) -> HowTo | None:
    """Return the first `HowTo` with steps, else the first `Recipe`. Blocks that are not JSON are ignored."""
    found = [node for block in blocks for node in nodes(parsed(block))]
    # Some wikiHow pages are both. The older keys are schema.org's former names.
    for kind, key, older_key in (("HowTo", "step", "steps"), ("Recipe", "recipeInstructions", "instructions")):
        for node in found:
            if kind in types(node):
                steps = list(steps_of(node.get(key) or node.get(older_key)))
                if steps:
                    return HowTo(plain(node.get("name")), plain(node.get("description")), steps)
    return None


def parsed(block: str) -> Any:
    before, wrapped, inside = block.partition("<![CDATA[")
    # XHTML pages wrap scripts in CDATA, behind a JavaScript comment for the browsers that do not know it.
    if wrapped and before.strip() in ("", "//", "/*"):
        block = inside.rpartition("]]>")[0].strip().removeprefix("*/").removesuffix("/*").removesuffix("//")
    # Not strict: sites put plain line breaks into JSON strings. RecursionError: thousands of opening brackets.
    try:
        return json.loads(block, strict=False)
    except (ValueError, RecursionError):
        return None


def nodes(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield all objects of a block: alone, in a list, in a `@graph`, or as a page's `mainEntity`."""
    if isinstance(value, dict):
        yield value
        value = [value.get("@graph"), value.get("mainEntity")]
    if isinstance(value, list) and depth < MAX_DEPTH:
        for item in value:
            yield from nodes(item, depth + 1)


def types(node: dict[str, Any]) -> tuple[str, ...]:
    """The types of a node without schema.org's address; empty for a node without `@type`."""
    kind = node.get("@type")
    names = kind if isinstance(kind, list) else [kind]
    return tuple(re.sub(r"^https?://(www\.)?schema\.org/", "", name) for name in names if isinstance(name, str))


def steps_of(value: Any, section: str = "", depth: int = 0) -> Iterator[LinkedStep]:
    """Yield the steps of a list, of sections, and of steps made of directions. A step may be plain text."""
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
        # Sites disagree on whether `text` repeats `name`. A step's text is the whole step in every layout.
        whole = text if text.startswith(headline) else f"{headline} {text}".strip()
        if whole:
            image, clip = address_of(value.get("image"), "url"), address_of(value.get("video"), "contentUrl")
            yield LinkedStep(section, headline, whole, image, clip)


def address_of(value: Any, key: str) -> str | None:
    """The address of the first picture or clip, which is a text or an object with the address under `key`."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        value = value.get(key)
    return clean(value) if isinstance(value, str) and value else None


def plain(value: Any) -> str:
    """The text without the HTML that some sites leave in it; "" for anything but a text."""
    # Only block tags become a space. One for every tag would tear "1<sup>1</sup>⁄<sub>4</sub>" apart.
    return clean(MARK_UP.sub(space_for, unescape(value))) if isinstance(value, str) else ""


def space_for(tag: re.Match[str]) -> str:
    return " " if tag[1].lower() in BLOCKS else ""


def clean(text: str) -> str:
    # Lone surrogates, which JSON can spell as \ud800, fit into no UTF-8 column.
    return " ".join(text.encode("utf-8", "ignore").decode().split())
