"""Get a video's media: the user's own file where it lies, else the smallest download that serves."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vsumdata.manifests.errors import FailVideo, RetryVideo, SetupError, SkipVideo, VideoError
from vsumdata.manifests.store import Store
from vsumdata.stages.pictures.probe import MediaInfo, probe
from vsumdata.stages.stage import PICTURE, SOUND, Context, Function, Row, make_folder, safe_name
from vsumdata.stages.transcripts import from_captions, read_track, settings_of
from vsumdata.stages.youtube.download import NOTE, download
from vsumdata.stages.youtube.errors import SETUP_AFTER_S
from vsumdata.stages.youtube.messages import UNAVAILABLE
from vsumdata.stages.youtube.session import Session

BOTH = f"{PICTURE}+{SOUND}"
# The folder of the errors of visits, in the run's temporary folder.
REFUSED = "refused"
# In pixels. CLIP's input; a smaller picture would be enlarged.
SMALLEST_SIDE = 224


def fetch_picture(options: Mapping[str, Any], context: Context) -> Function:
    """Return a function that adds `media`, the path of a file with the video's picture."""

    session = Session(context)

    def fetch(row: Row) -> Row:
        return row | obtain(row, PICTURE, session)

    return fetch


def fetch_sound(options: Mapping[str, Any], context: Context) -> Function:
    """Return a function that adds `media`, the path of a file with the video's sound, unless its captions serve.

    Where there is no sound to be had, captions that are not clean are better than nothing: `no_media` says why.
    """

    session, settings = Session(context), settings_of(options)

    def fetch(row: Row) -> Row:
        track = read_track(row["videos"], settings)
        if track.is_taken:
            return row
        try:
            return row | obtain(row, SOUND, session)
        except (SkipVideo, FailVideo) as error:
            if not track.is_spare:
                raise
            return row | {"no_media": str(error)}

    return fetch


def fetch_all_sound(options: Mapping[str, Any], context: Context) -> Function:
    """Return a function that adds `media`, the path of a file with the video's sound, whatever its captions are."""

    session = Session(context)

    def fetch(row: Row) -> Row:
        return row | obtain(row, SOUND, session)

    return fetch


def fetch_ahead(options: Mapping[str, Any], context: Context) -> Function:
    """Return a function that brings what the row's task needs, for the stages that come after."""

    session, settings = Session(context), settings_of(options)

    def fetch(row: Row) -> Row:
        needed = row["task"].media
        # A visit costs one of some 300 an hour, and captions need no sound.
        if not context.hears_all and from_captions(row["videos"], options["languages"], settings)[0] is not None:
            needed -= {SOUND}
        bring_ahead(row["video_id"], row["videos"]["url"], needed, session)
        return row

    return fetch


def obtain(row: Row, what: str, session: Session) -> Row:
    """Return `media`, the path of a file with `what` (`picture` or `sound`).

    Raises FailVideo `file_missing` for a user's file, and what `bring` raises, now or earlier in `bring_ahead`.
    """
    own = row["source"]["video"]
    if own:
        if not os.path.exists(own):
            raise FailVideo("file_missing", own)
        return {"media": own}
    context = session.context
    raise_noted(row["video_id"], what, context)
    folder = context.media_dir(row["video_id"])
    path = bring(row["videos"]["url"], folder, frozenset({what}), session, resumable=context.keeps_media)[what]
    return {"media": str(path)}


def bring_ahead(video_id: str, url: str, needed: frozenset[str], session: Session) -> None:
    """Bring media in one visit; the stage that needs what could not be had raises the error later, by `obtain`."""
    context = session.context
    for what in sorted(needed):
        folder = context.media_dir(video_id)
        try:
            # With the first all that is needed, so that one file may serve for all.
            wanted = needed if what == min(needed) else frozenset({what})
            bring(url, folder, wanted, session, resumable=context.keeps_media)
        except (RetryVideo, FailVideo) as error:
            # The network failed, or what came is no media. Another download right now would most likely fail, too.
            for missing in sorted(what for what in needed if finished(folder, what) is None):
                note(video_id, missing, error, context)
            return
        except VideoError as error:
            note(video_id, what, error, context)
        except SetupError as error:
            # A visit stores nothing, so one odd video would end each run. The second in a row tells of the client.
            if session.is_suspect:
                raise
            session.is_suspect = True
            put_off = RetryVideo(UNAVAILABLE, SETUP_AFTER_S, str(error), is_counted=False)
            for missing in sorted(what for what in needed if finished(folder, what) is None):
                note(video_id, missing, put_off, context)
            return


def note(video_id: str, what: str, error: VideoError, context: Context) -> None:
    """Keep the error of a visit for the stage that needs the file."""
    path = noted(video_id, what, context)
    make_folder(path.parent)
    path.write_bytes(pickle.dumps(error))


def raise_noted(video_id: str, what: str, context: Context) -> None:
    """Raise the error of the visit that was to bring `what`, once: the next try visits the video again."""
    path = noted(video_id, what, context)
    try:
        error = pickle.loads(path.read_bytes())
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)
    error.is_noted = True
    raise error


