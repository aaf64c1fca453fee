"""Bring a video's media to this machine: one's own file where it lies, else the smallest download that serves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vsumdata.pipeline.errors import FailVideo, SkipVideo
from vsumdata.pipeline.stage import Context, Function, Row, make_folder
from vsumdata.stages.download import NOTE, download
from vsumdata.stages.extraction import Session
from vsumdata.stages.probe import MediaInfo, probe
from vsumdata.stages.transcripts import from_captions

SMALLEST_SIDE = 224  # pixels


def fetch_picture(options: Mapping[str, Any], context: Context) -> Function:
    """Adds `media`, the path of a file with the video's picture."""

    session = Session(context)

    def fetch(row: Row) -> Row:
        return row | obtain(row, "picture", session)

    return fetch


def fetch_sound(options: Mapping[str, Any], context: Context) -> Function:
    """Adds `media`, the path of a file with the video's sound, where its captions do not serve."""

    session = Session(context)

    def fetch(row: Row) -> Row:
        if from_captions(row["videos"], options["languages"])[0] is not None:
            return row
        return row | obtain(row, "sound", session)

    return fetch


def obtain(row: Row, what: str, session: Session) -> Row:
    """`media` and, for a download that is not kept, `cleanup`."""
    own = row["source"]["video"]
    if own:
        if not Path(own).exists():
            raise FailVideo("file_missing", own)
        return {"media": own}
    context = session.context
    folder = context.media_dir(row["video_id"])
    kept = context.crawl.get("keep_media", False) and "://" not in context.root  # as `media_dir` decides
    path = bring(row["videos"]["url"], folder, what, session, resumable=kept)
    return {"media": str(path)} | ({} if kept else {"cleanup": [str(path), str(folder)]})


def bring(url: str, folder: Path, what: str, session: Session, *, resumable: bool) -> Path:
    """The finished file: the one that lies in `folder`, else downloaded; under a lock, so that one of two fetches it.

    A download that broke off stays in `folder/<what>.partial` where it is `resumable`; else nothing stays.
    """
    partial = folder / f"{what}.partial"
    with locked(partial):
        try:
            return finished(folder, what) or finish(*download(url, partial, what, session), what)
        except (SkipVideo, FailVideo):
            resumable = False
            raise
        finally:
            if not (resumable and (partial / NOTE).exists() and list(partial.glob("*.part"))):
                shutil.rmtree(partial, ignore_errors=True)
                with contextlib.suppress(OSError):  # not empty: what else is kept of the video
                    folder.rmdir()


def finished(folder: Path, what: str) -> Path | None:
    """A whole download whose name says that it serves: `picture.webm`, `picture+sound.mp4`."""
    return next((path for path in folder.glob("*.*") if path.is_file() and what in path.stem.split("+")), None)


def finish(path: Path, info: Mapping[str, Any], what: str) -> Path:
    """Give a download its name, once it is seen to be media. Raises FailVideo `unreadable`."""
    serves = {what} | also_serves(info, probe(path))
    return path.replace(path.parent.parent / f"{'+'.join(sorted(serves))}{path.suffix}")


def also_serves(info: Mapping[str, Any], found: MediaInfo) -> set[str]:
    """What else is in a file; sound only in the original language, as far as the site tells."""
    serves = set()
    languages = [f.get("language_preference") or -1 for f in info.get("formats") or () if f.get("acodec") != "none"]
    if found.audio and (info.get("language_preference") or -1) >= max(languages, default=-1):
        serves.add("sound")
    if found.best_video and min(found.best_video.shown_size) >= SMALLEST_SIDE:
        serves.add("picture")
    return serves


@contextlib.contextmanager
def locked(partial: Path) -> Iterator[None]:
    """Make the folder and hold `lock` in it. Whoever held it before may have removed the folder: then again."""
    while True:
        make_folder(partial)
        try:
            lock = (partial / "lock").open("a")
        except FileNotFoundError:
            continue
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                is_there = os.path.samestat(os.fstat(lock.fileno()), os.stat(partial / "lock"))
            except FileNotFoundError:
                continue
            if is_there:
                yield
                return
