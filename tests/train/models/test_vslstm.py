"""vsLSTM and dppLSTM against their equations in numpy; padding and batch mates change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.train.models.vslstm import DppLSTM, DppLSTMOptions, VsLSTM, VsLSTMOptions, turned

DIM = 20
SMALL: dict[str, tuple[Any, Any]] = {
    "vslstm": (VsLSTM, VsLSTMOptions(hidden=12)),
    "vslstm projected": (VsLSTM, VsLSTMOptions(hidden=12, width=8)),
    "dpplstm": (DppLSTM, DppLSTMOptions(hidden=12, kernel=6)),
}


def build(name):
    """A small model in float64: the rounding of float32 depends on the padded size."""
    torch.manual_seed(3)
    model, options = SMALL[name]
    return model(options, DIM).double().eval()


def batch_of(*features) -> Batch:
    videos = [
        Video(video_id=str(n), frame_time_s=np.arange(len(each), dtype=np.float32), frame_feature=each)
        for n, each in enumerate(features)
    ]
    batch = collate(videos)
    return replace(batch, frame_feature=batch.frame_feature.double())


def frames(num_frames, seed=0):
    return np.random.default_rng([num_frames, seed]).normal(size=(num_frames, DIM)).astype(np.float32)


def parts(scores):
    """Logit, embedding and kernel of each frame."""
    kernel = [] if scores.frame_kernel is None else [scores.frame_kernel]
    return torch.cat([scores.frame_logit[..., None], scores.frame_embedding, *kernel], -1)


def everything(model, batch):
    with torch.no_grad():
        return parts(model(batch))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(model, name, x):
    weights = {key: value.detach().numpy() for key, value in model.get_submodule(name).named_parameters()}
    return x @ weights["weight"].T + weights["bias"]


def one_way(model, video):
    """The states of the cell over `video` [T,F], frame by frame."""
    weights = {name: value.detach().numpy() for name, value in model.lstm.named_parameters()}
    mean = video.mean(0)
    hidden, cell = (np.tanh(linear(model, name, mean)) for name in ("first_hidden", "first_cell"))
    states = []
    for frame in video:
        gates = weights["weight_ih_l0"] @ frame + weights["weight_hh_l0"] @ hidden
        enter, forget, new, leave = np.split(gates + weights["bias_ih_l0"] + weights["bias_hh_l0"], 4)
        cell = sigmoid(enter) * np.tanh(new) + sigmoid(forget) * cell
        hidden = sigmoid(leave) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


def reference(model, video):
    """A frame's logit, embedding and kernel, of `video` [T,F] alone."""
    if isinstance(model.project, torch.nn.Linear):
        video = linear(model, "project", video)
    embedding = np.concatenate([video, one_way(model, video), one_way(model, video[::-1])[::-1]], 1)
    heads = ["score", "kernel"] if isinstance(model, DppLSTM) else ["score"]
    outs = [linear(model, f"{head}.2", sigmoid(linear(model, f"{head}.0", embedding))) for head in heads]
    return np.concatenate([outs[0], embedding, *outs[1:]], 1)


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 17), min_size=1, max_size=5), more=st.integers(0, 9))
def test_each_video_is_as_its_equations_say(name, lengths, more):
    model, videos = build(name), [frames(n, seed) for seed, n in enumerate(lengths)]
    batch = batch_of(*videos)
    longer = F.pad(batch.frame_feature, (0, 0, 0, more), value=7.0)  # padding may hold anything
    padded = replace(batch, frame_feature=longer, frame_mask=F.pad(batch.frame_mask, (0, more)))
    for row, video in zip(everything(model, padded), videos, strict=True):
        expected = torch.from_numpy(reference(model, video.astype(np.float64)))
        torch.testing.assert_close(row[: len(video)], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", SMALL)
def test_the_order_of_a_batch_does_not_matter(name):
    model, batch = build(name), batch_of(frames(9), frames(1), frames(14), frames(6))
    order = torch.tensor([2, 0, 3, 1])
    turned_batch = replace(batch, frame_feature=batch.frame_feature[order], frame_mask=batch.frame_mask[order])
    expected, got = everything(model, batch)[order], everything(model, turned_batch)
    valid = turned_batch.frame_mask
    torch.testing.assert_close(got[valid], expected[valid], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_learns_and_padding_gives_no_gradient(name):
    model, batch = build(name).train(), batch_of(frames(19), frames(10), frames(1))
    batch.frame_feature.requires_grad_()
    parts(model(batch))[batch.frame_mask].square().sum().backward()
    assert not [name for name, weight in model.named_parameters() if not weight.grad.abs().max() > 1e-9]
    per_frame = batch.frame_feature.grad.abs().amax(-1)
    assert (per_frame[batch.frame_mask] > 0).all()
    assert not per_frame[~batch.frame_mask].any()


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_nan_for_frames_without_content(name):
    model, batch = build(name).train(), batch_of(np.zeros((3, DIM), np.float32), frames(1))
    parts(model(batch)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_is_near_float32(name):
    model, batch = build(name).float(), batch_of(frames(19), frames(10))
    batch = replace(batch, frame_feature=batch.frame_feature.float())
    with torch.autocast("cpu", torch.bfloat16):
        rough = everything(model, batch)
    difference = (rough - everything(model, batch))[batch.frame_mask].abs()
    assert difference.max() < 0.05


def test_each_frame_sees_all_others():
    model, video = build("vslstm"), frames(12)
    for place in (0, 11):
        other = video.copy()
        other[place] *= -1
        change = (everything(model, batch_of(other)) - everything(model, batch_of(video)))[0, :, 0].abs()
        assert (change > 1e-9).all()


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 9), more=st.integers(0, 5))
def test_turning_twice_restores(length, more):
    x = torch.arange(length + more)[None, :, None]
    once = turned(x, torch.tensor([[length]]))
    assert once[0, :length, 0].tolist() == list(range(length))[::-1]
    assert set(once[0, length:, 0].tolist()) == set(range(length, length + more))
    assert torch.equal(turned(once, torch.tensor([[length]])), x)


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"width": 0}, {"kernel": 0}, {"layers": 2}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        DppLSTMOptions(**wrong)
