"""Moment-DETR's objective: the parts add up, videos without moments, moments from a summary's runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.train.models.queried.planted_queries import DIM, planted

from vsumdata.datasets.video import Batch, collate
from vsumdata.train.models.queried.moment_detr import MomentDETR, MomentDETROptions
from vsumdata.train.objectives.moments import Moments, MomentsOptions, moments_of

VIDEOS = planted(3)
NAMES = {"l1": 10.0, "giou": 1.0, "label": 4.0}


def loss(batch: Batch, **options: float) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = MomentDETR(MomentDETROptions(hidden=16, heads=2, feedforward=16), DIM, query_dim=DIM).eval()
    torch.manual_seed(0)
    return Moments(MomentsOptions(**options))(model, batch, 0)


def test_the_parts_add_up_over_the_layers() -> None:
    found = loss(collate(VIDEOS))
    parts = {f"{name}{layer}": weight for name, weight in NAMES.items() for layer in ("", "_1")} | {"saliency": 1.0}
    assert set(found) == {"loss", *parts, "left_out", "positive_rate"}
    assert float(found["loss"].detach()) == pytest.approx(sum(float(found[name]) * parts[name] for name in parts))
    found["loss"].backward()
    alone = loss(collate(VIDEOS), earlier=False, w_saliency=0)
    assert float(alone["loss"].detach()) == pytest.approx(sum(float(found[name]) * NAMES[name] for name in NAMES))


def test_a_video_that_tells_nothing_adds_nothing() -> None:
    silent = replace(VIDEOS[1], moment=None, gt_score=None, gt_summary=None)
    found, expected = loss(collate([VIDEOS[0], silent])), loss(collate(VIDEOS[:1]))
    assert float(found["left_out"]) == 1
    for name in ("l1", "giou", "label"):
        torch.testing.assert_close(found[name], expected[name])
    nothing = loss(collate([silent]))
    assert float(nothing["loss"].detach()) == 0
    nothing["loss"].backward()


def test_without_moments_of_their_own_videos_have_the_runs_of_their_summary() -> None:
    video = replace(VIDEOS[0], moment=None)
    num = len(video.frame_time_s)
    summary = np.zeros(num, np.uint8)
    summary[[1, 2, num - 1]] = 1
    batch = collate([replace(video, gt_summary=summary), VIDEOS[1]])
    found, own = moments_of(batch, 0), moments_of(batch, 1)
    assert found is not None
    assert found.tolist() == [[2, 6], [2 * num - 2, 2 * num]]
    assert own is VIDEOS[1].moment
    nothing = collate([replace(video, gt_summary=np.zeros(num, np.uint8))])
    none = moments_of(nothing, 0)
    assert none is not None
    assert none.shape == (0, 2), "nothing is relevant, which is known"
    parts = loss(nothing)
    assert float(parts["label"]) > 0
    assert float(parts["l1"]) == 0


def wanted(objective: Moments, batch: Batch) -> torch.Tensor:
    (found,) = objective.wanted(batch, torch.zeros(1))
    assert found is not None
    return found


def test_of_many_moments_a_step_looks_at_some() -> None:
    ends = np.arange(8, dtype=np.float32)
    video = replace(VIDEOS[0], moment=np.stack([ends, ends + 1], 1))
    objective = Moments(MomentsOptions(most=3))
    batch = collate([video])
    torch.manual_seed(0)
    draws = {tuple(wanted(objective, batch).ravel().tolist()) for _ in range(8)}
    assert all(len(draw) == 6 for draw in draws)
    assert len(draws) > 1
    # A joined video may end before its moments do.
    outside = collate([replace(VIDEOS[0], moment=np.array([[900, 950]], np.float32))])
    assert wanted(objective, outside).shape == (0, 2)
