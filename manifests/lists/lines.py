"""What a line of a list may say: pydantic models of one's own videos and of published lists of ids."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from vsumdata.manifests.rows import clean_text

# The columns are int64.
LARGEST_COUNT = 2**63 - 1
# An address of a video, as lists of links have it.
ADDRESS = re.compile(
    r"(?:https?://)?(?:(?:www|m|music)\.)?(?:youtu\.be/|youtube(?:-nocookie)?\.com/(?:watch\?(?:[^#]*&)?v=|(?:shorts|embed|live|v)/))"
    r"([\w-]{11})(?:[?&#/].*)?",
    re.ASCII,
)


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
    article: FileName | None = Field(
        None,
        validation_alias=AliasChoices("article", "article_url"),
        description="the article: a URL, or the path of an HTML file",
    )
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
    video_id: str = Field(description="YouTube id, 11 characters, or the address of a YouTube video")
    article_url: str | None = Field(None, description="URL of the video's article")
    steps: list[StepLine | str] | None = Field(None, description="the article's steps; then its page is not fetched")

    @field_validator("video_id")
    @classmethod
    def _is_youtube(cls, value: str) -> str:
        found = ADDRESS.fullmatch(value)
        if found is None and re.fullmatch(r"[A-Za-z0-9_-]{11}", value) is None:
            raise ValueError(
                f"{value[:60]!r} is no YouTube id (11 letters, digits, `-`, `_`); if the ids stand in another column, "
                "name it in the manifest: `id_column`"
            )
        return found[1] if found else value
