"""Find the steps in the pages of wikiHow and eHow, one function per layout.

wikiHow's numbered lists since 2012, its plain lists of 2009 and 2011, and eHow's blocks of 2015 and 2017.
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
# wikiHow's pages give clips as paths, and their scripts put this `videoRoot` before them.
CLIPS = "https://www.wikihow.com/video"

STEP_NUMBER = re.compile(r"Step \d+:?")
NEEDS = re.compile(r"need|material|suppl|ingredient|tool|equipment", re.IGNORECASE)

# What stands beside the text of a step.
BESIDE = ".step_num, .thumb, .mwimg, .whvid_cont, .whvid_gif, .m-video, .video-player, .content-spacer"
# wikiHow's heading over the steps: its message `steps` in each language.
STEPS = frozenset("Steps Pasos Passos Passaggi Étapes Vorgehensweise Stappen Шаги Langkah Postup Adımlar".split())
STEPS |= {"Các bước", "步骤", "ステップ", "단계", "الخطوات", "चरण", "ขั้นตอน"}
NUMBER = r"(?:\d{1,3}|One|Two|Three|Four|Five|Six|Seven|Eight|Nine|Ten)"
COUNTED = re.compile(rf"(?:Method|Part) {NUMBER}(?: of {NUMBER})?\s?:\s*(?=\S)")
COUNTED_ANYWHERE = re.compile(r"[^\d:：]{1,30}(\d{1,3})[^\d:：]{1,20}(\d{1,3})[^\d:：]{0,9}[:：]\s*(?=\S)")

LINES = ["br", "p", "div", "ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "td", "th", "blockquote", "pre"]
BLOCKS = frozenset([*LINES, "h1", "h2", "h3", "h4", "h5", "h6"])


class Step(NamedTuple):
    """One step. `text` is the whole step with its headline; what a layout lacks is empty."""

    section: str
    headline: str
    text: str
    image_url: str | None = None
    clip_url: str | None = None


class Layout(NamedTuple):
    """How to read the pages of one site and time: `steps(page, base URL)` and `intro(page)`."""

    site: str
    steps: Callable[[BeautifulSoup, str], list[Step]]
    intro: Callable[[BeautifulSoup], str]


def text_of(tag: Tag | None) -> str:
    """Return the text with single spaces: one between blocks, none between elements inside a line."""
    # BeautifulSoup's own `get_text(" ")` would separate inline elements too. wikiHow writes 1⁄4 as three of them
    # (`<sup>1</sup>⁄<sub>4</sub>`), and 1 ⁄ 4 is not what the reader sees.
    parts: list[str] = []
    for node in tag.descendants if tag is not None else ():
        # A mixed number has no space in the page: 1 and 1⁄2 would become 11⁄2. wikiHow's authors use a no-break space.
        if is_numerator(node) and parts and parts[-1][-1:].isdecimal():
            parts.append("\xa0")
        if any(isinstance(near, Tag) and near.name in BLOCKS for near in (node, node.previous_sibling)):
            parts.append(" ")
        # Not `isinstance`: comments and CDATA are subclasses, and nobody reads them.
        if type(node) is NavigableString:
            parts.append(node)
    # Not `\s`, which would replace the no-break spaces of mixed numbers.
    return re.sub(r"[ \t\n\r\f\v]+", " ", "".join(parts)).strip()


def is_numerator(node: PageElement) -> bool:
    """Whether an element is the upper number of a fraction: a `sup` before a fraction slash."""
    is_number = isinstance(node, Tag) and node.name == "sup" and node.get_text(strip=True).isdecimal()
    following = node.next_sibling if is_number else None
    return isinstance(following, NavigableString) and following.lstrip().startswith(("⁄", "/", "∕"))


def attribute_of(tag: Tag | None, *names: str) -> str:
    """The first of these attributes that the tag has and that is not blank, else ""."""
    values = (tag.get(name) for name in names) if tag is not None else ()
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")


def image_of(tag: Tag, base: str) -> str | None:
    """The URL of the first picture in `tag`, or None."""
    # First the still of a clip: the `img` beside a clip is the site's watermark. `data-src` before `src`, because
    # pages that load pictures late have a placeholder in `src`.
    still = attribute_of(tag.find("video"), "data-poster", "poster")
    address = still or attribute_of(tag.find("img"), "data-src", "src")
    return None if address.startswith("data:") else absolute(address, base)


def absolute(address: str | None, base: str) -> str | None:
    """The absolute URL of a picture or clip, percent-encoded where needed; None if it is not http(s)."""
    # ValueError: `urljoin` does not accept every text, "https://[" for example, and `quote` no half of a character.
    try:
        whole = urljoin(base, address) if address else ""
        return quote(whole, safe="!#$%&'()*+,/:;=?@[]~") if re.match(r"https?://[^/]", whole) else None
    except ValueError:
        return None


def clip_address(path: str) -> str | None:
    """A clip's absolute URL. wikiHow gives a path below `CLIPS`, sometimes with spaces."""
    return absolute(f"{CLIPS}{path}" if re.match("/[^/]", path) else path, HOME[WIKIHOW])


