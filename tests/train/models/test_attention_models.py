"""MLP, VASNet, PGL-SUM, SL-module, MSVA: no score depends on padding or batch mates, and every length works."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.manifests.errors import UsageError
from vsumdata.train.models.mlp import MLP, MLPOptions
from vsumdata.train.models.msva import MSVA, MSVAOptions
from vsumdata.train.models.pglsum import PGLSUM, PGLSUMOptions
from vsumdata.train.models.slmodule import SLModule, SLModuleOptions
from vsumdata.train.models.vasnet import LayerNorm, VASNet, VASNetOptions

DIM = 32
SMALL = {
    "mlp": (MLP, MLPOptions(hidden=(24, 16))),
    "vasnet": (VASNet, VASNetOptions(hidden=24, regressor=16)),
    "vasnet projected": (VASNet, VASNetOptions(width=16, hidden=24, regressor=16)),
    "pglsum": (PGLSUM, PGLSUMOptions(heads=4)),
    "pglsum relative": (PGLSUM, PGLSUMOptions(heads=4, segments=2, fusion="max", positions="relative", hidden=64)),
    "pglsum global": (PGLSUM, PGLSUMOptions(heads=2, segments=None, positions="none")),
    "pglsum projected": (PGLSUM, PGLSUMOptions(width=16, heads=2)),
    "slmodule": (SLModule, SLModuleOptions(layers=2, heads=4, feedforward=40)),
    "slmodule projected": (SLModule, SLModuleOptions(width=16, layers=1, heads=2, feedforward=40)),
    "msva": (MSVA, MSVAOptions(regressor=(12, 10, 16))),
    "msva near": (MSVA, MSVAOptions(aperture=4, regressor=(12, 10, 16))),
    "msva sources": (MSVA, MSVAOptions(sources=4, aperture=3, width=6, regressor=(12, 10, 16))),
}


def build(name, dim=DIM, **changes):
    """A small model in float64: the rounding of float32 depends on the padded size."""
    torch.manual_seed(3)
    model, options = SMALL[name]
    return model(options.model_copy(update=changes), dim).double().eval()


def batch_of(*features) -> Batch:
    videos = [
        Video(video_id=str(n), frame_time_s=np.arange(len(each), dtype=np.float32), frame_feature=np.asarray(each))
        for n, each in enumerate(features)
    ]
    batch = collate(videos)
    return replace(batch, frame_feature=batch.frame_feature.double())


def frames(num_frames, seed=0, dim=DIM):
    return np.random.default_rng([num_frames, seed]).normal(size=(num_frames, dim)).astype(np.float32)


def score(model, batch):
    with torch.no_grad():
        return model(batch).frame_logit.sigmoid()


def everything(model, batch):
    """Logit and embedding of each frame, [B,T,1+D]."""
    with torch.no_grad():
        scores = model(batch)
    return torch.cat([scores.frame_logit[..., None], scores.frame_embedding], -1)


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 23), min_size=1, max_size=5), more=st.integers(0, 9))
def test_a_video_is_scored_as_if_it_were_alone(name, lengths, more):
    model, videos = build(name), [frames(n, seed) for seed, n in enumerate(lengths)]
    together = batch_of(*videos)
    longer = F.pad(together.frame_feature, (0, 0, 0, more), value=7.0)  # padding may hold anything
    padded = replace(together, frame_feature=longer, frame_mask=F.pad(together.frame_mask, (0, more)))
    for row, video in zip(everything(model, padded), videos, strict=True):
        alone = everything(model, batch_of(video))[0]
        assert alone.isfinite().all()
        torch.testing.assert_close(row[: len(video)], alone, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", SMALL)
def test_the_order_of_a_batch_does_not_matter(name):
    model, batch = build(name), batch_of(frames(9), frames(1), frames(14), frames(6))
    order = torch.tensor([2, 0, 3, 1])
    turned = replace(batch, frame_feature=batch.frame_feature[order], frame_mask=batch.frame_mask[order])
    expected = score(model, batch)[order].masked_fill(~turned.frame_mask, 0)
    got = score(model, turned).masked_fill(~turned.frame_mask, 0)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_nan_for_frames_without_content(name):
    model, batch = build(name).train(), batch_of(np.zeros((3, DIM), np.float32), frames(11), frames(1))
    logit = model(batch).frame_logit
    logit[batch.frame_mask].square().sum().backward()
    assert logit.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_learns_and_padding_gives_no_gradient(name):
    model, batch = build(name), batch_of(frames(19), frames(10))
    batch.frame_feature.requires_grad_()
    model(batch).frame_logit[batch.frame_mask].square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().max() > 1e-9]
    assert not still
    per_frame = batch.frame_feature.grad.abs().amax(-1)
    assert (per_frame[batch.frame_mask] > 0).all()
    assert not per_frame[~batch.frame_mask].any()


@pytest.mark.parametrize("name", SMALL)
def test_a_logit_comes_from_its_frames_embedding(name):
    scores = build(name)(batch_of(frames(9)))
    through = [
        torch.autograd.grad(logit, scores.frame_embedding, retain_graph=True)[0][0].any(-1)
        for logit in scores.frame_logit[0]
    ]
    others = ~torch.eye(9, dtype=torch.bool)
    assert torch.stack(through).any()
    assert not (torch.stack(through) & others).any()


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_is_near_float32(name):
    model, batch = build(name).float(), batch_of(frames(19), frames(10))
    batch = replace(batch, frame_feature=batch.frame_feature.float() / 4)  # unscaled energies lose much to rounding
    with torch.autocast("cpu", torch.bfloat16):
        rough = score(model, batch)
    torch.testing.assert_close(rough.float(), score(model, batch), rtol=0, atol=0.05)


@pytest.mark.parametrize("name", ["vasnet", "pglsum", "slmodule", "msva sources"])
def test_dropout_draws_from_torch_alone(name):
    model, batch = build(name).train(), batch_of(frames(19), frames(10))

    def drawn(seed):
        torch.manual_seed(seed)
        return score(model, batch)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    still = build(name, dropout=0.0).train()
    torch.testing.assert_close(score(still, batch), score(still.eval(), batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["vasnet", "pglsum", "slmodule", "msva"])
def test_attention_lets_each_frame_see_the_others(name):
    model, video = build(name), frames(12)
    other = video.copy()
    other[10] *= -1
    change = (score(model, batch_of(other)) - score(model, batch_of(video)))[0].abs()
    assert (change > 1e-9).all()


def test_the_mlp_sees_one_frame_at_a_time():
    model, video = build("mlp"), frames(12)
    alone = torch.cat([score(model, batch_of(video[t : t + 1])) for t in range(12)], 1)
    torch.testing.assert_close(score(model, batch_of(video)), alone, rtol=0, atol=1e-12)


def test_vasnets_norm_divides_by_the_unbiased_deviation():
    norm = LayerNorm(2, eps=0.5)
    expected = torch.tensor([-1.0, 1.0]) / (math.sqrt(2) + 0.5)
    torch.testing.assert_close(norm(torch.tensor([1.0, 3.0])), expected)


def test_vasnet_gathers_what_each_frame_hands_out():
    """With equal energies each frame gives 1/T of its value to every frame: each receives the mean."""
    model = build("vasnet")
    torch.nn.init.zeros_(model.attention.query.weight)
    x = torch.from_numpy(frames(5)).double()[None]
    mixed, weight = model.attention(x, torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(weight, torch.full_like(weight, 1 / 5))
    torch.testing.assert_close(mixed, model.attention.out(model.attention.value(x)).mean(1, True).expand_as(x))


def test_vasnet_sums_columns_not_rows():
    """All attend to frame 0 alone: it receives the sum of the values, the others nothing."""
    model = build("vasnet")
    with torch.no_grad():
        model.attention.key.weight.copy_(torch.eye(24, DIM))
        model.attention.query.weight.zero_()[0, 1:] = 1000.0
    x = torch.full((1, 4, DIM), 1.0, dtype=torch.float64)
    x[0, 1:, 0] = 0
    mixed, _ = model.attention(x, torch.ones(1, 4, dtype=torch.bool))
    expected = torch.zeros_like(mixed)
    expected[0, 0] = model.attention.out(model.attention.value(x).sum(1))[0]
    torch.testing.assert_close(mixed, expected)


def test_compat_slmodule_attends_to_padding():
    alone, both = batch_of(frames(6)), batch_of(frames(6), frames(9))
    ours, theirs = build("slmodule"), build("slmodule", compat="mr-hisum")
    torch.testing.assert_close(score(theirs, alone), score(ours, alone), rtol=0, atol=1e-12)
    assert (score(theirs, both)[0, :6] - score(ours, both)[0, :6]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SLModule(SLModuleOptions(heads=8), 20), "slmodule: a width of 20 .* model.width"),
        (lambda: SLModule(SLModuleOptions(heads=1), 8), "slmodule: a width of 8 "),
        (lambda: MSVA(MSVAOptions(sources=3), 32), "msva: 3 sources do not divide .* 32 .* set model.sources"),
        (lambda: MSVA(MSVAOptions(sources=8), 8), "msva: .* at least 2; set model.sources"),
        (lambda: PGLSUM(PGLSUMOptions(heads=8), 20), "pglsum: 8 heads do not divide the hidden size 20"),
        (lambda: PGLSUM(PGLSUMOptions(heads=4), 24), "4 heads do not divide a segment's part of it, 6; set"),
        (lambda: PGLSUM(PGLSUMOptions(heads=2, segments=9), 8), "pglsum: .* size 8, .* a segment's part of it, 0"),
    ],
)
def test_a_width_that_does_not_divide_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (VASNetOptions, {"dropout": 1.0}),
        (VASNetOptions, {"size": 3}),
        (MLPOptions, {"hidden": ()}),
        (MLPOptions, {"hidden": (8, 0)}),
        (PGLSUMOptions, {"segments": 1}),
        (PGLSUMOptions, {"compat": "mr-hisum", "fusion": "max"}),
        (SLModuleOptions, {"width": 8}),
        (MSVAOptions, {"aperture": 0}),
        (MSVAOptions, {"regressor": (8, 8, 1)}),
        (MSVAOptions, {"regressor": (8, 8)}),
    ],
)
def test_impossible_options_are_refused(options, wrong):
    with pytest.raises(ValidationError):
        options(**wrong)
