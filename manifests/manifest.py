"""The pydantic model of a manifest: what to collect and how, validated before any work starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from vsumdata.manifests.errors import ManifestError, UsageError

# `as`: readers of manifests find all of its sections here.
from vsumdata.manifests.sections.labels import Labels as Labels
from vsumdata.manifests.sections.section import Section as Section
from vsumdata.manifests.sections.summaries import MAX_SIMILARITY as MAX_SIMILARITY
from vsumdata.manifests.sections.summaries import SCORER as SCORER
from vsumdata.manifests.sections.summaries import SCORER_LAYER as SCORER_LAYER
from vsumdata.manifests.sections.summaries import ChatModel as ChatModel
from vsumdata.manifests.sections.summaries import Summaries as Summaries

BUILT_IN = Path(__file__).parent
# Ten aliases of ten aliases of ten … would take all memory when they are written out.
MAX_VALUES = 100_000
# What PyYAML raises, beside its own error, for text that only looks like a number or a date (2001-99-99, 0x_, !!bool x)
# and for thousands of opening brackets.
NOT_YAML: tuple[type[Exception], ...] = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
Amount = Annotated[float, Field(ge=0)] | Literal["auto"]


class Source(Section):
    channel: str | None = Field(None, description="a channel's handle (@name) or URL")
    ids: str | None = Field(None, description="a list of YouTube ids (JSON Lines, JSON, CSV, text), by its path")
    files: str | None = Field(None, description="a list of one's own videos (the same formats), by its path")
    id_column: str | None = Field(
        None, min_length=1, description="column or key of the ids in `ids`; default: youtube_id, else video_id"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Source:
        if sum(value is not None for value in (self.channel, self.ids, self.files)) != 1:
            raise ValueError("a source is exactly one of channel, ids, files")
        if self.id_column is not None and self.ids is None:
            raise ValueError("id_column goes with ids")
        return self


class Select(Section):
    min_views: int | None = Field(
        50_000, ge=0, description="keep only videos with more views than this; null: no limit"
    )
    require_heatmap: bool = Field(True, description="keep only videos with a most-replayed heatmap")
    min_duration_s: float | None = Field(20, ge=0, description="skip shorter videos (seconds); null: no limit")
    max_duration_s: float | None = Field(3600, gt=0, description="skip longer videos (seconds); null: no limit")
    tabs: list[Literal["videos", "shorts", "streams"]] = Field(
        ["videos"], min_length=1, description="tabs of a channel that are listed"
    )
    duplicates: Literal["keep", "drop"] = Field(
        "keep", description="drop: of videos that `duplicates` takes for one, only the best gets its row in `features`"
    )
    min_speech_share: float | None = Field(
        None, ge=0, le=1, description="least share of the video in which somebody speaks, see `quality`"
    )
    min_words_per_minute: float | None = Field(None, ge=0, description="least words a minute, see `quality`")
    max_static_share: float | None = Field(
        None, ge=0, le=1, description="largest share of frames that stand still, see `quality`"
    )
    min_text_frame_agreement: float | None = Field(
        None, ge=-1, le=1, description="least agreement of what is said with what is shown, see `quality`"
    )


Age = Annotated[str, Field(pattern=r"^\d+(d|h)$")]


class Refresh(Section):
    no_heatmap: Age | None = Field("30d", description="visit a video without a heatmap again after so long (30d, 12h)")
    low_views: Age | None = Field("90d", description="visit a video with too few views again after so long")
    upcoming: Age | None = Field(
        "1d", description="visit a premiere or a stream that had not begun again after so long"
    )
    live: Age | None = Field("1d", description="visit a video that was live again after so long; null: never")

    def ages_s(self) -> dict[str, float]:
        """Reason -> seconds after which its videos are visited again."""
        ages = {reason: value for reason, value in self if value is not None}
        return {reason: int(age[:-1]) * (86_400.0 if age[-1] == "d" else 3_600.0) for reason, age in ages.items()}


class Clean(Section):
    min_coverage_of_speech: float = Field(
        0.6,
        ge=0,
        le=1,
        description="least share of the speech in the sound that captions cover, where sound was fetched",
    )
    min_coverage_of_video: float = Field(
        0.3,
        ge=0,
        le=1,
        description="least share of the video's length that captions cover; below, the sound is looked at",
    )
    max_sound_marks: float = Field(
        0.3, ge=0, le=1, description="largest share of captions that are [Music] or the like"
    )
    min_words_per_minute: float = Field(30, ge=0, description="least words a minute while captions say something")
    max_words_per_minute: float = Field(400, gt=0, description="most words a minute while captions say something")
    max_repeated: float = Field(0.3, ge=0, le=1, description="largest share of words in a phrase that came before")


class Captions(Section):
    languages: list[Annotated[str, Field(min_length=2)]] = Field(
        ["en"], min_length=1, description="languages of captions to take; speech in another one is `skipped: language`"
    )
    automatic: Literal["clean", "always", "never"] = Field(
        "clean", description="which automatic captions are taken: cleanly generated ones (else Whisper), all or none"
    )
    clean: Clean = Field(Clean(), description="what cleanly generated captions are")


class Asr(Section):
    engine: Literal["faster-whisper", "openai-whisper"] = Field(
        "faster-whisper", description="the program that runs Whisper"
    )
    model: str = Field("small", min_length=1, description="a size, hub name, path or package:NAME/PATH")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="where Whisper runs; cpu: int8, cuda: float16 (an error without a GPU), auto: a GPU if any",
    )


class Clip(Section):
    model: str = Field("ViT-B-32", description="an open_clip architecture, googlenet-pool5 or colour-histograms")
    weights: str = Field(
        "openai",
        description="an open_clip tag, a path or seed:N; of googlenet-pool5 imagenet, of colour-histograms none",
    )


class Text(Section):
    model: str = Field(
        "sentence-transformers/all-mpnet-base-v2",
        min_length=1,
        description="a sentence-transformers name, path or package:NAME/PATH",
    )


class Split(Section):
    train: float = Field(0.8, ge=0, le=1, description="share of the tasks that train")
    val: float = Field(0.1, ge=0, le=1, description="share of the tasks that choose the epoch")
    test: float = Field(0.1, ge=0, le=1, description="share of the tasks that are kept for testing")

    @model_validator(mode="after")
    def _sums_to_one(self) -> Split:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + val + test must be 1, not {total:g}")
        return self


class Features(Section):
    fps: float = Field(1, gt=0, le=60, description="frames sampled per second")
    sampling: Literal["exact", "keyframes"] = Field(
        "exact", description="exact: decode everything; keyframes: the last key frame before each step, much faster"
    )
    hwaccel: Literal["none", "cuda"] = Field("none", description="decode on the GPU where there is one")
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = Field(
        "auto", description="arithmetic of CLIP; auto: what suits the device; int8: ViTs on CPUs with VNNI or AMX"
    )
    clip: Clip = Clip()
    text: Text = Text()
    audio_model: str | None = Field(
        None, min_length=1, description="encoder of `audio`: a hub name (AST, wav2vec2, …), path, package:… or seed:N"
    )
    shots: str | None = Field(
        None, min_length=1, description="weights of TransNetV2, which then finds the shots: a file or seed:N; null: KTS"
    )
    split: Split = Split()


class Crawl(Section):
    seconds_between_requests: float = Field(12, ge=0, description="least time between two requests to a host (seconds)")
    workers: int = Field(
        2, ge=1, description="processes that visit sites, for videos and for articles; more help with several addresses"
    )
    keep_media: bool = Field(False, description="keep downloads under ROOT/media and use them again")
    max_media_mb: float = Field(500, gt=0, description="largest download (MB); a larger video is skipped as `too_big`")
    stop_without_heatmaps: bool = Field(
        True, description="stop when heatmaps of old, popular videos suddenly stop coming"
    )
    stop_when_refused: bool = Field(True, description="stop when the site suddenly refuses most videos")
    stop_when_alike: bool = Field(True, description="stop when many videos in a row meet the same trouble or refusal")
    yt_dlp: dict[str, Any] = Field({}, description="options of yt-dlp (cookiefile, proxy, …)")


class Resource(Section):
    gpus: Amount = Field("auto", description="per worker; fractions share a GPU; auto: 1 where Ray sees any")
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="worker processes; auto: as many as the CPUs or GPUs carry, fewer for little media"
    )


class Resources(Section):
    transcripts: Resource = Resource()
    frames: Resource = Resource()
    features: Resource = Resource()
    frame_captions: Resource = Resource()
    audio: Resource = Resource()
    summaries: Resource = Resource()
    quality: Resource = Resource()
    step_times: Resource = Resource()


class Limits(Section):
    row_timeout_s: float = Field(
        1800, gt=0, description="a video that shows no progress for so long in one stage is given up (seconds)"
    )
    wait_for_gpus_s: float = Field(
        600, ge=0, description="how long a cluster may take to start machines with the GPUs that `resources` ask for"
    )
    max_attempts: int = Field(5, ge=1, description="tries in a row before a `retry` becomes `failed`")


class Manifest(Section):
    name: str = Field("unnamed", pattern=r"^[\w.-]+$", description="default: the stem of the file")
    sources: list[Source] = Field(min_length=1, description="where the videos come from: one or more")
    select: Select = Select()
    refresh: Refresh = Refresh()
    captions: Captions = Captions()
    asr: Asr = Asr()
    features: Features = Features()
    summaries: Summaries = Summaries()
    labels: Labels = Labels()
    crawl: Crawl = Crawl()
    resources: Resources = Resources()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _device_agrees(self) -> Manifest:
        gpus = self.resources.transcripts.gpus
        if gpus != "auto" and self.asr.device in ("cpu", "cuda") and (self.asr.device == "cuda") != (gpus > 0):
            raise ValueError(
                f"asr.device is {self.asr.device}, but resources.transcripts.gpus is {gpus:g}: leave gpus at `auto`, "
                "or asr.device"
            )
        return self


class Loaded(Section):
    """A validated manifest and the folder that its paths are relative to (the current one where it is built in)."""

    manifest: Manifest
    folder: Path
    file: str


def load(name_or_path: str, overrides: Sequence[str] = ()) -> Loaded:
    """Read and check a manifest, by built-in name or by path; `overrides` are `a.b=c` settings.

    Raises ManifestError with file, line and key of everything that is wrong.
    """
    path = find(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
        if num_values(tree, {}) > MAX_VALUES:
            raise ValueError(f"its aliases stand for more than {MAX_VALUES} values")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except NOT_YAML as error:
        raise ManifestError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ManifestError(f"{path}:1: a manifest is a mapping with the key `sources`")
    for override in overrides:
        apply_override(values, override)
    values.setdefault("name", path.stem)
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise ManifestError("\n".join(explain(error, path, tree, overrides))) from error
    is_built_in = path == BUILT_IN / f"{name_or_path}.yaml"
    return Loaded(manifest=manifest, folder=Path.cwd() if is_built_in else path.resolve().parent, file=str(path))


def num_values(node: yaml.Node | None, counted: dict[int, int]) -> int:
    """Count the values of a tree with every alias written out. Raises ValueError for an alias in its own anchor."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if counted.setdefault(id(node), 0) == 0:
        # So it stays if the node is met again below itself. `dataset.json` keeps manifests as JSON, which has no loops.
        counted[id(node)] = -1
        children = [child for part in node.value for child in (part if isinstance(part, tuple) else (part,))]
        counted[id(node)] = 1 + sum(num_values(child, counted) for child in children)
    if counted[id(node)] < 0:
        raise ValueError(f"line {node.start_mark.line + 1} refers to itself")
    return counted[id(node)]


