"""Find the link to an article in a video's description."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from vsumdata.stages.web.sites import SHORTENERS, SITES, WIKIHOW_DOMAINS, is_of

HOSTS = rf"(?:[a-z]{{2}}\.)?(?:www\.|m\.)?(?:{'|'.join(map(re.escape, SITES))})|" + "|".join(
    map(re.escape, sorted(SHORTENERS))
)
LINK = re.compile(rf"(?:https?://|(?<![\w.@/-])(?:{HOSTS})/)[^\s<>\"“”…，。！？；、]{{1,2000}}", re.IGNORECASE)
# Most short links in a description lead to a channel or a shop, and following one costs a request. So the words on its
# line or on the line above must announce an article.
ANNOUNCED = re.compile(r"wikihow|ehow|article|instructions|recipe|step.by.step|read (?:more|the)", re.IGNORECASE)
# Weaker words. First choice is a link after a word of `ANNOUNCED`, then one after these, then one before either.
HINTED = re.compile(r"\b(?:steps?|tutorials?|guides?|full|how.?to|learn (?:more|how)|more info)\b", re.IGNORECASE)
ANNOUNCED_WITHIN = 200  # characters before the link, or after it
NAMESPACES = ["special", "category", "user", "user_talk", "user-talk", "talk", "discussion", "image", "file"]
NAMESPACES += ["video", "wikihow", "help", "template", "forum", "course"]
# The same in the languages of wikiHow's other domains.
NAMESPACES += ["categoría", "categoria", "catégorie", "kategorie", "kategori", "thể-loại", "especial", "speciale"]
NAMESPACES += ["spezial", "speciální", "özel", "đặc-biệt", "usuario", "utente", "benutzer", "uživatel", "kullanıcı"]
NOT_ARTICLES = frozenset(["", "main-page", "index.php", "api.php", "robots.txt"])
NOT_ARTICLES |= {"portada", "página-principal", "pagina-principale", "hauptseite", "hlavní-strana", "anasayfa"}
# An article's number tells it from eHow's categories, and /video_… is a page with a clip and no steps.
EHOW_ARTICLE = re.compile(r"/(?!video)(?:[a-z-]+_)?\d+[_/][^/]+/?", re.IGNORECASE)
BRACKETS = {")": "(", "]": "[", "}": "{", "）": "（", "】": "【", "』": "『", "」": "「"}


def find_article_url(description: str, hosts: Collection[str] = ()) -> str | None:
    """Return the first link to a wikiHow or eHow article in a video's description, as https and without its query.

    `hosts` are further article sites, with articles under /wikihow/ and /ehow/. Links through YouTube's redirect page
    are resolved. If no link openly leads to an article, returns the short link (bit.ly, …) that the text most clearly
    announces as one; only its host knows where it leads. None if there is neither.
    """
    found: list[tuple[int, str]] = []
    for address, before, after in links(description):
        try:
            parts = urlsplit(address)
            host, port = (parts.hostname or "").lower().rstrip("."), parts.port
        # Descriptions hold all kinds of text after "http": a port that is no number, an open bracket.
        except ValueError:
            continue
        # m.wikihow.com, es.m.wikihow.com
        host, path = re.sub(r"^([a-z]{2}\.)?m\.", r"\1", host), parts.path
        if port not in (None, 80, 443):
            continue
        if is_article(host, path, hosts):
            return f"https://{'www.' if host in SITES else ''}{host}{path.rstrip('/')}"
        if host in SHORTENERS and path.strip("/") and (likelihood := announced(before, after)):
            found.append((likelihood, f"https://{host}{path}"))
    # `max` returns the first of equals.
    return max(found, key=lambda short: short[0])[1] if found else None


def announced(before: str, after: str) -> int:
    """How clearly the words around a short link announce an article: 3, 2, 1, or 0 for not at all."""
    if ANNOUNCED.search(before):
        return 3
    return 2 if HINTED.search(before) else int(any(word.search(after) for word in (ANNOUNCED, HINTED)))


def links(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield every URL in a text, without the punctuation around it, with the words before and after it.

    The words before are those of its line and of the line above; the words after are those of its line, without URLs.
    """
    for match in LINK.finditer(text):
        address = trimmed(match.group())
        if not address.lower().startswith("http"):
            address = f"https://{address}"
        redirected = re.match(r"https?://(?:www\.)?youtube\.com/redirect\?(.*)", address, re.IGNORECASE)
        address = parse_qs(redirected[1]).get("q", [""])[0] if redirected else address
        before = text[max(0, match.start() - ANNOUNCED_WITHIN) : match.start()].split("\n")[-2:]
        after = text[match.end() : match.end() + ANNOUNCED_WITHIN].split("\n")[0]
        yield address, "\n".join(before), LINK.sub("", after)


def trimmed(address: str) -> str:
    """Cut trailing punctuation off a URL."""
    # wikiHow titles end with brackets ("Cope-(for-Parents)"), so a bracket that the URL opens itself must stay.
    while True:
        address = address.rstrip(".,;:!?'’*_|：")
        last = address[-1:]
        if last not in BRACKETS or address.count(last) <= address.count(BRACKETS[last]):
            return address
        address = address[:-1]


def is_article(host: str, path: str, hosts: Collection[str]) -> bool:
    """Whether the path on the host is an article of wikiHow (any language), eHow or one of `hosts`."""
    if host in hosts:
        return re.match(r"/(wikihow|ehow)/[^/]", path) is not None
    if is_of(host, ["ehow.com"]):
        return EHOW_ARTICLE.fullmatch(path) is not None
    if not is_of(host, WIKIHOW_DOMAINS):
        return False
    slug = unquote(path).strip("/").lower()
    # Titles may contain a colon ("Play-Halo:-Reach"), so the word before it must be a known namespace.
    namespace, colon, _ = slug.partition(":")
    return slug not in NOT_ARTICLES and "/" not in slug and not (colon and namespace in NAMESPACES)
