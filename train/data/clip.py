"""The two towers of the CLIP that made a root's frames, to compare texts and pictures of other sources with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vsumdata.datasets.join import replaces_frames
from vsumdata.manifests.errors import UsageError
from vsumdata.manifests.manifest import Features, from_stored
from vsumdata.manifests.store import Store
from vsumdata.train.data.origin import Origin

if TYPE_CHECKING:
    from vsumdata.stages.encoders.clip import ClipEncoder

Encode = Callable[[Sequence[str]], np.ndarray]  # texts -> [M,D]


def text_tower(root: str) -> Encode:
    """Open the text tower of the CLIP that made the root's frames. Raises UsageError if it is not available."""
    from vsumdata.stages.encoders.clip import ClipText

    features, location = clip_of(root)
    return ClipText(features.clip.model, features.clip.weights, location).encode


def image_tower(root: str) -> ClipEncoder:
    """Open the image tower of the CLIP that made the root's frames, on a GPU if there is one.

    Raises UsageError if it is not available.
    """
    import torch

    from vsumdata.stages.encoders.clip import ClipEncoder

    features, location = clip_of(root)
    return ClipEncoder(
        features.clip.model,
        features.clip.weights,
        # int8 is for CPUs.
        "cuda" if torch.cuda.is_available() and features.precision != "int8" else "cpu",
        # The tower sets the number for the whole process, which trains as well.
        torch.get_num_threads(),
        features.precision,
        location,
    )


def clip_of(root: str) -> tuple[Features, str]:
    """The settings of a root's features, and where CLIP's weights lie on this machine. Raises UsageError."""
    from vsumdata.stages.encoders.models import model_keys, resolve_clip

    stored = Store(root).dataset()["manifest"]
    if "settings" not in stored:
        raise UsageError(f"{root} does not say which CLIP made its frames")
    # The stored manifest remembers its folder: a local path of weights is relative to it, not to the caller's.
    manifest = from_stored(stored["settings"], stored["folder"], stored["file"]).manifest
    clip = manifest.features.clip
    locked = (Store(root).read_json("models.json") or {}).get(model_keys(manifest)["clip"], {}).get("identity", "")
    found = resolve_clip(clip.model, clip.weights, stored["folder"], locked)
    if locked and found.identity != locked:
        raise UsageError(f"{root} was made with {locked}, here it is {found.identity}: put back the model's files")
    return manifest.features, found.location


def root_of(origin: Origin) -> str | None:
    """The root of ours that the features of a run's frames come from; None if they come from elsewhere."""
    if replaces_frames(origin.features_root):
        return origin.features_root
    return origin.path if origin.data_set == "shards" else None
