"""CSUM's likeness of a video and its summary: dist_n, which despite its name is high for what is alike.

dist_n(X,Y) = E_x′ E_y′ ⟨x′,y′⟩ over n clips x′ of X and n clips y′ of Y. The two draws are independent, so it equals
Σ_i ⟨m_i(X), m_i(Y)⟩ with m_i the expected i-th clip. "windows" draws n neighbours (the paper's words), "subsets" any n
in the order of time. Windows hardly tell summaries apart where T ≫ n: the m_i then differ by the clips at both ends.

Letters: B videos, T clips, D features, P sequences of all sets, n clips drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.boxes import full_precision

Draw = Literal["windows", "subsets"]
Clips = tuple[Tensor, Tensor]  # embeddings [B,T,D], and bool [B,T] where there is a clip


def similarities(sets: Sequence[Clips], num_drawn: int, draw: Draw) -> Tensor:
    """dist_n/n of every sequence of `sets` with every one, [P,P] in the order of `sets`.

    A pair of which one has fewer than `num_drawn` clips draws as many as that one has; without any clip it gets 0.
    """
    count = torch.cat([mask.sum(1) for _, mask in sets])
    drawn = torch.minimum(count[:, None], count).clamp(max=num_drawn)
    found = [
        pairwise(torch.cat([expected_clips(*clips, n, draw) for clips in sets])).masked_fill(drawn != n, 0)
        for n in drawn.clamp(min=1).unique().tolist()  # one number, unless a sequence is shorter than `num_drawn`
    ]
    return torch.stack(found).sum(0)


def pairwise(expected: Tensor) -> Tensor:
    """Σ_i ⟨m_i(X), m_i(Y)⟩ / n of all pairs [P,P], from m [P,n,D]."""
    with torch.autocast(expected.device.type, enabled=False):  # in bfloat16 all summaries of a video look the same
        return expected.flatten(1) @ expected.flatten(1).T / expected.shape[1]


def expected_clips(embedding: Tensor, mask: Tensor, num_drawn: int, draw: Draw) -> Tensor:
    """m [B,n,D]: the mean i-th clip of the n drawn from each sequence; 0 for one of fewer than n clips."""
    missing = max(0, num_drawn - mask.shape[1])
    embedding, mask = F.pad(embedding, (0, 0, 0, missing)), F.pad(mask, (0, missing))
    embedding = full_precision(embedding).masked_fill(~mask[..., None], 0)
    enough = mask.sum(1) >= num_drawn
    expected = _of_windows(embedding, mask, num_drawn) if draw == "windows" else _of_subsets(embedding, mask, num_drawn)
    return expected.masked_fill(~enough[:, None, None], 0)


def _of_windows(embedding: Tensor, mask: Tensor, num_drawn: int) -> Tensor:
    """m_i = the mean of clips i … i+t−n: all t clips less the i−1 first and the n−i last, O(T·D)."""
    count = mask.sum(1, keepdim=True)
    order = mask.int().argsort(dim=1, descending=True, stable=True)  # where the first clip is, the second, …
    edge = torch.arange(num_drawn - 1, device=mask.device)
    first = _cumulated(embedding, order[:, : num_drawn - 1])
    last = _cumulated(embedding, order.gather(1, (count - 1 - edge).clamp(min=0))).flip(1)
    return (embedding.sum(1, keepdim=True) - first - last) / (count - num_drawn + 1).clamp(min=1)[..., None]


def _cumulated(embedding: Tensor, at: Tensor) -> Tensor:
    """The sums of the first 0, 1, … n−1 of the clips `at` [B,n−1]: [B,n,D]."""
    picked = embedding.gather(1, at[..., None].expand(-1, -1, embedding.shape[-1]))
    return F.pad(picked.cumsum(1), (0, 0, 1, 0))


def _of_subsets(embedding: Tensor, mask: Tensor, num_drawn: int) -> Tensor:
    weight = subset_weights(mask, num_drawn).to(embedding.dtype)
    with torch.autocast(embedding.device.type, enabled=False):
        return weight @ embedding


def subset_weights(mask: Tensor, num_drawn: int) -> Tensor:
    """w_ij = C(j−1,i−1)·C(t−j,n−i)/C(t,n), how often clip j is the i-th of n out of t: float64 [B,n,T].

    Each row sums to 1; a sequence of fewer than n clips has zeros.
    """
    count = mask.sum(1)[:, None, None]  # [B,1,1]
    before = (mask.cumsum(1) - 1).clamp(min=0)[:, None]  # [B,1,T] clips before each
    after = (count - 1 - before).clamp(min=0)
    rank = torch.arange(num_drawn, device=mask.device)[None, :, None]  # [1,n,1] i−1
    log_choose = log_binomials(mask.shape[1], num_drawn).to(mask.device)
    log_weight = log_choose[before, rank] + log_choose[after, num_drawn - 1 - rank]
    log_all = log_choose[count, num_drawn].masked_fill(count < num_drawn, 0)  # all weights are 0 then
    return (log_weight - log_all).exp().masked_fill(~mask[:, None], 0)


def log_binomials(most: int, chosen: int) -> Tensor:
    """log C(a,b) for a of 0 … `most` and b of 0 … `chosen`, float64; −∞ for b > a.

    Products, not `lgamma`, whose rounding at a = 10,000 is a hundred times that of the few factors.
    """
    a = torch.arange(most + 1, dtype=torch.float64)[:, None]
    b = torch.arange(1, chosen + 1, dtype=torch.float64)
    factors = ((a - b + 1).clamp(min=0) / b).log()
    return F.pad(factors.cumsum(1), (1, 0))
