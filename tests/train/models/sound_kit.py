"""Small videos with sound, queries and words for the models that read them, and a short training on planted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from vsumdata.datasets import synthetic
from vsumdata.datasets.synthetic import Planted
from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.train.data.targets import with_targets
from vsumdata.train.methods import METHODS
from vsumdata.train.scoring import metrics
from vsumdata.train.settings import class_of, settings_of

NAMES = ("frame_feature", "frame_time_s", "audio_feature", "query_feature", "sentence_feature", "sentence_span")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The size of each kind of feature; 0: the video has none."""

    frame: int
    audio: int = 0
    query: int = 0
    text: int = 0


def video(num_frames: int, spec: Spec, seed: int = 0) -> Video:
    """A video of random features. Its sentences leave some frames in silence."""
    rng = np.random.default_rng([num_frames, seed])

    def drawn(number: int, size: int) -> np.ndarray | None:
        return rng.standard_normal((number, size)).astype(np.float32) if size else None

    frame, audio, query = drawn(num_frames, spec.frame), drawn(num_frames, spec.audio), drawn(2 + seed, spec.query)
    assert frame is not None
    start = np.arange(1.0, num_frames, 3.0)
    return Video(
        video_id=f"v{seed}",
        frame_time_s=np.arange(num_frames, dtype=np.float32),
        frame_feature=frame,
        audio_feature=audio,
        query_feature=query,
        sentence=[{"start_s": at, "end_s": at + 2, "text": "words"} for at in start.tolist()],
        sentence_feature=drawn(len(start), spec.text),
    )


def batch_of(*videos: Video) -> Batch:
    """A batch in float64."""
    batch = collate(videos)
    features = {name: getattr(batch, name) for name in NAMES if name.endswith("_feature")}
    wide: dict[str, Any] = {name: None if each is None else each.double() for name, each in features.items()}
    return replace(batch, **wide)


def stretched(batch: Batch, more: int) -> Batch:
    """The batch with so many more padded frames, words and sentences, which hold anything."""
    found: dict[str, Any] = {}
    for field in fields(Batch):
        value = getattr(batch, field.name)
        if field.name in NAMES and value is not None:
            room = (0, 0, 0, more) if value.dim() == 3 else (0, more)
            found[field.name] = F.pad(value, room, value=7.0)
        elif field.name.endswith("_mask") and value is not None and value.dim() == 2:
            found[field.name] = F.pad(value, (0, more))
    return replace(batch, **found)


@cache
def planted(seed: int, num: int) -> tuple[Planted, ...]:
    spec = synthetic.Spec(videos=num, frames=30, users=3, user_noise=0.3, audio=0.5, seed=seed)
    return tuple(synthetic.plant(spec))


def learnt(method: str, options: Sequence[str], *, is_deaf: bool = False, epochs: int = 8) -> float:
    """Train on 64 planted videos, half of whose importance sounds show. Tau to the planted importance on others."""
    torch.manual_seed(0)
    settings = settings_of(method, "default", options)
    kind, sizes = class_of(method, "model"), (synthetic.FRAME_DIM, synthetic.TEXT_DIM)
    more = {"audio_dim": None if is_deaf else synthetic.AUDIO_DIM}
    model = kind(settings.model, *(sizes if METHODS[method].reads_text else (sizes[0], None)), **more)
    objective = class_of(method, "objective")(settings.objective)
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    videos = [with_targets(each.video, "given") for each in planted(0, 64)]
    if is_deaf:
        videos = [replace(each, audio_feature=None) for each in videos]
    batches = [collate(videos[at::8]) for at in range(8)]
    for step in range(epochs * len(batches)):
        adam.zero_grad()
        objective(model, batches[step % len(batches)], step)["loss"].backward()
        adam.step()
    model.eval()
    shown = planted(1, 24)
    with torch.no_grad():
        scores = model(collate([replace(each.video, audio_feature=None) if is_deaf else each.video for each in shown]))
    score = [row[: len(each.importance)] for row, each in zip(scores.frame_logit, shown, strict=True)]
    importance = np.concatenate([each.importance for each in shown])
    return float(metrics.kendall_tau(torch.cat(score).double().numpy(), importance)[0])
