"""Keep a manifest's secrets (passwords, cookies, tokens) out of logs, tables, dataset.json and the terminal."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from vsumdata.stages.stage import Context

HIDDEN = "(hidden)"
SENSITIVE = ("pass", "username", "twofactor", "token", "secret", "netrc_cmd")
HARMLESS_HEADERS = ("accept", "referer", "origin", "user-agent")
# Least lengths in characters. Hiding shorter secrets would garble every text and protect nothing.
SHORTEST = 4
# Parts of a header: cookies are long, words like `path` are not.
SHORTEST_PIECE = 8
# Parts of extractor arguments: tokens are long, names of clients are not.
SHORTEST_ARGUMENT = 16


def masked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Mask yt-dlp's options for dataset.json: show switches and numbers, hide every text."""
    return {key: value if isinstance(value, bool | int | float) else HIDDEN for key, value in options.items()}


def secrets_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the secret texts of yt-dlp's options and of the environment's proxies, the longest first."""
    # yt-dlp takes its proxy from the environment when the options name none.
    found = {text for proxy in getproxies().values() for text in credentials(proxy)}
    for key, value in options.items():
        if "proxy" in key and isinstance(value, str):
            found.update(credentials(value))
        elif key == "http_headers" and isinstance(value, Mapping):
            for name, text in value.items():
                if not str(name).lower().startswith(HARMLESS_HEADERS):
                    found.update({str(text), *pieces(str(text), r"[;\s=]+", SHORTEST_PIECE)})
        elif key == "extractor_args":
            # yt-dlp splits lists of tokens and may send each %-encoded, so its messages show them in either form.
            found.update(form for text in texts(value) for form in pieces(text, r"[,+]", SHORTEST_ARGUMENT))
        elif any(word in key for word in SENSITIVE):
            found.update(texts(value))
    # The longest first: replacing a secret's part before the whole would leave the rest of it readable.
    return tuple(sorted((text for text in found if len(text) >= SHORTEST), key=len, reverse=True))


def secrets_of_run(context: Context) -> tuple[str, ...]:
    """The secret texts of yt-dlp's options, and the keys of endpoints."""
    keys = (endpoint.key for endpoint in context.endpoints.values() if endpoint.key)
    return (*secrets_of(context.crawl.get("yt_dlp") or {}), *keys)


def pieces(text: str, between: str, shortest: int) -> set[str]:
    """Return `text` and its long enough parts, each as it is and %-decoded."""
    parts = [part for part in (text, *re.split(between, text)) if len(part) >= shortest]
    return {form for part in parts for form in (part, unquote(part))}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner)


def credentials(proxy: str) -> Iterator[str]:
    """Yield the user and password of a proxy's URL, as written and %-decoded."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError:
        # Not readable as a URL: then all of it may be secret.
        yield proxy
        return
    userinfo, at, _ = parts.netloc.rpartition("@")
    for text in (userinfo, *userinfo.split(":", 1)) if at else ():
        yield text
        yield unquote(text)


def redact(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


class RedactingFormatter(logging.Formatter):
    """Format a log line, traceback included, without the secrets."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__("%(asctime)s %(name)s %(levelname)s %(message)s")
        self.secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self.secrets)
