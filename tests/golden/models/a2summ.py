"""A2Summ's three models against the official packs: scores, intermediate arrays, and one training step.

Letters: B videos, T frames, M sentences, N = (1+T)+(1+M) tokens, D hidden size.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tests.golden.models.losses import padded
from tests.golden.models.pack import Ours, Pack, step_norms
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vsumdata.datasets.video import Batch
from vsumdata.train.losses.boxes import box_scores, boxes_of, centerness_label, cut, frame_scores, reach_label, suppress
from vsumdata.train.losses.contrastive import FIRST_SCALE, Empty, Modality, hard_negatives, inter, intra
from vsumdata.train.losses.supervised import centerness, focal, soft_iou
from vsumdata.train.models.a2summ import A2Summ, A2SummOptions
from vsumdata.train.models.parts.multiway import Attention
from vsumdata.train.models.summarizer import Boxes, Scores

# The MSMO model has no segment table and no time mask: every token attends to every valid one.
VARIANTS: dict[str, dict[str, Any]] = {
    "models.Model_BLiSS": {"head": "linear", "segment_rows": 200},
    "models.Model_VideoSumm": {"head": "boxes", "segment_rows": 5000},
    "models.Model_MSMO": {"head": "linear", "segment_rows": 0, "time_mask": False},
}
# Parameters of the losses, which the official `state_dict` holds beside the model's.
SCALES = ("loss.logit_scale_inter", "loss.NCE_video.logit_scale", "loss.NCE_text.logit_scale")


@dataclass(frozen=True)
class Run:
    """One case on our model: its inputs, its labels (video [B,T], text [B,M]) and what the modules took and gave."""

    model: A2Summ
    batch: Batch
    labels: Mapping[str, Tensor]
    ratio: int
    empty: Empty
    seen: Mapping[str, list[Any]]

    def mask(self, side: str) -> Tensor:
        mask = self.batch.frame_mask if side == "video" else self.batch.sentence_mask
        assert mask is not None
        return mask


def check(pack: Pack, case: Mapping[str, Any], dtype: torch.dtype) -> Iterator[Ours]:
    run = prepared(pack, case, dtype)
    if pack.is_step:
        yield from step(pack, run)
        return
    with torch.no_grad():
        scores = run.model(run.batch)
        yield from results(scores, run)
        for side in ("video", "text"):
            yield from negatives(side, scores, run)
        yield from between(run)
        yield from attentions(pack, case["id"], run)


def prepared(pack: Pack, case: Mapping[str, Any], dtype: torch.dtype) -> Run:
    built = pack["constructor"]
    # `compat`: officially sentences take segment row j+1, ours take row j as their frames do.
    options = A2SummOptions(
        hidden=built["num_hidden"],
        layers=built["num_layers"],
        compat="a2summ",
        **{name: built[name] for name in ("dropout_video", "dropout_text", "dropout_attn", "dropout_fc")},
        **VARIANTS[pack.cls],
    )
    model = A2Summ(options, built["num_input_video"], built["num_input_text"]).to(dtype)
    weights = pack.weights(dtype)
    model.load_official({name: value for name, value in weights.items() if name not in SCALES})
    batch = batch_of(case, pack.inputs(case, dtype))
    labels = {side: padded(case[f"{side}_label"], case[n])[0] for side, n in (("video", "T"), ("text", "M"))}
    # Without hard negatives the BLiSS and TVSum models give loss 0; the MSMO model takes the lowest score.
    empty: Empty = "msmo" if pack.cls == "models.Model_MSMO" else "a2summ"
    return Run(model.train(pack.is_step), batch, labels, built["ratio"], empty, watched(model))


def batch_of(case: Mapping[str, Any], given: Mapping[str, Tensor]) -> Batch:
    """Make our batch from a case's inputs."""
    # Frames lie one second apart, so that the pack's first and last frame of a sentence are its times.
    numbers = range(len(case["T"]))
    mask = padded([[1] * n for n in case["T"]], case["T"])[1]
    nothing: dict[str, Any] = dict.fromkeys(
        ("replay_score", "replay_mask", "step_feature", "step_mask", "description_feature")
    )
    nothing |= dict.fromkeys(("description_mask", "global_feature", "global_mask"))
    return Batch(
        video_id=tuple(f"video{i}" for i in numbers),
        frame_feature=pad_sequence([given[f"video{i}"] for i in numbers], batch_first=True),
        frame_time_s=torch.arange(mask.shape[1]).expand(mask.shape).float(),
        frame_mask=mask,
        sentence_feature=pad_sequence([given[f"text{i}"] for i in numbers], batch_first=True),
        sentence_span=pad_sequence(
            [torch.tensor(spans, dtype=torch.float32).reshape(-1, 2) for spans in case["sentence_spans"]],
            batch_first=True,
        ),
        sentence_mask=padded([[1] * n for n in case["M"]], case["M"])[1],
        **nothing,
    )


