"""Write out the end tags that a page leaves to its readers, by the rules that browsers follow (HTML Standard, 13.2.6).

lxml has older rules: it ignores a `</li>` while a `div` in the item is open. So each comment of a list whose `div`s
are not closed would lie inside the one before, thousands deep.
"""

from __future__ import annotations

import re
from collections.abc import Collection

VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
# Their tags have no place among the others: a page has one of each, and their end tags come too early as often as not.
FRAME = frozenset(["html", "head", "body"])
HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
CLOSES_P = HEADINGS | frozenset(
    "address article aside blockquote center details dd dialog dir div dl dt fieldset figcaption figure footer form "
    "header hgroup hr li main menu nav ol p pre search section summary ul".split()
)
# The cells, rows and groups of a table: one closes all of its own rank or below.
RANKS = {"td": 1, "th": 1, "tr": 2, "tbody": 3, "thead": 3, "tfoot": 3, "caption": 3, "colgroup": 3}
# What an end tag does not reach beyond.
TABLE = frozenset(["table", "template"])
SCOPE = frozenset([*TABLE, *RANKS, "applet", "button", "marquee", "object"])
SPECIAL = SCOPE | CLOSES_P | frozenset("iframe noscript option script select style textarea title xmp".split())
# A start tag of the first closes one of the second, if nothing but a few elements lies between.
SIBLINGS = {"li": {"li"}, "dd": {"dd", "dt"}, "dt": {"dd", "dt"}, "option": {"option"}, "a": {"a"}}
PASSED = frozenset(["address", "div", "p"])

# All in bounded time: what a tag may hold ends at the next "<" or after some thousand characters in quotes.
INSIDE = r"""(?:=\s{0,9}(?:"[^"]{0,9999}"|'[^']{0,9999}')|[^<>])*+>"""
TAG = re.compile(
    r"<!--.*?(?:-->|\Z)"
    rf"|<(?P<raw>script|style|textarea|title|xmp|iframe)(?=[\s/>]){INSIDE}.*?(?:</(?P=raw)[^<>]{{0,99}}>|\Z)"
    rf"|<(?P<end>/?)(?P<name>[a-z][^\s/<>]{{0,99}}){INSIDE}",
    re.IGNORECASE | re.DOTALL,
)


class TooDeepError(ValueError):
    """Tags are nested deeper than allowed, however one reads them."""


def closed(html: str, max_depth: int) -> str:
    """Return the page with every element ended where a browser ends it, and without end tags that end nothing.

    It looks at no more than `max_depth` open elements for each tag. Raises TooDeepError beyond that depth.
    """
    written: list[str] = []
    opened: list[str] = []
    at = 0
    for tag in TAG.finditer(html):
        name = (tag["name"] or "").lower()
        is_end, is_start = bool(tag["end"]), name not in VOID and not tag.group().endswith("/>")
        # Comments and texts without tags inside have no name.
        if not name or (name in FRAME and not is_end):
            continue
        kept = len(opened) if name in FRAME else ended_by(opened, name) if is_end else begun_by(opened, name)
        # Without the end tag, what is left of and right of it would be a tag: "<</b>div>".
        if is_end and kept == len(opened) and html[tag.start() - 1 : tag.start()] in ("<", "/"):
            continue
        written.append(html[at : tag.start()])
        written += [f"</{one}>" for one in reversed(opened[kept:])]
        del opened[kept:]
        at = tag.end() if is_end else tag.start()
        if not is_end and is_start:
            opened.append(name)
            if len(opened) > max_depth:
                raise TooDeepError(f"tags are nested deeper than {max_depth}")
    return "".join([*written, html[at:]])


def ended_by(opened: list[str], name: str) -> int:
    """How many of the open elements stay open at an end tag."""
    names = HEADINGS if name in HEADINGS else {name}
    # An end tag of a part of a line ends nothing outside of its paragraph or block.
    around = TABLE if name in TABLE or name in RANKS else SCOPE if name in SPECIAL else SPECIAL
    around = around | {"ol", "ul"} if name == "li" else around
    return last(opened, names, around, len(opened))


def begun_by(opened: list[str], name: str) -> int:
    """How many of the open elements stay open at a start tag."""
    stay = len(opened)
    if rank := RANKS.get(name):
        inner = {one for one, its in RANKS.items() if its <= rank}
        while (at := last(opened, inner, TABLE, stay)) < stay:
            stay = at
        return stay
    if name in SIBLINGS:
        stay = last(opened, SIBLINGS[name], SPECIAL - PASSED, stay)
    if name in CLOSES_P:
        stay = last(opened, {"p"}, SCOPE, stay)
    if name in HEADINGS and opened[stay - 1 : stay] and opened[stay - 1] in HEADINGS:
        stay -= 1
    return stay


def last(opened: list[str], names: Collection[str], around: Collection[str], stay: int) -> int:
    """The place among the first `stay` of the last element of `names`; `stay` if one of `around` lies after it."""
    for at in range(stay - 1, -1, -1):
        if opened[at] in names:
            return at
        if opened[at] in around:
            break
    return stay
