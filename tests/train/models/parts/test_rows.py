"""A batch without its padding, and back."""

from __future__ import annotations

import pytest
import torch

from vsumdata.train.models.parts.rows import Rows

LENGTHS = (4, 1, 6)


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.arange(6) < torch.tensor(LENGTHS)[:, None]


def test_rows_go_out_and_back_with_their_gradient(mask):
    x = torch.randn(3, 6, 2, requires_grad=True)
    rows = Rows(mask)
    taken = rows.take(x)
    assert taken.shape == (sum(LENGTHS), 2)
    torch.testing.assert_close(taken, x[mask])
    back = rows.give(taken)
    torch.testing.assert_close(back, x.masked_fill(~mask[..., None], 0))
    back.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach().masked_fill(~mask[..., None], 0))


def test_each_video_sees_itself_alone(mask):
    rows, x = Rows(mask), torch.randn(3, 6, 2)
    seen = list(rows.videos(rows.take(x), rows.take(x[..., :1])))
    assert [tuple(part.shape for part in video) for video in seen] == [((1, n), (1, n, 2), (1, n, 1)) for n in LENGTHS]
    assert all(each.all() for each, *_ in seen)
    torch.testing.assert_close(rows.join(part for _, part, _ in seen), rows.take(x))


def test_padded_the_batch_stays_as_it_is(mask):
    rows, x = Rows(mask, padded=True), torch.randn(3, 6, 2)
    assert rows.take(x) is x
    assert rows.give(x) is x
    ((seen, part),) = rows.videos(x)
    assert seen is mask
    assert part is x
    torch.testing.assert_close(rows.clear(x), x.masked_fill(~mask[..., None], 0))


def test_a_single_whole_video_needs_no_rows():
    assert Rows(torch.ones(1, 5, dtype=torch.bool)).padded
    assert not Rows(torch.arange(5)[None] < 3).padded
