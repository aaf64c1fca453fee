"""DSNet-AF against the official packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tests.golden.models.pack import Ours, Pack, step_norms

from vsumdata.datasets.video import Batch, Video, collate
from vsumdata.train.losses import boxes
from vsumdata.train.losses import supervised as losses
from vsumdata.train.models.dsnet import DSNet, DSNetOptions, official_name
from vsumdata.train.models.summarizer import Boxes, Scores

# Of wider intermediate arrays the packs store every 16th column.
MOST_COLUMNS, COLUMN_STEP = 128, 16
SHOWN_HEADS = [0, 3]


def batch_of(frames: torch.Tensor) -> Batch:
    """Make a batch of one video with the features [T,F] in their own precision."""
    # `collate` makes float32, so the features are put in afterwards.
    video = Video(
        video_id="video", frame_time_s=np.arange(len(frames), dtype=np.float32), frame_feature=frames.float().numpy()
    )
    return replace(collate([video]), frame_feature=frames[None])


def model_of(pack: Pack, dtype: torch.dtype) -> DSNet:
    built = pack["constructor"]
    if built["base_model"] != "attention":
        raise ValueError(f"base_model={built['base_model']} is not implemented")
    # The step packs were made with every dropout at 0.
    options = DSNetOptions(hidden=built["num_hidden"], heads=built["num_head"], dropout=0.0)
    model = DSNet(options, built["num_feature"]).to(dtype).train(pack.is_step)
    model.load_official(pack.weights(dtype))
    return model


def dsnet(pack: Pack, case: Mapping[str, Any], dtype: torch.dtype) -> Iterator[Ours]:
    model, batch = model_of(pack, dtype), batch_of(pack.inputs(case, dtype)["video"])
    if pack.is_step:
        yield from step(pack, case, model, batch)
        return
    with torch.no_grad():
        yield from middle(model, batch)
        yield from results(model(batch), batch)


def middle(model: DSNet, batch: Batch) -> Iterator[Ours]:
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        getattr(model, name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out[0]}))
        for name in ("attention", "norm", "trunk")
    ]
    model(batch)
    for hook in hooks:
        hook.remove()
    attention, frames = model.attention, batch.frame_feature
    query, key = (attention.split(layer(frames)) for layer in (attention.query, attention.key))
    weights = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
    yield Ours("mid_att_heads0_3", weights[0, SHOWN_HEADS])
    yield Ours("mid_base_out", columns(seen["attention"]))
    yield Ours("mid_ln", columns(seen["norm"]))
    yield Ours("mid_trunk", columns(seen["trunk"]))


def columns(array: torch.Tensor) -> torch.Tensor:
    return array[:, ::COLUMN_STEP] if array.shape[1] > MOST_COLUMNS else array


def results(scores: Scores, batch: Batch) -> Iterator[Ours]:
    proposed = boxes_in(scores)
    yield Ours("out_cls_logit", scores.frame_logit[..., None])
    yield Ours("out_cls_sigmoid", scores.frame_logit[0].sigmoid())
    yield Ours("out_loc_exp", proposed.reach[0])
    yield Ours("out_ctr_sigmoid", proposed.centerness[0])
    yield Ours("out_predict_score", boxes.box_scores(scores, batch.frame_mask)[0])
    yield Ours("out_predict_boxes", boxes.boxes_of(proposed.reach)[0])


def boxes_in(scores: Scores) -> Boxes:
    assert scores.frame_boxes is not None
    return scores.frame_boxes


def step(pack: Pack, case: Mapping[str, Any], model: DSNet, batch: Batch) -> Iterator[Ours]:
    extra, label, mask = pack["extra"], torch.tensor([case["label"]]), batch.frame_mask
    reach = boxes.reach_label(label)
    centerness = boxes.centerness_label(reach, label)
    yield Ours("out_loc_label", reach[0])
    yield Ours("out_ctr_label", centerness[0])
    scores, positive = model(batch), (label > 0) & mask
    proposed = boxes_in(scores)
    terms = [
        losses.focal(scores.frame_logit, label, mask, form="dsnet"),
        losses.soft_iou(proposed.reach, reach, positive),
        losses.centerness(proposed.centerness, centerness, positive),
    ]
    loss = terms[0] + extra["lambda_reg"] * terms[1] + extra["lambda_ctr"] * terms[2]
    loss.backward()
    yield Ours("out_losses", torch.stack([*terms, loss]))
    named = {official_name(name): weight for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(named.values(), lr=extra["lr"], weight_decay=extra["weight_decay"])
    yield from step_norms(named, extra["param_names"], optimizer)


CHECKS: dict[str, Callable[[Pack, Mapping[str, Any], torch.dtype], Iterator[Ours]]] = {
    "anchor_free.dsnet_af.DSNetAF": dsnet
}
