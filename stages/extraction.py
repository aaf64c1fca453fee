"""One video after the other through one open YoutubeDL, and what its silence means.

yt-dlp carries on where it can: a request that failed is a warning, and the video has no captions, no streams or
"no player response", as if it were the video's own state. Here such silence is told from the real thing.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from vsumdata.pipeline.errors import RetryVideo, SkipVideo, ThrottledError
from vsumdata.pipeline.stage import Context
from vsumdata.stages.transport import open_ytdlp
from vsumdata.stages.youtube import NO_ANSWER, RETRY_AFTER_S, as_ours, heed, settings, wait_turn

Content = TypeVar("Content")
log = logging.getLogger("vsumdata.yt_dlp")
RENEWED_AFTER = 300  # videos: about what YouTube lets a guest's session see in an hour
NO_PAGE = "unable to download api page"
TEXT_BYTES, TEXT_S = 20_000_000, 60.0  # an hour of json3 captions is some 2 MB
TEXT_PIECE_BYTES = 4096  # a read waits for the whole piece
TROUBLE = (NO_PAGE, "unable to download webpage", "failed to parse json")
PARSING_ERRORS = (AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Remarks:
    """yt-dlp's logger. Keeps the warnings: they tell why a request failed that yt-dlp could do without."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None:
        log.debug(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)
        log.info(message)

    def error(self, message: str) -> None:
        log.info(message)  # it is raised too, and becomes the video's outcome

    def trouble(self) -> str | None:
        """The first remark on a page that could not be had, also after another attempt."""
        return next((text for text in self.warnings if any(words in text.lower() for words in TROUBLE)), None)


class Session:
    """A YoutubeDL that stays open from video to video, so that the player's script is fetched once for all.

    It is opened anew after `RENEWED_AFTER` videos and after every failure but a video's own. Not for threads.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.remarks = Remarks()
        self.opened: list[Any] = []
        self.used = 0
        weakref.finalize(self, close_all, self.opened)  # when its owner goes or the program ends

    def close(self) -> None:
        close_all(self.opened)

    def extract(self, url: str) -> dict[str, Any]:
        """Wait for a turn, then do one full extraction: yt-dlp's info. Raises our errors only."""
        wait_turn(url, self.context)
        if self.used >= RENEWED_AFTER:
            self.close()
        if not self.opened:
            options = settings(self.context, skip_download=True, logger=self.remarks)
            self.opened.append(open_ytdlp(options, self.context.transport))
            self.used = 0
        self.used += 1
        self.remarks.warnings.clear()
        heed(self.opened[0], url)
        return self.closing_on_trouble(self.read, url)

    def text(self, url: str) -> str | None:
        """The text at an address that the last extraction gave; None where the host refuses it."""
        return self.closing_on_trouble(self.read_text, url)

    def closing_on_trouble(self, read: Callable[[Any, str], Content], url: str) -> Content:
        try:
            return read(self.opened[0], url)
        except (RetryVideo, ThrottledError):
            self.close()
            raise

    def read_text(self, ydl: Any, url: str) -> str | None:
        from yt_dlp.networking.exceptions import HTTPError, RequestError

        try:
            with ydl.urlopen(url) as response:
                return read_bounded(response)
        except RequestError as error:
            if isinstance(error, HTTPError):
                error.close()
                if error.status < 500:
                    return None
            raise RetryVideo("transient", RETRY_AFTER_S, str(error)) from error

    def read(self, ydl: Any, url: str) -> dict[str, Any]:
        import yt_dlp

        try:
            # In two steps: what bars a video must raise, but metadata without a stream to choose is welcome.
            ydl.params["ignore_no_formats_error"] = False
            found = ydl.extract_info(url, download=False, process=False)
            if isinstance(found, dict) and found.get("extractor") == "youtube":
                self.check(found)
            ydl.params["ignore_no_formats_error"] = True
            info = ydl.process_ie_result(found, download=False) if found else None
        except yt_dlp.utils.YoutubeDLError as error:
            raise self.told(as_ours(error, url)) from error
        except PARSING_ERRORS as error:  # yt-dlp stumbled over an answer of an unknown kind
            raise RetryVideo("unknown", RETRY_AFTER_S, f"{type(error).__name__} in yt-dlp: {error}") from error
        if not isinstance(info, dict):
            raise RetryVideo("transient", RETRY_AFTER_S, "yt-dlp returned nothing")
        return info

    def check(self, found: dict[str, Any]) -> None:
        """Whether YouTube's answer is about this video, and whole."""
        if found.get("_type", "video") != "video":
            raise SkipVideo("no_formats", "only a trailer of it can be watched")
        streams = [one for one in found.get("formats") or () if one.get("format_note") != "storyboard"]
        trouble = self.remarks.trouble()
        if not streams and trouble:  # captions come with the answer that has the streams
            raise RetryVideo("transient", RETRY_AFTER_S, trouble)

    def told(self, error: SkipVideo | RetryVideo | ThrottledError) -> SkipVideo | RetryVideo | ThrottledError:
        """`error`, or what is behind it: where pages could not be had, nothing is known of the video."""
        detail = str(error).lower()
        trouble = self.remarks.trouble() if NO_ANSWER in detail else error.detail if NO_PAGE in detail else None
        return RetryVideo("transient", RETRY_AFTER_S, trouble) if trouble and isinstance(error, SkipVideo) else error


def read_bounded(response: Any) -> str | None:
    """A response's text; None where it is endless or comes in drips."""
    body, until_s = bytearray(), time.monotonic() + TEXT_S
    while piece := response.read(TEXT_PIECE_BYTES):
        body += piece
        if len(body) > TEXT_BYTES or time.monotonic() > until_s:
            return None
    return body.decode("utf-8", "replace")


def close_all(opened: list[Any]) -> None:
    while opened:
        opened.pop().close()
