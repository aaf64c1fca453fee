"""CSUM's similarity dist_n of a video and its summary. In spite of its name, it is high for similar sequences.

dist_n(X,Y) = E_x′ E_y′ ⟨x′,y′⟩, where x′ is n clips drawn from X and y′ is n clips drawn from Y. The draws are
independent, so dist_n = Σ_i ⟨m_i(X), m_i(Y)⟩, where m_i is the expected i-th clip. "windows" draws n consecutive clips
(as in the paper), "subsets" draws any n clips in time order. For T ≫ n, windows hardly distinguish summaries: the m_i
then differ only by the clips at both ends.

Letters: B videos, T clips, D components, P sequences in all sets, n clips drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.boxes import full_precision

Draw = Literal["windows", "subsets"]
Clips = tuple[Tensor, Tensor]  # embeddings [B,T,D], and bool [B,T] where there is a clip


def similarities(sets: Sequence[Clips], num_drawn: int, draw: Draw) -> Tensor:
    """dist_n/n of every pair of sequences, [P,P], in the order of `sets`; n is `num_drawn`.

    If a sequence has fewer than n clips, its pairs draw as many as it has. A pair with an empty sequence gets 0.
    """
    # Divided by n, so that pairs with different n are comparable.
    count = torch.cat([mask.sum(1) for _, mask in sets])
    drawn = torch.minimum(count[:, None], count).clamp(max=num_drawn)
    # One pass per distinct n: a single one, unless a sequence is shorter than `num_drawn`.
    found = [
        pairwise(torch.cat([expected_clips(*clips, n, draw) for clips in sets])).masked_fill(drawn != n, 0)
        for n in drawn.clamp(min=1).unique().tolist()
    ]
    return torch.stack(found).sum(0)


def pairwise(expected: Tensor) -> Tensor:
    """Σ_i ⟨m_i(X), m_i(Y)⟩ / n of all pairs, [P,P], from m [P,n,D]."""
    # Without autocast: in bfloat16 all summaries of a video look the same.
    with torch.autocast(expected.device.type, enabled=False):
        return expected.flatten(1) @ expected.flatten(1).T / expected.shape[1]


def expected_clips(embedding: Tensor, mask: Tensor, num_drawn: int, draw: Draw) -> Tensor:
    """m [B,n,D]: the expected i-th of n clips drawn from each sequence; 0 for a sequence of fewer than n clips."""
    missing = max(0, num_drawn - mask.shape[1])
    embedding, mask = F.pad(embedding, (0, 0, 0, missing)), F.pad(mask, (0, missing))
    embedding = full_precision(embedding).masked_fill(~mask[..., None], 0)
    enough = mask.sum(1) >= num_drawn
    expected = _of_windows(embedding, mask, num_drawn) if draw == "windows" else _of_subsets(embedding, mask, num_drawn)
    return expected.masked_fill(~enough[:, None, None], 0)


def _of_windows(embedding: Tensor, mask: Tensor, num_drawn: int) -> Tensor:
    """m_i is the mean of clips i … i+t−n, where t is the number of clips."""
    # All t clips less the first i−1 and the last n−i: O(T·D), where a sum per window would take n times as long. Only
    # n−1 clips at each end are cumulated, because the difference of two long sums loses digits in float32.
    count = mask.sum(1, keepdim=True)
    # The places of the first, second, … clip: a mask may have gaps.
    order = mask.int().argsort(dim=1, descending=True, stable=True)
    edge = torch.arange(num_drawn - 1, device=mask.device)
    first = _cumulated(embedding, order[:, : num_drawn - 1])
    last = _cumulated(embedding, order.gather(1, (count - 1 - edge).clamp(min=0))).flip(1)
    return (embedding.sum(1, keepdim=True) - first - last) / (count - num_drawn + 1).clamp(min=1)[..., None]


def _cumulated(embedding: Tensor, at: Tensor) -> Tensor:
    """The sums of the first 0, 1, … n−1 clips of those at the places `at` [B,n−1]: [B,n,D]."""
    picked = embedding.gather(1, at[..., None].expand(-1, -1, embedding.shape[-1]))
    return F.pad(picked.cumsum(1), (0, 0, 1, 0))


def _of_subsets(embedding: Tensor, mask: Tensor, num_drawn: int) -> Tensor:
    weight = subset_weights(mask, num_drawn).to(embedding.dtype)
    with torch.autocast(embedding.device.type, enabled=False):
        return weight @ embedding


def subset_weights(mask: Tensor, num_drawn: int) -> Tensor:
    """w_ij = C(j−1,i−1)·C(t−j,n−i)/C(t,n), the probability that clip j is the i-th of n out of t: float64 [B,n,T].

    Each row sums to 1; it is 0 for a sequence of fewer than n clips.
    """
    # In logarithms: for a long video and a large n, C(t,n) overflows float64.
    count = mask.sum(1)[:, None, None]  # [B,1,1]
    before = (mask.cumsum(1) - 1).clamp(min=0)[:, None]  # [B,1,T] clips before each
    after = (count - 1 - before).clamp(min=0)
    rank = torch.arange(num_drawn, device=mask.device)[None, :, None]  # [1,n,1] i−1
    log_choose = log_binomials(mask.shape[1], num_drawn).to(mask.device)
    log_weight = log_choose[before, rank] + log_choose[after, num_drawn - 1 - rank]
    # −∞ − (−∞) would be NaN for sequences that are too short, whose weights are all 0.
    log_all = log_choose[count, num_drawn].masked_fill(count < num_drawn, 0)
    return (log_weight - log_all).exp().masked_fill(~mask[:, None], 0)


def log_binomials(most: int, chosen: int) -> Tensor:
    """log C(a,b) for a = 0 … `most` and b = 0 … `chosen`, float64 [most+1, chosen+1]; −∞ for b > a."""
    # A product of few factors instead of `lgamma`, whose rounding error at a = 10,000 is a hundred times larger.
    a = torch.arange(most + 1, dtype=torch.float64)[:, None]
    b = torch.arange(1, chosen + 1, dtype=torch.float64)
    factors = ((a - b + 1).clamp(min=0) / b).log()
    return F.pad(factors.cumsum(1), (1, 0))
