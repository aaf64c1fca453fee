"""How likely a determinantal point process is to choose the frames of a summary (dppLSTM).

Letters: B videos, T frames, K components of a frame's kernel vector.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.boxes import full_precision
from vsumdata.train.losses import masked_mean


def dpp(logit: Tensor, kernel: Tensor, summary: Tensor, mask: Tensor, own: float = 1e-6) -> Tensor:
    """−log P(Y) = −log det L_Y + log det(L+I): the mean over videos, Y the frames that are 1 in `summary` [B,T].

    L_ij = q_i·q_j·(φ_i·φ_j + own·[i=j]) with q = σ(logit) [B,T] and φ = `kernel` [B,T,K]. `own` gives every frame a
    direction of its own: officially it is 0, and more than K chosen frames, or two that are alike, are impossible.
    A video is left out where `mask` is never true. Computed in float64, for L is nearly singular.
    """
    logit = full_precision(logit).masked_fill(~mask, 0).double()
    vector = full_precision(kernel).masked_fill(~mask[..., None], 0).double()
    chosen = (summary > 0.5) & mask
    one = torch.eye(mask.shape[1], dtype=torch.float64, device=logit.device)
    alike = vector @ vector.transpose(1, 2) + own * one
    # q is taken out of L_Y: log det L_Y = 2·Σ log q + log det of the rest, which a small q does not make singular.
    quality = 2 * F.logsigmoid(logit).masked_fill(~chosen, 0).sum(1)
    log_chosen = quality + logdet(torch.where(chosen[:, None] & chosen[..., None], alike, one))
    q = logit.sigmoid().masked_fill(~mask, 0)
    losses = logdet(q[:, None] * alike * q[..., None] + one) - log_chosen
    return masked_mean(losses, mask.any(1)).to(full_precision(kernel).dtype)


def logdet(matrix: Tensor) -> Tensor:
    """Of symmetric matrices [B,N,N] without negative eigenvalues; −∞ where one is 0.

    By Cholesky: the LU behind `slogdet` does the matrices of a batch in parallel, where MKL never returns at times, or
    returns wrong numbers (pytorch/pytorch#141358; seen here with two matrices of 300 rows).
    """
    with torch.autocast(matrix.device.type, enabled=False):
        factor, failed = torch.linalg.cholesky_ex(matrix)
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1).masked_fill(failed > 0, -torch.inf)
