"""PGL-SUM's batched heads and segments against one head, one segment and one frame at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from vsumdata.train.models.pglsum import PGLSUM, PGLSUMOptions, cut, sinusoids

WIDTH, SEGMENTS = 16, 4


def position(t: int, column: int, length: int) -> float:
    if column == length - 1 and length % 2:
        return 0.0
    angle = t / 10000 ** ((column - column % 2) / WIDTH)
    return math.cos(angle) if column % 2 else math.sin(angle)


def attended(x: torch.Tensor, qkv: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Frames [T,F] mixed with the weights qkv [3,H,d,F] and out [F,D] of one group of heads."""
    length = len(x)
    table = torch.tensor([[position(t, c, length) for c in range(length)] for t in range(length)]).double()
    heads = []
    for query, key, value in zip(*qkv, strict=True):
        energy = (x @ query.T) @ (x @ key.T).T + table
        heads.append(energy.softmax(-1) @ (x @ value.T))
    return torch.cat(heads, 1) @ out.T


def mixed(model: PGLSUM, x: torch.Tensor) -> torch.Tensor:
    """Global and local attention of one video [T,F], added."""
    whole = F.normalize(attended(x, model.attention.qkv[0], model.attention.out[0]), dim=-1)
    size = math.ceil(len(x) / SEGMENTS)
    parts = [
        F.normalize(attended(x[s * size : (s + 1) * size], model.local.qkv[s], model.local.out[s]), dim=-1)
        for s in range(SEGMENTS)
        if s * size < len(x)
    ]
    return whole + torch.cat(parts)


@pytest.fixture
def model() -> PGLSUM:
    torch.manual_seed(1)
    return PGLSUM(PGLSUMOptions(heads=2), WIDTH).double().eval()


def test_every_length_gives_what_a_loop_over_heads_and_segments_gives(model):
    """The official code fails at 1 to 7, 9, 10 and 13 frames: a segment has none or one."""
    lengths = [*range(1, 18), 31]
    x = torch.randn(len(lengths), 31, WIDTH, dtype=torch.float64)
    mask = torch.arange(31) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        got = model.mix(x.masked_fill(~mask[..., None], 0), mask)
        for video, ours, length in zip(x, got, lengths, strict=True):
            expected = mixed(model, video[:length])  # in float64, where ours has float32 sinusoids
            torch.testing.assert_close(ours[:length], expected, rtol=0, atol=1e-6, msg=f"T={length}")


def test_each_frame_has_its_place_in_one_segment():
    length = torch.tensor([1, 5, 12, 10])
    mask = torch.arange(12) < length[:, None]
    segments = cut(length, mask, SEGMENTS)
    assert segments.length.tolist() == [[1, 0, 0, 0], [2, 2, 1, 0], [3, 3, 3, 3], [3, 3, 3, 1]]
    assert torch.equal(segments.mask.sum(-1), segments.length)
    for video in range(4):
        places = segments.place[video][mask[video]]
        assert segments.frame[video].flatten()[places].tolist() == list(range(length[video]))
        assert segments.mask[video].flatten()[places].all()
        assert torch.equal(segments.of_frame[video][mask[video]], places // segments.frame.shape[-1])


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_sinusoids_are_of_each_videos_own_length(length):
    expected = [[position(t, c, length) for c in range(length)] for t in range(length)]
    for size in (length, 11):
        table = sinusoids("absolute", torch.tensor([[length]]), size, WIDTH)[0, 0, :length, :length]
        torch.testing.assert_close(table, torch.tensor(expected))


def test_relative_sinusoids_fall_with_the_distance():
    """Frame i of T seen from frame j: sin or cos of (j−i+T−1)/10000^((i+j)/2T)."""
    table = sinusoids("relative", torch.tensor([[6]]), 9, WIDTH)[0, 0]
    assert table[4, 2].item() == pytest.approx(math.sin((2 - 4 + 5) / 10000 ** (6 / 12)))
    assert table[1, 3].item() == pytest.approx(math.cos((3 - 1 + 5) / 10000 ** (4 / 12)))


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [("add", lambda g, p: g + p), ("avg", lambda g, p: (g + p) / 2), ("mult", torch.mul), ("max", torch.maximum)],
)
def test_fusions(model, fusion, expected):
    other = PGLSUM(PGLSUMOptions(heads=2, fusion=fusion), WIDTH).double().eval()
    other.load_state_dict(model.state_dict())
    x, mask = torch.randn(1, 9, WIDTH, dtype=torch.float64), torch.ones(1, 9, dtype=torch.bool)
    whole = F.normalize(model.attention(x[:, None], mask[:, None], torch.tensor([[9]]))[:, 0], dim=-1)
    local = model.mix(x, mask) - whole
    torch.testing.assert_close(other.mix(x, mask), expected(whole, local))


def test_compat_mr_hisum_depends_on_the_place_in_the_batch(model):
    """Segments of 9 frames are 3 long, and so are its slices of the batch: later videos are normalised too late."""
    theirs = PGLSUM(PGLSUMOptions(heads=2, compat="mr-hisum"), WIDTH).double().eval()
    theirs.load_state_dict(model.state_dict())
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64).expand(5, -1, -1)
    mask = torch.ones(5, 9, dtype=torch.bool)
    got = theirs.mix(x, mask)
    torch.testing.assert_close(got[0], got[2], rtol=0, atol=1e-12)
    assert (got[0] - got[3]).abs().max() > 1e-3
    torch.testing.assert_close(got[3], got[4], rtol=0, atol=1e-12)
    ours = model.mix(x, mask)
    torch.testing.assert_close(ours[3], ours[0], rtol=0, atol=1e-12)
