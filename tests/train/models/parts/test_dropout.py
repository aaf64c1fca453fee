"""Dropout by bits: its share, its scale, its gradient, and its place in attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vsumdata.train.models.parts.attention import attend
from vsumdata.train.models.parts.dropout import Dropout, dropout


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1, 0.6, 0.999])
def test_the_share_is_dropped_and_the_mean_stays(share):
    torch.manual_seed(0)
    num = 400_000
    y = dropout(torch.ones(num, dtype=torch.float64), share)
    # Six standard deviations of a binomial share.
    assert (y == 0).double().mean().item() == pytest.approx(share, abs=6 * (share * (1 - share) / num) ** 0.5)
    # To the rounding of the share, 2⁻¹⁷.
    torch.testing.assert_close(y[y > 0], torch.full_like(y[y > 0], 1 / (1 - share)), rtol=2**-17 / (1 - share), atol=0)


def test_neighbours_are_dropped_independently():
    """Words of 64 bits are cut into eight values: none may repeat or follow from another."""
    torch.manual_seed(1)
    for share in (0.5, 0.3):
        kept = (dropout(torch.ones(80_000, 16, dtype=torch.float64), share) > 0).double()
        correlation = torch.corrcoef(kept.T) - torch.eye(16)
        assert correlation.abs().max() < 6 / 80_000**0.5


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (7, 1, 9)])
def test_any_shape(shape):
    x = torch.randn(shape)
    y = dropout(x, 0.5)
    assert y.shape == x.shape
    torch.testing.assert_close(y[y != 0], 2 * x[y != 0])


def test_the_gradient_passes_where_the_value_does():
    torch.manual_seed(2)
    x = torch.randn(50, 20, requires_grad=True)
    y = dropout(x, 0.6)
    y.sum().backward()
    assert x.grad is not None
    assert ((x.grad != 0) == (y != 0)).all()
    torch.testing.assert_close(x.grad[y != 0], (y / x)[y != 0])


def test_evaluation_and_no_share_change_nothing():
    x = torch.randn(9)
    assert dropout(x, 0.0) is x
    assert Dropout(0.5).eval()(x) is x
    assert not torch.equal(Dropout(0.5).train()(x), x)


@pytest.mark.parametrize("kind", ["none", "bool", "bool of each", "float"])
def test_attention_is_that_of_torch_on_average(kind):
    """Dropout leaves the mean: over many draws the output nears the one without dropout, with the same gradient."""
    torch.manual_seed(3)
    query, key, value = (torch.randn(3, 2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    is_open = torch.rand(3, 1, 5, 5) > 0.4
    is_open[..., 0] = True
    bias = {
        "none": None,
        "bool": is_open[:1, :, :1],
        "bool of each": is_open,
        "float": torch.randn(3, 1, 5, 5, dtype=torch.float64),
    }[kind]
    expected = F.scaled_dot_product_attention(query, key, value, bias, scale=0.7)
    # Almost nothing is dropped: 1 in 65,536.
    nearly = attend(query, key, value, bias, 2**-16, scale=0.7)
    torch.testing.assert_close(nearly, expected, rtol=0, atol=1e-3)
    queries, keys, values = (each.detach().repeat(1, 4000, 1, 1) for each in (query, key, value))
    mean = attend(queries, keys, values, bias, 0.3, scale=0.7).unflatten(1, (4000, 2)).mean(1)
    torch.testing.assert_close(mean, expected.detach(), rtol=0, atol=0.08)
    for ours, theirs in zip(
        torch.autograd.grad(nearly.square().sum(), (query, key, value)),
        torch.autograd.grad(expected.square().sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
