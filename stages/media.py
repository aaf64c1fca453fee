"""Bring a video's media to this machine: one's own file where it lies, else the smallest download that serves."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsumdata.pipeline.errors import FailVideo, RetryVideo, SkipVideo
from vsumdata.pipeline.stage import Context, Function, Row
from vsumdata.stages.transcripts import from_captions
from vsumdata.stages.transport import open_ytdlp
from vsumdata.stages.youtube import RETRY_AFTER_S, as_ours, settings, wait_turn

# CLIP looks at 224 pixels, so the smallest picture of at least that height serves.
FORMATS = {
    "picture": "wv*[height>=224][height<=360]/wv*[height>=224]/bv*/b",
    "sound": "wa/wa*/w",
}


def fetch_picture(options: Mapping[str, Any], context: Context) -> Function:
    """Adds `media`, the path of a file with the video's picture."""

    def fetch(row: Row) -> Row:
        return row | obtain(row, "picture", context)

    return fetch


def fetch_sound(options: Mapping[str, Any], context: Context) -> Function:
    """Adds `media`, the path of a file with the video's sound, where its captions do not serve."""

    def fetch(row: Row) -> Row:
        if from_captions(row["videos"], options["languages"])[0] is not None:
            return row
        return row | obtain(row, "sound", context)

    return fetch


def obtain(row: Row, what: str, context: Context) -> Row:
    """`media` and, for a download that is not kept, `cleanup`."""
    own = row["source"]["video"]
    if own:
        if not Path(own).exists():
            raise FailVideo("file_missing", own)
        return {"media": own}
    kept = context.crawl.get("keep_media", False)
    folder = context.media_dir(row["video_id"])
    path = finished(folder, what) if kept else None
    if path is None:
        try:
            path = download(row["videos"]["url"], folder, what, context)
        finally:
            if path is None and not kept:
                shutil.rmtree(folder, ignore_errors=True)
    return {"media": str(path)} | ({} if kept else {"cleanup": [str(path)]})


def finished(folder: Path, what: str) -> Path | None:
    """A download that is complete (yt-dlp renames its `.part` at the end)."""
    found = [path for path in folder.glob(f"{what}.*") if path.suffix not in {".part", ".ytdl"}]
    return found[0] if found else None


def download(url: str, folder: Path, what: str, context: Context) -> Path:
    import yt_dlp

    too_big: list[str] = []
    limit_bytes = int(context.crawl.get("max_media_mb", 500) * 1e6)

    def watch(progress: Mapping[str, Any]) -> None:
        if (progress.get("downloaded_bytes") or 0) > limit_bytes:
            too_big.append(f"more than {limit_bytes / 1e6:g} MB")
            raise yt_dlp.utils.DownloadCancelled(too_big[0])

    options = settings(
        context,
        format=FORMATS[what],
        paths={"home": str(folder)},
        outtmpl={"default": f"{what}.%(ext)s"},
        max_filesize=limit_bytes,
        progress_hooks=[watch],
        ignore_no_formats_error=False,
    )
    wait_turn(url, context)
    with open_ytdlp(options, context.transport) as ydl:
        try:
            ydl.extract_info(url, download=True)
        except yt_dlp.utils.DownloadCancelled as error:
            raise SkipVideo("too_big", str(error)) from error
        except yt_dlp.utils.YoutubeDLError as error:
            if isinstance(cause := root_cause(error), OSError) and cause.errno is not None and not is_network(cause):
                raise cause from error
            raise as_ours(error, url) from error
    path = finished(folder, what)
    if path is None:
        # yt-dlp only remarks on a file above max_filesize.
        partial = any(folder.glob("*.part"))
        if partial:
            raise RetryVideo("transient", RETRY_AFTER_S, "the download did not finish")
        raise SkipVideo("too_big", f"more than {limit_bytes / 1e6:g} MB")
    return path


def root_cause(error: BaseException) -> BaseException:
    """What is behind a DownloadError: `exc_info[1]`, then its causes."""
    while True:
        info = getattr(error, "exc_info", None)
        inner = info[1] if info and info[1] is not error else error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner


def is_network(error: OSError) -> bool:
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__ not in {"builtins"}
