"""A2Summ's loss and label functions against the official pack.

Letters: B videos, N positions (frames or sentences), T frames, M sentences, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tests.golden.models.pack import Ours, Pack
from torch import Tensor

from vsumdata.train.losses.boxes import boxes_of, centerness_label, cut, reach_label, suppress
from vsumdata.train.losses.contrastive import FIRST_SCALE, Empty, Modality, hard_negatives, inter, intra
from vsumdata.train.losses.supervised import (
    LEAST_PROBABILITY,
    centerness,
    focal,
    focal_terms,
    overlap,
    smooth_l1,
    soft_iou,
)
from vsumdata.train.scoring.metrics_text import keyframe_cosine

# What a model does without hard negatives: loss 0 (BLiSS), or the lowest score instead (MSMO).
MODELS: dict[str, Empty] = {"BLiSS": "a2summ", "MSMO": "msmo"}
NMS_OVERLAP = 0.4
DIFFERENTIATED = ("emb_video", "emb_text", "cls_video", "cls_text")


def check(pack: Pack, case: Mapping[str, Any], dtype: torch.dtype) -> Iterator[Ours]:
    given = pack.inputs(case, dtype)
    label, mask = padded(case["label"], case["T"])
    yield from classification(given["logits"], label, mask)
    yield from proposals(given, label, case["T"][0])
    video = Modality(embedding=given["emb_video"], logit=given["logits"], label=label, mask=mask)
    text_label, text_mask = padded(case["text_label"], case["M"])
    text = Modality(embedding=given["emb_text"], logit=given["logits_text"], label=text_label, mask=text_mask)
    yield from contrast(given["cls_video"], given["cls_text"], video, text, pack["extra"]["ratios"])
    if "cos" in case:
        cosines = [video_cosine(given, i, chosen) for i, chosen in enumerate(case["cos"]["selected"])]
        yield Ours("out_bliss_video_cos", [*cosines, np.mean(cosines)])


def padded(labels: Sequence[Sequence[int]], lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the padded labels and their mask, [B,N] each."""
    shape = (len(labels), max(lengths))
    label, mask = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    for i, (row, length) in enumerate(zip(labels, lengths, strict=True)):
        label[i, : len(row)], mask[i, :length] = torch.tensor(row, dtype=torch.float32), True
    return label, mask


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, of))


def classification(logit: Tensor, label: Tensor, mask: Tensor) -> Iterator[Ours]:
    logit = logit.clone().requires_grad_()
    loss = focal(logit, label, mask, "a2summ")
    yield Ours("out_cls_loss", loss)
    yield Ours("grad_cls_loss_wrt_logits", *gradients(loss, logit))
    columns = [focal_terms(logit, label, alpha, least=LEAST_PROBABILITY) for alpha in (0.75, 0.25)]
    yield Ours("mid_focal_elements", torch.stack(columns, -1))


def proposals(given: Mapping[str, Tensor], label: Tensor, length: int) -> Iterator[Ours]:
    target = reach_label(label)
    middle = centerness_label(target, label)
    yield Ours("out_loc_label", target)
    yield Ours("out_ctr_label", middle)
    reach, score, positive = given["pred_loc"].clone().requires_grad_(), given["pred_ctr"], label > 0
    loss = soft_iou(reach, target, positive)
    yield Ours("out_loc_loss_soft_iou", loss)
    yield Ours("grad_loc_loss_wrt_pred_loc", *gradients(loss, reach))
    yield Ours("out_loc_loss_smooth_l1", smooth_l1(reach, target, positive))
    yield Ours("out_ctr_loss", centerness(score, middle, positive))
    for i in range(len(label)):
        yield Ours(f"mid_iou_s{i}", overlap(reach, target.to(reach.dtype))[i, positive[i]])
    boxes = boxes_of(reach.detach())
    yield Ours("out_offset2bbox", boxes)
    kept_score, kept_box = suppress(score[0, :length].numpy(), cut(boxes[0, :length].numpy(), length), NMS_OVERLAP)
    yield Ours("out_nms_scores_s0", kept_score)
    yield Ours("out_nms_boxes_s0", kept_box)


def contrast(
    video_token: Tensor, text_token: Tensor, video: Modality, text: Modality, ratios: Sequence[int]
) -> Iterator[Ours]:
    tokens = [token.squeeze(1).clone().requires_grad_() for token in (video_token, text_token)]
    video, text = (each_with(side, lambda x: x.clone().requires_grad_()) for side in (video, text))
    # The official code makes the scale in float32.
    scales = [torch.tensor(FIRST_SCALE).to(video_token.dtype).requires_grad_() for _ in range(3)]
    between = inter(tokens[0], tokens[1], scales[0].exp(), torch.ones(len(video_token), dtype=torch.bool))
    yield Ours("out_inter", between)
    for model, empty in MODELS.items():
        for ratio in ratios:
            yield from negatives(f"{model}_r{ratio}", video, text, ratio, empty)
            within = intra(video, text, (scales[1], scales[2]), ratio, empty).loss
            yield Ours(f"out_intra_{model}_r{ratio}", within)
            alone = [
                intra(one(video, i), one(text, i), (scales[1], scales[2]), ratio, empty).loss
                for i in range(len(video_token))
            ]
            yield Ours(f"out_intra_per_sample_{model}_r{ratio}", torch.stack(alone))
            if (model, ratio) == ("BLiSS", ratios[0]):
                of = [video.embedding, text.embedding, *tokens]
                found = gradients(between + within, *of, *scales)
                for name, gradient in zip(DIFFERENTIATED, found, strict=False):
                    shaped = gradient[:, None] if name.startswith("cls") else gradient
                    yield Ours(f"grad_inter_plus_intra_wrt_{name}", shaped)
                yield Ours("grad_inter_plus_intra_wrt_scales", torch.stack(found[4:]))


def negatives(run: str, video: Modality, text: Modality, ratio: int, empty: Empty) -> Iterator[Ours]:
    for name, side in (("video", video), ("text", text)):
        index, found = hard_negatives(side.logit, side.label, side.mask, ratio, lowest_if_none=empty == "msmo")
        for i in range(len(index)):
            yield Ours(f"out_hardneg_{run}_{name}_s{i}", index[i, found[i]])


def each_with(side: Modality, change: Callable[[Tensor], Tensor]) -> Modality:
    """Return the same modality with a changed embedding."""
    return Modality(embedding=change(side.embedding), logit=side.logit, label=side.label, mask=side.mask)


def one(side: Modality, i: int) -> Modality:
    """Return video i alone, in the padding of its batch."""
    row = slice(i, i + 1)
    return Modality(embedding=side.embedding[row], logit=side.logit[row], label=side.label[row], mask=side.mask[row])


def video_cosine(given: Mapping[str, Tensor], i: int, chosen: Sequence[int]) -> float:
    return keyframe_cosine(given[f"cos_video{i}"].numpy(), given[f"cos_gt{i}"].numpy(), np.array(chosen))


CHECKS = {"losses.calc_cls_loss": check}
