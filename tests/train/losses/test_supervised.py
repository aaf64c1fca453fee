"""The losses against scalar loops; padding, masks and autocast change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vsumdata.train.losses.supervised import (
    centerness,
    cross_entropy,
    focal,
    focal_terms,
    masked_mean,
    mse,
    overlap,
    smooth_l1,
    soft_iou,
    video_mean,
)

VALUES = st.lists(st.tuples(st.floats(-8, 8), st.booleans()), min_size=1, max_size=20)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of prediction, target and mask


def columns(values: list[tuple[float, bool]]) -> tuple[Tensor, Tensor, Tensor]:
    logit, label = zip(*values, strict=True)
    logits = torch.tensor([logit], dtype=torch.float64)
    return logits, torch.tensor([label], dtype=torch.float64), torch.ones_like(logits, dtype=torch.bool)


@settings(deadline=None)
@given(VALUES)
def test_the_papers_focal_loss(values: list[tuple[float, bool]]) -> None:
    expected = 0.0
    for logit, label in values:
        p = 1 / (1 + math.exp(-logit))
        term = -0.25 * (1 - p) ** 2 * math.log(p) if label else -0.75 * p**2 * math.log(1 - p)
        expected += term / len(values)
    assert float(focal(*columns(values))) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None)
@given(VALUES)
def test_a2summs_focal_loss_has_no_alpha(values: list[tuple[float, bool]]) -> None:
    expected = 0.0
    for logit, label in values:
        p_t = 1 / (1 + math.exp(-logit if label else logit))
        expected += 0.5 * -((1 - p_t) ** 2) * math.log(p_t) / len(values)
    found = focal(*columns(values), "a2summ")
    assert float(found) == pytest.approx(expected, rel=1e-9)
    # What its code computes: the mean over both one-hot columns.
    both = torch.stack([focal_terms(*columns(values)[:2], alpha) for alpha in (0.25, 0.75)]).mean()
    assert float(found) == pytest.approx(float(both), rel=1e-9)


def test_focal_of_an_undecided_positive() -> None:
    logit, label = torch.zeros(1, 1), torch.ones(1, 1)
    assert float(focal(logit, label, label > 0)) == pytest.approx(0.25 * 0.25 * math.log(2), rel=1e-6)


def test_a2summ_clamps_the_probability_and_has_no_gradient_of_the_logarithm_there() -> None:
    label, mask = torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool)
    logit = torch.full((1, 1), -40.0, requires_grad=True)
    loss = focal(logit, label, mask, "a2summ")
    assert loss.item() == pytest.approx(-0.5 * math.log(1e-7), rel=1e-6)
    loss.backward()
    assert logit.grad is not None
    assert abs(float(logit.grad)) < 1e-12
    assert focal(logit, label, mask).item() == pytest.approx(0.25 * 40, rel=1e-6)


def test_dsnets_focal_loss_is_a_sum_by_the_positives() -> None:
    logit = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, 9.0]], dtype=torch.float64)
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, False]])
    expected = sum(-((1 - p) ** 2) * math.log(p) for p in (1 / (1 + math.exp(-v)) for v in (1.0, 2.0, 0.5)))
    # The second video has no positive: it is left out, where DSNet would divide by zero.
    assert float(focal(logit, label, mask, "dsnet")) == pytest.approx(expected / 2, rel=1e-9)


def test_mse_is_of_the_scores() -> None:
    logit = torch.tensor([[0.0, 2.0], [7.0, 7.0]])
    target = torch.tensor([[0.25, 1.0], [0.0, 0.0]])
    mask = torch.tensor([[True, True], [False, False]])
    expected = (0.25**2 + (1 - 1 / (1 + math.exp(-2))) ** 2) / 2
    assert float(mse(logit, target, mask)) == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-8, 8), st.floats(0, 1)), min_size=1, max_size=20), st.integers(0, 9))
def test_umts_loss_is_the_cross_entropy_of_a_share(values: list[tuple[float, float]], padding: int) -> None:
    wide = [each + (0.5,) * padding for each in zip(*values, strict=True)]
    logit, target = (torch.tensor([each], dtype=torch.float64) for each in wide)
    mask = (torch.arange(len(values) + padding) < len(values))[None]
    total = 0.0
    for x, s in zip(logit[0, : len(values)].tolist(), target[0].tolist(), strict=False):
        p = 1 / (1 + math.exp(-x))
        total -= s * math.log(p) + (1 - s) * math.log(1 - p)
    assert float(cross_entropy(logit, target, mask)) == pytest.approx(total / len(values), rel=1e-9)
    official = total / (len(values) + padding)
    assert float(cross_entropy(logit, target, mask, over="umt")) == pytest.approx(official, rel=1e-9)


def test_masked_mean_does_not_look_elsewhere() -> None:
    values = torch.tensor([[1.0, math.nan], [math.inf, 4.0]])
    mask = torch.tensor([[True, False], [False, True]])
    assert masked_mean(values, mask) == 2.5
    assert masked_mean(values, torch.zeros_like(mask)) == 0


def test_video_mean_weighs_videos_alike() -> None:
    values = torch.tensor([[1.0, 3.0], [10.0, math.nan], [math.nan, math.nan]])
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    assert float(video_mean(values, mask)) == 6


def test_overlap_by_hand() -> None:
    reach = torch.tensor([[[1.0, 3.0], [2.0, 2.0], [0.5, 0.5]]])
    target = torch.tensor([[[2.0, 2.0], [2.0, 2.0], [0.0, 0.0]]])
    assert overlap(reach, target)[0].tolist() == pytest.approx([3 / 5, 1, 0])


def test_a_segment_of_one_frame_costs_a_constant() -> None:
    reach = torch.tensor([[[0.5, 2.0]]], requires_grad=True)
    loss = soft_iou(reach, torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(18.42, abs=0.01)
    loss.backward()
    assert reach.grad is not None
    assert reach.grad.tolist() == [[[0, 0]]]


def test_smooth_l1_is_quadratic_up_to_a_position() -> None:
    reach, target = torch.tensor([[[0.5, 4.0]]]), torch.tensor([[[0.0, 1.0]]])
    assert float(smooth_l1(reach, target, torch.ones(1, 1, dtype=torch.bool))) == pytest.approx((0.125 + 2.5) / 2)


def test_centerness_is_a_cross_entropy() -> None:
    found = centerness(torch.tensor([[0.2]]), torch.tensor([[0.7]]), torch.tensor([[True]]))
    assert float(found) == pytest.approx(-0.7 * math.log(0.2) - 0.3 * math.log(0.8), rel=1e-6)


def both(x: Tensor) -> Tensor:
    return torch.stack([x, x + 1], -1)


def same(x: Tensor) -> Tensor:
    return x


# What a model makes of its last layer, and the loss of that.
LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], Loss]] = {
    "focal": (same, focal),
    "focal a2summ": (same, lambda logit, label, mask: focal(logit, label, mask, "a2summ")),
    "focal dsnet": (same, lambda logit, label, mask: focal(logit, label, mask, "dsnet")),
    "mse": (same, mse),
    "soft-iou": (lambda x: both(x).exp(), lambda reach, y, mask: soft_iou(reach, both(y), mask)),
    "smooth-l1": (lambda x: both(x).exp(), lambda reach, y, mask: smooth_l1(reach, both(y), mask)),
    "cross-entropy": (same, cross_entropy),
    "centerness": (torch.sigmoid, centerness),
}


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logit = torch.randn(3, 7, generator=random)
    label = (torch.rand(3, 7, generator=random) < 0.4).float()
    return logit, label, torch.arange(7) < torch.tensor([7, 4, 1])[:, None]


def with_gradient(loss: Loss, prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    prediction = prediction.detach().requires_grad_()
    value = loss(prediction, target, mask)
    value.backward()
    assert prediction.grad is not None
    return value.detach(), prediction.grad


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("filler", [1e30, math.nan, -math.inf])
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000))
def test_padding_changes_neither_value_nor_gradient(name: str, filler: float, seed: int) -> None:
    predict, loss = LOSSES[name]
    x, target, mask = drawn(seed)
    prediction = predict(x)
    value, gradient = with_gradient(loss, prediction, target, mask)
    dirty = torch.cat([prediction, torch.zeros_like(prediction[:, :4])], 1)
    wide = torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], 1)
    dirty[~wide] = filler
    again, found = with_gradient(loss, dirty, torch.cat([target, torch.ones(3, 4)], 1), wide)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(found[:, :7], gradient)
    assert (found[~wide] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_without_any_target_the_loss_is_zero_and_differentiable(name: str) -> None:
    predict, loss = LOSSES[name]
    x, target, mask = drawn(0)
    value, gradient = with_gradient(loss, predict(x), target, torch.zeros_like(mask))
    assert value == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_and_bfloat16_leave_the_loss_in_float32(name: str) -> None:
    predict, loss = LOSSES[name]
    x, target, mask = drawn(1)
    prediction = predict(x).bfloat16()
    plain = loss(prediction.float(), target, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(prediction, target, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_value(name: str) -> None:
    predict, loss = LOSSES[name]
    x, target, mask = drawn(2)
    assert torch.autograd.gradcheck(lambda x: loss(predict(x), target.double(), mask), x.double().requires_grad_())
