"""The article that belongs to a video: found in its description, fetched, read into steps."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa

from vsumdata.pipeline.errors import FailVideo, SkipVideo
from vsumdata.pipeline.stage import Context, Function, Row
from vsumdata.stages.article_layouts import HOME, WIKIHOW, absolute, clip_address
from vsumdata.stages.article_parser import (
    OTHER,
    PARSER_VERSION,
    WIKIHOW_LICENSE,
    Article,
    Step,
    canonical_url,
    parse_article,
    site_of,
)
from vsumdata.stages.web import SHORTENERS, Fetcher, Limits, is_short
from vsumdata.stages.web_cache import decode_html

__all__ = ["Article", "Step", "canonical_url", "find_article_url", "load", "parse_article", "unpack_html"]

HOSTS = r"(?:www\.|m\.)?(?:wikihow|ehow)\.com|" + "|".join(map(re.escape, sorted(SHORTENERS)))
LINK = re.compile(rf"(?:https?://|(?<![\w.@/-])(?:{HOSTS})/)[^\s<>\"“”…，。！？；、]{{1,2000}}", re.IGNORECASE)
# Most short links of a description lead to a channel or a shop: the line, or the one before, must speak of an article.
ANNOUNCED = re.compile(r"wikihow|ehow|article|instructions|recipe|step.by.step|read (?:more|the)", re.IGNORECASE)
# These say less: a short link after the words above goes before one after these, and both before one above them.
HINTED = re.compile(r"\b(?:steps?|tutorials?|guides?|full|how.?to|learn (?:more|how)|more info)\b", re.IGNORECASE)
ANNOUNCED_WITHIN = 200  # characters before the link, or after it
NAMESPACES = ["special", "category", "user", "user_talk", "user-talk", "talk", "discussion", "image", "file"]
NAMESPACES += ["video", "wikihow", "help", "template", "forum", "course"]
NOT_ARTICLES = frozenset(["", "main-page", "index.php", "api.php"])
EHOW_ARTICLE = re.compile(r"/(?!video)(?:[a-z-]+_)?\d+[_/][^/]+/?", re.IGNORECASE)
BRACKETS = {")": "(", "]": "[", "}": "{", "）": "（", "】": "【", "』": "『", "」": "「"}


def find_article_url(description: str, hosts: Collection[str] = ()) -> str | None:
    """The first link to a wikiHow or eHow article in a video's description, as https and without its query.

    `hosts` are further article sites, whose articles lie under /wikihow/ and /ehow/. Links of YouTube's own
    redirection are looked through. Where no link leads to an article openly, the short link (bit.ly, …) that the
    text most clearly announces as one is returned as it is: only asking its host tells where it leads.
    """
    found: list[tuple[int, str]] = []
    for address, before, after in links(description):
        try:
            parts = urlsplit(address)
            host, port = (parts.hostname or "").lower().rstrip("."), parts.port
        except ValueError:
            continue
        host, path = host.removeprefix("m."), parts.path
        if port not in (None, 80, 443):
            continue
        if is_article(host, path, hosts):
            return f"https://{'www.' if host in ('wikihow.com', 'ehow.com') else ''}{host}{path.rstrip('/')}"
        if host in SHORTENERS and path.strip("/") and (likelihood := announced(before, after)):
            found.append((likelihood, f"https://{host}{path}"))
    return max(found, key=lambda short: short[0])[1] if found else None  # of equals the first


def announced(before: str, after: str) -> int:
    """How likely the words around a short link are about an article; 0 where they are not."""
    if ANNOUNCED.search(before):
        return 3
    return 2 if HINTED.search(before) else int(any(word.search(after) for word in (ANNOUNCED, HINTED)))


def links(text: str) -> Iterator[tuple[str, str, str]]:
    """Every address in a text, without the punctuation around it, and the words before and after it.

    Before: of its line and of the line above. After: of its line, without further addresses.
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
    """Without trailing punctuation; a closing bracket stays where the address opens one."""
    while True:
        address = address.rstrip(".,;:!?'’*_|：")
        last = address[-1:]
        if last not in BRACKETS or address.count(last) <= address.count(BRACKETS[last]):
            return address
        address = address[:-1]


