"""The likelihood of a determinantal point process, against the sum over all summaries."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vsumdata.train.losses.dpp import dpp


def drawn(num_videos, num_frames, size, seed=0):
    """Logits [B,T], kernel vectors [B,T,K], a summary and a mask that is all true [B,T]."""
    maker = torch.Generator().manual_seed(seed)
    logit = torch.randn(num_videos, num_frames, generator=maker, dtype=torch.float64)
    kernel = torch.randn(num_videos, num_frames, size, generator=maker, dtype=torch.float64)
    summary = (torch.rand(num_videos, num_frames, generator=maker) < 0.4).double()
    return logit, kernel, summary, torch.ones(num_videos, num_frames, dtype=torch.bool)


def brute_force(logit, kernel, chosen, own):
    """−log of det L_Y over the sum of det L_S for all subsets S of one video's frames."""
    q, vector = 1 / (1 + np.exp(-logit)), kernel
    matrix = np.outer(q, q) * (vector @ vector.T + own * np.eye(len(q)))

    def det(subset):
        return np.linalg.det(matrix[np.ix_(subset, subset)])

    every = [[t for t, is_in in enumerate(choice) if is_in] for choice in product([0, 1], repeat=len(q))]
    return -np.log(det(np.flatnonzero(chosen)) / sum(map(det, every)))


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    own=st.sampled_from([0, 1e-6, 0.1]),
    seed=st.integers(0, 99),
)
def test_it_is_the_likelihood_among_all_summaries(lengths, own, seed):
    longest = max(lengths)
    logit, kernel, summary, mask = drawn(len(lengths), longest, 7, seed)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    expected = [
        brute_force(logit[b, :n].numpy(), kernel[b, :n].numpy(), summary[b, :n].numpy(), own)
        for b, n in enumerate(lengths)
    ]
    summary = summary.masked_fill(~mask, 1)
    logit, kernel = logit.masked_fill(~mask, np.nan), kernel.masked_fill(~mask[..., None], np.inf)
    assert float(dpp(logit, kernel, summary, mask, own)) == pytest.approx(np.mean(expected), rel=1e-9, abs=1e-9)


def test_the_likelihoods_of_all_summaries_sum_to_one():
    logit, kernel, _, mask = drawn(1, 5, 2)  # rank 2, plus the own direction of each frame
    every = torch.tensor(list(product([0.0, 1.0], repeat=5)))
    losses = torch.stack([dpp(logit, kernel, chosen[None], mask) for chosen in every])
    assert float(losses.neg().exp().sum()) == pytest.approx(1, abs=1e-9)
    assert losses[every.sum(1) > 2].min() > losses[every.sum(1) <= 2].max() + 5


def test_frames_that_differ_are_likelier_than_frames_that_are_alike():
    kernel = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    alike, differ = (dpp(torch.zeros(1, 3), kernel, torch.tensor([each]), mask) for each in ([1, 1, 0], [1, 0, 1]))
    assert alike > differ + 5
    assert alike.isfinite()
    assert dpp(torch.zeros(1, 3), kernel, torch.tensor([[1, 1, 0]]), mask, own=0) == np.inf


def test_gradients_agree_with_differences():
    logit, kernel, summary, mask = drawn(2, 5, 3)
    mask[1, 3:] = False
    logit.requires_grad_(), kernel.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: dpp(a, b, summary, mask, own=0.1), (logit, kernel))


def test_padding_gives_no_gradient_even_if_it_is_not_finite():
    logit, kernel, summary, mask = drawn(2, 5, 3)
    mask[1, 3:] = False
    logit[1, 3:], kernel[1, 3:] = np.nan, np.inf
    logit.requires_grad_(), kernel.requires_grad_()
    dpp(logit, kernel, summary, mask).backward()
    for grad in (logit.grad.abs(), kernel.grad.abs().amax(-1)):
        assert (grad[mask] > 0).all()
        assert not grad[~mask].any()


def test_videos_without_a_summary_are_left_out():
    logit, kernel, summary, mask = drawn(3, 6, 4)
    mask[1] = False
    rest = [0, 2]
    expected = dpp(logit[rest], kernel[rest], summary[rest], mask[rest])
    torch.testing.assert_close(dpp(logit, kernel, summary, mask), expected, rtol=1e-12, atol=0)
    logit.requires_grad_()
    nothing = dpp(logit, kernel, summary, torch.zeros_like(mask))
    nothing.backward()
    assert nothing.item() == 0
    assert not logit.grad.any()


@pytest.mark.parametrize("shift", [-200.0, 200.0])
def test_certain_scores_give_finite_losses_and_gradients(shift):
    logit, kernel, summary, mask = (x.float() if x.dtype == torch.float64 else x for x in drawn(2, 300, 64))
    logit = (logit + shift).requires_grad_()
    kernel = (10 * kernel).requires_grad_()
    loss = dpp(logit, kernel, summary, mask)  # far more chosen frames than components
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logit.grad.isfinite().all()
    assert kernel.grad.isfinite().all()


def test_under_autocast_it_is_computed_in_full():
    logit, kernel, summary, mask = drawn(2, 20, 4)
    logit, kernel = logit.bfloat16(), kernel.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = dpp(logit, kernel, summary, mask)
    expected = dpp(logit.float(), kernel.float(), summary, mask)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
