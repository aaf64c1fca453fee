"""Where the steps stand in the pages of wikiHow and eHow, one function per layout.

wikiHow's numbered lists since 2013, its plain lists of 2009 and 2011, eHow's blocks of 2015 and 2017.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote, urljoin

from bs4 import BeautifulSoup, NavigableString, PageElement, Tag

WIKIHOW, EHOW = "wikihow", "ehow"
HOME = {WIKIHOW: "https://www.wikihow.com/", EHOW: "https://www.ehow.com/"}
CLIPS = "https://www.wikihow.com/video"  # `videoRoot` in the scripts of wikiHow's pages, before each clip's path

STEP_NUMBER = re.compile(r"Step \d+:?")
NEEDS = re.compile(r"need|material|suppl|ingredient|tool|equipment", re.IGNORECASE)

LINES = ["br", "p", "div", "ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "td", "th", "blockquote", "pre"]
BLOCKS = frozenset([*LINES, "h1", "h2", "h3", "h4", "h5", "h6"])


class Step(NamedTuple):
    """`text` is the whole step, its headline included; what a layout lacks is empty."""

    section: str
    headline: str
    text: str
    image_url: str | None = None
    clip_url: str | None = None


class Layout(NamedTuple):
    site: str
    steps: Callable[[BeautifulSoup, str], list[Step]]
    intro: Callable[[BeautifulSoup], str]


def text_of(tag: Tag | None) -> str:
    """Text with single spaces (no-break ones stay); blocks are apart, what is inside a line is not.

    1⁄4 is three elements, and must not become 1 ⁄ 4; nor may 1 1⁄2 become 11⁄2.
    """
    parts: list[str] = []
    for node in tag.descendants if tag is not None else ():
        if is_numerator(node) and parts and parts[-1][-1:].isdecimal():
            parts.append("\xa0")  # as wikiHow's authors write mixed numbers themselves
        if any(isinstance(near, Tag) and near.name in BLOCKS for near in (node, node.previous_sibling)):
            parts.append(" ")
        if type(node) is NavigableString:  # comments and the like are its subclasses
            parts.append(node)
    return re.sub(r"[ \t\n\r\f\v]+", " ", "".join(parts)).strip()


def is_numerator(node: PageElement) -> bool:
    is_number = isinstance(node, Tag) and node.name == "sup" and node.get_text(strip=True).isdecimal()
    following = node.next_sibling if is_number else None
    return isinstance(following, NavigableString) and following.lstrip().startswith(("⁄", "/", "∕"))


def attribute_of(tag: Tag | None, *names: str) -> str:
    """The first of these attributes that the tag has, else an empty string."""
    values = (tag.get(name) for name in names) if tag is not None else ()
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")


def image_of(tag: Tag, base: str) -> str | None:
    """The address of the first picture; a clip's still goes before the watermark on it."""
    still = attribute_of(tag.find("video"), "data-poster", "poster")
    address = still or attribute_of(tag.find("img"), "data-src", "src")
    return None if address.startswith("data:") else absolute(address, base)


def absolute(address: str | None, base: str) -> str | None:
    """The whole address of a picture or clip, in the letters that an address may have."""
    try:
        whole = urljoin(base, address) if address else ""
    except ValueError:
        return None
    return quote(whole, safe="!#$%&'()*+,/:;=?@[]~") if re.match(r"https?://[^/]", whole) else None


def clip_address(path: str) -> str | None:
    """A clip's whole address; wikiHow gives paths on its video host, with spaces in them."""
    return absolute(f"{CLIPS}{path}" if re.match("/[^/]", path) else path, HOME[WIKIHOW])


def wikihow_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    """Since 2013: `div.section.steps` > `ol.steps_list_2` > `li` > `div.step` with a bold headline."""
    names: dict[int, str] = {}
    steps = []
    for item in soup.select("div.section.steps ol.steps_list_2 > li"):
        section = item.find_parent("div", class_="steps")  # the nearest: a page cut off nests them
        body = item.select_one("div.step")
        if section is None or body is None or item.find_parent(class_="sample") or item.find_parent(id="sd_container"):
            continue
        if id(section) not in names:
            names[id(section)] = text_of(section.select_one("h3 .mw-headline"))
        clip = clip_address(attribute_of(item.select_one("video"), "data-src", "src"))
        headline = text_of(body.select_one("b.whb"))
        steps.append(Step(names[id(section)], headline, text_of(body), image_of(item, base), clip))
    return steps