def noted(video_id: str, what: str, context: Context) -> Path:
    return Path(context.scratch) / REFUSED / f"{safe_name(video_id)}.{what}"


def bring(url: str, folder: Path, needed: frozenset[str], session: Session, *, resumable: bool) -> dict[str, Path]:
    """Return the finished files in `folder` by what they serve for; download those that are not there, in one visit.

    An interrupted download stays in `folder/<what>.partial` if it is `resumable`; otherwise nothing stays. Raises
    what `download` raises, and FailVideo `unreadable`.
    """
    if {PICTURE, SOUND} <= needed and not any(finished(folder, what) for what in needed):
        # No such format, or too large a one: then two files serve.
        with contextlib.suppress(SkipVideo):
            bring_one(url, folder, BOTH, session, resumable=resumable)
    return {what: bring_one(url, folder, what, session, resumable=resumable) for what in sorted(needed)}


def bring_one(url: str, folder: Path, what: str, session: Session, *, resumable: bool) -> Path:
    """Return one finished file; download it if it is not there."""
    partial = folder / f"{what}.partial"
    # A lock, because two runs may want the same file. The second finds it finished.
    with locked(partial):
        try:
            if found := finished(folder, what) or from_store(folder, what, session.context):
                return found
            made = finish(*download(url, partial, what, session), what)
            to_store(made, session.context)
            return made
        except (SkipVideo, FailVideo):
            # The outcome is final, so nobody will resume it.
            resumable = False
            raise
        finally:
            # Only a part that the note identifies can be resumed. Others would fill the disk.
            if not (resumable and (partial / NOTE).exists() and list(partial.glob("*.part"))):
                shutil.rmtree(partial, ignore_errors=True)
                # Not empty: it holds another file of the video.
                with contextlib.suppress(OSError):
                    folder.rmdir()


@functools.cache
def store_at(root: str) -> Store:
    return Store(root)


def from_store(folder: Path, what: str, context: Context) -> Path | None:
    """Fetch a download that an earlier run has kept on an object store; None if there is none."""
    if not context.keeps_copies:
        return None
    store = store_at(context.root)
    assert store.objects is not None
    for kept in store.objects.below(f"{store.base}/media/{folder.name}"):
        name = kept.path.rpartition("/")[2]
        if serves(name, what):
            part = folder / f".{name}.part"
            part.write_bytes(store.content(kept.path))
            return part.rename(folder / name)
    return None


def to_store(made: Path, context: Context) -> None:
    """Keep a download on an object store."""
    if context.keeps_copies:
        store = store_at(context.root)
        store.put(f"{store.base}/media/{made.parent.name}/{made.name}", made.read_bytes())


def serves(name: str, what: str) -> bool:
    """Whether a finished file's name says that it holds `what`: `picture.webm`, `picture+sound.mp4`."""
    return not name.startswith(".") and what in Path(name).stem.split("+")


def finished(folder: Path, what: str) -> Path | None:
    """A finished download that holds `what`, or None."""
    return next((path for path in folder.glob("*.*") if path.is_file() and serves(path.name, what)), None)


def finish(path: Path, info: Mapping[str, Any], what: str) -> Path:
    """Check that a download is media, and move it to its final name. Raises FailVideo `unreadable`."""
    # Probed before the rename: what has a final name is never checked again. A rename within a file system is atomic.
    found = probe(path)
    serves = also_serves(info, found) | ({PICTURE} if what == BOTH else {what})
    # No sound anywhere: then this file says so in the transcript, and a second download would say no more.
    if what == BOTH and not found.audio and not any(f.get("vcodec") == "none" for f in info.get("formats") or ()):
        serves |= {SOUND}
    return path.replace(path.parent.parent / f"{'+'.join(sorted(serves))}{path.suffix}")


def also_serves(info: Mapping[str, Any], found: MediaInfo) -> set[str]:
    """What else the file can be used for: `picture`, `sound`, both or nothing."""
    serves = set()
    # A file with a picture may carry a dub. Its sound serves only if no other format is nearer to the original.
    languages = [f.get("language_preference") or -1 for f in info.get("formats") or () if f.get("acodec") != "none"]
    if found.audio and (info.get("language_preference") or -1) >= max(languages, default=-1):
        serves.add("sound")
    if found.best_video and min(found.best_video.shown_size) >= SMALLEST_SIDE:
        serves.add("picture")
    return serves


@contextlib.contextmanager
def locked(partial: Path) -> Iterator[None]:
    """Make the folder `partial` and hold the lock file in it."""
    # `flock`, because the kernel releases it when a worker is killed: a stale lock would block the next run.
    while True:
        make_folder(partial)
        # The worker that held the lock before may have removed the folder at any point. Then start again.
        try:
            lock = (partial / "lock").open("a")
        except FileNotFoundError:
            continue
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Waiting may have ended on a file that is removed. Then a third worker could lock the new file at the path.
            try:
                is_there = os.path.samestat(os.fstat(lock.fileno()), os.stat(partial / "lock"))
            except FileNotFoundError:
                continue
            if is_there:
                yield
                return
