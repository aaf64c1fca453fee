"""Options and resources of the recipe's stages that come from one place of the manifest and serve several of them."""

from __future__ import annotations

from typing import Any

from vsumdata.manifests.manifest import ChatModel, Manifest
from vsumdata.stages.curation import prompts
from vsumdata.stages.encoders.models import Model, Models


def clip_options(manifest: Manifest, models: Models) -> dict[str, Any]:
    """The CLIP of the frames, for a stage that embeds texts or other pictures by it."""
    clip, found = manifest.features.clip, models.clip
    names = {"clip_model": clip.model, "clip_weights": clip.weights}
    return names | {"clip_identity": found.identity, "clip_location": found.location}


def shot_options(manifest: Manifest, found: Model | None) -> dict[str, Any]:
    """The options of `frames` where `features.shots` names weights."""
    if found is None:
        return {}
    weights = manifest.features.shots
    return {"shots_weights": weights, "shots_identity": found.identity, "shots_location": found.location}


def segment_options(manifest: Manifest, found: Model | None) -> dict[str, Any]:
    """The S3D of `segment_features`; its location is "" where no weights are named."""
    weights = manifest.labels.segment_features.weights or ""
    identity, location = ("", "") if found is None else (found.identity, found.location)
    return {"s3d_weights": weights, "s3d_identity": identity, "s3d_location": location}


def chat_options(asked: ChatModel, found: Model | None) -> dict[str, Any]:
    """The options of a stage that asks a language model. An endpoint's address is none of them: it may move."""
    identity = f"{asked.model} {asked.revision}".strip() if found is None else found.identity
    return {
        "model": asked.model if found is None else found.name,
        "chat_model": asked.model or "",
        "chat_identity": f"{identity}, prompts {prompts.VERSION}",
        "chat_location": "" if found is None else found.location,
        "prompts": prompts.VERSION,
    }


def resources(manifest: Manifest, name: str) -> dict[str, Any]:
    """Return the manifest's `resources` of a stage as fields of Stage; `gpus: auto` becomes -1."""
    asked = getattr(manifest.resources, name)
    automatic: float = -1
    if name == "transcripts":
        # Speech recognition on the CPU must not reserve a GPU, and `cuda` must not run without one.
        automatic = {"cpu": 0, "cuda": 1, "auto": -1}[manifest.asr.device]
    captioner, writer = manifest.summaries.captioner, manifest.summaries.writer
    loads = {
        "frame_captions": captioner.local is not None,
        "summaries": writer.local is not None and manifest.summaries.method == "llm",
        "quality": False,
        "step_times": False,
    }
    if not loads.get(name, True):
        # An endpoint brings its own GPU, and a few texts by CLIP's text tower need none.
        automatic = 0
    return {
        "gpus": automatic if asked.gpus == "auto" else float(asked.gpus),
        "workers": None if asked.workers == "auto" else asked.workers,
    }
