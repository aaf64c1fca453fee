"""dist_n in closed form against the mean over all windows, and over all subsets."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vsumdata.train.objectives.distance import Clips, Draw, expected_clips, log_binomials, similarities, subset_weights

DRAWS: tuple[Draw, ...] = ("windows", "subsets")
SEEDS = st.integers(0, 10_000)


def clips(seed: int, lengths: list[int], dim: int = 4) -> Clips:
    random = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randn(*mask.shape, dim, generator=random, dtype=torch.float64), mask


def drawn(num_clips: int, n: int, draw: Draw) -> list[tuple[int, ...]]:
    if draw == "subsets":
        return list(itertools.combinations(range(num_clips), n))
    return [tuple(range(first, first + n)) for first in range(num_clips - n + 1)]


def dist_of_a_loop(x: Tensor, y: Tensor, n: int, draw: Draw) -> float:
    """The mean of ⟨x′,y′⟩/n over all draws of n clips from x [t,D] and y [t′,D]."""
    n = min(n, len(x), len(y))
    products = [
        (x[list(one)] * y[list(other)]).sum() / n for one in drawn(len(x), n, draw) for other in drawn(len(y), n, draw)
    ]
    return float(torch.stack(products).mean())


@pytest.mark.parametrize("draw", DRAWS)
@settings(deadline=None, max_examples=40)
@given(
    seed=SEEDS,
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    others=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    n=st.integers(1, 6),
)
def test_the_closed_form_is_the_mean_over_all_draws(
    draw: Draw, seed: int, lengths: list[int], others: list[int], n: int
) -> None:
    sets = [clips(seed, lengths), clips(seed + 1, others)]
    found = similarities(sets, n, draw)
    each = [embedding[i, mask[i]] for embedding, mask in sets for i in range(len(mask))]
    for i, j in itertools.product(range(len(each)), repeat=2):
        assert float(found[i, j]) == pytest.approx(dist_of_a_loop(each[i], each[j], n, draw), rel=0, abs=1e-12)


@pytest.mark.parametrize("draw", DRAWS)
def test_of_one_clip_it_is_the_mean_product(draw: Draw) -> None:
    x, y = clips(1, [300]), clips(2, [45])
    found = similarities([x, y], 1, draw)
    assert float(found[0, 1]) == pytest.approx(float((x[0][0] @ y[0][0].T).mean()), rel=0, abs=1e-12)


# A video that goes round a circle in 300 clips, and summaries of 20: spread evenly, 4 × 5, 2 × 10, 1 × 20.
PLACES: dict[str, list[float]] = {
    "uniform": [15 * i + 7.5 for i in range(20)],
    "4 clusters": [75 * cluster + i for cluster in range(4) for i in range(5)],
    "2 opposite": [150 * cluster + i for cluster in range(2) for i in range(10)],
    "1 cluster": [float(i) for i in range(20)],
}
PUBLISHED: dict[Draw, list[float]] = {
    "windows": [0.012, 0.008, 0.000, -0.030],
    "subsets": [0.646, 0.454, 0.052, -0.059],
}


def on_a_circle(places: list[float]) -> Clips:
    angle = 2 * math.pi * torch.tensor(places, dtype=torch.float64) / 300
    return torch.stack([angle.cos(), angle.sin()], -1)[None], torch.ones(1, len(places)) > 0


@pytest.mark.parametrize("draw", DRAWS)
def test_of_a_circle_it_is_the_published_one(draw: Draw) -> None:
    video = on_a_circle([float(i) for i in range(300)])
    found = similarities([video, *(on_a_circle(places) for places in PLACES.values())], 10, draw)
    assert [round(value, 3) + 0.0 for value in found[0, 1:].tolist()] == PUBLISHED[draw]


@settings(deadline=None, max_examples=30)
@given(num_clips=st.integers(1, 60), n=st.integers(1, 12), missing=st.integers(0, 5))
def test_subset_weights_are_those_of_fractions(num_clips: int, n: int, missing: int) -> None:
    mask = torch.arange(num_clips + missing)[None] < num_clips
    weight = subset_weights(mask, n)[0]
    for i, j in itertools.product(range(n), range(num_clips)):
        ways = math.comb(j, i) * math.comb(num_clips - 1 - j, n - 1 - i)
        expected = Fraction(ways, math.comb(num_clips, n)) if n <= num_clips else 0
        assert float(weight[i, j]) == pytest.approx(float(expected), rel=1e-12)
    assert (weight[:, num_clips:] == 0).all()


@pytest.mark.parametrize(("num_clips", "n"), [(10_000, 10), (10_000, 500), (7, 7), (1, 1)])
def test_subset_weights_sum_to_one(num_clips: int, n: int) -> None:
    weight = subset_weights(torch.ones(1, num_clips) > 0, n)[0]
    torch.testing.assert_close(weight.sum(1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(weight.sum(0), torch.full((num_clips,), n / num_clips).double(), rtol=1e-6, atol=0)


def test_binomials_of_many_are_exact() -> None:
    table = log_binomials(10_000, 10)
    for a, b in [(10_000, 10), (9_999, 9), (10, 10), (5, 0)]:
        assert table[a, b].exp().item() == pytest.approx(math.comb(a, b), rel=1e-12)
    assert table[3, 4] == -math.inf


def test_windows_of_ten_thousand_clips_are_their_means_in_float32() -> None:
    embedding, mask = clips(3, [10_000])
    embedding = embedding + 100
    found = expected_clips(embedding.float(), mask, 10, "windows")[0]
    for i in range(10):
        torch.testing.assert_close(found[i].double(), embedding[0, i : i + 9991].mean(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("filler", [1e30, math.nan, math.inf])
def test_padding_and_batch_mates_change_neither_value_nor_gradient(draw: Draw, filler: float) -> None:
    lengths = [23, 12, 5]
    embedding, mask = clips(5, [*lengths, 40, 0])
    embedding = embedding.masked_fill(~mask[..., None], filler).requires_grad_()
    found = similarities([(embedding, mask)], 10, draw)
    (gradient,) = torch.autograd.grad(found[:3, :3].square().sum(), embedding)
    alone = embedding[:3, :23].detach().requires_grad_()
    expected = similarities([(alone, mask[:3, :23])], 10, draw)
    torch.testing.assert_close(found[:3, :3], expected)
    torch.testing.assert_close(gradient[:3, :23], torch.autograd.grad(expected.square().sum(), alone)[0])
    assert (gradient[~mask] == 0).all()
    assert (gradient[:3][mask[:3]] != 0).all()
    assert (gradient[3] == 0).all()
    assert (found[4] == 0).all()  # no clips at all


@pytest.mark.parametrize("draw", DRAWS)
def test_nothing_is_expected_of_fewer_clips_than_are_drawn(draw: Draw) -> None:
    found = expected_clips(*clips(6, [9, 4, 1]), 5, draw)
    assert (found[0] != 0).all()
    assert (found[1:] == 0).all()
    assert (expected_clips(*clips(6, [4, 3]), 5, draw) == torch.zeros(2, 5, 4)).all()


@pytest.mark.parametrize("draw", DRAWS)
def test_gaps_in_the_mask_are_no_clips(draw: Draw) -> None:
    embedding, mask = clips(6, [30, 30])
    mask[0, [0, 4, 5, 19, 29]] = False
    found = expected_clips(embedding, mask, 8, draw)
    packed = expected_clips(embedding[:1, mask[0]], torch.ones(1, 25) > 0, 8, draw)
    torch.testing.assert_close(found[0], packed[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("draw", DRAWS)
def test_it_is_blind_to_autocast(draw: Draw) -> None:
    embedding, mask = clips(7, [30, 14])
    plain = similarities([(embedding.float(), mask)], 10, draw)
    with torch.autocast("cpu", torch.bfloat16):
        found = similarities([(embedding.float(), mask)], 10, draw)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain)  # bfloat16 would round at 4e-3
    halved = similarities([(embedding.bfloat16(), mask)], 10, draw)
    torch.testing.assert_close(halved, similarities([(embedding.bfloat16().float(), mask)], 10, draw))


@pytest.mark.parametrize("draw", DRAWS)
def test_the_gradient_is_that_of_finite_differences(draw: Draw) -> None:
    embedding, mask = clips(8, [8, 3], 2)
    other, other_mask = clips(9, [4, 4], 2)
    assert torch.autograd.gradcheck(
        lambda x, y: similarities([(x, mask), (y, other_mask)], 4, draw),
        (embedding.requires_grad_(), other.requires_grad_()),
    )


def test_only_subsets_see_what_a_summary_leaves_out() -> None:
    """For a long video, windows give all summaries nearly the same similarity."""
    video = on_a_circle([float(i) for i in range(300)])
    spread, one_place = on_a_circle(PLACES["uniform"]), on_a_circle(PLACES["1 cluster"])
    by_draw = {draw: similarities([video, spread, one_place], 10, draw)[0] for draw in DRAWS}
    assert by_draw["subsets"][1] - by_draw["subsets"][2] > 10 * (by_draw["windows"][1] - by_draw["windows"][2])
