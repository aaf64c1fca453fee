"""The recipe: the ordered list of stages. READ THIS FIRST.

videos ──> articles ─────────┐
   ├─────> transcripts ──────┤
   └─────> frames ───────────┴──> features

To add a stage: write its row function (`vsumdata.pipeline.stage`), give its table a schema
(`vsumdata.manifests.tables`) and put it into the list below.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vsumdata.manifests.manifest import Loaded, Manifest
from vsumdata.pipeline.errors import UsageError
from vsumdata.pipeline.stage import Stage
from vsumdata.stages import articles, features, frames, media, select, transcripts, videos
from vsumdata.stages.models import Model, resolve_asr, resolve_clip, resolve_text

GROUPS = {"crawl": ("videos", "articles"), "asr": ("transcripts",), "features": ("frames", "features")}
OWN_RECORD = ("url", "video", "captions", "article", "article_url", "steps", "title", "description")
OWN_FACTS = ("view_count", "heatmap", "license")
NEEDED_BY = {"asr": {"transcripts", "features"}, "clip": {"frames", "features"}, "text": {"features"}}
# A model that no wanted table needs and that cannot be had now; its tables have a fingerprint of their own.
UNRESOLVED = {"name": "?", "location": "?", "identity": "unresolved", "dim": 1}


@dataclass(frozen=True)
class Models:
    """What the manifest's model names mean, resolved before any work."""

    asr: Model
    clip: Model
    text: Model


def recipe(manifest: Manifest, models: Models) -> dict[str, Stage]:
    """The stages in order, by the table that each writes."""
    stages = [
        videos_stage(manifest),
        articles_stage(),
        transcripts_stage(manifest, models),
        frames_stage(manifest, models),
        features_stage(manifest, models),
    ]
    return {stage.name: stage for stage in stages}


def videos_stage(manifest: Manifest) -> Stage:
    return Stage(
        name="videos",
        reads={"source": OWN_RECORD + OWN_FACTS},
        load=videos.load,
        options={"languages": manifest.captions.languages},
        affects={"languages": ("caption",)},
        batch=8,
        signal=select.has_heatmap,
    )


def articles_stage() -> Stage:
    return Stage(
        name="articles",
        reads={"source": ("article", "article_url", "steps", "title"), "videos": ("article_url",)},
        load=articles.load,
        version=articles.PARSER_VERSION,
        batch=8,
    )


def transcripts_stage(manifest: Manifest, models: Models) -> Stage:
    return Stage(
        name="transcripts",
        reads={"source": ("video",), "videos": ("url", "caption", "language", "duration_s")},
        load=transcripts.load,
        version=2,  # counts up whenever the same captions or sound may give other sentences
        fetch=media.fetch_sound,
        options={
            "languages": manifest.captions.languages,
            "engine": manifest.asr.engine,
            "model": manifest.asr.model,
            "identity": models.asr.identity,
            "location": models.asr.location,
        },
        batch=4,
        **resources(manifest, "transcripts"),
    )


def frames_stage(manifest: Manifest, models: Models) -> Stage:
    settings = manifest.features
    return Stage(
        name="frames",
        reads={"source": ("video",), "videos": ("url", "duration_s")},
        load=frames.load,
        fetch=media.fetch_picture,
        options={
            "fps": settings.fps,
            "sampling": settings.sampling,
            "hwaccel": settings.hwaccel,
            "precision": settings.precision,
            "clip_model": settings.clip.model,
            "clip_weights": settings.clip.weights,
            "clip_identity": models.clip.identity,
            "clip_location": models.clip.location,
            "frame_dim": models.clip.dim,
        },
        **resources(manifest, "frames"),
    )


def features_stage(manifest: Manifest, models: Models) -> Stage:
    video = ("title", "source", "url", "license", "description", "duration_s", "heatmap", "article_url")
    return Stage(
        name="features",
        reads={
            "videos": video,
            "articles": ("url", "title", "license", "step"),
            "transcripts": ("sentence",),
            "frames": ("frame_time_s", "frame_feature", "shot_start", "shot_stop"),
        },
        load=features.load,
        options={
            "text_model": manifest.features.text.model,
            "text_identity": models.text.identity,
            "text_location": models.text.location,
            "text_dim": models.text.dim,
            "frame_dim": models.clip.dim,
            "fps": manifest.features.fps,
            "split": manifest.features.split.model_dump(),
        },
        batch=16,
        **resources(manifest, "features"),
    )


def resources(manifest: Manifest, name: str) -> dict[str, Any]:
    """The manifest's request for workers as fields of a Stage; `gpus: auto` is -1 there."""
    asked = getattr(manifest.resources, name)
    automatic = 0 if name == "transcripts" and manifest.asr.device == "cpu" else -1
    return {
        "gpus": automatic if asked.gpus == "auto" else float(asked.gpus),
        "workers": None if asked.workers == "auto" else asked.workers,
    }


def resolve_models(loaded: Loaded, known: Mapping[str, Any], wanted: Collection[str]) -> Models:
    """Find the models that the wanted tables need, without loading any; raises UsageError with the remedy.

    `known` is the root's `models.json`: what a hub name resolved to before serves where it cannot be had now
    (without network, say), and means the same model.
    """
    asr, features = loaded.manifest.asr, loaded.manifest.features
    resolvers: dict[str, Callable[[], Model]] = {
        "asr": lambda: resolve_asr(asr.engine, asr.model, loaded.folder),
        "clip": lambda: resolve_clip(features.clip.model, features.clip.weights, loaded.folder),
        "text": lambda: resolve_text(features.text.model, loaded.folder),
    }
    found = {}
    for name, key in model_keys(loaded.manifest).items():
        try:
            found[name] = resolvers[name]()
        except UsageError:
            if key not in known and not NEEDED_BY[name].isdisjoint(wanted):
                raise
            found[name] = Model(**known.get(key, UNRESOLVED))
    return Models(**found)


def known_models(manifest: Manifest, known: Mapping[str, Any]) -> Models:
    """The models as the last run resolved them."""
    return Models(**{name: Model(**known.get(key, UNRESOLVED)) for name, key in model_keys(manifest).items()})


def model_keys(manifest: Manifest) -> dict[str, str]:
    """How `models.json` names each model."""
    clip = manifest.features.clip
    return {
        "asr": f"asr {manifest.asr.engine} {manifest.asr.model}",
        "clip": f"clip {clip.model} {clip.weights}",
        "text": f"text {manifest.features.text.model}",
    }


def parse_stages(text: str) -> list[str]:
    """`crawl,asr,features` (groups) or single tables, as tables in the recipe's order."""
    order = [table for tables in GROUPS.values() for table in tables]
    wanted: set[str] = set()
    for word in (part.strip() for part in text.split(",")):
        if word not in GROUPS and word not in order:
            known = [*GROUPS, *(table for table in order if table not in GROUPS)]
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise UsageError(f"--stage: no stage `{word}`; {hint}known are: {', '.join(known)}")
        wanted.update(GROUPS.get(word, (word,)))
    return [table for table in order if table in wanted]
