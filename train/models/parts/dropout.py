"""Dropout that draws bits on a CPU, where torch draws a number for every value."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Dropout):
    """`nn.Dropout` by `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p if self.training else 0.0)


def dropout(x: Tensor, share: float) -> Tensor:
    """Drop each value of `x` with probability `share` and scale the others so that the mean stays.

    On a CPU `share` is rounded to a multiple of 2⁻¹⁶. The scale is of the rounded share, so the mean stays exactly.
    """
    if not share:
        return x
    # `bernoulli_` costs 15 ns a value there, ten times what the product of an attention costs (docs/results.md). CUDA
    # draws within its kernel.
    if x.device.type != "cpu":
        return F.dropout(x, share)
    return x * kept(x.shape, share, x.dtype)


def kept(shape: torch.Size, share: float, dtype: torch.dtype) -> Tensor:
    """What dropout multiplies by: 0 with probability `share`, else 1/(1 − share). From torch's CPU generator."""
    # A byte is enough for ½ and ¼; two bytes hold any other share to 2⁻¹⁷.
    bits = 8 if (share * 2**8).is_integer() else 16
    dropped = min(round(share * 2**bits), 2**bits - 1)
    num = math.prod(shape)
    words = torch.empty(-(-num * bits // 64), dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.int8 if bits == 8 else torch.int16)[:num].view(shape)
    # A bool is one byte, 0 or 1: conversion from uint8 is faster than from bool.
    keep = (drawn >= dropped - 2 ** (bits - 1)).view(torch.uint8)
    return keep.to(dtype).mul_(2**bits / (2**bits - dropped))
