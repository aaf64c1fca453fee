"""MSVA: its aperture and its sources. What holds for every model is tested in test_attention_models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.train.models.msva import MSVA, MSVAOptions
from vsumdata.train.models.vasnet import VASNet, VASNetOptions

SMALL = {"regressor": (12, 10, 16)}


def build(frame_dim, **options) -> MSVA:
    torch.manual_seed(3)
    return MSVA(MSVAOptions(**SMALL, **options), frame_dim).double().eval()


def batch_of(*features) -> Batch:
    videos = [
        Video(video_id=str(n), frame_time_s=np.arange(len(each), dtype=np.float32), frame_feature=each)
        for n, each in enumerate(features)
    ]
    batch = collate(videos)
    return replace(batch, frame_feature=batch.frame_feature.double())


def frames(num_frames, dim, seed=0):
    return np.random.default_rng([num_frames, seed]).normal(size=(num_frames, dim)).astype(np.float32)


@torch.no_grad()
def embedding(model, batch):
    return model(batch).frame_embedding


def test_the_embedding_is_the_sum_over_the_sources():
    sources = [frames(11, 8, seed) for seed in range(3)]
    both = build(24, sources=3)
    one = build(8)
    one.load_state_dict(both.state_dict())  # the sources share every weight
    apart = sum(embedding(one, batch_of(source)) for source in sources)
    together = embedding(both, batch_of(np.concatenate(sources, 1)))
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)


def test_the_order_of_the_sources_does_not_matter():
    sources = [frames(7, 8, seed) for seed in range(3)]
    model = build(24, sources=3)
    forth, back = (embedding(model, batch_of(np.concatenate(each, 1))) for each in (sources, sources[::-1]))
    torch.testing.assert_close(forth, back, rtol=0, atol=1e-12)


@pytest.mark.parametrize("aperture", [1, 2, 5, None])
def test_a_frame_is_reached_from_within_the_aperture(aperture):
    """A frame gives its value to those it sees, with weights that depend on them: a reach of two apertures."""
    model = build(8, aperture=aperture)
    video = torch.from_numpy(frames(20, 8)).double()[None].requires_grad_()
    mask = torch.ones(1, 20, dtype=torch.bool)
    mixed, weight = model.attention(video, mask)
    at = torch.arange(20)
    near = (at[:, None] - at).abs() < (aperture or 20)
    assert torch.equal(weight[0] > 0, near)
    torch.testing.assert_close(weight.sum(-1), torch.ones(1, 20, dtype=torch.float64))
    (reached,) = torch.autograd.grad(mixed[0, 9].sum(), video)
    expected = (at - 9).abs() <= 2 * ((aperture or 20) - 1)
    assert torch.equal(reached[0].abs().amax(-1) > 0, expected)


def test_one_source_and_no_aperture_attend_as_vasnet():
    ours, theirs = build(8, aperture=None), VASNet(VASNetOptions(hidden=8, regressor=4), 8).double().eval()
    for name in ("attention", "norm_mixed"):
        theirs.get_submodule(name).load_state_dict(ours.get_submodule(name).state_dict())
    batch = batch_of(frames(6, 8), frames(9, 8))
    got, expected = (embedding(model, batch)[batch.frame_mask] for model in (ours, theirs))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_the_first_layers_of_the_regressor_are_linear():
    model = build(8)
    x, y = torch.randn(2, 5, 8, dtype=torch.float64)
    middle = model.regressor((x + y) / 2)
    torch.testing.assert_close(middle, (model.regressor(x) + model.regressor(y)) / 2, rtol=0, atol=1e-12)
