"""The `articles` table: find a video's article in its description, fetch it, and read its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from vsumdata.manifests.errors import FailVideo, SkipVideo
from vsumdata.manifests.tables import PARSER_VERSION
from vsumdata.stages.howto.layouts import HOME, WIKIHOW, absolute, clip_address
from vsumdata.stages.howto.links import find_article_url
from vsumdata.stages.howto.parser import (
    OTHER,
    WIKIHOW_LICENSE,
    Article,
    Step,
    canonical_url,
    parse_article,
    site_of,
)
from vsumdata.stages.stage import Context, Function, Row
from vsumdata.stages.web.cache import decode_html
from vsumdata.stages.web.fetch import Fetcher, Limits
from vsumdata.stages.web.sites import is_short


def load(options: Mapping[str, Any], context: Context) -> Function:
    """Return the row function of `articles`. It takes a local file, else given steps, else the web.

    The function raises `SkipVideo` (no_article, article_gone, robots), `FailVideo` (no_steps, not_allowed, too_large,
    unreadable), and what `Fetcher.get` raises.
    """
    fetcher = Fetcher(context)

    def article_of(row: Row) -> Row:
        source, video = row.get("source") or {}, row.get("videos") or {}
        url = source.get("article_url") or video.get("article_url")
        if source.get("article"):
            return from_file(Path(source["article"]), url)
        # Not by truth: an empty list is a defect of the record and must be reported, not replaced by the web page.
        if source.get("steps") is not None:
            return from_steps(source["steps"], source.get("title") or video.get("title"), url)
        if not url:
            raise SkipVideo("no_article")
        if is_short(url):
            target = fetcher.expand(url)
            if not (found := find_article_url(target, fetcher.local)) or is_short(found):
                raise SkipVideo("no_article", f"{url} leads to {target}")
            url = found
        kept = row.get("kept")
        # The page as an older parser has seen it: a better one needs no visit.
        if kept is not None and kept["html"] is not None and kept["url"] == url:
            body = unpacked(kept["html"])
            return payload(parse_article(decode_html(body), url), url, body, kept["retrieved_at"])
        page = fetcher.get(url)
        # The address of a deleted article redirects to a page of the site that is no article.
        if page.url != url and find_article_url(page.url, fetcher.local) is None:
            raise SkipVideo("article_gone", f"{url} leads to {page.url}")
        article = parse_article(page.text, page.url)
        # If only the header stated the charset, the bytes alone could not be decoded later.
        body = page.body if decode_html(page.body) == page.text else page.text.encode()
        return payload(article, page.url, body, page.retrieved_at)

    return article_of


def from_file(path: Path, url: str | None) -> Row:
    """Read the article of a saved page. Its time of retrieval is the file's modification time."""
    try:
        # The size first: a wrong path can lead to a file of gigabytes.
        changed = path.stat()
        if changed.st_size > Limits().size_bytes:
            raise FailVideo("too_large", f"{path} has {changed.st_size} bytes")
        body = path.read_bytes()
    # ValueError: a path with a NUL or half of a character.
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise SkipVideo("article_gone", str(path)) from error
    except OSError as error:
        raise FailVideo("unreadable", f"{path}: {error.strerror}") from error
    html = decode_html(body)
    address = canonical_url(html) or url
    article = parse_article(html, address or "")
    return payload(article, address, body, datetime.fromtimestamp(changed.st_mtime, UTC))


def from_steps(given: Sequence[Any], title: str | None, url: str | None) -> Row:
    """Build the article from the steps in a list's record, as texts or objects. Empty ones are reported."""
    steps = [step for step in map(given_step, given) if step.text]
    if not steps:
        raise FailVideo("no_steps", f"none of the {len(given)} given steps has a text")
    site = site_of(url or "") or OTHER
    article = Article(title or "", site, "", WIKIHOW_LICENSE if site == WIKIHOW else None, steps)
    empty = len(given) - len(steps)
    detail = {"detail": f"{empty} of {len(given)} given steps have no text"} if empty else {}
    return payload(article, url, None, None) | detail


def given_step(given: Any) -> Step:
    """A step of a record: a text, or an object with our names or those of the WikiHow Summaries list."""
    fields = given if isinstance(given, Mapping) else {"text": given}
    section, headline, text, image, image_as, clip, clip_as = (
        " ".join(value.split()) if isinstance(value := fields.get(name), str) else ""
        for name in ("section", "headline", "text", "image_url", "img", "clip_url", "vid")
    )
    whole = text if text.startswith(headline) else f"{headline} {text}".strip()
    picture = absolute(image or image_as, HOME[WIKIHOW])
    return Step(section, headline or text, whole, picture, clip_address(clip or clip_as))


def payload(article: Article, url: str | None, html: bytes | None, retrieved_at: datetime | None) -> Row:
    """Build the payload of `articles`; `html` is the page's bytes."""
    columns = asdict(article)
    return {
        "url": url,
        **{name: columns[name] for name in ("site", "title", "intro", "license")},
        "step": [step._asdict() for step in article.steps],
        # The page is kept, so that a better parser can read it again without asking the site.
        "html": pa.compress(html, codec="zstd", asbytes=True) if html is not None else None,
        "retrieved_at": retrieved_at,
        "parser_version": PARSER_VERSION,
    }


def unpacked(packed: bytes) -> bytes:
    """Return the page in a row's `html` column."""
    # A stream, because `pa.decompress` needs the size, which the column does not hold.
    return pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read()  # type: ignore[no-any-return]
