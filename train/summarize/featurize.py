"""The features of one video: made from a media file by the pipeline's own stages, or read from a root."""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vsumdata.datasets.shards import COLUMNS, open_shards
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import SkipVideo, UsageError, VideoError
from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.stages import features, media, transcripts, videos
from vsumdata.stages.encoders.models import (
    SEED,
    UNRESOLVED,
    Model,
    Models,
    model_keys,
    resolve_asr,
    resolve_clip,
    resolve_text,
)
from vsumdata.stages.stage import Context, Row, Stage, safe_name
from vsumdata.train.data.origin import Origin
from vsumdata.train.summarize.clips import Media, open_media

Recipe = Callable[[Manifest, Models], Mapping[str, Stage]]  # `vsumdata.pipeline.recipe.recipe`
NOT_COMPUTED = "vsumdata cannot compute them: train on a root of ours, or with --features ROOT"
# Stands for a model that this video does not need; no stage loads it.
NOT_NEEDED = Model("?", "?", str(UNRESOLVED["identity"]), 1)
REASONS = {
    "no_video": "it has sound only; a summary needs pictures",
    "file_missing": "there is no such file",
    "unreadable": "it cannot be read as a video",
    "encrypted": "it is encrypted",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the features of a run are made: its root's manifest, and the root's models.json at the time of training."""

    loaded: Loaded
    known: Mapping[str, Any]

    @property
    def fps(self) -> float:
        """Scored frames per second."""
        return self.loaded.manifest.features.fps

    @property
    def names(self) -> dict[str, str]:
        """Names of the models that make the features."""
        settings = self.loaded.manifest.features
        return {"clip": f"{settings.clip.model} {settings.clip.weights}", "text": settings.text.model}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A video with its features, its media if the file is on this machine, and remarks on both."""

    video: Video
    media: Media | None
    source: str
    remarks: tuple[str, ...]


def kind_of(origin: Origin, run: str | Path) -> Kind:
    """How to make features for the run at `run`. Raises UsageError if our stages did not make its training features."""
    if not origin.features:
        raise UsageError(
            f"{run} was trained on the features that {origin.data_set or 'its data'} brings; {NOT_COMPUTED}"
        )
    sections = {name: origin.features[name] for name in ("features", "asr", "captions")}
    # A manifest must name a source; this one is never read.
    manifest = Manifest.model_validate({"sources": [{"files": "none"}], **sections})
    loaded = Loaded(manifest=manifest, folder=origin.features["folder"], file=str(run))
    return Kind(loaded=loaded, known=origin.features["models"])


def of_root(video_id: str, root: str, kind: Kind) -> Found:
    """A video of a root's shards. Raises UsageError if the root lacks it, or has features of another kind."""
    shards = open_shards(root)
    entry = next((entry for entry in shards.entries if entry[0] == video_id), None)
    if entry is None:
        near = difflib.get_close_matches(video_id, shards.video_ids, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {len(shards)} videos"
        raise UsageError(f"{root} has no features of the video {video_id}; {hint}")
    # Another CLIP of the same size fits by shape, and would give scores that mean nothing.
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
                "give the video's file instead, so that its features are computed"
            )


def _kept(video: Video, root: str) -> tuple[Path | None, Path | None]:
    """The video's own file or the download that the root kept, and the sound if it is in a separate file."""
    address = urlsplit(video.url or "")
    if address.scheme == "file":
        own = Path(unquote(address.path))
        return (own if own.is_file() else None), None
    # Downloads are never kept on an object store.
    if "://" in root:
        return None, None
    folder = Path(root).expanduser() / "media" / safe_name(video.video_id)
    return media.finished(folder, "picture"), media.finished(folder, "sound")


def of_file(path: str, captions: str | None, kind: Kind, recipe: Recipe, *, shown: str, device: str) -> Found:
    """The row that the pipeline would make of a media file. The stages of `recipe` make it.

    `shown` is the text that the model is shown; with `none`, no text is embedded. Raises UsageError if the file is no
    video, or if a model is not available.
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
        listening = stages["transcripts"]
        # One video can wait: here alone a CPU may stand in for the GPU of `asr.device: cuda`.
        if stands_in := listening.options["device"] == "cuda" and device == "cpu":
            listening = replace(listening, options={**listening.options, "device": "cpu"})
        row["transcripts"] = _transcript(listening, row, _context(scratch, device), remarks)
        if stands_in and row["transcripts"] and row["transcripts"]["engine"] != "captions":
            remarks.append("Whisper listened on the CPU, for the run's root on a GPU: some words may differ")
        row["frames"] = _made(stages["frames"], row, _context(scratch, device))
        remarks += filter(None, [row["frames"].get("detail")])
        # A model of pictures alone needs no text model, which may not be on this machine.
        whole = shown != "none"
        payload = _made(stages["features"], row, _context(scratch, device)) if whole else _without_text(row, kind)
    values = {name: payload[name] for name in COLUMNS if name in payload}
    return Found(video=Video(video_id=record.video_id, **values), media=found, source=path, remarks=tuple(remarks))


def _context(scratch: str, device: str) -> Context:
    return Context(root=scratch, scratch=scratch, device=device, threads=os.cpu_count() or 1)


def _made(stage: Stage, row: Row, context: Context) -> Row:
    """The row that the stage makes. Raises UsageError if its model does not load."""
    try:
        function = stage.load(stage.options, context)
    # Model libraries raise either for missing or damaged files, with paragraphs of advice: keep the first line.
    except (OSError, ValueError) as error:
        words = str(error).strip().splitlines()[0]
        raise UsageError(f"the model of {stage.name} does not load ({words}); see `vsumdata doctor`") from error
    return function(row)


def _transcript(stage: Stage, row: Row, context: Context, remarks: list[str]) -> Row | None:
    """The transcript, or None: without captions and a speech model, or (with a remark) in a language not asked for."""
    if row["videos"]["caption"] is None and stage.options["identity"] == UNRESOLVED["identity"]:
        return None
    try:
        return _made(stage, row, context)
    except SkipVideo as error:
        remarks.append(f"no transcript: the language is {error.detail}, which captions.languages does not list")
        return None


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Turn the error of a video into a UsageError of one line with the file's name."""
    try:
        yield
    except VideoError as error:
        words = REASONS.get(error.reason, str(error))
        detail = f" ({error.detail})" if error.detail and error.reason == "unreadable" else ""
        raise UsageError(f"{path}: {words}{detail}; give another file") from error


def _describe(record: Record, kind: Kind) -> Row:
    """The row as the stages expect it, with the `videos` part filled. Raises UsageError for unusable captions."""
    languages = kind.loaded.manifest.captions.languages
    if record.captions and not Path(record.captions).is_file():
        raise UsageError(f"--captions {record.captions}: there is no such file")
    row = videos.describe_file(record.as_dict(), languages)
    # The pipeline would fall back to Whisper here. Who names a caption file wants that file, or an error.
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
    """The models that this video needs. Raises UsageError with the remedy if one is missing."""
    manifest, folder = kind.loaded.manifest, kind.loaded.folder
    keys, settings = model_keys(manifest), manifest.features
    asr = text = NOT_NEEDED
    clip = _resolved(keys["clip"], kind, partial(resolve_clip, settings.clip.model, settings.clip.weights, folder))
    if shown != "none":
        text = _resolved(keys["text"], kind, partial(resolve_text, settings.text.model, folder))
    if hears:
        try:
            asr = _resolved(keys["asr"], kind, partial(resolve_asr, manifest.asr.engine, manifest.asr.model, folder))
        # Only a model that reads subtitles depends on them. For the others they are an extra in summary.vtt.
        except UsageError as error:
            if shown in ("subtitles", "both"):
                raise UsageError(f"{error}; or give the captions with --captions FILE") from error
            remarks.append(f"no transcript: {error}")
    return Models(asr=asr, clip=clip, text=text)


def _resolved(key: str, kind: Kind, resolve: Callable[[str], Model]) -> Model:
    """The model as the run's root locked it. Raises UsageError if it cannot be had, or if its content has changed."""
    locked = kind.known.get(key, {}).get("identity", "")
    found = resolve(locked)
    # Same name, other content: a local file was replaced.
    if locked and found.identity != locked:
        raise UsageError(
            f"{kind.loaded.file} was trained with {key} as {locked}, here it is {found.identity}: "
            "put back the model's files, or make the features again and train anew"
        )
    return found


def _without_text(row: Row, kind: Kind) -> Row:
    """The columns that a model of pictures alone needs, and the sentences without embeddings."""
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
