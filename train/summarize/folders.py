"""`vsumdata summarize FOLDER`: a summary of each video in a folder, and a page that leads to them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vsumdata.manifests.errors import UsageError, VsumdataError
from vsumdata.train.summarize import clips, summarize
from vsumdata.train.summarize.featurize import Recipe
from vsumdata.train.summarize.pages import page
from vsumdata.train.summarize.pages.page import Entry
from vsumdata.train.summarize.summarize import PAGE, Request, Summarizer, Tell, summarizer
from vsumdata.train.summarize.summary import Summary

INDEX = "index.html"
# By their names: to open each file of a large folder takes long, and most others are no videos.
SUFFIXES = frozenset(
    ".3gp .asf .avi .divx .f4v .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogm .ogv .ts .vob .webm .wmv".split()
)


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of a folder: how many summaries were made and how many videos have none, and a line on it."""

    made: int
    failed: int
    line: str


def is_folder(request: Request) -> bool:
    """Whether the request is for the videos of a folder."""
    return request.root is None and Path(request.video).is_dir()


def summarize_folder(request: Request, recipe: Recipe, tell: Tell) -> Done:
    """Write DIR/NAME/summary.* for each video of the folder, and DIR/index.html after each.

    A video that cannot be summarized is told and named in the index, and the others go on. Raises UsageError for a
    folder without videos, or that cannot be read.
    """
    folder, output = Path(request.video), Path(request.output)
    if request.captions:
        raise UsageError("--captions is for one video; in a folder, name each caption file as its video (talk.vtt)")
    videos = videos_of(folder, output)
    entries: list[Entry] = []
    with summarizer(request, recipe, tell) as work:
        summarize.make_folder(output)
        names = names_of(videos, folder)
        for number, (video, name) in enumerate(zip(videos, names, strict=True), 1):
            entry = _entry(work, video, name, output)
            entries.append(entry)
            tell(f"{number} of {len(videos)} {entry.name}: {entry.error or entry.told}")
            # After each, so that one can look while the others are made, and an interruption loses nothing.
            _write_index(folder, entries, len(videos), output)
    failed = sum(bool(entry.error) for entry in entries)
    made = len(entries) - failed
    line = f"{made} of {len(videos)} videos summarized: {output / INDEX}"
    return Done(made=made, failed=failed, line=f"{line}; {failed} failed, see there" if failed else line)


def videos_of(folder: Path, output: Path) -> list[Path]:
    """The videos of a folder and of those below it, by name; hidden files and earlier summaries are none of them."""

    def refused(error: OSError) -> None:
        raise UsageError(f"{error.filename}: {error.strerror}; the folder cannot be read")

    found = []
    for place, folders, files in os.walk(folder, onerror=refused):
        here = Path(place)
        # What a summary lies in holds a film of ours.
        is_ours = "summary.json" in files
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() != output.resolve()
        )
        if not is_ours:
            found += [here / name for name in sorted(files) if _is_video(name)]
    if not found:
        if (folder / "dataset.json").is_file():
            raise UsageError(f"{folder} is a vsumdata root; give a video id of it with --root {folder}")
        raise UsageError(f"{folder} has no videos: none of its files is named as one ({', '.join(sorted(SUFFIXES))})")
    return found


def _is_video(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def names_of(videos: Sequence[Path], folder: Path) -> list[str]:
    """A folder for each video's summary: its path without the suffix, with it where two would be the same."""
    bare = [video.relative_to(folder).with_suffix("").as_posix() for video in videos]
    # Also by case: some file systems do not tell `Talk` from `talk`.
    count = Counter(name.lower() for name in bare)
    whole = [video.relative_to(folder).as_posix() for video in videos]
    return [short if count[short.lower()] == 1 else long for short, long in zip(bare, whole, strict=True)]


def _entry(work: Summarizer, video: Path, name: str, output: Path) -> Entry:
    shown = video.relative_to(Path(work.request.video)).as_posix()
    try:
        made = work.one(str(video), output / name)
    except VsumdataError as error:
        return Entry(name=shown, title=shown, error=str(error).removeprefix(f"{video}: "))
    link = quote(f"{name}/{PAGE}", errors="surrogateescape")
    return Entry(name=shown, title=made.title or shown, link=link, poster=_poster(video, made), told=page.told(made))


def _poster(video: Path, made: Summary) -> str | None:
    """A picture of the best chosen shot."""
    chosen = [shot for shot in made.shots if shot.chosen]
    if not chosen:
        return None
    best = max(chosen, key=lambda shot: shot.score)
    return page.poster(clips.thumbnail(clips.open_media(video), (best.start_s + best.end_s) / 2, page.POSTER_HEIGHT))


def _write_index(folder: Path, entries: Sequence[Entry], num: int, output: Path) -> None:
    done = sum(not entry.error for entry in entries)
    told = f"{done} of {num} videos summarized"
    if len(entries) < num:
        told += f", {num - len(entries)} to come"
    text = page.index_page(folder.resolve().name or str(folder), entries, told)
    scratch = output / f".{INDEX}"
    scratch.write_text(text, encoding="utf-8", errors="replace")
    os.replace(scratch, output / INDEX)
