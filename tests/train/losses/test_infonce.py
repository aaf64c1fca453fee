"""The losses of ViSP and CSUM against loops over exponentials."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vsumdata.train.losses.infonce import binary, csum, fixed_summary, size, visp

SEEDS = st.integers(0, 10_000)


def tokens(seed: int, num: int, dim: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    summary, video, other = (torch.randn(num, dim, generator=random, dtype=dtype).requires_grad_() for _ in range(3))
    return summary, video, other


@pytest.mark.parametrize("hard", [False, True])
@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, num=st.integers(2, 9), scale=st.sampled_from([1.0, 0.3]))
def test_visp_of_a_loop(hard: bool, seed: int, num: int, scale: float) -> None:
    summary, video, random = (token.detach() for token in tokens(seed, num))
    losses = []
    for i in range(num):
        of_videos = [math.exp(scale * float(summary[i] @ video[j])) for j in range(num)]
        of_random = [math.exp(scale * float(summary[i] @ random[j])) for j in range(num)] if hard else []
        losses.append(-math.log(of_videos[i] / sum(of_videos + of_random)))
    found = visp(summary, video, random if hard else None, scale)
    assert float(found) == pytest.approx(sum(losses) / num, rel=0, abs=1e-12)


@pytest.mark.parametrize("literal", [False, True])
@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, num=st.integers(2, 7), temperature=st.sampled_from([0.1, 1.0]))
def test_csum_of_a_loop(literal: bool, seed: int, num: int, temperature: float) -> None:
    similarity = 2 * torch.rand(2 * num, 2 * num, generator=torch.Generator().manual_seed(seed)).double() - 1
    losses = []
    for i in range(2 * num):
        half = i + num if i < num else i - num
        others = [j for j in range(2 * num) if j != i and not (literal and j == half)]
        shares = [math.exp(float(similarity[i, j]) / temperature) for j in others]
        losses.append(-math.log(math.exp(float(similarity[i, half]) / temperature) / sum(shares)))
    found = csum(similarity, temperature, literal)
    assert float(found) == pytest.approx(sum(losses) / len(losses), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size_of_token", [1.0, 1e3, 1e6])
def test_visp_of_1024_features_is_finite(dtype: torch.dtype, size_of_token: float) -> None:
    random = torch.Generator().manual_seed(0)
    summary, video = ((size_of_token * torch.randn(8, 1024, generator=random)).to(dtype) for _ in range(2))
    summary.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = visp(summary, video)
    loss.backward()
    expected = visp(summary.detach().double(), video.double())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-4)
    assert summary.grad is not None
    assert summary.grad.isfinite().all()


def test_a_scale_of_one_by_the_root_of_the_width_keeps_the_gradient() -> None:
    summary, video, _ = tokens(0, 8, 1024)
    by_scale = [torch.autograd.grad(visp(20 * summary, video, scale=s), video)[0].abs().amin() for s in (1.0, 1 / 32)]
    assert by_scale[1] > by_scale[0]


def test_visp_has_gradients_by_all_it_compares() -> None:
    of = tokens(1, 4)
    for gradient in torch.autograd.grad(visp(*of), of):
        assert (gradient != 0).all()


@pytest.mark.parametrize("literal", [False, True])
def test_csum_pulls_halves_together_and_pushes_the_rest_apart(literal: bool) -> None:
    num = 4
    similarity = torch.rand(2 * num, 2 * num, generator=torch.Generator().manual_seed(1)).requires_grad_()
    (gradient,) = torch.autograd.grad(csum(similarity, 0.1, literal), similarity)
    item = torch.arange(2 * num)
    half = item[:, None] == (item + num) % (2 * num)
    itself = item[:, None] == item
    assert (gradient[half] < 0).all()
    assert (gradient[itself] == 0).all()
    assert (gradient[~half & ~itself] > 0).all()


def test_only_the_literal_denominator_lets_the_loss_fall_below_zero() -> None:
    num = 3
    alike = torch.eye(num).double().repeat(2, 2)
    assert csum(alike, 0.1) > 0
    assert csum(alike, 0.1, literal_denominator=True) < 0


def test_one_video_has_nothing_to_be_told_from() -> None:
    with pytest.raises(ValueError, match="at least 2 videos; the batch has 1"):
        visp(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(ValueError, match="at least 2 videos; the batch has 1"):
        csum(torch.ones(2, 2), 0.1)


def frames(seed: int, lengths: list[int]) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.rand(mask.shape, generator=random, dtype=torch.float64), mask


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_regularisers_of_a_loop(seed: int, lengths: list[int]) -> None:
    weight, mask = frames(seed, lengths)
    sizes = [weight[i, :length].mean() for i, length in enumerate(lengths)]
    doubts = [(weight[i, :length] * (1 - weight[i, :length])).mean() for i, length in enumerate(lengths)]
    torch.testing.assert_close(size(weight, mask), torch.stack(sizes).mean(), rtol=0, atol=1e-12)
    torch.testing.assert_close(binary(weight, mask), torch.stack(doubts).mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("regulariser", [size, binary])
def test_twice_as_long_is_not_twice_as_dear(regulariser) -> None:
    weight, mask = frames(1, [6, 6])
    twice = regulariser(weight.repeat(1, 2), mask.repeat(1, 2))
    torch.testing.assert_close(twice, regulariser(weight, mask), rtol=0, atol=1e-12)


def test_a_decided_summary_has_no_binary_loss() -> None:
    _, mask = frames(1, [6, 4])
    assert binary((torch.arange(6) % 2).expand(2, 6), mask) == 0
    assert binary(torch.full((2, 6), 0.5), mask) == 0.25


def test_the_fixed_summary_of_a_loop() -> None:
    logit, mask = frames(2, [6, 3])
    label = (torch.arange(6) % 3 == 0).expand(2, 6)
    losses = [
        -math.log(1 / (1 + math.exp(-float(logit[i, t]) * (1 if label[i, t] else -1))))
        for i, length in enumerate([6, 3])
        for t in range(length)
    ]
    assert float(fixed_summary(logit, label, mask)) == pytest.approx(sum(losses) / 9, rel=0, abs=1e-12)


@pytest.mark.parametrize("filler", [1e30, math.nan, math.inf])
@pytest.mark.parametrize("loss", [size, binary, lambda logit, mask: fixed_summary(logit, logit.detach(), mask)])
def test_padding_changes_neither_value_nor_gradient(loss, filler: float) -> None:
    weight, mask = frames(3, [8, 5, 0])
    weight = weight.masked_fill(~mask, filler).requires_grad_()
    plain = weight.detach()[:2].masked_fill(~mask[:2], 0).requires_grad_()
    found, expected = loss(weight, mask), loss(plain, mask[:2])
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, weight)
    torch.testing.assert_close(gradient[:2], torch.autograd.grad(expected, plain)[0])
    assert (gradient[mask] != 0).all()
    assert (gradient[~mask] == 0).all()
