"""What a stated licence means for whoever passes a text on."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Ids that the hub knows (its list of licences for repositories); another version of a licence is `cc` there.
HUB_IDS = frozenset(
    "cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 "
    "cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0".split()
)
ELEMENTS = r"by(?:-(?:nc|nd|sa))*"
# The whole statement must have one of these forms: `All rights reserved, not CC BY` holds a licence's name, too.
BY_ADDRESS = re.compile(rf"(?:https?://)?(?:www\.)?creativecommons\.org/licenses/({ELEMENTS})(?:/(\d\.\d))?(?:/.*)?")
BY_NAME = re.compile(rf"cc[ -]({ELEMENTS})(?:[ -]?v?(\d\.\d))?(?: (?:international|unported|generic|[a-z]{{2}}))?")
IN_WORDS = re.compile(
    r"creative commons attribution((?:[ -]+(?:non-?commercial|share-?alike|no ?deriv(?:ative)?s))*)"
    r"(?: (\d\.\d))?(?: (?:international|unported))?(?: (?:public )?licen[cs]e)?(?: \(reuse allowed\))?"
)
ZERO = re.compile(r"cc0(?:[ -]1\.0)?(?: universal)?|(?:https?://)?creativecommons\.org/publicdomain/zero/1\.0/?.*")
NOBODYS = re.compile(r"public domain(?: mark)?(?: 1\.0)?|(?:https?://)?creativecommons\.org/publicdomain/mark/1\.0/?.*")


@dataclass(frozen=True)
class Licence:
    """A licence: its short name, its id on the hub, where its text is, and whether a copy may be passed on.

    `may_be_shared` asks no more than attribution, the same licence or no commercial use. A licence without derivatives
    does not count: a text cut into steps or sentences may be one.
    """

    name: str
    hub_id: str = "other"
    url: str | None = None
    may_be_shared: bool = False


# Characters of an unknown licence: somebody may have put its whole text there.
LONGEST = 80
UNKNOWN = Licence("none stated")


def licence_of(stated: str | None) -> Licence:
    """The licence that a site or a list states; one that is not known may not be shared."""
    text = " ".join((stated or "").lower().split())
    if not text:
        return UNKNOWN
    if ZERO.fullmatch(text):
        return Licence("CC0 1.0", "cc0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/", True)
    if NOBODYS.fullmatch(text):
        return Licence("public domain", "other", "https://creativecommons.org/publicdomain/mark/1.0/", True)
    if found := BY_ADDRESS.fullmatch(text) or BY_NAME.fullmatch(text):
        return creative_commons(found[1], found[2])
    if found := IN_WORDS.fullmatch(text):
        words = found[1].replace("-", "").replace(" ", "")
        marks = [mark for mark, word in (("nc", "noncommercial"), ("nd", "noderiv"), ("sa", "share")) if word in words]
        return creative_commons("-".join(["by", *marks]), found[2])
    return Licence(" ".join((stated or "").split())[:LONGEST])


def creative_commons(elements: str, version: str | None) -> Licence:
    """The Creative Commons licence of some elements (`by-nc-sa`); without a version it has no address."""
    name = f"CC {elements.upper()}" + (f" {version}" if version else "")
    hub_id = f"cc-{elements}-{version}"
    return Licence(
        name,
        hub_id if hub_id in HUB_IDS else "cc",
        f"https://creativecommons.org/licenses/{elements}/{version}/" if version else None,
        "nd" not in elements.split("-"),
    )
