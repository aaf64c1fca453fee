"""The contrastive losses against loops over videos and positions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.contrastive import Empty, Modality, hard_negatives, inter, intra

SCALES = (torch.tensor(2.0), torch.tensor(5.0))
SEEDS = st.integers(0, 10_000)


def modality(seed: int, lengths: list[int], rate: float = 0.2, dtype: torch.dtype = torch.float64) -> Modality:
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    return Modality(
        embedding=torch.randn(*shape, 6, generator=random, dtype=dtype),
        logit=torch.randn(shape, generator=random, dtype=dtype),
        label=(torch.rand(shape, generator=random) < rate).to(dtype) * mask,
        mask=mask,
    )


def negatives_of(side: Modality, i: int, ratio: int, empty: Empty) -> list[int]:
    length = int(side.mask[i].sum())
    near = binary_dilation(side.label[i].numpy() > 0, iterations=4)
    order = np.argsort(-side.logit[i, :length].numpy(), kind="stable").tolist()
    found = [at for at in order if not near[at]][: max(1, length // ratio)]
    return order[-1:] if not found and empty == "msmo" else found


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def tell(anchor: Tensor, key: Tensor, negatives: list[Tensor], scale: Tensor) -> Tensor:
    weights = [(scale * (unit(anchor) * unit(other)).sum()).exp() for other in (key, *negatives)]
    return -(weights[0] / sum(weights)).log()


def intra_of_a_loop(video: Modality, text: Modality, ratio: int, empty: Empty) -> tuple[Tensor, int]:
    losses = []
    for i in range(len(video.logit)):
        keys, negatives = [], []
        for side in (video, text):
            keys.append(side.embedding[i, side.label[i] > 0])
            negatives.append([side.embedding[i, at] for at in negatives_of(side, i, ratio, empty)])
        if not all(map(len, keys)) or (empty != "a2summ" and not all(map(len, negatives))):
            continue
        z_v, z_t = (key.mean(0) for key in keys)
        losses.append((tell(z_v, z_t, negatives[0], SCALES[0]) + tell(z_t, z_v, negatives[1], SCALES[1])) / 2)
    left_out = len(video.logit) - len(losses)
    return (torch.stack(losses).mean() if losses else torch.zeros(())), left_out


@pytest.mark.parametrize("empty", ["leave out", "a2summ", "msmo"])
@settings(deadline=None, max_examples=50)
@given(seed=SEEDS, ratio=st.sampled_from([1, 4, 16]), rate=st.sampled_from([0.0, 0.05, 0.2, 0.9]))
def test_intra_of_a_loop(empty: Empty, seed: int, ratio: int, rate: float) -> None:
    video, text = modality(seed, [30, 7, 1, 18], rate), modality(seed + 1, [12, 25, 3, 1], rate)
    expected, left_out = intra_of_a_loop(video, text, ratio, empty)
    found = intra(video, text, SCALES, ratio, empty)
    torch.testing.assert_close(found.loss, expected.to(found.loss.dtype))
    assert found.num_left_out == left_out


@settings(deadline=None, max_examples=50)
@given(seed=SEEDS, ratio=st.integers(1, 20), lowest=st.booleans())
def test_hard_negatives_of_a_loop(seed: int, ratio: int, lowest: bool) -> None:
    side = modality(seed, [40, 11, 1], 0.1)
    index, found = hard_negatives(side.logit, side.label, side.mask, ratio, lowest)
    for i in range(3):
        assert index[i, found[i]].tolist() == negatives_of(side, i, ratio, "msmo" if lowest else "a2summ")


def test_no_negative_is_within_four_positions_of_a_positive() -> None:
    label = torch.zeros(1, 20)
    label[0, 10] = 1
    index, found = hard_negatives(torch.zeros(1, 20), label, torch.ones(1, 20, dtype=torch.bool), 1)
    assert sorted(index[found].tolist()) == [0, 1, 2, 3, 4, 5, 15, 16, 17, 18, 19]


def test_what_officially_is_not_a_number_is_left_out_and_counted() -> None:
    video, text = modality(1, [30, 30, 30], 0.1), modality(2, [25, 25, 25], 0.1)
    text.label[1] = 0  # the mean of no embeddings is NaN
    found = intra(video, text, SCALES, 4)
    kept = [replace_rows(side, [0, 2]) for side in (video, text)]
    torch.testing.assert_close(found.loss, intra(kept[0], kept[1], SCALES, 4).loss)
    assert found.num_left_out == 1


def replace_rows(side: Modality, rows: list[int]) -> Modality:
    return Modality(
        embedding=side.embedding[rows], logit=side.logit[rows], label=side.label[rows], mask=side.mask[rows]
    )


def gradients(video: Modality, text: Modality) -> tuple[Tensor, list[Tensor]]:
    """The intra loss, and its gradients by both embeddings, both logits and both scales."""
    video, text = (
        replace(side, embedding=side.embedding.clone().requires_grad_(), logit=side.logit.clone().requires_grad_())
        for side in (video, text)
    )
    scales = (SCALES[0].clone().requires_grad_(), SCALES[1].clone().requires_grad_())
    loss = intra(video, text, scales, 4).loss
    of = (video.embedding, text.embedding, video.logit, text.logit, *scales)
    return loss.detach(), list(torch.autograd.grad(loss, of, allow_unused=True, materialize_grads=True))


def test_gradients_flow_to_keys_and_negatives_only() -> None:
    video, text = modality(5, [30], 0.1), modality(6, [25], 0.1)
    _, (of_video, of_text, *logits, video_scale, text_scale) = gradients(video, text)
    for side, gradient in ((video, of_video), (text, of_text)):
        used = {*torch.nonzero(side.label[0]).flatten().tolist(), *negatives_of(side, 0, 4, "a2summ")}
        assert set(torch.nonzero(gradient[0].abs().sum(-1)).flatten().tolist()) == used
    assert all((gradient == 0).all() for gradient in logits)  # the ranking only selects
    assert video_scale != 0
    assert text_scale != 0


@pytest.mark.parametrize("filler", [1e30, math.nan, math.inf])
def test_padding_changes_neither_value_nor_gradient(filler: float) -> None:
    sides = modality(7, [30, 14], 0.1), modality(8, [25, 12], 0.1)
    loss, plain = gradients(*sides)
    wide = [padded(side, 9, filler) for side in sides]
    again, found = gradients(wide[0], wide[1])
    torch.testing.assert_close(again, loss)
    for before, after in zip(plain[:2], found[:2], strict=True):
        torch.testing.assert_close(after[:, : before.shape[1]], before)
        assert (after[:, before.shape[1] :] == 0).all()
    torch.testing.assert_close(found[4:], plain[4:])


def padded(side: Modality, by: int, filler: float) -> Modality:
    mask = F.pad(side.mask, (0, by))
    embedding, logit = F.pad(side.embedding, (0, 0, 0, by)), F.pad(side.logit, (0, by))
    return Modality(
        embedding=embedding.masked_fill(~mask[..., None], filler),
        logit=logit.masked_fill(~mask, filler),
        label=F.pad(side.label, (0, by), value=1.0),
        mask=mask,
    )


def test_a_batch_without_sentences_has_no_intra_loss() -> None:
    video = modality(3, [20], 0.2)
    text = Modality(
        embedding=torch.zeros(1, 0, 6), logit=torch.zeros(1, 0), label=torch.zeros(1, 0), mask=torch.zeros(1, 0) > 0
    )
    found = intra(video, text, SCALES, 4, "msmo")
    assert (found.loss, found.num_left_out) == (0, 1)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, num=st.integers(1, 6))
def test_inter_of_a_loop(seed: int, num: int) -> None:
    random = torch.Generator().manual_seed(seed)
    video, text = (torch.randn(num, 5, generator=random, dtype=torch.float64) for _ in range(2))
    scale = torch.tensor(14.0)
    expected = 0.0
    for i in range(num):
        others = [j for j in range(num) if j != i]
        expected += float(tell(video[i], text[i], [text[j] for j in others], scale)) / (2 * num)
        expected += float(tell(text[i], video[i], [video[j] for j in others], scale)) / (2 * num)
    found = inter(video, text, scale, torch.ones(num, dtype=torch.bool))
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inter_is_over_the_videos_that_have_a_text(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    video, text = (torch.randn(4, 5, generator=random).to(dtype).requires_grad_() for _ in range(2))
    with torch.no_grad():
        text[1] = math.nan
    has = torch.tensor([True, False, True, True])
    scale = torch.tensor(3.0, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = inter(video, text, scale, has)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, inter(video[has].float(), text[has].float(), scale, has[has]))
    loss.backward()
    for token in (video, text):
        assert token.grad is not None
        assert token.grad[has].abs().sum(1).min() > 0
        assert (token.grad[~has] == 0).all()
    assert scale.grad is not None
    assert scale.grad != 0


@pytest.mark.parametrize("num", [0, 1])
def test_fewer_than_two_videos_have_nothing_to_tell(num: int) -> None:
    video = torch.randn(3, 5).requires_grad_()
    loss = inter(video, torch.randn(3, 5), torch.tensor(3.0), torch.arange(3) < num)
    loss.backward()
    assert loss.item() == 0
    assert video.grad is not None
    assert (video.grad == 0).all()


def test_intra_under_autocast_is_in_float32() -> None:
    video, text = modality(5, [30], 0.1, torch.float32), modality(6, [25], 0.1, torch.float32)
    plain = intra(video, text, SCALES, 4).loss
    with torch.autocast("cpu", torch.bfloat16):
        found = intra(video, text, SCALES, 4).loss
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
