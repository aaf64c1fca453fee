"""Every summarizer in small, and batches for the objectives that need no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vsumdata.datasets import synthetic
from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.train.methods import SUPERVISED
from vsumdata.train.objectives.unlabelled import Unlabelled
from vsumdata.train.settings import class_of

TRUNK = {"hidden": 16, "layers": 1, "heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [16]},
    "vasnet": {"width": 16, "hidden": 16, "regressor": 16},
    "pglsum": {"width": 16, "hidden": 16, "heads": 2, "segments": 2},
    "csta": {"width": 48, "weights": "none"},
    "msva": {"sources": 2, "regressor": [16, 16, 16]},
    "vslstm": {"hidden": 16},
    "dpplstm": {"hidden": 16, "kernel": 8},
    "a2summ": TRUNK,
    "hiersum": TRUNK,
    "dsnet": {"hidden": 16, "heads": 2},
    "slmodule": {"width": 16, "heads": 2, "layers": 1},
    "umt": {"hidden": 16, "heads": 2, "position_rows": 400},
    "triplesumm": {"hidden": 16, "heads": 2, "head_hidden": 16, "windows": [5, 0]},
}
SETS = {name: [f"model.{key}={value}" for key, value in options.items()] for name, options in SMALL.items()}


def summarizer(name: str, frame_dim: int = synthetic.FRAME_DIM) -> nn.Module:
    kind = class_of(name, "model")
    text_dim = synthetic.TEXT_DIM if SUPERVISED[name].reads_text else None
    more = {"audio_dim": synthetic.AUDIO_DIM} if SUPERVISED[name].reads_audio else {}
    found: nn.Module = kind(kind.Options.model_validate(SMALL[name]), frame_dim, text_dim, **more)
    return found


def attached(objective: Unlabelled, name: str, batch: Batch, seed: int = 0) -> nn.Module:
    """A summarizer, with `objective` attached to it."""
    torch.manual_seed(seed)
    model = summarizer(name, batch.frame_feature.shape[2])
    objective.attach(model, lambda: summarizer(name, batch.frame_feature.shape[2]), batch)
    return model


def videos(num: int = 8, frames: int = 30, seed: int = 0) -> list[Video]:
    return synthetic.load(f"videos={num},frames={frames},users=2,seed={seed}")


def batch_of(num: int = 8, frames: int = 30) -> Batch:
    return collate(videos(num, frames))


def of_features(features: Sequence[np.ndarray]) -> Batch:
    return collate(
        [
            Video(
                video_id=f"v{at}",
                frame_time_s=np.arange(len(feature), dtype=np.float32),
                frame_feature=feature.astype(np.float32),
            )
            for at, feature in enumerate(features)
        ]
    )


def all_equal(num: int = 8, frames: int = 20) -> Batch:
    """Every frame of every video has the same feature."""
    return of_features([np.ones((frames + at, synthetic.FRAME_DIM)) for at in range(num)])


def gradients(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


class Without(nn.Module):
    """A summarizer whose scores lack something, or let no gradient through."""

    def __init__(self, model: nn.Module, missing: str) -> None:
        super().__init__()
        self.model, self.missing = model, missing

    def forward(self, batch: Batch) -> Any:
        scores = self.model(batch)
        if self.missing == "gradient":
            return replace(scores, frame_logit=scores.frame_logit.detach())
        return replace(scores, frame_embedding=None)
