"""Read the steps out of the pages of wikiHow and eHow.

The layouts of `vsumdata.stages.howto.layouts` are tried in order; each finds its steps in a page or none. JSON-LD is
the last choice, because wikiHow's drops every fraction and every section of one step.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, XMLParsedAsHTMLWarning
from bs4.exceptions import ParserRejectedMarkup

from vsumdata.manifests.errors import FailVideo
from vsumdata.stages.howto import jsonld
from vsumdata.stages.howto.layouts import (
    EHOW,
    HOME,
    LAYOUTS,
    WIKIHOW,
    Step,
    absolute,
    attribute_of,
    text_of,
)
from vsumdata.stages.howto.nesting import FRAME, TooDeepError, closed
from vsumdata.stages.web.sites import WIKIHOW_DOMAINS, is_of

__all__ = ["Article", "Step", "canonical_url", "parse_article", "site_of"]

# Real pages have up to about 13,000 tags, 50 deep. A hostile page could have millions, and take all time and memory.
MAX_CHARACTERS, MAX_TAGS, MAX_DEPTH = 10_000_000, 60_000, 100
OTHER = "other"  # a site that is neither
# wikiHow's pages name the licence of their texts only in the terms of use.
WIKIHOW_LICENSE = "CC BY-NC-SA 3.0"

# The site's additions to a title: "How to Boil Eggs: 12 Steps (with Pictures) - wikiHow Life", "… | eHow.com".
DECORATION = re.compile(r"(: \d+ Steps)?( \(with Pictures\))?( [-–—|] (wikiHow|eHow)( Life| Fun| Health|\.com)?)?$")

ENGLISH = re.compile(
    r"https?://(www\.|m\.)?wikihow(\.com|-fun\.com|\.fitness|\.health|\.legal|\.life|\.mom|\.pet|\.tech)/"
)

# Text that nobody reads. Only `sup.reference`, because other `sup` elements are the numerators of fractions.
# `#method_toc` lists the methods before the introduction: "Two Methods: By Hand".
JUNK = "script, style, noscript, template, sup.reference, .ts_popup, .wh_ad_inner, #method_toc, .editsection, a.edit"


@dataclass(frozen=True)
class Article:
    """A how-to article as read from its page."""

    title: str
    site: str  # wikihow | ehow | other
    intro: str
    license: str | None  # of the text, as stated
    steps: list[Step]


def parse_article(html: str, url: str) -> Article:
    """Read a how-to page. `url` resolves links and names the site if the page itself does not.

    Raises `FailVideo`: `no_steps` if it is not a how-to page, `too_large` for too many or too deeply nested tags.
    """
    soup, linked_data = read(html)
    # The canonical link first: `url` may lead to a copy of the page.
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
    site = site_of(address, url) or OTHER
    base = address if address.startswith("https://") else HOME.get(site, "")
    steps = [
        Step(step.section, step.headline, step.text, absolute(step.image_url, base), absolute(step.clip_url, base))
        for step in how_to.steps
    ]
    title = title_of(soup, address) or how_to.title
    return Article(title, site, how_to.intro, license_of(soup, site), steps)


def canonical_url(html: str) -> str | None:
    """Return the URL that a page states for itself (canonical link, else og:url), as https; None without one."""
    try:
        return canonical_link(read(html)[0])
    except FailVideo:
        return None


def read(html: str) -> tuple[BeautifulSoup, list[str]]:
    """Parse a page; return it without `JUNK`, and its JSON-LD blocks. Raises `FailVideo` as `parse_article` does."""
    # Counted in the text, before any parser spends memory on it.
    if len(html) > MAX_CHARACTERS:
        raise FailVideo("too_large", f"{len(html)} characters")
    if not 0 < html.count("<") <= MAX_TAGS:
        raise FailVideo("too_large" if "<" in html else "no_steps", f"{html.count('<')} tags")
    # Lone surrogates have no UTF-8 form, and the parser turns a NUL into U+FFFD.
    sound = html.encode("utf-8", "replace").decode().replace("\0", "")
    soup = parsed(sound)
    if depth_of(soup) > MAX_DEPTH:
        # Not yet the page's fault: lxml nests what follows a tag that is not closed (`nesting`).
        try:
            soup = parsed(closed(sound, MAX_DEPTH))
        except TooDeepError as error:
            raise FailVideo("too_large", str(error)) from error
        if depth_of(soup) > MAX_DEPTH + len(FRAME):
            raise FailVideo("too_large", f"tags are nested deeper than {MAX_DEPTH}")
    # Before JUNK goes, because the blocks are scripts.
    linked_data = [tag.get_text() for tag in soup.select('script[type^="application/ld+json" i]')]
    for tag in soup.select(JUNK):
        tag.decompose()
    return soup, linked_data


def parsed(html: str) -> BeautifulSoup:
    """The tree that lxml makes of a page. Raises `FailVideo` (no_steps) for what is no page at all."""
    with warnings.catch_warnings():
        # Old pages are XHTML, and are read as HTML on purpose.
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        try:
            return BeautifulSoup(html, "lxml")
        except ParserRejectedMarkup as error:
            raise FailVideo("no_steps", str(error)) from error


def depth_of(soup: BeautifulSoup) -> int:
    """How deeply tags are nested."""
    # In one pass and without recursion, which a deep page would exhaust.
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
    """The site that the first telling address names, by its host or, as on the sample's site, by its first folder."""
    for address in addresses:
        try:
            parts = urlsplit(address)
        except ValueError:
            continue
        host = (parts.hostname or "").rstrip(".")
        if is_of(host, WIKIHOW_DOMAINS):
            return WIKIHOW
        if is_of(host, ["ehow.com"]):
            return EHOW
        if match := re.match(rf"/({WIKIHOW}|{EHOW})/", parts.path.lower()):
            return match[1]
    return None


def title_of(soup: BeautifulSoup, url: str) -> str:
    """The page's heading, else its title, else the words of a wikiHow address; "" without any."""
    # The last serves pages that were saved as a body without a head.
    for selector in ("h1", 'meta[property="og:title"]', "title"):
        for tag in soup.select(selector):
            title = text_of(tag) or " ".join(attribute_of(tag, "content").split())
            if title := DECORATION.sub("", title, count=1):
                return title
    slug = re.search(r"//[^/]+/([^/?#]+)$", url) if site_of(url) == WIKIHOW else None
    if slug is None:
        return ""
    # Only the English addresses leave these words out.
    how_to = "How to " if ENGLISH.match(url) else ""
    return how_to + unquote(slug[1]).replace("-", " ")


def license_of(soup: BeautifulSoup, site: str) -> str | None:
    """The licence that the page links to, else the known licence of the site's texts; None if unknown."""
    for link in soup.select('a[href*="creativecommons.org/licenses/"], link[href*="creativecommons.org/licenses/"]'):
        match = re.search(r"/licenses/([a-z-]+)/(\d(?:\.\d)?)", attribute_of(link, "href"))
        if match:
            return f"CC {match[1].upper()} {match[2]}"
    return WIKIHOW_LICENSE if site == WIKIHOW else None
