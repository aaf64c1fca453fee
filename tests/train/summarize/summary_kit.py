"""Training runs with drawn weights, for a root's features: what is tested is what becomes of their scores."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from vsumdata.train.data.origin import Origin, features_of
from vsumdata.train.loop import checkpoints, runs
from vsumdata.train.loop.runs import BEST, Info
from vsumdata.train.settings import settings_of

TINY = ("model.hidden=16", "model.layers=1", "model.heads=2")


def drawn_run(
    path: Path,
    root: Path,
    *,
    method: str = "hiersum",
    sets: tuple[str, ...] = TINY,
    sizes: tuple[int, int | None] = (256, 384),
    origin: Origin | None = None,
) -> Path:
    """RUN with weights large enough that scores differ."""
    info = Info(
        # Drawn weights as large as `xavier` makes them, the default of hiersum, would give every frame the same score.
        settings=settings_of(method, "paper" if method == "hiersum" else "default", sets),
        protocol="shards",
        origin=origin or Origin(data_set="shards", path=str(root), features=features_of(str(root))),
        train=("one",),
        val=(),
        frame_dim=sizes[0],
        text_dim=sizes[1],
    )
    torch.manual_seed(0)
    model = runs.build(info)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(6)
    path.mkdir()
    (path / "run.json").write_text(info.model_dump_json(), encoding="utf-8")
    checkpoints.save(path / BEST, info.digest, nn.ModuleDict({"model": model}), checkpoints.Position())
    return path
