"""What a manifest's sources list: one `Record` per video, read from JSON Lines or from a channel's listing."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from vsumdata.manifests.manifest import Loaded, line_of
from vsumdata.pipeline.errors import ManifestError

SHOWN = 20  # mistakes of a list that are named at once
# The fields that name local files; in `upstream` such a file counts with its size and mtime.
FILE_FIELDS = ("video", "captions", "article")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One listed video. `listed_*` come from a channel's listing, which may leave any of them out."""

    video_id: str
    source: str  # "channel:@wikihow", "ids:list.jsonl", "files:videos.jsonl"
    url: str | None = None
    video: str | None = None  # absolute paths
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
    remarks: tuple[str, ...] | None = None  # what is wrong with its line of a list

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class Line(BaseModel):
    video_id: str | None = Field(None, min_length=1, max_length=200)
    title: str | None = None

    @field_validator("video_id")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value != value.strip()):
            raise ValueError("must be printable, without blanks around it")
        return value


class Bin(BaseModel):
    model_config = ConfigDict(extra="forbid")
    start_s: float = Field(ge=0, validation_alias=AliasChoices("start_s", "start_time"))
    end_s: float = Field(ge=0, validation_alias=AliasChoices("end_s", "end_time"))
    value: float = Field(ge=0, le=1)


class FileLine(Line):
    """A line of a `files` list: one of the user's own videos."""

    model_config = ConfigDict(extra="forbid")
    video: str = Field(min_length=1)
    description: str | None = None
    captions: str | None = None
    article: str | None = Field(None, description="a URL or a local HTML file")
    view_count: int | None = Field(None, ge=0)
    heatmap: list[Bin] | None = None
    license: str | None = None


class StepLine(BaseModel):
    model_config = ConfigDict(extra="ignore")
    text: str | None = None
    headline: str | None = None
    section: str | None = None
    image_url: str | None = Field(None, validation_alias=AliasChoices("image_url", "img"))
    clip_url: str | None = Field(None, validation_alias=AliasChoices("clip_url", "vid"))


class IdLine(Line):
    """A line of an `ids` list; published lists carry other keys too, which are let be."""

    model_config = ConfigDict(extra="ignore")
    video_id: str = Field(pattern=r"^[A-Za-z0-9_-]{11}$", validation_alias=AliasChoices("video_id", "youtube_id"))
    article_url: str | None = None
    steps: list[StepLine | str] | None = None


def label(source: Any) -> str:
    """How a source is named in the tables."""
    kind, value = next((k, v) for k, v in source.model_dump().items() if v is not None)
    return f"{kind}:{value}"


def read_lists(loaded: Loaded) -> tuple[list[Record], list[str]]:
    """The records of all `ids` and `files` sources in order, and a remark on each that is defective or left out.

    The first record of an id counts, whatever a later one holds. Raises ManifestError naming file, line and key;
    two files that would share a video_id are an error.
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
            if video_id not in records:
                records[video_id], seen_at[video_id] = record, where
                continue
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
    """One line about a list that is not there: the manifest's line and the remedy."""
    kind = "ids" if loaded.manifest.sources[index].ids is not None else "files"
    try:
        tree = yaml.compose(Path(loaded.file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        line = f":{line_of(tree, ['sources', index])}"
    except OSError:  # a root remembers a manifest that has gone
        line = ""
    return (
        f"{loaded.file}{line}: sources.{index}.{kind}: there is no list {path}; put it there, "
        f"or say where it is with `--set sources.{index}.{kind}=PATH`"
    )


def left_out(record: Record) -> str:
    """What is lost with a record of an id that was listed before."""
    article = f" of {record.article_url}" if record.article_url else ""
    steps = f", its {len(record.steps)} steps{article} are left out" if record.steps else ""
    return f"the first record counts{steps}"


def read_list(path: Path, source: str, *, own_files: bool) -> Iterator[tuple[int, Record]]:
    """(line number, record) of one JSON Lines file, gzipped or not."""
    mistakes: list[str] = []
    for number, text in numbered_lines(path):
        try:
            value = json.loads(text)
            if not isinstance(value, dict):
                raise ManifestError(f"{path}:{number}: a line is a JSON object")
            line = (FileLine if own_files else IdLine).model_validate(value)
        except json.JSONDecodeError as error:
            mistakes.append(f"{path}:{number}: not valid JSON: {error.msg} at column {error.colno}")
        except ValidationError as error:
            mistakes += [
                f"{path}:{number}: {'.'.join(map(str, wrong['loc']))}: "
                + ("unknown key" if wrong["type"] == "extra_forbidden" else wrong["msg"])
                for wrong in error.errors()
            ]
        else:
            if not mistakes:
                yield (
                    number,
                    file_record(line, path, source)
                    if isinstance(line, FileLine)
                    else id_record(line, source, f"{path}:{number}"),
                )
    if mistakes:
        more = [f"… and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        raise ManifestError("\n".join(mistakes[:SHOWN] + more))


def numbered_lines(path: Path) -> Iterable[tuple[int, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            yield from ((number, text) for number, text in enumerate(file, 1) if text.strip())
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 text at byte {error.start}") from error


def file_record(line: FileLine, path: Path, source: str) -> Record:
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


def id_record(line: Line, source: str, where: str) -> Record:
    assert isinstance(line, IdLine)
    steps = None
    if line.steps is not None:
        steps = tuple({"text": step} if isinstance(step, str) else step.model_dump() for step in line.steps)
    return Record(
        video_id=line.video_id,
        source=source,
        url=f"https://www.youtube.com/watch?v={line.video_id}",
        article_url=line.article_url,
        steps=steps,
        title=line.title,
        remarks=(f"{where}: {line.video_id}: {wrong}",) if steps is not None and (wrong := defect(steps)) else None,
    )


def defect(steps: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with given steps, in words; None where each has a text."""
    empty = [str(n) for n, step in enumerate(steps, 1) if not (step["text"] or step.get("headline") or "").strip()]
    if len(empty) == len(steps):
        return f"it gets no article: {'none of its steps has a text' if steps else 'it has no steps'}"
    return f"of its {len(steps)} steps these have no text and are left out: {', '.join(empty)}" if empty else None


def fields_hash(record: Record, fields: tuple[str, ...]) -> str:
    """Hash of some fields of a record; a named local file counts with its size and mtime."""
    values: list[Any] = [getattr(record, name) for name in fields]
    for name in FILE_FIELDS:
        path = getattr(record, name) if name in fields else None
        if path:
            try:
                stat = Path(path).stat()
                values.append((stat.st_size, stat.st_mtime_ns))
            except OSError as error:
                values.append(type(error).__name__)
    return hashlib.blake2b(repr(values).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