def watched(model: A2Summ) -> Mapping[str, list[Any]]:
    """Record what each call of a module takes and gives, under its name and `in` or `out`."""
    # A list per module: one layer module is called several times, as in the official code.
    seen: dict[str, list[Any]] = defaultdict(list)
    for name, module in model.named_modules():

        def note(_: nn.Module, taken: tuple[Any, ...], given: Any, name: str = name) -> None:
            seen[f"{name} in"].append(taken)
            seen[f"{name} out"].append(given)

        module.register_forward_hook(note)
    return seen


def results(scores: Scores, run: Run) -> Iterator[Ours]:
    assert scores.video_token is not None
    assert scores.text_token is not None
    yield Ours("out_cls_video", scores.video_token[:, None])
    yield Ours("out_cls_text", scores.text_token[:, None])
    if scores.frame_boxes is None or scores.sentence_boxes is None:
        yield Ours("out_pred_video", scores.frame_logit)
        yield Ours("out_pred_text", scores.sentence_logit)
        return
    for side, logit, boxes in (
        ("video", scores.frame_logit, scores.frame_boxes),
        ("text", scores.sentence_logit, scores.sentence_boxes),
    ):
        yield Ours(f"out_{side}_cls", logit)
        yield Ours(f"out_{side}_loc", boxes.reach)
        yield Ours(f"out_{side}_ctr", boxes.centerness)
    yield from prediction(scores, scores.frame_boxes, run)


def prediction(scores: Scores, frame_boxes: Boxes, run: Run) -> Iterator[Ours]:
    """Yield the arrays on the way from the boxes to the frames' scores."""
    # "a2summ": the official code divides by the maximum of the whole padded batch, so scores depend on batch mates.
    mask, overlap = run.batch.frame_mask, run.model.nms_overlap
    assert overlap is not None
    worth, boxes = box_scores(scores, mask, "a2summ"), boxes_of(frame_boxes.reach)
    yield Ours("out_predict_score", worth)
    yield Ours("out_predict_boxes", boxes)
    painted = frame_scores(scores, mask, overlap, "a2summ")
    for i, length in enumerate(mask.sum(1).tolist()):
        kept = suppress(worth[i, :length].numpy(), cut(boxes[i, :length].numpy(), length), overlap)
        yield Ours(f"out_nms_scores_s{i}", kept[0])
        yield Ours(f"out_nms_boxes_s{i}", kept[1])
        # float32 in the official code, also in its float64 run.
        yield Ours(f"out_painted_frame_score_s{i}", painted[i, :length].float())


def side_of(side: str, scores: Scores, run: Run) -> Modality:
    """Return one modality in the form that the contrastive losses take."""
    logit = scores.frame_logit if side == "video" else scores.sentence_logit
    embedding = scores.frame_embedding if side == "video" else scores.sentence_embedding
    assert logit is not None
    assert embedding is not None
    return Modality(embedding=embedding, logit=logit, label=run.labels[side], mask=run.mask(side))


def negatives(side: str, scores: Scores, run: Run) -> Iterator[Ours]:
    one = side_of(side, scores, run)
    index, found = hard_negatives(one.logit, one.label, one.mask, run.ratio, lowest_if_none=run.empty == "msmo")
    for i in range(len(index)):
        yield Ours(f"out_hardneg_{side}_idx_s{i}", index[i, found[i]])


