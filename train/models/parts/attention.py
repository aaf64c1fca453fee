"""Scaled dot-product attention with dropout, for CPUs too."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vsumdata.train.models.parts.dropout import dropout


def attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, share: float, scale: float | None = None
) -> Tensor:
    """`F.scaled_dot_product_attention` that drops a `share` of the weights: softmax(scale·Q·Kᵀ + bias)·V.

    Query, key and value are [B,H,N,d]. `bias` broadcasts to [B,H,N,N] and takes no gradient; a bool one is true where
    the query sees the key, and then every query must see one.
    """
    # PyTorch's fused attention for CPUs supports no dropout. Its other path scales, masks, tests for empty rows and
    # drops in passes of their own.
    if not share or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, bias, share, scale=scale)
    query = query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if bias is not None and bias.dtype == torch.bool:
        shut = torch.finfo(query.dtype).min
        bias = torch.zeros(bias.shape, dtype=query.dtype).masked_fill_(~bias, shut)
    # One video at a time: the weights of a batch do not fit into the cache.
    biases = [None] * len(query) if bias is None else list(bias.expand(len(query), *bias.shape[1:]))
    return torch.stack([one(*each, share) for each in zip(query, key, value, biases, strict=True)])


def one(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, share: float) -> Tensor:
    energy = query @ key.transpose(-2, -1)
    return dropout((energy if bias is None else energy + bias).softmax(-1), share) @ value
