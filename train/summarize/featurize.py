"""The features of one video: made from a media file by the pipeline's own stages, or read from a root."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import numpy as np

from vsumdata.datasets.shards import COLUMNS, heard, open_shards
from vsumdata.datasets.video import Video
from vsumdata.manifests.errors import SkipVideo, UsageError, VideoError
from vsumdata.manifests.manifest import Manifest
from vsumdata.manifests.sources import Record
from vsumdata.manifests.store import Store
from vsumdata.stages import features, media, transcripts, videos
from vsumdata.stages.encoders.hub import is_here
from vsumdata.stages.encoders.models import (
    UNRESOLVED,
    Model,
    Models,
    model_keys,
    resolve_asr,
    resolve_audio,
    resolve_clip,
    resolve_shots,
    resolve_text,
)
from vsumdata.stages.stage import Context, Function, Row, Stage, safe_name
from vsumdata.train.summarize.beside import Beside, beside
from vsumdata.train.summarize.clips import Media, open_media
from vsumdata.train.summarize.kinds import Kind

Recipe = Callable[[Manifest, Models], Mapping[str, Stage]]  # `vsumdata.pipeline.recipe.recipe`
# Stands for a model that this video does not need; no stage loads it.
NOT_NEEDED = Model("?", "?", str(UNRESOLVED["identity"]), 1)
REASONS = {
    "no_video": "it has sound only; a summary needs pictures",
    "file_missing": "there is no such file",
    "unreadable": "it cannot be read as a video",
    "encrypted": "it is encrypted",
    "too_big": "it has more frames than can be scored",
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A video with its features, its media if the file is on this machine, and remarks on both."""

    video: Video
    media: Media | None
    source: str
    remarks: tuple[str, ...]


