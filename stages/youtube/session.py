"""Read one video after the other through one open YoutubeDL, and notice what it does not report.

yt-dlp continues where it can. A failed request becomes a warning, and the video then seems to have no captions, no
streams or "no player response". This module tells such failures from the real state of the video.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vsumdata.manifests.errors import FailVideo, RetryVideo, SetupError, SkipVideo, ThrottledError
from vsumdata.manifests.select import LIVE
from vsumdata.stages.stage import Context
from vsumdata.stages.youtube.errors import (
    RETRY_AFTER_S,
    SETUP_AFTER_S,
    UNKNOWN_AFTER_S,
    Ours,
    as_ours,
    host_of,
    retry_after_s,
)
from vsumdata.stages.youtube.messages import NO_ANSWER, REMEDIES, UNAVAILABLE, classify
from vsumdata.stages.youtube.network import open_ytdlp
from vsumdata.stages.youtube.options import settings
from vsumdata.stages.youtube.runtime import keep_from_home

Content = TypeVar("Content")
log = logging.getLogger("vsumdata.yt_dlp")
# In videos. YouTube lets a guest session see about 300 an hour.
RENEWED_AFTER = 300
# YouTube's addresses of streams expire after six hours.
ADDRESSES_LIVE_S = 3600.0
NO_PAGE = "unable to download api page"
# An hour of json3 captions is about 2 MB. A host that streams without end must not fill the worker's memory.
TEXT_BYTES, TEXT_S = 20_000_000, 60.0
# A read blocks until the whole piece is there, so small pieces let the time limit act early.
TEXT_PIECE_BYTES = 4096
# "Download of" the player's script: without it no challenge is solved, which says nothing of the runtime.
TROUBLE = (NO_PAGE, "unable to download webpage", "failed to parse json", "download of ")
YOUTUBE = frozenset({"youtube.com", "youtu.be"})
# What yt-dlp's extractors raise on an answer in an unexpected form. yt-dlp does not wrap these in its own error.
PARSING_ERRORS = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Remarks:
    """A logger for yt-dlp that keeps the warnings: they say why an optional request failed, or streams are missing.

    `lasting` are those that yt-dlp gives once and not for each video.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.lasting: list[str] = []

    def debug(self, message: str) -> None:
        log.debug(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)
        if classify(message) == "runtime":
            self.lasting = [message]
        log.info(message)

    def error(self, message: str) -> None:
        # No more than info: yt-dlp raises the same error, and it becomes the video's outcome.
        log.info(message)

    def trouble(self) -> str | None:
        """The first warning about a page that could not be fetched or read; None without one."""
        return next((text for text in self.warnings if any(words in text.lower() for words in TROUBLE)), None)

    def blamed(self) -> tuple[str, str]:
        """Why no streams came, as a key of `REMEDIES`, and the warning that says so."""
        said = {classify(text): text for text in reversed(self.warnings + self.lasting)}
        # Without a runtime no challenge is solved: the cause goes before what came of it.
        kind = next((kind for kind in REMEDIES if kind in said), "streams")
        return kind, said.get(kind, "")


