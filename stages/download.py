"""One download through yt-dlp: the smallest stream that serves, watched while it comes.

yt-dlp repeats, goes on where a file broke off and joins fragments. Added here is what it does not look at: the size
of a stream that states none, a rate that hardly moves, a file that changed in between, a page that comes instead.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vsumdata.pipeline.errors import FailVideo, RetryVideo, SkipVideo, ThrottledError
from vsumdata.stages.extraction import Session
from vsumdata.stages.select import LIVE
from vsumdata.stages.transport import open_ytdlp
from vsumdata.stages.web_session import check_public
from vsumdata.stages.youtube import RETRY_AFTER_S, as_ours, settings

# CLIP resizes the shorter side to 224 pixels: that is a portrait video's width. What is larger than 360 comes next,
# then what is smaller, and at last sound alone, of which decoding says that it has no picture.
PICTURE = (
    "bv*[height>=224][height<=360][width>=?224]",
    "bv*[width>=224][width<=360][height>=?224]",
    *(f"bv*[height>=?{side}][width>=?{side}]" for side in (224, 180, 144)),
    "bv*",
    "b*",
)
# "drc" has its loudness levelled by YouTube. Where there is no sound at all a picture says so.
SOUND = ("ba[format_id!*=drc]", "ba", "b", "b*")
FORMATS = {"picture": "/".join(PICTURE), "sound": "/".join(SOUND)}
# The best of this order is the smallest; an unknown size comes last. `lang`: the original's sound before a dub's.
ORDERS = {"picture": ["+size", "+br", "+res"], "sound": ["lang", "+size", "+br"]}

BLOCK_BYTES = 16_384  # a block is waited for in full: it bounds how late a drip is noticed
SLOWEST_BYTES_PER_S = 10_000
SLOW_AFTER_S = 60.0
NOTE = "begun.json"  # beside a file that is only begun: what it is a part of


def download(url: str, partial: Path, what: str, session: Session) -> tuple[Path, dict[str, Any]]:
    """The finished file in `partial`, and yt-dlp's info of it with the chosen format's fields. One full extraction.

    What an earlier attempt left in `partial` is gone on with where it is a part of the same file. Raises our errors,
    and OSError where this machine's disk takes no data.
    """
    import yt_dlp

    context = session.context
    found = session.extract(url)
    refuse_live(found, url)
    watch = Watch(partial, int(context.crawl.get("max_media_mb", 500) * 1e6), frozenset(context.transport))
    chosen = settings(context, format=FORMATS[what], format_sort=ORDERS[what], **fixed(partial, watch))
    with open_ytdlp(chosen, context.transport) as ydl:
        try:
            info = ydl.process_ie_result(ydl.sanitize_info(found, remove_private_keys=True), download=False)
        except yt_dlp.utils.YoutubeDLError as error:
            raise as_ours(error, url) from error
        watch.begin(ydl, info)
        try:
            ydl.process_info(info)
        except yt_dlp.utils.YoutubeDLError as error:
            if (fault := disk_fault(error)) is not None:
                raise fault from error
            raise broken_off(error, url) from error
    path = Path(info.get("filepath") or partial / "none")
    if not path.is_file():
        raise RetryVideo("transient", RETRY_AFTER_S, "yt-dlp brought no file and did not say why")
    return path, info


def fixed(partial: Path, watch: Watch) -> dict[str, Any]:
    """The options that no manifest changes."""
    return {
        "paths": {"home": str(partial)},
        "outtmpl": {"default": "media.%(ext)s"},
        "progress_hooks": [watch.progress],
        "continuedl": True,
        "nopart": False,
        "buffersize": BLOCK_BYTES,
        "noresizebuffer": True,
        "updatetime": False,
        "skip_unavailable_fragments": False,  # a hole would shift the frames after it
        # ffmpeg would fetch by itself, without our limits; what it repairs for players does not matter here.
        "external_downloader": "native",
        "ffmpeg_location": str(partial / "no-ffmpeg"),
        "fixup": "never",
    }


def refuse_live(info: Mapping[str, Any], url: str) -> None:
    if info.get("_type", "video") != "video":
        raise SkipVideo("no_formats", f"{url} is not one video")
    status = info.get("live_status")
    if info.get("is_live") or status in LIVE:
        raise SkipVideo("upcoming" if status == "is_upcoming" else "live", f"{url} is {status or 'live'}")


@dataclass
class Watch:
    """Looks on while one file comes."""

    partial: Path
    limit_bytes: int
    local: frozenset[str]  # hosts of the transport
    versions: dict[str, str] = field(default_factory=dict)  # URL -> which version of its file has come so far
    format_id: str = ""
    plain: Any = None  # yt-dlp's own urlopen
    since: tuple[float, int] | None = None  # when the rate was last looked at, and how many bytes had come

    def begin(self, ydl: Any, info: Mapping[str, Any]) -> None:
        """From now on what `ydl` asks for is the media."""
        self.format_id = str(info.get("format_id"))
        if info.get("protocol") in ("http", "https"):
            self.versions[info["url"]] = self.begun()
        if not any(self.versions.values()):
            forget(self.partial)
        self.plain, ydl.urlopen = ydl.urlopen, self.urlopen

    def begun(self) -> str:
        """The version of the file of which an earlier attempt left a part; "" where none of this format lies here."""
        try:
            note = json.loads((self.partial / NOTE).read_bytes())
        except (FileNotFoundError, ValueError):  # ValueError: written half
            return ""
        return str(note["version"]) if note.get("format_id") == self.format_id else ""

    def urlopen(self, request: Any) -> Any:
        """yt-dlp's, but a file that is another one than what lies here comes from its beginning."""
        from yt_dlp.networking import Request
        from yt_dlp.networking.exceptions import HTTPError

        request = Request(request) if isinstance(request, str) else request
        if request.url not in self.versions:  # a manifest, a fragment
            return self.checked(self.plain(request), request.url)
        goes_on = not request.headers.get("Range", "bytes=0-").startswith("bytes=0-")
        try:
            response = self.plain(request)
        except HTTPError as error:
            if not goes_on or error.status != 416:
                raise
            error.close()
            response = None  # the part is longer than the file
        if goes_on and (response is None or not version(response) or version(response) != self.versions[request.url]):
            if response is not None:
                response.close()
            if self.since is not None:  # between two chunks yt-dlp would write the whole file behind the first one
                raise RetryVideo("transient", RETRY_AFTER_S, "the file changed while it came")
            whole = request.copy()
            whole.headers.pop("Range")
            response = self.plain(whole)  # without a Content-Range yt-dlp begins anew
        self.checked(response, request.url)
        self.remember(request.url, version(response))
        return response

    def remember(self, url: str, found: str) -> None:
        if self.versions[url] != found:
            self.versions[url] = found
            (self.partial / NOTE).write_text(json.dumps({"format_id": self.format_id, "version": found}))

    def checked(self, response: Any, asked: str) -> Any:
        host = urlsplit(response.url).hostname or ""
        try:
            if host != urlsplit(asked).hostname and host not in self.local:
                refuse_private(host)
            if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
                raise RetryVideo("transient", RETRY_AFTER_S, f"{host} answered with a page instead of the file")
        except (RetryVideo, FailVideo):
            response.close()
            raise
        return response

    def progress(self, state: Mapping[str, Any]) -> None:
        """Called by yt-dlp after each block. Raises SkipVideo `too_big`, RetryVideo for a drip."""
        come, now = state.get("downloaded_bytes") or 0, time.monotonic()
        if max(come, state.get("total_bytes") or 0) > self.limit_bytes:
            raise SkipVideo("too_big", f"more than {self.limit_bytes / 1e6:g} MB")
        if self.since is None:
            self.since = (now, come)
        begun_s, before = self.since
        if now - begun_s > SLOW_AFTER_S:
            rate = (come - before) / (now - begun_s)
            if state.get("status") != "finished" and rate < SLOWEST_BYTES_PER_S:
                raise RetryVideo("transient", RETRY_AFTER_S, f"only {rate:.0f} bytes/s came")
            self.since = (now, come)


