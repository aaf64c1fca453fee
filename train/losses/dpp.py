"""The likelihood of a summary under a determinantal point process, DPP (dppLSTM).

Letters: B videos, T frames, K components of a frame's kernel vector.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.losses.boxes import full_precision
from vsumdata.train.losses.supervised import masked_mean


def dpp(logit: Tensor, kernel: Tensor, summary: Tensor, mask: Tensor, own: float = 1e-6) -> Tensor:
    """−log P(Y) = −log det L_Y + log det(L+I), the mean over videos; Y is the frames that are 1 in `summary` [B,T].

    L_ij = q_i·q_j·(φ_i·φ_j + own·[i=j]) with q = σ(logit) [B,T] and φ = `kernel` [B,T,K] (Zhang et al. 2016).
    Deviation: officially `own` is 0. A video is left out if `mask` [B,T] is false for all its frames.
    """
    # float64: L is nearly singular, since frames of one shot are nearly equal.
    logit = full_precision(logit).masked_fill(~mask, 0).double()
    vector = full_precision(kernel).masked_fill(~mask[..., None], 0).double()
    chosen = (summary > 0.5) & mask
    one = torch.eye(mask.shape[1], dtype=torch.float64, device=logit.device)
    # `own` gives every frame a direction of its own. Without it, more than K chosen frames, or two equal ones, make
    # det L_Y = 0 and the loss infinite.
    alike = vector @ vector.transpose(1, 2) + own * one
    # log det L_Y = 2·Σ log q + log det of the rest: with q taken out, a small q cannot make the matrix singular.
    quality = 2 * F.logsigmoid(logit).masked_fill(~chosen, 0).sum(1)
    # Rows and columns of frames that are not chosen become those of the identity, so the determinant is that of the
    # chosen ones and all videos keep one shape.
    log_chosen = quality + logdet(torch.where(chosen[:, None] & chosen[..., None], alike, one))
    q = logit.sigmoid().masked_fill(~mask, 0)
    losses = logdet(q[:, None] * alike * q[..., None] + one) - log_chosen
    return masked_mean(losses, mask.any(1)).to(full_precision(kernel).dtype)


def logdet(matrix: Tensor) -> Tensor:
    """Log-determinant [B] of symmetric positive semi-definite matrices [B,N,N]; −∞ for a singular one."""
    # Cholesky instead of `slogdet`: its LU runs the matrices of a batch in parallel, and MKL then hangs at times or
    # returns wrong numbers (pytorch/pytorch#141358; seen here on two cores with two matrices of 300 rows).
    with torch.autocast(matrix.device.type, enabled=False):
        factor, failed = torch.linalg.cholesky_ex(matrix)
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1).masked_fill(failed > 0, -torch.inf)
