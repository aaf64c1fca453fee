"""Our MLP, VASNet, PGL-SUM and SL-module against the official packs of VASNet, PGL-SUM and MR.HiSum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from tests.golden.models.pack import Ours, Pack, step_norms
from torch import Tensor, nn

from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.train.losses.supervised import mse
from vsumdata.train.models.mlp import MLP, MLPOptions
from vsumdata.train.models.parts.rows import Rows
from vsumdata.train.models.pglsum import PGLSUM, Attention, PGLSUMOptions
from vsumdata.train.models.slmodule import SLModule, SLModuleOptions
from vsumdata.train.models.vasnet import UNUSED, VASNet, VASNetOptions

Case = Mapping[str, Any]


def batch_of(videos: Sequence[Tensor], dtype: torch.dtype) -> Batch:
    """Make a padded batch from the frame features [T,F] of each video."""
    batch = collate(
        [
            Video(video_id=str(n), frame_time_s=np.arange(len(each), dtype=np.float32), frame_feature=each.numpy())
            for n, each in enumerate(videos)
        ]
    )
    return replace(batch, frame_feature=batch.frame_feature.to(dtype))


def videos_of(pack: Pack, case: Case) -> list[Tensor]:
    # `collate` makes float32. Widening afterwards loses nothing: the packs' numbers are float32 too.
    inputs = pack.inputs(case, torch.float32)
    return [value for name, value in inputs.items() if name.startswith("video")]


def ready(model: Any, pack: Pack, dtype: torch.dtype) -> Any:
    """Return the model with the pack's weights, for inference."""
    model.to(dtype).load_official(pack.weights(dtype))
    return model.eval()


@contextmanager
def watched(*modules: nn.Module) -> Iterator[list[Any]]:
    """Yield a list with the latest inputs and output of each of `modules`: ((given, …), gave)."""
    calls: list[Any] = [None] * len(modules)

    def keep(place: int, _: nn.Module, given: Any, gave: Any) -> None:
        calls[place] = (given, gave)

    handles = [module.register_forward_hook(partial(keep, place)) for place, module in enumerate(modules)]
    yield calls
    for handle in handles:
        handle.remove()


