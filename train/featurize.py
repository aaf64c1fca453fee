"""The training row of any video file, made by the stages themselves, and that of a video of a root."""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vsumdata.datasets.shards import COLUMNS, open_shards
from vsumdata.datasets.video import Video
from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.pipeline.errors import SkipVideo, UsageError, VideoError
from vsumdata.pipeline.recipe import UNRESOLVED, Models, model_keys, recipe
from vsumdata.pipeline.stage import Context, Row, Stage, safe_name
from vsumdata.stages import features, media, transcripts, videos
from vsumdata.stages.models import SEED, Model, resolve_asr, resolve_clip, resolve_text
from vsumdata.train.clips import Media, open_media
from vsumdata.train.runs import Origin

NOT_COMPUTED = "they are not computed here: train on a root of ours, or with --features ROOT"
NOT_NEEDED = Model("?", "?", str(UNRESOLVED["identity"]), 1)
REASONS = {
    "no_video": "it has sound only; a summary needs pictures",
    "file_missing": "there is no such file",
    "unreadable": "it cannot be read as a video",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the features of a run are made: what its root's manifest says, and what is known of the models."""

    loaded: Loaded
    known: Mapping[str, Any]  # the root's models.json when the run was trained

    @property
    def fps(self) -> float:
        return self.loaded.manifest.features.fps

    @property
    def names(self) -> dict[str, str]:
        settings = self.loaded.manifest.features
        return {"clip": f"{settings.clip.model} {settings.clip.weights}", "text": settings.text.model}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A video with its features, its media where it is here, and what to know of both."""

    video: Video
    media: Media | None
    source: str
    remarks: tuple[str, ...]


def kind_of(origin: Origin, run: str | Path) -> Kind:
    """Raises UsageError where a run was trained on features that are not made by our stages."""
    if not origin.features:
        raise UsageError(
            f"{run} was trained on the features that {origin.data_set or 'its data'} brings; {NOT_COMPUTED}"
        )
    sections = {name: origin.features[name] for name in ("features", "asr", "captions")}
    manifest = Manifest.model_validate({"sources": [{"files": "none"}], **sections})
    loaded = Loaded(manifest=manifest, folder=origin.features["folder"], file=str(run))
    return Kind(loaded=loaded, known=origin.features["models"])


def of_root(video_id: str, root: str, kind: Kind) -> Found:
    """A video's row of a root's shards; UsageError where it has none, or features of another kind than `kind`."""
    shards = open_shards(root)
    entry = next((entry for entry in shards.entries if entry[0] == video_id), None)
    if entry is None:
        near = difflib.get_close_matches(video_id, shards.video_ids, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {len(shards)} videos"
        raise UsageError(f"{root} has no features of a video {video_id}; {hint}")
    _same_kind(root, kind)
    video = shards.read([entry])[0]
    path, sound = _kept(video, root)
    source, remarks = video.url or str(path or video_id), _random(kind)
    if path is None:
        remarks.append("its media file is not here (crawl.keep_media keeps it): no summary.mp4, no thumbnails")
        return Found(video=video, media=None, source=source, remarks=tuple(remarks))
    with _named(path):
        return Found(video=video, media=open_media(path, sound), source=source, remarks=tuple(remarks))


def _same_kind(root: str, kind: Kind) -> None:
    settings = Manifest.model_validate(Store(root).dataset()["manifest"]["settings"]).features
    ours = kind.loaded.manifest.features
    pairs = {
        "CLIP": (settings.clip, ours.clip),
        "the text model": (settings.text, ours.text),
        "the frame rate": (settings.fps, ours.fps),
    }
    for what, (there, wanted) in pairs.items():
        if there != wanted:
            there, wanted = (
                " ".join(v.model_dump().values()) if hasattr(v, "model_dump") else v for v in (there, wanted)
            )
            raise UsageError(
                f"{root} has features of another kind than the run: {what} is {there}, the run has {wanted}; "
                "give the video's file instead, and its features are computed"
            )


def _kept(video: Video, root: str) -> tuple[Path | None, Path | None]:
    """One's own file, else the download that the root kept; and the sound where it lies in a file of its own."""
    address = urlsplit(video.url or "")
    if address.scheme == "file":
        own = Path(unquote(address.path))
        return (own if own.is_file() else None), None
    if "://" in root:
        return None, None
    folder = Path(root).expanduser() / "media" / safe_name(video.video_id)
    return media.finished(folder, "picture"), media.finished(folder, "sound")


def of_file(path: str, captions: str | None, kind: Kind, *, shown: str, device: str) -> Found:
    """The row that the pipeline would make of one's own file, by its stages' functions.

    `shown` is the text that the model is shown; without any, no text is embedded. Raises UsageError for a file
    that is no video, and for models that cannot be had.
    """
    record = Record(
        video_id=Path(path).stem,
        source="files:none",
        video=str(Path(path).resolve()),
        captions=captions,
        title=Path(path).stem,
    )
    with _named(path), tempfile.TemporaryDirectory(prefix="vsumdata-") as scratch:
        found = open_media(path)
        row = _describe(record, kind)
        remarks = _random(kind)
        models = _models(kind, shown, hears=captions is None and bool(found.info.audio), remarks=remarks)
        stages = recipe(kind.loaded.manifest, models)
        on = "cpu" if kind.loaded.manifest.asr.device == "cpu" else device
        row["transcripts"] = _transcript(stages["transcripts"], row, _context(scratch, on), remarks)
        row["frames"] = _made(stages["frames"], row, _context(scratch, device))
        remarks += filter(None, [row["frames"].get("detail")])
        whole = shown != "none"
        payload = _made(stages["features"], row, _context(scratch, device)) if whole else _without_text(row, kind)
    values = {name: payload[name] for name in COLUMNS if name in payload}
    return Found(video=Video(video_id=record.video_id, **values), media=found, source=path, remarks=tuple(remarks))


def _context(scratch: str, device: str) -> Context:
    return Context(root=scratch, scratch=scratch, device=device, threads=os.cpu_count() or 1)


def _made(stage: Stage, row: Row, context: Context) -> Row:
    """What the pipeline would put into the stage's table; UsageError where its model does not load."""
    try:
        function = stage.load(stage.options, context)
    except (OSError, ValueError) as error:
        words = str(error).strip().splitlines()[0]
        raise UsageError(f"the model of {stage.name} does not load ({words}); see `vsumdata doctor`") from error
    return function(row)


def _transcript(stage: Stage, row: Row, context: Context, remarks: list[str]) -> Row | None:
    """None without captions and a model, and with a remark where another language is spoken than is asked for."""
    if row["videos"]["caption"] is None and stage.options["identity"] == UNRESOLVED["identity"]:
        return None
    try:
        return _made(stage, row, context)
    except SkipVideo as error:
        remarks.append(f"what is said is not known: it is in the language {error.detail}")
        return None


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """A video's error becomes one line with the file's name."""
    try:
        yield
    except VideoError as error:
        words = REASONS.get(error.reason, str(error))
        detail = f" ({error.detail})" if error.detail and error.reason == "unreadable" else ""
        raise UsageError(f"{path}: {words}{detail}; give another file") from error


def _describe(record: Record, kind: Kind) -> Row:
    """The row of `videos`; UsageError where the caption file does not serve."""
    languages = kind.loaded.manifest.captions.languages
    if record.captions and not Path(record.captions).is_file():
        raise UsageError(f"--captions {record.captions}: there is no such file")
    row = videos.describe_file(record.as_dict(), languages)
    if record.captions and transcripts.from_captions(row, languages)[0] is None:
        why = transcripts.from_captions(row, languages)[1]
        raise UsageError(f"--captions {record.captions}: {why}; give a .vtt, .srt or .json3 file, or leave it out")
    return {
        "video_id": record.video_id,
        "source": record.as_dict(),
        "media": record.video,
        "videos": row,
        "articles": None,
    }


def _models(kind: Kind, shown: str, *, hears: bool, remarks: list[str]) -> Models:
    """The models that this video needs; UsageError with the remedy where one is not here."""
    manifest, folder = kind.loaded.manifest, kind.loaded.folder
    keys, settings = model_keys(manifest), manifest.features
    asr = text = NOT_NEEDED
    clip = _resolved(keys["clip"], kind, lambda: resolve_clip(settings.clip.model, settings.clip.weights, folder))
    if shown != "none":
        text = _resolved(keys["text"], kind, lambda: resolve_text(settings.text.model, folder))
    if hears:
        try:
            asr = _resolved(keys["asr"], kind, lambda: resolve_asr(manifest.asr.engine, manifest.asr.model, folder))
        except UsageError as error:
            if shown in ("subtitles", "both"):
                raise UsageError(f"{error}; or give the captions with --captions FILE") from error
            remarks.append(f"what is said is not known: {error}")
    return Models(asr=asr, clip=clip, text=text)


def _resolved(key: str, kind: Kind, resolve: Callable[[], Model]) -> Model:
    """The model as it can be had, else as the run's root knew it, for it may be in a cache; its content is the same."""
    try:
        found = resolve()
    except UsageError:
        if key not in kind.known:
            raise
        return Model(**kind.known[key])
    if key in kind.known and found.identity != kind.known[key]["identity"]:
        raise UsageError(
            f"{kind.loaded.file} was trained with {key} as {kind.known[key]['identity']}, here it is "
            f"{found.identity}: put back the model's files, or make the features again and train anew"
        )
    return found


def _without_text(row: Row, kind: Kind) -> Row:
    """The columns that a model of pictures alone needs, and what is said as it is."""
    dim = len(row["frames"]["frame_feature"][0])
    said = (row["transcripts"] or {}).get("sentence") or []
    return {
        **{name: row["videos"][name] for name in ("title", "url", "duration_s")},
        **features.frame_columns(row["frames"], None, dim, kind.fps),
        "sentence": [sentence for sentence in said if sentence["text"].strip()],
    }


def _random(kind: Kind) -> list[str]:
    weights = kind.loaded.manifest.features.clip.weights
    return [f"CLIP has the random weights {weights}: the scores mean nothing"] if SEED.fullmatch(weights) else []