def is_article(host: str, path: str, hosts: Collection[str]) -> bool:
    if host in hosts:
        return re.match(r"/(wikihow|ehow)/[^/]", path) is not None
    if host == "ehow.com" or host.endswith(".ehow.com"):
        return EHOW_ARTICLE.fullmatch(path) is not None
    if host != "wikihow.com" and not host.endswith(".wikihow.com"):
        return False
    slug = unquote(path).strip("/").lower()
    namespace, colon, _ = slug.partition(":")  # a title may hold a colon too
    return slug not in NOT_ARTICLES and "/" not in slug and not (colon and namespace in NAMESPACES)


def load(options: Mapping[str, Any], context: Context) -> Function:
    """A function row → payload of `articles`, from a local file, given steps or the web, in this order.

    It raises `SkipVideo` (no_article, article_gone, robots), `FailVideo` (no_steps, not_allowed, too_large,
    unreadable), and what `Fetcher.get` raises. An address that leads to another page than an article, as those
    of deleted ones do, is `article_gone`.
    """
    fetcher = Fetcher(context)

    def article_of(row: Row) -> Row:
        source, video = row.get("source") or {}, row.get("videos") or {}
        url = source.get("article_url") or video.get("article_url")
        if source.get("article"):
            return from_file(Path(source["article"]), url)
        if source.get("steps") is not None:  # an empty list is a defect of its record, and no wish for the page
            return from_steps(source["steps"], source.get("title") or video.get("title"), url)
        if not url:
            raise SkipVideo("no_article")
        if is_short(url):
            target = fetcher.expand(url)
            if not (found := find_article_url(target, fetcher.local)) or is_short(found):
                raise SkipVideo("no_article", f"{url} leads to {target}")
            url = found
        page = fetcher.get(url)
        if page.url != url and find_article_url(page.url, fetcher.local) is None:
            raise SkipVideo("article_gone", f"{url} leads to {page.url}")
        article = parse_article(page.text, page.url)
        # A charset that only the header told would be lost.
        body = page.body if decode_html(page.body) == page.text else page.text.encode()
        return payload(article, page.url, body, page.retrieved_at)

    return article_of


def from_file(path: Path, url: str | None) -> Row:
    """The article of a saved page; its time of retrieval is the file's."""
    try:
        changed = path.stat()
        if changed.st_size > Limits().size_bytes:
            raise FailVideo("too_large", f"{path} has {changed.st_size} bytes")
        body = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SkipVideo("article_gone", str(path)) from error
    except OSError as error:
        raise FailVideo("unreadable", f"{path}: {error.strerror}") from error
    html = decode_html(body)
    address = canonical_url(html) or url
    article = parse_article(html, address or "")
    return payload(article, address, body, datetime.fromtimestamp(changed.st_mtime, UTC))


def from_steps(given: Sequence[Any], title: str | None, url: str | None) -> Row:
    """The article of steps that a list gives itself, as texts or as objects; empty ones are reported."""
    steps = [step for step in map(given_step, given) if step.text]
    if not steps:
        raise FailVideo("no_steps", f"none of the {len(given)} given steps has a text")
    site = site_of(url or "") or OTHER
    article = Article(title or "", site, "", WIKIHOW_LICENSE if site == WIKIHOW else None, steps)
    empty = len(given) - len(steps)
    detail = {"detail": f"{empty} of {len(given)} given steps have no text"} if empty else {}
    return payload(article, url, None, None) | detail


def given_step(given: Any) -> Step:
    """A step of a list: a text, or an object in our names or in those of the WikiHow Summaries list."""
    fields = given if isinstance(given, Mapping) else {"text": given}
    section, headline, text, image, image_as, clip, clip_as = (
        " ".join(value.split()) if isinstance(value := fields.get(name), str) else ""
        for name in ("section", "headline", "text", "image_url", "img", "clip_url", "vid")
    )
    whole = text if text.startswith(headline) else f"{headline} {text}".strip()
    picture = absolute(image or image_as, HOME[WIKIHOW])
    return Step(section, headline or text, whole, picture, clip_address(clip or clip_as))


def payload(article: Article, url: str | None, html: bytes | None, retrieved_at: datetime | None) -> Row:
    columns = asdict(article)
    return {
        "url": url,
        **{name: columns[name] for name in ("site", "title", "intro", "license")},
        "step": [step._asdict() for step in article.steps],
        "html": pa.compress(html, codec="zstd", asbytes=True) if html is not None else None,
        "retrieved_at": retrieved_at,
        "parser_version": PARSER_VERSION,
    }


def unpack_html(packed: bytes) -> str:
    """The page of a row's `html` column, to be parsed again."""
    return decode_html(pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read())