def of_root(video_id: str, root: str, kind: Kind) -> Found:
    """A video of a root's shards. Raises UsageError if the root lacks it, or has features of another kind."""
    shards = open_shards(root)
    entry = next((entry for entry in shards.entries if entry[0] == video_id), None)
    if entry is None:
        near = difflib.get_close_matches(video_id, shards.video_ids, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {len(shards)} videos"
        raise UsageError(f"{root} has no features of the video {video_id}; {hint}")
    # Another CLIP of the same size fits by shape, and would give scores that mean nothing.
    same_kind(root, kind)
    video = shards.read([entry])[0]
    path, sound = _kept(video, root)
    source, remarks = video.url or str(path or video_id), []
    if path is None:
        remarks.append("its media file is not here (crawl.keep_media keeps it): no summary.mp4, no thumbnails")
        return Found(video=video, media=None, source=source, remarks=tuple(remarks))
    with _named(path):
        return Found(video=video, media=open_media(path, sound), source=source, remarks=tuple(remarks))


def same_kind(root: str, kind: Kind) -> None:
    """Raise UsageError if the root's features are of another kind."""
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
    """The row that the pipeline would make of one media file: `Featurizer.of_file`."""
    with Featurizer(kind, recipe, shown=shown, device=device) as featurizer:
        return featurizer.of_file(path, captions)


class Featurizer:
    """Makes the rows that the pipeline would make of media files, by the stages of `recipe`. Each model loads once.

    `shown` is the text that the model is shown; with `none`, no text is embedded. A model that `hears` is given
    features of the sound, where the kind says by which encoder. With `fetches` false, a speech model that is not on
    this machine is done without. A context manager: temporary files go with the block.
    """

    def __init__(
        self, kind: Kind, recipe: Recipe, *, shown: str, device: str, fetches: bool = True, hears: bool = False
    ) -> None:
        self.kind, self.shown, self.device, self.hears = kind, shown, device, hears
        self._recipe, self._fetches = recipe, fetches
        self._loaded: dict[str, Function] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="vsumdata-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def of_file(self, path: str, captions: str | None = None, near: Beside | None = None) -> Found:
        """The features of a media file, with its captions or else what lies `near` it.

        Raises UsageError if the file is no video, or if a model is not available.
        """
        near = near or beside(path, self.kind.loaded.manifest.captions.languages)
        record = Record(
            video_id=Path(path).stem,
            source="files:none",
            video=str(Path(path).resolve()),
            captions=captions,
            title=near.title or Path(path).stem,
            heatmap=near.heatmap,
        )
        with _named(path):
            found = open_media(path)
            row, remarks = _describe(record, near, self.kind), [*self.kind.remarks, *near.remarks]
            hears = row["videos"]["caption"] is None and bool(found.info.audio)
            models = _models(self.kind, self.shown, hears=hears, fetches=self._fetches, remarks=remarks)
            if self.hears and (encoder := self.kind.loaded.manifest.features.audio_model):
                models = dataclasses.replace(models, audio=_audio_model(encoder, self.kind))
            stages = self._recipe(self.kind.loaded.manifest, models)
            payload = self._payload(row, stages, remarks)
            if self.hears:
                payload["audio_feature"] = self._heard(row, payload, stages, remarks)
        values = {name: payload[name] for name in (*COLUMNS, "audio_feature") if name in payload}
        return Found(video=Video(video_id=record.video_id, **values), media=found, source=path, remarks=tuple(remarks))

    def _payload(self, row: Row, stages: Mapping[str, Stage], remarks: list[str]) -> Row:
        """The columns of `features`; what to know of them is added to `remarks`."""
        listening = stages["transcripts"]
        # One video can wait: here alone a CPU may stand in for the GPU of `asr.device: cuda`.
        if stands_in := listening.options["device"] == "cuda" and self.device == "cpu":
            listening = replace(listening, options={**listening.options, "device": "cpu"})
        row["transcripts"] = self._transcript(listening, row, remarks)
        if stands_in and row["transcripts"] and row["transcripts"]["engine"] != "captions":
            remarks.append("Whisper listened on the CPU, for the run's root on a GPU: some words may differ")
        row["frames"] = self._made(stages["frames"], row)
        remarks += filter(None, [row["frames"].get("detail")])
        # A model of pictures alone needs no text model, which may not be on this machine.
        return self._made(stages["features"], row) if self.shown != "none" else _without_text(row, self.kind)

    def _heard(self, row: Row, payload: Row, stages: Mapping[str, Stage], remarks: list[str]) -> np.ndarray | None:
        """The features of the sound at each frame; None, with a remark, where there are none."""
        if self.kind.loaded.manifest.features.audio_model is None:
            remarks.append("without its sound: which encoder the run's features of sound are by is not known")
            return None
        try:
            feature = self._made(stages["audio"], row)["audio_feature"]
        except SkipVideo:
            remarks.append("it has no sound, which the run learnt from as well")
            return None
        return heard(feature, len(payload["frame_time_s"]), self.kind.fps)

    def _made(self, stage: Stage, row: Row) -> Row:
        """The row that the stage makes. Raises UsageError if its model does not load."""
        key = f"{stage.name} {dict(stage.options)}"
        if key not in self._loaded:
            context = Context(
                root=self._folder.name, scratch=self._folder.name, device=self.device, threads=os.cpu_count() or 1
            )
            try:
                self._loaded[key] = stage.load(stage.options, context)
            # Model libraries raise either for missing or damaged files, with paragraphs of advice: keep the first line.
            except (OSError, ValueError) as error:
                words = str(error).strip().splitlines()[0]
                raise UsageError(f"the model of {stage.name} does not load ({words}); see `vsumdata doctor`") from error
        return self._loaded[key](row)

    def _transcript(self, stage: Stage, row: Row, remarks: list[str]) -> Row | None:
        """The transcript; None without captions and a speech model, or (with a remark) in a language not asked for."""
        if row["videos"]["caption"] is None and stage.options["identity"] == UNRESOLVED["identity"]:
            return None
        try:
            return self._made(stage, row)
        except SkipVideo as error:
            remarks.append(f"no transcript: the language is {error.detail}, which captions.languages does not list")
            return None


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Turn the error of a video into a UsageError of one line with the file's name."""
    try:
        yield
    except VideoError as error:
        if error.detail == os.strerror(errno.EACCES):
            raise UsageError(f"{path}: no permission to read it; `chmod +r` gives it") from error
        words = REASONS.get(error.reason, str(error))
        detail = f" ({error.detail})" if error.detail and error.reason == "unreadable" else ""
        raise UsageError(f"{path}: {words}{detail}; give another file") from error


def _describe(record: Record, near: Beside, kind: Kind) -> Row:
    """The row as the stages expect it, with the `videos` part filled. Raises UsageError for unusable captions.

    Captions that only lie beside the file are left out where they are unusable.
    """
    languages = kind.loaded.manifest.captions.languages
    if record.captions is None and near.captions:
        whole = dataclasses.replace(record, captions=near.captions)
        row = videos.describe_file(whole.as_dict(), languages)
        if transcripts.from_captions(row, languages)[0] is not None:
            return _row(record, row)
    if record.captions and not Path(record.captions).is_file():
        raise UsageError(f"--captions {record.captions}: there is no such file")
    row = videos.describe_file(record.as_dict(), languages)
    # The pipeline would fall back to Whisper here. Who names a caption file wants that file, or an error.
    if record.captions and transcripts.from_captions(row, languages)[0] is None:
        why = transcripts.from_captions(row, languages)[1]
        raise UsageError(f"--captions {record.captions}: {why}; give a .vtt, .srt or .json3 file, or leave it out")
    return _row(record, row)


def _row(record: Record, video: Row) -> Row:
    return {
        "video_id": record.video_id,
        "source": record.as_dict(),
        "media": record.video,
        "videos": video,
        "articles": None,
    }


def _models(kind: Kind, shown: str, *, hears: bool, fetches: bool, remarks: list[str]) -> Models:
    """The models that this video needs. Raises UsageError with the remedy if one is missing."""
    manifest, folder = kind.loaded.manifest, kind.loaded.folder
    keys, settings = model_keys(manifest), manifest.features
    asr = text = NOT_NEEDED
    clip = resolved(keys["clip"], kind, partial(resolve_clip, settings.clip.model, settings.clip.weights, folder))
    if shown != "none":
        text = resolved(keys["text"], kind, partial(resolve_text, settings.text.model, folder))
    if hears:
        try:
            asr = resolved(keys["asr"], kind, partial(resolve_asr, manifest.asr.engine, manifest.asr.model, folder))
            if not fetches and not is_here(asr.location):
                asr = NOT_NEEDED
                raise UsageError(f"Whisper {manifest.asr.model} is not on this machine")
        # Only a model that reads subtitles depends on them. For the others they are an extra in summary.vtt.
        except UsageError as error:
            if shown in ("subtitles", "both"):
                raise UsageError(f"{error}; or give the captions with --captions FILE") from error
            remarks.append(f"no transcript: {error}")
    shots = None
    if (weights := settings.shots) is not None:
        shots = resolved(keys["shots"], kind, lambda _: resolve_shots(weights, folder))
    return Models(asr=asr, clip=clip, text=text, shots=shots)


def _audio_model(encoder: str, kind: Kind) -> Model:
    key = model_keys(kind.loaded.manifest)["audio"]
    return resolved(key, kind, partial(resolve_audio, encoder, kind.loaded.folder))


def resolved(key: str, kind: Kind, resolve: Callable[[str], Model]) -> Model:
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
        **features.frame_columns(row["frames"], row["videos"]["heatmap"], dim, kind.fps),
        "sentence": [sentence for sentence in said if sentence["text"].strip()],
    }
