"""Read schema.org's `HowTo` from a page's JSON-LD: the steps of any site that describes them for search engines."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vsumdata.stages.howto.layouts import BLOCKS
from vsumdata.stages.speech.markup import unescape

# Of nested lists, graphs and sections. A hostile page could nest them without end.
MAX_DEPTH = 8
MAX_VALUES = 20  # in one block
MARK_UP = re.compile(r"</?([a-zA-Z]\w*)\b[^<>]*>")
# What pages put around their JSON for browsers that do not know it, comments, and the comma that JavaScript allows at
# an end.
WRAPPING = re.compile(
    r"<!\[CDATA\[|\]\]>|<!--|-->"
    r"|^[ \t]*//[ \t]*(?=<!|\]\]|-->|[\[{])|^[ \t]*//.*$"
    r"|/\*[^*<\[{]{0,999}\*/|/\*|\*/"
    r"|,(?=\s*[}\]])",
    re.MULTILINE,
)
PARTS = ("@graph", "mainentity", "mainentityofpage", "haspart", "subjectof", "about")
STEPS = {"howto": ("step", "steps"), "recipe": ("recipeinstructions", "instructions")}
ITEMS = ("itemlistelement", "steps", "step")
# With the accents that stand behind their letters.
WORD = re.compile(r"[\w\u0300-\u036f]+")
NUMBERED = re.compile(r"\W*([^\W\d_]*)\W*(\d{1,4})[\u3000-\u9fff\uac00-\ud7af]{0,2}\W*")


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
    found = [node for block in blocks for value in parsed(block) for node in nodes(value)]
    known = {name: node for node in found if isinstance(name := node.get("@id"), str)}
    # Some wikiHow pages are both. The second keys are schema.org's former names.
    for kind, keys in STEPS.items():
        for node in found:
            if kind in types(node):
                steps = in_words(list(steps_of(looked_up(first(node, *keys), known))))
                if steps:
                    return HowTo(plain(first(node, "name", "headline")), plain(node.get("description")), steps)
    return None


def parsed(block: str) -> Iterator[Any]:
    """Yield the JSON values of a block, usually one, with all keys in small letters."""
    # Not strict: sites put plain line breaks into JSON strings.
    decoder = json.JSONDecoder(object_pairs_hook=with_small_keys, strict=False)
    # RecursionError: thousands of opening brackets.
    try:
        yield decoder.decode(block.lstrip("\ufeff \t\r\n"))
        return
    except (ValueError, RecursionError):
        bare = WRAPPING.sub("", block)
    # Some sites escape the whole block as if it were text.
    bare, at = bare if '"' in bare else unescape(bare), 0
    for _ in range(MAX_VALUES):
        if not (start := re.compile(r"[\[{]").search(bare, at)):
            return
        try:
            value, at = decoder.raw_decode(bare, start.start())
        except (ValueError, RecursionError):
            return
        yield value


def with_small_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with its keys in small letters, without schema.org's name. Of equal ones the last full one counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = without_schema(key)
        if value or not found.get(name):
            found[name] = value
    return found


def without_schema(name: str) -> str:
    return re.sub(r"^(https?://(www\.)?schema\.org/|schema:)", "", name.strip().lower())


def first(node: dict[str, Any], *keys: str) -> Any:
    """The value of the first of these keys that has one."""
    return next((node[key] for key in keys if node.get(key)), None)


def nodes(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield all objects of a block: alone, in a list, in a `@graph`, or as a part of a page (`PARTS`)."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        yield value
        value = [value[key] for key in PARTS if isinstance(value.get(key), dict | list)]
    if isinstance(value, list):
        for item in value:
            yield from nodes(item, depth + 1)


def looked_up(value: Any, known: dict[str, dict[str, Any]]) -> Any:
    """The steps of a list that only names them (`{"@id": "#step-1"}`), as they stand elsewhere in the page."""
    # On the first level only: on all levels a few objects that name each other would give billions of steps.
    if isinstance(value, list):
        return [known.get(str(item["@id"]), item) if is_name(item) else item for item in value]
    return known.get(str(value["@id"]), value) if is_name(value) else value


def is_name(value: Any) -> bool:
    return isinstance(value, dict) and "@id" in value and not set(value) - {"@id", "@type", "position"}


def types(node: dict[str, Any]) -> tuple[str, ...]:
    """The types of a node in small letters, without schema.org's address; empty for a node without `@type`."""
    kind = first(node, "@type", "type")
    names = kind if isinstance(kind, list) else [kind]
    return tuple(without_schema(name) for name in names if isinstance(name, str))


def steps_of(value: Any, section: str = "", depth: int = 0) -> Iterator[LinkedStep]:
    """Yield the steps of a list, of sections, and of steps made of directions, with names and texts as they stand.

    A text in place of a list has a step on each of its lines.
    """
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            # A list's own texts are whole steps.
            yield from (
                [LinkedStep(section, "", plain(item))] if isinstance(item, str) else steps_of(item, section, depth + 1)
            )
    elif isinstance(value, str):
        yield from (LinkedStep(section, "", line) for line in lines(value))
    elif isinstance(value, dict):
        yield from steps_in(value, section, depth)


