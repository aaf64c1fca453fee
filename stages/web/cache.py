"""Fetched pages on disk, one file each: `<root>/cache/web/<two digits>/<hash of the URL>`."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
from bs4.dammit import UnicodeDammit

from vsumdata.manifests.roots.folder import Folder


@dataclass(frozen=True, kw_only=True)
class Page:
    """An HTML page, or another file, as received. `url` is its address after all redirects."""

    url: str
    body: bytes
    content_type: str
    retrieved_at: datetime
    etag: str | None = None
    last_modified: str | None = None

    @property
    def text(self) -> str:
        return decode_html(self.body, self.content_type)

    def validators(self) -> dict[str, str]:
        """The headers that ask the site whether the page has changed."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}

    def seen_again(self) -> Page:
        return replace(self, retrieved_at=datetime.now(UTC))


def decode_html(body: bytes, content_type: str = "") -> str:
    """Decode as UTF-8 if possible, else by the header's charset, else by the page's own. Never raises."""
    # UTF-8 first: text in another charset is almost never valid UTF-8, while stated charsets are often wrong.
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        _, found, charset = content_type.lower().partition("charset=")
        encodings = [charset.split(";")[0].strip("\"' ")] if found else []
        text = UnicodeDammit(body, known_definite_encodings=encodings, is_html=True).unicode_markup
        return text if text is not None else body.decode("utf-8", "replace")


class WebCache:
    """The page cache, in the folder `cache/web` of a root or of another folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder.within("cache/web")

    def name(self, url: str) -> str:
        # "replace": a URL from a description can hold lone surrogates, which UTF-8 cannot encode.
        name = hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()
        return f"{name[:2]}/{name}"

    def read(self, url: str) -> Page | None:
        """Return the page, or None if there is none or its file is damaged."""
        checksum, _, content = (self.folder.read(self.name(url)) or b"").partition(b"\n")
        # `write` does not wait for the disk, so a crash of the machine can leave a damaged file. The checksum finds it.
        if checksum != hashlib.sha256(content).hexdigest().encode():
            return None
        try:
            head, _, packed = content.partition(b"\n")
            fields = json.loads(head)
            fields["retrieved_at"] = datetime.fromisoformat(fields["retrieved_at"])
            size = fields.pop("size_bytes")
            return Page(**fields, body=pa.decompress(packed, size, codec="zstd", asbytes=True))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, url: str, page: Page) -> None:
        """Store a page atomically: a reader sees the old file or the new one."""
        fields = asdict(page)
        body = fields.pop("body")
        fields |= {"retrieved_at": page.retrieved_at.isoformat(), "size_bytes": len(body)}
        content = json.dumps(fields).encode() + b"\n" + pa.compress(body, codec="zstd", asbytes=True)
        checksum = hashlib.sha256(content).hexdigest().encode()
        # A full disk must not fail the video. Without its cached page the next run only asks the site once more.
        with contextlib.suppress(OSError):
            self.folder.write(self.name(url), checksum + b"\n" + content)