def find(name_or_path: str) -> Path:
    """The file of a manifest: a path as given, or `NAME.yaml` of this folder."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml", ".json"} or path.is_file():
        if path.is_file():
            return path
        raise ManifestError(f"{path}: no such manifest; built in are: {', '.join(built_in())}")
    if name_or_path in built_in():
        return BUILT_IN / f"{name_or_path}.yaml"
    raise ManifestError(
        f"no manifest named `{name_or_path}`; built in are: {', '.join(built_in())}; a file needs its .yaml"
    )


def built_in() -> list[str]:
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set `a.b=c` in a tree of mappings and lists (`sources.0.ids=c`).

    The value is read as YAML; a channel's handle needs no quotes, though YAML reserves its `@`.
    """
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not all([*sections, last]):
        raise UsageError(f"--set {key.strip()}: write it as section.key=value")
    node: Any = values
    for part in sections:
        node = node[index(node, part, key)] if isinstance(node, list) else node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise UsageError(f"--set {key.strip()}: `{part}` is not a section")
    try:
        value = text if text.startswith("@") else yaml.safe_load(text)
    except NOT_YAML as error:
        raise UsageError(f"--set {key.strip()}: the value is not valid YAML") from error
    node[index(node, last, key) if isinstance(node, list) else last] = value


