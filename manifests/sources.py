"""Read a manifest's lists of videos (`ids`, `files`): one `Record` for each line.

`pipeline/state/listing.py` makes the same records from a channel's listing.
"""

from __future__ import annotations

import functools
import hashlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vsumdata.manifests.errors import ManifestError
from vsumdata.manifests.lists.formats import entries
from vsumdata.manifests.lists.lines import FileLine, IdLine
from vsumdata.manifests.manifest import Loaded, line_of
from vsumdata.manifests.rows import clean_text

# A list of a hundred thousand lines can be wrong in each of them: name the first ones, count the rest.
SHOWN = 20
# These fields name local files, which count with their content. Captions and articles are small and read whole: an edit
# may change a few letters in the middle. Of a video three samples are read.
FILE_FIELDS = ("video", "captions", "article")
WHOLE_BYTES = {"video": 0, "captions": 8 << 20, "article": 8 << 20}
SAMPLE_BYTES = 64 << 10
# In this order: in Mr. HiSum's and MoSu's metadata `video_id` is the data set's own name, beside `youtube_id`.
ID_COLUMNS = ("youtube_id", "video_id")


# Slots: a run keeps a hundred thousand of them.
@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One listed video. The `listed_*` fields come from a channel's listing, which may lack any of them."""

    video_id: str
    source: str  # "channel:@wikihow", "ids:list.jsonl", "files:videos.jsonl"
    url: str | None = None
    # Paths are absolute: workers run in another folder than the driver.
    video: str | None = None
    captions: str | None = None
    article: str | None = None
    article_url: str | None = None
    steps: tuple[Mapping[str, Any], ...] | None = None
    title: str | None = None
    description: str | None = None
    view_count: int | None = None
    heatmap: tuple[Mapping[str, float], ...] | None = None
    license: str | None = None
    listed_title: str | None = None
    listed_view_count: int | None = None
    listed_duration_s: float | None = None
    remarks: tuple[str, ...] | None = None  # what is wrong with its line in the list

    def as_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def label(source: Any) -> str:
    """The name of a source in the tables: `channel:@wikihow`."""
    kind, value = next((k, v) for k, v in source.model_dump().items() if v is not None)
    return f"{kind}:{value}"


def read_lists(loaded: Loaded) -> tuple[list[Record], list[str]]:
    """The records of all `ids` and `files` sources in order, and a remark on each defective or repeated line.

    If two `ids` lines name one video, the first counts. Two files with one video_id are an error. Raises
    ManifestError with file, line and key.
    """
    records: dict[str, Record] = {}
    seen_at: dict[str, str] = {}
    remarks: list[str] = []
    for index, source in enumerate(loaded.manifest.sources):
        if source.channel is not None:
            continue
        path = (loaded.folder / str(source.files or source.ids)).resolve()
        if not path.is_file():
            raise ManifestError(missing(loaded, index, path))
        own_files, id_column = source.files is not None, source.id_column
        for number, record in read_list(path, label(source), own_files=own_files, id_column=id_column):
            where, video_id = f"{path}:{number}", record.video_id
            remarks += record.remarks or ()
            # The first counts even if it is defective and a later one is not: the article of a video must not
            # depend on what else is listed.
            if video_id not in records:
                records[video_id], seen_at[video_id] = record, where
                continue
            # An id is one video wherever it is listed. Two files with one stem are two videos, and one would be lost.
            if source.files is not None:
                raise ManifestError(
                    f"{where}: video_id `{video_id}` is taken by {seen_at[video_id]}; give one of them another video_id"
                )
            first = records[video_id]
            remarks.append(f"{where}: {video_id} was listed before ({seen_at[video_id]}): {left_out(record)}")
            kept = (*(first.remarks or ()), *(record.remarks or ()), remarks[-1])
            records[video_id] = replace(first, remarks=kept)
    return list(records.values()), remarks