def steps_in(node: dict[str, Any], section: str, depth: int) -> Iterator[LinkedStep]:
    """Yield the steps of an object: a section's, those of a list's entry, or the one that it is."""
    items, kinds, name = first(node, *ITEMS), set(types(node)), plain(node.get("name"))
    if items and kinds & {"howtosection", "itemlist"}:
        yield from steps_of(items, name or section, depth + 1)
    elif isinstance(node.get("item"), dict):  # ListItem's
        yield from steps_of(node["item"], section, depth + 1)
    else:
        text = plain(first(node, "text", "description")) or plain(node.get("item"))
        if not text:
            text = " ".join(filter(None, (direction.text for direction in steps_of(items, section, depth + 1))))
        image, clip = address_of(node.get("image"), "url"), address_of(node.get("video"), "contenturl")
        yield LinkedStep(section, name, text, image, clip)


def in_words(steps: Sequence[LinkedStep]) -> list[LinkedStep]:
    """The steps with something to say. A step's text is the whole step, as in every layout, and says nothing twice."""
    steps = [step for step in steps if step.headline or step.text]
    numbers = [NUMBERED.fullmatch(step.headline) for step in steps if step.headline]
    # "Step 1" is a number, not a headline, in any language: the word is always the same (recipe-scrapers#776).
    counted = all(number and 0 < int(number[2]) <= len(steps) for number in numbers)
    counted = counted and len({number[1] for number in numbers if number}) == 1
    said = [("", step.text) if counted and step.text else once(step.headline, step.text) for step in steps]
    return [step._replace(headline=name, text=text) for step, (name, text) in zip(steps, said, strict=True)]


def once(name: str, text: str) -> tuple[str, str]:
    """(headline, whole text) of a step. Sites disagree on whether `text` repeats `name`, and some shorten `name`.

    The headline is empty if it is but a piece of the text: cut off ("Preheat the oven to…") or with words left out.
    """
    if not name or not text or name == text:
        return name, text or name
    cut = re.sub(r"\s*(\.{2,}|…)$", "", name)
    found = list(WORD.finditer(text))
    names, theirs = ([word.casefold() for word in words(given)] for given in (cut, text))
    is_prefix = bool(names) and theirs[: len(names)] == names
    if is_prefix or text.casefold().startswith(cut.casefold()):
        end = found[len(names) - 1].end() if is_prefix else len(cut)
        # Three dots, or half a word: the name was cut to some length.
        is_cut = cut != name or (text[end - 1 : end].isalnum() and text[end : end + 1].isalnum())
        return ("" if is_cut else name if text.startswith(name) else text[:end]), text
    if names and theirs and cut != name and theirs[: len(names) - 1] == names[:-1]:
        return "", text
    # The other way round: the text is the beginning of the name.
    if theirs and names[: len(theirs)] == theirs:
        return "", name
    if is_shortened(names, theirs):
        return "", text
    return name, f"{name} {text}"


def is_shortened(names: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether a name of at least two words has words of the text's beginning, in their order: "Pour in buttermilk"."""
    rest = iter(theirs[: 2 * len(names) + 2])
    return len(names) > 1 and theirs[:1] == list(names[:1]) and all(name in rest for name in names)


def words(text: str) -> list[str]:
    # Each by itself: composed letters would move the places of the words in the text.
    return [unicodedata.normalize("NFKC", word) for word in WORD.findall(text)]


def lines(text: str) -> list[str]:
    """The lines of a text, also those that HTML makes, without their numbers."""
    broken = MARK_UP.sub(lambda tag: "\n" if tag[1].lower() in BLOCKS else tag[0], unescape(text))
    found = [re.sub(r"^\d{1,3}[.)](?!\d)\s*", "", plain(line)) for line in broken.splitlines()]
    return [line for line in found if line]


def address_of(value: Any, key: str) -> str | None:
    """The address of the first picture or clip, which is a text or an object with the address under `key`."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        value = first(value, key, "contenturl", "url", "@id")
    return clean(value) if isinstance(value, str) and value else None


def plain(value: Any) -> str:
    """The text without the HTML that some sites leave in it; of several texts all; "" for anything but texts."""
    value = value_of(value)
    if isinstance(value, list):
        value = " ".join(text for item in value if isinstance(text := value_of(item), str))
    # Only block tags become a space. One for every tag would tear "1<sup>1</sup>⁄<sub>4</sub>" apart.
    return clean(MARK_UP.sub(space_for, unescape(value))) if isinstance(value, str) else ""


def value_of(value: Any) -> Any:
    """A text with its language (`{"@value": …, "@language": …}`) as the text."""
    return value.get("@value") if isinstance(value, dict) else value


def space_for(tag: re.Match[str]) -> str:
    return " " if tag[1].lower() in BLOCKS else ""


def clean(text: str) -> str:
    # Lone surrogates, which JSON can spell as \ud800, fit into no UTF-8 column.
    return " ".join(text.encode("utf-8", "ignore").decode().split())