def logits(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model(batch).frame_logit


def mlp(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    given = pack["constructor"]
    model = ready(MLP(MLPOptions(hidden=tuple(given["h_sizes"])), given["in_size"]), pack, dtype)
    yield Ours("out_score", logits(model, batch_of(videos_of(pack, case), dtype)).sigmoid())


def vasnet(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    """Check VASNet's own code: one video without padding."""
    if pack.is_step:
        yield from vasnet_step(pack, case, dtype)
        return
    (video,) = videos_of(pack, case)
    model = ready(VASNet(VASNetOptions(), video.shape[1]), pack, dtype)
    with watched(model.attention, model.norm_mixed, model.norm_hidden) as calls:
        logit = logits(model, batch_of([video], dtype))
    (_, (mixed, weight)), (_, norm_mixed), (_, norm_hidden) = calls
    yield Ours("out_logit", logit.T)
    yield Ours("out_score", logit.sigmoid())
    yield Ours("out_att", weight[0])
    yield Ours("mid_attn_out_cols16", mixed[0, :, ::16])
    yield Ours("mid_ln_y_cols16", norm_mixed[0, :, ::16])
    yield Ours("mid_ln_ka_cols16", norm_hidden[0, :, ::16])


def vasnet_step(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    (video,), target = videos_of(pack, case), pack.inputs(case, dtype)["target"][None]
    # The step packs were made with every dropout at 0.
    model = ready(VASNet(VASNetOptions(dropout=0), video.shape[1]), pack, dtype).train()
    logit = model(batch_of([video], dtype)).frame_logit
    # The official training loop scales each video's target to [0, 1].
    low, high = target.aminmax()
    loss = mse(logit, (target - low) / (high - low), torch.ones_like(target, dtype=torch.bool))
    loss.backward()
    yield Ours("out_score", logit.sigmoid())
    yield Ours("out_loss", loss)
    ours = dict(model.named_parameters())
    named = {official: ours[name] for name, official in model.official_names().items()}
    # The official model has weights that it never uses (kb, kc). Ours leaves them out.
    weights, order = pack.weights(dtype), pack["extra"]["param_names"]
    named |= {name: nn.Parameter(weights[name]) for name in order if name in UNUSED}
    yield Ours("grad_att.Q.weight_row0", named["att.Q.weight"].grad[0])
    adam = torch.optim.Adam(named.values(), lr=pack["extra"]["lr"], weight_decay=pack["extra"]["weight_decay"])
    yield from step_norms(named, order, adam)


def mrhisum_vasnet(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    batch = batch_of(videos_of(pack, case), dtype)
    valid = batch.frame_mask
    options = VASNetOptions(hidden=pack["constructor"]["hidden_dim"])
    model = ready(VASNet(options, batch.frame_feature.shape[-1]), pack, dtype)
    with watched(model.norm_mixed) as calls, torch.no_grad():
        logit = model(batch).frame_logit
        _, weight = model.attention(batch.frame_feature, valid)
    ((_, norm_mixed),) = calls
    # On a CPU the layers see the videos without padding, one after the other.
    norm_mixed = Rows(valid).give(norm_mixed)
    yield Ours("out_logit", logit, valid)
    yield Ours("out_score", logit.sigmoid(), valid)
    yield Ours("out_att", weight, valid)
    yield Ours("mid_ln_y_cols16", norm_mixed[..., ::16], valid)
    everything = replace(batch, frame_mask=torch.ones_like(valid))
    yield Ours("out_score_no_mask", logits(model, everything).sigmoid())


def pgl_sum(pack: Pack, dtype: torch.dtype, compat: str) -> PGLSUM:
    given = pack["constructor"]
    options = PGLSUMOptions(
        hidden=given["output_size"],
        heads=given["heads"],
        segments=given["num_segments"] if given["fusion"] else None,
        fusion=(given["fusion"] or "add").lower(),
        positions=(given["pos_enc"] or "none").lower(),
        compat=compat,
    )
    return ready(PGLSUM(options, given["input_size"]), pack, dtype)


def attention(module: Attention, given: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the energies with positions, the weights [B,G,H,L,L], and the added position bias [B,G,L,L]."""
    x, mask, length = given
    query, key, _ = module.queries_keys_values(x)
    bias = module.bias(mask, length)
    return query @ key.transpose(-2, -1) + bias[:, :, None], module.weights(query, key, bias), bias


@torch.no_grad()
def pglsum(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    """Check PGL-SUM's own code: one video without padding."""
    model, (video,) = pgl_sum(pack, dtype, "none"), videos_of(pack, case)
    batch = batch_of([video], dtype)
    some = slice(None, None, 16 if video.shape[1] > 128 else 1)
    with watched(model.attention, model.norm_mixed, model.norm_hidden) as calls:
        logit = logits(model, batch)
    (whole, mixed), (_, norm_mixed), (_, norm_hidden) = calls
    energy, weight, table = attention(model.attention, whole)
    yield Ours("out_logit", logit.T)
    yield Ours("out_score", logit.sigmoid())
    yield Ours("out_att_last_head", weight[0, 0, -1])
    yield Ours("mid_global_energy_h0", energy[0, 0, 0])
    yield Ours("mid_global_att_h0", weight[0, 0, 0])
    yield Ours("mid_position_table", table[0, 0])
    yield Ours("mid_global_out", mixed[0, 0, :, some])
    yield Ours("mid_fused", model.mix(batch.frame_feature, batch.frame_mask)[0, :, some])
    yield Ours("mid_norm_y", norm_mixed[0, :, some])
    yield Ours("mid_norm_linear", norm_hidden[0, :, some])
    if model.local is not None:
        yield from local_arrays(model, model.local, batch, some)


def local_arrays(model: PGLSUM, module: Attention, batch: Batch, some: slice) -> Iterator[Ours]:
    with watched(module) as calls:
        model.mix(batch.frame_feature, batch.frame_mask)
    ((given, gave),) = calls
    _, weight, _ = attention(module, given)
    for s, size in enumerate(given[2][0].tolist()):
        yield Ours(f"mid_local{s}_out", gave[0, s, :size, some])
        yield Ours(f"mid_local{s}_att_h0", weight[0, s, 0, :size, :size])


@torch.no_grad()
def mrhisum_pglsum(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    # MR.HiSum's copy aggregates by the transposed attention, and slices its L2 normalisation on the batch axis. That is
    # wrong for later videos of a large batch, so the pack has each video alone as well.
    model, videos = pgl_sum(pack, dtype, "mr-hisum"), videos_of(pack, case)
    batch = batch_of(videos, dtype)
    valid = batch.frame_mask
    some = slice(None, None, 16 if videos[0].shape[1] > 128 else 1)
    with watched(model.attention) as calls:
        logit = logits(model, batch)
    ((whole, mixed),) = calls
    _, weight, _ = attention(model.attention, whole)
    yield Ours("out_logit", logit, valid)
    yield Ours("out_score", logit.sigmoid(), valid)
    yield Ours("out_att_last_head", weight[:, 0, -1], valid)
    yield Ours("mid_global_att_h0", weight[:, 0, 0], valid)
    yield Ours("mid_global_out", mixed[:, 0, :, some], valid)
    yield Ours("mid_fused", model.mix(batch.frame_feature, valid)[..., some], valid)
    alone = torch.zeros_like(logit)
    for row, video in zip(alone, videos, strict=True):
        row[: len(video)] = logits(model, batch_of([video], dtype))[0].sigmoid()
    yield Ours("out_score_each_video_alone", alone)


def sl_module(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    given = pack["constructor"]
    # MR.HiSum's code ignores the mask and scales attention by the full width, not by a head's.
    options = SLModuleOptions(
        layers=given["depth"], heads=given["heads"], feedforward=given["mlp_dim"], compat="mr-hisum"
    )
    model = ready(SLModule(options, given["input_dim"]), pack, dtype)
    first, last = model.layers[0], model.layers[-1]
    with watched(first.attention.qkv, first.feedforward, first, last, model.score[3]) as calls:
        logit = logits(model, batch_of(videos_of(pack, case), dtype))
    (_, qkv), ((residual,), _), (_, layer), (_, out), (_, second) = calls
    yield Ours("out_logit", logit)
    yield Ours("out_score", logit.sigmoid())
    # The head of the model's first code.
    yield Ours("out_score_cross_category", 2 * logit.sigmoid() - 1)
    yield Ours("mid_layer1_qkv_s0_cols64", qkv[0, :, ::64])
    yield Ours("mid_layer1_attn_residual_cols16", residual[..., ::16])
    yield Ours("mid_layer1_out_cols16", layer[..., ::16])
    yield Ours("mid_transformer_out_cols16", out[..., ::16])
    yield Ours("mid_fc2", second)


CHECKS = {
    "vasnet_model.VASNet": vasnet,
    "layers.summarizer.PGL_SUM": pglsum,
    "networks.mlp.SimpleMLP": mlp,
    "networks.pgl_sum.pgl_sum.PGL_SUM": mrhisum_pglsum,
    "networks.vasnet.vasnet.VASNet": mrhisum_vasnet,
    "networks.sl_module.sl_module.SL_module": sl_module,
}