def index(values: list[Any], part: str, key: str) -> int:
    if not part.isdecimal() or int(part) >= len(values):
        there = f"0 to {len(values) - 1}" if values else "none: the list is empty"
        raise UsageError(f"--set {key.strip()}: `{part}` stands where a list has its indices ({there})")
    return int(part)


def explain(error: ValidationError, path: Path, tree: yaml.Node | None, overrides: Sequence[str] = ()) -> list[str]:
    """One line per mistake: `file:line: key: what is wrong`."""
    lines = []
    set_keys = {override.partition("=")[0].strip() for override in overrides}
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"] if not is_union_label(part))
        what = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            what = "unknown key" + suggestion(mistake["loc"])
        where = "--set" if key in set_keys else f"{path}:{line_of(tree, mistake['loc'])}"
        lines.append(f"{where}: {key or 'manifest'}: {what}")
    return list(dict.fromkeys(lines))


def is_union_label(part: int | str) -> bool:
    """Pydantic puts the branch of a union (`float`, `literal['auto']`, `constrained-int`) into the location."""
    return isinstance(part, str) and (
        part in {"float", "int", "str", "constrained-float", "constrained-int"} or "[" in part
    )


def suggestion(loc: tuple[int | str, ...]) -> str:
    from difflib import get_close_matches

    model: Any = Manifest
    for part in loc[:-1]:
        if isinstance(part, int):
            model = Source
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
    names = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    near = get_close_matches(str(loc[-1]), names, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known are: {', '.join(names)}" if names else ""


def line_of(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """The line on which the innermost node of `loc` that exists in the file starts."""
    line = 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def from_stored(values: Mapping[str, Any], folder: str, file: str) -> Loaded:
    """The manifest that a root remembers in its dataset.json."""
    return Loaded(manifest=Manifest.model_validate(values), folder=Path(folder), file=file)
