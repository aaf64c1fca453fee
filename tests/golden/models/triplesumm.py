"""TripleSumm against the official packs: forward, loss and training steps.

Letters: B videos, T frames, S streams, D hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from tests.golden.models.attention import batch_of, watched
from tests.golden.models.pack import Ours, Pack, gradients, step_lengths, table_name
from tests.golden.models.umt import numbered
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vsumdata.datasets.video import Batch
from vsumdata.train.losses.supervised import mse
from vsumdata.train.models.triplesumm import (
    MODALITIES,
    POSITIONS,
    TripleSumm,
    TripleSummOptions,
    official_name,
    sinusoids,
)

Case = Mapping[str, Any]
# Of wider intermediate arrays the packs store every 8th column.
FEWEST_COLUMNS, COLUMN_STEP = 128, 8


class OfficialTable(TripleSumm):
    """TripleSumm with the position table that the official code computed, where the pack has it."""

    given: Tensor | None = None

    def table(self, num_frames: int) -> Tensor:
        return super().table(num_frames) if self.given is None else self.given[:num_frames]


def model_of(pack: Pack, case: Case, dtype: torch.dtype) -> OfficialTable:
    built = pack["constructor"]
    if built["num_mst_layers"] * built["num_model_layers"] != len(built["window_size"]):
        raise ValueError(f"{built['window_size']} are not the windows of all blocks")
    options = TripleSummOptions(
        hidden=built["input_dim"],
        heads=built["num_heads"],
        head_hidden=built["hidden_dim"],
        layers=built["num_model_layers"],
        fusion_blocks=built["num_cmf_layers"],
        windows=built["window_size"],
        dropout=0,  # the step packs were made with every dropout at 0
    )
    model = OfficialTable(options, built["visual_dim"], built["text_dim"], built["audio_dim"]).to(dtype)
    model.load_official(pack.weights(dtype, {POSITIONS: lambda shape: sinusoids(*shape[1:])[None].numpy()}))
    # In float32 ours is held against theirs. In float64 the table's rounding would cover all else.
    if dtype == torch.float64 and table_name(case["id"]) in pack.arrays:
        model.given = torch.from_numpy(pack.arrays[table_name(case["id"])])
    return model.train(pack.is_step)


def case_of(pack: Pack, case: Case, dtype: torch.dtype) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
    """The padded features [B,T,F] of each modality, the mask [B,T] if the case has one, and the targets [B,T]."""
    inputs, number = pack.inputs(case, dtype), len(case["T"])
    padded = {name: pad_sequence(numbered(inputs, name, number), batch_first=True) for name in (*MODALITIES, "gt")}
    target = padded.pop("gt")
    mask = pad_sequence([torch.ones(length, dtype=torch.bool) for length in case["T"]], batch_first=True)
    if case["mask"] not in ("valid", "none"):
        raise ValueError(f"mask {case['mask']} is not known")
    return padded, mask if case["mask"] == "valid" else None, target


def batch_for(features: Mapping[str, Tensor], mask: Tensor, dtype: torch.dtype) -> Batch:
    """Our batch: a frame for each second, under a sentence of that second."""
    frames = [each[:length].float() for each, length in zip(features["visual"], mask.sum(1).tolist(), strict=True)]
    start = torch.arange(mask.shape[1], dtype=torch.float32).expand(mask.shape)
    return replace(
        batch_of(frames, dtype),
        sentence_feature=features["text"],
        sentence_span=torch.stack([start, start + 1], -1),
        sentence_mask=mask,
        audio_feature=features["audio"],
        audio_mask=mask,
    )


def logit_of(model: TripleSumm, features: Mapping[str, Tensor], mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The logits [B,T], by our own way in where there is a mask; without one we never run."""
    if mask is None:
        found: Tensor = model.head(model.fused(features, None)).squeeze(-1)
        return found
    logit: Tensor = model(batch_for(features, mask, dtype)).frame_logit
    return logit


def loss_of(logit: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    return mse(logit, target, torch.ones_like(target, dtype=torch.bool) if mask is None else mask)


def triplesumm(pack: Pack, case: Case, dtype: torch.dtype) -> Iterator[Ours]:
    model, (features, mask, target) = model_of(pack, case, dtype), case_of(pack, case, dtype)
    if pack.is_step:
        yield from step(pack, model, logit_of(model, features, mask, dtype), target, mask)
        return
    projections = [model.project[name] for name in model.sizes]
    attentions = [model.get_submodule(f"fusion.{n}.attention") for n in range(len(model.fusion))]
    with torch.no_grad(), watched(*projections, *model.temporal, *model.fusion, *attentions) as calls:
        logit = logit_of(model, features, mask, dtype)
    yield from results(logit, target, mask)
    gave = iter([out for _, out in calls])
    yield from middle(model, gave, len(target), target.shape[1])


def results(logit: Tensor, target: Tensor, mask: Tensor | None) -> Iterator[Ours]:
    # Padding is compared too: each padded frame is the head's answer to zeros.
    yield Ours("out_logit", logit)
    yield Ours("out_score", logit.sigmoid())
    yield Ours("out_loss", loss_of(logit, target, mask))


def middle(model: TripleSumm, gave: Iterator[Any], num_videos: int, num_frames: int) -> Iterator[Ours]:
    some = slice(None, None, COLUMN_STEP if model.options.hidden >= FEWEST_COLUMNS else 1)
    # The module's own table, also where the official one is put in.
    yield Ours("mid_pe", TripleSumm.table(model, num_frames))
    for name in model.sizes:
        yield Ours(f"mid_ln_{name}", next(gave)[..., some])
    for n in range(len(model.temporal)):
        streams = next(gave).unflatten(0, (-1, num_videos))[..., some]
        for name, stream in zip(("", *(f"{name}_" for name in model.sizes)), streams, strict=True):
            yield Ours(f"mid_{name}temporal{n}", stream)
    for n in range(len(model.fusion)):
        yield Ours(f"mid_fusion{n}", next(gave)[..., some])
    blocks = model.options.fusion_blocks
    for n in range(len(model.fusion)):
        _, weight = next(gave)
        # Officially only the last block of each layer gives its weights away.
        if n % blocks == blocks - 1:
            yield Ours(f"out_attn{n // blocks}", weight)


def step(pack: Pack, model: TripleSumm, logit: Tensor, target: Tensor, mask: Tensor | None) -> Iterator[Ours]:
    extra, order = pack["extra"], pack["extra"]["param_names"]
    yield from results(logit, target, mask)
    loss_of(logit, target, mask).backward()
    named = {official_name(name): weight for name, weight in model.named_parameters()}
    yield from gradients(named, order)
    for name, rate in {"adamw": extra, "adamw_strong": extra.get("strong")}.items():
        if rate is not None:
            adamw = torch.optim.AdamW(
                named.values(), rate["lr"], betas=extra["betas"], eps=extra["eps"], weight_decay=rate["weight_decay"]
            )
            yield Ours(f"out_{name}_delta_norm", step_lengths(named, order, adamw))


CHECKS = {"models.model.TripleSumm": triplesumm}