def classes(tag: Tag) -> Sequence[str]:
    return tag.get_attribute_list("class")


def wikihow_intro(soup: BeautifulSoup) -> str:
    lead = soup.select_one("#mf-section-0")
    return text_of(lead) or " ".join(filter(None, map(text_of, soup.select("#intro > p"))))


def steps_heading(soup: BeautifulSoup) -> Tag | None:
    """The `h2` "Steps" of 2009 and 2011, beside whose words stands a link "edit"."""
    return next((h2 for h2 in soup.select("h2") if heading_words(h2) == "Steps"), None)


def heading_words(tag: Tag) -> str:
    words = islice(tag.stripped_strings, 8)
    return " ".join(word for word in words if word.lower() not in ("[", "edit", "[edit]", "]"))


def plain_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    """2009, 2011: after the heading "Steps" `ol` > `li`, most with a bold headline; `h3` begins a section."""
    steps, name = [], ""
    for tag in after_heading(soup):
        if tag.name == "h2":
            break
        if tag.name == "h3":
            name = heading_words(tag)
        for item in tag.find_all("li", recursive=False) if tag.name == "ol" else ():
            image = image_of(item, base)
            for thumbnail in item.select(".thumb, .mwimg"):
                thumbnail.decompose()
            steps.append(Step(name, bold_start(item), text_of(item), image))
    return steps


def after_heading(soup: BeautifulSoup) -> list[Tag]:
    """The headings and lists after the heading "Steps", however they are wrapped, but not those inside a step."""
    heading = steps_heading(soup)
    if heading is None:
        return []
    around = heading.find_parent("li")
    return [tag for tag in heading.find_all_next(["h2", "h3", "ol"]) if tag.find_parent("li") is around]


def bold_start(item: Tag) -> str:
    """The bold words that an item begins with."""
    headline = text_of(item.find("b"))
    return headline if text_of(item).startswith(headline) else ""


def plain_intro(soup: BeautifulSoup) -> str:
    heading = steps_heading(soup)
    before = heading.find_all_previous("p") if heading else []
    return " ".join(filter(None, map(text_of, reversed(before))))


def ehow_blocks(soup: BeautifulSoup) -> Iterator[Tag]:
    """All text blocks but the introduction. In 2017 steps are wrapped in stray spans: no child selectors.

    A block inside another is a part of it, unless it is of another step: then end tags are missing.
    """
    seen: set[int] = set()
    for block in soup.select("div.mod.step div.stepContent div.content"):
        # In a damaged page a block may stand inside a figure that went with the block before.
        if block.decomposed:
            continue
        for step in block.select("div.mod.step"):
            step.extract()
        is_part = any(id(around) in seen for around in block.parents)
        seen.add(id(block))
        if not is_part and "lead" not in classes(block):
            yield block


def ehow_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    steps: list[Step] = []
    images: dict[int, str | None] = {}
    for block in ehow_blocks(soup):
        around = block.find_parent("div", class_="stepContent") or block
        if id(around) not in images:
            images[id(around)] = image_of(around, base)
        for tag in block.select("figure, figcaption"):
            tag.decompose()
        heading = block.select_one("span.head, h2, h3")
        headline = text_of(heading)
        if not steps and is_materials(block):
            continue
        if heading is not None and STEP_NUMBER.fullmatch(headline):
            heading.decompose()
            headline = ""
        steps.append(Step("", headline, text_of(block), images[id(around)]))
    return steps


def is_materials(block: Tag) -> bool:
    """Whether a block before the first step is the list of what one needs: lists under a heading, or a few words."""
    rest = copy.copy(block)
    lists = rest.select("ul")
    for items in lists:
        items.decompose()
    is_numbered = STEP_NUMBER.fullmatch(text_of(rest)) is not None
    for heading in rest.select("span.head, h2, h3, h4, h5, h6"):
        heading.decompose()
    words = text_of(rest)
    is_title = len(words.split()) <= 5 and not words.endswith(".") and NEEDS.search(words) is not None
    return bool(lists) and not is_numbered and (is_title or not words)


def ehow_intro(soup: BeautifulSoup) -> str:
    return text_of(soup.select_one("div.mod.step div.stepContent div.content.lead"))


LAYOUTS = (
    Layout(WIKIHOW, wikihow_steps, wikihow_intro),
    Layout(WIKIHOW, plain_steps, plain_intro),
    Layout(EHOW, ehow_steps, ehow_intro),
)
