"""Differentiable top-k against a tournament of lists, Sinkhorn's iterations and a closed form for Gaussian noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vsumdata.train.objectives.topk import Chosen, num_chosen, perturbed, sinkhorn, successive_halving, transported

SEEDS = st.integers(0, 10_000)
SHARP: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Chosen]] = {  # as good as the limit for gaps of .001
    "halving": lambda feature, score, mask, k: successive_halving(feature, score, mask, k, 1e6),
    "sinkhorn": lambda feature, score, mask, k: sinkhorn(feature, score, mask, k, 1e-6),
    "perturbed": lambda feature, score, mask, k: perturbed(feature, score, mask, k, normal(5, mask), 1e-6),
}
SOFT: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Chosen]] = {
    "halving": lambda feature, score, mask, k: successive_halving(feature, score, mask, k, 5.0),
    "sinkhorn": lambda feature, score, mask, k: sinkhorn(feature, score, mask, k, 0.1),
    "perturbed": lambda feature, score, mask, k: perturbed(feature, score, mask, k, normal(20, mask), 0.3),
}


def normal(num_samples: int, mask: Tensor) -> Tensor:
    """Noise that depends on the position only, so that padding and other videos do not change it."""
    at = torch.arange(mask.shape[1]) + 1000 * torch.arange(num_samples)[:, None, None]
    return 3 * torch.sin(at * 12.9898 + 78.233).expand(-1, len(mask), -1)


def videos(seed: int, lengths: list[int], dim: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Features, scores from 0 up that all differ by .001 or more, and the mask."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    feature = torch.randn(*mask.shape, dim, generator=random, dtype=torch.float64)
    order = torch.stack([torch.randperm(max(lengths), generator=random) for _ in lengths])
    return feature, order.double() / max(1000, max(lengths)) * 10, mask


def tournament(score: list[float], k: int, alpha: float) -> list[tuple[float, dict[int, float]]]:
    """The k mixtures that remain: the score of each, and its weights per clip."""
    left = [(value, {i: 1.0}) for i, value in enumerate(score)]
    size = k
    while size < len(left):
        size *= 2
    while size > k and len(left) > k:
        left.sort(key=lambda one: -one[0])
        ranked, left = left, []
        for rank, best in enumerate(ranked[: size // 2]):
            if size - 1 - rank >= len(ranked):
                left.append(best)
                continue
            worst = ranked[size - 1 - rank]
            share = math.exp(alpha * best[0]) / (math.exp(alpha * best[0]) + math.exp(alpha * worst[0]))
            weights = {i: share * w for i, w in best[1].items()} | {i: (1 - share) * w for i, w in worst[1].items()}
            left.append((share * best[0] + (1 - share) * worst[0], weights))
        size //= 2
    return sorted(left, key=lambda one: max(one[1], key=lambda i: one[1][i]))


@pytest.mark.parametrize("name", SOFT)
def test_where_all_clips_are_chosen_more_padding_changes_nothing(name: str) -> None:
    """No round is played then, and the padding has no place among the mixtures."""
    feature, score, mask = videos(0, [3, 2])
    longer, k = [torch.cat([x, x.new_zeros(2, 4, *x.shape[2:])], dim=1) for x in (feature, score, mask)], mask.sum(1)
    plain, more = SOFT[name](feature, score, mask, k), SOFT[name](longer[0], longer[1], longer[2], k)
    torch.testing.assert_close(more.feature, plain.feature)
    torch.testing.assert_close(more.mask, plain.mask)


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), data=st.data())
def test_halving_of_a_loop(seed: int, lengths: list[int], data: st.DataObject) -> None:
    feature, score, mask = videos(seed, lengths)
    k = torch.tensor([data.draw(st.integers(1, 12)) for _ in lengths])
    found = successive_halving(feature, score, mask, k, 20.0)
    for i, length in enumerate(lengths):
        expected = tournament(score[i, :length].tolist(), min(int(k[i]), length), 20.0)
        assert found.mask[i].sum() == len(expected) == min(length, k[i])
        for row, (value, weights) in enumerate(expected):
            mixed = sum(w * feature[i, at] for at, w in weights.items())
            torch.testing.assert_close(found.feature[i, row], mixed, rtol=0, atol=1e-12)
            assert float(found.score[i, row]) == pytest.approx(value, rel=0, abs=1e-12)
            assert found.index[i, row] == max(weights, key=lambda at: weights[at])


@pytest.mark.parametrize("name", SHARP)
@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, lengths=st.lists(st.integers(1, 70), min_size=1, max_size=3), k=st.integers(1, 20))
def test_the_limit_is_the_k_best_in_the_order_of_time(name: str, seed: int, lengths: list[int], k: int) -> None:
    feature, score, mask = videos(seed, lengths)
    found = SHARP[name](feature, score, mask, torch.full((len(lengths),), k))
    for i, length in enumerate(lengths):
        best = score[i, :length].topk(min(k, length)).indices.sort().values
        assert found.index[i, found.mask[i]].tolist() == best.tolist()
        torch.testing.assert_close(found.feature[i, found.mask[i]], feature[i, best], rtol=0, atol=1e-9)
        assert (found.feature[i, ~found.mask[i]] == 0).all()


def test_halving_of_a_power_of_two_is_exact_in_the_limit() -> None:
    feature, score, mask = videos(1, [160])
    found = successive_halving(feature, score, mask, torch.tensor([10]), 1e6)
    assert torch.equal(found.feature[0], feature[0, score[0].topk(10).indices.sort().values])


def test_halving_of_ten_thousand_clips() -> None:
    feature, score, mask = videos(1, [10_000, 7_000], 2)
    found = successive_halving(feature, score, mask, num_chosen(mask, 0.15, 10), 1e6)
    assert found.mask.sum(1).tolist() == [1500, 1050]
    for i, length in enumerate([10_000, 7_000]):
        best = score[i, :length].topk(int(found.mask[i].sum())).indices.sort().values
        assert torch.equal(found.feature[i, found.mask[i]], feature[i, best])


@pytest.mark.parametrize("name", SOFT)
@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, length=st.integers(1, 60), k=st.integers(1, 12))
def test_weights_sum_to_one(name: str, seed: int, length: int, k: int) -> None:
    _, score, mask = videos(seed, [length])
    weight = SOFT[name](torch.eye(length, dtype=torch.float64)[None], score, mask, torch.tensor([k])).feature[0]
    torch.testing.assert_close(weight.sum(1), torch.ones(len(weight), dtype=torch.float64), rtol=0, atol=1e-12)
    assert (weight >= 0).all()
    if name == "halving":
        assert ((weight > 0).sum(0) <= 1).all()  # so that no clip is chosen twice


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("name", SOFT)
def test_every_score_has_a_gradient(name: str, equal: bool) -> None:
    feature, score, mask = videos(3, [24, 17])
    score = torch.full_like(score, 0.5) if equal else score * 10
    score.requires_grad_()
    found = SOFT[name](feature, score, mask, torch.tensor([6, 4]))
    assert found.feature.isfinite().all()
    assert found.mask.sum(1).tolist() == [6, 4]
    (gradient,) = torch.autograd.grad((found.feature**2).sum(), score)
    assert (gradient[mask] != 0).all()
    assert (gradient[~mask] == 0).all()


@pytest.mark.parametrize("name", ["halving", "sinkhorn"])
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    feature, score, mask = videos(4, [9, 5], 2)
    found = torch.autograd.gradcheck(
        lambda x, s: SOFT[name](x, s, mask, torch.tensor([3, 2])).feature,
        (feature.requires_grad_(), (score * 10).requires_grad_()),
    )
    assert found


# How far the choice of 10 of 100 uniform scores is from the true one, both sorted by score. The figures are
# means over an unknown, small number of draws, so they may be off by a few of their standard errors.
@pytest.mark.parametrize(("alpha", "error"), [(10, 0.60), (100, 0.158), (1e3, 0.033), (1e5, 1e-4), (400, 0.06)])
def test_the_error_of_halving_is_the_published_one(alpha: float, error: float) -> None:
    random = torch.Generator().manual_seed(0)
    score = torch.rand(2000, 100, generator=random, dtype=torch.float64)
    feature = torch.randn(2000, 100, 16, generator=random, dtype=torch.float64)
    found = successive_halving(feature, score, torch.ones(2000, 100) > 0, torch.full((2000,), 10), alpha)
    best = score.topk(10, 1).indices
    wanted = feature.gather(1, best[..., None].expand(-1, -1, 16))
    by_score = found.score.argsort(1, descending=True)[..., None].expand(-1, -1, 16)
    errors = (found.feature.gather(1, by_score) - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert abs(float(errors.mean()) - error) < 2 * float(errors.std()) / math.sqrt(20)


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("filler", [1e30, math.nan, math.inf])
def test_padding_and_batch_mates_change_neither_value_nor_gradient(name: str, filler: float) -> None:
    lengths, k = [19, 7, 2], torch.tensor([5, 3, 4])
    feature, score, mask = videos(8, [*lengths, 30, 0])
    feature = feature.masked_fill(~mask[..., None], filler).requires_grad_()
    score = score.masked_fill(~mask, filler).requires_grad_()
    found = SOFT[name](feature, score, mask, torch.tensor([5, 3, 4, 20, 2]))
    gradients = torch.autograd.grad((found.feature**2).sum() + (found.score**2).sum(), (feature, score))
    for i, length in enumerate(lengths):
        alone = (
            feature[i : i + 1, :length].detach().requires_grad_(),
            score[i : i + 1, :length].detach().requires_grad_(),
        )
        one = SOFT[name](*alone, mask[i : i + 1, :length], k[i : i + 1])
        torch.testing.assert_close(found.feature[i, found.mask[i]], one.feature[0, one.mask[0]])
        assert found.index[i, found.mask[i]].tolist() == one.index[0].tolist()
        expected = torch.autograd.grad((one.feature**2).sum() + (one.score**2).sum(), alone, materialize_grads=True)
        for whole, own in zip(gradients, expected, strict=True):
            torch.testing.assert_close(whole[i, :length], own[0])
            assert (whole[i, length:] == 0).all()
    assert not found.mask[4].any()


@pytest.mark.parametrize("name", SOFT)
def test_under_autocast_the_choice_is_in_float32(name: str) -> None:
    feature, score, mask = videos(5, [30, 12])
    plain = SOFT[name](feature.float(), score.float(), mask, torch.tensor([5, 5]))
    with torch.autocast("cpu", torch.bfloat16):
        found = SOFT[name](feature.float(), score.float(), mask, torch.tensor([5, 5]))
    assert found.feature.dtype == torch.float32
    torch.testing.assert_close(found.feature, plain.feature)  # bfloat16 would round at 4e-3


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, length=st.integers(2, 30), data=st.data())
def test_the_soft_mask_is_what_sinkhorn_iterations_come_to(seed: int, length: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, length - 1))
    score = torch.rand(1, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kernel = torch.exp(-torch.stack([score[0] ** 2, (score[0] - 1) ** 2], 1) / 0.2)
    masses = torch.tensor([length - k, k], dtype=torch.float64) / length
    of_target = torch.ones(2, dtype=torch.float64)
    for _ in range(3000):
        of_clip = (1 / length) / (kernel @ of_target)
        of_target = masses / (kernel.T @ of_clip)
    expected = length * of_clip * kernel[:, 1] * of_target[1]
    found = transported(score, torch.ones(1, length) > 0, torch.tensor([k]), 0.2)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-9)


def test_the_perturbed_choice_of_one_of_two_is_a_normal_distribution() -> None:
    num, sigma = 400_000, 0.7
    score = torch.tensor([[0.3, 0.8]], dtype=torch.float64, requires_grad=True)
    noise = torch.randn(num, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = torch.ones(1, 2) > 0
    weight = perturbed(torch.eye(2, dtype=torch.float64)[None], score, mask, torch.tensor([1]), noise, sigma).feature
    margin = -0.5 / (sigma * math.sqrt(2))
    share = math.erfc(-margin / math.sqrt(2)) / 2
    slope = math.exp(-(margin**2) / 2) / math.sqrt(2 * math.pi) / (sigma * math.sqrt(2))  # of the share by the score
    assert weight[0, 0, 0].item() == pytest.approx(share, abs=4 * math.sqrt(share / num))
    (gradient,) = torch.autograd.grad(weight[0, 0, 0], score)
    assert gradient[0].tolist() == pytest.approx([slope, -slope], abs=4 * math.sqrt(share / num) / sigma)


@pytest.mark.parametrize(("length", "share", "k"), [(100, 0.15, 15), (101, 0.15, 16), (300, 0.07, 21), (4, 0.15, 10)])
def test_how_many_are_chosen(length: int, share: float, k: int) -> None:
    assert num_chosen(torch.ones(1, length) > 0, share, 10).tolist() == [k]


def test_none_cannot_be_chosen() -> None:
    feature, score, mask = videos(1, [5])
    with pytest.raises(ValueError, match="k is at least 1"):
        successive_halving(feature, score, mask, torch.tensor([0]))
