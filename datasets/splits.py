"""Which split a task belongs to: by a hash of its name, so that one task never crosses."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping

SITE = re.compile(r"\s+[-|–—:]\s+(the\s+)?(wikihow|ehow)(\.com)?\s*$")
HOW_TO = re.compile(r"^(wikihow\s+to|ehow\s+to|how\s+do\s+you|how\s+do\s+i|how\s+to)\s+")
NOT_A_WORD = re.compile(r"[^\w']+")


def normalise(task: str) -> str:
    """The task without case, punctuation, a leading "How to" and the site's name; may be empty.

    Applying it twice changes nothing.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", task).casefold())
    text = SITE.sub("", text.strip())
    text = NOT_A_WORD.sub(" ", text).replace("_", " ")
    text = " ".join(text.split())
    while (shorter := HOW_TO.sub("", text)) != text:
        text = shorter
    return text


def split_of(task: str, shares: Mapping[str, float]) -> str:
    """The split of `task`; `shares` (split -> share, any positive total) are cut in their order.

    Tasks that differ only by what `normalise` removes share a split. The answer depends on nothing else:
    it is the same on every machine and for every data set.
    """
    total = sum(shares.values())
    if not shares or total <= 0 or min(shares.values()) < 0:
        raise ValueError(f"shares are {dict(shares)}; they must be positive numbers")
    digest = hashlib.blake2b(normalise(task).encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64 * total
    edge = 0.0
    used = [name for name, share in shares.items() if share > 0]
    for name in used:
        edge += shares[name]
        if position < edge:
            return name
    return used[-1]  # the shares' sum may fall short of `total` by rounding
