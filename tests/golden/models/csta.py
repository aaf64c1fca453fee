"""CSTA against the official packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from tests.golden.models.dsnet import batch_of
from tests.golden.models.pack import Ours, Pack, step_norms
from torch import Tensor, nn

from vsumdata.datasets.video import Batch
from vsumdata.train.losses import supervised as losses
from vsumdata.train.models.csta import CSTA, POSITIONS, CSTAOptions, official_name, sinusoids, stretched

# The settings that ours implements; the official class has switches for more.
CONSTRUCTOR = {
    "model_name": "GoogleNet_Attention",
    "Scale": None,
    "Softmax_axis": "TD",
    "Balance": None,
    "Positional_encoding": "FPE",
    "Positional_encoding_shape": "TD",
    "Positional_encoding_way": "PGL_SUM",
    "Dropout_on": True,
    "Classifier_on": True,
    "CLS_on": True,
    "CLS_mix": "Final",
    "key_value_emb": "kv",
    "Skip_connection": "KC",
    "Layernorm": True,
}
CNN_LAYERS = {"g1": "conv1", "g3": "inception3b", "g4": "inception4e", "g5": "inception5b"}
CNN_COLUMNS, TOKEN_STEP = 16, 8


def table(shape: Any) -> np.ndarray:
    return sinusoids(*shape).numpy()


def model_of(pack: Pack, dtype: torch.dtype) -> CSTA:
    other = {key: value for key, value in CONSTRUCTOR.items() if pack["constructor"][key] != value}
    if other:
        raise ValueError(f"only {other} is implemented")
    # The step packs were made with every dropout at 0.
    model = CSTA(CSTAOptions(weights="none", dropout_attention=0.0, dropout_head=0.0), frame_dim=1024)
    model.to(dtype).train(pack.is_step)
    model.load_official(pack.weights(dtype, {POSITIONS: table}))
    return model


def csta(pack: Pack, case: Mapping[str, Any], dtype: torch.dtype) -> Iterator[Ours]:
    model, inputs = model_of(pack, dtype), pack.inputs(case, dtype)
    batch = batch_of(inputs["video"])
    if pack.is_step:
        yield from step(pack, model, batch, inputs["target"])
        return
    with torch.no_grad():
        yield from forward(model, batch, pack["extra"]["col_step"])


class Seen(dict[str, Tensor]):
    """The inputs (NAME.in) and outputs (NAME) of modules, for the one video."""

    def watch(self, name: str, module: nn.Module) -> None:
        def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            call = name
            # One dropout serves both softmaxes: the second call is kept as `dropout'`.
            while call in self:
                call += "'"
            self[f"{call}.in"], self[call] = inputs[0][0], output[0]

        module.register_forward_hook(note)


def forward(model: CSTA, batch: Batch, step: int) -> Iterator[Ours]:
    seen = Seen()
    for name in ("cnn", "map_norm", "dropout", "value", "head"):
        seen.watch(name, model.get_submodule(name))
    for name, layer in CNN_LAYERS.items():
        seen.watch(name, model.cnn.get_submodule(layer))
    scores = model(batch)
    mixed = model.mixed(batch.frame_feature)[0]
    keys = seen["cnn.in"][0]
    attention = model.attention_map(batch.frame_feature)[0]
    map_rows = stretched(seen["cnn"].mean(2).T[None], len(keys))[0]
    wide = {
        "key_ch0": keys,
        "cnn_map": map_rows,
        "skip": seen["map_norm.in"][0],
        "bn": seen["map_norm"][0],
        "bn_plus_pe": attention,
        "softmax_T": seen["dropout"],
        "softmax_D": seen["dropout'"],
        "value": seen["value"],
        "mix": mixed,
        "pooled": seen["head.in"],
        "head_ln": seen["head"],
    }
    for name, array in wide.items():
        yield Ours(f"mid_{name}_cols", array[:, ::step])
    for name in CNN_LAYERS:
        yield Ours(f"mid_{name}_shape", list(seen[name].shape))
        yield Ours(f"mid_{name}_channel_mean", seen[name].mean((1, 2)))
        yield Ours(f"mid_{name}_ch0", seen[name][0, :, :CNN_COLUMNS])
    assert scores.video_token is not None
    yield Ours("out_logit", scores.frame_logit[0][:, None])
    yield Ours("out_score", scores.frame_logit[0].sigmoid())
    yield Ours("out_cls_row0", scores.video_token[0])


def step(pack: Pack, model: CSTA, batch: Batch, target: Tensor) -> Iterator[Ours]:
    logit = model(batch).frame_logit
    loss = losses.mse(logit, target[None], batch.frame_mask)
    loss.backward()
    yield Ours("out_loss", loss)
    yield Ours("out_score", logit[0].sigmoid())
    for name, norm in {"layernorm1": "map_norm", "googlenet_conv1": "cnn.conv1.bn"}.items():
        running = [model.get_buffer(f"{norm}.{part}") for part in ("running_mean", "running_var")]
        yield Ours(f"out_{name}_running", torch.stack(running))
    named = {official_name(name): weight for name, weight in model.named_parameters()}
    yield Ours("grad_CLS_cols8", gradient(named["CLS"])[0, :, 0, ::TOKEN_STEP])
    yield Ours("grad_layernorm1", torch.cat([gradient(named[f"layernorm1.{part}"]) for part in ("weight", "bias")]))
    # The official model has `googlenet.fc`, never uses it and so has no gradient for it. Ours leaves it out.
    for part in ("weight", "bias"):
        named[f"googlenet.fc.{part}"] = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam(named.values())
    yield from step_norms(named, pack["extra"]["param_names"], optimizer)


def gradient(weight: nn.Parameter) -> Tensor:
    assert weight.grad is not None
    return weight.grad


CHECKS: dict[str, Callable[[Pack, Mapping[str, Any], torch.dtype], Iterator[Ours]]] = {
    "models.GoogleNet.CSTA_GoogleNet": csta
}