def wikihow_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    """Read wikiHow's pages since 2012: `ol.steps_list_2` > `li`, bold headlines; later with a `div.step` in each."""
    # By its class and not by "Steps": the class is the same in all languages.
    headings = section_names(soup)
    steps = []
    # In the order of the document: the numbers in `step-id-110` run on over sections and are ambiguous.
    for item in soup.select("ol.steps_list_2 > li"):
        # `.sample` and `#sd_container` hold wikiHow's sample documents, whose lists look like steps.
        if item.find_parent(class_="sample") or item.find_parent(id="sd_container"):
            continue
        clip = clip_address(attribute_of(item.select_one("video"), "data-src", "src"))
        image, body = image_of(item, base), item.select_one("div.step")
        # Pages of 2012 to 2014 have pictures, clips and the number beside the text. wikiHow's `boldFirstSentence`
        # puts a `div.step` around the text only since then (WikihowArticle.class.php).
        for beside in item.select(BESIDE) if body is None else ():
            beside.decompose()
        text = text_of(body or item)
        steps.append(Step(headings[id(item.parent)], bold_sentence(body or item, text), text, image, clip))
    return steps


def section_names(soup: BeautifulSoup) -> dict[int, str]:
    """The name of the section of each numbered list, by the list's `id()`; "" without one."""
    names: dict[int, str] = {}
    name, headings = "", {id(span.find_parent("h3")) for span in soup.select("h3 .mw-headline")}
    for tag in soup.select("h2, h3, div.steps, ol.steps_list_2"):
        if tag.name == "ol":
            names[id(tag)] = name
        elif tag.name != "h3":
            name = ""
        elif not headings:
            name = heading_words(tag)
        elif id(tag) in headings:
            name = text_of(tag.select_one(".mw-headline"))
    # The samples' lists have names too, but are none of the methods that are counted.
    number = len(set(names.values()) - {""})
    return {at: without_count(name, number) for at, name in names.items()}


def without_count(name: str, number: int) -> str:
    """A section's name without the words that the site put before it: "Method 1 of 2: By Hand", "Método 1 de 2: …"."""
    match = COUNTED.match(name) or COUNTED_ANYWHERE.match(name)
    # In other languages the numbers must fit: "Days 1 to 7: Rest" is a name.
    if match is None or (match.re is COUNTED_ANYWHERE and not int(match[1]) <= int(match[2]) == number):
        return name
    return name[match.end() :]


def bold_sentence(body: Tag, text: str) -> str:
    """The first bold words of a step with the mark that ends them, which may stand behind the tag."""
    bold = body.select_one("b.whb")
    headline = text_of(bold) if bold is not None else bold_start(body)
    following = bold.next_sibling if bold is not None else None
    mark = re.match(r"[.!?:…。！？：]+", following) if isinstance(following, NavigableString) else None
    whole = headline + mark[0] if mark and headline[-1:].isalnum() else headline
    return whole if text.startswith(whole) else headline


def classes(tag: Tag) -> Sequence[str]:
    return tag.get_attribute_list("class")


def wikihow_intro(soup: BeautifulSoup) -> str:
    """The introduction of a wikiHow page since 2012."""
    # The pages of 2020 have `#mf-section-0`, those from 2013 on `#intro`; earlier ones put it before the heading.
    lead = soup.select_one("#mf-section-0")
    paragraphs = soup.select("#intro > p")
    return text_of(lead) or " ".join(filter(None, map(text_of, paragraphs))) or plain_intro(soup)