def forget(partial: Path) -> None:
    """Remove what an earlier attempt began; the lock stays."""
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def version(response: Any) -> str:
    """What tells a file from its next version: validator and whole size; "" where the server gives neither."""
    headers = response.headers
    size = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return " ".join(filter(None, [headers.get("ETag") or headers.get("Last-Modified"), size]))


def refuse_private(host: str) -> None:
    """A site must not lead to what only this machine reaches. Behind a proxy it may not know the host: no matter."""
    with contextlib.suppress(socket.gaierror):
        for *_, address in socket.getaddrinfo(host, None):
            check_public(host, str(address[0]))


def broken_off(error: Exception, url: str) -> SkipVideo | RetryVideo | ThrottledError:
    """An error of the transfer: the page was read a moment ago, so a file that is refused or gone may come back."""
    ours = as_ours(error, url)
    if isinstance(ours, ThrottledError) or ours.reason == "no_formats":
        return ours
    return RetryVideo("transient", RETRY_AFTER_S, ours.detail)


def disk_fault(error: BaseException | None) -> OSError | None:
    """The OSError of a file behind an error of yt-dlp; behind a failed request it is the network's."""
    from yt_dlp.networking.exceptions import RequestError

    chain: list[BaseException] = []
    while error is not None and error not in chain:
        if isinstance(error, RequestError | ConnectionError | TimeoutError):
            return None
        chain.append(error)
        wrapped = getattr(error, "exc_info", None)
        inner = wrapped[1] if wrapped else None
        error = inner if inner not in (None, error) else error.__cause__ or error.__context__
    last = chain[-1]
    return last if isinstance(last, OSError) and last.errno is not None else None
