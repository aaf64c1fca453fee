"""The distributions of ViSP's random summaries, and the features that they weight."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.special import logit as logit_of
from scipy.stats import ks_2samp, kstest
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.objectives import sampling
from vsumdata.train.objectives.sampling import (
    Form,
    another,
    concrete,
    marginal,
    random_summary,
    resampled,
    sample,
    uniform_noise,
)

FORMS: tuple[Form, ...] = get_args(Form)
RANDOM: tuple[Form, ...] = ("concrete", "gumbel", "gumbel-hard", "straight-through")
HARD: tuple[Form, ...] = ("gumbel-hard", "straight-through")
NUM = 100_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many(logit: float, form: Form, temperature: float, seed: int = 0) -> Tensor:
    """Independent samples of one frame's weight."""
    wide = torch.full((1, NUM), logit, dtype=torch.float64)
    return sample(wide, torch.ones(1, NUM) > 0, form, temperature, seeded(seed))[0]


def close_share(found: Tensor, expected: float) -> bool:
    """Within four standard errors of a share of `NUM`."""
    return abs(float(found.double().mean()) - expected) < 4 * math.sqrt(expected * (1 - expected) / NUM)


@pytest.mark.parametrize("form", ["concrete", "gumbel", "gumbel-hard"])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.5])
def test_more_than_half_is_as_likely_as_the_score_at_every_temperature(
    form: Form, temperature: float, logit: float
) -> None:
    assert close_share(many(logit, form, temperature) > 0.5, 1 / (1 + math.exp(-logit)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_concrete_has_its_distribution(temperature: float) -> None:
    found = many(0.7, "concrete", temperature)
    assert kstest(found, lambda x: expit(temperature * logit_of(x) - 0.7)).pvalue > 0.01
    assert kstest(found, lambda x: expit(temperature * logit_of(x) - 0.6)).pvalue < 1e-6  # and the test would notice


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_gumbel_is_distributed_as_concrete_is(temperature: float) -> None:
    gumbel, binary_concrete = many(-0.4, "gumbel", temperature, 1), many(-0.4, "concrete", temperature, 2)
    assert ks_2samp(gumbel, binary_concrete).pvalue > 0.01
    assert ks_2samp(gumbel, many(-0.3, "concrete", temperature, 2)).pvalue < 1e-6  # and the test would notice


def test_concrete_becomes_bernoulli() -> None:
    found = many(0.8, "concrete", 1e-6)
    assert float((found * (1 - found)).mean()) < 1e-5
    assert close_share(found > 0.5, 1 / (1 + math.exp(-0.8)))


@pytest.mark.parametrize(("logit", "temperature"), [(-2.0, 0.5), (-2.0, 5.0), (0.8, 2.0), (3.0, 0.05), (0.0, 1.0)])
def test_straight_through_is_bernoulli_of_the_concrete_sample(logit: float, temperature: float) -> None:
    """The share of kept frames is the mean of the Concrete weight: .149, not σ(−4) = .018, at α = −2 and λ = .5."""
    found = many(logit, "straight-through", temperature)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    # At small λ the weight is a step of the logistic noise: quad must be told where.
    kink = [1 / (1 + math.exp(logit))]
    expected = quad(lambda u: expit((logit_of(u) + logit) / temperature), 0, 1, points=kink)[0]
    assert close_share(found, expected)
    if temperature < 1 and logit:
        assert not close_share(found, float(expit(logit / temperature)))  # and the test would notice


def test_none_is_the_score() -> None:
    assert many(0.8, "none", 2.0).unique().tolist() == pytest.approx([1 / (1 + math.exp(-0.4))], abs=1e-12)


def test_the_equation_of_concrete() -> None:
    epsilon, alpha, temperature = torch.tensor([[0.3]]).double(), torch.tensor([[-1.2]]).double(), 0.7
    expected = 1 / (1 + math.exp(-(math.log(0.3 / 0.7) - 1.2) / 0.7))
    assert concrete(alpha, epsilon, temperature).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_every_logit_has_the_gradient_of_the_soft_weight(form: Form) -> None:
    logit = torch.linspace(-3, 3, 60, dtype=torch.float64).view(2, 30).requires_grad_()
    mask = torch.ones(2, 30) > 0
    found = sample(logit, mask, form, 0.7, seeded())
    soft_form: dict[Form, Form] = {"gumbel-hard": "gumbel", "straight-through": "concrete"}
    soft = sample(logit, mask, soft_form.get(form, form), 0.7, seeded())
    (gradient,) = torch.autograd.grad(found.sum(), logit)
    torch.testing.assert_close(gradient, (soft * (1 - soft) / 0.7).detach(), rtol=1e-12, atol=0)
    assert (gradient > 0).all()
    if form in HARD:
        assert set(found.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("logit", [-1e4, 1e4, 0.0])
def test_extreme_logits_stay_finite(form: Form, logit: float) -> None:
    wide = torch.full((1, 1000), logit, requires_grad=True)
    found = sample(wide, torch.ones(1, 1000) > 0, form, 0.05, seeded())
    (gradient,) = torch.autograd.grad(found.sum(), wide)
    assert found.isfinite().all()
    assert gradient.isfinite().all()
    assert ((found >= 0) & (found <= 1)).all()


def test_noise_is_uniform_and_never_at_the_ends() -> None:
    assert (torch.rand(2**20, generator=seeded(12)) == 0).any()  # one in 2^24 is
    found = uniform_noise(torch.ones(1, 2**20) > 0, seeded(12))
    assert found.min() > 0
    assert found.max() < 1
    assert kstest(found[0, :NUM], "uniform").pvalue > 0.01


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("filler", [1e30, math.nan, math.inf])
def test_padding_changes_neither_sample_nor_gradient(form: Form, filler: float) -> None:
    mask = torch.arange(12) < torch.tensor([9, 4, 0])[:, None]
    logit = torch.randn(3, 12, generator=seeded()).masked_fill(~mask, filler).requires_grad_()
    found = sample(logit, mask, form, 0.5, seeded(1))
    narrow = logit.detach()[:, :9].requires_grad_()
    expected = sample(narrow, mask[:, :9], form, 0.5, seeded(1))
    # Vector instructions and the remainder of a row round exp differently: float32, within [0, 1].
    torch.testing.assert_close(found[:, :9], expected, rtol=0, atol=1e-6)
    assert (found[~mask] == 0).all()
    (gradient,) = torch.autograd.grad(found.sum(), logit)
    torch.testing.assert_close(gradient[:, :9], torch.autograd.grad(expected.sum(), narrow)[0], rtol=0, atol=1e-6)
    assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize("form", RANDOM)
def test_a_seed_gives_one_sample_and_another_seed_another(form: Form) -> None:
    assert torch.equal(many(0.3, form, 1.0, 1), many(0.3, form, 1.0, 1))
    assert not torch.equal(many(0.3, form, 1.0, 1), many(0.3, form, 1.0, 2))


def test_under_autocast_samples_are_in_float32() -> None:
    logit, mask = torch.randn(2, 50, generator=seeded()).bfloat16(), torch.ones(2, 50) > 0
    with torch.autocast("cpu", torch.bfloat16):
        found = sample(logit, mask, "concrete", 0.5, seeded())
    expected = sample(logit.float(), mask, "concrete", 0.5, seeded())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_random_summary_is_as_large_as_the_mean_weight() -> None:
    mask = torch.arange(NUM) < torch.tensor([NUM, NUM // 2])[:, None]
    weight = torch.stack([torch.linspace(0, 0.4, NUM), torch.full((NUM,), 0.9)]).requires_grad_()
    found = random_summary(weight, mask, uniform_noise(mask, seeded()))
    assert not found.requires_grad
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert close_share(found[0], 0.2)
    assert abs(float(found[1, mask[1]].mean()) - 0.9) < 4 * math.sqrt(0.09 / (NUM // 2))
    assert (found[~mask] == 0).all()
    early, late = found[0].chunk(2)
    assert abs(float(early.mean() - late.mean())) < 6 * math.sqrt(0.16 / NUM) * math.sqrt(2)  # blind to the weights


def batch(lengths: list[int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    feature = torch.randn(*mask.shape, 3, generator=seeded(4), dtype=dtype)
    return feature.masked_fill(~mask[..., None], math.nan), mask


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=2, max_size=2),
    wanted=st.lists(st.integers(1, 30), min_size=2, max_size=2),
)
def test_resampling_is_that_of_torch(lengths: list[int], wanted: list[int]) -> None:
    feature, mask = batch(lengths)
    found = resampled(feature, mask, batch(wanted)[1])
    for i in range(2):
        expected = F.interpolate(feature[i, : lengths[i]].T[None], size=wanted[i], mode="linear")[0].T
        torch.testing.assert_close(found[i, : wanted[i]], expected, rtol=0, atol=1e-12)
        assert (found[i, wanted[i] :] == 0).all()


def test_marginalising_fills_with_another_video_what_is_left_out() -> None:
    feature, mask = batch([8, 5, 11])
    weight = torch.rand(3, 11, generator=seeded(), dtype=torch.float64).masked_fill(~mask, math.nan).requires_grad_()
    other = torch.tensor([1, 2, 0])
    found = marginal(feature, mask, weight, other)
    for i, length in enumerate([8, 5, 11]):
        z = resampled(feature[other[i]][None], mask[other[i]][None], mask[i][None])[0, :length]
        y = weight[i, :length, None]
        torch.testing.assert_close(found[i, :length], feature[i, :length] * y + z * (1 - y), rtol=0, atol=1e-12)
        assert (found[i, length:] == 0).all()
    (gradient,) = torch.autograd.grad(found.square().sum(), weight)
    assert (gradient[mask] != 0).all()
    assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_summary_is_of_the_features_type(dtype: torch.dtype) -> None:
    feature, mask = batch([8, 5], dtype)
    for found in (
        sampling.summary(feature, mask, torch.ones(2, 8)),
        marginal(feature, mask, torch.ones(2, 8), torch.tensor([1, 0])),
    ):
        assert found.dtype == dtype
        assert torch.equal(found[mask], feature[mask])
        assert (found[~mask] == 0).all()


def test_another_video_is_never_the_same() -> None:
    seen = torch.stack([another(5, seeded(seed)) for seed in range(40)])
    assert (seen != torch.arange(5)).all()
    assert (seen.sort(1).values == torch.arange(5)).all()
    assert set(seen[:, 0].tolist()) == {1, 2, 3, 4}
    with pytest.raises(ValueError, match="needs another video; the batch has 1"):
        another(1, seeded())