class Session:
    """A YoutubeDL that stays open for many videos, so that it fetches the player's script once.

    It is opened again after `RENEWED_AFTER` videos and after every failure that is not the video's own. Not
    thread-safe.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.remarks = Remarks()
        self.opened: list[Any] = []
        self.used = 0
        self.latest: tuple[str, float, dict[str, Any]] | None = None
        # Whether the latest video of YouTube came with streams, and whether any has: then this client is let in.
        self.has_streams = self.is_proven = False
        # Whether the last one came without, and that was let pass, see `media.bring_ahead`.
        self.is_suspect = False
        # Nobody closes a stage's function. Without this, sockets would stay open and new cookies would not be saved.
        # `opened` is a list because a finalizer must not refer to `self`.
        weakref.finalize(self, close_all, self.opened)

    def close(self) -> None:
        close_all(self.opened)

    def info(self, url: str) -> dict[str, Any]:
        """Return what the last visit found if it was to this URL and its addresses still live, else `extract`."""
        if self.latest is not None and self.latest[0] == url and time.monotonic() - self.latest[1] < ADDRESSES_LIVE_S:
            return self.latest[2]
        found = self.extract(url)
        self.latest = (url, time.monotonic(), found)
        return found

    def forget(self) -> None:
        """Let the next `info` visit the video again."""
        self.latest = None

    def extract(self, url: str) -> dict[str, Any]:
        """Wait for a turn, do one full extraction and return yt-dlp's info. Raises our errors only."""
        wait_turn(url, self.context)
        if self.used >= RENEWED_AFTER:
            self.close()
        if not self.opened:
            keep_from_home(Path(self.context.scratch))
            options = settings(self.context, skip_download=True, logger=self.remarks)
            self.opened.append(open_ytdlp(options, self.context.transport))
            self.used = 0
        self.used += 1
        self.remarks.warnings.clear()
        self.has_streams = False
        heed(self.opened[0], url)
        return self.closing_on_trouble(self.read, url)

    def body(self, url: str) -> bytes | None:
        """Return what is at a URL that the last extraction gave; None if the host refuses it."""
        return self.closing_on_trouble(self.read_body, url)

    def closing_on_trouble(self, read: Callable[[Any, str], Content], url: str) -> Content:
        try:
            return read(self.opened[0], url)
        # The host may have blocked this very session, so the next attempt opens a new one.
        except (RetryVideo, ThrottledError):
            self.close()
            # Its answer is of no use without it: captions are read through the session that gave their address.
            self.forget()
            raise

    def read_body(self, ydl: Any, url: str) -> bytes | None:
        from yt_dlp.networking.exceptions import HTTPError, RequestError

        try:
            with ydl.urlopen(url) as response:
                return read_bounded(response)
        except RequestError as error:
            if isinstance(error, HTTPError):
                error.close()
                # Refused for good (an expired URL, a missing PO token): Whisper takes over.
                if error.status < 500:
                    return None
            # A page gave an address that is not public for its captions.
            if isinstance(as_ours(error, url), FailVideo):
                return None
            raise RetryVideo("transient", RETRY_AFTER_S, str(error)) from error

    def read(self, ydl: Any, url: str) -> dict[str, Any]:
        import yt_dlp

        try:
            # In two steps. In the first a private or removed video must raise. In the second a video without
            # streams must not: its metadata is what we want.
            ydl.params["ignore_no_formats_error"] = False
            found = ydl.extract_info(url, download=False, process=False)
            if isinstance(found, dict) and found.get("extractor") == "youtube":
                self.check(found)
            ydl.params["ignore_no_formats_error"] = True
            info = ydl.process_ie_result(found, download=False) if found else None
        except yt_dlp.utils.YoutubeDLError as error:
            raise self.told(as_ours(error, url), url) from error
        except PARSING_ERRORS as error:  # yt-dlp stumbled over an answer of an unknown kind
            raise RetryVideo("unknown", UNKNOWN_AFTER_S, f"{type(error).__name__} in yt-dlp: {error}") from error
        if not isinstance(info, dict):
            raise RetryVideo("transient", RETRY_AFTER_S, "yt-dlp returned nothing")
        return info

    def check(self, found: dict[str, Any]) -> None:
        """Raise if YouTube's answer is about another video, or incomplete."""
        # For a paid video yt-dlp returns a link to its trailer, which is another video.
        if found.get("_type", "video") != "video":
            raise SkipVideo("no_formats", "only a trailer of it can be watched")
        # Storyboards are sheets of preview pictures. They do not show that the request for streams succeeded.
        self.has_streams = any(one.get("format_note") != "storyboard" for one in found.get("formats") or ())
        self.is_proven |= self.has_streams
        if self.has_streams:
            self.is_suspect = False
            return
        # The answer with the streams also has the captions: without it, "no captions" would be stored as a fact.
        if (trouble := self.remarks.trouble()) is not None:
            raise RetryVideo("transient", RETRY_AFTER_S, trouble)
        if found.get("live_status") not in LIVE:
            raise self.without_streams(f"{found.get('id')}: no streams")

    def told(self, error: Ours, url: str) -> Ours:
        """Return `error`, or what the warnings say is behind it: pages that failed, or a client that is not let in."""
        if isinstance(error, ThrottledError | SetupError):
            return error
        trouble = None
        # "No player response" means that the id does not exist, except where a warning shows a failed request.
        if classify(error.detail) == NO_ANSWER or error.reason == "no_formats":
            trouble = self.remarks.trouble()
        elif isinstance(error, SkipVideo) and NO_PAGE in error.detail.lower():
            trouble = error.detail
        if trouble is not None:
            return RetryVideo("transient", RETRY_AFTER_S, trouble)
        if error.reason != "no_formats" or host_of(url) not in YOUTUBE:
            return error
        is_encrypted = "drm" in error.detail.lower()
        # The video's own state: none of its streams is what was asked for, or all are encrypted, where no warning says
        # that this client gets all videos so.
        if (self.has_streams and not is_encrypted) or (is_encrypted and self.remarks.blamed()[0] != "drm"):
            return error
        return self.without_streams(error.detail)

    def without_streams(self, detail: str) -> Ours:
        """The error of a video of YouTube that came without streams: YouTube does not let this client in.

        Where it has let it in for another video, this one is tried again: one odd video must not end every run.
        """
        kind, said = self.remarks.blamed()
        why = f"{detail}: {REMEDIES[kind]}" + (f" (yt-dlp: {' '.join(said.split())[:200]})" if said else "")
        if self.is_proven:
            return RetryVideo(UNAVAILABLE, SETUP_AFTER_S, why, is_counted=False)
        return SetupError(why)


def read_bounded(response: Any) -> bytes | None:
    """Return a response's bytes; None if it exceeds `TEXT_BYTES` or takes longer than `TEXT_S`."""
    body, until_s = bytearray(), time.monotonic() + TEXT_S
    while piece := response.read(TEXT_PIECE_BYTES):
        body += piece
        if len(body) > TEXT_BYTES or time.monotonic() > until_s:
            return None
    return bytes(body)


def close_all(opened: list[Any]) -> None:
    while opened:
        opened.pop().close()


def wait_turn(url: str, context: Context) -> None:
    if context.pace is not None:
        context.pace(host_of(url))


def heed(ydl: Any, url: str) -> None:
    """Raise ThrottledError for the host of `url` at the first 429 that any request of `ydl` receives."""
    from yt_dlp.networking.exceptions import HTTPError

    # yt-dlp turns most 429s into a warning, sends further requests to a host that has just refused, and in the
    # end reports the video as unavailable.
    ask = type(ydl).urlopen

    def urlopen(request: Any) -> Any:
        try:
            return ask(ydl, request)
        except HTTPError as error:
            if error.status != 429:
                raise
            error.close()
            raise ThrottledError(host_of(url), str(error), retry_after_s(error)) from error

    ydl.urlopen = urlopen
