"""CLIP's vision transformers in int8 on CPUs: eight-bit weights and activations, by oneDNN's kernels in torch.

Scales are static and come from fixed pictures of the sample, so each worker has the same tower. Activations have one
scale a layer, weights one for each output. SmoothQuant (Xiao et al. 2023, ICML, §4.1) moves what single channels have
too much of from the activations to the weights. What is not a layer of a block (the patches' convolution, norms,
attention, the projection) keeps floating point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

from vsumdata.datasets.sample.site import ASSETS
from vsumdata.manifests.errors import UsageError
from vsumdata.stages.pictures.decode import Wanted, read_frames

# Of the sample, at one frame in five seconds: the 1st, 3rd, … set the scales, the others are the check.
VIDEOS = ("pancakes_01", "tea-brew_02", "boil-egg_04", "airplane_09")
FPS = 0.2
# SmoothQuant's α: 0 leaves all to the activations, 1 all to the weights.
ALPHA = 0.5
LEAST = 1e-5  # of a channel's range, so that a dead channel divides nothing by 0
AT_ONCE = 8  # pictures, while the ranges are measured
# QuickGELU(x) = x·σ(1.702x) = swish(1.702x) / 1.702, and oneDNN has swish.
QUICK = 1.702


def pictures(size: int, resize: str, interpolation: str) -> np.ndarray:
    """The fixed pictures that set the scales and check them, as `ClipEncoder.encode` takes them."""
    wanted = Wanted(size=size, fps=FPS, resize=resize, interpolation=interpolation)
    found: list[np.ndarray] = []
    for name in VIDEOS:
        with read_frames(str(ASSETS / "media" / f"{name}.mp4"), wanted) as reader:
            found.extend(picture for _, picture in reader)
    return np.stack(found)


def quantize(tower: nn.Module, x_BCHW: Tensor, dtype: torch.dtype) -> nn.Module:  # noqa: N803
    """Return the float32 `tower` with its blocks in int8 and the rest in `dtype`; it changes the tower itself.

    `x_BCHW`: pictures as the tower takes them, which set the ranges. Raises UsageError if the tower has no block of
    open_clip's vision transformers.
    """
    places = [(name, block) for name, block in tower.named_modules() if _is_known(block)]
    if not places:
        raise UsageError(
            "features.precision=int8 is for the vision transformers that open_clip builds itself; this model has none "
            "of their blocks: set another features.precision"
        )
    for _, block in places:
        block.attn = _SelfAttention(block.attn)
    ranges = _ranges([block for _, block in places], tower, x_BCHW)
    for (name, block), found in zip(places, ranges, strict=True):
        parent, _, own = name.rpartition(".")
        setattr(tower.get_submodule(parent), own, _Block(block, found, dtype))
    # Afterwards: int8 is made of the float32 weights.
    return tower.to(dtype)


def _is_known(block: nn.Module) -> bool:
    if not isinstance(block, ResidualAttentionBlock) or hasattr(block, "ln_1_kv"):
        return False
    act = block.mlp.gelu
    is_act = isinstance(act, QuickGELU) or (isinstance(act, nn.GELU) and act.approximate == "none")
    return is_act and block.attn.batch_first and block.attn.in_proj_bias is not None


class _SelfAttention(nn.Module):
    """A `MultiheadAttention` of open_clip's blocks as two layers, whose inputs can be observed."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        dim = attention.embed_dim
        self.num_heads = attention.num_heads
        # On `meta`, because the weights are given: else making them would cost time and random numbers.
        self.qkv, self.out = nn.Linear(dim, 3 * dim, device="meta"), nn.Linear(dim, dim, device="meta")
        self.qkv.weight, self.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out.weight, self.out.bias = attention.out_proj.weight, attention.out_proj.bias

    def forward(self, query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
        return self.out(attend(self.qkv(query), self.num_heads)), None


def attend(qkv_BTD: Tensor, num_heads: int) -> Tensor:  # noqa: N803
    """Attention of [B, T, 3D] as [B, T, D], before the output's layer."""
    batch, length, dim = qkv_BTD.shape
    query, key, value = qkv_BTD.view(batch, length, 3, num_heads, dim // 3 // num_heads).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, dim // 3)


def _ranges(blocks: list[Any], tower: nn.Module, x_BCHW: Tensor) -> list[dict[str, Tensor]]:  # noqa: N803
    """Each block's largest input of each layer by channel, and the least and largest value after the activation."""
    found: list[dict[str, Tensor]] = [{} for _ in blocks]

    def observe(into: dict[str, Tensor], name: str, x: Tensor) -> None:
        x = x.detach().flatten(0, -2)
        high = torch.stack([x.amax(0), -x.amin(0)])
        into[name] = torch.maximum(into[name], high) if name in into else high

    hooks = []
    for into, block in zip(found, blocks, strict=True):
        layers = {"qkv": block.attn.qkv, "out": block.attn.out, "fc": block.mlp.c_fc, "proj": block.mlp.c_proj}
        for name, layer in layers.items():
            hooks.append(layer.register_forward_pre_hook(lambda _, x, into=into, name=name: observe(into, name, x[0])))
    with torch.inference_mode():
        for part in x_BCHW.split(AT_ONCE):
            tower(part)
    for hook in hooks:
        hook.remove()
    # As ordinary tensors: those of inference mode cannot be changed in place later.
    return [{name: value.clone() for name, value in into.items()} for into in found]


class _Layer:
    """A linear layer with int8 weights, for inputs that are `step` times the given integers less `zero`."""

    def __init__(self, weight: Tensor, bias: Tensor, step: float, zero: int = 0) -> None:
        self.step, self.zero = step, zero
        self.scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        whole = (weight / self.scale[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self.zeros, self.bias = torch.zeros(len(weight), dtype=torch.long), bias

    def __call__(self, x: Tensor, dtype: torch.dtype, step: float = 1.0, zero: int = 0, post: str = "none") -> Tensor:
        """Of int8 or uint8 [B, T, K] the output in `dtype`; for `uint8` in steps of `step` from `zero`."""
        y = torch.ops.onednn.qlinear_pointwise(
            x.flatten(0, -2), self.step, self.zero, self.weight, self.scale, self.zeros, self.bias, step, zero, dtype,
            post, [], "none" if post == "gelu" else "",
        )  # fmt: skip
        return y.view(*x.shape[:-1], -1)


class _Block(nn.Module):
    """A `ResidualAttentionBlock` in int8.

    Each input of a layer is made in units of its step: for norms and the attention's values this is a factor of their
    weights, so that rounding is all that remains. The first layer of the MLP writes integers after its activation.
    """

    def __init__(self, block: Any, found: dict[str, Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.num_heads = dtype, block.attn.num_heads
        self.ls_1, self.ls_2 = block.ls_1, block.ls_2
        self.eps = block.ln_1.eps, block.ln_2.eps
        layers = (block.attn.qkv, block.attn.out, block.mlp.c_fc, block.mlp.c_proj)
        (w_qkv, b_qkv), (w_out, b_out), (w_fc, b_fc), (w_proj, b_proj) = (
            (layer.weight.detach().float(), layer.bias.detach().float()) for layer in layers
        )
        self.norm_1, w_qkv, step_qkv = _smoothed_norm(block.ln_1, w_qkv, found["qkv"], dtype)
        self.norm_2, w_fc, step_fc = _smoothed_norm(block.ln_2, w_fc, found["fc"], dtype)
        # The attention's output is a mean of values: what scales a channel of the values scales it too.
        unit, smooth, step_out = _unit(w_out, found["out"])
        values = torch.cat([torch.ones(2 * len(unit)), unit])
        self.qkv = _Layer(w_qkv * values[:, None], b_qkv * values, step_qkv)
        self.out = _Layer(w_out * smooth, b_out, step_out)
        is_quick = isinstance(block.mlp.gelu, QuickGELU)
        self.post, factor = ("swish", QUICK) if is_quick else ("gelu", 1.0)
        high, low = (found["proj"] * factor).amax(1).tolist()
        low = max(low, 0.0)
        self.step = max(high + low, LEAST) / 255
        self.zero = round(low / self.step)
        self.fc = _Layer(w_fc * factor, b_fc * factor, step_fc)
        self.proj = _Layer(w_proj, b_proj, self.step / factor, self.zero)

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        width = (x.shape[-1],)
        y = _whole(F.layer_norm(x, width, *self.norm_1, self.eps[0]))
        y = _whole(attend(self.qkv(y, self.dtype), self.num_heads))
        x = x + self.ls_1(self.out(y, self.dtype))
        y = _whole(F.layer_norm(x, width, *self.norm_2, self.eps[1]))
        y = self.fc(y, torch.uint8, self.step, self.zero, self.post)
        return x + self.ls_2(self.proj(y, self.dtype))


def _whole(x: Tensor) -> Tensor:
    return x.round_().clamp_(-127, 127).to(torch.int8)


def _unit(weight: Tensor, found: Tensor) -> tuple[Tensor, Tensor, float]:
    """What makes a layer's input smooth and whole, what its weights [N,K] are multiplied with, and the step."""
    high = found.amax(0).clamp(min=LEAST)
    smooth = high**ALPHA / weight.abs().amax(0).clamp(min=LEAST) ** (1 - ALPHA)
    step = float((high / smooth).max()) / 127
    return 1 / (smooth * step), smooth, step


def _smoothed_norm(
    norm: Any, weight: Tensor, found: Tensor, dtype: torch.dtype
) -> tuple[tuple[Tensor, Tensor], Tensor, float]:
    unit, smooth, step = _unit(weight, found)
    scaled = tuple((value.detach().float() * unit).to(dtype) for value in (norm.weight, norm.bias))
    return (scaled[0], scaled[1]), weight * smooth, step