def between(run: Run) -> Iterator[Ours]:
    seen, layer = run.seen, "layers.0"
    yield Ours("mid_embed", seen[f"{layer} in"][0][0])
    for i, (attention, tokens) in enumerate(zip(seen[f"{layer}.attention out"], seen[f"{layer} out"], strict=True), 1):
        yield Ours(f"mid_attn_out_layer{i}", attention)
        yield Ours(f"mid_layer{i}", tokens)
    for side in ("video", "text"):
        normed, headed = seen[f"{side}.norm out"][0], seen[f"{side}.head out"][0]
        yield Ours(f"mid_proj_{side}", seen[f"{side}.project out"][0])
        # With a linear head the CLS token goes through the norm too; the pack leaves it out.
        yield Ours(f"mid_final_{side}", normed[:, 1:])
        yield Ours(f"mid_norm_{side}", normed)
        yield Ours(f"mid_trunk_{side}", headed)


def attentions(pack: Pack, case: str, run: Run) -> Iterator[Ours]:
    """Yield the attention after softmax, [N,N], of the layers, videos and heads that the pack asks for."""
    attention = run.model.get_submodule("layers.0.attention")
    assert isinstance(attention, Attention)
    for name in pack.arrays:
        asked = re.fullmatch(rf"{re.escape(case)}_(mid_att_layer(\d+)_(first|last)_h(\d+))", name)
        if asked is None:
            continue
        tokens, allowed = run.seen["layers.0.attention in"][int(asked[2]) - 1]
        query, key, _ = attention.queries_keys_values(tokens)
        energy = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        video = 0 if asked[3] == "first" else -1
        yield Ours(asked[1], energy.masked_fill(~allowed, -torch.inf).softmax(-1)[video, int(asked[4])])


def step(pack: Pack, run: Run) -> Iterator[Ours]:
    extra = pack["extra"]
    dtype = run.batch.frame_feature.dtype
    scales = [nn.Parameter(torch.tensor(FIRST_SCALE, dtype=dtype)) for _ in SCALES]
    optimizer = torch.optim.Adam([*run.model.parameters(), *scales], lr=extra["lr"], weight_decay=extra["weight_decay"])
    scores = run.model(run.batch)
    terms = dict(losses(scores, run, scales))
    weight = {"inter_unweighted": extra["lambda_inter"], "intra_unweighted": extra["lambda_intra"]}
    total = torch.stack([term * weight.get(name, 1.0) for name, term in terms.items()]).sum()
    yield Ours("out_losses", torch.stack([*(terms[name] for name in extra["loss_names"][:-1]), total]))
    for side, label in run.labels.items():
        yield Ours(f"out_{side}_loc_label", reach_label(label))
        yield Ours(f"out_{side}_ctr_label", centerness_label(reach_label(label), label))
    total.backward()
    yield from step_norms(named(run.model, scales), extra["param_names"], optimizer)


def losses(scores: Scores, run: Run, scales: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the loss terms by their official names."""
    sides = {side: side_of(side, scores, run) for side in ("video", "text")}
    for side, one in sides.items():
        boxes = scores.frame_boxes if side == "video" else scores.sentence_boxes
        yield f"cls_{side}", focal(one.logit, one.label, one.mask, "a2summ")
        if boxes is not None:
            target, positive = reach_label(one.label), one.label > 0
            yield f"loc_{side}", soft_iou(boxes.reach, target, positive)
            yield f"ctr_{side}", centerness(boxes.centerness, centerness_label(target, one.label), positive)
    assert scores.video_token is not None
    assert scores.text_token is not None
    everyone = torch.ones(len(scores.video_token), dtype=torch.bool)
    yield "inter_unweighted", inter(scores.video_token, scores.text_token, scales[0].exp(), everyone)
    within = intra(sides["video"], sides["text"], (scales[1], scales[2]), run.ratio, run.empty)
    yield "intra_unweighted", within.loss


def named(model: A2Summ, scales: Sequence[nn.Parameter]) -> dict[str, nn.Parameter]:
    """Return the parameters by official name; where ours stacks several, each is a view of its rows."""
    gradients, found = model.official_views(gradient=True), dict(zip(SCALES, scales, strict=True))
    for name, view in model.official_views().items():
        found[name] = nn.Parameter(view)
        found[name].grad = gradients.get(name)
    return found


CHECKS = dict.fromkeys(VARIANTS, check)
