"""The pages of wikiHow and eHow → their steps.

One function per layout, tried in the order of `LAYOUTS`; each finds its steps in a page or none. The layouts:
wikiHow's numbered lists since 2013, its plain lists of 2009 and 2011, eHow's blocks of 2015 and 2017. JSON-LD
is read last: on wikiHow it drops every fraction and sections of a single step.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from bs4 import BeautifulSoup, NavigableString, Tag, XMLParsedAsHTMLWarning
from bs4.exceptions import ParserRejectedMarkup

from vsumdata.pipeline.errors import FailVideo
from vsumdata.stages import jsonld

PARSER_VERSION = 1  # counts up whenever the same page may give another article
MAX_TAGS, MAX_DEPTH = 60_000, 100  # real pages have up to some 4,000 and 25; bounds time and memory
WIKIHOW, EHOW, OTHER = "wikihow", "ehow", "other"
WIKIHOW_LICENSE = "CC BY-NC-SA 3.0"  # of wikiHow's texts; its pages name it only in the terms of use

HOME = {WIKIHOW: "https://www.wikihow.com/", EHOW: "https://www.ehow.com/"}

JUNK = "script, style, noscript, template, sup.reference, .ts_popup, .wh_ad_inner"
LINES = ["br", "p", "div", "ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "td", "th", "blockquote", "pre"]
BLOCKS = frozenset([*LINES, "h1", "h2", "h3", "h4", "h5", "h6"])


class Step(NamedTuple):
    """`text` is the whole step, its headline included; what a layout lacks is empty."""

    section: str
    headline: str
    text: str
    image_url: str | None = None
    clip_url: str | None = None  # as the page has it: wikiHow's are paths on its video host


@dataclass(frozen=True)
class Article:
    title: str
    site: str  # wikihow | ehow | other
    intro: str
    license: str | None  # of the text, as stated
    steps: list[Step]


class Layout(NamedTuple):
    site: str
    steps: Callable[[BeautifulSoup, str], list[Step]]
    intro: Callable[[BeautifulSoup], str]


def parse_article(html: str, url: str) -> Article:
    """Read a how-to page; `url` resolves its links and tells its site where the page itself does not.

    Raises `FailVideo`: `no_steps` when it is not a how-to page, `too_large` for too many tags.
    """
    soup, linked_data = read(html)
    address = canonical_link(soup) or url
    for layout in LAYOUTS:
        base = address if address.startswith("https://") else HOME[layout.site]
        steps = [step for step in layout.steps(soup, base) if step.text]
        if steps:
            site, intro = site_of(address, url) or layout.site, layout.intro(soup)
            return Article(title_of(soup, address), site, intro, license_of(soup, site), steps)
    how_to = jsonld.how_to(linked_data)
    if how_to is None:
        raise FailVideo("no_steps", "no layout of a how-to page is known in it")
    steps = [Step(step.section, step.headline, step.text, step.image_url) for step in how_to.steps]
    site = site_of(address, url) or OTHER
    title = title_of(soup, address) or how_to.title
    return Article(title, site, how_to.intro, license_of(soup, site), steps)


def canonical_url(html: str) -> str | None:
    """The address that a page gives itself (canonical link, else og:url), as https."""
    try:
        return canonical_link(read(html)[0])
    except FailVideo:
        return None


def read(html: str) -> tuple[BeautifulSoup, list[str]]:
    """The page without what nobody reads, and its JSON-LD blocks."""
    if not 0 < html.count("<") <= MAX_TAGS:
        raise FailVideo("too_large" if "<" in html else "no_steps", f"{html.count('<')} tags")
    sound = html.encode("utf-8", "replace").decode().replace("\0", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)  # old pages are XHTML
        try:
            soup = BeautifulSoup(sound, "lxml")
        except ParserRejectedMarkup as error:
            raise FailVideo("no_steps", str(error)) from error
    if depth_of(soup) > MAX_DEPTH:
        raise FailVideo("too_large", f"tags are nested deeper than {MAX_DEPTH}")
    linked_data = [tag.get_text() for tag in soup.select('script[type="application/ld+json"]')]
    for tag in soup.select(JUNK):
        tag.decompose()
    return soup, linked_data


def depth_of(soup: BeautifulSoup) -> int:
    depths = {id(soup): 0}
    for tag in soup.find_all(True):
        depths[id(tag)] = depths[id(tag.parent)] + 1
    return max(depths.values())


def canonical_link(soup: BeautifulSoup) -> str | None:
    for selector, attribute in (('link[rel~="canonical"]', "href"), ('meta[property="og:url"]', "content")):
        for tag in soup.select(selector):
            address = attribute_of(tag, attribute)
            if re.match(r"https?://[^/\s]", address):
                return re.sub(r"^http://", "https://", address)
    return None


def site_of(*addresses: str) -> str | None:
    """The site of the first address whose host, else whose first folder, names it."""
    for address in addresses:
        try:
            parts = urlsplit(address)
        except ValueError:
            continue
        place = f"{parts.hostname or ''}{parts.path}".lower()
        match = re.match(rf"(?:[^/]*\.)?({WIKIHOW}|{EHOW})\.com(?:/|$)|[^/]+/({WIKIHOW}|{EHOW})/", place)
        if match:
            return match[1] or match[2]
    return None


def title_of(soup: BeautifulSoup, url: str) -> str:
    """The page's heading, else its title, else, for the body of a wikiHow page alone, its address."""
    for selector in ("h1", 'meta[property="og:title"]', "title"):
        for tag in soup.select(selector):
            title = text_of(tag) or attribute_of(tag, "content")
            title = re.sub(r"\s+[-|–]\s+(wikiHow|eHow)$", "", title)
            if title:
                return title
    slug = re.search(r"//[^/]*wikihow\.com/([^/?#]+)$", url)
    return "How to " + unquote(slug[1]).replace("-", " ") if slug else ""


