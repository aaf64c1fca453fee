"""The sites that articles and their pictures are fetched from, and the hosts that shorten links."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

# The domains that wikiHow serves articles from: by subject, and by language where it is no part of wikihow.com
# (Krinkle/wikihow-src@a998fa5: AlternateDomain.class.php, WikihowHomepage.i18n.php). Not its two former ones without
# the name, which anybody may own by now.
WIKIHOW_DOMAINS = (
    "wikihow.com",
    "wikihow-fun.com",
    *(
        f"wikihow.{end}"
        for end in (*("fitness", "health", "legal", "life", "mom", "pet", "tech"), *("com.tr", "cz", "it", "jp", "vn"))
    ),
)
SITES = (*WIKIHOW_DOMAINS, "ehow.com")
# And from where the pages of these sites show pictures and clips: seen in pages of 2011 to 2020.
PICTURE_SITES = (*SITES, "whstatic.com", "ehowcdn.com")
SHORTENERS = frozenset("bit.ly buff.ly goo.gl ift.tt is.gd ow.ly t.co tinyurl.com".split())


def is_of(host: str, domains: Collection[str]) -> bool:
    """Whether a host is one of the domains or lies below one of them, as `evilwikihow.com` does not."""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def is_short(url: str) -> bool:
    """Whether the URL belongs to a known shortener (bit.ly, …)."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".") in SHORTENERS
    except ValueError:
        return False