def steps_heading(soup: BeautifulSoup) -> Tag | None:
    """The `h2` "Steps", in the page's language, in wikiHow's pages up to 2012."""
    return next((h2 for h2 in soup.select("h2") if heading_words(h2) in STEPS), None)


def heading_words(tag: Tag) -> str:
    """The words of a heading without its link "[edit]"."""
    # Eight texts are enough for any heading, while a broken page can have half of itself inside an `h2`.
    words = islice(tag.stripped_strings, 8)
    return " ".join(word for word in words if word.lower() not in ("[", "edit", "[edit]", "]"))


def plain_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    """Read wikiHow's pages of 2009 and 2011: after the heading "Steps", each `ol` > `li`; `h3` begins a section."""
    steps, name = [], ""
    for tag in after_heading(soup):
        if tag.name == "h2":
            break
        if tag.name == "h3":
            name = heading_words(tag)
        for item in tag.find_all("li", recursive=False) if tag.name == "ol" else ():
            image = image_of(item, base)
            # The caption of a thumbnail is not part of the step.
            for thumbnail in item.select(".thumb, .mwimg"):
                thumbnail.decompose()
            steps.append(Step(name, bold_start(item), text_of(item), image))
    return steps


def after_heading(soup: BeautifulSoup) -> list[Tag]:
    """The headings and lists after the heading "Steps", but not the lists inside a step."""
    heading = steps_heading(soup)
    if heading is None:
        return []
    # Not its siblings: some pages wrap the lists in a `div`. `around` is None unless the page itself lies in a list.
    around = heading.find_parent("li")
    return [tag for tag in heading.find_all_next(["h2", "h3", "ol"]) if tag.find_parent("li") is around]


def bold_start(item: Tag) -> str:
    """The bold words at the beginning of an item, else ""."""
    headline = text_of(item.find("b"))
    return headline if text_of(item).startswith(headline) else ""


def plain_intro(soup: BeautifulSoup) -> str:
    """The introduction of wikiHow's pages up to 2012: the paragraphs before the heading "Steps"."""
    heading = steps_heading(soup)
    before = heading.find_all_previous("p") if heading else []
    return " ".join(filter(None, map(text_of, reversed(before))))


def ehow_blocks(soup: BeautifulSoup) -> Iterator[Tag]:
    """Yield all text blocks of an eHow page except the introduction."""
    seen: set[int] = set()
    # No child selectors (`>`): the pages of 2017 wrap steps in stray spans.
    for block in soup.select("div.mod.step div.stepContent div.content"):
        # In a damaged page a block may stand inside a figure that went with the block before.
        if block.decomposed:
            continue
        # A step inside a block of another step: end tags are missing, and each step must keep its own text.
        for step in block.select("div.mod.step"):
            step.extract()
        # A block inside another block is a part of it. Its text would appear twice.
        is_part = any(id(around) in seen for around in block.parents)
        seen.add(id(block))
        if not is_part and "lead" not in classes(block):
            yield block


def ehow_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    """Read eHow's pages of 2015 and 2017: one step per block `div.mod.step div.stepContent div.content`."""
    steps: list[Step] = []
    images: dict[int, str | None] = {}
    for block in ehow_blocks(soup):
        around = block.find_parent("div", class_="stepContent") or block
        # Looked up once, before the figures of the first block are removed below.
        if id(around) not in images:
            images[id(around)] = image_of(around, base)
        for tag in block.select("figure, figcaption"):
            tag.decompose()
        heading = block.select_one("span.head, h2, h3")
        headline = text_of(heading)
        if not steps and is_materials(block):
            continue
        # "Step 3" is a number, not a headline.
        if heading is not None and STEP_NUMBER.fullmatch(headline):
            heading.decompose()
            headline = ""
        steps.append(Step("", headline, text_of(block), images[id(around)]))
    return steps


def is_materials(block: Tag) -> bool:
    """Whether a block before the first step lists the materials: lists under a heading or under a few words."""
    # A copy, because the parts are removed to see what remains.
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
    """The introduction of an eHow page."""
    return text_of(soup.select_one("div.mod.step div.stepContent div.content.lead"))


LAYOUTS = (
    Layout(WIKIHOW, wikihow_steps, wikihow_intro),
    Layout(WIKIHOW, plain_steps, plain_intro),
    Layout(EHOW, ehow_steps, ehow_intro),
)