def missing(loaded: Loaded, index: int, path: Path) -> str:
    """The message for a missing list: the manifest's line and the remedy."""
    kind = "ids" if loaded.manifest.sources[index].ids is not None else "files"
    try:
        tree = yaml.compose(Path(loaded.file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        line = f":{line_of(tree, ['sources', index])}"
    # A root remembers its manifest; the file itself may be gone by now.
    except OSError:
        line = ""
    return (
        f"{loaded.file}{line}: sources.{index}.{kind}: there is no list {path}; put it there, "
        f"or say where it is with `--set sources.{index}.{kind}=PATH`"
    )


def left_out(record: Record) -> str:
    """What a repeated line loses, in words."""
    article = f" of {record.article_url}" if record.article_url else ""
    steps = f", its {len(record.steps)} steps{article} are left out" if record.steps else ""
    return f"the first record counts{steps}"


def read_list(
    path: Path, source: str, *, own_files: bool, id_column: str | None = None
) -> Iterator[tuple[int, Record]]:
    """(line number, record) of one list in any format (`lists.formats`), gzipped or not.

    Raises ManifestError with all mistakes after the last line.
    """
    mistakes: list[str] = []
    for entry in entries(path, ("video",) if own_files else (id_column,) if id_column else ID_COLUMNS):
        where, value = f"{path}:{entry.line}", entry.value
        # A line of text, or of JSON that is but a text.
        if isinstance(value, str):
            value = {"video" if own_files else id_column or "video_id": value}
        if entry.mistake or not isinstance(value, dict):
            mistakes.append(f"{where}: {entry.mistake or 'a line is a JSON object'}")
            continue
        try:
            if own_files:
                record = file_record(FileLine.model_validate(value), path, source)
            else:
                value, changed = without_surrogates(with_one_id(value, id_column))
                record = id_record(IdLine.model_validate(value), source, where, changed)
        except ValidationError as error:
            mistakes += [
                f"{where}: {'.'.join(map(str, wrong['loc'])) or 'a key'}: "
                + ("unknown key" if wrong["type"] == "extra_forbidden" else wrong["msg"].removeprefix("Value error, "))
                for wrong in error.errors()
            ]
        else:
            if entry.remark:
                said = f"{where}: {record.video_id}: {entry.remark}"
                record = replace(record, remarks=(*(record.remarks or ()), said))
            # After a mistake the list is refused anyway; read on only to find the other mistakes.
            if not mistakes:
                yield entry.line, record
    if mistakes:
        more = [f"… and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        # A key may hold what no terminal can show.
        raise ManifestError("\n".join(mistakes[:SHOWN] + more).encode("utf-8", "backslashreplace").decode())


def with_one_id(value: dict[str, Any], id_column: str | None) -> dict[str, Any]:
    """A line of an `ids` list with its YouTube id under `video_id`; an address under `article` is its `article_url`."""
    names = (id_column,) if id_column else ID_COLUMNS
    found = next((value[name] for name in names if value.get(name) not in (None, "")), None)
    rest = {name: item for name, item in value.items() if name not in ID_COLUMNS}
    article = rest.get("article")
    if rest.get("article_url") is None and isinstance(article, str) and article.startswith(("https://", "http://")):
        rest["article_url"] = article
    return rest if found is None else {**rest, "video_id": found}


def without_surrogates(value: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A line with `?` for each lone surrogate in the fields that are read, and the dotted keys of these texts."""
    changed: list[str] = []

    def clean(inner: Any, key: str) -> Any:
        if isinstance(inner, str):
            if (text := clean_text(inner)) != inner:
                changed.append(key)
            return text
        if isinstance(inner, dict):
            return {name: clean(item, f"{key}.{name}") for name, item in inner.items()}
        return [clean(item, f"{key}.{at}") for at, item in enumerate(inner)] if isinstance(inner, list) else inner

    read = ("video_id", "title", "article_url", "steps")
    return {name: clean(value[name], name) for name in read if name in value}, changed


def file_record(line: FileLine, path: Path, source: str) -> Record:
    """The record of a line of a `files` list. Paths are relative to the list at `path`."""
    article_is_url = bool(line.article and line.article.startswith(("https://", "http://")))
    return Record(
        video_id=line.video_id or Path(line.video).stem,
        source=source,
        video=str(path.parent / line.video),
        captions=str(path.parent / line.captions) if line.captions else None,
        article=str(path.parent / line.article) if line.article and not article_is_url else None,
        article_url=line.article if article_is_url else None,
        title=line.title,
        description=line.description,
        view_count=line.view_count,
        heatmap=tuple(bin.model_dump() for bin in line.heatmap) if line.heatmap is not None else None,
        license=line.license,
    )


def id_record(line: IdLine, source: str, where: str, changed: Sequence[str] = ()) -> Record:
    """The record of a line of an `ids` list.

    `where` is the line's place and `changed` the keys of its texts that were cleaned, for remarks.
    """
    steps = None
    if line.steps is not None:
        steps = tuple({"text": step} if isinstance(step, str) else step.model_dump() for step in line.steps)
    wrong = [f"{', '.join(changed)}: lone surrogates, which are no characters, became `?`"] if changed else []
    if steps is not None and (what := defect(steps)):
        wrong.append(what)
    return Record(
        video_id=line.video_id,
        source=source,
        url=f"https://www.youtube.com/watch?v={line.video_id}",
        article_url=line.article_url,
        steps=steps,
        title=line.title,
        remarks=tuple(f"{where}: {line.video_id}: {text}" for text in wrong) or None,
    )


def defect(steps: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the given steps, in words; None if each has a text."""
    empty = [str(n) for n, step in enumerate(steps, 1) if not (step["text"] or step.get("headline") or "").strip()]
    if len(empty) == len(steps):
        return f"it gets no article: {'none of its steps has a text' if steps else 'it has no steps'}"
    return f"these of its {len(steps)} steps have no text and are left out: {', '.join(empty)}" if empty else None


def fields_hash(record: Record, fields: tuple[str, ...]) -> str:
    """Hash of some fields of a record. A local file that a field names counts with its content, not with its path."""
    values = [
        file_mark(name, getattr(record, name)) if name in FILE_FIELDS else getattr(record, name) for name in fields
    ]
    return hashlib.blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def file_mark(field: str, path: str | None) -> tuple[int, str] | str | None:
    """What tells a local file from another: its bytes and a hash of its content. The error's name if it has none."""
    if path is None:
        return None
    # A missing file has a mark too. It changes when the file appears, and the video becomes pending again.
    try:
        status = Path(path).stat()
        # Reading a pipe would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            return "not a file"
        return status.st_size, content_hash(path, status.st_size, status.st_mtime_ns, WHOLE_BYTES[field])
    # ValueError: no file has a name with a NUL or half of a character.
    except (OSError, ValueError) as error:
        return type(error).__name__


@functools.lru_cache(maxsize=1 << 18)
def content_hash(path: str, size_bytes: int, mtime_ns: int, whole_bytes: int) -> str:
    """Hash a file: all of it up to `whole_bytes`, else its head, middle and tail. Raises OSError."""
    # Size and time of change are there for the cache: a run plans about ten times and reads each file once. They are
    # not hashed, since a copy or a `touch` makes no other video.
    hasher = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        if size_bytes <= max(whole_bytes, 3 * SAMPLE_BYTES):
            hasher.update(file.read(size_bytes))
        else:
            for start in (0, (size_bytes - SAMPLE_BYTES) // 2, size_bytes - SAMPLE_BYTES):
                file.seek(start)
                hasher.update(file.read(SAMPLE_BYTES))
    return hasher.hexdigest()
