"""One download through yt-dlp: the smallest stream that serves, watched while it arrives.

yt-dlp repeats requests, resumes broken files and joins fragments. This module adds the checks that yt-dlp lacks: the
size of a stream that states none, a rate near zero, a file that changed meanwhile, an HTML page instead of the file.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vsumdata.manifests.errors import FailVideo, RetryVideo, SetupError, SkipVideo, ThrottledError
from vsumdata.manifests.select import LIVE
from vsumdata.stages.youtube.errors import RETRY_AFTER_S, Ours, as_ours
from vsumdata.stages.youtube.messages import UNAVAILABLE
from vsumdata.stages.youtube.network import open_ytdlp
from vsumdata.stages.youtube.options import settings
from vsumdata.stages.youtube.session import Session

# CLIP resizes the shorter side to 224 pixels, and that is the width of a portrait video. Larger streams than 360 come
# next, then smaller ones. Sound alone is last: decoding then reports `no_video`, which is the truth about the video.
PICTURE = (
    "bv*[height>=224][height<=360][width>=?224]",
    "bv*[width>=224][width<=360][height>=?224]",
    *(f"bv*[height>=?{side}][width>=?{side}]" for side in (224, 180, 144)),
    "bv*",
    "b*",
)
# YouTube has levelled the loudness of "drc" tracks. A video without sound falls through to its picture, so that the
# transcript can say that there is no sound.
SOUND = ("ba[format_id!*=drc]", "ba", "b", "b*")
# One file for both. A large one is left alone: two small ones take less.
BOTH = (
    "b[height>=?224][height<=?480][width>=?224]",
    "b[width>=?224][width<=?480][height>=?224]",
)
FORMATS = {"picture": "/".join(PICTURE), "sound": "/".join(SOUND), "picture+sound": "/".join(BOTH)}
# `+` makes the smallest stream the best; an unknown size comes last. `lang` puts the original sound before a dub.
ORDERS = {
    "picture": ["+size", "+br", "+res"],
    "sound": ["lang", "+size", "+br"],
    "picture+sound": ["lang", "+size", "+br", "+res"],
}

# yt-dlp waits for a whole block before it calls the progress hook. Small blocks let `Watch` notice a slow host early.
BLOCK_BYTES = 16_384
SLOWEST_BYTES_PER_S = 10_000
SLOW_AFTER_S = 60.0
# Lies beside an unfinished file and says which version of which format it is a part of.
NOTE = "begun.json"


def download(url: str, partial: Path, what: str, session: Session) -> tuple[Path, dict[str, Any]]:
    """Download into `partial`; return the finished file and yt-dlp's info with the chosen format's fields.

    Does one full extraction, unless the last visit was to this video. Resumes what an earlier attempt left in
    `partial` if it is a part of the same file. Raises our errors, and OSError if this machine's disk takes no data.
    """
    import yt_dlp

    context = session.context
    found = session.info(url)
    refuse_live(found, url)
    watch = Watch(partial, int(context.crawl.get("max_media_mb", 500) * 1e6))
    chosen = settings(context, format=FORMATS[what], format_sort=ORDERS[what], **fixed(partial, watch))
    with open_ytdlp(chosen, context.transport) as ydl:
        try:
            # The session has processed this info before. Its private keys (requested formats) belong to that pass.
            info = ydl.process_ie_result(ydl.sanitize_info(found, remove_private_keys=True), download=False)
        except yt_dlp.utils.YoutubeDLError as error:
            raise session.told(as_ours(error, url), url) from error
        refuse_foreign(info, url)
        watch.begin(ydl, info)
        try:
            ydl.process_info(info)
        except yt_dlp.utils.YoutubeDLError as error:
            # A full disk is no fault of the video. It must end the run instead of being tried again.
            if (fault := disk_fault(error)) is not None:
                raise fault from error
            ours = broken_off(error, url)
            if isinstance(ours, RetryVideo):
                # The addresses may have expired.
                session.forget()
            raise ours from error
    path = Path(info.get("filepath") or partial / "none")
    if not path.is_file():
        session.forget()
        raise RetryVideo("transient", RETRY_AFTER_S, "yt-dlp brought no file and did not say why")
    return path, info


def fixed(partial: Path, watch: Watch) -> dict[str, Any]:
    """Return the options that no manifest may change."""
    return {
        "paths": {"home": str(partial)},
        "outtmpl": {"default": "media.%(ext)s"},
        "progress_hooks": [watch.progress],
        "continuedl": True,
        "nopart": False,
        "buffersize": BLOCK_BYTES,
        # By default yt-dlp grows its blocks with the rate.
        "noresizebuffer": True,
        "updatetime": False,
        # A missing fragment would shift the times of all frames after it.
        "skip_unavailable_fragments": False,
        # ffmpeg would download by itself, without our limits of size and rate. Its container repairs help players
        # and change nothing for decoding, so yt-dlp gets no ffmpeg at all.
        "external_downloader": "native",
        "ffmpeg_location": str(partial / "no-ffmpeg"),
        "fixup": "never",
    }


def refuse_live(info: Mapping[str, Any], url: str) -> None:
    # yt-dlp returns a playlist without an error for a URL that leads to several videos.
    if info.get("_type", "video") != "video":
        raise SkipVideo("no_formats", f"{url} is not one video")
    status = info.get("live_status")
    if info.get("is_live") or status in LIVE:
        raise SkipVideo("upcoming" if status == "is_upcoming" else "live", f"{url} is {status or 'live'}")


def refuse_foreign(info: Mapping[str, Any], url: str) -> None:
    # yt-dlp runs rtmpdump for these, which would connect to any address and knows no limit of size or rate.
    if str(info.get("protocol")).startswith("rtmp"):
        raise SkipVideo("no_formats", f"{url} is only streamed by {info['protocol']}")


@dataclass
class Watch:
    """Watch one download, request by request and block by block."""

    partial: Path
    limit_bytes: int
    versions: dict[str, str] = field(default_factory=dict)  # URL -> the version of the file received so far
    format_id: str = ""
    plain: Any = None  # yt-dlp's own urlopen
    since: tuple[float, int] | None = None  # when the rate was last checked, and the bytes received by then

    def begin(self, ydl: Any, info: Mapping[str, Any]) -> None:
        """Start watching: from now on `ydl` requests the media itself."""
        self.format_id = str(info.get("format_id"))
        # Only a plain file can be resumed. The addresses of an HLS or DASH stream's fragments change.
        if info.get("protocol") in ("http", "https"):
            self.versions[info["url"]] = self.begun()
        # yt-dlp resumes any `.part` it finds, so one of another format must go before it looks.
        if not any(self.versions.values()):
            forget(self.partial)
        self.plain, ydl.urlopen = ydl.urlopen, self.urlopen

    def begun(self) -> str:
        """The version of the file that an earlier attempt began; "" if there is none of this format."""
        try:
            note = json.loads((self.partial / NOTE).read_bytes())
        # ValueError: a worker was killed while it wrote the note.
        except (FileNotFoundError, ValueError):
            return ""
        return str(note["version"]) if note.get("format_id") == self.format_id else ""

    def urlopen(self, request: Any) -> Any:
        """Open `request` as yt-dlp does, but start from the first byte if the file is not the one begun here."""
        from yt_dlp.networking import Request
        from yt_dlp.networking.exceptions import HTTPError

        request = Request(request) if isinstance(request, str) else request
        # A stream's manifest or one of its fragments: yt-dlp fetches each of them whole.
        if request.url not in self.versions:
            return self.checked(self.ask(request))
        resumes = not request.headers.get("Range", "bytes=0-").startswith("bytes=0-")
        try:
            response = self.ask(request)
        except HTTPError as error:
            # 416: the part is as long as the file, or longer. Seen after a kill between the last byte and the rename.
            if not resumes or error.status != 416:
                raise
            error.close()
            response = None
        if resumes and (response is None or not version(response) or version(response) != self.versions[request.url]):
            if response is not None:
                response.close()
            # The file changed between two chunks of this download. yt-dlp would append the whole new file to the
            # part of the old one.
            if self.since is not None:
                raise RetryVideo("transient", RETRY_AFTER_S, "the file changed during the download")
            whole = request.copy()
            whole.headers.pop("Range")
            # The answer has no Content-Range, and that makes yt-dlp overwrite its part.
            response = self.ask(whole)
        self.checked(response)
        self.remember(request.url, version(response))
        return response

    def ask(self, request: Any) -> Any:
        from yt_dlp.networking.exceptions import TransportError

        try:
            return self.plain(request)
        except TransportError as error:
            # The address is not public. yt-dlp would try again, and its last error would not say why.
            if isinstance(error.cause, FailVideo):
                raise error.cause from error
            raise

    def remember(self, url: str, found: str) -> None:
        if self.versions[url] != found:
            self.versions[url] = found
            (self.partial / NOTE).write_text(json.dumps({"format_id": self.format_id, "version": found}))

    def checked(self, response: Any) -> Any:
        # A login wall or a captive portal answers 200 with a page, which would be stored as the video.
        if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
            response.close()
            host = urlsplit(response.url).hostname
            raise RetryVideo("transient", RETRY_AFTER_S, f"{host} answered with a page instead of the file")
        return response

    def progress(self, state: Mapping[str, Any]) -> None:
        """Check size and rate; yt-dlp calls it after each block. Raises SkipVideo `too_big`, RetryVideo if slow."""
        received, now = state.get("downloaded_bytes") or 0, time.monotonic()
        # yt-dlp's own `max_filesize` trusts the stated size, and an endless stream states none.
        if max(received, state.get("total_bytes") or 0) > self.limit_bytes:
            raise SkipVideo("too_big", f"more than {self.limit_bytes / 1e6:g} MB")
        if self.since is None:
            self.since = (now, received)
        begun_s, before = self.since
        # The socket's timeout acts only on silence. A few bytes now and then would hold the worker for hours.
        if now - begun_s > SLOW_AFTER_S:
            rate = (received - before) / (now - begun_s)
            if state.get("status") != "finished" and rate < SLOWEST_BYTES_PER_S:
                raise RetryVideo("transient", RETRY_AFTER_S, f"the download is too slow: {rate:.0f} bytes/s")
            self.since = (now, received)


def forget(partial: Path) -> None:
    """Remove what an earlier attempt began. The lock stays, because this worker holds it."""
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def version(response: Any) -> str:
    """Identify a version of a file by its validator and full size; "" if the server gives neither."""
    headers = response.headers
    size = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return " ".join(filter(None, [headers.get("ETag") or headers.get("Last-Modified"), size]))


def broken_off(error: Exception, url: str) -> Ours:
    """Turn an error of the transfer into ours, mostly a RetryVideo."""
    # The video's page was read a moment ago. So a 403 or 404 of its file means an expired address, not a removed video.
    ours = as_ours(error, url)
    if isinstance(ours, ThrottledError | SetupError) or ours.reason in ("no_formats", UNAVAILABLE):
        return ours
    return RetryVideo("transient", RETRY_AFTER_S, ours.detail)


def disk_fault(error: BaseException | None) -> OSError | None:
    """The OSError of a file behind an error of yt-dlp; None if the network failed."""
    from yt_dlp.networking.exceptions import RequestError

    chain: list[BaseException] = []
    while error is not None and error not in chain:
        # Failures of sockets are OSErrors too, and only these classes tell them from failures of the disk.
        if isinstance(error, RequestError | ConnectionError | TimeoutError):
            return None
        chain.append(error)
        wrapped = getattr(error, "exc_info", None)
        inner = wrapped[1] if wrapped else None
        error = inner if inner not in (None, error) else error.__cause__ or error.__context__
    last = chain[-1]
    return last if isinstance(last, OSError) and last.errno is not None else None
