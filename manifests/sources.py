"""Read a manifest's lists of videos (`ids`, `files`): one `Record` for each JSON line.

`pipeline/state/listing.py` makes the same records from a channel's listing.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from vsumdata.manifests.errors import ManifestError
from vsumdata.manifests.manifest import Loaded, line_of
from vsumdata.manifests.rows import clean_text

# A list of a hundred thousand lines can be wrong in each of them: name the first ones, count the rest.
SHOWN = 20
# These fields name local files, which count with their content. Captions and articles are small and read whole: an edit
# may change a few letters in the middle. Of a video three samples are read.
FILE_FIELDS = ("video", "captions", "article")
WHOLE_BYTES = {"video": 0, "captions": 8 << 20, "article": 8 << 20}
SAMPLE_BYTES = 64 << 10
# The columns are int64.
LARGEST_COUNT = 2**63 - 1


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


def whole_text(text: str) -> str:
    """Refuse lone surrogates: JSON can hold them, but no table, no file name and no terminal."""
    if clean_text(text) != text:
        raise ValueError("has a lone surrogate (\\ud800 to \\udfff), which is no character")
    return text


def file_name(path: str) -> str:
    """Refuse what no file can be called."""
    if "\0" in path:
        raise ValueError("has a zero byte, which no path can hold")
    return whole_text(path)


Text = Annotated[str, AfterValidator(whole_text)]
FileName = Annotated[str, AfterValidator(file_name)]


class Line(BaseModel):
    """What a line of any list may give."""

    video_id: str | None = Field(
        None, min_length=1, max_length=200, description="name of the video in all tables; default: the file's stem"
    )
    title: Text | None = Field(None, description="title of the video")

    @field_validator("video_id")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value != value.strip()):
            raise ValueError("must be printable, without blanks around it")
        return value


class Bin(BaseModel):
    """One bin of a heatmap, as we store it or as yt-dlp writes it (`start_time`, `end_time`)."""

    # Python's JSON has Infinity and NaN.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    start_s: float = Field(
        ge=0, validation_alias=AliasChoices("start_s", "start_time"), description="start of the bin in seconds"
    )
    end_s: float = Field(
        ge=0, validation_alias=AliasChoices("end_s", "end_time"), description="end of the bin in seconds"
    )
    value: float = Field(ge=0, le=1, description="how often viewers replay this part, 0 to 1")


class FileLine(Line):
    """A line of a `files` list: one of the user's own videos."""

    # A misspelt key of one's own list is an error. Silently ignored, it would lose the captions of every video.
    model_config = ConfigDict(extra="forbid")
    video: FileName = Field(min_length=1, description="path of the video, relative to the list")
    description: Text | None = Field(None, description="the video's own description")
    captions: FileName | None = Field(None, description="path of a subtitle file, relative to the list")
    article: FileName | None = Field(None, description="the article: a URL, or the path of an HTML file")
    view_count: int | None = Field(None, ge=0, le=LARGEST_COUNT, description="number of views")
    heatmap: list[Bin] | None = Field(None, description="the most-replayed curve, a list of bins")
    license: Text | None = Field(None, description="license of the video")

    @field_validator("video")
    @classmethod
    def _names_it(cls, value: str, info: ValidationInfo) -> str:
        # A folder ("..") has no stem of its own.
        if info.data.get("video_id") is None and not Path(value).stem.strip("."):
            raise ValueError(f"{value!r} gives the video no name; give it a video_id")
        return value


class StepLine(BaseModel):
    """One step of an article, under our keys or those of WikiHow Summaries (`img`, `vid`)."""

    model_config = ConfigDict(extra="ignore")
    text: str | None = Field(None, description="text of the step")
    headline: str | None = Field(None, description="headline of the step")
    section: str | None = Field(None, description="headline of the section that holds the step")
    image_url: str | None = Field(
        None, validation_alias=AliasChoices("image_url", "img"), description="URL of the step's picture"
    )
    clip_url: str | None = Field(
        None, validation_alias=AliasChoices("clip_url", "vid"), description="URL of the step's video clip"
    )


class IdLine(Line):
    """A line of an `ids` list: one video on YouTube. Unknown keys are ignored."""

    # Published lists carry keys of their own (WikiHow Summaries has `slug`).
    model_config = ConfigDict(extra="ignore")
    video_id: str = Field(
        pattern=r"^[A-Za-z0-9_-]{11}$",
        validation_alias=AliasChoices("video_id", "youtube_id"),
        description="YouTube id, 11 characters",
    )
    article_url: str | None = Field(None, description="URL of the video's article")
    steps: list[StepLine | str] | None = Field(None, description="the article's steps; then its page is not fetched")


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
        for number, record in read_list(path, label(source), own_files=source.files is not None):
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


def read_list(path: Path, source: str, *, own_files: bool) -> Iterator[tuple[int, Record]]:
    """(line number, record) of one JSON Lines file, gzipped or not.

    Raises ManifestError with all mistakes after the last line.
    """
    mistakes: list[str] = []
    for number, text in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            value = json.loads(text)
            if not isinstance(value, dict):
                mistakes.append(f"{where}: a line is a JSON object")
            elif own_files:
                record = file_record(FileLine.model_validate(value), path, source)
            else:
                value, changed = without_surrogates(value)
                record = id_record(IdLine.model_validate(value), source, where, changed)
        except json.JSONDecodeError as error:
            mistakes.append(f"{where}: not valid JSON: {error.msg} at column {error.colno}")
        except ValidationError as error:
            mistakes += [
                f"{where}: {'.'.join(map(str, wrong['loc'])) or 'a key'}: "
                + ("unknown key" if wrong["type"] == "extra_forbidden" else wrong["msg"].removeprefix("Value error, "))
                for wrong in error.errors()
            ]
        # Python refuses numbers of more than 4,300 digits, and brackets that are nested a thousand deep.
        except (ValueError, RecursionError) as error:
            mistakes.append(f"{where}: not readable as JSON: {error}")
        else:
            # After a mistake the list is refused anyway; read on only to find the other mistakes.
            if not mistakes:
                yield number, record
    if mistakes:
        more = [f"… and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        # A key may hold what no terminal can show.
        raise ManifestError("\n".join(mistakes[:SHOWN] + more).encode("utf-8", "backslashreplace").decode())


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

    read = ("video_id", "youtube_id", "title", "article_url", "steps")
    return {name: clean(value[name], name) for name in read if name in value}, changed


def numbered_lines(path: Path) -> Iterable[tuple[int, str]]:
    """(line number from 1, text) of each line that is not blank. Raises ManifestError if the file cannot be read."""
    try:
        # "-sig", because PowerShell and Notepad write a byte order mark.
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as file:
            yield from ((number, text) for number, text in enumerate(file, 1) if text.strip())
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 text at byte {error.start}") from error
    # Neither is an OSError: a download that broke off, and one that was damaged on its way.
    except (EOFError, zlib.error) as error:
        raise ManifestError(f"{path}: the gzip file is cut off or damaged ({error}); get it again") from error


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