def license_of(soup: BeautifulSoup, site: str) -> str | None:
    """What the page links to as its licence, else what is known of the site's texts."""
    for link in soup.select('a[href*="creativecommons.org/licenses/"], link[href*="creativecommons.org/licenses/"]'):
        match = re.search(r"/licenses/([a-z-]+)/(\d(?:\.\d)?)", attribute_of(link, "href"))
        if match:
            return f"CC {match[1].upper()} {match[2]}"
    return WIKIHOW_LICENSE if site == WIKIHOW else None


def text_of(tag: Tag | None) -> str:
    """Text with single spaces (no-break ones stay); blocks are apart, what is inside a line is not.

    1⁄4 is three elements, and must not become 1 ⁄ 4.
    """
    parts: list[str] = []
    for node in tag.descendants if tag is not None else ():
        if any(isinstance(near, Tag) and near.name in BLOCKS for near in (node, node.previous_sibling)):
            parts.append(" ")
        if type(node) is NavigableString:  # comments and the like are its subclasses
            parts.append(node)
    return re.sub(r"[ \t\n\r\f\v]+", " ", "".join(parts)).strip()


def attribute_of(tag: Tag | None, *names: str) -> str:
    """The first of these attributes that the tag has, else an empty string."""
    values = (tag.get(name) for name in names) if tag is not None else ()
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")


def image_of(tag: Tag, base: str) -> str | None:
    """The address of the first picture; a clip's still goes before the watermark on it."""
    still = attribute_of(tag.find("video"), "data-poster", "poster")
    address = still or attribute_of(tag.find("img"), "data-src", "src")
    if not address or address.startswith("data:"):
        return None
    try:
        return urljoin(base, address)
    except ValueError:
        return None


def wikihow_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    """Since 2013: `div.section.steps` > `ol.steps_list_2` > `li` > `div.step` with a bold headline."""
    steps = []
    for section in soup.select("div.section.steps:not(.sample):not(#sd_container)"):
        name = text_of(section.select_one("h3 .mw-headline"))
        for item in section.select("ol.steps_list_2 > li"):
            body = item.select_one("div.step")
            if body is not None:
                clip = attribute_of(item.select_one("video"), "data-src", "src") or None
                headline = text_of(body.select_one("b.whb"))
                steps.append(Step(name, headline, text_of(body), image_of(item, base), clip))
    return steps


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
    heading = steps_heading(soup)
    for tag in heading.find_next_siblings() if heading else ():
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


def bold_start(item: Tag) -> str:
    """The bold words that an item begins with."""
    headline = text_of(item.find("b"))
    return headline if text_of(item).startswith(headline) else ""


def plain_intro(soup: BeautifulSoup) -> str:
    heading = steps_heading(soup)
    before = heading.find_all_previous("p") if heading else []
    return " ".join(filter(None, map(text_of, reversed(before))))


def ehow_blocks(soup: BeautifulSoup) -> Iterator[Tag]:
    """All text blocks but the introduction. In 2017 steps are wrapped in stray spans: no child selectors."""
    for block in soup.select("div.mod.step div.stepContent div.content"):
        if "lead" not in (block.get("class") or ()):
            yield block


def ehow_steps(soup: BeautifulSoup, base: str) -> list[Step]:
    steps: list[Step] = []
    for block in ehow_blocks(soup):
        for tag in block.select("figure, figcaption"):
            tag.decompose()
        heading = block.select_one("span.head, h2, h3")
        headline = text_of(heading)
        if not steps and is_materials(block, headline):
            continue
        if heading is not None and re.fullmatch(r"Step \d+:?", headline):
            heading.decompose()
            headline = ""
        around = block.find_parent("div", class_="stepContent")
        steps.append(Step("", headline, text_of(block), image_of(around or block, base)))
    return steps


def is_materials(block: Tag, headline: str) -> bool:
    """Whether a block before the first step is the list of what one needs."""
    items = block.select_one("ul")
    return items is not None and text_of(block) == f"{headline} {text_of(items)}".strip()


def ehow_intro(soup: BeautifulSoup) -> str:
    return text_of(soup.select_one("div.mod.step div.stepContent div.content.lead"))


LAYOUTS = (
    Layout(WIKIHOW, wikihow_steps, wikihow_intro),
    Layout(WIKIHOW, plain_steps, plain_intro),
    Layout(EHOW, ehow_steps, ehow_intro),
)
